/* SPDX-License-Identifier: Apache-2.0 */
/* Sums that take several numbers out of each word go on side by side: the first number of all words, then the second. What the
 * numbers are multiplied with and what singles them out is needed for that long only, where otherwise registers would hold all of
 * it for the whole tile. Compilers keep to the order more or less. */
#include "kernel/rewrite.h"
#include "kernel/schedule.h"

enum { FEWEST_STEPS = 4, MOST_STEPS = 16 };

typedef struct Steps {
    KBlock *block;
    KInstr *last; /* placed so far */
    bool *placed; /* by value id */
} Steps;

/* The products that one iteration adds to sum r, the first one first; their number, or 0 where it does something else. */
static int products_of(const KInstr *loop, int r, KInstr **product) {
    const KBlock *b = loop->block[0];
    int n = 0;
    for (const KValue *v = b->last->arg[r]; v != kb_carried(loop, r); v = v->def->arg[2]) {
        if (!v->def || v->def->op != KOP_FMA || v->def->parent != b || n == MOST_STEPS)
            return 0;
        product[n++] = v->def;
    }
    for (int i = 0; i < n / 2; i++) {
        KInstr *first = product[i];
        product[i] = product[n - 1 - i];
        product[n - 1 - i] = first;
    }
    return n;
}

/* Vectors of numbers are made from the bits of words, and nothing but the sums leaves the block. */
static bool takes_apart(const KBlock *b) {
    bool any = false;
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->block[0] || kinstr_has_effect(i))
            return false;
        any = any || (i->op == KOP_BITCAST && i->result[0]->type.dtype == DT_F32 && i->result[0]->type.lanes > 1);
    }
    return any;
}

static void place(Steps *s, KInstr *i) {
    if (!i || i->parent != s->block || (i->nresults && s->placed[i->result[0]->id]))
        return;
    for (int a = 0; a < i->nargs; a++)
        place(s, i->arg[a]->def);
    for (int k = 0; i->mem.at && k < i->mem.at->n; k++)
        place(s, i->mem.at->term[k].var->def);
    i->prev = s->last;
    i->next = NULL;
    *(s->last ? &s->last->next : &s->block->first) = i;
    s->last = s->block->last = i;
    for (int r = 0; r < i->nresults; r++)
        s->placed[i->result[r]->id] = true;
}

static void order_steps(KKernel *k, KInstr *loop) {
    Arena *a = k->module->arena;
    KBlock *b = loop->block[0];
    KInstr *(*product)[MOST_STEPS] = arena_alloc(a, sizeof *product * (size_t)loop->nresults), *end = b->last;
    int steps = loop->nresults > 1 && takes_apart(b) ? products_of(loop, 0, product[0]) : 0;
    for (int r = 1; r < loop->nresults && steps; r++)
        steps = products_of(loop, r, product[r]) == steps ? steps : 0;
    if (steps < FEWEST_STEPS)
        return;
    Steps s = {.block = b, .placed = ARENA_ARRAY(a, bool, k->next_id)};
    for (int i = 0; i < steps; i++)
        for (int r = 0; r < loop->nresults; r++)
            place(&s, product[r][i]);
    place(&s, end);
}

static void order_block(KKernel *k, KBlock *b) {
    for (KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_FOR && i->loop == KLOOP_REDUCE && i->nresults)
            order_steps(k, i);
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                order_block(k, i->block[n]);
    }
}

void schedule_module_steps(KModule *m) {
    for (int i = 0; i < m->kernels.len; i++)
        order_block(m->kernels.data[i], m->kernels.data[i]->body);
}
