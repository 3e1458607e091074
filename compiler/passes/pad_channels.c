/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that multiply four bytes at a time want channels in fours. A network's first convolution has one or three: its
 * input and its weights get channels more, the weights' all zero. */
#include <string.h>

#include "ops/op.h"
#include "ops/quant.h"
#include "passes/edit.h"
#include "passes/passes.h"

enum { GROUP = 4, MOST = 8 /* beyond, one rest costs little */ };

/* Zeros behind the channels that there are. */
static Value *padded_weights(Value *w, int64_t channels) {
    Graph *g = w->graph;
    int64_t dim[GRAPH_MAX_RANK], inner = 1;
    memcpy(dim, w->dim, (size_t)w->rank * sizeof *dim);
    dim[1] = channels;
    for (int d = 2; d < w->rank; d++)
        inner *= w->dim[d];
    size_t from = (size_t)(w->dim[1] * inner), to = (size_t)(channels * inner), size = (size_t)w->dim[0] * to;
    char *bytes = arena_alloc(g->arena, size + 1);
    memset(bytes, 0, size);
    for (int64_t o = 0; o < w->dim[0]; o++)
        memcpy(bytes + (size_t)o * to, (const char *)w->data.bytes + (size_t)o * from, from);
    return graph_const(g, w->name, w->dtype, w->rank, dim, (Data){bytes, size});
}

static Value *padded_input(Node *n, int64_t more) {
    Value *x = n->in[0];
    Graph *g = n->graph;
    int64_t count = 2 * x->rank, *pads = ARENA_ARRAY(g->arena, int64_t, count);
    pads[x->rank + 1] = more;
    Value *p = graph_const(g, "pads", DT_I64, 1, &count, (Data){pads, (size_t)count * sizeof *pads});
    return edit_node(n, "Pad", n, 2, (Value *[]){x, p})->out[0];
}

void pass_pad_channels(Graph *g, const Target *t) {
    enum { INPUT = 0, WEIGHTS = 3, WEIGHTS_ZERO = 5 };
    if (!t || !t->dot || t->dot & DOT_ROWS)
        return;
    /* In halves, two products cost one multiplication: where more than half of them would be with zeros, none is saved. */
    int fewest = t->dot & DOT_HALVES ? 3 : 1;
    for (Node *n = g->first; n; n = n->next) {
        if (!edit_is(n, "QLinearConv") || attr_int(n, "group", 1) != 1)
            continue;
        Value *w = n->in[WEIGHTS];
        int64_t channels = n->in[INPUT]->dim[1], more = (GROUP - channels % GROUP) % GROUP;
        if (!more || channels > MOST || channels < fewest || dtype_size(n->in[INPUT]->dtype) != 1 || !value_is_const(w) || w->dtype != DT_I8 || !quant_is_zero(n, WEIGHTS_ZERO))
            continue;
        node_set_input(n, INPUT, padded_input(n, more));
        node_set_input(n, WEIGHTS, padded_weights(w, channels + more));
    }
}
