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
    case 4: return "#if defined(__SSE2__)\n    return (#)_mm_cvtps_epi32((__m128)x);\n"
                   "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    return (#)vcvtnq_s32_f32((float32x4_t)x);\n";
    case 8: return "#if defined(__AVX__)\n    return (#)_mm256_cvtps_epi32((__m256)x);\n";
    case 16: return "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtps_epi32(0xFFFF, (__m512)x);\n";
    default: return NULL;
    }
}

static const char *saturated(int lanes, bool sign) {
    switch (lanes) {
    case 4:
        return sign ? "#if defined(__SSE2__)\n    # y;\n    __m128i z = _mm_packs_epi32((__m128i)x, (__m128i)x);\n    z = _mm_packs_epi16(z, z);\n"
                      "    const int32_t w = _mm_cvtsi128_si32(z);\n    memcpy(&y, &w, sizeof y);\n    return y;\n"
                      "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    # y;\n    const int16x4_t z = vqmovn_s32((int32x4_t)x);\n"
                      "    const int32_t w = vget_lane_s32(vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(z, z))), 0);\n"
                      "    memcpy(&y, &w, sizeof y);\n    return y;\n"
                    : "#if defined(__SSE2__)\n    # y;\n    __m128i z = _mm_packs_epi32((__m128i)x, (__m128i)x);\n    z = _mm_packus_epi16(z, z);\n"
                      "    const int32_t w = _mm_cvtsi128_si32(z);\n    memcpy(&y, &w, sizeof y);\n    return y;\n"
                      "#elif defined(__aarch64__) && defined(__ARM_NEON)\n    # y;\n    const int16x4_t z = vqmovn_s32((int32x4_t)x);\n"
                      "    const int32_t w = vget_lane_s32(vreinterpret_s32_u8(vqmovun_s16(vcombine_s16(z, z))), 0);\n"
                      "    memcpy(&y, &w, sizeof y);\n    return y;\n";
    case 8:
        return sign ? "#if defined(__AVX2__)\n    # y;\n"
                      "    const __m128i z = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));\n"
                      "    _mm_storel_epi64((__m128i *)(void *)&y, _mm_packs_epi16(z, z));\n    return y;\n"
                    : "#if defined(__AVX2__)\n    # y;\n"
                      "    const __m128i z = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));\n"
                      "    _mm_storel_epi64((__m128i *)(void *)&y, _mm_packus_epi16(z, z));\n    return y;\n";
    case 16:
        return sign ? "#if defined(__AVX512F__)\n    return (#)_mm512_maskz_cvtsepi32_epi8(0xFFFF, (__m512i)x);\n"
                    : "#if defined(__AVX512F__)\n    const __m512i z = _mm512_maskz_max_epi32(0xFFFF, (__m512i)x, _mm512_setzero_si512());\n"
                      "    return (#)_mm512_maskz_cvtusepi32_epi8(0xFFFF, z);\n";
    default: return NULL;
    }
}

static void put(Helpers *h, const char *text, const char *type) {
    for (; *text; text++) {
        if (*text == '#' && (text[1] == ')' || text[1] == ' '))
            sb_puts(&h->text, type);
        else
            sb_putc(&h->text, *text);
    }
}

void c_rounding_helper(Helpers *h, const char *family, const char *name, KType t) {
    bool rounds = !strcmp(family, "nearest"), sign = t.dtype == DT_I8;
    if (rounds && t.lanes == 1) {
        nearest_lane(h, name);
        return;
    }
    const char *one = rounds ? c_helper(h, "nearest", (KType){DT_I32, 1}, DT_NONE) : "", *v = c_type(h, t), *e = dtype_c(t.dtype);
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x) {\n", v, name, c_type(h, (KType){rounds ? DT_F32 : DT_I32, t.lanes}));
    const char *native = rounds ? nearest(t.lanes) : saturated(t.lanes, sign);
    if (native) {
        put(h, native, v);
        sb_puts(&h->text, "#else\n");
    }
    sb_puts(&h->text, t.lanes > 1 ? "" : "    return ");
    if (t.lanes > 1)
        sb_printf(&h->text, "    const %s y = {", v);
    for (int i = 0; i < t.lanes; i++) {
        const char *x = t.lanes > 1 ? arena_printf(h->arena, "x[%d]", i) : "x";
        sb_puts(&h->text, i ? ", " : "");
        if (rounds)
            sb_printf(&h->text, "%s(%s)", one, x);
        else
            sb_printf(&h->text, "(%s)(%s < %d ? %d : %s > %d ? %d : %s)", e, x, sign ? -128 : 0, sign ? -128 : 0, x, sign ? 127 : 255, sign ? 127 : 255, x);
    }
    sb_puts(&h->text, t.lanes > 1 ? "};\n    return y;\n" : ";\n");
    sb_puts(&h->text, native ? "#endif\n}\n" : "}\n");
}
