/* SPDX-License-Identifier: Apache-2.0 */
/* Winograd's minimal filtering for 3x3 windows (Lavin and Gray 2016): a tile of F(m x m) outputs takes (m + 2)^2 products
 * for each pair of channels, where the sum over the window takes 9 m^2. */
#ifndef MLCC_OPS_WINOGRAD_H
#define MLCC_OPS_WINOGRAD_H

#include <stdint.h>

enum { WINOGRAD_MOST = 6 /* sides of transformed tiles */ };

/* y = At ((G g Gt) * (Bt d B)) A, with * for element by element. */
typedef struct Winograd {
    int tile, side; /* m, m + 2 */
    double bt[WINOGRAD_MOST][WINOGRAD_MOST], g[WINOGRAD_MOST][3], at[4][WINOGRAD_MOST];
} Winograd;

/* For tiles of 2 or 4; NULL for others. */
const Winograd *winograd_find(int64_t tile);
/* How many times larger than the direct sum's the bound on the rounding error is, with respect to the largest input and
 * the sum of the weights' magnitudes. */
double winograd_growth(const Winograd *w);

#endif
