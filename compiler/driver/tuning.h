/* SPDX-License-Identifier: Apache-2.0 */
/* Tuning files: schedules that were measured to be faster than what the cost rules choose, by kernel.
 *
 *     {
 *         "mlcc": "0.1.0",
 *         "target": "x86-64-v4",
 *         "cpu": "x86-64-v4",
 *         "kernels": {
 *             "0123456789abcdef": {"vectors": 3, "rows": 8},
 *             "fedcba9876543210": {}
 *         }
 *     }
 *
 * A kernel is named by schedule_hash, so that equal kernels of all models share an entry and one that has changed has
 * none. The keys of an entry are schedule_fields; where it has none, nothing was faster than the cost rules. */
#ifndef MLCC_DRIVER_TUNING_H
#define MLCC_DRIVER_TUNING_H

#include "kernel/schedule.h"
#include "support/diag.h"
#include "support/file.h"

/* The file's entries if it is for the target, else none, after a warning. False after a diagnostic: it is malformed. */
bool tuning_read(Arena *a, Diag *d, const char *path, const Target *t, ScheduleTable *out);
/* The table that comes with mlcc for such targets; none where there is none. False after a diagnostic. */
bool tuning_shipped(Arena *a, Diag *d, const Target *t, ScheduleTable *out);
bool tuning_write(Diag *d, const char *path, const Target *t, const ScheduleTable *table);

#endif
