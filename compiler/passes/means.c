/* SPDX-License-Identifier: Apache-2.0 */
/* The mean of an image becomes the mean of its rows' means. Rows are worked on side by side, by the thread that has them
 * in its cache, and one after the other with what computes them (pass_strips). */
#include "passes/edit.h"
#include "passes/passes.h"

enum { SMALLEST = 32768 /* elements */ };

/* Of each row; the result has the rank of the image. */
static Value *mean_of_rows(Node *n, Value *x) {
    int64_t *kernel = ARENA_ARRAY(n->graph->arena, int64_t, x->rank - 2);
    for (int d = 2; d < x->rank; d++)
        kernel[d - 2] = d == 2 ? 1 : x->dim[d];
    Attr attr = {.name = "kernel_shape", .kind = ATTR_INTS, .ints = kernel, .n = x->rank - 2};
    return edit_node_with(n, "", "AveragePool", n, 1, &x, 1, &attr)->out[0];
}

static bool has_rows(const Value *x) {
    int64_t rows = x->rank >= 4 ? x->dim[0] * x->dim[1] * x->dim[2] : 0;
    return x->dtype == DT_F32 && rows && x->dim[2] > 1 && value_count(x) > rows && value_count(x) >= SMALLEST;
}

void pass_means(Graph *g, const Target *t) {
    if (!t || !t->vector_bits || !t->l1)
        return;
    for (Node *n = g->first; n; n = n->next)
        if (edit_is_image_mean(n) && has_rows(n->in[0]))
            node_set_input(n, 0, mean_of_rows(n, n->in[0]));
}
