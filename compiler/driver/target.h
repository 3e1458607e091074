/* SPDX-License-Identifier: Apache-2.0 */
/* Targets by name (those shipped, and "native") or from a user's JSON file. */
#ifndef MLCC_DRIVER_TARGET_H
#define MLCC_DRIVER_TARGET_H

#include "kernel/target.h"
#include "support/arena.h"
#include "support/diag.h"

/* A name with '/' or that ends in ".json" is a path; else one of the shipped targets. */
bool target_is_file(const char *name);
/* NULL after a diagnostic, for an unknown name one that lists those there are. */
const Target *target_load(Arena *a, Diag *d, const char *name);

#endif
