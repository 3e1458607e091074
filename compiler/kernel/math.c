/* SPDX-License-Identifier: Apache-2.0 */
/* Elementary functions as kernel IR: one text for every backend, lane count and machine.
 *
 * No branches, so that they vectorise; polynomials fitted to relative error over the reduced range (Chebyshev nodes,
 * 60 digits); products that must be exact are split by masking, since FMA may or may not be fused. Errors against the
 * exact value: at most 2 ULP, pow and tan 3, gelu 2 of its argument, rounding and fmod none. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernel/kernel.h"

typedef struct Fn {
    KBuilder b;
    KType t, it; /* the float type; the signed integer type of the same width */
    bool wide;   /* F64 */
} Fn;

typedef KValue V;

static V *num(Fn *f, double x) { return kb_const_like(&f->b, f->t, x); }
static V *whole(Fn *f, int64_t x) { return kb_splat(&f->b, kb_int(&f->b, f->it.dtype, x), f->it.lanes); }
static V *bin(Fn *f, KOp op, V *x, V *y) { return kb_binary(&f->b, op, x, y); }
static V *add(Fn *f, V *x, V *y) { return bin(f, KOP_ADD, x, y); }
static V *sub(Fn *f, V *x, V *y) { return bin(f, KOP_SUB, x, y); }
static V *mul(Fn *f, V *x, V *y) { return bin(f, KOP_MUL, x, y); }
static V *quo(Fn *f, V *x, V *y) { return bin(f, KOP_DIV, x, y); }
static V *fma3(Fn *f, V *x, V *y, V *z) { return kb_fma(&f->b, x, y, z); }
static V *neg(Fn *f, V *x) { return kb_unary(&f->b, KOP_NEG, x); }
static V *magnitude(Fn *f, V *x) { return kb_unary(&f->b, KOP_ABS, x); }
static V *root(Fn *f, V *x) { return kb_unary(&f->b, KOP_SQRT, x); }
static V *pick(Fn *f, V *c, V *x, V *y) { return kb_select(&f->b, c, x, y); }
static V *bits(Fn *f, V *x) { return kb_bitcast(&f->b, x, f->it.dtype); }
static V *from_bits(Fn *f, V *x) { return kb_bitcast(&f->b, x, f->t.dtype); }
static V *less(Fn *f, V *x, V *y) { return bin(f, KOP_LT, x, y); }
static V *equal(Fn *f, V *x, V *y) { return bin(f, KOP_EQ, x, y); }

/* NaN goes through: MIN and MAX give their second operand then. */
static V *clamp(Fn *f, V *x, double lo, double hi) {
    return bin(f, KOP_MIN, num(f, hi), bin(f, KOP_MAX, num(f, lo), x));
}

static int64_t sign_bit(const Fn *f) { return f->wide ? INT64_MIN : INT32_MIN; }

static V *with_sign_of(Fn *f, V *x, V *y) { /* x >= 0 */
    return from_bits(f, bin(f, KOP_OR, bits(f, x), bin(f, KOP_AND, bits(f, y), whole(f, sign_bit(f)))));
}

/* x without the lower half of its significand: products of two such values are exact. */
static V *upper(Fn *f, V *x) {
    return from_bits(f, bin(f, KOP_AND, bits(f, x), whole(f, f->wide ? -(INT64_C(1) << 27) : -4096)));
}

typedef struct Poly {
    int n32, n64;
    const double *c32, *c64;
} Poly;

#define POLY(name)                                                                                                     \
    static const Poly name##_poly = {(int)(sizeof name##_32 / sizeof *name##_32),                                      \
                                     (int)(sizeof name##_64 / sizeof *name##_64), name##_32, name##_64}

static V *poly(Fn *f, const Poly *p, V *x) {
    int n = f->wide ? p->n64 : p->n32;
    const double *c = f->wide ? p->c64 : p->c32;
    V *r = num(f, c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        r = fma3(f, r, x, num(f, c[i]));
    return r;
}

/* (e^r - 1 - r) / r^2 for |r| <= ln2 / 2 */
static const double exp_32[] = {0.5, 0.166665734, 0.0416665501, 0.00836377387, 0.00139269266};
static const double exp_64[] = {0.5,
                                0.166666666666666714,
                                0.0416666666666666701,
                                0.0083333333333255447,
                                0.00138888888888833267,
                                0.000198412698768643549,
                                0.0000248015873270071867,
                                2.75572528335169097e-6,
                                2.75572718102197996e-7,
                                2.51062747335732947e-8,
                                2.09154422977801152e-9};
POLY(exp);
/* (log((1+s)/(1-s))/s - 2) / s^2 in s^2, for (1+s)/(1-s) in sqrt(1/2) .. sqrt(2) */
static const double log_32[] = {0.666666665, 0.400001256, 0.28550397, 0.233419434};
static const double log_64[] = {0.666666666666666667, 0.399999999999999919, 0.285714285714358577,
                                0.222222222197102963, 0.181818186151772788, 0.153845734500289603,
                                0.13335711085008756,  0.116865089173058791, 0.118965585684609887};
POLY(log);
/* (sin(x)/x - 1)/x^2 and (cos(x) - 1 + x^2/2)/x^4 in x^2, for |x| <= pi/4 */
static const double sin_32[] = {-0.166666646, 0.00833273656, -0.000195853732};
static const double sin_64[] = {-0.166666666666666667,   0.00833333333333333138, -0.000198412698412648216,
                                2.75573192191507816e-6,  -2.50521061673357064e-8, 1.60585213499549844e-10,
                                -7.58609478967252234e-13};
POLY(sin);
static const double cos_32[] = {0.0416666646, -0.00138882913, 2.45454191e-5};
static const double cos_64[] = {0.0416666666666666667,  -0.00138888888888888878, 0.0000248015873015845111,
                                -2.75573192212980867e-7, 2.08767557548795107e-9,  -1.1470455178205905e-11,
                                4.745537016775937e-14};
POLY(cos);
/* (atan(x)/x - 1)/x^2 in x^2 for |x| <= tan(pi/8) */
static const double atan_32[] = {-0.333333317, 0.199995234, -0.142633666, 0.10737397, -0.0643103871};
static const double atan_64[] = {-0.333333333333333332, 0.199999999999997838,  -0.142857142856546389,
                                 0.111111111046522548,  -0.09090908728587459,  0.0769229565832787254,
                                 -0.0666641207772525984, 0.0587878246944383807, -0.052293804737809196,
                                 0.0454671950955144422, -0.0344458444234916159, 0.0161482285466859305};
POLY(atan);
/* (asin(x)/x - 1)/x^2 in x^2 for |x| <= 1/2 */
static const double asin_32[] = {0.166666663, 0.0750009476, 0.0445993192, 0.0311017278, 0.0171437168, 0.0337007263};
static const double asin_64[] = {0.166666666666666667,  0.0749999999999999113, 0.044642857142883563,
                                 0.0303819444413463873, 0.0223721592806709303, 0.0173527574441798223,
                                 0.0139650106693318614, 0.0115490756794393046, 0.0097928639883027246,
                                 0.00813501419318270483, 0.00879914045196514139, 0.000366494092168482933,
                                 0.0225861124019049351, -0.0240639143783583582, 0.0307445269245481348};
POLY(asin);
/* erf(x)/x - 1 in x^2 for |x| <= 1 */
static const double erf_32[] = {0.128379167, -0.376126267,    0.112835947,  -0.026854212,
                                0.00518908742, -0.000801686429, 7.87587506e-5};
static const double erf_64[] = {0.128379167095512574,     -0.376126389031837481,    0.112837916709548787,
                                -0.0268661706450767932,   0.00522397762481801447,   -0.000854832698083378991,
                                0.000120553311116427109,  -0.0000149255952668311816, 1.6461000484121368e-6,
                                -1.63503127010546942e-7,  1.4659775274047431e-8,    -1.13728488567916562e-9,
                                5.95717614774888344e-11};
POLY(erf);
/* exp(x^2) erfc(x) (1 + 2x) in (x-2)/(x+2) for x in 1 .. 6.1 */
static const double erfc_32[] = {1.27697838,   -0.0927638281,  -0.166030322,  0.164051291,   -0.0542230539,
                                 -0.00803030402, 0.00876191976, 0.0011898857, -0.00159482089};
static const double erfc_64[] = {
    1.27697838155252872,      -0.0927638265857459582,   -0.166030397615291328,    0.164051280033425824,
    -0.054220000991719963,    -0.00803401508100996155,  0.00872265385544112799,   0.00127133891828156932,
    -0.00145681329318835947,  -0.000454340219789468563, 0.00020635552673375038,   0.00015104024842106117,
    -1.39314886712844935e-6,  -0.0000365255986549661539, -0.0000140921778950148569, 4.64133185796557875e-6,
    6.35078600705030976e-6,   -1.33361223273092002e-6};
POLY(erfc);

/* log2 of the normal distribution's tail beyond x, for x in 0 .. 4.9, where its error counts as the tail does; falling to -126
 * beyond that. 2^x for |x| <= 1/2. */
static const double tail_32[] = {-0.999999954,    -1.15110731,      -0.459188865,   -0.0525635273, 0.00717522326,
                                 -0.000234078924, -0.000141184642,  2.89353687e-5,  -1.88737094e-6};
static const double exp2_32[] = {1, 0.693147206, 0.240226469, 0.0555032878, 0.00961848896, 0.00133999312, 0.000153458116};
static const Poly tail_poly = {.n32 = (int)(sizeof tail_32 / sizeof *tail_32), .c32 = tail_32};
static const Poly exp2_poly = {.n32 = (int)(sizeof exp2_32 / sizeof *exp2_32), .c32 = exp2_32};

static const double ln2_split[2][2] = {{0.693115234375, 3.19461849453e-5},
                                       {0.69314718036912381649, 1.9082149292705878161e-10}};
/* pi/2 and pi/4 in the type, and what is left of them. */
static const double pio2_pair[2][2] = {{1.5707963705062866, -4.3711390001862426e-08},
                                       {1.5707963267948966, 6.123233995736766e-17}};
static const double pio4_pair[2][2] = {{0.7853981852531433, -2.1855695000931213e-08},
                                       {0.7853981633974483, 3.061616997868383e-17}};

/* --- rounding: adding and taking away a number whose unit in the last place is 1 --- */

static double rounder(const Fn *f) { return f->wide ? 6755399441055744.0 : KERNEL_ROUNDER; }

static V *nearest(Fn *f, V *x) { /* half to even, for |x| below 2^22 or 2^51 */
    V *magic = num(f, rounder(f));
    return sub(f, add(f, x, magic), magic);
}

static V *round_even(Fn *f, V *x) {
    double limit = f->wide ? 4503599627370496.0 : 8388608.0;
    V *m = magnitude(f, x), *r = sub(f, add(f, m, num(f, limit)), num(f, limit));
    return pick(f, less(f, m, num(f, limit)), with_sign_of(f, r, x), x);
}

static V *floor_of(Fn *f, V *x) {
    V *r = round_even(f, x);
    return pick(f, bin(f, KOP_GT, r, x), sub(f, r, num(f, 1)), r);
}

static V *trunc_of(Fn *f, V *x) { return with_sign_of(f, floor_of(f, magnitude(f, x)), x); }

/* --- exponential --- */

static V *into_exponent(Fn *f, V *n) { return bin(f, KOP_SHL, n, whole(f, f->wide ? 52 : 23)); }

static V *power_of_two(Fn *f, V *n) { /* n integer within the exponents of normal numbers */
    return from_bits(f, into_exponent(f, add(f, n, whole(f, f->wide ? 1023 : 127))));
}

typedef struct Reduced {
    V *n, *r;    /* x = n ln2 + r; n is an integer value */
    V *low_bits; /* n + bias in the low bits, zeros between them and the bits of the exponent */
} Reduced;

static Reduced reduce_exp_biased(Fn *f, V *x, int bias) {
    V *magic = num(f, rounder(f) + bias);
    V *t = fma3(f, x, num(f, 1.44269504088896341), magic), *whole_part = sub(f, t, magic);
    const double *ln2 = ln2_split[f->wide];
    V *r = fma3(f, whole_part, num(f, -ln2[1]), fma3(f, whole_part, num(f, -ln2[0]), x));
    return (Reduced){sub(f, bits(f, t), bits(f, magic)), r, bits(f, t)};
}

static Reduced reduce_exp(Fn *f, V *x) { return reduce_exp_biased(f, x, 0); }

static V *exp_reduced(Fn *f, V *r) {
    V *one = num(f, 1);
    return fma3(f, fma3(f, poly(f, &exp_poly, r), r, one), r, one);
}

/* e^x 2^up for x where that is a normal number: the exponent's bits come out of the reduction ready to be shifted. */
static V *exp_normal(Fn *f, V *x, int up) {
    Reduced e = reduce_exp_biased(f, x, up + (f->wide ? 1023 : 127));
    return mul(f, exp_reduced(f, e.r), from_bits(f, into_exponent(f, e.low_bits)));
}

/* e^x likewise, with an addition in place of the product; but no more than some number where x is none. */
static V *exp_of_number(Fn *f, V *x) {
    Reduced e = reduce_exp_biased(f, x, 0);
    return from_bits(f, add(f, bits(f, exp_reduced(f, e.r)), into_exponent(f, e.low_bits)));
}

/* e^(x + low) / 2^halvings, low small; x within the range where the result is 0 or infinite beyond. Two factors, so that
 * the result may be subnormal with one rounding. */
static V *exp_sum(Fn *f, V *x, V *low, int halvings) {
    Reduced e = reduce_exp(f, clamp(f, x, f->wide ? -750 : -105, f->wide ? 711 : 90));
    V *r = low ? add(f, e.r, low) : e.r;
    V *p = exp_reduced(f, r);
    V *half = bin(f, KOP_SHR, e.n, whole(f, 1));
    return mul(f, mul(f, p, power_of_two(f, half)), power_of_two(f, sub(f, sub(f, e.n, whole(f, halvings)), half)));
}

static V *exp_of(Fn *f, V *x) { return exp_sum(f, x, NULL, 0); }

/* For x <= 0: 2^60 times the result is normal, and one multiplication rounds it where it is subnormal. */
static V *exp_le0_of(Fn *f, V *x) {
    V *y = exp_normal(f, bin(f, KOP_MAX, num(f, f->wide ? -746 : -104), x), 60);
    return mul(f, y, num(f, 0x1p-60));
}

static V *expm1_of(Fn *f, V *x) {
    V *c = clamp(f, x, -40, f->wide ? 710 : 89); /* so that n is at most 1024, or 128 */
    Reduced e = reduce_exp(f, c);
    V *p = fma3(f, mul(f, e.r, e.r), poly(f, &exp_poly, e.r), e.r);
    V *scale = power_of_two(f, sub(f, e.n, whole(f, 1))); /* 2^(n-1): 2^n itself may overflow */
    V *y = fma3(f, scale, p, sub(f, scale, num(f, 0.5)));
    V *r = add(f, y, y);
    return pick(f, equal(f, x, num(f, 0)), x, r); /* keeps -0 */
}

/* Beyond the clamp the result is less than the smallest normal number away from 0 or 1. */
static V *sigmoid_of(Fn *f, V *x) {
    V *e = exp_normal(f, neg(f, clamp(f, x, f->wide ? -709 : -88, f->wide ? 708 : 87)), 0);
    return quo(f, num(f, 1), add(f, num(f, 1), e));
}

static V *silu_of(Fn *f, V *x) {
    V *above = bin(f, KOP_MAX, num(f, f->wide ? -709 : -88), x);
    V *e = exp_of_number(f, neg(f, bin(f, KOP_MIN, num(f, f->wide ? 708 : 87), above)));
    return quo(f, above, add(f, num(f, 1), e));
}

/* With e = e^2|x| - 1: e/2 - e/2 * e/(e+2) where that is small, and 1 - 2/(e+2); the quotient's error counts for little. */
static V *tanh_of(Fn *f, V *x) {
    V *m = bin(f, KOP_MIN, num(f, f->wide ? 20 : 10), magnitude(f, x));
    V *e = expm1_of(f, add(f, m, m)), *small = less(f, m, num(f, 0.55)), *h = mul(f, num(f, 0.5), e);
    V *q = quo(f, pick(f, small, e, num(f, 2)), add(f, e, num(f, 2)));
    return with_sign_of(f, sub(f, pick(f, small, h, num(f, 1)), pick(f, small, mul(f, h, q), q)), x);
}

static V *sinh_of(Fn *f, V *x) {
    V *m = magnitude(f, x), *e = expm1_of(f, m), *half = num(f, 0.5);
    V *y = mul(f, half, add(f, e, quo(f, e, add(f, e, num(f, 1)))));
    return with_sign_of(f, pick(f, less(f, m, num(f, 20)), y, exp_sum(f, m, NULL, 1)), x);
}

static V *cosh_of(Fn *f, V *x) {
    V *e = exp_sum(f, magnitude(f, x), NULL, 1);
    return add(f, e, quo(f, num(f, 0.25), e));
}

/* --- logarithm --- */

typedef struct Log {
    V *e, *f; /* x = 2^e (1 + f), 1 + f in sqrt(1/2) .. sqrt(2); e is a float */
} Log;

static Log split_log(Fn *f, V *x) {
    V *tiny = less(f, x, num(f, f->wide ? 0x1p-1022 : 0x1p-126));
    V *up = mul(f, x, num(f, f->wide ? 0x1p54 : 0x1p25));
    V *i = bits(f, pick(f, tiny, up, x));
    int shift = f->wide ? 52 : 23;
    V *e = bin(f, KOP_SHR, sub(f, i, whole(f, f->wide ? 0x3fe6a09e667f3bcd : 0x3f3504f3)), whole(f, shift));
    V *m = from_bits(f, sub(f, i, bin(f, KOP_SHL, e, whole(f, shift))));
    V *exponent = kb_cast(&f->b, e, f->t.dtype);
    V *lowered = sub(f, exponent, num(f, f->wide ? 54 : 25));
    return (Log){pick(f, tiny, lowered, exponent), sub(f, m, num(f, 1))};
}

/* Zero, infinities, NaN and negative numbers. */
static V *log_edges(Fn *f, V *x, V *y) {
    V *infinite = num(f, INFINITY);
    V *r = pick(f, less(f, x, infinite), y, x); /* infinity and NaN */
    r = pick(f, equal(f, x, num(f, 0)), num(f, -INFINITY), r);
    return pick(f, less(f, x, num(f, 0)), num(f, NAN), r);
}

/* log(1 + f) = f - h + s (h + z Q(z)), s = f/(2+f), z = s^2, h = f^2/2: the first terms are exact or nearly. */
static V *log_of(Fn *f, V *x) {
    Log l = split_log(f, x);
    const double *ln2 = ln2_split[f->wide];
    V *s = quo(f, l.f, add(f, num(f, 2), l.f)), *z = mul(f, s, s);
    V *h = mul(f, mul(f, num(f, 0.5), l.f), l.f);
    V *t = mul(f, s, fma3(f, z, poly(f, &log_poly, z), h));
    V *low = fma3(f, l.e, num(f, ln2[1]), sub(f, t, h));
    V *y = fma3(f, l.e, num(f, ln2[0]), add(f, l.f, low));
    return log_edges(f, x, y);
}

static V *log1p_of(Fn *f, V *x) {
    V *u = add(f, num(f, 1), x);
    V *lost = sub(f, x, sub(f, u, num(f, 1)));
    V *y = add(f, log_of(f, u), quo(f, lost, u));
    V *edge = bin(f, KOP_OR, equal(f, u, num(f, 0)), equal(f, x, num(f, INFINITY)));
    y = pick(f, edge, log_of(f, u), y);
    return pick(f, equal(f, u, num(f, 1)), x, y);
}

static V *asinh_of(Fn *f, V *x) {
    V *m = magnitude(f, x), *z = mul(f, m, m), *one = num(f, 1);
    V *small = log1p_of(f, add(f, m, quo(f, z, add(f, one, root(f, add(f, z, one))))));
    V *large = add(f, log_of(f, m), num(f, 0.693147180559945309));
    return with_sign_of(f, pick(f, less(f, m, num(f, f->wide ? 1e9 : 1e5)), small, large), x);
}

static V *acosh_of(Fn *f, V *x) {
    V *t = sub(f, x, num(f, 1));
    V *small = log1p_of(f, add(f, t, root(f, fma3(f, t, t, add(f, t, t)))));
    V *large = add(f, log_of(f, x), num(f, 0.693147180559945309));
    V *y = pick(f, less(f, x, num(f, f->wide ? 1e9 : 1e5)), small, large);
    return pick(f, less(f, x, num(f, 1)), num(f, NAN), y);
}

/* log1p(2m / (1-m)) / 2, with the quotient as 2m + 2m m/(1-m) where m is small. */
static V *atanh_of(Fn *f, V *x) {
    V *m = magnitude(f, x), *t = add(f, m, m), *small = less(f, m, num(f, 0.5));
    V *q = quo(f, pick(f, small, mul(f, t, m), t), sub(f, num(f, 1), m));
    V *y = mul(f, num(f, 0.5), log1p_of(f, add(f, pick(f, small, t, num(f, 0)), q)));
    return with_sign_of(f, y, x);
}

/* --- power: y log(x) in two parts, the upper one exact --- */

typedef struct Pair {
    V *hi, *lo;
} Pair;

static Pair log_pair(Fn *f, V *x) {
    Log l = split_log(f, x);
    const double *ln2 = ln2_split[f->wide];
    V *g = add(f, num(f, 2), l.f), *s = quo(f, l.f, g), *z = mul(f, s, s);
    V *s_hi = upper(f, s), *g_hi = upper(f, g), *g_lo = sub(f, l.f, sub(f, g_hi, num(f, 2)));
    V *s_lo = quo(f, sub(f, sub(f, l.f, mul(f, s_hi, g_hi)), mul(f, s_hi, g_lo)), g);
    V *a = mul(f, l.e, num(f, ln2[0])), *b = add(f, s_hi, s_hi);
    V *sum = add(f, a, b), *lost = add(f, sub(f, a, sum), b);
    V *tail = fma3(f, mul(f, s, z), poly(f, &log_poly, z), add(f, s_lo, s_lo));
    V *lo = add(f, fma3(f, l.e, num(f, ln2[1]), tail), lost);
    V *hi = upper(f, add(f, sum, lo));
    return (Pair){hi, add(f, sub(f, sum, hi), lo)};
}

static V *pow_of(Fn *f, V *x, V *y) {
    V *zero = num(f, 0), *one = num(f, 1), *m = magnitude(f, x);
    Pair l = log_pair(f, m);
    V *limited = clamp(f, y, f->wide ? -1e300 : -1e30, f->wide ? 1e300 : 1e30); /* so that products stay finite longer */
    V *y_hi = upper(f, limited), *y_lo = sub(f, limited, y_hi);
    V *p_hi = mul(f, y_hi, l.hi), *p_lo = fma3(f, limited, l.lo, mul(f, y_lo, l.hi));
    V *bound = num(f, f->wide ? 800 : 110);
    p_lo = pick(f, less(f, magnitude(f, p_hi), bound), p_lo, zero);
    V *plain = exp_sum(f, p_hi, p_lo, 0);
    /* x is 0 or infinite */
    V *up = bin(f, KOP_EQ, less(f, zero, y), equal(f, m, num(f, INFINITY)));
    V *edge = pick(f, up, num(f, INFINITY), zero);
    V *at_edge = bin(f, KOP_OR, equal(f, m, zero), equal(f, m, num(f, INFINITY)));
    V *r = pick(f, at_edge, edge, plain);
    /* x is negative */
    V *integral = equal(f, trunc_of(f, y), y);
    V *half = mul(f, y, num(f, 0.5)), *even = equal(f, trunc_of(f, half), half);
    V *negative = less(f, bits(f, x), whole(f, 0));
    V *odd = bin(f, KOP_AND, integral, kb_unary(&f->b, KOP_NOT, even));
    r = pick(f, bin(f, KOP_AND, negative, odd), neg(f, r), r);
    V *bad = bin(f, KOP_AND, less(f, x, zero), kb_unary(&f->b, KOP_NOT, integral));
    bad = bin(f, KOP_AND, bad, less(f, m, num(f, INFINITY)));
    r = pick(f, bad, num(f, NAN), r);
    r = pick(f, bin(f, KOP_OR, bin(f, KOP_NE, x, x), bin(f, KOP_NE, y, y)), add(f, x, y), r);
    V *unit = bin(f, KOP_AND, equal(f, m, one), equal(f, magnitude(f, y), num(f, INFINITY)));
    unit = bin(f, KOP_OR, unit, bin(f, KOP_OR, equal(f, y, zero), equal(f, x, one)));
    return pick(f, unit, one, r);
}

/* --- circular functions --- */

typedef struct Quarter {
    V *n, *r, *low; /* x = n pi/2 + r + low; n is an integer value, right in its last two bits */
} Quarter;

static V *bit_set(Fn *f, V *n, int64_t bit) { return bin(f, KOP_NE, bin(f, KOP_AND, n, whole(f, bit)), whole(f, 0)); }

/* a + b, and what its rounding lost; |a| >= |b|, or a is 0, or the sum is exact. */
static V *sum_exactly(Fn *f, V *a, V *b, V **lost) {
    V *s = add(f, a, b);
    *lost = add(f, sub(f, a, s), b);
    return s;
}

/* The parts have 14 or 30 bits, so that products with n are exact up to here. */
static double near_limit(const Fn *f) { return f->wide ? 4194304 : 1600; }

static Quarter reduce_near(Fn *f, V *x) {
    static const double part[2][4] = {
        {1.5706787109375, 0.00011761486530303955, 9.920313459588215e-10, 6.223371969669989e-14},
        {1.570796325802803, 9.920935791635221e-10, 5.17018297889025e-19, 2.9038559739793605e-28},
    };
    V *k = nearest(f, mul(f, x, num(f, 0.636619772367581343))), *p[4], *lost[2];
    for (int i = 0; i < 4; i++)
        p[i] = neg(f, mul(f, k, num(f, part[f->wide][i])));
    V *r = add(f, x, p[0]);
    for (int i = 0; i < 2; i++)
        r = sum_exactly(f, r, p[i + 1], &lost[i]);
    V *low = add(f, add(f, lost[0], lost[1]), p[3]);
    r = sum_exactly(f, r, low, &low);
    return (Quarter){kb_cast(&f->b, k, f->it.dtype), r, low};
}

/* 2/pi = 0.… in words of 32 bits */
static const uint32_t two_over_pi[] = {
    0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561, 0xb7246e3a, 0x424dd2e0,
    0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e, 0xe88235f5, 0x2ebb4484, 0xe99c7026, 0xb45f7e41, 0x3991d639, 0x835339f4,
    0x9c845f8b, 0xbdf9283b, 0x1ff897ff, 0xde05980f, 0xef2f118b, 0x5a0a6d1f, 0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d,
    0x7527bac7, 0xebe5f17b, 0x3d0739f7, 0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08, 0x56033046,
};

enum { MOST_WORDS = 38, WINDOW = 6 };

static V *word(Fn *f, DType t, int64_t x) { return kb_splat(&f->b, kb_int(&f->b, t, x), f->t.lanes); }

/* The words of 2/pi from the bit `place` on, counted from 32 zeros before it; none of the branches that a table has. */
static void words_from(Fn *f, V *place, int steps, int window, V **p) {
    V *w[MOST_WORDS];
    int n = window + (1 << steps);
    for (int k = 0; k < n; k++)
        w[k] = word(f, DT_U32, k ? two_over_pi[k - 1] : 0);
    for (int far = 1 << (steps - 1); far; far >>= 1) {
        V *c = bit_set(f, place, 32 * far);
        n -= far;
        for (int k = 0; k < n; k++)
            w[k] = pick(f, c, w[k + far], w[k]);
    }
    V *left = kb_cast(&f->b, bin(f, KOP_AND, place, whole(f, 31)), DT_U32), *right = sub(f, word(f, DT_U32, 32), left);
    for (int k = 0; k < window; k++) {
        V *x = bin(f, KOP_OR, bin(f, KOP_SHL, w[k], left), bin(f, KOP_SHR, w[k + 1], right));
        p[k] = kb_cast(&f->b, x, DT_U64);
    }
}

/* p times a word, added to the words of y that end `up` words higher; all of it modulo 2^(32 window). */
static void add_product(Fn *f, V **y, int window, V *const *p, V *by, int up) {
    V *carry = NULL, *mask = word(f, DT_U64, 0xffffffff), *shift = word(f, DT_U64, 32);
    for (int k = window - 1; k >= up; k--) {
        V *t = add(f, mul(f, p[k], by), y[k - up]);
        t = carry ? add(f, t, carry) : t;
        y[k - up] = bin(f, KOP_AND, t, mask);
        carry = bin(f, KOP_SHR, t, shift);
    }
}

/* 2^-30 y[0] + 2^-62 y[1] + … with y[0] signed, as the sum of two floats: pieces of 16 bits, added from the top. */
static V *sum_of_words(Fn *f, V *const *y, V **low) {
    int pieces = f->wide ? 8 : 5;
    V *s = NULL, *rest = num(f, 0), *lost;
    for (int j = 0; j < pieces; j++) {
        V *w = kb_cast(&f->b, y[j / 2], DT_I32);
        V *piece = j % 2 ? w : bin(f, KOP_SHR, w, word(f, DT_I32, 16));
        if (j)
            piece = bin(f, KOP_AND, piece, word(f, DT_I32, 0xffff));
        V *x = mul(f, kb_cast(&f->b, piece, f->t.dtype), num(f, ldexp(1, -14 - 16 * j)));
        if (!s) {
            s = x;
            continue;
        }
        s = sum_exactly(f, s, x, &lost);
        rest = add(f, rest, lost);
    }
    return sum_exactly(f, s, rest, low);
}

/* Payne and Hanek: of 2/pi only those bits count that make less than 4 quarters with x, an integer times a power of
 * two, and as many below as x may come near to a multiple of pi/2. */
static Quarter reduce_far(Fn *f, V *x) {
    int digits = f->wide ? 53 : 24, window = f->wide ? WINDOW : 3;
    V *i = bits(f, magnitude(f, x)), *p[WINDOW], *y[WINDOW];
    V *place = sub(f, bin(f, KOP_SHR, i, whole(f, digits - 1)), whole(f, (f->wide ? 1023 : 127) + digits + 1 - 32));
    words_from(f, place, f->wide ? 5 : 3, window, p);
    V *head = bin(f, KOP_OR, bin(f, KOP_AND, i, whole(f, (INT64_C(1) << (digits - 1)) - 1)), whole(f, INT64_C(1) << (digits - 1)));
    V *m = kb_cast(&f->b, head, DT_U64);
    for (int k = 0; k < window; k++)
        y[k] = word(f, DT_U64, 0);
    add_product(f, y, window, p, bin(f, KOP_AND, m, word(f, DT_U64, 0xffffffff)), 0);
    if (f->wide)
        add_product(f, y, window, p, bin(f, KOP_SHR, m, word(f, DT_U64, 32)), 1);
    V *quarter = word(f, DT_U64, 30), *n = bin(f, KOP_SHR, add(f, y[0], word(f, DT_U64, 1 << 29)), quarter);
    y[0] = sub(f, y[0], bin(f, KOP_SHL, n, quarter));
    V *s_low, *s = sum_of_words(f, y, &s_low), *half_pi = num(f, pio2_pair[f->wide][0]);
    V *s_hi = upper(f, s), *s_lo = sub(f, s, s_hi), *c_hi = upper(f, half_pi), *c_lo = sub(f, half_pi, c_hi);
    V *r = mul(f, s, half_pi), *low = sub(f, mul(f, s_hi, c_hi), r);
    low = add(f, add(f, add(f, low, mul(f, s_hi, c_lo)), mul(f, s_lo, c_hi)), mul(f, s_lo, c_lo));
    low = add(f, low, add(f, mul(f, s, num(f, pio2_pair[f->wide][1])), mul(f, s_low, half_pi)));
    V *negative = less(f, x, num(f, 0)), *count = kb_cast(&f->b, n, f->it.dtype);
    r = pick(f, less(f, magnitude(f, x), num(f, INFINITY)), r, num(f, NAN));
    return (Quarter){pick(f, negative, kb_unary(&f->b, KOP_NEG, count), count), pick(f, negative, neg(f, r), r),
                     pick(f, negative, neg(f, low), low)};
}

/* The long way is gone only where a lane needs it, and taken only by that lane, so that lanes do not touch each other. */
static Quarter reduce_quarter(Fn *f, V *x) {
    KBuilder *b = &f->b;
    Quarter near = reduce_near(f, x);
    V *m = bits(f, magnitude(f, x)), *limit = bits(f, num(f, near_limit(f))), *is_far = bin(f, KOP_GT, m, limit);
    V *any = f->t.lanes == 1 ? is_far : bin(f, KOP_GT, kb_reduce(b, KOP_REDUCE_MAX, m), kb_extract(b, limit, 0, 1));
    KInstr *branch = kb_if(b, any, 3);
    Quarter far = reduce_far(f, x);
    kb_else(b, branch, (V *[]){pick(f, is_far, far.n, near.n), pick(f, is_far, far.r, near.r), pick(f, is_far, far.low, near.low)});
    kb_end_if(b, branch, (V *[]){near.n, near.r, near.low});
    return (Quarter){kb_result(branch, 0), kb_result(branch, 1), kb_result(branch, 2)};
}

static V *sine(Fn *f, const Quarter *q) {
    V *z = mul(f, q->r, q->r);
    return add(f, q->r, fma3(f, mul(f, q->r, z), poly(f, &sin_poly, z), q->low));
}

static V *cosine(Fn *f, const Quarter *q) {
    V *z = mul(f, q->r, q->r), *h = mul(f, z, num(f, 0.5)), *one = num(f, 1), *w = sub(f, one, h);
    V *lost = sub(f, sub(f, one, w), h);
    return add(f, w, add(f, lost, sub(f, mul(f, mul(f, z, z), poly(f, &cos_poly, z)), mul(f, q->r, q->low))));
}

static V *circular(Fn *f, V *x, int64_t shift) {
    Quarter q = reduce_quarter(f, x);
    V *n = add(f, q.n, whole(f, shift));
    V *y = pick(f, bit_set(f, n, 1), cosine(f, &q), sine(f, &q));
    return pick(f, bit_set(f, n, 2), neg(f, y), y);
}

static V *sin_of(Fn *f, V *x) { return pick(f, equal(f, x, num(f, 0)), x, circular(f, x, 0)); }

static V *cos_of(Fn *f, V *x) { return circular(f, x, 1); }

static V *tan_of(Fn *f, V *x) {
    Quarter q = reduce_quarter(f, x);
    V *s = sine(f, &q), *c = cosine(f, &q), *odd = bit_set(f, q.n, 1);
    V *y = quo(f, pick(f, odd, neg(f, c), s), pick(f, odd, s, c));
    return pick(f, equal(f, x, num(f, 0)), x, y);
}

static V *atan_of(Fn *f, V *x) {
    const double *right = pio2_pair[f->wide], *middling = pio4_pair[f->wide];
    V *m = magnitude(f, x), *one = num(f, 1), *zero = num(f, 0);
    V *steep = less(f, num(f, 2.41421356237309505), m), *middle = less(f, num(f, 0.414213562373095049), m);
    V *above = pick(f, steep, num(f, -1), sub(f, m, one)), *below = pick(f, steep, m, add(f, m, one));
    V *t = pick(f, middle, quo(f, above, below), m);
    V *base = pick(f, steep, num(f, right[0]), pick(f, middle, num(f, middling[0]), zero));
    V *base_low = pick(f, steep, num(f, right[1]), pick(f, middle, num(f, middling[1]), zero));
    V *z = mul(f, t, t), *tail = fma3(f, mul(f, t, z), poly(f, &atan_poly, z), base_low);
    return with_sign_of(f, add(f, base, add(f, tail, t)), x);
}

typedef struct Arc {
    V *far, *s, *c, *tail; /* |x| > 1/2: s + c = sqrt((1-|x|)/2), else s = |x|; asin(s) = s + tail */
} Arc;

static Arc arc(Fn *f, V *x) {
    V *m = magnitude(f, x), *far = less(f, num(f, 0.5), m), *z = mul(f, num(f, 0.5), sub(f, num(f, 1), m));
    V *s = root(f, z), *hi = upper(f, s);
    V *c = quo(f, sub(f, z, mul(f, hi, hi)), bin(f, KOP_MAX, add(f, s, hi), num(f, f->wide ? 0x1p-1022 : 0x1p-126)));
    V *t = pick(f, far, s, m);
    z = pick(f, far, z, mul(f, m, m));
    return (Arc){far, pick(f, far, hi, m), c, mul(f, mul(f, t, z), poly(f, &asin_poly, z))};
}

/* pi/4 - 2s is exact enough to come first: pi/2 - 2 asin(s + c). */
static V *asin_of(Fn *f, V *x) {
    Arc a = arc(f, x);
    const double *right = pio2_pair[f->wide];
    V *quarter = num(f, 0.5 * right[0]), *low = sub(f, num(f, right[1]), add(f, a.c, a.c));
    V *rest = sub(f, add(f, a.tail, a.tail), low), *head = sub(f, quarter, add(f, a.s, a.s));
    V *y = pick(f, a.far, sub(f, quarter, sub(f, rest, head)), add(f, a.s, a.tail));
    return with_sign_of(f, y, x);
}

static V *acos_of(Fn *f, V *x) {
    Arc a = arc(f, x);
    const double *right = pio2_pair[f->wide];
    V *angle = add(f, a.s, add(f, a.tail, a.c)), *twice = add(f, angle, angle), *negative = less(f, x, num(f, 0));
    V *far = pick(f, negative, sub(f, num(f, 2 * right[0]), sub(f, twice, num(f, 2 * right[1]))), twice);
    V *tail = with_sign_of(f, a.tail, x);
    V *near = sub(f, num(f, right[0]), sub(f, x, sub(f, num(f, right[1]), tail)));
    return pick(f, a.far, far, near);
}

/* --- error function --- */

static V *erf_of(Fn *f, V *x) {
    V *m = bin(f, KOP_MIN, num(f, f->wide ? 6 : 4), magnitude(f, x));
    V *z = mul(f, m, m), *two = num(f, 2);
    V *inner = fma3(f, m, poly(f, &erf_poly, z), m);
    V *t = quo(f, sub(f, m, two), add(f, m, two));
    V *tail = quo(f, mul(f, exp_of(f, neg(f, z)), poly(f, &erfc_poly, t)), fma3(f, two, m, num(f, 1)));
    V *y = pick(f, less(f, m, num(f, 1)), inner, sub(f, num(f, 1), tail));
    return with_sign_of(f, y, x);
}

/* The tail beyond |x| is a power of two; x, or 0 where that is negative, less |x| times the tail. */
static V *gelu_32_of(Fn *f, V *x) {
    V *m = bin(f, KOP_MIN, num(f, 10.45), magnitude(f, x)), *magic = num(f, rounder(f));
    V *power = poly(f, &tail_poly, m), *t = add(f, power, magic), *fraction = sub(f, power, sub(f, t, magic));
    V *tail = from_bits(f, add(f, bits(f, poly(f, &exp2_poly, fraction)), into_exponent(f, bits(f, t))));
    return fma3(f, neg(f, m), tail, bin(f, KOP_MAX, num(f, 0), x));
}

static V *gelu_of(Fn *f, V *x) {
    if (!f->wide)
        return gelu_32_of(f, x);
    V *above = bin(f, KOP_MAX, num(f, -38), x), *half = num(f, 0.5);
    return mul(f, mul(f, half, above), add(f, erf_of(f, mul(f, above, num(f, 0.70710678118654752440))), num(f, 1)));
}

/* --- remainder of C's fmod: long division in steps of one bit, every subtraction exact --- */

static V *fmod_of(Fn *f, V *x, V *y) {
    V *m = magnitude(f, x), *d = magnitude(f, y), *half = num(f, 0.5);
    int64_t steps = f->wide ? 2100 : 280;
    V *lo = kb_int(&f->b, DT_INDEX, 0), *hi = kb_int(&f->b, DT_INDEX, steps);
    KInstr *up = kb_for(&f->b, KLOOP_SERIAL, "i", lo, hi, 1, 1, &d);
    V *t = kb_carried(up, 0);
    V *more = pick(f, bin(f, KOP_LE, t, mul(f, half, m)), add(f, t, t), t);
    kb_end_for(&f->b, up, &more);
    KInstr *down = kb_for(&f->b, KLOOP_SERIAL, "i", lo, hi, 1, 2, (V *[]){m, kb_result(up, 0)});
    V *r = kb_carried(down, 0), *s = kb_carried(down, 1);
    V *left = pick(f, bin(f, KOP_GE, r, s), sub(f, r, s), r);
    V *half_s = mul(f, half, s), *next = pick(f, bin(f, KOP_GE, half_s, d), half_s, s);
    kb_end_for(&f->b, down, (V *[]){left, next});
    V *result = with_sign_of(f, kb_result(down, 0), x);
    V *infinite = num(f, INFINITY);
    V *bad = bin(f, KOP_OR, equal(f, d, num(f, 0)), kb_unary(&f->b, KOP_NOT, less(f, m, infinite)));
    bad = bin(f, KOP_OR, bad, bin(f, KOP_NE, y, y));
    return pick(f, bad, num(f, NAN), pick(f, equal(f, d, infinite), x, result));
}

/* --- the table --- */

static V *ceil_of(Fn *f, V *x) { return neg(f, floor_of(f, neg(f, x))); }

typedef struct Entry {
    const char *name;
    V *(*one)(Fn *f, V *x);
    V *(*two)(Fn *f, V *x, V *y);
} Entry;

static const Entry table[KMATH_COUNT] = {
    [KMATH_EXP_LE0] = {"exp_le0", exp_le0_of, NULL},
    [KMATH_EXP] = {"exp", exp_of, NULL},       [KMATH_LOG] = {"log", log_of, NULL},
    [KMATH_TANH] = {"tanh", tanh_of, NULL},    [KMATH_ERF] = {"erf", erf_of, NULL},
    [KMATH_SIGMOID] = {"sigmoid", sigmoid_of, NULL}, [KMATH_SILU] = {"silu", silu_of, NULL},
    [KMATH_GELU] = {"gelu", gelu_of, NULL},
    [KMATH_SIN] = {"sin", sin_of, NULL},
    [KMATH_COS] = {"cos", cos_of, NULL},       [KMATH_TAN] = {"tan", tan_of, NULL},
    [KMATH_ASIN] = {"asin", asin_of, NULL},    [KMATH_ACOS] = {"acos", acos_of, NULL},
    [KMATH_ATAN] = {"atan", atan_of, NULL},    [KMATH_SINH] = {"sinh", sinh_of, NULL},
    [KMATH_COSH] = {"cosh", cosh_of, NULL},    [KMATH_ASINH] = {"asinh", asinh_of, NULL},
    [KMATH_ACOSH] = {"acosh", acosh_of, NULL}, [KMATH_ATANH] = {"atanh", atanh_of, NULL},
    [KMATH_EXPM1] = {"expm1", expm1_of, NULL}, [KMATH_LOG1P] = {"log1p", log1p_of, NULL},
    [KMATH_POW] = {"pow", NULL, pow_of},       [KMATH_FLOOR] = {"floor", floor_of, NULL},
    [KMATH_CEIL] = {"ceil", ceil_of, NULL},    [KMATH_TRUNC] = {"trunc", trunc_of, NULL},
    [KMATH_ROUND] = {"round", round_even, NULL}, [KMATH_FMOD] = {"fmod", NULL, fmod_of},
};

static KFunc *function(KModule *m, KMath which, KType t) {
    const Entry *e = &table[which];
    const char *suffix = t.dtype == DT_F64 ? "f64" : "f32";
    const char *name = t.lanes == 1 ? arena_printf(m->arena, "%s_%s", e->name, suffix)
                                    : arena_printf(m->arena, "%s_%sx%d", e->name, suffix, t.lanes);
    for (int i = 0; i < m->funcs.len; i++)
        if (!strcmp(m->funcs.data[i]->name, name))
            return m->funcs.data[i];
    KFunc *f = ARENA_NEW(m->arena, KFunc);
    *f = (KFunc){.name = name, .result = t, .nargs = e->two ? 2 : 1, .body = kernel_new(m, name)};
    KType types[] = {t, t};
    f->body->body = kernel_block_new(f->body, NULL, f->nargs, types);
    static const char *const names[] = {"x", "y"};
    for (int i = 0; i < f->nargs; i++)
        f->body->body->arg[i]->name = names[i];
    bool wide = t.dtype == DT_F64;
    Fn fn = {kb_at_end(f->body, f->body->body), t, {wide ? DT_I64 : DT_I32, t.lanes}, wide};
    V *const *arg = f->body->body->arg;
    V *result = e->two ? e->two(&fn, arg[0], arg[1]) : e->one(&fn, arg[0]);
    kb_yield(&fn.b, 1, &result);
    kernel_order(f->body);
    kernel_simplify(f->body);
    VEC_PUSH(m->arena, &m->funcs, f);
    return f;
}

KValue *kb_math(KBuilder *b, KMath f, KValue *x, KValue *y) {
    assert(x->type.dtype == DT_F32 || x->type.dtype == DT_F64);
    KValue *arg[] = {x, y};
    KFunc *func = function(b->module, f, x->type);
    return kb_call(b, func, func->nargs, arg);
}

KFunc *kernel_func_lanes(KModule *m, const KFunc *f, int lanes) {
    for (int i = 0; i < KMATH_COUNT; i++) {
        size_t n = strlen(table[i].name);
        if (!strncmp(f->name, table[i].name, n) && f->name[n] == '_')
            return function(m, (KMath)i, (KType){f->result.dtype, lanes});
    }
    return NULL;
}
