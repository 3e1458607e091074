/* SPDX-License-Identifier: Apache-2.0 */
/* What printing and parsing kernels agree on. */
#ifndef MLCC_KERNEL_TEXT_H
#define MLCC_KERNEL_TEXT_H

#include "kernel/fold.h"

enum { KERNEL_TEXT_ELEMENTS = 64 }; /* longer constants print as their size, and parse as zeros */

extern const char *const kernel_loop_kinds[];   /* by KLoopKind */
extern const char *const kernel_buffer_kinds[]; /* by KBufferKind */

/* Element i in the order of writing. */
KConst kernel_data_element(const KData *d, DType t, int64_t i);

#endif
