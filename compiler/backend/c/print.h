/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of the C printer. */
#ifndef MLCC_BACKEND_C_PRINT_H
#define MLCC_BACKEND_C_PRINT_H

#include "backend/emit.h"
#include "support/strmap.h"

/* Helper functions that the printed kernels turn out to need; printed before them, each once. A name is a family and
 * its types: "div_i32", "splat_f32x16". */
typedef struct Helpers {
    Arena *arena;
    const Target *target;
    StrMap seen;
    StrBuf types, text;
} Helpers;

/* C type of values: "float", "f32x16" (declared on demand). */
const char *c_type(Helpers *h, KType t);
/* Requires a helper of a family for these types and returns its name. */
const char *c_helper(Helpers *h, const char *family, KType t, DType from);
/* Sixteen bytes for targets that sum their products along (Target.dot): a type of plain C too, with few helpers. */
bool c_is_bytes(const Helpers *h, KType t);
void c_bytes_type(Helpers *h, const char *name);
void c_bytes_helper(Helpers *h, const char *family, const char *name);
/* What x86 calls vectors of integers with 128, 256 or 512 bits, and how their intrinsics begin. */
const char *c_x86_type(int bits);
const char *c_x86_prefix(int bits);
/* Prints the helper of a dot product, on the bytes of words (dot.c). */
void c_dot_helper(Helpers *h, const char *name, KType t, bool sign);
void c_dot_long_helper(Helpers *h, const char *name, KType t);
void c_matmul_helper(Helpers *h, const char *name);
/* Vectors of RISC-V (riscv.c): what #include brings their own types; such a type for `bits` of lanes, up to #else, false where
 * there is none; and multiply-adds of words whose factors fit 16 bits: of a vector or of x[0]. */
bool c_is_riscv(const Target *t);
void c_riscv_header(FILE *f, const Target *t);
bool c_riscv_type(Helpers *h, const char *name, const char *lane, int bits);
bool c_riscv_widens(const Helpers *h, const KInstr *i);
void c_riscv_widening_add(Helpers *h, const char *name, KType t, bool splat);
/* Prints the helper of NEAREST, or of SATURATE with n arguments, with a result of type t (rounding.c). */
void c_rounding_helper(Helpers *h, const char *family, const char *name, KType t, int n);
/* Prints the helper of a CAST from or to float16 or bfloat16 (halves.c). */
void c_half_helper(Helpers *h, const char *name, KType t, DType from);
/* The helper of NIBBLE (nibble.c). */
void c_nibble_helper(Helpers *h, const char *name, KType t);
/* The helper of WORDS on so many vectors of bytes, for the words from `first` on (interleave.c). */
const char *c_words_helper(Helpers *h, KType bytes, int n, int first, int lanes);
/* Whether a helper of that name is asked for first. */
bool c_first_time(Helpers *h, const char *name);

/* One kernel as a static function, or one function of values. */
void c_print_kernel(Helpers *h, StrBuf *out, const char *prefix, const KKernel *k);
void c_print_func(Helpers *h, StrBuf *out, const char *prefix, const KFunc *f);

/* Text inside a C comment: what would end it is broken up. */
void c_print_comment_text(StrBuf *out, const char *s);

#endif
