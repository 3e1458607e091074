/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of whole numbers that C has no operator for. */
#ifndef MLCC_SUPPORT_INTS_H
#define MLCC_SUPPORT_INTS_H

#include <stdint.h>

/* Rounded up, of x >= 0; rounded down, of any x. by > 0. */
static inline int64_t divide_up(int64_t x, int64_t by) { return x / by + (x % by != 0); }
static inline int64_t divide_down(int64_t x, int64_t by) { return x / by - (x % by < 0); }

/* The next multiple, for x >= 0. */
static inline int64_t round_up(int64_t x, int64_t to) { return divide_up(x, to) * to; }

static inline int64_t clamp_int(int64_t x, int64_t lo, int64_t hi) { return x < lo ? lo : x > hi ? hi : x; }

#endif
