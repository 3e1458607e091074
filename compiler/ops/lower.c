/* SPDX-License-Identifier: Apache-2.0 */
/* Loads, stores and loops of lowering: where logical indices meet storage, producers and epilogues. */
#include "ops/lower.h"

#include <assert.h>

#include "ops/lower_state.h"

DType lower_compute_type(DType t) { return dtype_is_half(t) ? DT_F32 : dtype_stored(t); }

/* Computed and used inside the group only. */
static bool is_internal(const Lower *l, const Value *v) {
    if (v->kind != VALUE_NODE || v->def->group != l->state->group || v->is_output)
        return false;
    for (int i = 0; i < v->uses.len; i++)
        if (v->uses.data[i].node->group != l->state->group)
            return false;
    return true;
}

static bool is_summed(const Value *v) {
    for (int i = 0; i < v->uses.len; i++)
        if (!(v->uses.data[i].node->op->flags & (OP_REDUCTION | OP_LOOPS)))
            return false;
    return v->uses.len && !v->is_output;
}

DType lower_stored_type(const LowerOptions *o, const Value *v) {
    const Value *root = v->storage.root;
    return o->wide_halves && dtype_is_half(root->dtype) && value_is_const(root) && is_summed(root) ? DT_F32 : dtype_stored(v->dtype);
}

/* The parameter through which the kernel reaches a value's elements: its pointer is at the value's first element. */
static KParam *param_of(Lower *l, Value *v, bool written) {
    LowerState *s = l->state;
    for (int i = 0; i < s->bindings.len; i++)
        if (s->bindings.data[i].value == v)
            return s->bindings.data[i].param;
    int64_t count = v->storage.root->buffer_size - v->storage.offset;
    KParam *p = kernel_param(l->kernel, NULL, lower_stored_type(&l->options, v), count, written); /* named when the kernel is complete */
    VEC_PUSH(l->arena, &s->bindings, ((Binding){p, v, NULL, written}));
    return p;
}

static KIndex address(Lower *l, const Value *v, const KIndex *idx) {
    const LowerState *s = l->state;
    KIndex at = kx_const(l->arena, 0);
    for (int d = 0; d < v->rank; d++) {
        if (v->dim[d] == 1)
            continue;
        KIndex i = idx[d];
        if (d == 2 && v->window)
            i = kx_sub(l->arena, i, v == s->strips->value[s->member] ? s->out_base : s->in_base);
        at = kx_add(l->arena, at, kx_scale(l->arena, i, v->storage.stride[d]));
    }
    return at;
}

/* Whether idx of v is the element that is being stored. Along axes of size 1 there is one index, however written. */
static bool is_stored_index(const LowerState *s, const Value *v, const KIndex *idx) {
    if (!s->stored_idx || v->rank != s->stored_rank)
        return false;
    for (int d = 0; d < v->rank; d++)
        if (v->dim[d] != 1 && !kx_equal(idx[d], s->stored_idx[d]))
            return false;
    return true;
}

/* An internal value: known already, or its producer's expression. */
static KValue *evaluate(Lower *l, Value *v, const KIndex *idx) {
    LowerState *s = l->state;
    bool at_store = is_stored_index(s, v, idx);
    for (int i = 0; at_store && i < s->known.len; i++)
        if (s->known.data[i].value == v)
            return s->known.data[i].x;
    assert(v->def_index == 0 && v->def->op->element);
    KValue *x = v->def->op->element(l, v->def, idx);
    if (at_store)
        VEC_PUSH(l->arena, &s->known, ((Known){v, x}));
    return x;
}

static const Stage *stage_of(const Lower *l, const Value *v) {
    for (int i = 0; i < l->state->stages.len; i++)
        if (l->state->stages.data[i].value == v)
            return &l->state->stages.data[i];
    return NULL;
}

void lower_stage(Lower *l, const Node *n, int i, KParam *p, KIndex origin, const int64_t *stride) {
    const Value *v = n->in[i];
    LowerState *s = l->state;
    int kept = 0;
    for (int k = 0; k < s->stages.len; k++)
        if (s->stages.data[k].value != v)
            s->stages.data[kept++] = s->stages.data[k];
    s->stages.len = kept;
    if (p)
        VEC_PUSH(l->arena, &s->stages, ((Stage){v, p, origin, arena_dup(l->arena, stride, (size_t)v->rank * sizeof *stride)}));
}

static KValue *load_staged(Lower *l, const Stage *s, const KIndex *idx) {
    KIndex at = s->origin;
    for (int d = 0; d < s->value->rank; d++)
        if (s->stride[d])
            at = kx_add(l->arena, at, kx_scale(l->arena, idx[d], s->stride[d]));
    return kb_load(&l->b, s->param, at);
}

KValue *lower_load(Lower *l, const Node *n, int i, const KIndex *idx) {
    Value *v = n->in[i];
    const Stage *stage = stage_of(l, v);
    if (stage)
        return load_staged(l, stage, idx);
    if (value_is_number(v) && dtype_bits(v->dtype)) {
        DType t = lower_compute_type(v->dtype);
        return dtype_is_float(t) ? kb_float(&l->b, t, const_float(v, 0)) : kb_int(&l->b, t, const_int(v, 0));
    }
    if (v->kind == VALUE_NODE && v->def->group == l->state->group)
        return evaluate(l, v, idx);
    KValue *x = kb_load(&l->b, param_of(l, v, false), address(l, v, idx));
    return kb_cast(&l->b, x, lower_compute_type(v->dtype));
}

KValue *lower_load_broadcast(Lower *l, const Node *n, int i, const KIndex *idx) {
    const Value *v = n->in[i];
    int shift = n->out[0]->rank - v->rank;
    KIndex own[GRAPH_MAX_RANK];
    for (int d = 0; d < v->rank; d++)
        own[d] = v->dim[d] == 1 ? kx_const(l->arena, 0) : idx[d + shift];
    return lower_load(l, n, i, own);
}

static bool depends_on(const Lower *l, const Node *n, const Value *v) {
    for (int i = 0; i < n->nin; i++) {
        Value *x = n->in[i];
        if (x == v)
            return true;
        if (x && x->kind == VALUE_NODE && x->def->group == l->state->group && depends_on(l, x->def, v))
            return true;
    }
    return false;
}

static void store_value(Lower *l, Value *v, const KIndex *idx, KValue *x) {
    kb_store(&l->b, param_of(l, v, true), address(l, v, idx), kb_cast(&l->b, x, dtype_stored(v->dtype)));
}

void lower_store(Lower *l, const Node *n, int o, const KIndex *idx, KValue *x) {
    Value *v = n->out[o];
    if (!v || (!v->uses.len && !v->is_output))
        return;
    LowerState *s = l->state;
    assert(!s->stored_idx && x->type.dtype == lower_compute_type(v->dtype));
    s->stored_idx = idx;
    s->stored_rank = v->rank;
    s->known.len = 0;
    VEC_PUSH(l->arena, &s->known, ((Known){v, x}));
    if (!is_internal(l, v))
        store_value(l, v, idx, x);
    for (Node *m = n->next; m && m->group == s->group; m = m->next) {
        Value *y = m->out[0];
        if (!is_internal(l, y) && depends_on(l, m, v))
            store_value(l, y, idx, evaluate(l, y, idx));
    }
    s->stored_idx = NULL;
}

/* The value whose storage the group's loops should follow when they compute v. */
static const Value *stored_in_place_of(const Lower *l, const Value *v) {
    if (!v || v->kind != VALUE_NODE || v->def->group != l->state->group || !is_internal(l, v))
        return v;
    for (const Node *m = v->def->next; m && m->group == l->state->group; m = m->next)
        if (!is_internal(l, m->out[0]) && value_same_shape(m->out[0], v))
            return m->out[0];
    return NULL;
}

void lower_order(const Lower *l, int rank, const int64_t *dim, const Value *v, int *order) {
    v = stored_in_place_of(l, v);
    const int64_t *stride = v && v->rank == rank && v->storage.root ? v->storage.stride : NULL;
    for (int d = 0; d < rank; d++) {
        int at = d;
        for (; stride && dim[d] != 1 && at > 0; at--) {
            int before = order[at - 1];
            if (dim[before] != 1 && stride[before] >= stride[d])
                break;
            order[at] = before;
        }
        order[at] = d;
    }
}

LoopNest lower_loops(Lower *l, int rank, const int64_t *dim, const Value *v) {
    static const char *const names[] = {"i0", "i1", "i2",  "i3",  "i4",  "i5",  "i6",  "i7",
                                        "i8", "i9", "i10", "i11", "i12", "i13", "i14", "i15"};
    LoopNest nest = {0};
    int order[GRAPH_MAX_RANK];
    lower_order(l, rank, dim, v, order);
    for (int k = 0; k < rank; k++) {
        int d = order[k];
        if (dim[d] == 1) {
            nest.idx[d] = kx_const(l->arena, 0);
            continue;
        }
        KInstr *loop = d == 2 && l->state->strips
                           ? kb_for(&l->b, KLOOP_PARALLEL, names[d], kx_value(&l->b, l->state->from),
                                    kx_value(&l->b, l->state->to), 1, 0, NULL)
                           : lower_for(l, KLOOP_PARALLEL, names[d], 0, dim[d], 0, NULL);
        nest.loop[nest.n++] = loop;
        nest.idx[d] = lower_iv(l, loop);
    }
    return nest;
}

void lower_end_loops(Lower *l, LoopNest *nest) {
    while (nest->n)
        kb_end_for(&l->b, nest->loop[--nest->n], NULL);
}

KValue *lower_element(Lower *l, const Node *n, const KIndex *idx) {
    /* Values at this very index are computed once, however many members of the group read them. */
    l->state->stored_idx = idx;
    l->state->stored_rank = n->out[0]->rank;
    KValue *x = n->op->element(l, n, idx);
    l->state->stored_idx = NULL;
    return x;
}

void lower_elements(Lower *l, const Node *n) {
    const Value *y = n->out[0];
    LoopNest nest = lower_loops(l, y->rank, y->dim, y);
    lower_store(l, n, 0, nest.idx, lower_element(l, n, nest.idx));
    lower_end_loops(l, &nest);
}

bool lower_rows(const Lower *l, KIndex *from, KIndex *to) {
    if (!l->state->strips)
        return false;
    *from = l->state->from;
    *to = l->state->to;
    return true;
}

KInstr *lower_for(Lower *l, KLoopKind kind, const char *name, int64_t lo, int64_t hi, int n, KValue *const *init) {
    KValue *from = kb_int(&l->b, DT_INDEX, lo), *to = kb_int(&l->b, DT_INDEX, hi);
    return kb_for(&l->b, kind, name, from, to, 1, n, init);
}

KIndex lower_iv(Lower *l, const KInstr *loop) { return kx_var(l->arena, kb_iv(loop)); }

static KParam *own_buffer(Lower *l, KBuffer *buffer, bool written) {
    KParam *p = kernel_param(l->kernel, NULL, buffer->dtype, buffer->count, written);
    VEC_PUSH(l->arena, &l->state->bindings, ((Binding){p, NULL, buffer, written}));
    return p;
}

KParam *lower_scratch(Lower *l, DType t, int64_t count) {
    KBuffer *b = kernel_buffer(l->module, KBUF_ARENA, NULL, t, count);
    b->arena_offset = -1; /* lower_graph places it when all calls are known */
    return own_buffer(l, b, true);
}

KParam *lower_table(Lower *l, const char *name, DType t, int64_t count, const void *data) {
    static const int64_t one = 1;
    KBuffer *b = kernel_buffer(l->module, KBUF_CONST, name, t, count);
    int64_t *dim = arena_dup(l->arena, &count, sizeof count);
    b->data = (KData){.bytes = arena_dup(l->arena, data, (size_t)count * (size_t)dtype_size(t)), .rank = 1, .dim = dim, .stride = &one};
    return own_buffer(l, b, false);
}
