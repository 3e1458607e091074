/* SPDX-License-Identifier: Apache-2.0 */
/* Types and helper functions of generated code, written out only where a kernel needs them. */
#include <string.h>

#include "backend/c/print.h"

static const char *name_of(Arena *a, KType t) {
    return t.lanes == 1 ? dtype_name(t.dtype) : arena_printf(a, "%sx%d", dtype_name(t.dtype), t.lanes);
}

bool c_first_time(Helpers *h, const char *name) {
    if (strmap_get(&h->seen, name))
        return false;
    strmap_put(h->arena, &h->seen, name, h);
    return true;
}

/* Lanes of BOOL are 32-bit masks, 0 or -1. */
static const char *lane_type(DType t) { return t == DT_BOOL ? "int32_t" : dtype_c(t); }

static int lane_bytes(DType t) { return t == DT_BOOL ? 4 : t == DT_INDEX ? 8 : dtype_size(t); }

const char *c_type(Helpers *h, KType t) {
    if (t.lanes == 1)
        return dtype_c(t.dtype);
    const char *name = name_of(h->arena, t);
    bool first = c_first_time(h, name);
    if (first && c_is_bytes(h, t))
        c_bytes_type(h, name);
    else if (first) {
        const char *lane = t.dtype == DT_INDEX ? "int64_t" : lane_type(t.dtype);
        int bytes = t.lanes * lane_bytes(t.dtype);
        const char *close = c_riscv_type(h, name, lane, 8 * bytes) ? "#endif\n" : "";
        sb_printf(&h->types, "typedef %s %s __attribute__((vector_size(%d)));\n%s", lane, name, bytes, close);
    }
    return name;
}

/* For unaligned vectors: "f32x16_u". */
static const char *memory_type(Helpers *h, KType t) {
    const char *name = arena_printf(h->arena, "%s_u", name_of(h->arena, t));
    if (c_first_time(h, name))
        sb_printf(&h->types, "typedef %s %s __attribute__((vector_size(%d), aligned(%d), may_alias));\n", dtype_c(t.dtype), name,
                  t.lanes * dtype_size(t.dtype), dtype_size(t.dtype));
    return name;
}

/* The integer type whose lanes are as wide as t's: what a comparison of t gives. */
static DType mask_dtype(DType t) {
    switch (lane_bytes(t)) {
    case 1: return DT_I8;
    case 2: return DT_I16;
    case 4: return DT_I32;
    default: return DT_I64;
    }
}

static const char *mask_type(Helpers *h, KType t) { return c_type(h, (KType){mask_dtype(t.dtype), t.lanes}); }

/* --- scalars --- */

static void scalar_integer(StrBuf *o, const char *family, const char *name, DType t) {
    const char *c = dtype_c(t), *u = t == DT_INDEX ? "size_t" : dtype_bits(t) == 64 ? "uint64_t" : "uint32_t";
    bool sign = dtype_is_signed(t);
    int bits = dtype_bits(t);
    sb_printf(o, "static MLCC_INLINE %s %s(%s x, %s y) {\n", c, name, c, c);
    if (!strcmp(family, "div") && t == DT_INDEX)
        sb_puts(o, "    return x / y - (x % y < 0);\n");
    else if (!strcmp(family, "rem") && t == DT_INDEX)
        sb_puts(o, "    const ptrdiff_t r = x % y;\n    return r < 0 ? r + y : r;\n");
    else if (!strcmp(family, "div") && sign)
        sb_printf(o, "    return y == 0 ? (%s)0 : y == -1 ? (%s)((%s)0 - (%s)x) : (%s)(x / y);\n", c, c, u, u, c);
    else if (!strcmp(family, "div"))
        sb_printf(o, "    return y == 0 ? (%s)0 : (%s)(x / y);\n", c, c);
    else if (!strcmp(family, "rem") && sign)
        sb_printf(o, "    return y == 0 ? x : y == -1 ? (%s)0 : (%s)(x %% y);\n", c, c);
    else if (!strcmp(family, "rem"))
        sb_printf(o, "    return y == 0 ? x : (%s)(x %% y);\n", c);
    else if (!strcmp(family, "mul_high"))
        sb_puts(o, "    return (int32_t)(((int64_t)x * y) >> 32);\n");
    else if (!strcmp(family, "shl"))
        sb_printf(o, "    return (%s)y < %du ? (%s)((%s)x << y) : (%s)0;\n", u, bits, c, u, c);
    else if (sign)
        sb_printf(o, "    return (%s)(x >> ((%s)y < %du ? (int)y : %d));\n", c, u, bits, bits - 1);
    else
        sb_printf(o, "    return (%s)y < %du ? (%s)(x >> y) : (%s)0;\n", u, bits, c, c);
    sb_puts(o, "}\n");
}

static void scalar_abs(StrBuf *o, const char *name, DType t) {
    const char *c = dtype_c(t);
    sb_printf(o, "static MLCC_INLINE %s %s(%s x) {\n", c, name, c);
    if (t == DT_F32)
        sb_puts(o, "    uint32_t u;\n    memcpy(&u, &x, sizeof u);\n    u &= 0x7fffffffu;\n    memcpy(&x, &u, sizeof x);\n"
                   "    return x;\n");
    else if (t == DT_F64)
        sb_puts(o, "    uint64_t u;\n    memcpy(&u, &x, sizeof u);\n    u &= 0x7fffffffffffffffu;\n    memcpy(&x, &u, sizeof x);\n"
                   "    return x;\n");
    else if (dtype_is_signed(t))
        sb_printf(o, "    return x < 0 ? (%s)(0 - (%s)x) : x;\n", c, dtype_bits(t) == 64 ? "uint64_t" : "uint32_t");
    else
        sb_puts(o, "    return x;\n");
    sb_puts(o, "}\n");
}

static void scalar_cast(Helpers *h, const char *name, DType to, DType from) {
    StrBuf *o = &h->text;
    const char *c = dtype_c(to);
    int bits = to == DT_INDEX ? 64 : dtype_bits(to);
    bool sign = dtype_is_signed(to);
    const char *suffix = from == DT_F32 ? "f" : "";
    static const char *const limits[] = {"128.0", "32768.0", "2147483648.0", "9223372036854775808.0"};
    static const char *const unsigned_limits[] = {"256.0", "65536.0", "4294967296.0", "18446744073709551616.0"};
    int w = bits == 8 ? 0 : bits == 16 ? 1 : bits == 32 ? 2 : 3;
    static const char *const most[] = {"INT8_MAX", "INT16_MAX", "INT32_MAX", "INT64_MAX"};
    static const char *const umost[] = {"UINT8_MAX", "UINT16_MAX", "UINT32_MAX", "UINT64_MAX"};
    static const char *const least[] = {"INT8_MIN", "INT16_MIN", "INT32_MIN", "INT64_MIN"};
    sb_printf(o, "static MLCC_INLINE %s %s(%s x) {\n", c, name, dtype_c(from));
    if (to == DT_INDEX)
        sb_printf(o, "    return x >= 1073741824.0%s ? 1073741824 : x > -1073741824.0%s ? (ptrdiff_t)x : x == x ? -1073741824 : 0;\n",
                  suffix, suffix);
    else if (sign)
        sb_printf(o, "    return x >= %s%s ? %s : x > -%s%s ? (%s)x : x == x ? %s : (%s)0;\n", limits[w], suffix, most[w], limits[w],
                  suffix, c, least[w], c);
    else
        sb_printf(o, "    return x >= %s%s ? %s : x > 0.0%s ? (%s)x : (%s)0;\n", unsigned_limits[w], suffix, umost[w], suffix, c, c);
    sb_puts(o, "}\n");
}

/* What a BITCAST to t comes from. */
static const char *bitcast_source(Helpers *h, KType t, DType from) {
    int lanes = t.lanes * dtype_size(t.dtype) / dtype_size(from);
    return lanes == 1 ? dtype_c(from) : c_type(h, (KType){from, lanes});
}

static void scalar_bitcast(Helpers *h, const char *name, DType to, DType from) {
    const char *source = bitcast_source(h, (KType){to, 1}, from);
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x) {\n    %s y;\n    memcpy(&y, &x, sizeof y);\n    return y;\n}\n", dtype_c(to),
              name, source, dtype_c(to));
}

/* Bytes as they lie in memory. */
static void word_helper(Helpers *h, const char *name, DType to, DType from) {
    const char *word = dtype_c(to);
    sb_printf(&h->text, "static MLCC_INLINE %s %s(const %s *p) {\n    %s x;\n    memcpy(&x, p, sizeof x);\n    return x;\n}\n", word, name,
              dtype_c(from), word);
}

/* Correctly rounded square root: the instruction where there is one, else digit by digit. */
static void scalar_sqrt(StrBuf *o, const char *name, DType t) {
    bool f = t == DT_F32;
    const char *c = dtype_c(t), *u = f ? "uint32_t" : "uint64_t";
    sb_printf(o, "static MLCC_INLINE %s %s(%s x) {\n", c, name, c);
    sb_printf(o, "#if defined(__SSE2__)\n    return %s;\n",
              f ? "_mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)))" : "_mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x)))");
    sb_printf(o, "#elif defined(__aarch64__)\n    __asm__(\"fsqrt %%%s0, %%%s0\" : \"+w\"(x));\n    return x;\n", f ? "s" : "d",
              f ? "s" : "d");
    if (f)
        sb_puts(o, "#elif defined(__ARM_FP) && (__ARM_FP & 4)\n    __asm__(\"vsqrt.f32 %0, %0\" : \"+t\"(x));\n    return x;\n");
    sb_printf(o, "#elif defined(__riscv_flen) && __riscv_flen >= %d\n    __asm__(\"fsqrt.%s %%0, %%0\" : \"+f\"(x));\n    return x;\n",
              f ? 32 : 64, f ? "s" : "d");
    int mantissa = f ? 23 : 52;
    sb_printf(o,
              "#else\n"
              "    %s u, m, root = 0, bit = (%s)1 << %d;\n    int e;\n    memcpy(&u, &x, sizeof u);\n"
              "    if (!(x > 0) || u >> %d == %d)\n        return x < 0 ? (x - x) / (x - x) : x;\n"
              "    e = (int)(u >> %d);\n    m = u & (((%s)1 << %d) - 1);\n"
              "    if (e)\n        m |= (%s)1 << %d;\n    else\n        for (e = 1; !(m >> %d); e--)\n            m <<= 1;\n"
              "    e -= %d;\n    if (e & 1) {\n        m <<= 1;\n        e--;\n    }\n    m <<= 1;\n",
              u, u, mantissa + 1, mantissa, f ? 255 : 2047, mantissa, u, mantissa, u, mantissa, mantissa, f ? 127 : 1023);
    sb_printf(o,
              "    for (%s sum = 0; bit; bit >>= 1) {\n        const %s next = sum + bit;\n        if (next <= m) {\n            sum = next + bit;\n"
              "            m -= next;\n            root += bit;\n        }\n        m <<= 1;\n    }\n"
              "    root += root & 1;\n    u = (root >> 1) + ((%s)(e / 2 + %d) << %d);\n    memcpy(&x, &u, sizeof x);\n    return x;\n#endif\n}\n",
              u, u, u, f ? 126 : 1022, mantissa);
}

static void special(StrBuf *o, const char *name, DType t) {
    bool f = t == DT_F32;
    sb_printf(o,
              "/* 0: infinity, 1: minus infinity, 2: not a number */\nstatic MLCC_INLINE %s %s(int which) {\n"
              "    const %s u = which == 0 ? %s : which == 1 ? %s : %s;\n    %s x;\n    memcpy(&x, &u, sizeof x);\n    return x;\n}\n",
              dtype_c(t), name, f ? "uint32_t" : "uint64_t", f ? "0x7f800000u" : "0x7ff0000000000000u",
              f ? "0xff800000u" : "0xfff0000000000000u", f ? "0x7fc00000u" : "0x7ff8000000000000u", dtype_c(t));
}

static void scalar_helper(Helpers *h, const char *family, const char *name, KType t, DType from) {
    StrBuf *o = &h->text;
    if (!strcmp(family, "cast"))
        scalar_cast(h, name, t.dtype, from);
    else if (!strcmp(family, "bitcast"))
        scalar_bitcast(h, name, t.dtype, from);
    else if (!strcmp(family, "abs"))
        scalar_abs(o, name, t.dtype);
    else if (!strcmp(family, "sqrt"))
        scalar_sqrt(o, name, t.dtype);
    else if (!strcmp(family, "special"))
        special(o, name, t.dtype);
    else
        scalar_integer(o, family, name, t.dtype);
}

/* --- vectors: GNU C, with intrinsics where the plain form compiles badly --- */

static void open_vector(Helpers *h, const char *result, const char *name, const char *params) {
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s) {\n", result, name, params);
}

static void lanes_list(Helpers *h, int n, const char *format) {
    for (int i = 0; i < n; i++) {
        sb_puts(&h->text, i ? ", " : "");
        for (const char *p = format; *p; p++) {
            if (*p == '#')
                sb_printf(&h->text, "%d", i);
            else
                sb_putc(&h->text, *p);
        }
    }
}

static void vector_memory(Helpers *h, const char *family, const char *name, KType t) {
    const char *v = c_type(h, t), *u = memory_type(h, t), *e = dtype_c(t.dtype);
    Arena *a = h->arena;
    bool mask = t.dtype == DT_BOOL;
    if (!strcmp(family, "load")) {
        open_vector(h, v, name, arena_printf(a, "const %s *p", e));
        if (mask)
            sb_printf(&h->text, "    return -__builtin_convertvector(*(const %s *)p, %s);\n}\n", u, v);
        else
            sb_printf(&h->text, "    return (%s)*(const %s *)p;\n}\n", v, u);
    } else if (!strcmp(family, "store")) {
        open_vector(h, "void", name, arena_printf(a, "%s *p, %s x", e, v));
        if (mask)
            sb_printf(&h->text, "    *(%s *)p = (%s)__builtin_convertvector(-x, %s);\n}\n", u, u, u);
        else
            sb_printf(&h->text, "    *(%s *)p = (%s)x;\n}\n", u, u);
    } else if (!strcmp(family, "gather")) {
        open_vector(h, v, name, arena_printf(a, "const %s *p, ptrdiff_t stride", e));
        sb_printf(&h->text, "    const %s x = {", v);
        lanes_list(h, t.lanes, mask ? "-p[# * stride]" : "p[# * stride]");
        sb_puts(&h->text, "};\n    return x;\n}\n");
    } else {
        open_vector(h, "void", name, arena_printf(a, "%s *p, ptrdiff_t stride, %s x", e, v));
        for (int i = 0; i < t.lanes; i++)
            sb_printf(&h->text, "    p[%d * stride] = %s%sx[%d]%s;\n", i, mask ? "(uint8_t)(" : "", mask ? "-" : "", i, mask ? ")" : "");
        sb_puts(&h->text, "}\n");
    }
}

const char *c_x86_type(int bits) { return bits == 128 ? "__m128i" : bits == 256 ? "__m256i" : "__m512i"; }
const char *c_x86_prefix(int bits) { return bits == 128 ? "_mm" : bits == 256 ? "_mm256" : "_mm512"; }

/* x86 has exactly our MIN, MAX, FMA and SQRT; Arm's fused multiply-add is ours too. */
static void intrinsic(Helpers *h, const char *family, KType t, const char *arguments) {
    int bits = t.lanes * lane_bytes(t.dtype) * 8;
    const char *v = c_type(h, t), *s = t.dtype == DT_F32 ? "ps" : "pd", *m = c_x86_prefix(bits);
    const char *guard = bits == 512 ? "__AVX512F__" : bits == 256 ? "__AVX__" : "__SSE2__";
    bool fma = !strcmp(family, "fma");
    if (bits != 128 && bits != 256 && bits != 512)
        return;
    if (fma && bits < 512)
        guard = "__FMA__";
    /* The unmasked forms with 512 bits begin with an undefined value, and g++ 12 warns of it in its own header. */
    const char *mask = "";
    if (bits == 512 && !fma) {
        m = "_mm512_maskz";
        mask = t.lanes == 16 ? "0xFFFF, " : "0xFF, ";
    }
    sb_printf(&h->text, "#if defined(%s)\n    return (%s)%s_%s_%s(%s%s);\n", guard, v, m, fma ? "fmadd" : family, s, mask,
              arguments);
    if (fma && bits == 128 && t.dtype == DT_F32)
        sb_printf(&h->text,
                  "#elif defined(__ARM_NEON) || (defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2))\n"
                  "    return (%s)vfmaq_f32((float32x4_t)z, (float32x4_t)x, (float32x4_t)y);\n", v);
    sb_puts(&h->text, "#else\n");
}

/* Products of the even and of the odd lanes, whose upper halves meet. */
static void mul_high(Helpers *h, const char *name, KType t) {
    const char *v = c_type(h, t), *one = c_helper(h, "mul_high", (KType){t.dtype, 1}, DT_NONE);
    int bits = 32 * t.lanes;
    const char *m = c_x86_prefix(bits), *w = c_x86_type(bits);
    bool x86 = bits == 128 || bits == 256 || bits == 512;
    open_vector(h, v, name, arena_printf(h->arena, "%s x, %s y", v, v));
    if (x86) {
        sb_printf(&h->text, "#if defined(%s)\n", bits == 128 ? "__SSE4_1__" : bits == 256 ? "__AVX2__" : "__AVX512F__");
        sb_printf(&h->text, "    const %s a = %s_srli_epi64(%s_mul_epi32((%s)x, (%s)y), 32);\n", w, m, m, w, w);
        sb_printf(&h->text, "    const %s b = %s_mul_epi32(%s_srli_epi64((%s)x, 32), %s_srli_epi64((%s)y, 32));\n", w, m, m, w, m, w);
        if (bits == 512)
            sb_printf(&h->text, "    return (%s)_mm512_mask_blend_epi32(0xAAAA, a, b);\n", v);
        else
            sb_printf(&h->text, "    return (%s)%s_blend_epi16(a, b, 0xCC);\n", v, m);
        if (bits == 128)
            sb_printf(&h->text, "#elif defined(__aarch64__) && defined(__ARM_NEON)\n"
                                "    const int64x2_t a = vmull_s32(vget_low_s32((int32x4_t)x), vget_low_s32((int32x4_t)y));\n"
                                "    const int64x2_t b = vmull_high_s32((int32x4_t)x, (int32x4_t)y);\n"
                                "    return (%s)vuzp2q_s32(vreinterpretq_s32_s64(a), vreinterpretq_s32_s64(b));\n", v);
        sb_puts(&h->text, "#else\n");
    }
    sb_printf(&h->text, "    for (int i = 0; i < %d; i++)\n        x[i] = %s(x[i], y[i]);\n    return x;\n%s", t.lanes, one, x86 ? "#endif\n" : "");
}

/* The smaller or larger of four bytes each, which gcc 12 takes apart; false where it is not that. */
static bool four_bytes(Helpers *h, const char *family, KType t) {
    if (t.lanes != 4 || (t.dtype != DT_I8 && t.dtype != DT_U8))
        return false;
    const char *s = t.dtype == DT_I8 ? "s8" : "u8";
    sb_printf(&h->text,
              "#if defined(__aarch64__) && defined(__ARM_NEON)\n    int32_t a, b;\n    memcpy(&a, &x, sizeof a);\n    memcpy(&b, &y, sizeof b);\n"
              "    a = vget_lane_s32(vreinterpret_s32_%s(v%s_%s(vreinterpret_%s_s32(vdup_n_s32(a)), vreinterpret_%s_s32(vdup_n_s32(b)))), 0);\n"
              "    memcpy(&x, &a, sizeof a);\n    return x;\n#else\n", s, family, s, s, s);
    return true;
}

static void vector_arithmetic(Helpers *h, const char *family, const char *name, KType t) {
    const char *v = c_type(h, t), *k = mask_type(h, t);
    Arena *a = h->arena;
    bool f = dtype_is_float(t.dtype);
    int bits = t.lanes * lane_bytes(t.dtype) * 8;
    bool guarded = f && (bits == 128 || bits == 256 || bits == 512);
    if (!strcmp(family, "fma")) {
        open_vector(h, v, name, arena_printf(a, "%s x, %s y, %s z", v, v, v));
        if (f)
            intrinsic(h, family, t, "x, y, z");
        sb_puts(&h->text, "    return x * y + z;\n");
    } else if (!strcmp(family, "min") || !strcmp(family, "max")) {
        open_vector(h, v, name, arena_printf(a, "%s x, %s y", v, v));
        if (f)
            intrinsic(h, family, t, "x, y");
        bool bytes = four_bytes(h, family, t);
        sb_printf(&h->text, "    const %s m = (%s)(x %c y);\n    return (%s)((m & (%s)x) | (~m & (%s)y));\n", k, k,
                  family[1] == 'i' ? '<' : '>', v, k, k);
        if (bytes)
            sb_puts(&h->text, "#endif\n");
    } else if (!strcmp(family, "abs") && f) {
        open_vector(h, v, name, arena_printf(a, "%s x", v));
        guarded = false;
        sb_printf(&h->text, "    return (%s)((%s)x & %s);\n", v, k, lane_bytes(t.dtype) == 4 ? "INT32_MAX" : "INT64_MAX");
    } else if (!strcmp(family, "abs")) {
        open_vector(h, v, name, arena_printf(a, "%s x", v));
        sb_printf(&h->text, "    const %s m = (%s)(x < 0);\n    return (%s)((m & (%s)-x) | (~m & (%s)x));\n", k, k, v, k, k);
    } else if (!strcmp(family, "sqrt")) {
        const char *one = c_helper(h, "sqrt", (KType){t.dtype, 1}, DT_NONE);
        open_vector(h, v, name, arena_printf(a, "%s x", v));
        intrinsic(h, family, t, "x");
        sb_printf(&h->text, "    for (int i = 0; i < %d; i++)\n        x[i] = %s(x[i]);\n    return x;\n", t.lanes, one);
    } else if (!strcmp(family, "mul_high")) {
        mul_high(h, name, t);
        guarded = false;
    } else { /* div, rem, shl, shr: lane by lane */
        const char *one = c_helper(h, family, (KType){t.dtype, 1}, DT_NONE);
        guarded = false;
        open_vector(h, v, name, arena_printf(a, "%s x, %s y", v, v));
        sb_printf(&h->text, "    for (int i = 0; i < %d; i++)\n        x[i] = %s(x[i], y[i]);\n    return x;\n", t.lanes, one);
    }
    sb_puts(&h->text, guarded ? "#endif\n}\n" : "}\n");
}

/* A comparison's result as lanes of BOOL. */
static void vector_compare(Helpers *h, const char *name, const char *op, KType t) {
    const char *v = c_type(h, t), *b = c_type(h, (KType){DT_BOOL, t.lanes});
    open_vector(h, b, name, arena_printf(h->arena, "%s x, %s y", v, v));
    if (lane_bytes(t.dtype) == 4)
        sb_printf(&h->text, "    return (%s)(x %s y);\n}\n", b, op);
    else
        sb_printf(&h->text, "    return __builtin_convertvector((%s)(x %s y), %s);\n}\n", mask_type(h, t), op, b);
}

static void vector_select(Helpers *h, const char *name, KType t) {
    const char *v = c_type(h, t), *k = mask_type(h, t), *b = c_type(h, (KType){DT_BOOL, t.lanes});
    open_vector(h, v, name, arena_printf(h->arena, "%s c, %s x, %s y", b, v, v));
    if (lane_bytes(t.dtype) == 4)
        sb_printf(&h->text, "    const %s m = (%s)c;\n", k, k);
    else
        sb_printf(&h->text, "    const %s m = __builtin_convertvector(c, %s);\n", k, k);
    sb_printf(&h->text, "    return (%s)((m & (%s)x) | (~m & (%s)y));\n}\n", v, k, k);
}

/* Between bytes and words: gcc 12 takes conversions of vectors apart. */
static void widen_bytes(Helpers *h, const char *v, int lanes, bool sign) {
    const char *s = sign ? "i" : "u", *n = sign ? "s" : "u";
    if (lanes == 16)
        sb_printf(&h->text, "#if defined(__AVX512F__)\n    return (%s)_mm512_maskz_cvtep%s8_epi32(0xFFFF, (__m128i)x);\n", v, s);
    else if (lanes == 8)
        sb_printf(&h->text, "#if defined(__AVX2__)\n    return (%s)_mm256_cvtep%s8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)&x));\n", v, s);
    else
        sb_printf(&h->text,
                  "#if defined(__SSE4_1__)\n    int32_t w;\n    memcpy(&w, &x, sizeof w);\n    return (%s)_mm_cvtep%s8_epi32(_mm_cvtsi32_si128(w));\n"
                  "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    int32_t w;\n    memcpy(&w, &x, sizeof w);\n"
                  "    return (%s)vmovl_%s16(vget_low_%s16(vmovl_%s8(vreinterpret_%s8_s32(vdup_n_s32(w)))));\n",
                  v, s, v, n, n, n, n);
}

static void narrow_words(Helpers *h, const char *v, int lanes) {
    if (lanes == 16) {
        sb_printf(&h->text, "#if defined(__AVX512F__)\n    return (%s)_mm512_maskz_cvtepi32_epi8(0xFFFF, (__m512i)x);\n", v);
        return;
    }
    sb_printf(&h->text, "#if defined(%s)\n    %s y;\n", lanes == 8 ? "__AVX512VL__" : "__SSSE3__", v);
    if (lanes == 8)
        sb_printf(&h->text,
                  "    _mm_storel_epi64((__m128i *)(void *)&y, _mm256_maskz_cvtepi32_epi8(0xFF, (__m256i)x));\n    return y;\n"
                  "#elif defined(__AVX2__)\n    %s y;\n"
                  "    const __m256i z = _mm256_shuffle_epi8((__m256i)x, _mm256_set1_epi32(0x0c080400));\n"
                  "    _mm_storel_epi64((__m128i *)(void *)&y, _mm_unpacklo_epi32(_mm256_castsi256_si128(z), _mm256_extracti128_si256(z, 1)));\n"
                  "    return y;\n", v);
    else
        sb_printf(&h->text,
                  "    const int32_t w = _mm_cvtsi128_si32(_mm_shuffle_epi8((__m128i)x, _mm_cvtsi32_si128(0x0c080400)));\n"
                  "    memcpy(&y, &w, sizeof y);\n    return y;\n"
                  "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    %s y;\n    const int16x4_t z = vmovn_s32((int32x4_t)x);\n"
                  "    const int32_t w = vget_lane_s32(vreinterpret_s32_s8(vmovn_s16(vcombine_s16(z, z))), 0);\n"
                  "    memcpy(&y, &w, sizeof y);\n    return y;\n", v);
}

/* NEON: twice the width. */
static bool double_width(Helpers *h, KType t, DType from) {
    bool bytes = t.dtype == DT_I16 && t.lanes == 8 && dtype_is_byte(from), halves = t.dtype == DT_I32 && t.lanes == 4 && from == DT_I16;
    if (!bytes && !halves)
        return false;
    const char *x = halves ? "vmovl_s16((int16x4_t)x)" : from == DT_I8 ? "vmovl_s8((int8x8_t)x)" : "vreinterpretq_s16_u16(vmovl_u8((uint8x8_t)x))";
    sb_printf(&h->text, "#if defined(__aarch64__) && defined(__ARM_NEON)\n    return (%s)%s;\n#else\n", c_type(h, t), x);
    return true;
}

/* True where an #else is to be closed. */
static bool byte_cast(Helpers *h, KType t, DType from) {
    bool widens = t.dtype == DT_I32;
    DType byte = widens ? from : t.dtype;
    if (!dtype_is_byte(byte) || (!widens && from != DT_I32) || (t.lanes != 4 && t.lanes != 8 && t.lanes != 16))
        return false;
    if (widens)
        widen_bytes(h, c_type(h, t), t.lanes, byte == DT_I8);
    else
        narrow_words(h, c_type(h, t), t.lanes);
    sb_puts(&h->text, "#else\n");
    return true;
}

static void vector_cast(Helpers *h, const char *name, KType t, DType from) {
    const char *v = c_type(h, t), *u = c_type(h, (KType){from, t.lanes});
    bool f = dtype_is_float(from), g = dtype_is_float(t.dtype);
    if (f && !g && t.dtype != DT_BOOL) {
        const char *one = c_helper(h, "cast", (KType){t.dtype, 1}, from);
        open_vector(h, v, name, arena_printf(h->arena, "%s x", u));
        sb_printf(&h->text, "    %s y;\n    for (int i = 0; i < %d; i++)\n        y[i] = %s(x[i]);\n    return y;\n}\n", v, t.lanes, one);
        return;
    }
    open_vector(h, v, name, arena_printf(h->arena, "%s x", u));
    const char *minus = from == DT_BOOL ? "-" : "";
    const char *close = double_width(h, t, from) || byte_cast(h, t, from) ? "#endif\n}\n" : "}\n";
    if (t.dtype != DT_BOOL)
        sb_printf(&h->text, "    return __builtin_convertvector(%sx, %s);\n%s", minus, v, close);
    else if (lane_bytes(from) == 4)
        sb_printf(&h->text, "    return (%s)(x != 0);\n}\n", v);
    else
        sb_printf(&h->text, "    return __builtin_convertvector(x != 0, %s);\n}\n", v);
}

/* x and y as "reduce_<which>" joins them: vectors, or scalars where lanes is 1. */
static const char *reduced_pair(Helpers *h, const char *which, KType t, const char *x, const char *y) {
    Arena *a = h->arena;
    bool narrow = t.lanes == 1 && dtype_bits(t.dtype) < 32;
    if (!strcmp(which, "add") || !strcmp(which, "mul")) {
        const char *sum = arena_printf(a, "%s %c %s", x, *which == 'a' ? '+' : '*', y);
        return narrow ? arena_printf(a, "(%s)(%s)", dtype_c(t.dtype), sum) : sum;
    }
    if (t.lanes == 1)
        return arena_printf(a, "%s %c %s ? %s : %s", x, which[1] == 'i' ? '<' : '>', y, x, y);
    return arena_printf(a, "%s(%s, %s)", c_helper(h, which, t, DT_NONE), x, y);
}

/* By halves, so that compilers see vectors to the end. */
static void vector_reduce(Helpers *h, const char *family, const char *name, KType t) {
    Arena *a = h->arena;
    const char *v = c_type(h, t), *e = dtype_c(t.dtype), *which = family + strlen("reduce_");
    KType half = {t.dtype, t.lanes / 2}, one = {t.dtype, 1};
    if (t.lanes > 4) {
        const char *part = c_helper(h, "extract", half, (DType)t.lanes), *rest = c_helper(h, family, half, DT_NONE);
        const char *low = arena_printf(a, "%s(x, 0)", part), *high = arena_printf(a, "%s(x, %d)", part, half.lanes);
        const char *both = reduced_pair(h, which, half, low, high);
        open_vector(h, e, name, arena_printf(a, "%s x", v));
        sb_printf(&h->text, "    return %s(%s);\n}\n", rest, both);
        return;
    }
    open_vector(h, e, name, arena_printf(a, "%s x", v));
    if (t.lanes == 4) {
        sb_printf(&h->text, "    const %s y = %s;\n", e, reduced_pair(h, which, one, "x[0]", "x[2]"));
        sb_printf(&h->text, "    const %s z = %s;\n", e, reduced_pair(h, which, one, "x[1]", "x[3]"));
        sb_printf(&h->text, "    return %s;\n}\n", reduced_pair(h, which, one, "y", "z"));
    } else {
        sb_printf(&h->text, "    return %s;\n}\n", reduced_pair(h, which, one, "x[0]", "x[1]"));
    }
}

static void vector_shape(Helpers *h, const char *family, const char *name, KType t, int other) {
    const char *v = c_type(h, t);
    Arena *a = h->arena;
    if (!strcmp(family, "splat")) {
        open_vector(h, v, name, arena_printf(a, "%s x", t.dtype == DT_BOOL ? "int" : dtype_c(t.dtype)));
        sb_printf(&h->text, "    const %s y = {", v);
        lanes_list(h, t.lanes, t.dtype == DT_BOOL ? "-x" : "x");
        sb_puts(&h->text, "};\n    return y;\n}\n");
    } else if (!strcmp(family, "ramp")) {
        open_vector(h, v, name, "ptrdiff_t x, ptrdiff_t step");
        sb_printf(&h->text, "    const %s y = {", v);
        lanes_list(h, t.lanes, "x + # * step");
        sb_puts(&h->text, "};\n    return y;\n}\n");
    } else if (!strcmp(family, "extract")) {
        bool half = t.dtype == DT_I16 && t.lanes == 4 && other == 8;
        open_vector(h, v, name, arena_printf(a, "%s x, int first", c_type(h, (KType){t.dtype, other})));
        if (half)
            sb_printf(&h->text,
                      "#if defined(__aarch64__) && defined(__ARM_NEON)\n"
                      "    if (first == 0)\n        return (%s)vget_low_s16((int16x8_t)x);\n"
                      "    if (first == 4)\n        return (%s)vget_high_s16((int16x8_t)x);\n#endif\n", v, v);
        sb_printf(&h->text, "    const %s y = {", v);
        lanes_list(h, t.lanes, "x[first + #]");
        sb_puts(&h->text, "};\n    return y;\n}\n");
    } else { /* pack of values with `other` lanes each */
        const char *one = other == 1 ? (t.dtype == DT_BOOL ? "int" : dtype_c(t.dtype)) : c_type(h, (KType){t.dtype, other});
        const char *params = "";
        for (int i = 0; i < t.lanes / other; i++)
            params = arena_printf(a, "%s%s%s x%d", params, i ? ", " : "", one, i);
        open_vector(h, v, name, params);
        sb_printf(&h->text, "    const %s y = {", v);
        for (int i = 0; i < t.lanes; i++) {
            sb_printf(&h->text, "%s%sx%d", i ? ", " : "", other == 1 && t.dtype == DT_BOOL ? "-" : "", i / other);
            if (other > 1)
                sb_printf(&h->text, "[%d]", i % other);
        }
        sb_puts(&h->text, "};\n    return y;\n}\n");
    }
}

static bool one_of(const char *s, const char *list) {
    size_t n = strlen(s);
    for (const char *p = list; (p = strstr(p, s)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

static void vector_helper(Helpers *h, const char *family, const char *name, KType t, DType from) {
    static const char *const compare[][2] = {{"eq", "=="}, {"ne", "!="}, {"lt", "<"}, {"le", "<="}, {"gt", ">"}, {"ge", ">="}};
    for (size_t i = 0; i < sizeof compare / sizeof *compare; i++) {
        if (!strcmp(family, compare[i][0])) {
            vector_compare(h, name, compare[i][1], t);
            return;
        }
    }
    if (one_of(family, "load store gather scatter"))
        vector_memory(h, family, name, t);
    else if (one_of(family, "splat ramp extract pack"))
        vector_shape(h, family, name, t, (int)from);
    else if (!strcmp(family, "select"))
        vector_select(h, name, t);
    else if (!strcmp(family, "cast"))
        vector_cast(h, name, t, from);
    else if (!strcmp(family, "bitcast") && (t.dtype == DT_BOOL || from == DT_BOOL))
        vector_cast(h, name, t, from); /* truth in memory is a byte 0 or 1, in vectors a mask */
    else if (!strcmp(family, "bitcast")) {
        open_vector(h, c_type(h, t), name, arena_printf(h->arena, "%s x", bitcast_source(h, t, from)));
        sb_printf(&h->text, "    return (%s)x;\n}\n", c_type(h, t));
    } else if (!strncmp(family, "reduce_", 7))
        vector_reduce(h, family, name, t);
    else
        vector_arithmetic(h, family, name, t);
}

const char *c_helper(Helpers *h, const char *family, KType t, DType from) {
    bool counted = one_of(family, "extract pack saturate");
    const char *name = arena_printf(h->arena, "%s_%s", family, name_of(h->arena, t));
    if (counted)
        name = arena_printf(h->arena, "%s_%d", name, (int)from);
    else if (one_of(family, "cast bitcast word"))
        name = arena_printf(h->arena, "%s_%s", name, dtype_name(from));
    if (!c_first_time(h, name))
        return name;
    if (!strcmp(family, "nibble"))
        c_nibble_helper(h, name, t);
    else if (one_of(family, "nearest saturate"))
        c_rounding_helper(h, family, name, t, (int)from);
    else if (c_is_bytes(h, t))
        c_bytes_helper(h, family, name);
    else if (one_of(family, "dot dot_s8"))
        c_dot_helper(h, name, t, !strcmp(family, "dot_s8"));
    else if (!strcmp(family, "dot_long"))
        c_dot_long_helper(h, name, t);
    else if (!strcmp(family, "matmul_2x2"))
        c_matmul_helper(h, name);
    else if (one_of(family, "fma_halves fma_halves_by"))
        c_riscv_widening_add(h, name, t, !strcmp(family, "fma_halves_by"));
    else if (!strcmp(family, "cast") && (dtype_is_half(from) || dtype_is_half(t.dtype)))
        c_half_helper(h, name, t, from);
    else if (!strcmp(family, "word"))
        word_helper(h, name, t.dtype, from);
    else if (t.lanes == 1)
        scalar_helper(h, family, name, t, from);
    else
        vector_helper(h, family, name, t, from);
    return name;
}
