/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of a loop's variable against a number, as padding has them, become bounds: the loop is cut where the answer
 * changes, and no part needs the test. */
#include "kernel/schedule.h"

enum {
    MOST_CUTS = 8,
    MOST_INSTRUCTIONS = 64, /* every cut copies the loop */
};

/* The first value of the variable, as it rises, for which the comparison has another answer than for the one before. */
static bool turning_point(Arena *a, const KInstr *i, const KValue *iv, int64_t *at) {
    if (i->op < KOP_LT || i->op > KOP_GE || i->arg[0]->type.dtype != DT_INDEX || i->arg[0]->type.lanes != 1)
        return false;
    KIndex d = kx_sub(a, kx_var(a, i->arg[0]), kx_var(a, i->arg[1]));
    if (d->n != 1 || d->term[0].var != iv || (d->term[0].coef != 1 && d->term[0].coef != -1))
        return false;
    bool rises = d->term[0].coef == 1, at_zero = i->op == KOP_LT || i->op == KOP_GE; /* d < 0, or d <= 0, and their opposites */
    *at = rises ? -d->base + !at_zero : d->base + at_zero;
    return true;
}

static bool cut_once(KKernel *k, KInstr *loop, const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next) {
        int64_t at;
        KInstr *second;
        if (turning_point(k->module->arena, i, kb_iv(loop), &at) && schedule_cut(k, loop, at, &second))
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && cut_once(k, loop, i->block[n]))
                return true;
    }
    return false;
}

static bool cut_any(KKernel *k, const KBlock *b) {
    for (KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_FOR && i->loop == KLOOP_PARALLEL && cut_once(k, i, i->block[0]))
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && cut_any(k, i->block[n]))
                return true;
    }
    return false;
}

void schedule_cut_at_tests(KKernel *k) {
    for (int i = 0; i < MOST_CUTS; i++) {
        if (kblock_size(k->body) > MOST_INSTRUCTIONS || kblock_reduces(k->body) || !cut_any(k, k->body))
            return;
        kernel_simplify(k);
    }
}
