/* SPDX-License-Identifier: Apache-2.0 */
/* Choices for kernels that the policy's cost rules would schedule otherwise. */
#include <stddef.h>
#include <string.h>

#include "kernel/schedule.h"

const ScheduleField schedule_fields[] = {
    {"lanes", offsetof(ScheduleChoice, lanes), 1, 64, true},
    {"vectors", offsetof(ScheduleChoice, vectors), 1, 16, false},
    {"rows", offsetof(ScheduleChoice, rows), 1, 24, false},
    {"row_loop", offsetof(ScheduleChoice, row_loop), 1, 16, false},
    {"blocks_inside", offsetof(ScheduleChoice, blocks_inside), 1, 1, false},
    {"chains", offsetof(ScheduleChoice, chains), 1, 8, true},
    {"together", offsetof(ScheduleChoice, together), 1, 16, false},
    {"unroll", offsetof(ScheduleChoice, unroll), 1, 2000, false},
    {0},
};

int *schedule_field(ScheduleChoice *c, const ScheduleField *f) { return (int *)((char *)c + f->offset); }

/* --- what a kernel is, whatever it is called --- */

/* FNV-1a over a kernel's text; of a value "%name.12" only the number counts. */
static uint64_t hash_text(const char *s) {
    uint64_t h = 0xcbf29ce484222325;
    for (; *s; s++) {
        h = (h ^ (unsigned char)*s) * 0x100000001b3;
        if (*s != '%')
            continue;
        size_t name = strcspn(s + 1, ". \n,)]");
        if (s[1 + name] == '.')
            s += name;
    }
    return h;
}

uint64_t schedule_hash(const KKernel *k) {
    Arena *a = k->module->arena;
    int n = k->params.len;
    KKernel nameless = *k;
    nameless.name = "";
    nameless.comment = NULL;
    const char **name = ARENA_ARRAY(a, const char *, n);
    for (int i = 0; i < n; i++) {
        name[i] = k->params.data[i]->name;
        k->params.data[i]->name = arena_printf(a, "p%d", i);
    }
    StrBuf text = {0};
    kernel_print(&text, &nameless);
    uint64_t hash = hash_text(sb_text(&text));
    sb_free(&text);
    for (int i = 0; i < n; i++)
        k->params.data[i]->name = name[i];
    return hash;
}

/* --- tables --- */

/* Where it is, or belongs. */
static int place_of(const ScheduleTable *t, uint64_t kernel) {
    int lo = 0, hi = t->entries.len;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (t->entries.data[mid].kernel < kernel)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

ScheduleEntry *schedule_find(const ScheduleTable *t, uint64_t kernel) {
    int i = place_of(t, kernel);
    return i < t->entries.len && t->entries.data[i].kernel == kernel ? &t->entries.data[i] : NULL;
}

void schedule_put(Arena *a, ScheduleTable *t, ScheduleEntry e) {
    int i = place_of(t, e.kernel);
    if (i == t->entries.len || t->entries.data[i].kernel != e.kernel) {
        VEC_PUSH(a, &t->entries, e);
        memmove(&t->entries.data[i + 1], &t->entries.data[i], (size_t)(t->entries.len - 1 - i) * sizeof e);
    }
    t->entries.data[i] = e;
}
