/* SPDX-License-Identifier: Apache-2.0 */
/* Cloning through a map. */
#include "kernel/rewrite.h"

#include <assert.h>

#include "support/ints.h"

KMap kmap_new(KKernel *k) { return (KMap){ARENA_ARRAY(k->module->arena, KValue *, k->next_id), k->next_id}; }

KValue *kmap_get(const KMap *m, KValue *v) { return v->id < m->n && m->to[v->id] ? m->to[v->id] : v; }

void kmap_set(KMap *m, const KValue *v, KValue *by) {
    assert(v->id < m->n);
    m->to[v->id] = by;
    if (v->name && !by->name && (!by->def || by->def->op != KOP_CONST))
        by->name = v->name;
}

KIndex kmap_index(Arena *a, const KMap *m, KIndex x) {
    bool same = true;
    for (int i = 0; i < x->n && same; i++)
        same = kmap_get(m, x->term[i].var) == x->term[i].var;
    if (same)
        return x;
    KIndex r = kx_const(a, x->base);
    for (int i = 0; i < x->n; i++)
        r = kx_add(a, r, kx_scale(a, kx_var(a, kmap_get(m, x->term[i].var)), x->term[i].coef));
    return r;
}

bool kinstr_is(const KInstr *i, unsigned flags) { return (kop_info[i->op].flags & flags) != 0; }

bool kinstr_has_effect(const KInstr *i) {
    if (i->op == KOP_STORE)
        return true;
    for (int n = 0; n < 2; n++)
        for (const KInstr *j = i->block[n] ? i->block[n]->first : NULL; j; j = j->next)
            if (kinstr_has_effect(j))
                return true;
    return false;
}

bool kloop_bounds(const KInstr *loop, int64_t *lo, int64_t *hi, int64_t *trips) {
    const KInstr *l = loop->arg[0]->def, *h = loop->arg[1]->def;
    if (!l || !h || l->op != KOP_CONST || h->op != KOP_CONST)
        return false;
    *lo = l->imm.i;
    *hi = h->imm.i;
    if (trips)
        *trips = *hi > *lo ? divide_up(*hi - *lo, loop->step) : 0;
    return true;
}

/* INDEX by a constant may become simpler: more is known of where the variables are. */
static KValue *clone_quotient(KBuilder *b, KOp op, KValue *x, KValue *y) {
    int64_t c;
    if (x->type.dtype != DT_INDEX || x->type.lanes != 1 || !kx_is_const(kx_var(b->arena, y), &c) || c < 1)
        return kb_binary(b, op, x, y);
    KIndex at = kx_var(b->arena, x);
    return kx_value(b, op == KOP_DIV ? kx_div(b, at, c) : kx_rem(b, at, c));
}

static KValue *clone_value(KBuilder *b, KMap *m, const KInstr *i, KValue **arg) {
    const KType t = i->result[0]->type;
    switch (i->op) {
    case KOP_CONST: {
        KInstr *c = kb_insert(b, KOP_CONST, 0, NULL, 1, &t);
        c->imm = i->imm;
        return c->result[0];
    }
    case KOP_AFFINE: return kx_value(b, kmap_index(b->arena, m, i->mem.at));
    case KOP_DIV:
    case KOP_REM: return clone_quotient(b, i->op, arg[0], arg[1]);
    case KOP_RAMP: return kb_ramp(b, arg[0], t.lanes, i->imm.i);
    case KOP_FMA: return kb_fma(b, arg[0], arg[1], arg[2]);
    case KOP_DOT_LONG:
    case KOP_DOT_SUM:
    case KOP_MATMUL_2X2:
    case KOP_DOT:
    case KOP_DOT_S8: return kb_dot(b, i->op, arg[0], arg[1], arg[2]);
    case KOP_SELECT: return kb_select(b, arg[0], arg[1], arg[2]);
    case KOP_CAST: return kb_cast(b, arg[0], t.dtype);
    case KOP_BITCAST: return kb_bitcast(b, arg[0], t.dtype);
    case KOP_NEAREST: return kb_nearest(b, arg[0]);
    case KOP_NIBBLE: return kb_nibble(b, arg[0]);
    case KOP_SATURATE: return kb_saturate(b, i->nargs, arg, t.dtype);
    case KOP_SPLAT: return kb_splat(b, arg[0], t.lanes);
    case KOP_PACK: return kb_pack(b, i->nargs, arg);
    case KOP_EXTRACT: return kb_extract(b, arg[0], (int)i->imm.i, t.lanes);
    case KOP_WORDS: return kb_words(b, i->nargs, arg, (int)i->imm.i, t.lanes);
    case KOP_REDUCE_ADD:
    case KOP_REDUCE_MUL:
    case KOP_REDUCE_MIN:
    case KOP_REDUCE_MAX: return kb_reduce(b, i->op, arg[0]);
    case KOP_LOAD:
        return kb_load_vector(b, i->mem.param, kmap_index(b->arena, m, i->mem.at), t.lanes, i->mem.lane_stride);
    case KOP_CALL: return kb_call(b, i->func, i->nargs, arg);
    default: return i->nargs == 1 ? kb_unary(b, i->op, arg[0]) : kb_binary(b, i->op, arg[0], arg[1]);
    }
}

static void clone_loop(KBuilder *b, KMap *m, const KInstr *i, KValue **arg) {
    int n = i->nresults;
    int64_t lo0, lo1, hi0, hi1;
    bool known = kernel_value_range(arg[0], &lo0, &lo1) && kernel_value_range(arg[1], &hi0, &hi1);
    if (known && hi1 <= lo0) {
        for (int k = 0; k < n; k++)
            kmap_set(m, i->result[k], arg[2 + k]);
        return;
    }
    KValue **next = ARENA_ARRAY(b->arena, KValue *, n);
    if (known && hi0 > lo1 && hi1 - lo0 <= i->step) {
        kmap_set(m, kb_iv(i), arg[0]);
        for (int k = 0; k < n; k++)
            kmap_set(m, kb_carried(i, k), arg[2 + k]);
        kernel_clone_block(b, m, i->block[0], next);
        for (int k = 0; k < n; k++)
            kmap_set(m, i->result[k], next[k]);
        return;
    }
    KInstr *loop = kb_for(b, i->loop, kb_iv(i)->name, arg[0], arg[1], i->step, n, arg + 2);
    kmap_set(m, kb_iv(i), kb_iv(loop));
    for (int k = 0; k < n; k++)
        kmap_set(m, kb_carried(i, k), kb_carried(loop, k));
    kernel_clone_block(b, m, i->block[0], next);
    kb_end_for(b, loop, next);
    for (int k = 0; k < n; k++)
        kmap_set(m, i->result[k], kb_result(loop, k));
}

static void clone_if(KBuilder *b, KMap *m, const KInstr *i, KValue *cond) {
    KValue **x = ARENA_ARRAY(b->arena, KValue *, i->nresults);
    if (cond->def && cond->def->op == KOP_CONST) {
        kernel_clone_block(b, m, i->block[cond->def->imm.i ? 0 : 1], x);
        for (int k = 0; k < i->nresults; k++)
            kmap_set(m, i->result[k], x[k]);
        return;
    }
    KInstr *branch = kb_if(b, cond, i->nresults);
    kernel_clone_block(b, m, i->block[0], x);
    kb_else(b, branch, x);
    kernel_clone_block(b, m, i->block[1], x);
    kb_end_if(b, branch, x);
    for (int k = 0; k < i->nresults; k++)
        kmap_set(m, i->result[k], kb_result(branch, k));
}

void kernel_clone(KBuilder *b, KMap *m, const KInstr *i) {
    KValue **arg = ARENA_ARRAY(b->arena, KValue *, i->nargs);
    for (int k = 0; k < i->nargs; k++)
        arg[k] = kmap_get(m, i->arg[k]);
    switch (i->op) {
    case KOP_FOR:
        clone_loop(b, m, i, arg);
        break;
    case KOP_IF:
        clone_if(b, m, i, arg[0]);
        break;
    case KOP_STORE:
        kb_store_vector(b, i->mem.param, kmap_index(b->arena, m, i->mem.at), arg[0], i->mem.lane_stride);
        break;
    default:
        kmap_set(m, i->result[0], clone_value(b, m, i, arg));
    }
}

void kernel_clone_block(KBuilder *b, KMap *m, const KBlock *block, KValue **out) {
    for (const KInstr *i = block->first; i; i = i->next) {
        if (i->op != KOP_YIELD) {
            kernel_clone(b, m, i);
            continue;
        }
        for (int k = 0; out && k < i->nargs; k++)
            out[k] = kmap_get(m, i->arg[k]);
    }
}

void kernel_replace_uses(KKernel *k, KBlock *block, const KMap *m) {
    for (KInstr *i = block->first; i; i = i->next) {
        for (int a = 0; a < i->nargs; a++)
            i->arg[a] = kmap_get(m, i->arg[a]);
        if (i->mem.at)
            i->mem.at = kmap_index(k->module->arena, m, i->mem.at);
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                kernel_replace_uses(k, i->block[n], m);
    }
}

KKernel *kernel_copy(const KKernel *k, const char *name) {
    KKernel *copy = kernel_new(k->module, name);
    KMap m = kmap_new((KKernel *)k);
    copy->params.data = k->params.data;
    copy->params.len = copy->params.cap = k->params.len;
    for (int i = 0; i < k->body->nargs; i++)
        kmap_set(&m, k->body->arg[i], kernel_index(copy, k->body->arg[i]->name));
    KBuilder b = kb_at_end(copy, copy->body);
    kernel_clone_block(&b, &m, k->body, NULL);
    kb_yield(&b, 0, NULL);
    return copy;
}
