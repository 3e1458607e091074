/* SPDX-License-Identifier: Apache-2.0 */
/* What operators on quantised elements share. A real number is (element - zero point) * scale. */
#ifndef MLCC_OPS_QUANT_H
#define MLCC_OPS_QUANT_H

#include "ops/lower.h"

/* Input i of an 8-bit type, or of 16 bits, as activations may be beyond what ONNX has; a scale or zero point (of type `t`,
 * or DT_NONE for a floating-point scale) with one element, or `channels` of them in one axis (0: one element only). An
 * absent input passes. */
bool quant_infer_bytes(const Node *n, int i);
bool quant_infer_element(const Node *n, int i);
bool quant_infer_param(const Node *n, int i, DType t, int64_t channels);

bool quant_has(const Node *n, int i);     /* input i is given */
bool quant_is_zero(const Node *n, int i); /* absent, or a constant of zeros */
/* The parameter in input i for a channel, in type t; zero where absent. A channel is not looked at where there is one for
 * all. */
KValue *quant_param(Lower *l, const Node *n, int i, KIndex channel, DType t);
/* x * w / y of three scales (w or y -1: none), constants, for channel i; and as a value, from a table where they are. */
float quant_ratio_of(const Node *n, int x, int w, int y, int64_t i);
KValue *quant_ratio(Lower *l, const Node *n, int x, int w, int y, KIndex channel);
/* Products of bytes with a constant take those on the left as the machine's dot products (Target.dot) do: I8, U8, or NONE
 * for either; what that adds to each (128, -128 or 0); and an element with the other sign. */
DType quant_left_type(unsigned dot);
int quant_shift(const Lower *l, DType t);
KValue *quant_shifted(Lower *l, KValue *element);
/* (element - zero point) as I32. */
KValue *quant_centred(Lower *l, KValue *element, KValue *zero);
/* A sum of integers that is to be brought to the output's scale: its largest magnitude (0: not known), which inputs have
 * the scales (w -1: none), the channel of those of w, and what else it is multiplied with. */
typedef struct QuantTerm {
    KValue *sum; /* I32 */
    double most;
    int x, w;
    KIndex channel;
    double factor;
} QuantTerm;
/* The terms times x * w / y each, added, rounded, plus the zero point (input y + 1), saturated, by integers alone
 * (requantise.c); NULL where floats shall or must do it. At most two terms; to: a type of up to 8 bits. */
KValue *quant_fixed(Lower *l, const Node *n, int terms, const QuantTerm *term, int y, DType to);
/* The least and largest element of an integer type of up to 16 bits. */
int64_t quant_least(DType t);
int64_t quant_most(DType t);
/* The F32 x rounded half to even, plus the zero point (I32), saturated to a type of up to 16 bits. */
KValue *quant_round(Lower *l, KValue *x, KValue *zero, DType to);
/* Scale and zero point (I32) of U8 elements for numbers from `least` <= 0 to `most` >= 0. */
void quant_dynamic(Lower *l, KValue *least, KValue *most, KValue **scale, KValue **zero);

#endif
