/* SPDX-License-Identifier: Apache-2.0 */
/* CumSum and CumProd: running results along one axis. */
#include <string.h>

#include "ops/rules.h"

INFER(infer_cumulate) {
    const int64_t *axis;
    int count, at;
    if (!infer_numeric(n, 0) || !infer_ints(n, 1, &axis, &count))
        return false;
    if (count != 1)
        return infer_error(n, "the axis has %d entries; one is needed", count);
    return infer_axis(n, axis[0], n->in[0]->rank, false, &at) && infer_same(n);
}

/* One loop along the axis, from the end where `reverse`, carries the result so far; the other axes are independent. */
static void cumulate(Lower *l, const Node *n, KOp op, int64_t neutral) {
    const Value *x = n->in[0];
    int64_t axis = const_int(n->in[1], 0), dim[GRAPH_MAX_RANK];
    axis += axis < 0 ? x->rank : 0;
    bool exclusive = attr_int(n, "exclusive", 0) != 0, reverse = attr_int(n, "reverse", 0) != 0;
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[axis] = 1;
    LoopNest nest = lower_loops(l, x->rank, dim, n->out[0]);
    KValue *start = kb_int(&l->b, lower_compute_type(x->dtype), neutral);
    KInstr *loop = lower_for(l, KLOOP_SERIAL, "r", 0, x->dim[axis], 1, &start);
    KIndex i = lower_iv(l, loop);
    nest.idx[axis] = reverse ? kx_sub(l->arena, kx_const(l->arena, x->dim[axis] - 1), i) : i;
    KValue *before = kb_carried(loop, 0), *after = kb_binary(&l->b, op, before, lower_load(l, n, 0, nest.idx));
    lower_store(l, n, 0, nest.idx, exclusive ? before : after);
    kb_end_for(&l->b, loop, &after);
    lower_end_loops(l, &nest);
}

LOWER(lower_cum_sum) { cumulate(l, n, KOP_ADD, 0); }
LOWER(lower_cum_prod) { cumulate(l, n, KOP_MUL, 1); }
