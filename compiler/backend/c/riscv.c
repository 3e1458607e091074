/* SPDX-License-Identifier: Apache-2.0 */
/* RISC-V vectors of a length that the compiler was told: GNU C's vectors would travel between functions in integer registers,
 * and stay there after inlining; the vector extension's own types do not. */
#include <string.h>

#include "backend/c/print.h"

bool c_is_riscv(const Target *t) { return !strncmp(t->triple, "riscv64", 7) && t->vector_bits >= 128; }

void c_riscv_header(FILE *f, const Target *t) {
    fprintf(f,
            "#if defined(__clang__) && defined(__riscv_v_intrinsic) && defined(__riscv_v_fixed_vlen) && __riscv_v_fixed_vlen == %d\n"
            "#define MLCC_RVV(bits) __attribute__((riscv_rvv_vector_bits(bits)))\n#include <riscv_vector.h>\n#endif\n\n", t->vector_bits);
}

/* A register, several of them, or a part of one. */
static const char *multiplier(const Helpers *h, int bits) {
    int whole = h->target->vector_bits;
    return bits >= whole ? arena_printf(h->arena, "m%d", bits / whole) : arena_printf(h->arena, "mf%d", whole / bits);
}

bool c_riscv_type(Helpers *h, const char *name, const char *lane, int bits) {
    if (!c_is_riscv(h->target) || bits < h->target->vector_bits / 8 || bits > 8 * h->target->vector_bits)
        return false;
    const char *stem = !strcmp(lane, "float") ? "float32" : !strcmp(lane, "double") ? "float64" : arena_strndup(h->arena, lane, strlen(lane) - 2);
    sb_printf(&h->types, "#if defined(MLCC_RVV)\ntypedef v%s%s_t %s MLCC_RVV(%d);\n#else\n", stem, multiplier(h, bits), name, bits);
    return true;
}

bool c_riscv_widens(const Helpers *h, const KInstr *i) {
    KType t = i->result[0]->type;
    return i->op == KOP_FMA && c_is_riscv(h->target) && t.dtype == DT_I32 && 32 * t.lanes == h->target->vector_bits &&
           kernel_fits_half(i->arg[0]) && kernel_fits_half(i->arg[1]);
}

void c_riscv_widening_add(Helpers *h, const char *name, KType t, bool splat) {
    const char *v = c_type(h, t), *half = c_type(h, (KType){DT_I16, t.lanes});
    sb_printf(&h->text, "static MLCC_INLINE %s %s(%s x, %s y, %s z) {\n#if defined(MLCC_RVV)\n    const %s w = __builtin_convertvector(y, %s);\n",
              v, name, v, v, v, half, half);
    if (splat)
        sb_printf(&h->text, "    return __riscv_vwmacc_vx_i32m1(z, (int16_t)x[0], w, %d);\n", t.lanes);
    else
        sb_printf(&h->text, "    return __riscv_vwmacc_vv_i32m1(z, __builtin_convertvector(x, %s), w, %d);\n", half, t.lanes);
    sb_puts(&h->text, "#else\n    return x * y + z;\n#endif\n}\n");
}
