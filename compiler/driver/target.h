/* SPDX-License-Identifier: Apache-2.0 */
/* Targets by name (those shipped, and "native") or from a user's JSON file. */
#ifndef MLCC_DRIVER_TARGET_H
#define MLCC_DRIVER_TARGET_H

#include "kernel/target.h"
#include "support/arena.h"
#include "support/diag.h"

/* A name without '/' or ".json" is one of the shipped targets; else a path. NULL after a diagnostic that lists the
 * names there are. */
const Target *target_load(Arena *a, Diag *d, const char *name);

#endif
