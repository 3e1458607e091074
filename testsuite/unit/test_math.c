/* SPDX-License-Identifier: Apache-2.0 */
/* The elementary functions of kernel/math.c, run by the JIT: distance from the exact value in units of the last place,
 * over all exponents and densely where they are used; and the values at the borders, which are the C library's. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "jit/jit.h"
#include "unit.h"

enum { BATCH = 2048 };

typedef struct Function {
    KMath f;
    const char *name;
    long double (*exact)(long double x);
    long double (*exact2)(long double x, long double y);
    double ulp32, ulp64;
    double lo, hi; /* sampled evenly between */
    bool not_above_0; /* arguments */
    double coarse; /* times the least normal number: any result below that will do where the exact one is there */
    bool of_argument; /* the error counts in units of the argument's last place */
} Function;

static long double sigmoid(long double x) { return 1 / (1 + expl(-x)); }
static long double silu(long double x) { return isinf(x) && x < 0 ? 0 : x * sigmoid(x); }
static long double gelu(long double x) { return isinf(x) && x < 0 ? 0 : x * erfcl(-x * sqrtl(0.5L)) / 2; }

static const Function functions[] = {
    {KMATH_EXP, "exp", expl, NULL, 2, 2, -104, 89, false, 0, false},
    {KMATH_EXP_LE0, "exp_le0", expl, NULL, 2, 2, -104, 0, true, 0, false},
    {KMATH_LOG, "log", logl, NULL, 2, 2, 0, 4, false, 0, false},
    {KMATH_TANH, "tanh", tanhl, NULL, 2, 2, -10, 10, false, 0, false},
    {KMATH_ERF, "erf", erfl, NULL, 2, 2, -4, 4, false, 0, false},
    {KMATH_SIGMOID, "sigmoid", sigmoid, NULL, 2.5, 2.5, -88, 30, false, 1, false},
    {KMATH_SILU, "silu", silu, NULL, 2.5, 2.5, -88, 30, false, 1000, false},
    {KMATH_GELU, "gelu", gelu, NULL, 2, 2, -12, 12, false, 1000, true},
    {KMATH_SIN, "sin", sinl, NULL, 2, 2, -30, 30, false, 0, false},
    {KMATH_COS, "cos", cosl, NULL, 2, 2, -30, 30, false, 0, false},
    {KMATH_TAN, "tan", tanl, NULL, 3, 3, -30, 30, false, 0, false},
    {KMATH_ASIN, "asin", asinl, NULL, 2, 2, -1, 1, false, 0, false},
    {KMATH_ACOS, "acos", acosl, NULL, 2, 2, -1, 1, false, 0, false},
    {KMATH_ATAN, "atan", atanl, NULL, 2, 2, -8, 8, false, 0, false},
    {KMATH_SINH, "sinh", sinhl, NULL, 2, 2, -90, 90, false, 0, false},
    {KMATH_COSH, "cosh", coshl, NULL, 2, 2, -90, 90, false, 0, false},
    {KMATH_ASINH, "asinh", asinhl, NULL, 2, 2, -8, 8, false, 0, false},
    {KMATH_ACOSH, "acosh", acoshl, NULL, 2, 2, 1, 8, false, 0, false},
    {KMATH_ATANH, "atanh", atanhl, NULL, 2, 2, -1, 1, false, 0, false},
    {KMATH_EXPM1, "expm1", expm1l, NULL, 2, 2, -20, 89, false, 0, false},
    {KMATH_LOG1P, "log1p", log1pl, NULL, 2, 2, -1, 4, false, 0, false},
    {KMATH_FLOOR, "floor", floorl, NULL, 0, 0, -5, 5, false, 0, false},
    {KMATH_CEIL, "ceil", ceill, NULL, 0, 0, -5, 5, false, 0, false},
    {KMATH_TRUNC, "trunc", truncl, NULL, 0, 0, -5, 5, false, 0, false},
    {KMATH_ROUND, "round", rintl, NULL, 0, 0, -5, 5, false, 0, false},
    {KMATH_POW, "pow", NULL, powl, 3, 3, 0, 20, false, 0, false},
    {KMATH_FMOD, "fmod", NULL, fmodl, 0, 0, -20, 20, false, 0, false},
};
enum { FUNCTIONS = (int)(sizeof functions / sizeof *functions) };

/* --- one function compiled: y[i] = f(x[i]), or f(x[i], z[i]), on BATCH elements --- */

typedef struct Run {
    Arena *arena;
    Diag diag;
    DType t;
    Jit *one, *wide; /* element by element; in vectors of 256 bits */
} Run;

static Jit *compiled(Run *r, const Function *f, int lanes) {
    KModule *m = kernel_module_new(r->arena);
    KBuffer *in[] = {kernel_buffer(m, KBUF_INPUT, "x", r->t, BATCH), kernel_buffer(m, KBUF_INPUT, "z", r->t, BATCH)};
    KBuffer *out = kernel_buffer(m, KBUF_OUTPUT, "y", r->t, BATCH);
    KKernel *k = kernel_new(m, "k");
    VEC_PUSH(r->arena, &m->kernels, k);
    KParam *x = kernel_param(k, "x", r->t, BATCH, false), *z = kernel_param(k, "z", r->t, BATCH, false);
    KParam *y = kernel_param(k, "y", r->t, BATCH, true);
    KBuilder b = kb_at_end(k, k->body);
    KInstr *l = kb_for(&b, KLOOP_PARALLEL, "i", kb_int(&b, DT_INDEX, 0), kb_int(&b, DT_INDEX, BATCH), lanes, 0, NULL);
    KIndex at = kx_var(r->arena, kb_iv(l));
    KValue *u = kb_load_vector(&b, x, at, lanes, 1), *v = f->exact2 ? kb_load_vector(&b, z, at, lanes, 1) : NULL;
    kb_store_vector(&b, y, at, kb_math(&b, f->f, u, v), 1);
    kb_end_for(&b, l, NULL);
    kb_yield(&b, 0, NULL);
    KCall call = {.kernel = k, .arg = ARENA_ARRAY(r->arena, KArg, 3)};
    call.arg[0].buffer = in[0];
    call.arg[1].buffer = in[1];
    call.arg[2].buffer = out;
    VEC_PUSH(r->arena, &m->calls, call);
    const char *error = kernel_module_verify(m);
    ck_assert_msg(!error, "%s: %s", f->name, error);
    Jit *j = jit_compile(&r->diag, m, JIT_QUICK);
    ck_assert_ptr_nonnull(j);
    return j;
}

static Run run_new(const Function *f, DType t) {
    Run r = {.arena = arena_new(), .diag = {.stream = stderr}, .t = t};
    r.one = compiled(&r, f, 1);
    r.wide = compiled(&r, f, t == DT_F32 ? 8 : 4);
    return r;
}

static void run_free(Run *r) {
    jit_free(r->one);
    jit_free(r->wide);
    arena_free(r->arena);
}

/* --- numbers of either type, held in doubles --- */

static double rounded(DType t, double x) { return t == DT_F32 ? (double)(float)x : x; }

static double from_bits(DType t, uint64_t bits) {
    uint32_t word = (uint32_t)bits;
    float f;
    double d;
    memcpy(&f, &word, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return t == DT_F32 ? (double)f : d;
}

/* Distance in units of the last place of unit, the exact value mostly; huge where one is special and the other is not it. */
static double distance(DType t, double got, long double exact, long double unit) {
    int digits = t == DT_F32 ? 24 : 53, least = t == DT_F32 ? -125 : -1021, e;
    double nearest = t == DT_F32 ? (double)(float)exact : (double)exact;
    if (isnan(nearest) || isnan(got))
        return isnan(nearest) && isnan(got) ? 0 : HUGE_VAL;
    if (nearest == 0 && got == 0)
        return exact != 0 || signbit(nearest) == signbit(got) ? 0 : HUGE_VAL;
    if (isinf(nearest) && isinf(got))
        return nearest == got ? 0 : HUGE_VAL;
    if (isinf(nearest)) /* one below the largest number is near as well */
        exact = copysignl(ldexpl(1, t == DT_F32 ? 128 : 1024), exact);
    if (isinf(got))
        got = copysign(t == DT_F32 ? 0x1p128 : DBL_MAX, got);
    frexpl(unit, &e);
    return (double)fabsl(((long double)got - exact) / ldexpl(1, (e < least ? least : e) - digits));
}

typedef struct Worst {
    double ulp, x, z, got;
    long double exact;
} Worst;

static void check_batch(Run *r, const Function *f, const double *x, const double *z, Worst *w) {
    static _Alignas(64) double in[2][BATCH], out[2][BATCH];
    for (int i = 0; i < BATCH; i++) {
        if (r->t == DT_F32) {
            ((float *)in[0])[i] = (float)x[i];
            ((float *)in[1])[i] = (float)z[i];
        } else {
            in[0][i] = x[i];
            in[1][i] = z[i];
        }
    }
    ck_assert_int_eq(jit_run(r->one, (const void *const[]){in[0], in[1]}, (void *const[]){out[0]}), 0);
    ck_assert_int_eq(jit_run(r->wide, (const void *const[]){in[0], in[1]}, (void *const[]){out[1]}), 0);
    for (int i = 0; i < BATCH; i++) {
        double got = r->t == DT_F32 ? (double)((float *)out[0])[i] : out[0][i];
        double wide = r->t == DT_F32 ? (double)((float *)out[1])[i] : out[1][i];
        ck_assert_msg((isnan(got) && isnan(wide)) || (got == wide && signbit(got) == signbit(wide)),
                      "%s(%a, %a): %a, but %a in a vector", f->name, x[i], z[i], got, wide);
        long double exact = f->exact ? f->exact((long double)x[i]) : f->exact2((long double)x[i], (long double)z[i]);
        long double normal = r->t == DT_F32 ? 0x1p-126L : 0x1p-1022L;
        if ((f->not_above_0 && x[i] > 0) || (fabsl(exact) < f->coarse * normal && fabsl((long double)got) < f->coarse * normal))
            continue;
        double d = distance(r->t, got, exact, f->of_argument ? (long double)x[i] : exact);
        if (d > w->ulp)
            *w = (Worst){d, x[i], z[i], got, exact};
    }
}

static uint64_t random_bits(uint64_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void expect_near(const Function *f, DType t, const Worst *w) {
    double most = t == DT_F32 ? f->ulp32 : f->ulp64;
    ck_assert_msg(w->ulp <= most, "%s of %s is %.2f ulp off at %a, %a: %a instead of %La", f->name, dtype_name(t), w->ulp,
                  w->x, w->z, w->got, w->exact);
}

static const DType types[] = {DT_F32, DT_F64};

START_TEST(values_are_near_the_exact_ones) {
    const Function *f = &functions[_i / 2];
    DType t = types[_i % 2];
    Run r = run_new(f, t);
    Worst w = {0};
    uint64_t seed = 88172645463325252;
    double x[BATCH], z[BATCH];
    for (int batch = 0; batch < 60; batch++) {
        for (int i = 0; i < BATCH; i++) {
            uint64_t p = random_bits(&seed), q = random_bits(&seed);
            bool dense = batch % 2;
            double u = (double)(p >> 11) * 0x1p-53, v = (double)(q >> 11) * 0x1p-53;
            x[i] = dense ? rounded(t, f->lo + (f->hi - f->lo) * u) : from_bits(t, p);
            z[i] = dense ? rounded(t, 40 * v - 20) : from_bits(t, q);
        }
        check_batch(&r, f, x, z, &w);
    }
    run_free(&r);
    expect_near(f, t, &w);
}
END_TEST

START_TEST(borders_are_the_c_library_s) {
    const Function *f = &functions[_i / 2];
    DType t = types[_i % 2];
    double tiny = t == DT_F32 ? 0x1p-149 : 0x1p-1074, normal = t == DT_F32 ? 0x1p-126 : 0x1p-1022;
    double huge = t == DT_F32 ? (double)FLT_MAX : DBL_MAX, eps = t == DT_F32 ? 0x1p-23 : 0x1p-52;
    double odd = 2 / eps - 1; /* the largest odd numbers */
    const double border[] = {0,        tiny,     normal - tiny, normal, eps, eps / 2, 0.5,  1 - eps / 2, 1,    1 + eps,
                             1.5,      2,        2.5,           3,      88.7228393, 709.782712893384, 1e-5, odd, odd + 1,
                             1 / eps,  0.5 / eps, 0.5 / eps + 0.5, huge, (double)INFINITY, (double)NAN};
    enum { N = (int)(sizeof border / sizeof *border) };
    Run r = run_new(f, t);
    Worst w = {0};
    double x[BATCH], z[BATCH];
    int n = 0;
    memset(x, 0, sizeof x);
    for (int i = 0; i < 2 * N; i++) {
        double a = rounded(t, border[i / 2]);
        for (int k = 0; k < (f->exact2 ? 2 * N : 1); k++) {
            double c = rounded(t, border[k / 2]);
            x[n] = i % 2 ? -a : a;
            z[n++] = k % 2 ? -c : c;
            if (n < BATCH)
                continue;
            check_batch(&r, f, x, z, &w);
            n = 0;
        }
    }
    for (int i = n; i < BATCH; i++)
        z[i] = 0.25;
    check_batch(&r, f, x, z, &w);
    run_free(&r);
    expect_near(f, t, &w);
}
END_TEST

static Suite *math_suite(void) {
    Suite *s = suite_create("math");
    TCase *t = tcase_create("math");
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, values_are_near_the_exact_ones, 0, 2 * FUNCTIONS);
    tcase_add_loop_test(t, borders_are_the_c_library_s, 0, 2 * FUNCTIONS);
    return s;
}

int main(void) { return unit_run("math", math_suite()); }
