/* SPDX-License-Identifier: Apache-2.0 */
/* Element types. */
#include "support/dtype.h"

#include <stddef.h>
#include <string.h>

typedef struct Row {
    const char *name, *ctype;
    int onnx, bits;
    char class;
} Row;

static const Row rows[DT_COUNT] = {
    [DT_NONE] = {"?", NULL, -1, 0, 'X'},
#define DTYPE(id, onnx, name, ctype, bits, class) [DT_##id] = {name, ctype, onnx, bits, #class[0]},
#include "support/dtype.def"
#undef DTYPE
};

const char *dtype_name(DType t) { return rows[t].name; }
const char *dtype_c(DType t) { return rows[t].ctype; }
int dtype_bits(DType t) { return rows[t].bits; }
int dtype_size(DType t) { return rows[t].bits / 8; }
int dtype_width(DType t) { return t == DT_I4 || t == DT_U4 ? 4 : t == DT_I2 || t == DT_U2 ? 2 : rows[t].bits; }
DType dtype_stored(DType t) { return dtype_width(t) == rows[t].bits ? t : dtype_is_signed(t) ? DT_I8 : DT_U8; }
bool dtype_is_float(DType t) { return rows[t].class == 'F'; }
bool dtype_is_signed(DType t) { return rows[t].class == 'I'; }
bool dtype_is_integer(DType t) { return rows[t].class == 'I' || rows[t].class == 'U'; }
int dtype_to_onnx(DType t) { return rows[t].onnx; }

DType dtype_from_onnx(int32_t data_type) {
    for (int t = DT_INDEX + 1; t < DT_COUNT; t++)
        if (rows[t].onnx == data_type)
            return (DType)t;
    return DT_NONE;
}

DType dtype_parse(const char *name, int len) {
    for (int t = DT_NONE + 1; t < DT_COUNT; t++)
        if ((int)strlen(rows[t].name) == len && !memcmp(rows[t].name, name, (size_t)len))
            return (DType)t;
    return DT_NONE;
}

static float bits_float(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

float half_to_float(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, mantissa = bits & 0x3ffu;
    if (exponent == 31)
        return bits_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent)
        return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    float tiny = (float)mantissa * 0x1p-24f;
    return sign ? -tiny : tiny;
}

uint16_t float_to_half(float x) {
    uint32_t u = float_bits(x), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* subnormal: let the addition round at the last place of 2^-24 */
        float shifted = bits_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_bits(shifted) - float_bits(0.5f)));
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

float bfloat_to_float(uint16_t bits) { return bits_float((uint32_t)bits << 16); }

uint16_t float_to_bfloat(float x) {
    uint32_t u = float_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
