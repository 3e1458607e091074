/* SPDX-License-Identifier: Apache-2.0 */
/* Channels of groups: a loop for the groups, and one for the channels of each. */
#include "kernel/rewrite.h"
#include "kernel/schedule.h"

enum { LEAST_CHANNELS = 4 /* in a group: fewer are no vector */ };

/* By how many the loop's variable is divided; 1 where it is not. */
static int64_t group_size(const KBlock *b, const KValue *iv) {
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_DIV && i->arg[0] == iv && i->arg[1]->def && i->arg[1]->def->op == KOP_CONST)
            return i->arg[1]->def->imm.i;
        for (int n = 0; n < 2; n++) {
            int64_t size = i->block[n] ? group_size(i->block[n], iv) : 1;
            if (size > 1)
                return size;
        }
    }
    return 1;
}

static bool split_any(KKernel *k, const KBlock *b) {
    for (KInstr *i = b->first, *groups, *channels; i; i = i->next) {
        int64_t size = i->op == KOP_FOR && i->loop == KLOOP_PARALLEL ? group_size(i->block[0], kb_iv(i)) : 1;
        if (size >= LEAST_CHANNELS && schedule_factor(k, i, size, &groups, &channels))
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && split_any(k, i->block[n]))
                return true;
    }
    return false;
}

void schedule_split_groups(KKernel *k) {
    while (split_any(k, k->body))
        kernel_simplify(k);
}
