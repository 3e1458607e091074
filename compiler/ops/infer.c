/* SPDX-License-Identifier: Apache-2.0 */
/* What shape rules share. */
#include <stdarg.h>
#include <string.h>

#include "ops/rules.h"

bool infer_error(const Node *n, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    const char *text = arena_vprintf(n->graph->arena, format, ap);
    va_end(ap);
    diag_error(n->graph->diag, node_place(n), "%s", text);
    return false;
}

bool infer_set(Node *n, int i, DType t, int rank, const int64_t *dim) {
    int64_t count;
    if (i >= n->nout || !n->out[i])
        return true;
    if (rank > GRAPH_MAX_RANK)
        return infer_error(n, "output %d has rank %d; mlcc supports up to %d", i, rank, GRAPH_MAX_RANK);
    if (!dims_count(rank, dim, &count))
        return infer_error(n, "output %d is too large", i);
    value_set_type(n->out[i], t, rank, dim);
    return true;
}

bool infer_axis(const Node *n, int64_t axis, int rank, bool end, int *out) {
    int limit = rank + (end ? 1 : 0);
    if (axis < -limit || axis >= limit)
        return infer_error(n, "axis %lld is outside -%d .. %d", (long long)axis, limit, limit - 1);
    *out = (int)(axis < 0 ? axis + limit : axis);
    return true;
}

int infer_broadcast(const Node *n, int rank_x, const int64_t *x, int rank_y, const int64_t *y, int64_t *out) {
    int rank = rank_x > rank_y ? rank_x : rank_y;
    for (int d = 0; d < rank; d++) {
        int64_t a = d < rank - rank_x ? 1 : x[d - (rank - rank_x)], b = d < rank - rank_y ? 1 : y[d - (rank - rank_y)];
        if (a != b && a != 1 && b != 1) {
            infer_error(n, "shapes do not broadcast: axis %d has sizes %lld and %lld", d, (long long)a, (long long)b);
            return -1;
        }
        out[d] = a == 1 ? b : a;
    }
    return rank;
}

bool infer_ints(const Node *n, int input, const int64_t **out, int *n_out) {
    const Value *v = input < n->nin ? n->in[input] : NULL;
    if (!v)
        return infer_error(n, "input %d is missing", input);
    if (!value_is_const(v))
        return infer_error(n, "input %d (\"%s\") must be constant; it is computed at run time from the model's inputs", input,
                           v->name);
    if (!dtype_is_integer(v->dtype) || v->rank > 1)
        return infer_error(n, "input %d (\"%s\") must be a list of integers", input, v->name);
    int64_t count = value_count(v);
    if (count > GRAPH_MAX_RANK * 4)
        return infer_error(n, "input %d (\"%s\") has %lld entries", input, v->name, (long long)count);
    int64_t *x = ARENA_ARRAY(n->graph->arena, int64_t, count);
    for (int64_t i = 0; i < count; i++)
        x[i] = const_int(v, i);
    *out = x;
    *n_out = (int)count;
    return true;
}

bool infer_type_in(const Node *n, int i, const DType *allowed) {
    DType t = n->in[i]->dtype;
    for (; *allowed != DT_NONE; allowed++)
        if (*allowed == t)
            return true;
    return infer_error(n, "input %d has element type %s, which mlcc does not support here", i, dtype_name(t));
}

bool infer_numeric(const Node *n, int i) {
    DType t = n->in[i]->dtype;
    if (dtype_is_float(t) || dtype_is_integer(t))
        return true;
    return infer_error(n, "input %d has element type %s; a number is needed", i, dtype_name(t));
}

bool infer_float(const Node *n, int i) {
    DType t = n->in[i]->dtype;
    if (dtype_is_float(t))
        return true;
    return infer_error(n, "input %d has element type %s; a floating-point type is needed", i, dtype_name(t));
}

bool infer_present(const Node *n, int i) {
    if (i < n->nin && n->in[i])
        return true;
    return infer_error(n, "input %d is missing", i);
}

bool infer_same(Node *n) { return infer_set(n, 0, n->in[0]->dtype, n->in[0]->rank, n->in[0]->dim); }

/* The broadcast shape of all inputs as output 0's, with element type t. */
bool infer_broadcast_all(Node *n, DType t) {
    int64_t dim[GRAPH_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < n->nin; i++) {
        if (!n->in[i])
            continue;
        int64_t so_far[GRAPH_MAX_RANK];
        memcpy(so_far, dim, sizeof dim);
        rank = infer_broadcast(n, rank, so_far, n->in[i]->rank, n->in[i]->dim, dim);
        if (rank < 0)
            return false;
    }
    return infer_set(n, 0, t, rank, dim);
}

bool infer_one_type(const Node *n) {
    for (int i = 1; i < n->nin; i++)
        if (n->in[i] && n->in[i]->dtype != n->in[0]->dtype)
            return infer_error(n, "inputs 0 and %d have element types %s and %s; they must be the same", i,
                               dtype_name(n->in[0]->dtype), dtype_name(n->in[i]->dtype));
    return true;
}

bool infer_elementwise(Node *n) { return infer_one_type(n) && infer_broadcast_all(n, n->in[0]->dtype); }

bool infer_ints_attr(const Node *n, const char *name, int count, int64_t least, int64_t most, int64_t otherwise, int64_t *out) {
    const Attr *a = node_attr(n, name);
    for (int i = 0; i < count; i++)
        out[i] = otherwise;
    if (!a)
        return true;
    if (a->kind != ATTR_INTS || a->n != count)
        return infer_error(n, "attribute \"%s\" must have %d entries", name, count);
    for (int i = 0; i < count; i++) {
        if (a->ints[i] < least || a->ints[i] > most)
            return infer_error(n, "attribute \"%s\": %lld is outside %lld .. %lld", name, (long long)a->ints[i], (long long)least,
                               (long long)most);
        out[i] = a->ints[i];
    }
    return true;
}

bool infer_choice(const Node *n, const char *name, const char *const *choices, int count, int *out) {
    const char *s = attr_string(n, name, choices[0]);
    for (int i = 0; i < count; i++) {
        if (!strcmp(s, choices[i])) {
            *out = i;
            return true;
        }
    }
    return infer_error(n, "attribute \"%s\" is \"%s\"", name, s);
}
