/* SPDX-License-Identifier: Apache-2.0 */
/* What every rewriter of kernels needs: cloning through a map of values, with the builders' folding on the way. */
#ifndef MLCC_KERNEL_REWRITE_H
#define MLCC_KERNEL_REWRITE_H

#include "kernel/kernel.h"

/* Old value -> new value, by id; a value that is not in the map stands for itself. */
typedef struct KMap {
    KValue **to;
    int n;
} KMap;

KMap kmap_new(KKernel *k); /* room for all values that the kernel has now */
KValue *kmap_get(const KMap *m, KValue *v);
void kmap_set(KMap *m, const KValue *v, KValue *by);
/* An index expression with its variables replaced. */
KIndex kmap_index(Arena *a, const KMap *m, KIndex x);

/* Clones one instruction, nested blocks included, at the builder's place, and maps its results. Folds; loops that run
 * once or never and branches on constants dissolve. YIELDs are not for this function. */
void kernel_clone(KBuilder *b, KMap *m, const KInstr *i);
/* The instructions of a block but its YIELD, whose arguments' new values go to out (where not NULL). */
void kernel_clone_block(KBuilder *b, KMap *m, const KBlock *block, KValue **out);

/* The kernel again, under another name, in its module but not in the module's list; it shares the parameters. */
KKernel *kernel_copy(const KKernel *k, const char *name);

/* Every use in the block and below is replaced by what the map says. */
void kernel_replace_uses(KKernel *k, KBlock *block, const KMap *m);

/* Whether it stores, or anything inside it does. */
bool kinstr_has_effect(const KInstr *i);
bool kinstr_is(const KInstr *i, unsigned flags); /* any of the flags of kops.def */
/* Constant bounds of a loop; false where they are not. trips may be NULL. */
bool kloop_bounds(const KInstr *loop, int64_t *lo, int64_t *hi, int64_t *trips);

#endif
