/* SPDX-License-Identifier: Apache-2.0 */
/* From a file to a scheduled module: what every verb does first. */
#ifndef MLCC_DRIVER_PIPELINE_H
#define MLCC_DRIVER_PIPELINE_H

#include "driver/options.h"
#include "frontend/frontend.h"
#include "kernel/kernel.h"
#include "kernel/schedule.h"

typedef struct Compilation {
    Arena *arena;
    Diag *diag;
    const Target *target;
    Model *model;
    Graph *graph; /* after all passes */
    ScheduleTable tuning;  /* --tuning, for the target: before … */
    ScheduleTable shipped; /* … those that come with mlcc */
    bool tuning_warned;
    bool verify_ir;
    Requant requant;
    int threads; /* kernels are cut into so many parts; 0 or 1: into none */
} Compilation;

/* Reads the model; runs all passes; both. False after a diagnostic. pipeline_close in either case. */
bool pipeline_import(Compilation *c, Diag *d, const Options *o, const char *model_path, const Target *target);
/* The same of a file's content; path names it. */
bool pipeline_import_bytes(Compilation *c, Diag *d, const Options *o, const char *path, const void *bytes, size_t size,
                           const Target *target);
bool pipeline_optimize(Compilation *c, const Options *o);
bool pipeline_open(Compilation *c, Diag *d, const Options *o, const char *model_path, const Target *target);
/* A module scheduled for a target: fresh kernels at each call. NULL after a diagnostic, with --verify-ir only. */
KModule *pipeline_lower(Compilation *c, const Target *target);
/* Another form of that module, for another target, with the same constants in the same order; untuned. */
KModule *pipeline_lower_beside(Compilation *c, const Target *target, const KModule *like);
/* The same as the schedules find it. */
KModule *pipeline_unscheduled(Compilation *c, const Target *target);
void pipeline_close(Compilation *c);
/* A verb: does its work on the model and for the target that the options name. The exit status. */
int pipeline_verb(const Options *o, bool (*work)(Compilation *c, const Options *o));

#endif
