/* SPDX-License-Identifier: Apache-2.0 */
/* Element types of tensors and of kernel values; the table is dtype.def. */
#ifndef MLCC_SUPPORT_DTYPE_H
#define MLCC_SUPPORT_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum DType {
    DT_NONE, /* not known (yet) */
#define DTYPE(id, onnx, name, ctype, bits, class) DT_##id,
#include "support/dtype.def"
#undef DTYPE
    DT_COUNT
} DType;

const char *dtype_name(DType t);             /* "f32" */
const char *dtype_c(DType t);                /* "float"; NULL where C has none */
int dtype_bits(DType t);                     /* bits in memory; 0 for INDEX and STRING */
int dtype_size(DType t);                     /* bytes in memory */
bool dtype_is_float(DType t);
int dtype_width(DType t);                    /* bits that the values have: 2 or 4 for narrow integers, else those in memory */
DType dtype_stored(DType t);                 /* the type of the bytes in memory: I8 for I4, itself where it is not narrow */
bool dtype_is_signed(DType t);               /* signed integers and INDEX */
bool dtype_is_integer(DType t);              /* signed or unsigned, not BOOL */
static inline bool dtype_is_byte(DType t) { return t == DT_I8 || t == DT_U8; }
static inline bool dtype_is_half(DType t) { return t == DT_F16 || t == DT_BF16; }
DType dtype_from_onnx(int32_t data_type);    /* DT_NONE where mlcc has no such type */
int dtype_to_onnx(DType t);
DType dtype_parse(const char *name, int len); /* DT_NONE where there is none */

/* IEEE 754 binary16 and bfloat16, bit patterns to and from float; conversions to them round to nearest even. */
float half_to_float(uint16_t bits);
uint16_t float_to_half(float x);
float bfloat_to_float(uint16_t bits);
uint16_t float_to_bfloat(float x);

#endif
