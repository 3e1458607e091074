/* SPDX-License-Identifier: Apache-2.0 */
/* Products of two matrices that are both computed (queries with keys, weights with values) where the machine multiplies four
 * bytes at a time: the right one is brought into fours first. */
#include "ops/op.h"
#include "ops/quant.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/passes.h"
#include "passes/quantised.h"

enum { FEWEST_ROWS = 8, FEWEST_COLUMNS = 8 };

/* Where a product's inputs are. */
typedef struct Places {
    int right, zero, right_zero;
} Places;

static bool suits(const Node *n, const Places *p) {
    const Value *x = n->in[0], *y = n->in[p->right];
    if (!dtype_is_byte(x->dtype) || !dtype_is_byte(y->dtype) || x->rank < 2 || y->rank < 2 ||
        y->rank >= GRAPH_MAX_RANK || fold_is_possible(x) || fold_is_possible(y))
        return false;
    for (int i = p->zero; i <= p->right_zero; i += p->right_zero - p->zero)
        if (quant_has(n, i) && !value_is_number(n->in[i]))
            return false;
    int64_t depth = x->dim[x->rank - 1];
    return depth && depth % 4 == 0 && depth < 1 << 16 && x->dim[x->rank - 2] >= FEWEST_ROWS && y->dim[y->rank - 1] >= FEWEST_COLUMNS;
}

static Value *zero_of(Node *n, int i, const Value *x) {
    return quant_has(n, i)
               ? n->in[i]
               : graph_const(n->graph, graph_fresh_name(n->graph, "zero"), x->dtype, 0, NULL, (Data){"", 1});
}

/* Sums along an axis, as int32. */
static Value *sums(Node *n, Value *x, int64_t axis) {
    const Attr drop = edit_int("keepdims", 0);
    Value *in[] = {edit_cast(n, n, x, DT_I32), NULL};
    in[1] = graph_const_ints(n->graph, graph_fresh_name(n->graph, "axis"), 1, 1, &axis);
    return edit_node_with(n, "", "ReduceSum", n, 2, in, 1, &drop)->out[0];
}

static Value *product(Node *n, const Places *p) {
    Value *x = n->in[0], *y = n->in[p->right], *zero = zero_of(n, p->zero, x), *right_zero = zero_of(n, p->right_zero, y);
    Value *in[6] = {x, edit_node_with(n, "mlcc", "Interleave", n, 1, &y, 0, NULL)->out[0], zero, right_zero, NULL, NULL};
    in[4] = sums(n, y, y->rank - 2);
    bool rows = const_int(right_zero, 0) != (y->dtype == DT_U8 ? 128 : 0);
    if (rows)
        in[5] = sums(n, x, x->rank - 1);
    return edit_node_with(n, "mlcc", "MatMulWords", n, rows ? 6 : 5, in, 0, NULL)->out[0];
}

/* Times the scales, rounded: as QLinearMatMul does it. */
static Value *quantised(Node *n, Value *sum) {
    Graph *g = n->graph;
    return quantised_sum(n, sum, graph_const_float(g, graph_fresh_name(g, "ratio"), quant_ratio_of(n, 1, 4, 6, 0)), n->in[7]);
}

void pass_words(Graph *g, const Target *t) {
    static const Places integer = {1, 2, 3}, linear = {3, 2, 5};
    bool dots = target_has_dots(t, DOT_U8S8 | DOT_S8S8 | DOT_HALVES) && !(t->dot & DOT_ALONG);
    for (Node *n = g->first, *next; n && dots; n = next) {
        next = n->next;
        bool quantises = edit_is(n, "QLinearMatMul");
        const Places *p = quantises ? &linear : &integer;
        if ((!quantises && !edit_is(n, "MatMulInteger")) || !suits(n, p))
            continue;
        if (quantises && (!value_is_number(n->in[1]) || !value_is_number(n->in[4]) || !value_is_number(n->in[6]) ||
                          !value_is_number(n->in[7])))
            continue;
        Value *y = product(n, p);
        if (edit_replace(n->out[0], quantises ? quantised(n, y) : y))
            node_remove(n);
    }
    pass_dead(g);
}
