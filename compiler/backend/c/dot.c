/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers for dot products of the bytes of words: intrinsics where the compiler's machine has them, else plain C. */
#include <assert.h>
#include <string.h>

#include "backend/c/print.h"

/* One instruction: "#if guard", and the call with the types that it takes. */
static void whole(Helpers *h, const char **word, const char *guard, const char *v, const char *call) {
    sb_printf(&h->text, "#%s %s\n    return (%s)%s;\n", *word, guard, v, call);
    *word = "elif";
}

/* x86: bytes 0 and 2 of each word, and 1 and 3, as halves, which are multiplied and added in pairs. */
static void x86(Helpers *h, const char **word, KType t, bool sign) {
    static const char *const bits[] = {[4] = "si128", [8] = "si256", [16] = "si512"};
    static const char *const guard[] = {[4] = "defined(__SSE2__)", [8] = "defined(__AVX2__)", [16] = "defined(__AVX512BW__)"};
    Arena *a = h->arena;
    const char *v = c_type(h, t), *w = c_x86_type(32 * t.lanes), *m = c_x86_prefix(32 * t.lanes);
    if (!sign) {
        const char *arguments = arena_printf(a, "((%s)z, (%s)x, (%s)y)", w, w, w);
        whole(h, word, "defined(__AVX512VNNI__) && defined(__AVX512VL__)", v, arena_printf(a, "%s_dpbusd_epi32%s", m, arguments));
        if (t.lanes < 16)
            whole(h, word, "defined(__AVXVNNI__)", v, arena_printf(a, "%s_dpbusd_avx_epi32%s", m, arguments));
    }
    sb_printf(&h->text, "#%s %s\n", *word, guard[t.lanes]);
    *word = "elif";
    if (sign)
        sb_printf(&h->text, "    const %s a = %s_srai_epi16(%s_slli_epi16((%s)x, 8), 8), b = %s_srai_epi16((%s)x, 8);\n", w, m, m, w, m, w);
    else
        sb_printf(&h->text, "    const %s a = %s_and_%s((%s)x, %s_set1_epi16(255)), b = %s_srli_epi16((%s)x, 8);\n", w, m, bits[t.lanes], w, m, m, w);
    sb_printf(&h->text,
              "    const %s c = %s_srai_epi16(%s_slli_epi16((%s)y, 8), 8), d = %s_srai_epi16((%s)y, 8);\n"
              "    return (%s)%s_add_epi32(%s_add_epi32((%s)z, %s_madd_epi16(a, c)), %s_madd_epi16(b, d));\n",
              w, m, m, w, m, w, v, m, m, w, m, m);
}

static void neon(Helpers *h, const char **word, KType t, bool sign) {
    const char *v = c_type(h, t), *q = t.lanes == 4 ? "q" : "", *guard = sign ? "defined(__ARM_FEATURE_DOTPROD)" : "defined(__ARM_FEATURE_MATMUL_INT8)";
    const char *name = sign ? "vdot" : "vusdot", *left = sign ? "" : "u";
    whole(h, word, guard, v,
          arena_printf(h->arena, "%s%s_s32((int32x%d_t)z, (%sint8x%d_t)x, (int8x%d_t)y)", name, q, t.lanes, left, 4 * t.lanes, 4 * t.lanes));
    if (!sign || t.lanes < 4 || !(h->target->dot & DOT_NARROW))
        return;
    sb_printf(&h->text,
              "#elif defined(__aarch64__) && defined(__ARM_NEON)\n"
              "    const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)x), vget_low_s8((int8x16_t)y));\n"
              "    const int16x8_t high = vmull_high_s8((int8x16_t)x, (int8x16_t)y);\n"
              "    return (%s)vpadalq_s16((int32x4_t)z, vpaddq_s16(low, high));\n", v);
}

static void wasm(Helpers *h, const char **word, KType t, bool sign) {
    const char *v = c_type(h, t);
    sb_printf(&h->text, "#%s defined(__wasm_simd128__)\n", *word);
    *word = "elif";
    if (sign)
        sb_puts(&h->text, "    const v128_t a = wasm_i16x8_shr(wasm_i16x8_shl((v128_t)x, 8), 8), b = wasm_i16x8_shr((v128_t)x, 8);\n");
    else
        sb_puts(&h->text, "    const v128_t a = wasm_v128_and((v128_t)x, wasm_i16x8_const_splat(255)), b = wasm_u16x8_shr((v128_t)x, 8);\n");
    sb_printf(&h->text,
              "    const v128_t c = wasm_i16x8_shr(wasm_i16x8_shl((v128_t)y, 8), 8), d = wasm_i16x8_shr((v128_t)y, 8);\n"
              "    return (%s)wasm_i32x4_add(wasm_i32x4_add((v128_t)z, wasm_i32x4_dot_i16x8(a, c)), wasm_i32x4_dot_i16x8(b, d));\n", v);
}

/* Cortex-M4 and later. */
static void words(Helpers *h, const char **word, bool sign) {
    const char *extend = sign ? "sxtb16" : "uxtb16";
    sb_printf(&h->text, "#%s defined(__ARM_FEATURE_SIMD32)\n    int32_t a, b, c, d;\n", *word);
    *word = "elif";
    sb_printf(&h->text,
              "    __asm__(\"%s %%0, %%1\" : \"=r\"(a) : \"r\"(x));\n    __asm__(\"%s %%0, %%1, ror #8\" : \"=r\"(b) : \"r\"(x));\n", extend, extend);
    sb_puts(&h->text,
            "    __asm__(\"sxtb16 %0, %1\" : \"=r\"(c) : \"r\"(y));\n    __asm__(\"sxtb16 %0, %1, ror #8\" : \"=r\"(d) : \"r\"(y));\n"
            "    __asm__(\"smlad %0, %1, %2, %0\" : \"+r\"(z) : \"r\"(a), \"r\"(c));\n"
            "    __asm__(\"smlad %0, %1, %2, %0\" : \"+r\"(z) : \"r\"(b), \"r\"(d));\n    return z;\n");
}

static void plain_scalar(Helpers *h, bool sign) {
    sb_puts(&h->text, "    for (int k = 0; k < 32; k += 8) {\n        const int32_t w = (int8_t)((uint32_t)y >> k & 255u);\n");
    sb_printf(&h->text, "        z = (int32_t)((uint32_t)z + (uint32_t)((%s)((uint32_t)x >> k & 255u) * w));\n    }\n    return z;\n",
              sign ? "int8_t" : "int32_t");
}

static void plain_vector(Helpers *h, KType t, bool sign) {
    const char *v = c_type(h, t), *u = c_type(h, (KType){DT_U32, t.lanes});
    const char *by = sign ? v : u;
    for (int k = 24; k >= 0; k -= 8)
        sb_printf(&h->text, "    z += (%s)((%s)((%s)x << %d) >> 24) * ((%s)((%s)y << %d) >> 24);\n", v, by, u, k, v, u, k);
    sb_puts(&h->text, "    return z;\n");
}

void c_dot_helper(Helpers *h, const char *name, KType t, bool sign) {
    const char *v = c_type(h, t), *word = "if";
    if (t.lanes > 1)
        c_type(h, (KType){DT_U32, t.lanes});
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x, %s y, %s z) {\n", v, name, v, v, v);
    if (t.lanes == 4 || t.lanes == 8 || t.lanes == 16)
        x86(h, &word, t, sign);
    if (t.lanes == 2 || t.lanes == 4)
        neon(h, &word, t, sign);
    if (t.lanes == 4)
        wasm(h, &word, t, sign);
    if (t.lanes == 1)
        words(h, &word, sign);
    bool guarded = !strcmp(word, "elif");
    if (guarded)
        sb_puts(&h->text, "#else\n");
    if (t.lanes == 1)
        plain_scalar(h, sign);
    else
        plain_vector(h, t, sign);
    sb_puts(&h->text, guarded ? "#endif\n}\n" : "}\n");
}

/* --- eight bytes, and pairs of them --- */

void c_dot_long_helper(Helpers *h, const char *name, KType t) {
    const char *v = c_type(h, t), *word = c_type(h, (KType){DT_I64, t.lanes});
    if (t.lanes > 1) {
        const char *one = c_helper(h, "dot_long", (KType){DT_I32, 1}, DT_NONE);
        sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x, %s y, %s z) {\n    for (int i = 0; i < %d; i++)\n        z[i] = %s(x[i], y[i], z[i]);\n",
                  v, name, word, word, v, t.lanes, one);
    } else {
        sb_printf(&h->text, "static MLCC_INLINE int32_t %s(int64_t x, int64_t y, int32_t z) {\n    for (int k = 0; k < 64; k += 8)\n", name);
        sb_puts(&h->text, "        z = (int32_t)((uint32_t)z + (uint32_t)((int8_t)((uint64_t)x >> k & 255u) * (int8_t)((uint64_t)y >> k & 255u)));\n");
    }
    sb_puts(&h->text, "    return z;\n}\n");
}

void c_matmul_helper(Helpers *h, const char *name) {
    const char *v = c_type(h, (KType){DT_I32, 4}), *bytes = c_type(h, (KType){DT_I8, 16});
    sb_printf(&h->text,
              "static MLCC_INLINE %s %s(%s x, %s y, %s z) {\n"
              "#if defined(__ARM_FEATURE_MATMUL_INT8)\n    return (%s)vmmlaq_s32((int32x4_t)z, (int8x16_t)x, (int8x16_t)y);\n#else\n"
              "    for (int i = 0; i < 4; i++)\n        for (int k = 0; k < 8; k++)\n"
              "            z[i] = (int32_t)((uint32_t)z[i] + (uint32_t)(x[8 * (i / 2) + k] * y[8 * (i %% 2) + k]));\n    return z;\n#endif\n}\n",
              v, name, bytes, bytes, v, v);
}

/* --- sixteen bytes, whose products are summed along --- */

#define HAS_MVE "defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)"

bool c_is_bytes(const Helpers *h, KType t) { return t.dtype == DT_I8 && t.lanes == 16 && h->target->dot & DOT_ALONG && !h->target->vector_bits; }

void c_bytes_type(Helpers *h, const char *name) {
    sb_printf(&h->types, "#if " HAS_MVE "\ntypedef int8x16_t %s;\n#else\ntypedef struct {\n    int8_t lane[16];\n} %s;\n#endif\n", name, name);
}

void c_bytes_helper(Helpers *h, const char *family, const char *name) {
    const char *v = c_type(h, (KType){DT_I8, 16});
    static const struct {
        const char *family, *parameters, *mve, *plain;
    } forms[] = {
        {"load", "const int8_t *p", "vldrbq_s8(p)", "memcpy(z.lane, p, 16)"},
        {"word", "const uint8_t *p", "vreinterpretq_s8_u8(vldrbq_u8(p))", "memcpy(z.lane, p, 16)"},
        {"splat", "int8_t x", "vdupq_n_s8(x)", "memset(z.lane, x, 16)"},
        {"xor", "# x, # y", "veorq_s8(x, y)", "for (int i = 0; i < 16; i++)\n        z.lane[i] = (int8_t)(x.lane[i] ^ y.lane[i])"},
        {"dot_sum", "# x, # y, int32_t z", "vmladavaq_s8(z, x, y)",
         "for (int i = 0; i < 16; i++)\n        z = (int32_t)((uint32_t)z + (uint32_t)(x.lane[i] * y.lane[i]))"},
    };
    size_t i = 0;
    while (strcmp(family, forms[i].family)) {
        i++;
        assert(i < sizeof forms / sizeof *forms);
    }
    bool sum = !strcmp(family, "dot_sum");
    sb_printf(&h->text, "static MLCC_INLINE %s %s(", sum ? "int32_t" : v, name);
    for (const char *p = forms[i].parameters; *p; p++) {
        if (*p == '#')
            sb_puts(&h->text, v);
        else
            sb_putc(&h->text, *p);
    }
    sb_printf(&h->text, ") {\n#if " HAS_MVE "\n    return %s;\n#else\n", forms[i].mve);
    if (!sum)
        sb_printf(&h->text, "    %s z;\n", v);
    sb_printf(&h->text, "    %s;\n    return z;\n#endif\n}\n", forms[i].plain);
}
