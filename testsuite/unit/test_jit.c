/* SPDX-License-Identifier: Apache-2.0 */
/* backend/llvm and jit/: every instruction, on scalars and vectors, against its meaning written out here. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/emit.h"
#include "jit/jit.h"
#include "unit.h"

enum { N = 64 };

typedef union Number {
    int64_t i;
    double f;
} Number;

/* --- elements in memory --- */

static Number get(DType t, const void *p, int k) {
    Number n = {0};
    switch (t) {
    case DT_F32: n.f = ((const float *)p)[k]; break;
    case DT_F64: n.f = ((const double *)p)[k]; break;
    case DT_F16: n.f = half_to_float(((const uint16_t *)p)[k]); break;
    case DT_BF16: n.f = bfloat_to_float(((const uint16_t *)p)[k]); break;
    case DT_I8: n.i = ((const int8_t *)p)[k]; break;
    case DT_BOOL:
    case DT_U8: n.i = ((const uint8_t *)p)[k]; break;
    case DT_I16: n.i = ((const int16_t *)p)[k]; break;
    case DT_U16: n.i = ((const uint16_t *)p)[k]; break;
    case DT_I32: n.i = ((const int32_t *)p)[k]; break;
    case DT_U32: n.i = ((const uint32_t *)p)[k]; break;
    default: n.i = ((const int64_t *)p)[k]; break;
    }
    return n;
}

static void put(DType t, void *p, int k, Number n) {
    switch (t) {
    case DT_F32: ((float *)p)[k] = (float)n.f; break;
    case DT_F64: ((double *)p)[k] = n.f; break;
    case DT_F16: ((uint16_t *)p)[k] = float_to_half((float)n.f); break;
    case DT_BF16: ((uint16_t *)p)[k] = float_to_bfloat((float)n.f); break;
    case DT_BOOL: ((uint8_t *)p)[k] = n.i != 0; break;
    case DT_I8:
    case DT_U8: ((uint8_t *)p)[k] = (uint8_t)n.i; break;
    case DT_I16:
    case DT_U16: ((uint16_t *)p)[k] = (uint16_t)n.i; break;
    case DT_I32:
    case DT_U32: ((uint32_t *)p)[k] = (uint32_t)n.i; break;
    default: ((int64_t *)p)[k] = n.i; break;
    }
}

static int64_t wrap(DType t, int64_t x) {
    int64_t cell = 0;
    put(t, &cell, 0, (Number){.i = x});
    return get(t, &cell, 0).i;
}

static bool same(DType t, Number x, Number y) {
    if (!dtype_is_float(t))
        return x.i == y.i;
    return (isnan(x.f) && isnan(y.f)) || (x.f == y.f && signbit(x.f) == signbit(y.f));
}

/* --- meaning --- */

static Number meaning_float(KOp op, DType t, double x, double y, double z) {
    Number r = {0};
    bool f = t == DT_F32;
    float p = (float)x, q = (float)y;
    switch (op) {
    case KOP_ADD: r.f = f ? (double)(p + q) : x + y; break;
    case KOP_SUB: r.f = f ? (double)(p - q) : x - y; break;
    case KOP_MUL: r.f = f ? (double)(p * q) : x * y; break;
    case KOP_DIV: r.f = f ? (double)(p / q) : x / y; break;
    case KOP_FMA: r.f = f ? (double)fmaf(p, q, (float)z) : fma(x, y, z); break;
    case KOP_MIN: r.f = x < y ? x : y; break;
    case KOP_MAX: r.f = x > y ? x : y; break;
    case KOP_NEG: r.f = -x; break;
    case KOP_ABS: r.f = fabs(x); break;
    case KOP_SQRT: r.f = f ? (double)sqrtf(p) : sqrt(x); break;
    case KOP_EQ: r.i = x == y; break;
    case KOP_NE: r.i = x != y; break;
    case KOP_LT: r.i = x < y; break;
    case KOP_LE: r.i = x <= y; break;
    case KOP_GT: r.i = x > y; break;
    case KOP_GE: r.i = x >= y; break;
    default: ck_abort();
    }
    return r;
}

static int64_t divide(DType t, KOp op, int64_t x, int64_t y) {
    bool div = op == KOP_DIV;
    if (y == 0)
        return div ? 0 : x;
    if (t == DT_U64)
        return (int64_t)(div ? (uint64_t)x / (uint64_t)y : (uint64_t)x % (uint64_t)y);
    if (y == -1)
        return div ? (int64_t)(0 - (uint64_t)x) : 0;
    return div ? x / y : x % y;
}

static int64_t shifted(DType t, KOp op, int64_t x, int64_t y) {
    bool fits = y >= 0 && y < dtype_bits(t);
    if (op == KOP_SHL)
        return fits ? (int64_t)((uint64_t)x << y) : 0;
    if (dtype_is_signed(t))
        return x >> (fits ? y : 63);
    return fits ? (int64_t)((uint64_t)x >> y) : 0;
}

static int64_t dot(KOp op, uint64_t x, uint64_t y, int64_t sum) {
    for (int k = 0; k < 32; k += 8)
        sum += (op == KOP_DOT ? (uint8_t)(x >> k) : (int8_t)(x >> k)) * (int8_t)(y >> k);
    return sum;
}

static Number meaning(KOp op, DType t, Number a, Number b, Number c) {
    if (dtype_is_float(t))
        return meaning_float(op, t, a.f, b.f, c.f);
    int64_t x = a.i, y = b.i, r = 0;
    uint64_t p = (uint64_t)x, q = (uint64_t)y;
    bool less = dtype_is_signed(t) ? x < y : p < q;
    switch (op) {
    case KOP_ADD: r = (int64_t)(p + q); break;
    case KOP_SUB: r = (int64_t)(p - q); break;
    case KOP_MUL: r = (int64_t)(p * q); break;
    case KOP_MUL_HIGH: r = (x * y) >> 32; break;
    case KOP_FMA: r = (int64_t)(p * q + (uint64_t)c.i); break;
    case KOP_DOT:
    case KOP_DOT_S8: r = dot(op, p, q, c.i); break;
    case KOP_DIV:
    case KOP_REM: r = divide(t, op, x, y); break;
    case KOP_MIN: r = less ? x : y; break;
    case KOP_MAX: r = less ? y : x; break;
    case KOP_NEG: r = (int64_t)(0 - p); break;
    case KOP_ABS: r = dtype_is_signed(t) && x < 0 ? (int64_t)(0 - p) : x; break;
    case KOP_AND: r = x & y; break;
    case KOP_OR: r = x | y; break;
    case KOP_XOR: r = x ^ y; break;
    case KOP_NOT: return (Number){.i = t == DT_BOOL ? !x : wrap(t, ~x)};
    case KOP_SHL:
    case KOP_SHR: r = shifted(t, op, x, y); break;
    case KOP_EQ: return (Number){.i = x == y};
    case KOP_NE: return (Number){.i = x != y};
    case KOP_LT: return (Number){.i = less};
    case KOP_LE: return (Number){.i = less || x == y};
    case KOP_GT: return (Number){.i = !less && x != y};
    case KOP_GE: return (Number){.i = !less};
    default: ck_abort();
    }
    return (Number){.i = wrap(t, r)};
}

static int64_t saturated(DType t, double x) {
    int bits = dtype_bits(t);
    bool sign = dtype_is_signed(t);
    if (isnan(x))
        return 0;
    double most = ldexp(1, sign ? bits - 1 : bits);
    if (x >= most)
        return sign ? (int64_t)(UINT64_MAX >> (65 - bits)) : (int64_t)(UINT64_MAX >> (64 - bits));
    if (x <= (sign ? -most : 0))
        return sign ? -(int64_t)(UINT64_MAX >> (65 - bits)) - 1 : 0;
    return t == DT_U64 ? (int64_t)(uint64_t)x : (int64_t)x;
}

static Number meaning_cast(DType from, DType to, Number x) {
    bool f = dtype_is_float(from);
    Number r = {0};
    if (to == DT_BOOL) {
        r.i = f ? x.f != 0 : x.i != 0;
    } else if (dtype_is_float(to)) {
        r.f = f ? x.f : from == DT_U64 ? (double)(uint64_t)x.i : (double)x.i;
        if (!f && (to == DT_F32 || to == DT_F16 || to == DT_BF16))
            r.f = (double)(from == DT_U64 ? (float)(uint64_t)x.i : (float)x.i);
        if (f && to == DT_F32)
            r.f = (double)(float)x.f;
        int64_t cell[2] = {0};
        put(to, cell, 0, r);
        r = get(to, cell, 0);
    } else {
        r.i = f ? saturated(to, x.f) : wrap(to, x.i);
    }
    return r;
}

/* --- a module of one kernel: out = op(x, y, z), lane by lane --- */

typedef struct Case {
    Arena *arena;
    Diag diag;
    KModule *m;
    KKernel *k;
    KParam *in[3], *out;
    int n_in;
    KBuilder b;
} Case;

static Case case_new(int n_in, const DType *in, DType out, int64_t count, int64_t out_count) {
    static const char *const names[] = {"x", "y", "z"};
    static const int64_t dim[] = {N};
    Case c = {.arena = arena_new(), .diag = {.stream = stderr}, .n_in = n_in};
    c.m = kernel_module_new(c.arena);
    c.m->model_name = "case";
    c.k = kernel_new(c.m, "op");
    KCall call = {.kernel = c.k, .arg = ARENA_ARRAY(c.arena, KArg, n_in + 1)};
    for (int i = 0; i <= n_in; i++) {
        bool written = i == n_in;
        const char *name = written ? "out" : names[i];
        DType t = written ? out : in[i];
        KBuffer *buffer = kernel_buffer(c.m, written ? KBUF_OUTPUT : KBUF_INPUT, name, t, written ? out_count : count);
        buffer->onnx_name = name;
        buffer->rank = 1;
        buffer->dim = dim;
        call.arg[i].buffer = buffer;
        KParam *p = kernel_param(c.k, name, t, buffer->count, written);
        if (written)
            c.out = p;
        else
            c.in[i] = p;
    }
    VEC_PUSH(c.arena, &c.m->kernels, c.k);
    VEC_PUSH(c.arena, &c.m->calls, call);
    c.b = kb_at_end(c.k, c.k->body);
    return c;
}

static void case_run(Case *c, const void *const *in, void *out, JitSpeed speed) {
    kb_yield(&c->b, 0, NULL);
    Jit *j = jit_compile(&c->diag, c->m, speed);
    ck_assert_ptr_nonnull(j);
    ck_assert_int_eq(jit_run(j, in, &out), 0);
    jit_free(j);
}

static KValue *apply(KBuilder *b, KOp op, KValue **x) {
    switch (op) {
    case KOP_NEG:
    case KOP_ABS:
    case KOP_SQRT:
    case KOP_NOT: return kb_unary(b, op, x[0]);
    case KOP_FMA: return kb_fma(b, x[0], x[1], x[2]);
    case KOP_DOT:
    case KOP_DOT_S8: return kb_dot(b, op, x[0], x[1], x[2]);
    default: return kb_binary(b, op, x[0], x[1]);
    }
}

static bool is_comparison(KOp op) { return op >= KOP_EQ && op <= KOP_GE; }

static void check_op(KOp op, DType t, int lanes, Number (*value)[N]) {
    DType out = is_comparison(op) ? DT_BOOL : t;
    Case c = case_new(3, (DType[]){t, t, t}, out, N, N);
    KBuilder *b = &c.b;
    KInstr *l = kb_for(b, KLOOP_PARALLEL, "i", kb_int(b, DT_INDEX, 0), kb_int(b, DT_INDEX, N), lanes, 0, NULL);
    KIndex at = kx_var(c.arena, kb_iv(l));
    KValue *x[3];
    for (int i = 0; i < 3; i++)
        x[i] = kb_load_vector(b, c.in[i], at, lanes, 1);
    kb_store(b, c.out, at, apply(b, op, x));
    kb_end_for(b, l, NULL);
    int64_t in[3][N + 1], result[N + 1];
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < N; k++)
            put(t, in[i], k, value[i][k]);
    case_run(&c, (const void *const[]){in[0], in[1], in[2]}, result, lanes == 4 ? JIT_FAST : JIT_QUICK);
    for (int k = 0; k < N; k++) {
        Number want = meaning(op, t, get(t, in[0], k), get(t, in[1], k), get(t, in[2], k)), got = get(out, result, k);
        ck_assert_msg(same(out, want, got), "%s %sx%d: lane %d: want %lld/%.17g, got %lld/%.17g", kop_info[op].name, dtype_name(t), lanes,
                      k, (long long)want.i, want.f, (long long)got.i, got.f);
    }
    arena_free(c.arena);
}

/* Numbers with every edge among them: each pair of the first eight meets. */
static void fill(DType t, Number (*value)[N]) {
    static const double reals[] = {0.0, -0.0, 1.5, -2.25, INFINITY, -INFINITY, NAN, 1e-40};
    uint32_t seed = 12345;
    for (int k = 0; k < N; k++) {
        for (int i = 0; i < 3; i++) {
            int edge = i == 0 ? k / 8 : k % 8, bits = dtype_bits(t);
            seed = seed * 1664525u + 1013904223u;
            if (dtype_is_float(t)) {
                value[i][k].f = i == 2 ? (double)(int)(seed >> 8) / 65536 : reals[edge];
                continue;
            }
            const int64_t edges[] = {0, 1, -1, (int64_t)((uint64_t)1 << (bits - 1)), (int64_t)(((uint64_t)1 << (bits - 1)) - 1), 7, bits, -5};
            value[i][k].i = i == 2 ? (int64_t)seed : edges[edge];
        }
    }
}

static void sweep(const DType *types, int n_types, const KOp *ops, int n_ops) {
    Number value[3][N];
    for (int t = 0; t < n_types; t++) {
        fill(types[t], value);
        for (int o = 0; o < n_ops; o++)
            for (int lanes = 1; lanes <= 16; lanes *= 4)
                check_op(ops[o], types[t], lanes, value);
    }
}

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

START_TEST(float_arithmetic) {
    static const DType types[] = {DT_F32, DT_F64};
    static const KOp ops[] = {KOP_ADD, KOP_SUB, KOP_MUL, KOP_DIV, KOP_FMA, KOP_MIN, KOP_MAX, KOP_NEG, KOP_ABS,
                              KOP_SQRT, KOP_EQ, KOP_NE, KOP_LT, KOP_LE, KOP_GT, KOP_GE};
    sweep(types, COUNT(types), ops, COUNT(ops));
}
END_TEST

START_TEST(integer_arithmetic) {
    static const DType types[] = {DT_I8, DT_U8, DT_I16, DT_U16, DT_I32, DT_U32, DT_I64, DT_U64};
    static const KOp ops[] = {KOP_ADD, KOP_SUB, KOP_MUL, KOP_DIV, KOP_REM, KOP_FMA, KOP_MIN, KOP_MAX, KOP_NEG, KOP_ABS, KOP_AND,
                              KOP_OR, KOP_XOR, KOP_NOT, KOP_SHL, KOP_SHR, KOP_EQ, KOP_NE, KOP_LT, KOP_LE, KOP_GT, KOP_GE};
    sweep(&types[2 * _i], 2, ops, COUNT(ops));
}
END_TEST

START_TEST(booleans) {
    static const DType types[] = {DT_BOOL};
    static const KOp ops[] = {KOP_AND, KOP_OR, KOP_XOR, KOP_NOT, KOP_EQ, KOP_NE};
    sweep(types, 1, ops, COUNT(ops));
}
END_TEST

/* --- conversions --- */

static const DType tensor_types[] = {DT_F32, DT_F64, DT_F16, DT_BF16, DT_I8, DT_U8, DT_I16, DT_U16, DT_I32, DT_U32, DT_I64, DT_U64, DT_BOOL};

static void check_cast(DType from, DType to, int lanes) {
    static const double reals[] = {0.0, -0.0, 0.5, -0.99, 1.5, 2.5, -3.7, 127.5, 128, 255.9, 256, -128.9, -129, 32767.6, 65519.9, 65520, 65536,
                                   1e-8, 6e-8, 6.1e-5, 1.0009765625, 1.00048828125, 1.00146484375, 2147483648.0, -2147483904.0, 4294967296.0,
                                   9.3e18, -9.3e18, 1.9e19, 1e38, INFINITY, -INFINITY, NAN, 1.003, 1.01171875, 3.4e38, 1e300, -1e-300};
    Case c = case_new(1, &from, to, N, N);
    KBuilder *b = &c.b;
    KInstr *l = kb_for(b, KLOOP_PARALLEL, "i", kb_int(b, DT_INDEX, 0), kb_int(b, DT_INDEX, N), lanes, 0, NULL);
    KIndex at = kx_var(c.arena, kb_iv(l));
    kb_store(b, c.out, at, kb_cast(b, kb_load_vector(b, c.in[0], at, lanes, 1), to));
    kb_end_for(b, l, NULL);
    int64_t in[N + 1], result[N + 1];
    for (int k = 0; k < N; k++) {
        Number x;
        if (dtype_is_float(from))
            x.f = k < COUNT(reals) ? reals[k] : (k - 50) * 777.77;
        else
            x.i = k < 8 ? k - 4 : k % 2 ? (int64_t)0x8000000080008080 + k : INT64_MAX >> k;
        put(from, in, k, x);
    }
    case_run(&c, (const void *const[]){in}, result, lanes == 1 ? JIT_QUICK : JIT_FAST);
    for (int k = 0; k < N; k++) {
        Number x = get(from, in, k), want = meaning_cast(from, to, x), got = get(to, result, k);
        ck_assert_msg(same(to, want, got), "cast %s to %s, %d lanes: %lld/%.17g: want %lld/%.17g, got %lld/%.17g", dtype_name(from),
                      dtype_name(to), lanes, (long long)x.i, x.f, (long long)want.i, want.f, (long long)got.i, got.f);
    }
    arena_free(c.arena);
}

START_TEST(conversions) {
    for (int to = 0; to < COUNT(tensor_types); to++)
        for (int lanes = 1; lanes <= 8 && tensor_types[_i] != tensor_types[to]; lanes *= 8)
            check_cast(tensor_types[_i], tensor_types[to], lanes);
}
END_TEST

/* All 65536 halves to float and back, against support/dtype.c. */
START_TEST(all_halves) {
    enum { ALL = 65536 };
    DType t = _i ? DT_BF16 : DT_F16;
    uint16_t *in = malloc(ALL * sizeof *in), *out = malloc(ALL * sizeof *out);
    for (int lanes = 1; lanes <= 8; lanes *= 8) {
        Case c = case_new(1, &t, t, ALL, ALL);
        KBuilder *b = &c.b;
        KInstr *l = kb_for(b, KLOOP_PARALLEL, "i", kb_int(b, DT_INDEX, 0), kb_int(b, DT_INDEX, ALL), lanes, 0, NULL);
        KIndex at = kx_var(c.arena, kb_iv(l));
        KValue *x = kb_cast(b, kb_load_vector(b, c.in[0], at, lanes, 1), DT_F32);
        KValue *y = kb_binary(b, KOP_MUL, x, kb_const_like(b, x->type, 0.3));
        kb_store(b, c.out, at, kb_cast(b, y, t));
        kb_end_for(b, l, NULL);
        for (int k = 0; k < ALL; k++)
            in[k] = (uint16_t)k;
        case_run(&c, (const void *const[]){in}, out, JIT_QUICK);
        for (int k = 0; k < ALL; k++) {
            float f = (_i ? bfloat_to_float : half_to_float)((uint16_t)k) * 0.3f;
            uint16_t want = (_i ? float_to_bfloat : float_to_half)(f);
            ck_assert_msg(want == out[k] || isnan(f), "%s %#x times 0.3: want %#x, got %#x", dtype_name(t), (unsigned)k, want, out[k]);
        }
        arena_free(c.arena);
    }
    free(in);
    free(out);
}
END_TEST

/* --- lanes --- */

START_TEST(lanes_move) {
    static const DType types[] = {DT_F32, DT_I8, DT_BOOL, DT_F64, DT_F16};
    DType t = types[_i];
    Case c = case_new(1, &t, t, N, N);
    KBuilder *b = &c.b;
    KIndex zero = kx_const(c.arena, 0);
    KValue *x = kb_load_vector(b, c.in[0], zero, 8, 1);
    KValue *even = kb_load_vector(b, c.in[0], zero, 4, 2), *back = kb_load_vector(b, c.in[0], kx_const(c.arena, 7), 4, -1);
    KValue *wide = kb_pack(b, 2, (KValue *[]){even, back});
    KValue *one = kb_extract(b, x, 5, 1), *few = kb_extract(b, x, 2, 4);
    KValue *mixed = kb_pack(b, 4, (KValue *[]){one, kb_extract(b, x, 1, 1), one, kb_extract(b, x, 7, 1)});
    kb_store(b, c.out, zero, wide);
    kb_store(b, c.out, kx_const(c.arena, 8), few);
    kb_store(b, c.out, kx_const(c.arena, 12), mixed);
    kb_store(b, c.out, kx_const(c.arena, 16), kb_splat(b, one, 4));
    kb_store(b, c.out, kx_const(c.arena, 20), kb_load_vector(b, c.in[0], kx_const(c.arena, 3), 4, 0));
    kb_store_vector(b, c.out, kx_const(c.arena, 24), few, 3);
    static const int from[] = {0, 2, 4, 6, 7, 6, 5, 4, 2, 3, 4, 5, 5, 1, 5, 7, 5, 5, 5, 5, 3, 3, 3, 3, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5};
    int64_t in[N], out[N] = {0};
    for (int k = 0; k < 8; k++)
        put(t, in, k, dtype_is_float(t) ? (Number){.f = k + 1} : (Number){.i = t == DT_BOOL ? k * 5 / 3 % 2 : k + 1});
    case_run(&c, (const void *const[]){in}, out, JIT_FAST);
    for (int k = 0; k < COUNT(from); k++)
        ck_assert_msg(from[k] < 0 || same(t, get(t, out, k), get(t, in, from[k])), "%s: element %d", dtype_name(t), k);
    arena_free(c.arena);
}
END_TEST

START_TEST(lanes_reduce) {
    static const KOp ops[] = {KOP_REDUCE_ADD, KOP_REDUCE_MUL, KOP_REDUCE_MIN, KOP_REDUCE_MAX};
    static const KOp lane_ops[] = {KOP_ADD, KOP_MUL, KOP_MIN, KOP_MAX};
    static const DType types[] = {DT_F32, DT_F64, DT_I32, DT_U8};
    DType t = types[_i];
    Case c = case_new(1, &t, t, N, 4);
    int64_t in[N], out[4];
    Number want[4], lane[16];
    for (int k = 0; k < 16; k++) {
        Number x;
        if (dtype_is_float(t))
            x.f = (double)(float)(0.3 * k - 2.1);
        else
            x.i = 31 * k - 100;
        put(t, in, k, x);
    }
    KValue *x = kb_load_vector(&c.b, c.in[0], kx_const(c.arena, 0), 16, 1);
    for (int o = 0; o < 4; o++) {
        kb_store(&c.b, c.out, kx_const(c.arena, o), kb_reduce(&c.b, ops[o], x));
        for (int k = 0; k < 16; k++)
            lane[k] = get(t, in, k);
        for (int n = 8; n; n /= 2)
            for (int k = 0; k < n; k++)
                lane[k] = meaning(lane_ops[o], t, lane[k], lane[k + n], lane[0]);
        want[o] = lane[0];
    }
    case_run(&c, (const void *const[]){in}, out, JIT_FAST);
    for (int o = 0; o < 4; o++)
        ck_assert_msg(same(t, get(t, out, o), want[o]), "%s %s", kop_info[ops[o]].name, dtype_name(t));
    arena_free(c.arena);
}
END_TEST

/* Every byte of the extremes meets every other. */
START_TEST(products_of_words) {
    static const uint32_t words[] = {0x80808080u, 0x7f7f7f7fu, 0xffffffffu, 0x807f8001u, 0x00ff7f80u, 0x01020304u, 0xfefd0380u, 0};
    Number value[3][N];
    for (int k = 0; k < N; k++) {
        value[0][k].i = (int32_t)words[k / 8];
        value[1][k].i = (int32_t)words[k % 8];
        value[2][k].i = k * 100003 - 3000000;
    }
    const KOp ops[] = {KOP_DOT, KOP_DOT_S8, KOP_MUL_HIGH};
    for (int i = 0; i < 3 * 5; i++)
        check_op(ops[i % 3], DT_I32, 1 << i / 3, value);
}
END_TEST

START_TEST(sums_of_products_of_bytes) {
    Case c = case_new(2, (DType[]){DT_I8, DT_I8}, DT_I32, N, N / 16);
    KBuilder *b = &c.b;
    for (int k = 0; k < N / 16; k++) {
        KIndex at = kx_const(c.arena, 16 * k);
        KValue *x = kb_load_vector(b, c.in[0], at, 16, 1), *y = kb_load_vector(b, c.in[1], at, 16, 1);
        kb_store(b, c.out, kx_const(c.arena, k), kb_dot(b, KOP_DOT_SUM, x, y, kb_int(b, DT_I32, 1000 * k)));
    }
    int8_t in[2][N];
    int32_t out[N / 16];
    for (int k = 0; k < N; k++) {
        in[0][k] = (int8_t)(k % 3 ? k * 37 : -128);
        in[1][k] = (int8_t)(k < 16 ? -128 : k * 91);
    }
    case_run(&c, (const void *const[]){in[0], in[1]}, out, JIT_FAST);
    for (int k = 0; k < N; k++)
        out[k / 16] -= in[0][k] * in[1][k];
    for (int k = 0; k < N / 16; k++)
        ck_assert_int_eq(out[k], 1000 * k);
    arena_free(c.arena);
}
END_TEST

START_TEST(select_and_bitcast) {
    DType t[] = {DT_F32, DT_F32};
    for (int lanes = 1; lanes <= 8; lanes *= 8) {
        Case c = case_new(2, t, DT_U32, N, N);
        KBuilder *b = &c.b;
        KInstr *l = kb_for(b, KLOOP_PARALLEL, "i", kb_int(b, DT_INDEX, 0), kb_int(b, DT_INDEX, N), lanes, 0, NULL);
        KIndex at = kx_var(c.arena, kb_iv(l));
        KValue *x = kb_load_vector(b, c.in[0], at, lanes, 1), *y = kb_load_vector(b, c.in[1], at, lanes, 1);
        KValue *z = kb_select(b, kb_binary(b, KOP_GT, x, y), x, kb_binary(b, KOP_ADD, y, x));
        kb_store(b, c.out, at, kb_bitcast(b, z, DT_U32));
        kb_end_for(b, l, NULL);
        float in[2][N];
        uint32_t out[N];
        for (int k = 0; k < N; k++) {
            in[0][k] = (float)k - 20.5f;
            in[1][k] = (float)(k * 7 % 23);
        }
        case_run(&c, (const void *const[]){in[0], in[1]}, out, JIT_QUICK);
        for (int k = 0; k < N; k++) {
            float f = in[0][k] > in[1][k] ? in[0][k] : in[1][k] + in[0][k];
            ck_assert_int_eq(memcmp(&f, &out[k], 4), 0);
        }
        arena_free(c.arena);
    }
}
END_TEST

/* --- indices --- */

START_TEST(index_division_is_floor) {
    DType t = DT_I64;
    Case c = case_new(2, (DType[]){t, t}, t, N, 8 * N);
    KBuilder *b = &c.b;
    KInstr *l = kb_for(b, KLOOP_PARALLEL, "i", kb_int(b, DT_INDEX, 0), kb_int(b, DT_INDEX, N), 1, 0, NULL);
    KIndex at = kx_var(c.arena, kb_iv(l)), to = kx_scale(c.arena, at, 8);
    KValue *x = kb_cast(b, kb_load(b, c.in[0], at), DT_INDEX), *y = kb_cast(b, kb_load(b, c.in[1], at), DT_INDEX);
    KValue *by[] = {y, kb_int(b, DT_INDEX, 8), kb_int(b, DT_INDEX, 7)};
    for (int k = 0; k < 3; k++) {
        KValue *q = kb_binary(b, KOP_DIV, x, by[k]), *r = kb_binary(b, KOP_REM, x, by[k]);
        kb_store(b, c.out, kx_add_const(c.arena, to, 2 * k), kb_cast(b, q, t));
        kb_store(b, c.out, kx_add_const(c.arena, to, 2 * k + 1), kb_cast(b, r, t));
    }
    KValue *ramp = kb_ramp(b, x, 2, -3);
    kb_store(b, c.out, kx_add_const(c.arena, to, 6), kb_cast(b, ramp, t));
    kb_end_for(b, l, NULL);
    int64_t in[2][N], out[8 * N];
    for (int k = 0; k < N; k++) {
        in[0][k] = k / 8 - 4;
        in[1][k] = k % 8 - 3;
    }
    case_run(&c, (const void *const[]){in[0], in[1]}, out, JIT_FAST);
    for (int k = 0; k < N; k++) {
        int64_t divisor[] = {in[1][k], 8, 7}, v = in[0][k];
        for (int j = 0; j < 3; j++) {
            int64_t q = divisor[j] ? (int64_t)floor((double)v / (double)divisor[j]) : 0;
            ck_assert_int_eq(out[8 * k + 2 * j], q);
            ck_assert_int_eq(out[8 * k + 2 * j + 1], v - q * divisor[j]);
        }
        ck_assert_int_eq(out[8 * k + 6], v);
        ck_assert_int_eq(out[8 * k + 7], v - 3);
    }
    arena_free(c.arena);
}
END_TEST

/* --- control --- */

/* Nested loops with carried values that trade places, an IF with a result, a loop that does not run. */
START_TEST(control_flow) {
    DType t = DT_I32;
    Case c = case_new(1, &t, t, N, 4);
    KBuilder *b = &c.b;
    KValue *zero = kb_int(b, DT_INDEX, 0), *init[] = {kb_int(b, t, 1), kb_int(b, t, 100)};
    KInstr *l = kb_for(b, KLOOP_SERIAL, "i", zero, kb_int(b, DT_INDEX, 7), 2, 2, init);
    KValue *first[] = {kb_carried(l, 0)};
    KInstr *inner = kb_for(b, KLOOP_SERIAL, "j", zero, kb_iv(l), 1, 1, first);
    KIndex at = kx_add(c.arena, kx_scale(c.arena, kx_var(c.arena, kb_iv(l)), 8), kx_var(c.arena, kb_iv(inner)));
    KValue *x = kb_load(b, c.in[0], at);
    KInstr *branch = kb_if(b, kb_binary(b, KOP_GT, x, kb_int(b, t, 20)), 1);
    kb_else(b, branch, (KValue *[]){kb_binary(b, KOP_MUL, x, kb_int(b, t, 3))});
    kb_end_if(b, branch, (KValue *[]){kb_binary(b, KOP_SUB, kb_int(b, t, 0), x)});
    kb_end_for(b, inner, (KValue *[]){kb_binary(b, KOP_ADD, kb_carried(inner, 0), kb_result(branch, 0))});
    kb_end_for(b, l, (KValue *[]){kb_carried(l, 1), kb_result(inner, 0)});
    kb_store(b, c.out, kx_const(c.arena, 0), kb_result(l, 0));
    kb_store(b, c.out, kx_const(c.arena, 1), kb_result(l, 1));
    KInstr *never = kb_for(b, KLOOP_SERIAL, "k", kb_int(b, DT_INDEX, 3), zero, 1, 2, init);
    kb_end_for(b, never, (KValue *[]){kb_carried(never, 1), kb_carried(never, 0)});
    kb_store(b, c.out, kx_const(c.arena, 2), kb_result(never, 0));
    KInstr *only = kb_if(b, kb_binary(b, KOP_GT, kb_result(l, 0), init[0]), 0);
    kb_store(b, c.out, kx_const(c.arena, 3), kb_int(b, t, 5));
    kb_end_if(b, only, NULL);
    int32_t in[N], out[4] = {0}, p = 1, q = 100;
    for (int k = 0; k < N; k++)
        in[k] = k * 37 % 41;
    for (int i = 0; i < 7; i += 2) {
        int32_t sum = p;
        for (int j = 0; j < i; j++)
            sum += in[8 * i + j] > 20 ? in[8 * i + j] * 3 : -in[8 * i + j];
        p = q;
        q = sum;
    }
    case_run(&c, (const void *const[]){in}, out, _i ? JIT_FAST : JIT_QUICK);
    ck_assert_int_eq(out[0], p);
    ck_assert_int_eq(out[1], q);
    ck_assert_int_eq(out[2], 1);
    ck_assert_int_eq(out[3], p > 1 ? 5 : 0);
    arena_free(c.arena);
}
END_TEST

/* y = x * x + 1 as a function of values. */
static KFunc *square_plus_one(KModule *m, int lanes) {
    KFunc *f = ARENA_NEW(m->arena, KFunc);
    KType t = {DT_F32, lanes};
    f->name = arena_printf(m->arena, "square_f32x%d", lanes);
    f->result = t;
    f->nargs = 1;
    f->body = kernel_new(m, f->name);
    f->body->body = kernel_block_new(f->body, NULL, 1, &t);
    KBuilder b = kb_at_end(f->body, f->body->body);
    KValue *x = f->body->body->arg[0];
    KValue *y = kb_binary(&b, KOP_ADD, kb_binary(&b, KOP_MUL, x, x), kb_const_like(&b, t, 1));
    kb_yield(&b, 1, &y);
    VEC_PUSH(m->arena, &m->funcs, f);
    return f;
}

START_TEST(calls_of_functions) {
    DType t = DT_F32;
    for (int lanes = 1; lanes <= 16; lanes *= 16) {
        Case c = case_new(1, &t, t, N, N);
        KBuilder *b = &c.b;
        KFunc *f = square_plus_one(c.m, lanes);
        KInstr *l = kb_for(b, KLOOP_PARALLEL, "i", kb_int(b, DT_INDEX, 0), kb_int(b, DT_INDEX, N), lanes, 0, NULL);
        KIndex at = kx_var(c.arena, kb_iv(l));
        KValue *x = kb_load_vector(b, c.in[0], at, lanes, 1);
        kb_store(b, c.out, at, kb_call(b, f, 1, &x));
        kb_end_for(b, l, NULL);
        float in[N], out[N];
        for (int k = 0; k < N; k++)
            in[k] = (float)k * 0.37f;
        case_run(&c, (const void *const[]){in}, out, _i ? JIT_FAST : JIT_QUICK);
        for (int k = 0; k < N; k++) {
            volatile float square = in[k] * in[k];
            ck_assert_float_eq(out[k], square + 1.0f);
        }
        arena_free(c.arena);
    }
}
END_TEST

/* --- modules --- */

/* Two calls through the arena, and two constants: one packed but unaligned, one read through strides. */
static KModule *two_calls(Arena *a, const void *unaligned, const void *transposed) {
    static const int64_t dim[] = {6}, one[] = {1}, dims[] = {2, 3}, strides[] = {1, 2};
    KModule *m = kernel_module_new(a);
    m->model_name = "two calls";
    KBuffer *in = kernel_buffer(m, KBUF_INPUT, "in", DT_F32, 6), *out = kernel_buffer(m, KBUF_OUTPUT, "out", DT_F32, 6);
    KBuffer *w = kernel_buffer(m, KBUF_CONST, "w", DT_F32, 6), *v = kernel_buffer(m, KBUF_CONST, "v", DT_F32, 6);
    KBuffer *t = kernel_buffer(m, KBUF_ARENA, "t", DT_F32, 8);
    in->onnx_name = "in \"1\"";
    out->onnx_name = "out";
    in->rank = out->rank = 1;
    in->dim = out->dim = dim;
    w->data = (KData){.bytes = unaligned, .rank = 1, .dim = dim, .stride = one};
    v->data = (KData){.bytes = transposed, .rank = 2, .dim = dims, .stride = strides};
    t->arena_offset = 64;
    m->arena_size = 128;
    KKernel *k = kernel_new(m, "add");
    KParam *x = kernel_param(k, "x", DT_F32, 6, false), *y = kernel_param(k, "y", DT_F32, 6, false), *z = kernel_param(k, "z", DT_F32, 6, true);
    y->align = 64;
    KBuilder b = kb_at_end(k, k->body);
    for (int i = 0; i < 6; i += 2) {
        KIndex at = kx_const(a, i);
        kb_store(&b, z, at, kb_binary(&b, KOP_ADD, kb_load_vector(&b, x, at, 2, 1), kb_load_vector(&b, y, at, 2, 1)));
    }
    kb_yield(&b, 0, NULL);
    VEC_PUSH(a, &m->kernels, k);
    KCall first = {.kernel = k, .arg = ARENA_ARRAY(a, KArg, 3)}, second = first;
    second.arg = ARENA_ARRAY(a, KArg, 3);
    first.arg[0] = (KArg){in, 0}, first.arg[1] = (KArg){w, 0}, first.arg[2] = (KArg){t, 2};
    second.arg[0] = (KArg){t, 2}, second.arg[1] = (KArg){v, 0}, second.arg[2] = (KArg){out, 0};
    VEC_PUSH(a, &m->calls, first);
    VEC_PUSH(a, &m->calls, second);
    return m;
}

static const float stored[] = {1, 2, 3, 4, 5, 6}, transposed[] = {10, 20, 30, 40, 50, 60};
static const float sums[] = {11, 33, 55, 27, 49, 71}; /* x = 0, 1, 2 … : x + stored + transposed */

START_TEST(constants_and_arena) {
    Arena *a = arena_new();
    Diag d = {.stream = stderr};
    char bytes[sizeof stored + 1];
    memcpy(bytes + 1, stored, sizeof stored);
    Jit *j[2];
    KModule *m = two_calls(a, bytes + 1, transposed);
    for (int i = 0; i < 2; i++)
        j[i] = jit_compile(&d, m, i ? JIT_FAST : JIT_QUICK);
    for (int i = 0; i < 2; i++) {
        float in[] = {0, 1, 2, 3, 4, 5}, out[6];
        ck_assert_int_eq(jit_run(j[i], (const void *const[]){in}, (void *const[]){out}), 0);
        for (int k = 0; k < 6; k++)
            ck_assert_float_eq(out[k], sums[k]);
        jit_free(j[i]);
    }
    arena_free(a);
}
END_TEST

static const char program[] =
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include \"t.h\"\n"
    "static const float stored[] = {1, 2, 3, 4, 5, 6}, transposed[] = {10, 30, 50, 20, 40, 60};\n"
    "int main(void) {\n"
    "    static float in[] = {0, 1, 2, 3, 4, 5}, out[6];\n"
    "    static _Alignas(64) unsigned char arena[4096], weights[128];\n"
    "    const void *i[] = {in};\n    void *o[] = {out};\n"
    "    const struct mlcc_model *m = &t_model;\n"
    "    memcpy(weights, stored, sizeof stored);\n    memcpy(weights + 64, transposed, sizeof transposed);\n"
    "    if (m->run(i, o, weights, arena) || m->inputs != 1 || strcmp(m->input[0].name, \"in \\\"1\\\"\") || m->output[0].size != 24)\n"
    "        return 1;\n"
    "    if (m->input[0].dim[0] != 6 || m->arena_size > sizeof arena || m->arena_align != 64)\n        return 2;\n"
    "    for (int k = 0; k < 6; k++)\n        if (out[k] != (float)k + stored[k] + transposed[k])\n            return 3;\n"
    "    return 0;\n}\n";

static FILE *create(Arena *a, const char *folder, const char *name) {
    FILE *f = fopen(arena_printf(a, "%s/%s", folder, name), "wb");
    ck_assert_ptr_nonnull(f);
    return f;
}

/* Objects and assembly, with each place for the weights, link with the generated header, need no library, and run. */
START_TEST(objects_link_and_run) {
    static const char *const names[] = {"t.ll", "t.s", "t.o"};
    Arena *a = arena_new();
    Diag d = {.stream = stderr};
    char folder[] = "/tmp/mlcc-jit-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    KModule *m = two_calls(a, stored, transposed);
    FILE *f = create(a, folder, "main.c");
    fputs(program, f);
    fclose(f);
    for (int format = OBJECT_LL; format <= OBJECT_O; format++) {
        EmitOptions o = {.prefix = "t", .header_name = "t.h", .weights_name = "t.weights.bin", .generator = "mlcc", .options = "",
                         .static_arena = _i == 1, .weights = _i == 2 ? WEIGHTS_BIN : WEIGHTS_C, .target = jit_native_target(a),
                         .weights_section = _i == 1 ? "mlcc_weights" : NULL};
        f = create(a, folder, "t.h");
        emit_header(m, &o, f);
        fclose(f);
        f = create(a, folder, names[format]);
        ck_assert(emit_llvm(&d, m, &o, (ObjectFormat)format, f));
        fclose(f);
        if (format != OBJECT_LL)
            ck_assert_int_eq(system(arena_printf(a, "cd %s && cc -o t main.c %s && ./t", folder, names[format])), 0);
        if (format == OBJECT_O)
            ck_assert_int_eq(system(arena_printf(a, "cd %s && ! nm -u t.o | grep .", folder)), 0);
    }
    ck_assert_int_eq(system(arena_printf(a, "rm -r %s", folder)), 0);
    arena_free(a);
}
END_TEST

START_TEST(native_target_is_complete) {
    Arena *a = arena_new();
    const Target *t = jit_native_target(a);
    ck_assert_str_eq(t->name, "native");
    ck_assert_int_eq(t->pointer_bits, (int)sizeof(void *) * 8);
    ck_assert(*t->triple && *t->cpu && t->features && t->abi && t->emulator && t->c_guard);
    ck_assert(t->l1 > 0 && t->l2 > 0 && t->fma_per_cycle > 0 && t->fma_latency > 0);
    arena_free(a);
}
END_TEST

int main(void) {
    Suite *s = suite_create("jit");
    TCase *ops = tcase_create("instructions"), *rest = tcase_create("modules");
    tcase_set_timeout(ops, 120);
    tcase_add_test(ops, float_arithmetic);
    tcase_add_loop_test(ops, integer_arithmetic, 0, 4);
    tcase_add_test(ops, booleans);
    tcase_add_loop_test(ops, conversions, 0, COUNT(tensor_types));
    tcase_add_loop_test(ops, all_halves, 0, 2);
    tcase_add_loop_test(ops, lanes_move, 0, 5);
    tcase_add_loop_test(ops, lanes_reduce, 0, 4);
    tcase_add_test(ops, products_of_words);
    tcase_add_test(ops, sums_of_products_of_bytes);
    tcase_add_test(ops, select_and_bitcast);
    tcase_add_test(ops, index_division_is_floor);
    tcase_add_loop_test(ops, control_flow, 0, 2);
    tcase_add_loop_test(ops, calls_of_functions, 0, 2);
    tcase_add_test(rest, constants_and_arena);
    tcase_add_loop_test(rest, objects_link_and_run, 0, 3);
    tcase_add_test(rest, native_target_is_complete);
    suite_add_tcase(s, ops);
    suite_add_tcase(s, rest);
    return unit_run("jit", s);
}
