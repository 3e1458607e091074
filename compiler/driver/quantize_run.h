/* SPDX-License-Identifier: Apache-2.0 */
/* Watching values of a model while it runs: calibration, and the comparison of two models. */
#ifndef MLCC_DRIVER_QUANTIZE_RUN_H
#define MLCC_DRIVER_QUANTIZE_RUN_H

#include "driver/calibration.h"
#include "driver/execute.h"
#include "driver/labels.h"
#include "driver/samples.h"

/* A compiled model that returns some of its values too. */
typedef struct Watched {
    Compilation c;
    const Diag *progress; /* whether to show it */
    KModule *module;
    Jit *jit;
    int n_outputs; /* of the model itself; they come first */
    int n;
    int *at;       /* for each name the place among the outputs */
    bool infinite; /* values may be infinite, or no number */
    Bound data;    /* of the last run */
} Watched;

/* Makes the named values outputs of c's graph and compiles it; w->c is set. False after a diagnostic. */
bool watch(Watched *w, const Options *o, int n, const char *const *names);
void watch_end(Watched *w);
/* Runs it once. The outputs, which the next run overwrites; NULL after a diagnostic. */
const Tensor *watch_run(Watched *w, const Tensor *input);
/* What values[i] takes in all runs; needs two of them for a distribution. False after a diagnostic. */
bool watch_ranges(Watched *w, const Samples *s, CalibrationMethod method, const char *const *names, Observed *values);

/* How alike two tensors are, over all samples together. */
typedef struct Agreement {
    double product, want, got, noise; /* sums of squares but the first */
} Agreement;

double agreement_cosine(const Agreement *g);
double agreement_noise(const Agreement *g); /* noise over signal */
void compare_tensors(Agreement *g, const Tensor *want, const Tensor *got);
/* A model's outputs of one run, and, with labels, how many answers are right: false where the labels do not fit. */
bool compare_outputs(int n, const Tensor *want, const Tensor *got, const Labels *labels, Agreement *result, Scores *scores);
/* First the model's outputs, then what both watch, or only the first does; with labels, also how many answers are right. False after a diagnostic, or
 * with scores->n -1 where the labels do not fit. */
bool watch_compare(Watched *want, Watched *got, const Samples *s, const Labels *labels, Agreement *result, Scores *scores);

#endif
