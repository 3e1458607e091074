/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers that convert float16 and bfloat16 from and to float32: intrinsics, else plain C. */
#include <string.h>

#include "backend/c/print.h"

/* --- one at a time --- */

/* All FPUs of Cortex-M convert. gcc has no type for what its options do not ask for; the assembler knows the instruction. */
static const char has_instruction[] =
    "#elif defined(__ARM_FP) && !defined(__aarch64__) && ((__ARM_FP & 2) || ((__ARM_FP & 4) && __ARM_ARCH_PROFILE == 'M'))\n";

static void widen_half(Helpers *h, const char *name) {
    sb_printf(&h->text,
              "static MLCC_INLINE float %s(uint16_t x) {\n"
              "#if defined(__F16C__)\n    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(x)));\n"
              "#elif defined(__aarch64__)\n    __fp16 y;\n    memcpy(&y, &x, sizeof y);\n    return (float)y;\n%s"
              "    const uint32_t u = x;\n    float y;\n    memcpy(&y, &u, sizeof y);\n"
              "    __asm__(\"vcvtb.f32.f16 %%0, %%0\" : \"+t\"(y));\n    return y;\n#else\n"
              "    const uint32_t sign = (uint32_t)(x & 0x8000u) << 16, exponent = x >> 10 & 31u, mantissa = x & 0x3ffu;\n"
              "    const float tiny = (float)mantissa * 5.9604644775390625e-8f;\n"
              "    uint32_t u = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;\n"
              "    float y;\n"
              "    if (exponent == 0)\n        memcpy(&u, &tiny, sizeof u), u |= sign;\n"
              "    memcpy(&y, &u, sizeof y);\n    return y;\n#endif\n}\n", name, has_instruction);
}

static void narrow_to_half(Helpers *h, const char *name) {
    sb_printf(&h->text,
              "static MLCC_INLINE uint16_t %s(float x) {\n"
              "#if defined(__F16C__)\n    return (uint16_t)_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x), 0));\n"
              "#elif defined(__aarch64__)\n    const __fp16 z = (__fp16)x;\n    uint16_t y;\n    memcpy(&y, &z, sizeof y);\n    return y;\n%s"
              "    uint32_t u;\n    __asm__(\"vcvtb.f16.f32 %%0, %%0\" : \"+t\"(x));\n"
              "    memcpy(&u, &x, sizeof u);\n    return (uint16_t)(u & 0xffffu);\n#else\n"
              "    const float half = 0.5f;\n    uint32_t u, sign, m, n;\n    float y;\n"
              "    memcpy(&u, &x, sizeof u);\n    sign = u >> 16 & 0x8000u;\n    m = u & 0x7fffffffu;\n"
              "    if (m > 0x7f800000u)\n        return (uint16_t)(sign | 0x7e00u | (m >> 13 & 0x3ffu));\n"
              "    if (m >= 0x477ff000u)\n        return (uint16_t)(sign | 0x7c00u);\n"
              "    if (m < 0x38800000u) {\n        memcpy(&y, &m, sizeof y);\n        y += half;\n        memcpy(&m, &y, sizeof m);\n"
              "        memcpy(&n, &half, sizeof n);\n        return (uint16_t)(sign | (m - n));\n    }\n"
              "    m += 0xfffu + (m >> 13 & 1u);\n    return (uint16_t)(sign | (m - 0x38000000u) >> 13);\n#endif\n}\n",
              name, has_instruction);
}

static void one_half(Helpers *h, const char *name, DType to, DType from) {
    if (from == DT_F16)
        widen_half(h, name);
    else if (to == DT_F16)
        narrow_to_half(h, name);
    else if (from == DT_BF16)
        sb_printf(&h->text,
                  "static MLCC_INLINE float %s(uint16_t x) {\n    const uint32_t u = (uint32_t)x << 16;\n    float y;\n"
                  "    memcpy(&y, &u, sizeof y);\n    return y;\n}\n", name);
    else
        sb_printf(&h->text,
                  "static MLCC_INLINE uint16_t %s(float x) {\n    uint32_t u;\n    memcpy(&u, &x, sizeof u);\n"
                  "    if ((u & 0x7fffffffu) > 0x7f800000u)\n        return (uint16_t)(u >> 16 | 0x40u);\n"
                  "    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);\n}\n", name);
}

/* --- vectors --- */

/* Of x, a vector of 16 bits each, the words; with float16 the floats. NULL where nothing is better than plain C. */
static const char *widened(int lanes, bool half) {
    switch (lanes) {
    case 4:
        return half ? "#if defined(__F16C__)\n    return (#)_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)(const void *)&x));\n"
                      "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    return (#)vcvt_f32_f16((float16x4_t)x);\n"
                      "#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)\n"
                      "    return (#)vcvtbq_f32_f16((float16x8_t)vldrhq_u32((const uint16_t *)(const void *)&x));\n"
                    : "#if defined(__SSE4_1__)\n    return (#)_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)(const void *)&x));\n"
                      "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    return (#)vmovl_u16((uint16x4_t)x);\n"
                      "#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)\n"
                      "    return (#)vldrhq_u32((const uint16_t *)(const void *)&x);\n";
    case 8:
        return half ? "#if defined(__F16C__)\n    return (#)_mm256_cvtph_ps((__m128i)x);\n"
                    : "#if defined(__AVX2__)\n    return (#)_mm256_cvtepu16_epi32((__m128i)x);\n";
    case 16:
        return half ? "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtph_ps(0xFFFF, (__m256i)x);\n"
                    : "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtepu16_epi32(0xFFFF, (__m256i)x);\n";
    default: return NULL;
    }
}

/* The other way. Words are below 2^16. */
static const char *narrowed(int lanes, bool half) {
    switch (lanes) {
    case 4:
        return half ? "#if defined(__F16C__)\n    # y;\n    _mm_storel_epi64((__m128i *)(void *)&y, _mm_cvtps_ph((__m128)x, 0));\n    return y;\n"
                      "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    return (#)vcvt_f16_f32((float32x4_t)x);\n"
                      "#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)\n    # y;\n"
                      "    vstrhq_u32((uint16_t *)(void *)&y, (uint32x4_t)vcvtbq_f16_f32((float16x8_t)x, (float32x4_t)x));\n    return y;\n"
                    : "#if defined(__SSE4_1__)\n    # y;\n"
                      "    _mm_storel_epi64((__m128i *)(void *)&y, _mm_packus_epi32((__m128i)x, (__m128i)x));\n    return y;\n"
                      "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    return (#)vmovn_u32((uint32x4_t)x);\n"
                      "#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)\n    # y;\n"
                      "    vstrhq_u32((uint16_t *)(void *)&y, (uint32x4_t)x);\n    return y;\n";
    case 8:
        return half ? "#if defined(__F16C__)\n    return (#)_mm256_cvtps_ph((__m256)x, 0);\n"
                    : "#if defined(__AVX2__)\n    const __m256i z = _mm256_packus_epi32((__m256i)x, (__m256i)x);\n"
                      "    return (#)_mm256_castsi256_si128(_mm256_permute4x64_epi64(z, 0x08));\n";
    case 16:
        return half ? "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtps_ph(0xFFFF, (__m512)x, 0);\n"
                    : "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtepi32_epi16(0xFFFF, (__m512i)x);\n";
    default: return NULL;
    }
}

/* # is the type of the result. */
static void put(Helpers *h, const char *text, const char *type) {
    for (; *text; text++) {
        if (*text == '#' && (text[1] == ')' || text[1] == ' '))
            sb_puts(&h->text, type);
        else
            sb_putc(&h->text, *text);
    }
}

/* Between 16 bits and words: gcc 12 takes conversions of vectors apart. */
static const char *integers(Helpers *h, DType half, int lanes, bool widens) {
    const char *narrow = c_type(h, (KType){half, lanes}), *wide = c_type(h, (KType){DT_I32, lanes});
    const char *name = arena_printf(h->arena, "%s_%sx%d", widens ? "words_of" : "halves_of", dtype_name(half), lanes);
    if (!c_first_time(h, name))
        return name;
    const char *text = widens ? widened(lanes, false) : narrowed(lanes, false), *to = widens ? wide : narrow;
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x) {\n", to, name, widens ? narrow : wide);
    if (text) {
        put(h, text, to);
        sb_puts(&h->text, "#else\n");
    }
    sb_printf(&h->text, "    return __builtin_convertvector(x, %s);\n%s}\n", to, text ? "#endif\n" : "");
    return name;
}

static void bfloats(Helpers *h, const char *name, KType t, DType from) {
    const char *word = c_type(h, (KType){DT_I32, t.lanes}), *v = c_type(h, t), *u = c_type(h, (KType){from, t.lanes}), *sum;
    bool widens = from == DT_BF16;
    const char *convert = integers(h, DT_BF16, t.lanes, widens);
    if (widens) {
        sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x) {\n    return (%s)(%s(x) << 16);\n}\n", v, name, u, v, convert);
        return;
    }
    /* What is not a number stays so: its mantissa is not rounded, and not 0. */
    sum = c_type(h, (KType){DT_U32, t.lanes});
    sb_printf(&h->text,
              "static MLCC_INLINE %s %s(%s x) {\n    const %s u = (%s)x, high = u >> 16 & 0xffff, nan = (%s)((u & 0x7fffffff) > 0x7f800000);\n"
              "    const %s rounded = (%s)(((%s)u + 0x7fff + (%s)(high & 1)) >> 16);\n"
              "    return %s((nan & (high | 0x40)) | (~nan & rounded));\n}\n",
              v, name, u, word, word, word, word, word, sum, sum, convert);
}

static void lane_by_lane(Helpers *h, const char *name, KType t, DType from) {
    const char *v = c_type(h, t), *u = c_type(h, (KType){from, t.lanes}), *one = c_helper(h, "cast", (KType){t.dtype, 1}, from);
    bool half = (from == DT_F16 && t.dtype == DT_F32) || (from == DT_F32 && t.dtype == DT_F16);
    const char *text = !half ? NULL : from == DT_F16 ? widened(t.lanes, true) : narrowed(t.lanes, true);
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x) {\n", v, name, u);
    if (text) {
        put(h, text, v);
        sb_puts(&h->text, "#else\n");
    }
    sb_printf(&h->text, "    const %s z = {", v);
    for (int i = 0; i < t.lanes; i++)
        sb_printf(&h->text, "%s%s(x[%d])", i ? ", " : "", one, i);
    sb_printf(&h->text, "};\n    return z;\n%s}\n", text ? "#endif\n" : "");
}

void c_half_helper(Helpers *h, const char *name, KType t, DType from) {
    bool singles = t.dtype == DT_F32 || from == DT_F32, bfloat = t.dtype == DT_BF16 || from == DT_BF16;
    if (t.lanes == 1)
        one_half(h, name, t.dtype, from);
    else if (bfloat && singles && (!c_is_riscv(h->target) || from == DT_BF16))
        bfloats(h, name, t, from);
    else
        lane_by_lane(h, name, t, from);
}
