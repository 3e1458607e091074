/* SPDX-License-Identifier: Apache-2.0 */
/* What passes that store the weights of mlcc.MatMulBlocks anew share. */
#include "passes/packed.h"

#include "ops/op.h"
#include "ops/quant.h"

enum { WEIGHTS = 1, ZEROS = 3, ORDER = 4 };

Blocks packed_blocks(const Node *n) {
    return blocks_of(attr_int(n, "K", 0), attr_int(n, "N", 0), attr_int(n, "bits", 0), attr_int(n, "block_size", 0));
}

static bool is_known(const Value *v) { return value_is_const(v) && dtype_is_byte(v->dtype); }

bool packed_is_known(const Node *n) {
    return is_known(n->in[WEIGHTS]) && !quant_has(n, ORDER) && (!quant_has(n, ZEROS) || is_known(n->in[ZEROS]));
}

Value *packed_const(Node *n, int input, DType t, int rank, const int64_t *dim, const void *data) {
    Graph *g = n->graph;
    size_t size = (size_t)dtype_size(t);
    for (int d = 0; d < rank; d++)
        size *= (size_t)dim[d];
    return graph_const(g, graph_fresh_name(g, n->in[input]->name), t, rank, dim, (Data){data, size});
}

Value *packed_zeros(Node *n) {
    Value *z = quant_has(n, ZEROS) ? n->in[ZEROS] : NULL;
    if (!z || z->dtype == DT_U8)
        return z;
    uint8_t *bytes = ARENA_ARRAY(n->graph->arena, uint8_t, value_count(z));
    for (int64_t i = 0; i < value_count(z); i++)
        bytes[i] = (uint8_t)const_int(z, i) ^ 0x80;
    return packed_const(n, ZEROS, DT_U8, z->rank, z->dim, bytes);
}
