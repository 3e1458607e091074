/* SPDX-License-Identifier: Apache-2.0 */
/* What the loop transformations share. */
#ifndef MLCC_KERNEL_TRANSFORM_H
#define MLCC_KERNEL_TRANSFORM_H

#include "kernel/rewrite.h"
#include "kernel/schedule.h"

/* By value id: whether a value within the loop may differ between its iterations. Without borders: between iterations
 * for which the loops inside run over the same range. */
bool *schedule_varying(KKernel *k, const KInstr *loop, bool borders);

/* Whether schedule_vectorize would do it, given a suitable trip count. */
bool schedule_can_vectorize(KKernel *k, const KInstr *loop);

/* Whether one of the bytes is -128. */
bool schedule_has_least(const KData *data);

/* The loop that is all that another loop does, pure values apart; NULL where there is none. */
KInstr *schedule_inner(const KInstr *outer);

#endif
