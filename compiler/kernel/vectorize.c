/* SPDX-License-Identifier: Apache-2.0 */
/* A parallel loop becomes lanes. Values that vary with it turn into vectors; indices stay scalar, one for each lane, and
 * make contiguous or strided accesses where they advance evenly, else one access a lane. */
#include <math.h>

#include "kernel/transform.h"

enum { MOST_LANES = 64 };

typedef struct Undo {
    KMap *map;
    const KValue *v;
    KValue *old;
} Undo;

typedef struct Lanes {
    KBuilder b;
    const bool *varies;
    int n;
    KMap uniform; /* values that do not vary */
    KMap vector;  /* values that do: all lanes in one */
    KMap lane[MOST_LANES]; /* … and one by one, where known */
    VEC(Undo) trail; /* what was put into the maps: at the end of a nested block it no longer dominates */
} Lanes;

static bool varies(const Lanes *l, const KValue *v) { return l->varies[v->id]; }

static bool known(const KMap *m, const KValue *v) { return v->id < m->n && m->to[v->id]; }

static void put(Lanes *l, KMap *m, const KValue *v, KValue *by) {
    VEC_PUSH(l->b.arena, &l->trail, ((Undo){m, v, m->to[v->id]}));
    kmap_set(m, v, by);
}

static void undo(Lanes *l, int mark) {
    while (l->trail.len > mark) {
        const Undo *u = &l->trail.data[--l->trail.len];
        u->map->to[u->v->id] = u->old;
    }
}

static KValue *lane_of(Lanes *l, KValue *v, int t) {
    if (!varies(l, v))
        return kmap_get(&l->uniform, v);
    if (known(&l->lane[t], v))
        return kmap_get(&l->lane[t], v);
    KValue *x = kb_extract(&l->b, kmap_get(&l->vector, v), t, 1);
    put(l, &l->lane[t], v, x);
    return x;
}

static KValue *vector_of(Lanes *l, KValue *v) {
    if (!varies(l, v))
        return kb_splat(&l->b, kmap_get(&l->uniform, v), l->n);
    if (known(&l->vector, v))
        return kmap_get(&l->vector, v);
    KValue *part[MOST_LANES];
    for (int t = 0; t < l->n; t++)
        part[t] = lane_of(l, v, t);
    KValue *x = kb_pack(&l->b, l->n, part);
    put(l, &l->vector, v, x);
    return x;
}

/* The lane's map knows everything that the instruction names. */
static void prepare(Lanes *l, const KInstr *i, int t) {
    for (int a = 0; a < i->nargs; a++)
        put(l, &l->lane[t], i->arg[a], lane_of(l, i->arg[a], t));
    for (int k = 0; i->mem.at && k < i->mem.at->n; k++)
        put(l, &l->lane[t], i->mem.at->term[k].var, lane_of(l, i->mem.at->term[k].var, t));
}

static void one_by_one(Lanes *l, const KInstr *i) {
    for (int t = 0; t < l->n; t++) {
        prepare(l, i, t);
        kernel_clone(&l->b, &l->lane[t], i);
    }
}

/* Address of lane 0 and the step from lane to lane; false where they do not advance evenly. */
static bool even_step(Lanes *l, const KInstr *i, KIndex *first, int64_t *step) {
    KIndex before = NULL;
    for (int t = 0; t < l->n; t++) {
        prepare(l, i, t);
        KIndex at = kmap_index(l->b.arena, &l->lane[t], i->mem.at);
        int64_t c;
        if (t == 0)
            *first = at;
        else if (!kx_is_const(kx_sub(l->b.arena, at, before), &c) || (t > 1 && c != *step))
            return false;
        else
            *step = c;
        before = at;
    }
    return true;
}

static void load(Lanes *l, const KInstr *i) {
    KIndex first;
    int64_t step;
    int each = i->result[0]->type.lanes; /* several elements for one lane are bytes of a word, one behind the other */
    if (even_step(l, i, &first, &step) && (each == 1 || (step == each && i->mem.lane_stride == 1)))
        kmap_set(&l->vector, i->result[0], kb_load_vector(&l->b, i->mem.param, first, l->n * each, each == 1 ? step : 1));
    else
        one_by_one(l, i);
}

static void store(Lanes *l, const KInstr *i) {
    KIndex first;
    int64_t step;
    if (even_step(l, i, &first, &step))
        kb_store_vector(&l->b, i->mem.param, first, vector_of(l, i->arg[0]), step);
    else
        one_by_one(l, i);
}

static KValue *widened(Lanes *l, const KInstr *i) {
    KValue *a[4] = {0};
    for (int k = 0; k < i->nargs && k < 4; k++)
        a[k] = vector_of(l, i->arg[k]);
    DType to = i->result[0]->type.dtype;
    switch (i->op) {
    case KOP_CALL: return kb_call(&l->b, kernel_func_lanes(l->b.module, i->func, l->n), i->nargs, a);
    case KOP_FMA: return kb_fma(&l->b, a[0], a[1], a[2]);
    case KOP_DOT:
    case KOP_DOT_LONG:
    case KOP_DOT_S8: return kb_dot(&l->b, i->op, a[0], a[1], a[2]);
    case KOP_SELECT: return kb_select(&l->b, a[0], a[1], a[2]);
    case KOP_CAST: return kb_cast(&l->b, a[0], to);
    case KOP_BITCAST: return kb_bitcast(&l->b, a[0], to);
    case KOP_NEAREST: return kb_nearest(&l->b, a[0]);
    case KOP_NIBBLE: return kb_nibble(&l->b, a[0]);
    case KOP_SATURATE: return kb_saturate(&l->b, i->nargs, a, to);
    case KOP_WORDS: return kb_words(&l->b, i->nargs, a, 0, l->n);
    default: return i->nargs == 1 ? kb_unary(&l->b, i->op, a[0]) : kb_binary(&l->b, i->op, a[0], a[1]);
    }
}

static void block_lanes(Lanes *l, const KBlock *block, KValue **yield);

static KValue *either(Lanes *l, KValue *v, bool vector) { return vector ? vector_of(l, v) : kmap_get(&l->uniform, v); }

static void set(Lanes *l, const KValue *v, KValue *by) { kmap_set(varies(l, v) ? &l->vector : &l->uniform, v, by); }

static void widen_for(Lanes *l, const KInstr *i) {
    int n = i->nresults;
    KValue **value = ARENA_ARRAY(l->b.arena, KValue *, n);
    for (int r = 0; r < n; r++)
        value[r] = either(l, i->arg[2 + r], varies(l, i->result[r]));
    KValue *lo = kmap_get(&l->uniform, i->arg[0]), *hi = kmap_get(&l->uniform, i->arg[1]);
    KInstr *loop = kb_for(&l->b, i->loop, kb_iv(i)->name, lo, hi, i->step, n, value);
    kmap_set(&l->uniform, kb_iv(i), kb_iv(loop));
    for (int r = 0; r < n; r++)
        set(l, kb_carried(i, r), kb_carried(loop, r));
    block_lanes(l, i->block[0], value);
    kb_end_for(&l->b, loop, value);
    for (int r = 0; r < n; r++)
        set(l, i->result[r], kb_result(loop, r));
}

static void widen_if(Lanes *l, const KInstr *i) {
    KValue **value = ARENA_ARRAY(l->b.arena, KValue *, i->nresults);
    KInstr *branch = kb_if(&l->b, kmap_get(&l->uniform, i->arg[0]), i->nresults);
    block_lanes(l, i->block[0], value);
    kb_else(&l->b, branch, value);
    block_lanes(l, i->block[1], value);
    kb_end_if(&l->b, branch, value);
    for (int r = 0; r < i->nresults; r++)
        set(l, i->result[r], kb_result(branch, r));
}

static bool names_varying(const Lanes *l, const KInstr *i) {
    for (int a = 0; a < i->nargs; a++)
        if (varies(l, i->arg[a]))
            return true;
    for (int k = 0; i->mem.at && k < i->mem.at->n; k++)
        if (varies(l, i->mem.at->term[k].var))
            return true;
    return false;
}

static bool takes_index(const KInstr *i) {
    for (int a = 0; a < i->nargs; a++)
        if (i->arg[a]->type.dtype == DT_INDEX)
            return true;
    return false;
}

static void instr_lanes(Lanes *l, const KInstr *i) {
    if (i->op == KOP_FOR)
        widen_for(l, i);
    else if (i->op == KOP_IF)
        widen_if(l, i);
    else if (!names_varying(l, i))
        kernel_clone(&l->b, &l->uniform, i);
    else if (i->op == KOP_LOAD)
        load(l, i);
    else if (i->op == KOP_STORE)
        store(l, i);
    else if (i->op == KOP_AFFINE || takes_index(i) || i->result[0]->type.dtype == DT_INDEX)
        one_by_one(l, i);
    else
        kmap_set(&l->vector, i->result[0], widened(l, i));
}

static void block_lanes(Lanes *l, const KBlock *block, KValue **yield) {
    int mark = l->trail.len;
    for (const KInstr *i = block->first; i; i = i->next) {
        if (i->op != KOP_YIELD) {
            instr_lanes(l, i);
            continue;
        }
        for (int r = 0; yield && r < i->nargs; r++)
            yield[r] = either(l, i->arg[r], varies(l, block->parent->result[r]));
    }
    undo(l, mark);
}

static bool is_wide_type(KType t) {
    switch (t.dtype) {
    case DT_F32:
    case DT_I32:
    case DT_U8:
    case DT_I8: return t.lanes == 1 || t.lanes == 4 || t.lanes == 8;
    case DT_U16:
    case DT_I16:
    case DT_F16:
    case DT_BF16:
    case DT_BOOL:
    case DT_INDEX: return t.lanes == 1;
    default: return false;
    }
}

/* Eight bytes that become a word, maybe with their signs turned. */
static bool is_long_word(const KInstr *i) {
    if (i->op == KOP_XOR && i->arg[0]->def)
        i = i->arg[0]->def;
    return i->op == KOP_BITCAST && i->result[0]->type.dtype == DT_I64 && i->arg[0]->type.lanes == 8;
}

/* Bytes of a word are only read, and only to become one. */
static bool is_bytes_elsewhere(const KInstr *i) {
    for (int r = 0; r < i->nresults; r++)
        if (i->result[r]->type.lanes > 1 && i->op != KOP_LOAD)
            return true;
    for (int a = 0; a < i->nargs; a++)
        if (i->arg[a]->type.lanes > 1 && (i->op != KOP_BITCAST || i->result[0]->type.lanes > 1))
            return true;
    return false;
}

static bool can_widen(const bool *v, const KBlock *block) {
    for (const KInstr *i = block->first; i; i = i->next) {
        if (is_bytes_elsewhere(i))
            return false;
        for (int r = 0; r < i->nresults; r++)
            if (v[i->result[r]->id] && !is_wide_type(i->result[r]->type) && !is_long_word(i))
                return false;
        if (i->op == KOP_STORE && !is_wide_type(i->arg[0]->type))
            return false;
        if (i->op == KOP_FOR && (v[i->arg[0]->id] || v[i->arg[1]->id] || !can_widen(v, i->block[0])))
            return false;
        if (i->op == KOP_IF && (v[i->arg[0]->id] || !can_widen(v, i->block[0]) || !can_widen(v, i->block[1])))
            return false;
        for (int r = 0; i->op == KOP_FOR && r < i->nresults; r++)
            if (v[i->result[r]->id] && i->result[r]->type.dtype == DT_INDEX)
                return false;
    }
    return true;
}

bool schedule_can_vectorize(KKernel *k, const KInstr *loop) {
    return loop->loop == KLOOP_PARALLEL && !loop->nresults && can_widen(schedule_varying(k, loop, true), loop->block[0]);
}

/* Lane t is iteration first + t. */
static Lanes *lanes_new(KKernel *k, KBuilder b, const bool *v, const KInstr *loop, KIndex first, int n) {
    Lanes *l = ARENA_NEW(k->module->arena, Lanes);
    l->b = b;
    l->varies = v;
    l->n = n;
    l->uniform = kmap_new(k);
    l->vector = kmap_new(k);
    for (int t = 0; t < n; t++) {
        l->lane[t] = kmap_new(k);
        kmap_set(&l->lane[t], kb_iv(loop), kx_value(&l->b, kx_add_const(b.arena, first, t)));
    }
    return l;
}

bool schedule_vectorize(KKernel *k, KInstr *loop) {
    int64_t lo, hi, trips;
    if (!kloop_bounds(loop, &lo, &hi, &trips) || trips < 2 || trips > MOST_LANES || (trips & (trips - 1)) || loop->step != 1)
        return false;
    const bool *v = schedule_varying(k, loop, true);
    if (loop->loop != KLOOP_PARALLEL || !can_widen(v, loop->block[0]))
        return false;
    Lanes *l = lanes_new(k, kb_before(k, loop), v, loop, kx_const(k->module->arena, lo), (int)trips);
    block_lanes(l, loop->block[0], NULL);
    kernel_unlink(loop);
    return true;
}

/* --- reductions --- */

static int count_uses(const KBlock *block, const KValue *v) {
    int n = 0;
    for (const KInstr *i = block->first; i; i = i->next) {
        for (int a = 0; a < i->nargs; a++)
            n += i->arg[a] == v;
        n += i->mem.at && kx_coef(i->mem.at, v) != 0;
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                n += count_uses(i->block[k], v);
    }
    return n;
}

/* The operation by which result r accumulates, in whatever order; false where it does something else. */
static bool accumulates_by(const KInstr *loop, int r, KOp *op) {
    const KValue *c = kb_carried(loop, r);
    const KInstr *i = loop->block[0]->last->arg[r]->def;
    if (!i || i->parent != loop->block[0] || count_uses(loop->block[0], c) != 1)
        return false;
    *op = i->op == KOP_FMA ? KOP_ADD : i->op;
    switch (i->op) {
    case KOP_FMA: return i->arg[2] == c;
    case KOP_ADD:
    case KOP_MUL:
    case KOP_MIN:
    case KOP_MAX: return i->arg[0] == c || i->arg[1] == c;
    default: return false;
    }
}

/* Marks the accumulators as varying from lane to lane. */
static bool can_reduce(const KInstr *loop, bool *v) {
    KOp op;
    for (int r = 0; r < loop->nresults; r++) {
        if (!v[loop->block[0]->last->arg[r]->id] || loop->result[r]->type.dtype != DT_F32 || !accumulates_by(loop, r, &op))
            return false;
        v[loop->result[r]->id] = v[kb_carried(loop, r)->id] = true;
    }
    return loop->loop == KLOOP_REDUCE && loop->nresults && loop->step == 1 && can_widen(v, loop->block[0]);
}

static KValue *neutral(KBuilder *b, KOp op, KValue *init, int lanes) {
    double x = op == KOP_MUL ? 1 : op == KOP_MIN ? INFINITY : op == KOP_MAX ? -INFINITY : 0;
    return kb_const_like(b, (KType){init->type.dtype, lanes}, x);
}

static KValue *combined(KBuilder *b, KOp op, KValue **chain, int chains, KValue *init) {
    static const KOp reduce[] = {
        [KOP_ADD] = KOP_REDUCE_ADD, [KOP_MUL] = KOP_REDUCE_MUL, [KOP_MIN] = KOP_REDUCE_MIN, [KOP_MAX] = KOP_REDUCE_MAX};
    for (; chains > 1; chains = (chains + 1) / 2)
        for (int c = 0; c < chains / 2; c++)
            chain[c] = kb_binary(b, op, chain[c], chain[chains - 1 - c]);
    return kb_binary(b, op, kb_reduce(b, reduce[op], chain[0]), init);
}

/* What is left of the iterations, from `from` on; maps the results. */
static KInstr *remaining(KBuilder *b, KMap *m, const KInstr *loop, int64_t from, int64_t to, KValue **value) {
    KInstr *rest = kb_for(b, KLOOP_REDUCE, kb_iv(loop)->name, kb_int(b, DT_INDEX, from), kb_int(b, DT_INDEX, to), 1, loop->nresults, value);
    kmap_set(m, kb_iv(loop), kb_iv(rest));
    for (int r = 0; r < loop->nresults; r++)
        kmap_set(m, kb_carried(loop, r), kb_carried(rest, r));
    kernel_clone_block(b, m, loop->block[0], value);
    kb_end_for(b, rest, value);
    for (int r = 0; r < loop->nresults; r++)
        value[r] = kb_result(rest, r);
    return rest;
}

bool schedule_vectorize_reduction(KKernel *k, KInstr *loop, int lanes, int chains, KInstr **rest) {
    enum { MOST_CHAINS = 8 };
    int64_t lo, hi, trips, block = (int64_t)lanes * chains;
    bool *v = schedule_varying(k, loop, true);
    *rest = NULL;
    if (lanes < 2 || lanes > MOST_LANES || chains > MOST_CHAINS || !kloop_bounds(loop, &lo, &hi, &trips) || trips < block ||
        !can_reduce(loop, v))
        return false;
    KBuilder b = kb_before(k, loop);
    Arena *a = b.arena;
    int n = loop->nresults;
    int64_t end = lo + trips / block * block;
    KOp *op = ARENA_ARRAY(a, KOp, n);
    KValue **value = ARENA_ARRAY(a, KValue *, n * chains), **yield = ARENA_ARRAY(a, KValue *, n);
    for (int r = 0; r < n; r++) {
        accumulates_by(loop, r, &op[r]);
        for (int c = 0; c < chains; c++)
            value[r * chains + c] = neutral(&b, op[r], loop->arg[2 + r], lanes);
    }
    KInstr *wide = kb_for(&b, KLOOP_REDUCE, kb_iv(loop)->name, kb_int(&b, DT_INDEX, lo), kb_int(&b, DT_INDEX, end),
                          block, n * chains, value);
    for (int c = 0; c < chains; c++) {
        KIndex first = kx_add_const(a, kx_var(a, kb_iv(wide)), (int64_t)c * lanes);
        Lanes *l = lanes_new(k, b, v, loop, first, lanes);
        for (int r = 0; r < n; r++)
            kmap_set(&l->vector, kb_carried(loop, r), kb_carried(wide, r * chains + c));
        block_lanes(l, loop->block[0], yield);
        for (int r = 0; r < n; r++)
            value[r * chains + c] = yield[r];
        b = l->b;
    }
    kb_end_for(&b, wide, value);
    for (int r = 0; r < n; r++) {
        for (int c = 0; c < chains; c++)
            value[c] = kb_result(wide, r * chains + c);
        yield[r] = combined(&b, op[r], value, chains, loop->arg[2 + r]);
    }
    KMap m = kmap_new(k);
    if (end < hi)
        *rest = remaining(&b, &m, loop, end, hi, yield);
    for (int r = 0; r < n; r++)
        kmap_set(&m, loop->result[r], yield[r]);
    kernel_replace_uses(k, k->body, &m);
    kernel_unlink(loop);
    return true;
}
