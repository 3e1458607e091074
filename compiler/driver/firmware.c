/* SPDX-License-Identifier: Apache-2.0 */
/* Spreads what a model needs over a board's memories: linkers do not choose, and emulators do not say what lies beyond one. */
#include "driver/firmware.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "support/embed.h"
#include "support/file.h"
#include "support/ints.h"

enum { CODE, DATA, OTHERS, SHARE = 16 }; /* one of SHARE parts is the stack's, and two the code's */

/* A constant of the program, by the name that its section ends with. */
typedef struct Piece {
    const char *name;
    int64_t size;
    int order, memory;
} Piece;

typedef VEC(Piece) Pieces;

static bool read_size(const char **at, char end, int64_t *out) {
    char *rest;
    errno = 0;
    unsigned long long x = isdigit((unsigned char)**at) ? strtoull(*at, &rest, 0) : 0;
    if (!isdigit((unsigned char)**at) || errno || x > UINT32_MAX)
        return false;
    int shift = *rest == 'K' ? 10 : *rest == 'M' ? 20 : 0;
    rest += shift != 0;
    *out = (int64_t)x << shift;
    *at = rest + (*rest == end && end);
    return *rest == end || (end == ' ' && !*rest);
}

int firmware_memories(const char *text, Memory memory[MOST_MEMORIES]) {
    int n = 0;
    for (; *text; n++) {
        if (n == MOST_MEMORIES || !read_size(&text, '+', &memory[n].origin) || !read_size(&text, ' ', &memory[n].size) ||
            memory[n].size == 0 || memory[n].origin + memory[n].size > (int64_t)UINT32_MAX + 1)
            return 0;
    }
    return n < 2 ? 0 : n;
}

/* --- what there is to place --- */

static int64_t aligned(int64_t size) { return round_up(size, 64); }

static int larger_first(const void *x, const void *y) {
    const Piece *p = x, *q = y;
    return p->size != q->size ? (p->size < q->size ? 1 : -1) : (p->order > q->order) - (p->order < q->order);
}

static void add_piece(Arena *a, Pieces *pieces, const char *name, int64_t size) {
    Piece p = {.name = name, .size = aligned(size), .order = pieces->len};
    VEC_PUSH(a, pieces, p);
}

static void collect(Arena *a, const KModule *m, const TestData *data, Pieces *pieces) {
    for (int i = 0; i < m->buffers.len; i++)
        if (m->buffers.data[i]->kind == KBUF_CONST)
            add_piece(a, pieces, m->buffers.data[i]->name, kbuffer_bytes(m->buffers.data[i]));
    for (int k = 0, in = 0, out = 0; k < data->n; k++, in = out = 0) {
        for (int i = 0; i < m->buffers.len; i++) {
            const KBuffer *b = m->buffers.data[i];
            if (b->kind == KBUF_INPUT)
                add_piece(a, pieces, arena_printf(a, "input_%d_%d", k, in++), kbuffer_bytes(b));
            else if (b->kind == KBUF_OUTPUT)
                add_piece(a, pieces, arena_printf(a, "output_%d_%d", k, out++), kbuffer_bytes(b));
        }
    }
}

/* The arena and the outputs. */
static int64_t data_size(const KModule *m) {
    int64_t size = aligned(m->arena_size);
    for (int i = 0; i < m->buffers.len; i++)
        if (m->buffers.data[i]->kind == KBUF_OUTPUT)
            size += aligned(kbuffer_bytes(m->buffers.data[i]));
    return size;
}

/* --- where it goes --- */

/* First into what code and data leave alone; the large ones first. */
static bool place(Pieces *pieces, int64_t left[], int n) {
    if (left[DATA] < 0)
        return false;
    qsort(pieces->data, (size_t)pieces->len, sizeof(Piece), larger_first);
    for (int i = 0; i < pieces->len; i++) {
        Piece *p = &pieces->data[i];
        int k = 0;
        while (k < n && p->size > left[(OTHERS + k) % n])
            k++;
        if (k == n)
            return false;
        p->memory = (OTHERS + k) % n;
        left[p->memory] -= p->size;
    }
    return true;
}

static const char *size_text(Arena *a, int64_t bytes) {
    return bytes < 1 << 20 ? arena_printf(a, "%.1f KB", (double)bytes / 1024) : arena_printf(a, "%.1f MB", (double)bytes / (1 << 20));
}

static void report_misfit(Arena *a, Diag *d, const Target *t, const Pieces *pieces, int64_t data, const Memory *memory, int n) {
    int64_t all = 0, largest = 0;
    for (int i = 0; i < pieces->len; i++) {
        all += pieces->data[i].size;
        largest = pieces->data[i].size > largest ? pieces->data[i].size : largest;
    }
    const char *has = "";
    for (int i = 0; i < n; i++)
        has = arena_printf(a, "%s%s%s", has, i == 0 ? "" : i == n - 1 ? " and " : ", ", size_text(a, memory[i].size));
    diag_error(d, NOWHERE,
               "does not fit the board of target \"%s\": weights and test data take %s, %s of it in one piece, and arena and "
               "outputs %s; the board has %s for these, code and stack",
               t->name, size_text(a, all), size_text(a, largest), size_text(a, data), has);
}

/* --- the script --- */

static void print_script(FILE *f, const Memory *memory, int n, const Pieces *pieces) {
    fputs("MEMORY {\n", f);
    for (int i = 0; i < n; i++)
        fprintf(f, "    memory%d : ORIGIN = 0x%llx, LENGTH = 0x%llx\n", i, (long long)memory[i].origin, (long long)memory[i].size);
    fprintf(f, "}\nstack_size = 0x%llx;\n", (long long)memory[DATA].size / SHARE);
    char *common = embedded_text(embedded_find("runtime/firmware.ld"));
    fputs(common, f);
    free(common);
    fputs("SECTIONS {\n", f);
    for (int i = 0; i < n; i++) {
        fprintf(f, "    " FIRMWARE_SECTION "%d : {\n", i);
        for (int k = 0; k < pieces->len; k++)
            if (pieces->data[k].memory == i)
                fprintf(f, "        *(" FIRMWARE_SECTION ".%s)\n", pieces->data[k].name);
        fprintf(f, "    } > memory%d AT > memory%d\n", i, i);
    }
    /* All others: the weights in one, with --weights=bin. */
    fprintf(f, "    " FIRMWARE_SECTION " : { *(" FIRMWARE_SECTIONS ") } > memory%d AT > memory%d\n}\n", n - 1, n - 1);
}

bool firmware_script(Diag *d, const Target *t, const KModule *m, const TestData *data, const char *path) {
    Memory memory[MOST_MEMORIES];
    int64_t left[MOST_MEMORIES];
    int n = firmware_memories(t->memory, memory);
    for (int i = 0; i < n; i++)
        left[i] = memory[i].size;
    left[CODE] -= memory[CODE].size / SHARE * 2;
    left[DATA] -= memory[DATA].size / SHARE + data_size(m);
    Arena *a = arena_new();
    Pieces pieces = {0};
    collect(a, m, data, &pieces);
    bool ok = place(&pieces, left, n);
    if (!ok)
        report_misfit(a, d, t, &pieces, data_size(m), memory, n);
    Outputs *out = outputs_new(d);
    FILE *f = ok ? outputs_open(out, path) : NULL;
    if (f) {
        print_script(f, memory, n, &pieces);
        ok = outputs_commit(out);
    } else {
        outputs_discard(out);
        ok = false;
    }
    arena_free(a);
    return ok;
}
