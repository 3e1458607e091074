/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers that round floats to integers, and make bytes of these with saturation: intrinsics, else plain C. */
#include <string.h>

#include "backend/c/print.h"

/* One lane. Doubles from 2^52 to 2^53 are the integers. */
static void nearest_lane(Helpers *h, const char *name) {
    sb_printf(&h->text,
              "static MLCC_INLINE int32_t %s(float x) {\n    const double y = (double)x + 6755399441055744.0;\n    uint64_t z;\n"
              "    memcpy(&z, &y, sizeof z);\n    return (int32_t)(uint32_t)z;\n}\n", name);
}

static const char *nearest(int lanes) {
    switch (lanes) {
    case 4: return "#if defined(__SSE2__)\n    return (#)_mm_cvtps_epi32((__m128)x0);\n"
                   "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    return (#)vcvtnq_s32_f32((float32x4_t)x0);\n";
    case 8: return "#if defined(__AVX__)\n    return (#)_mm256_cvtps_epi32((__m256)x0);\n";
    case 16: return "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtps_epi32(0xFFFF, (__m512)x0);\n";
    default: return NULL;
    }
}

/* One vector. */
static const char *saturated(int lanes, bool sign) {
    switch (lanes) {
    case 4:
        return "#if defined(__SSE2__)\n    # y;\n    const __m128i z = _mm_packs_epi32((__m128i)x0, (__m128i)x0);\n"
               "    const int32_t w = _mm_cvtsi128_si32(_mm_pack@_epi16(z, z));\n    memcpy(&y, &w, sizeof y);\n    return y;\n"
               "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    # y;\n    const int16x4_t z = vqmovn_s32((int32x4_t)x0);\n"
               "    const int32_t w = vget_lane_s32(vreinterpret_s32_%8(vqmov%_s16(vcombine_s16(z, z))), 0);\n"
               "    memcpy(&y, &w, sizeof y);\n    return y;\n";
    case 8:
        return "#if defined(__AVX2__)\n    # y;\n"
               "    const __m128i z = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x0), _mm256_extracti128_si256((__m256i)x0, 1));\n"
               "    _mm_storel_epi64((__m128i *)(void *)&y, _mm_pack@_epi16(z, z));\n    return y;\n";
    case 16:
        return sign ? "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtsepi32_epi8(0xFFFF, (__m512i)x0);\n"
                    : "#if defined(__AVX512F__)\n    const __m512i z = _mm512_maskz_max_epi32(0xFFFF, (__m512i)x0, _mm512_setzero_si512());\n"
                      "    return (#)_mm512_maskz_cvtusepi32_epi8(0xFFFF, z);\n";
    default: return NULL;
    }
}

/* Four vectors: halves and then bytes within 128 bits, whose fours are brought together. */
static const char *four_saturated(int lanes) {
    switch (lanes) {
    case 4:
        return "#if defined(__SSE2__)\n    const __m128i a = _mm_packs_epi32((__m128i)x0, (__m128i)x1), b = _mm_packs_epi32((__m128i)x2, (__m128i)x3);\n"
               "    return (#)_mm_pack@_epi16(a, b);\n"
               "#elif defined(__aarch64__) && defined(__ARM_NEON)\n"
               "    const int16x8_t a = vcombine_s16(vqmovn_s32((int32x4_t)x0), vqmovn_s32((int32x4_t)x1));\n"
               "    const int16x8_t b = vcombine_s16(vqmovn_s32((int32x4_t)x2), vqmovn_s32((int32x4_t)x3));\n"
               "    return (#)vcombine_%8(vqmov%_s16(a), vqmov%_s16(b));\n";
    case 8:
        return "#if defined(__AVX2__)\n"
               "    const __m256i a = _mm256_packs_epi32((__m256i)x0, (__m256i)x1), b = _mm256_packs_epi32((__m256i)x2, (__m256i)x3);\n"
               "    return (#)_mm256_permutevar8x32_epi32(_mm256_pack@_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));\n";
    case 16:
        return "#if defined(__AVX512BW__)\n"
               "    const __m512i a = _mm512_packs_epi32((__m512i)x0, (__m512i)x1), b = _mm512_packs_epi32((__m512i)x2, (__m512i)x3);\n"
               "    const __m512i at = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);\n"
               "    return (#)_mm512_maskz_permutexvar_epi32(0xFFFF, at, _mm512_pack@_epi16(a, b));\n";
    default: return NULL;
    }
}

static const char *two_saturated(int lanes) {
    switch (lanes) {
    case 4:
        return "#if defined(__SSE2__)\n    # y;\n    const __m128i z = _mm_packs_epi32((__m128i)x0, (__m128i)x1);\n"
               "    _mm_storel_epi64((__m128i *)(void *)&y, _mm_pack@_epi16(z, z));\n    return y;\n"
               "#elif defined(__aarch64__) && defined(__ARM_NEON)\n"
               "    return (#)vqmov%_s16(vcombine_s16(vqmovn_s32((int32x4_t)x0), vqmovn_s32((int32x4_t)x1)));\n";
    case 8:
        return "#if defined(__AVX2__)\n    const __m256i z = _mm256_packs_epi32((__m256i)x0, (__m256i)x1);\n"
               "    const __m256i y = _mm256_permutevar8x32_epi32(_mm256_pack@_epi16(z, z), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));\n"
               "    return (#)_mm256_castsi256_si128(y);\n";
    case 16:
        return "#if defined(__AVX512BW__)\n    const __m512i z = _mm512_packs_epi32((__m512i)x0, (__m512i)x1);\n"
               "    const __m512i at = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);\n"
               "    return (#)_mm512_maskz_extracti64x4_epi64(0xFF, _mm512_maskz_permutexvar_epi32(0xFFFF, at, _mm512_pack@_epi16(z, z)), 0);\n";
    default: return NULL;
    }
}

/* # is the type of vectors; @, % and %8 are what x86 and NEON call bytes of its sign. */
static void put(Helpers *h, const char *text, KType t) {
    const char *v = c_type(h, t);
    bool sign = t.dtype == DT_I8;
    for (; *text; text++) {
        if (*text == '#' && (text[1] == ')' || text[1] == ' '))
            sb_puts(&h->text, v);
        else if (*text == '@')
            sb_puts(&h->text, sign ? "s" : "us");
        else if (*text == '%' && text[1] == '8')
            sb_puts(&h->text, sign ? "s" : "u");
        else if (*text == '%')
            sb_puts(&h->text, sign ? "n" : "un");
        else
            sb_putc(&h->text, *text);
    }
}

/* After #else: lane by lane. */
static void plain(Helpers *h, KType t, int n, const char *one) {
    int lanes = t.lanes / n;
    const char *e = dtype_c(t.dtype);
    int least = t.dtype == DT_I8 ? -128 : 0;
    sb_puts(&h->text, t.lanes > 1 ? arena_printf(h->arena, "    const %s y = {", c_type(h, t)) : "    return ");
    for (int i = 0; i < t.lanes; i++) {
        const char *x = t.lanes > 1 ? arena_printf(h->arena, "x%d[%d]", i / lanes, i % lanes) : "x0";
        sb_puts(&h->text, i ? ", " : "");
        if (one)
            sb_printf(&h->text, "%s(%s)", one, x);
        else
            sb_printf(&h->text, "(%s)(%s < %d ? %d : %s > %d ? %d : %s)", e, x, least, least, x, least + 255, least + 255, x);
    }
    sb_puts(&h->text, t.lanes > 1 ? "};\n    return y;\n" : ";\n");
}

void c_rounding_helper(Helpers *h, const char *family, const char *name, KType t, int n) {
    bool rounds = !strcmp(family, "nearest");
    if (rounds && t.lanes == 1) {
        nearest_lane(h, name);
        return;
    }
    n = rounds ? 1 : n;
    int lanes = t.lanes / n;
    const char *one = rounds ? c_helper(h, "nearest", (KType){DT_I32, 1}, DT_NONE) : NULL;
    const char *x = c_type(h, (KType){rounds ? DT_F32 : DT_I32, lanes});
    sb_printf(&h->text, "static MLCC_INLINE %s %s(", c_type(h, t), name);
    for (int k = 0; k < n; k++)
        sb_printf(&h->text, "%s%s x%d", k ? ", " : "", x, k);
    sb_puts(&h->text, ") {\n");
    const char *native = rounds   ? nearest(lanes)
                         : n == 4 ? four_saturated(lanes)
                         : n == 2 ? two_saturated(lanes)
                                  : saturated(lanes, t.dtype == DT_I8);
    if (native) {
        put(h, native, t);
        sb_puts(&h->text, "#else\n");
    }
    plain(h, t, n, one);
    sb_puts(&h->text, native ? "#endif\n}\n" : "}\n");
}
