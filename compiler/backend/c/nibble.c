/* SPDX-License-Identifier: Apache-2.0 */
/* The helper of NIBBLE: a table of all sixteen numbers where a register holds it. */
#include "backend/c/print.h"

enum { COUNT = 16 };

void c_nibble_helper(Helpers *h, const char *name, KType t) {
    const char *v = c_type(h, t), *x = c_type(h, (KType){DT_I32, t.lanes});
    if (t.lanes == 1) {
        sb_printf(&h->text, "static MLCC_INLINE float %s(int32_t x) {\n    return (float)((x & 15) - 8) * 268435456.0f;\n}\n", name);
        return;
    }
    const char *one = c_helper(h, "nibble", (KType){DT_F32, 1}, DT_NONE);
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x) {\n", v, name, x);
    if (t.lanes == COUNT) {
        sb_puts(&h->text, "#if defined(__AVX512F__)\n    const __m512 table = {");
        for (int i = 0; i < COUNT; i++)
            sb_printf(&h->text, "%s%.1ff", i ? ", " : "", (i - 8) * 0x1p28);
        sb_printf(&h->text, "};\n    return (%s)_mm512_maskz_permutexvar_ps(0xFFFF, (__m512i)x, table);\n#else\n", v);
    }
    sb_printf(&h->text, "    const %s y = {", v);
    for (int i = 0; i < t.lanes; i++)
        sb_printf(&h->text, "%s%s(x[%d])", i ? ", " : "", one, i);
    sb_puts(&h->text, t.lanes == COUNT ? "};\n    return y;\n#endif\n}\n" : "};\n    return y;\n}\n");
}
