/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways of tuning share: which schedules are worth a try. */
#ifndef MLCC_DRIVER_TUNE_H
#define MLCC_DRIVER_TUNE_H

#include "driver/pipeline.h"

enum { TUNE_ROUNDS = 2 };

typedef VEC(ScheduleChoice) Choices;

/* The schedule by the cost rules, then those around the one chosen so far; in round 0 those that change most. They give
 * kernels that differ, made of k (unscheduled) in its module: kernel[i] is scheduled by choice[i]. */
typedef struct Candidates {
    Choices choice;
    VEC(KKernel *) kernel;
} Candidates;

Candidates tune_candidates(Arena *a, const KKernel *k, const Target *t, ScheduleChoice so_far, int round);
/* Shows how far it is, where stderr is a terminal. */
void tune_progress(const Diag *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts what is faster than the cost rules into c->tuning. False after a diagnostic. */
bool tune_here(Compilation *c, const Options *o);     /* tune_here.c: in this process */
bool tune_elsewhere(Compilation *c, const Options *o); /* tune_run.c: by a command */

#endif
