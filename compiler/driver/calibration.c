/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges from histograms. A range that leaves out rare large numbers has finer steps for all others. */
#include "driver/calibration.h"

#include <math.h>

enum { BINS = OBSERVED_BINS, LEVELS = 256, TRIALS = 96 };
static const double left_out = 1e-5; /* share of numbers beyond the percentiles, at both ends together */

bool observe_extremes(Observed *o, const float *x, int64_t n) {
    float lo = (float)o->lo, hi = (float)o->hi, finite = 0;
    for (int64_t i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        finite += x[i] * 0; /* NaN of infinities and NaN */
    }
    o->lo = (double)lo;
    o->hi = (double)hi;
    return finite == 0;
}

static double bin_width(const Observed *o) { return (o->hi - o->lo) / (double)BINS; }

void observe_distribution(Observed *o, const float *x, int64_t n) {
    double width = bin_width(o);
    for (int64_t i = 0; width > 0 && i < n; i++) {
        int k = (int)(((double)x[i] - o->lo) / width);
        o->bin[k < 0 ? 0 : k >= BINS ? BINS - 1 : k]++;
    }
}

static double total(const Observed *o) {
    double n = 0;
    for (int k = 0; k < BINS; k++)
        n += o->bin[k];
    return n;
}

/* --- percentile --- */

static void percentile_range(const Observed *o, double *lo, double *hi) {
    double may = total(o) * left_out / 2, below = 0, above = 0;
    int first = 0, last = BINS - 1;
    while (first < last && below + o->bin[first] <= may)
        below += o->bin[first++];
    while (last > first && above + o->bin[last] <= may)
        above += o->bin[last--];
    *lo = o->lo + first * bin_width(o);
    *hi = o->lo + (last + 1) * bin_width(o);
}

/* --- mean square error --- */

static double square_error(const Observed *o, double lo, double hi) {
    double step = (hi - lo) / (LEVELS - 1), width = bin_width(o), sum = 0;
    for (int k = 0; k < BINS; k++) {
        double x = o->lo + (k + 0.5) * width, beyond = x < lo ? lo - x : x > hi ? x - hi : 0;
        sum += o->bin[k] * (beyond * beyond + (beyond > 0 ? 0 : step * step / 12));
    }
    return sum;
}

/* --- entropy --- */

/* How many bits it costs to take the levels' distribution for that of bins first .. last, with all beyond them at their
 * ends: the Kullback-Leibler divergence of the two. */
static double divergence(const Observed *o, int first, int last) {
    int n = last - first + 1;
    double low = 0, high = 0, all = 0, sum = 0, inside = 0;
    for (int k = 0; k < BINS; k++) {
        *(k < first ? &low : k > last ? &high : &inside) += o->bin[k];
        all += o->bin[k];
    }
    if (inside <= 0)
        return INFINITY;
    for (int level = 0, k = first; level < LEVELS; level++) {
        int end = first + (int)((int64_t)(level + 1) * n / LEVELS), filled = 0;
        double level_sum = 0;
        for (int j = k; j < end; j++) {
            filled += o->bin[j] > 0;
            level_sum += o->bin[j];
        }
        for (; k < end; k++) {
            double p = (o->bin[k] + (k == first ? low : 0) + (k == last ? high : 0)) / all;
            double q = o->bin[k] > 0 ? level_sum / filled / inside : 0;
            if (p > 0)
                sum += p * log(p / (q > 0 ? q : 1e-9));
        }
    }
    return sum;
}

/* Distributions know nothing of distances: where most of a value is near zero and the rest, like a few of its channels, far
 * from there, giving up the rest costs them little. A range that moves numbers further than the whole range's steps do is none. */
static double entropy_cost(const Observed *o, double lo, double hi) {
    double width = bin_width(o);
    int first = (int)((lo - o->lo) / width + 0.5), last = (int)((hi - o->lo) / width + 0.5) - 1;
    last = last >= BINS ? BINS - 1 : last;
    if (last - first + 1 < LEVELS || square_error(o, lo, hi) > square_error(o, o->lo, o->hi))
        return INFINITY;
    return divergence(o, first, last);
}

/* --- both --- */

/* Zero, which padding and ReLU make often, is exact in every range: its bin counts as its neighbours do. */
static void without_zeros(const Observed *o, double *bin) {
    int zero = (int)(-o->lo / bin_width(o));
    zero = zero >= BINS ? BINS - 1 : zero;
    for (int k = 0; k < BINS; k++)
        bin[k] = o->bin[k];
    bin[zero] = zero == 0 ? bin[1] : zero == BINS - 1 ? bin[BINS - 2] : (bin[zero - 1] + bin[zero + 1]) / 2;
}

/* The shares of both ends that cost least: first one for both, then each by itself. */
static void search(const Observed *o, double (*cost)(const Observed *, double, double), double *lo, double *hi) {
    double share[2] = {1, 1}, least = cost(o, o->lo, o->hi);
    for (int round = 0; round < 3; round++) {
        double start[2] = {share[0], share[1]};
        for (int t = TRIALS; t > 2; t--) {
            double s = (double)t / (double)TRIALS, below = round == 2 ? start[0] : s, above = round == 1 ? start[1] : s;
            double c = cost(o, o->lo * below, o->hi * above);
            if (!(c < least))
                continue;
            least = c;
            share[0] = below;
            share[1] = above;
        }
    }
    *lo = o->lo * share[0];
    *hi = o->hi * share[1];
}

void calibrated_range(const Observed *o, CalibrationMethod method, double *lo, double *hi) {
    *lo = o->lo;
    *hi = o->hi;
    if (method == CALIBRATE_MINMAX || !(bin_width(o) > 0))
        return;
    if (method == CALIBRATE_PERCENTILE) {
        percentile_range(o, lo, hi);
        return;
    }
    double bin[BINS];
    Observed smooth = {o->lo, o->hi, bin};
    without_zeros(o, bin);
    search(&smooth, method == CALIBRATE_MSE ? square_error : entropy_cost, lo, hi);
}
