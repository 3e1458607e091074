/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers that bring bytes of several vectors into words. */
#include "backend/c/print.h"

/* AVX-512 VBMI: bytes of 64 or 128 in any order. Those of 16 lanes go into one register, those of 32 into two. What no
 * argument gives is cleared by the mask. */
static void x86(Helpers *h, const char *v, KType bytes, int n, int first) {
    static const char *const mask[] = {[2] = "0x3333333333333333", [3] = "0x7777777777777777", [4] = "0xFFFFFFFFFFFFFFFF"};
    sb_puts(&h->text, "#if defined(__AVX512VBMI__)\n    static const uint8_t place[64] = {");
    for (int k = 0; k < 64; k++)
        sb_printf(&h->text, "%s%d", k ? ", " : "", k % 4 * bytes.lanes + first + k / 4);
    sb_puts(&h->text, "};\n    const __m512i at = _mm512_loadu_si512(place);\n");
    if (bytes.lanes == 16) {
        sb_puts(&h->text, "    __m512i z = _mm512_castsi128_si512((__m128i)x0);\n");
        for (int k = 1; k < n; k++)
            sb_printf(&h->text, "    z = _mm512_maskz_inserti32x4(0xFFFF, z, (__m128i)x%d, %d);\n", k, k);
        sb_printf(&h->text, "    return (%s)_mm512_maskz_permutexvar_epi8(%s, at, z);\n", v, mask[n]);
    } else {
        static const char *const second[] = {[2] = "z", [3] = "_mm512_castsi256_si512((__m256i)x2)",
                                             [4] = "_mm512_maskz_inserti64x4(0xFF, _mm512_castsi256_si512((__m256i)x2), (__m256i)x3, 1)"};
        sb_puts(&h->text, "    const __m512i z = _mm512_maskz_inserti64x4(0xFF, _mm512_castsi256_si512((__m256i)x0), (__m256i)x1, 1);\n");
        sb_printf(&h->text, "    return (%s)_mm512_maskz_permutex2var_epi8(%s, z, at, %s);\n", v, mask[n], second[n]);
    }
    sb_puts(&h->text, "#else\n");
}

const char *c_words_helper(Helpers *h, KType bytes, int n, int first, int lanes) {
    Arena *a = h->arena;
    const char *v = c_type(h, (KType){DT_I32, lanes}), *x = c_type(h, bytes), *u = c_type(h, (KType){DT_U32, lanes});
    const char *name = arena_printf(a, "words_%d_%s_%d_%dx%d", n, dtype_name(bytes.dtype), bytes.lanes, first, lanes);
    if (!c_first_time(h, name))
        return name;
    sb_printf(&h->text, "static MLCC_INLINE %s %s(", v, name);
    for (int k = 0; k < n; k++)
        sb_printf(&h->text, "%s%s x%d", k ? ", " : "", x, k);
    sb_puts(&h->text, ") {\n");
    bool vbmi = lanes == 16 && n > 1 && (bytes.lanes == 16 || bytes.lanes == 32);
    if (vbmi)
        x86(h, v, bytes, n, first);
    if (lanes == 1) {
        sb_puts(&h->text, "    return (int32_t)(");
        for (int k = 0; k < n; k++)
            sb_printf(&h->text, "%s(uint32_t)(uint8_t)x%d << %d", k ? " | " : "", k, 8 * k);
        sb_puts(&h->text, ");\n");
    } else {
        for (int k = 0; k < n; k++) {
            sb_printf(&h->text, "    const %s y%d = {", u, k);
            for (int i = 0; i < lanes; i++)
                sb_printf(&h->text, "%s(uint8_t)x%d[%d]", i ? ", " : "", k, first + i);
            sb_puts(&h->text, "};\n");
        }
        sb_printf(&h->text, "    return (%s)(y0", v);
        for (int k = 1; k < n; k++)
            sb_printf(&h->text, " | y%d << %d", k, 8 * k);
        sb_puts(&h->text, ");\n");
    }
    sb_puts(&h->text, vbmi ? "#endif\n}\n" : "}\n");
    return name;
}
