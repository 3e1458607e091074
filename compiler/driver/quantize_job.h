/* SPDX-License-Identifier: Apache-2.0 */
/* One quantisation: models, samples, and what came of them. */
#ifndef MLCC_DRIVER_QUANTIZE_JOB_H
#define MLCC_DRIVER_QUANTIZE_JOB_H

#include "driver/quantize_run.h"
#include "passes/quantize.h"

typedef struct QuantizeJob {
    const Options *o;
    Options own;          /* without what is for the code that is written in the end */
    Diag *diag, quiet;    /* the second for what has been said already */
    Arena *arena, *round; /* the second for one attempt */
    const Target *target;
    Compilation c;        /* becomes the quantised graph */
    Watched before, after;
    QuantizePlan plan;
    const char **names;       /* of the items' values in the float graph */
    const char **dequantized; /* … in the quantised graph */
    Observed *range;
    QuantizePrecision *precision; /* of the items */
    bool *float_weights;
    QuantizeRecipe recipe;
    StrMap for_smoothing, for_rounding; /* QuantizeStats by the name of a product's input, */
    StrMap grams;                       /* QuantizeGram by that of its output */
    Samples calibration, data; /* without --data the same; empty where there are none */
    Labels labels;
    Agreement *agreement; /* of the outputs, then of the items */
    Scores scores;
    const void *bytes; /* the new file */
    size_t size, weights_before, weights_after;
} QuantizeJob;

/* What the options say is consistent: NULL, or why it is not. */
const char *quantize_misuse(const Options *o);
/* Makes the quantised model: its bytes are valid until quantize_end, which is needed in either case. False after a
 * diagnostic, or where the floor is missed. What it says of the layers goes to report, which may be NULL. */
bool quantize_model(QuantizeJob *j, Diag *d, const Options *o, FILE *report);
void quantize_end(QuantizeJob *j);

/* The float model in the form that is quantised. False after a diagnostic; c is to be closed in either case. */
bool quantize_read(QuantizeJob *j, Diag *d, Compilation *c);
/* The model as the precisions say, compared with the float one where there are samples: layer by layer, or its outputs alone.
 * False after a diagnostic. */
bool quantize_attempt(QuantizeJob *j, bool layers);
/* Further attempts until the floor holds, or all is float: quantize_mixed.c. False after a diagnostic. */
bool quantize_mixed(QuantizeJob *j);

/* --- what came of it (quantize_report.c) --- */

/* The least cosine of an output, or the share of the float model's right answers that is left. */
double quantize_quality(const QuantizeJob *j);
double quantize_quality_of(int n, const Agreement *outputs, const Scores *s);
/* The noise that item i adds to that of what it takes. */
double quantize_own_noise(const QuantizeJob *j, int i);
/* The report's last words as a note. */
void quantize_note(const QuantizeJob *j);
void quantize_report(const QuantizeJob *j, FILE *out);
/* False after a diagnostic. */
bool quantize_meets_floor(const QuantizeJob *j);

#endif
