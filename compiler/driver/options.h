/* SPDX-License-Identifier: Apache-2.0 */
/* The command line. */
#ifndef MLCC_DRIVER_OPTIONS_H
#define MLCC_DRIVER_OPTIONS_H

#include <stdbool.h>

#include "backend/emit.h"
#include "frontend/frontend.h"
#include "passes/quantize.h"

typedef enum MainKind { MAIN_NONE, MAIN_HOST, MAIN_EMBEDDED } MainKind;
typedef enum Requant { REQUANT_BY_TARGET, REQUANT_FLOAT, REQUANT_FIXED } Requant;
typedef enum VerifyVia { VIA_C, VIA_OBJECT, VIA_JIT } VerifyVia;

typedef enum CalibrationMethod { CALIBRATE_MINMAX, CALIBRATE_PERCENTILE, CALIBRATE_ENTROPY, CALIBRATE_MSE } CalibrationMethod;

typedef struct Options {
    int n_operands;
    char **operand; /* model, then the verb's own */
    const char *output;
    const char *target;
    bool target_given;
    const char *prefix;
    WeightsMode weights;
    const char *weights_section;
    bool static_arena;
    int threads;
    MainKind main;
    const char *test_data;
    int n_dims;
    DimBinding *dims;
    bool depfile;
    const char *depfile_name, *depfile_target;
    const char *tuning; /* a file */
    const char *dump_after;
    bool dump_kernels; /* --dump-kernels: the scheduled kernel IR instead of code */
    bool keep_dead;    /* --no-prune-dead */
    bool half_weights; /* --half-weights */
    bool fast_math;    /* --math=fast */
    Requant requant;
    bool verify_ir;
    bool quiet;
    bool json;           /* check */
    bool list_operators; /* check */
    double seconds;      /* bench, tune */
    const char *run_command; /* tune */
    const char *out_dir; /* run */
    VerifyVia via;       /* verify */
    const char *cc;      /* verify */
    const char *calibrate; /* quantize: a folder or file */
    CalibrationMethod method;
    DType activations;
    int samples;         /* quantize: at most so many */
    double accuracy_floor; /* … the least cosine; 0: none */
    bool mixed;          /* … layers stay float until it holds */
    QuantizeKind quantize; /* also of compile */
    DType weight_type;   /* … QUANTIZE_WEIGHTS: I8, I4, F16, BF16; QUANTIZE_FLOATS: F16, BF16 */
    int block;           /* … integers that share a scale */
    bool plain_rounding, keep_bias, keep_uneven, equalize;
    double smooth;       /* … how much of the activations' range goes into weights; 0: nothing */
    const char *data;    /* … inputs to compare on, with labels maybe */
} Options;

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* One subcommand; the compiler itself is the one without name. */
typedef struct Verb {
    const char *name, *usage, *summary;
    int min_operands, max_operands; /* -1: any number */
    int (*run)(const Options *o);
} Verb;

/* Parses the options that follow a verb. Returns -1 to go on, else the exit status (after --help, or a usage error). */
int options_parse(const Verb *verb, int argc, char **argv, Options *o);

/* What --quantize takes for it. */
const char *options_quantize_name(const Options *o);

int verb_compile(const Options *o);
int verb_bench(const Options *o);
int verb_check(const Options *o);
int verb_quantize(const Options *o);
int verb_run(const Options *o);
int verb_tune(const Options *o);
int verb_verify(const Options *o);

#endif
