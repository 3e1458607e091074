/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc.WindowRows: what the windows of a convolution see of a row, as channels. Of [N, C, .., W], with attributes length, stride
 * and count, it makes [N, length, .., count]: element j at o is the row's byte o * stride * C + j, counted with the channels
 * innermost; or, planar, [N, length, C * H, count] of [N, C, H, W]: element o * stride + j of the rows, each row of all channels
 * before the next. */
#include <string.h>

#include "ops/rules.h"

typedef struct Rows {
    int64_t length, stride, count, channels;
    bool planar;
    int last; /* the input's last axis */
} Rows;

static Rows rows_of(const Node *n) {
    const Value *x = n->in[0];
    return (Rows){attr_int(n, "length", 1), attr_int(n, "stride", 1), attr_int(n, "count", 1), x->dim[1], attr_int(n, "planar", 0) != 0,
                  x->rank - 1};
}

INFER(infer_window_rows) {
    enum { LARGEST = INT32_MAX };
    const Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_present(n, 0) || x->rank < 3 || x->rank >= GRAPH_MAX_RANK)
        return infer_error(n, "the input must have rows");
    Rows r = rows_of(n);
    int64_t together = r.planar ? 1 : r.channels;
    if ((r.planar && x->rank != 4) || together < 1 || r.length < 1 || r.length > LARGEST || r.stride < 1 || r.stride > LARGEST || r.count < 1 || r.count > LARGEST ||
        (r.count - 1) * r.stride + (r.length - 1) / together >= x->dim[r.last])
        return infer_error(n, "the windows leave the rows");
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[1] = r.length;
    dim[2] *= r.planar ? r.channels : 1;
    dim[r.last] = r.count;
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

ELEMENT(element_window_rows) {
    Rows r = rows_of(n);
    KIndex at[GRAPH_MAX_RANK], j = idx[1];
    memcpy(at, idx, (size_t)(r.last + 1) * sizeof *at);
    at[1] = kx_rem(&l->b, r.planar ? idx[2] : j, r.channels);
    if (r.planar)
        at[2] = kx_div(&l->b, idx[2], r.channels);
    at[r.last] = kx_add(l->arena, kx_scale(l->arena, idx[r.last], r.stride), r.planar ? j : kx_div(&l->b, j, r.channels));
    return lower_load(l, n, 0, at);
}

bool window_rows_view(const Node *n, const int64_t *from, int64_t *stride) {
    Rows r = rows_of(n);
    memcpy(stride, from, (size_t)(r.last + 1) * sizeof *stride);
    stride[1] = 1;
    stride[r.last] *= r.stride;
    if (r.planar) {
        stride[2] = from[1];
        return from[3] == 1 && from[2] == r.channels * from[1];
    }
    return from[r.last] == r.channels && (r.channels == 1 || from[1] == 1);
}
