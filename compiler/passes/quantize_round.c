/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding weights in blocks. Where samples are known, each element is rounded so that it makes up for the errors of those
 * before it: for inputs x with the Gram matrix H = sum of x x', an error e of a row of weights costs e' H e. With H = U U',
 * U upper triangular, that is the sum over k of the squares of U[k][k] e[k] + sum of U[j][k] e[j] for j < k; going up in k,
 * each term is made as small as a step allows. (Babai's nearest plane; GPTQ comes to the same, Frantar et al. 2022.) */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes/quantize_edit.h"
#include "passes/quantize_weights.h"
#include "support/ints.h"

enum { TRIALS = 24 };
static const double damping = 0.01; /* of the mean of the diagonal */

/* To the nearest integer, for magnitudes below 2^22: the sum has no room for a fraction. */
static float nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }

static float least_of(int bits) { return bits == 4 ? -8 : -WEIGHT_MOST; }
static float most_of(int bits) { return bits == 4 ? 7 : WEIGHT_MOST; }

static float rounded(float x, float least, float most) {
    x = nearest(x);
    return x < least ? least : x > most ? most : x;
}

/* The scale with the least error over n weights that count as their importance says (NULL: all the same). */
static float best_scale(const float *w, const float *importance, int64_t n, int bits) {
    float top = 0, least = least_of(bits), most = most_of(bits), best = 0;
    double lowest = INFINITY;
    for (int64_t i = 0; i < n; i++)
        top = fmaxf(top, fabsf(w[i]));
    float whole = quantize_scale((double)(top * (float)WEIGHT_MOST / most));
    for (int t = 0; t < (bits == 4 ? TRIALS : 1); t++) {
        float scale = whole * (1 - 0.02f * (float)t), back = 1 / scale;
        float sum = 0;
        for (int64_t i = 0; i < n; i++) {
            float e = w[i] - scale * rounded(w[i] * back, least, most);
            sum += e * e * (importance ? importance[i] : 1);
        }
        if ((double)sum < lowest) {
            lowest = (double)sum;
            best = scale;
        }
    }
    return best;
}

/* --- the triangle --- */

typedef struct Channel {
    float diagonal;
    int index;
} Channel;

/* Channels with large inputs first: all others can still make up for them. */
static int by_diagonal(const void *x, const void *y) {
    const Channel *a = x, *b = y;
    return a->diagonal != b->diagonal ? (a->diagonal > b->diagonal ? -1 : 1) : a->index - b->index;
}

/* U of a damped Gram matrix in the sorted order; rows of it are divided by its diagonal, which is what rounding needs. */
static void factorize(const float *gram, int64_t n, float *factor, int *order) {
    Arena *a = arena_new();
    double *h = ARENA_ARRAY(a, double, n * n), *column = ARENA_ARRAY(a, double, n), mean = 0;
    Channel *channel = ARENA_ARRAY(a, Channel, n);
    for (int64_t i = 0; i < n; i++) {
        float x = gram[i * n + i];
        channel[i] = (Channel){x > 0 ? x : 0, (int)i}; /* NaN has no place in an order */
        mean += (double)x / (double)n;
    }
    qsort(channel, (size_t)n, sizeof *channel, by_diagonal);
    for (int64_t i = 0; i < n; i++)
        order[i] = channel[i].index;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++)
            h[i * n + j] = (double)gram[order[i] * n + order[j]] + (i == j ? damping * mean + 1e-30 : 0);
    for (int64_t k = n - 1; k >= 0; k--) { /* h holds the lower half of what is left; U[j][k] goes to factor[j][k] */
        double root = sqrt(h[k * n + k] > 0 ? h[k * n + k] : damping * mean + 1e-30);
        for (int64_t j = 0; j < k; j++) {
            column[j] = h[k * n + j] / root;
            factor[j * n + k] = (float)(column[j] / root);
        }
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j <= i; j++)
                h[i * n + j] -= column[i] * column[j];
    }
    arena_free(a);
}

static void factorize_all(QuantizeGram *g) {
    int64_t n = g->depth;
    if (g->factor)
        return;
    g->order = ARENA_ARRAY(g->arena, int, g->groups * n);
    g->factor = ARENA_ARRAY(g->arena, float, g->groups * n * n);
    for (int64_t i = 0; i < g->groups; i++)
        factorize(g->sum + i * n * n, n, g->factor + i * n * n, g->order + i * n);
}

/* --- rows --- */

static void round_plainly(const Rounding *r, const float *w, const float *scale, int8_t *x) {
    for (int64_t k = 0; k < r->depth; k++)
        x[k] = (int8_t)rounded(w[k] / scale[k / r->block], least_of(r->bits), most_of(r->bits));
}

static void round_making_up(const Rounding *r, const float *w, const float *scale, float *owed, int8_t *x) {
    int64_t n = r->depth;
    const int *order = r->gram->order + r->group * n;
    const float *row = r->gram->factor + r->group * n * n;
    memset(owed, 0, (size_t)n * sizeof *owed);
    for (int64_t i = 0; i < n; i++, row += n) {
        int k = order[i];
        float step = scale[k / r->block], q = rounded((w[k] + owed[i]) / step, least_of(r->bits), most_of(r->bits));
        float error = w[k] - q * step;
        x[k] = (int8_t)q;
        for (int64_t j = i + 1; j < n; j++)
            owed[j] += row[j] * error;
    }
}

void quantize_round_to_scales(Arena *a, const Rounding *r, const float *w, int8_t *x, const float *scale) {
    int64_t n = r->depth, blocks = divide_up(n, r->block);
    float *owed = ARENA_ARRAY(a, float, n);
    if (r->gram)
        factorize_all(r->gram);
    for (int64_t o = 0; o < r->outputs; o++) {
        if (r->gram)
            round_making_up(r, w + o * n, scale + o * blocks, owed, x + o * n);
        else
            round_plainly(r, w + o * n, scale + o * blocks, x + o * n);
    }
}

void quantize_round(Arena *a, const Rounding *r, const float *w, int8_t *x, float *scale) {
    int64_t n = r->depth, blocks = divide_up(n, r->block);
    float *importance = r->gram ? ARENA_ARRAY(a, float, n) : NULL;
    for (int64_t k = 0; r->gram && k < n; k++)
        importance[k] = r->gram->sum[(r->group * n + k) * n + k] + 1e-12f;
    for (int64_t o = 0; o < r->outputs; o++) {
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = b * r->block, size = n - at < r->block ? n - at : r->block;
            scale[o * blocks + b] = best_scale(w + o * n + at, importance ? importance + at : NULL, size, r->bits);
        }
    }
    quantize_round_to_scales(a, r, w, x, scale);
}
