/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions in the order in which effects need them. C leaves the order of a call's arguments to its compiler, so
 * lowering may build one expression before or after another; the text of a kernel must not tell. */
#include "kernel/rewrite.h"

typedef struct Order {
    bool *placed;  /* by value id */
    KBlock *block; /* the one being ordered */
    KInstr *last;  /* placed so far */
} Order;

static bool reads_memory(const KInstr *i) {
    if (i->op == KOP_LOAD)
        return true;
    for (int n = 0; n < 2; n++)
        for (const KInstr *j = i->block[n] ? i->block[n]->first : NULL; j; j = j->next)
            if (reads_memory(j))
                return true;
    return false;
}

static void append(Order *o, KInstr *i) {
    i->prev = o->last;
    i->next = NULL;
    if (o->last)
        o->last->next = i;
    else
        o->block->first = i;
    o->last = o->block->last = i;
    for (int r = 0; r < i->nresults; r++)
        o->placed[i->result[r]->id] = true;
}

static void demand_operands(Order *o, const KInstr *i);

static void demand(Order *o, const KValue *v) {
    KInstr *i = v->def;
    if (!i || i->parent != o->block || o->placed[v->id])
        return;
    demand_operands(o, i);
    append(o, i);
}

static void demand_operands(Order *o, const KInstr *i) {
    for (int a = 0; a < i->nargs; a++)
        demand(o, i->arg[a]);
    for (int k = 0; i->mem.at && k < i->mem.at->n; k++)
        demand(o, i->mem.at->term[k].var);
    for (int n = 0; n < 2; n++)
        for (const KInstr *j = i->block[n] ? i->block[n]->first : NULL; j; j = j->next)
            demand_operands(o, j);
}

static void order_block(KKernel *k, bool *placed, KBlock *b) {
    Arena *a = k->module->arena;
    VEC(KInstr *) old = {0};
    for (KInstr *i = b->first; i; i = i->next) {
        VEC_PUSH(a, &old, i);
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                order_block(k, placed, i->block[n]);
    }
    Order o = {.placed = placed, .block = b};
    b->first = b->last = NULL;
    for (int i = 0; i < old.len; i++) {
        KInstr *e = old.data[i];
        if (!kinstr_has_effect(e) && e->op != KOP_YIELD)
            continue;
        demand_operands(&o, e);
        /* What reads memory before a store and is needed after it only. */
        for (int j = 0; j < i && e->op != KOP_YIELD; j++)
            if (reads_memory(old.data[j]) && !kinstr_has_effect(old.data[j]))
                for (int r = 0; r < old.data[j]->nresults; r++)
                    demand(&o, old.data[j]->result[r]);
        append(&o, e);
    }
}

void kernel_order(KKernel *k) {
    order_block(k, ARENA_ARRAY(k->module->arena, bool, k->next_id), k->body);
}
