/* SPDX-License-Identifier: Apache-2.0 */
/* From the numbers that a value takes to the range that its 256 levels cover. */
#ifndef MLCC_DRIVER_CALIBRATION_H
#define MLCC_DRIVER_CALIBRATION_H

#include "driver/options.h"

enum { OBSERVED_BINS = 2048 };

typedef struct Observed {
    double lo, hi; /* extremes, 0 among them */
    double *bin;   /* OBSERVED_BINS counts between them */
} Observed;

/* False where a number is not finite. */
bool observe_extremes(Observed *o, const float *x, int64_t n);
/* The extremes are known by now. */
void observe_distribution(Observed *o, const float *x, int64_t n);
void calibrated_range(const Observed *o, CalibrationMethod method, double *lo, double *hi);

#endif
