/* SPDX-License-Identifier: Apache-2.0 */
/* What rewriting passes share. */
#ifndef MLCC_PASSES_EDIT_H
#define MLCC_PASSES_EDIT_H

#include "graph/graph.h"

/* A node with inferred outputs before `before`; its sources are those of `from`. */
Node *edit_node(Node *before, const char *op_type, const Node *from, int nin, Value *const *in);
/* The same of any domain and with attributes. */
Node *edit_node_with(Node *before, const char *domain, const char *op_type, const Node *from, int nin, Value *const *in, int nattrs,
                     const Attr *attr);
/* x as t. */
Value *edit_cast(Node *before, const Node *from, Value *x, DType t);
/* x between so many more elements before and after on each axis, of number fill (NULL: 0); x itself where these are none. */
Value *edit_padded(Node *before, const Node *from, Value *x, const int64_t *pads, Value *fill);
/* The users of old take by; where old is a graph output, by becomes it and gets its name. False, nothing changed, where
 * by cannot be an output. */
bool edit_replace(Value *old, Value *by);
/* Output i of the graph becomes a copy, made at the end by a group of its own. */
void edit_copy_output(Graph *g, int i);
/* "x, y" without a name twice. */
void edit_add_sources(Node *to, const Node *from);
/* The same elements under another shape of equal count. */
Value *edit_reshaped_const(Value *v, int rank, const int64_t *dim);
static inline Attr edit_int(const char *name, int64_t i) { return (Attr){.name = name, .kind = ATTR_INT, .i = i}; }
bool edit_is(const Node *n, const char *op_type); /* of ai.onnx */
bool edit_is_any(const Node *n, const char *const *op_types); /* NULL ends them */
/* The model's input, of few channels, as 16 bits for one convolution, which may as well read it as it is. */
bool edit_rounds_input(const Node *n);
/* GlobalAveragePool, or ReduceMean over the same axes. */
bool edit_is_image_mean(const Node *n);

#endif
