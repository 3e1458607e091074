/* SPDX-License-Identifier: Apache-2.0 */
/* What operators on quantised elements share. */
#include "ops/quant.h"

#include "kernel/target.h"
#include "ops/rules.h"

bool quant_has(const Node *n, int i) { return i >= 0 && i < n->nin && n->in[i]; }

bool quant_infer_bytes(const Node *n, int i) {
    static const DType allowed[] = {DT_I8, DT_U8, DT_NONE};
    return infer_type_in(n, i, allowed);
}

bool quant_infer_element(const Node *n, int i) {
    static const DType allowed[] = {DT_I8, DT_U8, DT_I16, DT_U16, DT_NONE};
    return infer_type_in(n, i, allowed);
}

bool quant_infer_param(const Node *n, int i, DType t, int64_t channels) {
    if (!quant_has(n, i))
        return true;
    const Value *v = n->in[i];
    if (t == DT_NONE && !infer_float(n, i))
        return false;
    if (t != DT_NONE && v->dtype != t)
        return infer_error(n, "input %d has element type %s where %s is needed", i, dtype_name(v->dtype), dtype_name(t));
    if (value_count(v) == 1 || (channels && v->rank == 1 && v->dim[0] == channels))
        return true;
    return channels ? infer_error(n, "input %d must have one element, or one for each of %lld channels", i, (long long)channels)
                    : infer_error(n, "input %d must have one element", i);
}

bool quant_is_zero(const Node *n, int i) {
    if (!quant_has(n, i))
        return true;
    if (!value_is_const(n->in[i]))
        return false;
    for (int64_t k = 0; k < value_count(n->in[i]); k++)
        if (const_int(n->in[i], k))
            return false;
    return true;
}

KValue *quant_param(Lower *l, const Node *n, int i, KIndex channel, DType t) {
    KIndex at[GRAPH_MAX_RANK];
    if (!quant_has(n, i))
        return kb_int(&l->b, t, 0);
    for (int d = 0; d < n->in[i]->rank; d++)
        at[d] = n->in[i]->dim[d] == 1 ? kx_const(l->arena, 0) : channel;
    return kb_cast(&l->b, lower_load(l, n, i, at), t);
}

float quant_ratio_of(const Node *n, int x, int w, int y, int64_t i) {
    float r = (float)const_float(n->in[x], value_count(n->in[x]) > 1 ? i : 0);
    if (w >= 0)
        r *= (float)const_float(n->in[w], value_count(n->in[w]) > 1 ? i : 0);
    return y >= 0 ? r / (float)const_float(n->in[y], value_count(n->in[y]) > 1 ? i : 0) : r;
}

KValue *quant_ratio(Lower *l, const Node *n, int x, int w, int y, KIndex channel) {
    const int input[] = {x, w, y};
    int64_t count = 1;
    bool constant = true;
    for (int i = 0; i < 3; i++) {
        if (input[i] < 0)
            continue;
        int64_t own = value_count(n->in[input[i]]);
        constant &= value_is_const(n->in[input[i]]);
        count = own > count ? own : count;
    }
    if (!constant) {
        KValue *r = quant_param(l, n, x, channel, DT_F32);
        if (w >= 0)
            r = kb_binary(&l->b, KOP_MUL, r, quant_param(l, n, w, channel, DT_F32));
        return y >= 0 ? kb_binary(&l->b, KOP_DIV, r, quant_param(l, n, y, channel, DT_F32)) : r;
    }
    if (count == 1)
        return kb_float(&l->b, DT_F32, (double)quant_ratio_of(n, x, w, y, 0));
    float *table = ARENA_ARRAY(l->arena, float, count);
    for (int64_t i = 0; i < count; i++)
        table[i] = quant_ratio_of(n, x, w, y, i);
    return kb_load(&l->b, lower_table(l, arena_printf(l->arena, "%s_ratio", n->name), DT_F32, count, table), channel);
}

DType quant_left_type(unsigned dot) {
    if (dot & DOT_ALONG)
        return DT_I8;
    if (dot & DOT_HALVES)
        return DT_NONE;
    bool is_signed = dot & (DOT_S8S8 | DOT_NARROW), is_unsigned = dot & DOT_U8S8;
    return is_signed == is_unsigned ? DT_NONE : is_signed ? DT_I8 : DT_U8;
}

int quant_shift(const Lower *l, DType t) {
    DType suits = quant_left_type(l->options.dot);
    if (suits == DT_NONE || suits == t || !dtype_is_byte(t))
        return 0;
    return t == DT_I8 ? 128 : -128;
}

KValue *quant_shifted(Lower *l, KValue *element) {
    DType t = element->type.dtype;
    KValue *bit = kb_int(&l->b, t, t == DT_I8 ? INT8_MIN : 128);
    return kb_bitcast(&l->b, kb_binary(&l->b, KOP_XOR, element, bit), t == DT_I8 ? DT_U8 : DT_I8);
}

KValue *quant_centred(Lower *l, KValue *element, KValue *zero) {
    return kb_binary(&l->b, KOP_SUB, kb_cast(&l->b, element, DT_I32), zero);
}

int64_t quant_least(DType t) { return dtype_is_signed(t) ? INT64_MIN >> (64 - dtype_width(t)) : 0; }

int64_t quant_most(DType t) { return quant_least(t) + ((int64_t)1 << dtype_width(t)) - 1; }

KValue *quant_round(Lower *l, KValue *x, KValue *zero, DType to) {
    KBuilder *b = &l->b;
    KValue *lo = kb_cast(b, kb_binary(b, KOP_SUB, kb_int(b, DT_I32, quant_least(to)), zero), DT_F32);
    KValue *hi = kb_cast(b, kb_binary(b, KOP_SUB, kb_int(b, DT_I32, quant_most(to)), zero), DT_F32);
    x = kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, x, lo), hi);
    KValue *y = kb_bitcast(b, kb_binary(b, KOP_ADD, x, kb_float(b, DT_F32, KERNEL_ROUNDER)), DT_I32);
    return kb_cast(b, kb_binary(b, KOP_ADD, y, kb_binary(b, KOP_SUB, zero, kb_int(b, DT_I32, KERNEL_ROUNDER_BITS))), dtype_stored(to));
}

void quant_dynamic(Lower *l, KValue *least, KValue *most, KValue **scale, KValue **zero) {
    KBuilder *b = &l->b;
    KValue *last = kb_float(b, DT_F32, 255), *step = kb_binary(b, KOP_DIV, kb_binary(b, KOP_SUB, most, least), last);
    /* Zeros only: any scale will do, as long as nothing is divided by zero. */
    step = kb_select(b, kb_binary(b, KOP_GT, step, kb_float(b, DT_F32, 0)), step, kb_float(b, DT_F32, (double)(1.0f / 255)));
    KValue *at = kb_math(b, KMATH_ROUND, kb_unary(b, KOP_NEG, kb_binary(b, KOP_DIV, least, step)), NULL);
    at = kb_binary(b, KOP_MAX, kb_binary(b, KOP_MIN, at, last), kb_float(b, DT_F32, 0));
    *scale = step;
    *zero = kb_cast(b, at, DT_I32);
}
