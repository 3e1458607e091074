/* SPDX-License-Identifier: Apache-2.0 */
/* Affine index expressions and what is known of their ranges. */
#include <assert.h>

#include "kernel/kernel.h"
#include "support/ints.h"

static KAffine *affine_new(Arena *a, int terms) {
    return arena_alloc(a, sizeof(KAffine) + (size_t)terms * sizeof(KTerm));
}

KIndex kx_const(Arena *a, int64_t c) {
    KAffine *x = affine_new(a, 0);
    x->base = c;
    return x;
}

KIndex kx_var(Arena *a, KValue *v) {
    assert(v->type.dtype == DT_INDEX && v->type.lanes == 1);
    if (v->def && v->def->op == KOP_CONST)
        return kx_const(a, v->def->imm.i);
    if (v->def && v->def->op == KOP_AFFINE)
        return v->def->mem.at;
    KAffine *x = affine_new(a, 1);
    x->n = 1;
    x->term[0] = (KTerm){v, 1};
    return x;
}

/* x + scale * y */
static KIndex combine(Arena *a, KIndex x, KIndex y, int64_t scale) {
    KAffine *r = affine_new(a, x->n + y->n);
    r->base = x->base + scale * y->base;
    int i = 0, j = 0;
    while (i < x->n || j < y->n) {
        KTerm t;
        if (j == y->n || (i < x->n && x->term[i].var->id < y->term[j].var->id)) {
            t = x->term[i++];
        } else if (i == x->n || y->term[j].var->id < x->term[i].var->id) {
            t = (KTerm){y->term[j].var, scale * y->term[j].coef};
            j++;
        } else {
            t = (KTerm){x->term[i].var, x->term[i].coef + scale * y->term[j].coef};
            i++, j++;
        }
        if (t.coef)
            r->term[r->n++] = t;
    }
    return r;
}

KIndex kx_add(Arena *a, KIndex x, KIndex y) { return combine(a, x, y, 1); }

KIndex kx_sub(Arena *a, KIndex x, KIndex y) { return combine(a, x, y, -1); }

KIndex kx_add_const(Arena *a, KIndex x, int64_t c) { return c ? kx_add(a, x, kx_const(a, c)) : x; }

KIndex kx_scale(Arena *a, KIndex x, int64_t c) { return c == 1 ? x : combine(a, kx_const(a, 0), x, c); }

bool kx_is_const(KIndex x, int64_t *c) {
    if (x->n)
        return false;
    if (c)
        *c = x->base;
    return true;
}

bool kx_equal(KIndex x, KIndex y) {
    if (x->base != y->base || x->n != y->n)
        return false;
    for (int i = 0; i < x->n; i++)
        if (x->term[i].var != y->term[i].var || x->term[i].coef != y->term[i].coef)
            return false;
    return true;
}

int64_t kx_coef(KIndex x, const KValue *v) {
    for (int i = 0; i < x->n; i++)
        if (x->term[i].var == v)
            return x->term[i].coef;
    return 0;
}

KIndex kx_substitute(Arena *a, KIndex x, const KValue *v, KIndex by) {
    int64_t coef = kx_coef(x, v);
    if (!coef)
        return x;
    KAffine *rest = affine_new(a, x->n);
    rest->base = x->base;
    for (int i = 0; i < x->n; i++)
        if (x->term[i].var != v)
            rest->term[rest->n++] = x->term[i];
    return combine(a, rest, by, coef);
}

KValue *kx_value(KBuilder *b, KIndex x) {
    if (!x->n)
        return kb_int(b, DT_INDEX, x->base);
    if (x->n == 1 && x->base == 0 && x->term[0].coef == 1)
        return x->term[0].var;
    KType t = {DT_INDEX, 1};
    KInstr *i = kb_insert(b, KOP_AFFINE, 0, NULL, 1, &t);
    i->mem.at = x;
    return i->result[0];
}

/* x = c * quotient + rest where every coefficient of the quotient is whole; true when the rest is known to stay
 * within 0 .. c-1, so that it vanishes in the division. */
static bool split_by(Arena *a, KIndex x, int64_t c, KIndex *quotient, KIndex *rest) {
    KAffine *q = affine_new(a, x->n), *r = affine_new(a, x->n);
    q->base = divide_down(x->base, c);
    r->base = x->base - q->base * c;
    for (int i = 0; i < x->n; i++) {
        KTerm t = x->term[i];
        if (t.coef % c == 0)
            q->term[q->n++] = (KTerm){t.var, t.coef / c};
        else
            r->term[r->n++] = t;
    }
    *quotient = q;
    *rest = r;
    int64_t lo, hi;
    return kx_range(r, &lo, &hi) && lo >= 0 && hi < c;
}

KIndex kx_div(KBuilder *b, KIndex x, int64_t c) {
    assert(c > 0);
    if (c == 1)
        return x;
    KIndex quotient, rest;
    if (split_by(b->arena, x, c, &quotient, &rest))
        return quotient;
    KValue *v = kb_binary(b, KOP_DIV, kx_value(b, rest), kb_int(b, DT_INDEX, c));
    return kx_add(b->arena, quotient, kx_var(b->arena, v));
}

KIndex kx_rem(KBuilder *b, KIndex x, int64_t c) {
    assert(c > 0);
    if (c == 1)
        return kx_const(b->arena, 0);
    KIndex quotient, rest;
    if (split_by(b->arena, x, c, &quotient, &rest))
        return rest;
    return kx_var(b->arena, kb_binary(b, KOP_REM, kx_value(b, rest), kb_int(b, DT_INDEX, c)));
}

KIndex kx_share(KBuilder *b, KIndex part, KIndex whole, int64_t parts) {
    int64_t constant;
    if (kx_is_const(whole, &constant))
        return kx_div(b, kx_scale(b->arena, part, constant), parts);
    KValue *things = kx_value(b, whole), *index = kx_value(b, part);
    return kx_div(b, kx_var(b->arena, kb_binary(b, KOP_MUL, things, index)), parts);
}

bool kx_range(KIndex x, int64_t *lo, int64_t *hi) {
    int64_t least = x->base, most = x->base;
    for (int i = 0; i < x->n; i++) {
        int64_t l, h, c = x->term[i].coef, from, to;
        if (!kernel_value_range(x->term[i].var, &l, &h) || __builtin_mul_overflow(c, c > 0 ? l : h, &from) ||
            __builtin_mul_overflow(c, c > 0 ? h : l, &to) || __builtin_add_overflow(least, from, &least) ||
            __builtin_add_overflow(most, to, &most))
            return false;
    }
    *lo = least;
    *hi = most;
    return true;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

static bool loop_variable_range(const KInstr *loop, int64_t *lo, int64_t *hi) {
    int64_t l0, l1, h0, h1;
    if (!kernel_value_range(loop->arg[0], &l0, &l1) || !kernel_value_range(loop->arg[1], &h0, &h1))
        return false;
    *lo = l0;
    *hi = max64(h1 - 1, l0);
    if (l0 == l1 && h0 == h1 && h1 > l0)
        *hi = l0 + (h1 - 1 - l0) / loop->step * loop->step;
    return true;
}

static bool type_range(DType t, int64_t *lo, int64_t *hi) {
    int bits = dtype_bits(t);
    if (t == DT_BOOL) {
        *lo = 0, *hi = 1;
        return true;
    }
    if (!dtype_is_integer(t) || bits == 0 || bits > 32)
        return false;
    *lo = dtype_is_signed(t) ? -((int64_t)1 << (bits - 1)) : 0;
    *hi = ((int64_t)1 << (dtype_is_signed(t) ? bits - 1 : bits)) - 1;
    return true;
}

static bool product_range(const int64_t a[2], const int64_t c[2], int64_t *lo, int64_t *hi) {
    *lo = INT64_MAX, *hi = INT64_MIN;
    for (int i = 0; i < 4; i++) {
        int64_t p;
        if (__builtin_mul_overflow(a[i & 1], c[i >> 1], &p))
            return false;
        *lo = min64(*lo, p), *hi = max64(*hi, p);
    }
    return true;
}

static bool arithmetic_range(KOp op, const int64_t a[2], const int64_t c[2], int64_t *lo, int64_t *hi) {
    if (op == KOP_MUL)
        return product_range(a, c, lo, hi);
    if (op == KOP_ADD)
        return !__builtin_add_overflow(a[0], c[0], lo) && !__builtin_add_overflow(a[1], c[1], hi);
    return !__builtin_sub_overflow(a[0], c[1], lo) && !__builtin_sub_overflow(a[1], c[0], hi);
}

bool kernel_value_range(const KValue *v, int64_t *lo, int64_t *hi) {
    const KInstr *i = v->def;
    if (dtype_is_float(v->type.dtype))
        return false;
    if (!i) {
        const KInstr *loop = v->block ? v->block->parent : NULL;
        if (loop && loop->op == KOP_FOR && v->index == 0)
            return loop_variable_range(loop, lo, hi);
        return type_range(v->type.dtype, lo, hi);
    }
    int64_t a[2], c[2];
    switch (i->op) {
    case KOP_CONST:
        *lo = *hi = i->imm.i;
        return true;
    case KOP_AFFINE:
        return kx_range(i->mem.at, lo, hi);
    case KOP_CAST:
        if (!kernel_value_range(i->arg[0], &a[0], &a[1]))
            return type_range(v->type.dtype, lo, hi);
        if (type_range(v->type.dtype, lo, hi) && (a[0] < *lo || a[1] > *hi))
            return true; /* it may wrap: anything of the type */
        *lo = a[0], *hi = a[1];
        return true;
    case KOP_SELECT:
        if (!kernel_value_range(i->arg[1], &a[0], &a[1]) || !kernel_value_range(i->arg[2], &c[0], &c[1]))
            break;
        *lo = min64(a[0], c[0]), *hi = max64(a[1], c[1]);
        return true;
    case KOP_MIN:
    case KOP_MAX: {
        bool x = kernel_value_range(i->arg[0], &a[0], &a[1]), y = kernel_value_range(i->arg[1], &c[0], &c[1]);
        if (!x || !y)
            break;
        *lo = i->op == KOP_MIN ? min64(a[0], c[0]) : max64(a[0], c[0]);
        *hi = i->op == KOP_MIN ? min64(a[1], c[1]) : max64(a[1], c[1]);
        return true;
    }
    case KOP_ADD:
    case KOP_SUB:
    case KOP_MUL:
        if (v->type.dtype != DT_INDEX && v->type.dtype != DT_I64)
            break;
        if (!kernel_value_range(i->arg[0], &a[0], &a[1]) || !kernel_value_range(i->arg[1], &c[0], &c[1]))
            break;
        return arithmetic_range(i->op, a, c, lo, hi);
    case KOP_DIV:
        if (v->type.dtype != DT_INDEX || !kernel_value_range(i->arg[0], &a[0], &a[1]) ||
            !kernel_value_range(i->arg[1], &c[0], &c[1]) || c[0] != c[1] || c[0] <= 0)
            break;
        *lo = divide_down(a[0], c[0]), *hi = divide_down(a[1], c[0]);
        return true;
    case KOP_REM:
        if (v->type.dtype != DT_INDEX || !kernel_value_range(i->arg[1], &c[0], &c[1]) || c[0] != c[1] || c[0] <= 0)
            break;
        *lo = 0, *hi = c[0] - 1;
        return true;
    default:
        break;
    }
    return type_range(v->type.dtype, lo, hi);
}

/* Of the lanes, where a zero point may have been taken away. */
static bool lanes_range(const KValue *v, int64_t *lo, int64_t *hi) {
    int64_t a[2], c[2];
    const KInstr *i = v->def;
    if (i && i->op == KOP_SPLAT)
        return lanes_range(i->arg[0], lo, hi);
    if (!i || i->op != KOP_SUB)
        return kernel_value_range(v, lo, hi);
    if (!kernel_value_range(i->arg[0], &a[0], &a[1]) || !lanes_range(i->arg[1], &c[0], &c[1]))
        return false;
    return arithmetic_range(KOP_SUB, a, c, lo, hi);
}

bool kernel_fits_half(const KValue *v) {
    int64_t lo, hi;
    return lanes_range(v, &lo, &hi) && lo >= INT16_MIN && hi <= INT16_MAX;
}
