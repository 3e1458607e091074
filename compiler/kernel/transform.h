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

/* By buffer: the one parameter that has it in all calls; where there are several, or at other places than its start,
 * users is more than 1. */
typedef struct BufferUser {
    KKernel *kernel;
    int param, users;
} BufferUser;

BufferUser *schedule_buffer_users(const KModule *m);

/* The loop that is all that another loop does, pure values apart; NULL where there is none. */
KInstr *schedule_inner(const KInstr *outer);

#endif
