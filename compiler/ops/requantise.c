/* SPDX-License-Identifier: Apache-2.0 */
/* Requantisation by integers, for machines without floating point. A term's factor M becomes an integer m of 31 bits with
 * m = M * 2^(32 + shift - raise), so that the upper half of (sum << raise) * m is the term in steps of 2^-shift, rounded down;
 * the terms' sum is rounded once more, half up, which with one term is the same as rounding the exact product half up.
 * Channels have their own m and share the shift: what a smaller m loses is at most 2^-(shift + 2) of a step. */
#include <math.h>

#include "ops/quant.h"
#include "ops/rules.h"

enum { LARGEST_SHIFT = 21 /* zero point and carry stay below 2^30 */, MOST_RAISE = 30 };

typedef struct Fixed {
    int raise;
    double clamp; /* 0: none; beyond it every channel saturates, and raising would overflow */
} Fixed;

static bool is_scale(const Node *n, int i, bool channels) {
    if (i < 0)
        return true;
    const Value *v = n->in[i];
    return value_is_const(v) && (value_count(v) == 1 || (channels && v->rank == 1));
}

static double scale_of(const Node *n, int i, int64_t channel) {
    return i < 0 ? 1 : const_float(n->in[i], value_count(n->in[i]) > 1 ? channel : 0);
}

static int64_t channels_of(const Node *n, const QuantTerm *t) { return t->w >= 0 ? value_count(n->in[t->w]) : 1; }

static double factor_of(const Node *n, const QuantTerm *t, int y, int64_t channel) {
    return t->factor * scale_of(n, t->x, channel) * scale_of(n, t->w, channel) / scale_of(n, y, channel);
}

/* The largest factor and the least that is not 0; false where one is no number for this. */
static bool factor_range(const Node *n, const QuantTerm *t, int y, double *least, double *most) {
    *least = *most = 0;
    for (int64_t c = 0; c < channels_of(n, t); c++) {
        double m = fabs(factor_of(n, t, y, c));
        if (!(m < 0x1p20))
            return false;
        *most = fmax(m, *most);
        *least = m > 0 && (*least == 0 || m < *least) ? m : *least;
    }
    return true;
}

/* M < 2^exponent. */
static int exponent_of(double m) {
    int e;
    frexp(m, &e);
    return m > 0 ? e : -60;
}

/* How many bits the term may be raised without overflow. */
static int room(const QuantTerm *t) { return t->most > 0 ? MOST_RAISE - exponent_of(t->most) : 0; }

/* One shift for all terms, and how each reaches it; 0 where there is none. */
static int plan(const Node *n, int terms, const QuantTerm *term, int y, Fixed *fixed) {
    double least, most, sum = 257;
    int shift = LARGEST_SHIFT;
    for (int i = 0; i < terms; i++) {
        if (!factor_range(n, &term[i], y, &least, &most))
            return 0;
        int by = room(&term[i]) - 1 - exponent_of(most);
        shift = by < shift ? by : shift;
        sum += term[i].most * most;
    }
    if (terms > 1 && shift > MOST_RAISE - exponent_of(sum))
        shift = MOST_RAISE - exponent_of(sum);
    if (shift < 1 && terms > 1)
        return 0;
    shift = shift < 1 ? 1 : shift;
    for (int i = 0; i < terms; i++) {
        factor_range(n, &term[i], y, &least, &most);
        int raise = shift + 1 + exponent_of(most);
        fixed[i] = (Fixed){raise < 0 ? 0 : raise, 0};
        if (fixed[i].raise <= room(&term[i]))
            continue;
        fixed[i].clamp = ldexp(1, 31 - fixed[i].raise) - 1;
        if (fixed[i].raise > 20 || fixed[i].clamp * least < 1024)
            return 0;
    }
    return shift;
}

static int32_t multiplier(double factor, int shift, int raise) {
    double m = nearbyint(ldexp(factor, 32 + shift - raise));
    return m > INT32_MAX ? INT32_MAX : m < INT32_MIN ? INT32_MIN : (int32_t)m;
}

static KValue *scaled(Lower *l, const Node *n, const QuantTerm *t, int y, int shift, Fixed f) {
    KBuilder *b = &l->b;
    KValue *sum = t->sum, *m;
    int64_t count = channels_of(n, t);
    if (f.clamp > 0) {
        sum = kb_binary(b, KOP_MAX, sum, kb_int(b, DT_I32, -(int64_t)f.clamp));
        sum = kb_binary(b, KOP_MIN, sum, kb_int(b, DT_I32, (int64_t)f.clamp));
    }
    if (f.raise)
        sum = kb_binary(b, KOP_SHL, sum, kb_int(b, DT_I32, f.raise));
    if (count == 1) {
        m = kb_int(b, DT_I32, multiplier(factor_of(n, t, y, 0), shift, f.raise));
    } else {
        int32_t *table = ARENA_ARRAY(l->arena, int32_t, count);
        for (int64_t c = 0; c < count; c++)
            table[c] = multiplier(factor_of(n, t, y, c), shift, f.raise);
        m = kb_load(b, lower_table(l, arena_printf(l->arena, "%s_multiplier", n->name), DT_I32, count, table), t->channel);
    }
    return kb_binary(b, KOP_MUL_HIGH, sum, m);
}

KValue *quant_fixed(Lower *l, const Node *n, int terms, const QuantTerm *term, int y, DType to) {
    enum { MOST_TERMS = 2 };
    Fixed fixed[MOST_TERMS];
    KBuilder *b = &l->b;
    if (!l->options.fixed_point || dtype_width(to) > 8 || !is_scale(n, y, false) ||
        (quant_has(n, y + 1) && !value_is_number(n->in[y + 1])))
        return NULL;
    for (int i = 0; i < terms; i++)
        if (!is_scale(n, term[i].x, false) || !is_scale(n, term[i].w, true))
            return NULL;
    int shift = plan(n, terms, term, y, fixed);
    if (!shift)
        return NULL;
    int64_t zero = quant_has(n, y + 1) ? const_int(n->in[y + 1], 0) : 0;
    KValue *sum = scaled(l, n, &term[0], y, shift, fixed[0]);
    for (int i = 1; i < terms; i++)
        sum = kb_binary(b, KOP_ADD, sum, scaled(l, n, &term[i], y, shift, fixed[i]));
    sum = kb_binary(b, KOP_ADD, sum, kb_int(b, DT_I32, zero * ((int64_t)1 << shift) + ((int64_t)1 << (shift - 1))));
    sum = kb_binary(b, KOP_SHR, sum, kb_int(b, DT_I32, shift));
    sum = kb_binary(b, KOP_MAX, sum, kb_int(b, DT_I32, quant_least(to)));
    return kb_cast(b, kb_binary(b, KOP_MIN, sum, kb_int(b, DT_I32, quant_most(to))), dtype_stored(to));
}
