/* SPDX-License-Identifier: Apache-2.0 */
/* Sliding windows over the spatial axes: what convolution and pooling share. */
#ifndef MLCC_OPS_WINDOW_H
#define MLCC_OPS_WINDOW_H

#include "ops/lower.h"

typedef struct Window {
    int n; /* spatial axes; the tensor's axis of axis d is d + 2 */
    int64_t kernel[GRAPH_MAX_RANK], stride[GRAPH_MAX_RANK], dilation[GRAPH_MAX_RANK];
    int64_t before[GRAPH_MAX_RANK], after[GRAPH_MAX_RANK]; /* padding */
    int64_t in[GRAPH_MAX_RANK], out[GRAPH_MAX_RANK];
} Window;

/* Reads strides, dilations, pads or auto_pad of n for an input of rank n + 2 and the given kernel, and computes the
 * output sizes (ceil_mode rounds up). False after a report. */
bool window_read(const Node *n, const Value *x, const int64_t *kernel, bool ceil_mode, Window *w);
/* The same for a convolution with weights k; checks that they fit the input, and the groups too. */
bool window_conv(const Node *n, const Value *k, Window *w, int64_t *group);
/* The shape of its output. */
void window_conv_shape(const Node *n, const Value *k, const Window *w, int64_t *dim);
/* Its bias, input 2, has one element for each output channel, or is absent. */
bool window_bias(const Node *n, int64_t channels);
/* Which input of a convolution has the weights; -1 where n is none. */
int window_weights(const Node *n);
/* Rows of its output that n computes at once: others than multiples of it are wasteful. */
int64_t window_rows(const Node *n);
/* The window through which n reads input 0: a Conv or a pooling operator; false where it is neither. */
bool window_of(const Node *n, Window *w);

/* REDUCE loops over the window at output position o, bounds clipped to the input so that the body needs no test, each
 * carrying the accumulators; the body sees input positions `at` and kernel positions `k`. */
typedef struct WindowLoops {
    KInstr *loop[GRAPH_MAX_RANK];
    KIndex at[GRAPH_MAX_RANK], k[GRAPH_MAX_RANK];
    int n, carried;
} WindowLoops;
WindowLoops window_open(Lower *l, const Window *w, const KIndex *o, KLoopKind kind, int carried, KValue *const *init);
/* The accumulators inside the innermost loop. */
KValue *window_carried(const WindowLoops *loops, KValue *const *init, int i);
/* Ends the loops with the next accumulators; their final values go to out. */
void window_close(Lower *l, WindowLoops *loops, KValue *const *next, KValue **out);
/* Channels of a group. */
typedef struct GroupChannels {
    int64_t in, out;
} GroupChannels;
/* The sum of a convolution at output index idx, from `sum` on: term adds the product of the elements at `at` of the input
 * and `weight` (output channel, input channel of the group, kernel position) of the weights. */
typedef KValue *WindowTerm(Lower *l, const KIndex *at, const KIndex *weight, KValue *sum, const void *data);
KValue *window_convolve(Lower *l, const Window *w, GroupChannels c, const KIndex *idx, KValue *sum, WindowTerm *term, const void *data);
/* Number of input positions under the window at o, as a value of type t; counting padding where asked. */
KValue *window_count(Lower *l, const Window *w, const KIndex *o, bool count_padding, DType t);

#endif
