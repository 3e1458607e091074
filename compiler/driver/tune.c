/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc tune: measures schedules, and writes those that are faster than what the cost rules choose. */
#define _POSIX_C_SOURCE 200809L
#include "driver/tune.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/tuning.h"
#include "kernel/rewrite.h"

void tune_progress(const Diag *d, const char *format, ...) {
    if (d->quiet || !isatty(STDERR_FILENO))
        return;
    va_list ap;
    va_start(ap, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fflush(stderr);
}

/* --- candidates --- */

enum { MOST_INSTRUCTIONS = 6000 };

/* Register tiles that fill the registers, and some that leave room. */
static void add_tiles(Arena *a, Choices *list, const Target *t, ScheduleChoice c) {
    bool vectors = target_lanes(t) > 1;
    int registers = t->vector_registers ? t->vector_registers : 16;
    for (int v = 1; v <= (vectors ? 6 : 4); v += 1 + (v == 4)) {
        int most = (registers - v - (registers >= 32 ? 0 : 1)) / v;
        most = most > 16 ? 16 : most;
        const int rows[] = {most, most * 3 / 4, registers / v / 2 - 1}; /* the last: with as many inputs beside them */
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            c.vectors = v;
            c.rows = rows[i];
            if (rows[i] >= 1)
                VEC_PUSH(a, list, c);
        }
    }
}

static void add_with(Arena *a, Choices *list, ScheduleChoice c, size_t offset, int n, const int *values) {
    for (int i = 0; i < n; i++) {
        ScheduleChoice changed = c;
        *(int *)((char *)&changed + offset) = values[i];
        VEC_PUSH(a, list, changed);
    }
}

#define ADD_WITH(field, ...) \
    add_with(a, list, c, offsetof(ScheduleChoice, field), (int)(sizeof(int[]){__VA_ARGS__} / sizeof(int)), (int[]){__VA_ARGS__})

/* One thing other than in c at a time. */
static void add_variants(Arena *a, Choices *list, const Target *t, ScheduleChoice c) {
    int lanes = target_lanes(t);
    ADD_WITH(blocks_inside, 1);
    ADD_WITH(chains, 1, 2, 8);
    ADD_WITH(together, 1, 2, 4, 8);
    ADD_WITH(unroll, 1, 60, 600);
    ADD_WITH(row_loop, 1, 2, 3, 4);
    if (lanes > 1)
        ADD_WITH(lanes, lanes / 2, 1);
}

static void add_neighbours(Arena *a, Choices *list, ScheduleChoice c) {
    if (!c.rows)
        return;
    for (int d = -2; d <= 2; d++) {
        ScheduleChoice changed = c;
        changed.rows += d;
        if (d && changed.rows >= 1 && changed.rows <= 24)
            VEC_PUSH(a, list, changed);
    }
}

Candidates tune_candidates(Arena *a, const KKernel *k, const Target *t, ScheduleChoice so_far, int round) {
    Choices list = {0};
    VEC_PUSH(a, &list, (ScheduleChoice){0});
    VEC_PUSH(a, &list, so_far);
    if (round == 0 && kblock_reduces(k->body))
        add_tiles(a, &list, t, so_far);
    if (round > 0)
        add_neighbours(a, &list, so_far);
    add_variants(a, &list, t, so_far);
    Candidates r = {0};
    StrMap seen = {0};
    for (int i = 0; i < list.len; i++) {
        KKernel *copy = kernel_copy(k, "");
        schedule_kernel_as(copy, t, list.data[i]);
        StrBuf text = {0};
        kernel_print(&text, copy);
        bool is_new = !strmap_get(&seen, sb_text(&text)) && (r.choice.len == 0 || kblock_size(copy->body) <= MOST_INSTRUCTIONS);
        if (is_new)
            strmap_put(a, &seen, arena_strdup(a, sb_text(&text)), copy);
        sb_free(&text);
        if (!is_new)
            continue;
        copy->name = arena_printf(a, "%s_as_%d", k->name, r.choice.len);
        VEC_PUSH(a, &r.choice, list.data[i]);
        VEC_PUSH(a, &r.kernel, copy);
    }
    return r;
}

/* --- the verb --- */

static bool tune(Compilation *c, const Options *o) {
    return (o->run_command ? tune_elsewhere(c, o) : tune_here(c, o)) && tuning_write(c->diag, o->output, c->target, &c->tuning);
}

int verb_tune(const Options *o) {
    if (!o->output) {
        fputs("mlcc: error: no output given: -o FILE; see mlcc tune --help\n", stderr);
        return EXIT_USAGE;
    }
    return pipeline_verb(o, tune);
}
