/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing options: one table gives getopt_long's, the help texts and which verb takes what. */
#define _GNU_SOURCE
#include "driver/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"

enum { MOST_THREADS = 256, MOST_SAMPLES = 1000000 };
enum { COMPILE = 1, CHECK = 2, RUN = 4, VERIFY = 8, BENCH = 16, TUNE = 32, QUANTIZE = 64, ALL = 127, TARGETS = ALL & ~QUANTIZE };
enum { WITH_QUANTIZE = 128, MAKES = QUANTIZE | WITH_QUANTIZE }; /* of compile too, with --quantize; help shows it elsewhere */
enum { LEAST_BLOCK = 16, MOST_BLOCK = 1024 };

enum {
    OPT_OUTPUT = 256, OPT_TARGET, OPT_PREFIX, OPT_DIM, OPT_WEIGHTS, OPT_WEIGHTS_SECTION, OPT_STATIC_ARENA, OPT_THREADS, OPT_MAIN,
    OPT_TEST_DATA, OPT_MD, OPT_MF, OPT_MT, OPT_DUMP_AFTER, OPT_DUMP_KERNELS, OPT_VERIFY_IR, OPT_QUIET, OPT_JSON,
    OPT_LIST_OPERATORS, OPT_SECONDS, OPT_OUT, OPT_VIA, OPT_CC, OPT_TUNING, OPT_RUN, OPT_NO_PRUNE_DEAD,
    OPT_HALF_WEIGHTS, OPT_MATH, OPT_REQUANT, OPT_CALIBRATE, OPT_METHOD, OPT_ACTIVATIONS, OPT_SAMPLES,
    OPT_ACCURACY_FLOOR, OPT_MIXED, OPT_QUANTIZE, OPT_DYNAMIC, OPT_WEIGHTS_ONLY, OPT_FLOATS, OPT_BLOCK, OPT_ROUNDING, OPT_NO_CORRECT_BIAS, OPT_EQUALIZE, OPT_SMOOTH, OPT_NO_SMOOTH, OPT_DATA, OPT_HELP
};

static const struct Row {
    int id;
    char letter;
    const char *name;
    int argument; /* no_argument … */
    unsigned verbs;
    const char *help; /* "ARG  text" */
} rows[] = {
    {OPT_OUTPUT, 'o', "output", required_argument, COMPILE | TUNE | QUANTIZE, "FILE  where to write; .c .o .s .ll chooses the form"},
    {OPT_TARGET, 't', "target", required_argument, TARGETS, "NAME  generic (default), native, cortex-m55, ... or a .json file"},
    {OPT_DIM, 0, "dim", required_argument, ALL, "NAME=N  fix a symbolic dimension"},
    {OPT_PREFIX, 'p', "prefix", required_argument, COMPILE, "ID  start of every global name (default: FILE's)"},
    {OPT_WEIGHTS, 0, "weights", required_argument, COMPILE | VERIFY, "c|incbin|bin  in the C text, by .incbin, or as a pointer"},
    {OPT_WEIGHTS_SECTION, 0, "weights-section", required_argument, COMPILE, "NAME  linker section of the weights"},
    {OPT_STATIC_ARENA, 0, "static-arena", no_argument, COMPILE | VERIFY, "the scratch memory is part of the code"},
    {OPT_THREADS, 0, "threads", required_argument, COMPILE | VERIFY, "N  work in N parts, for the caller's parallel_for"},
    {OPT_MAIN, 0, "main", optional_argument, COMPILE, "[=embedded]  also write FILE_main.c, a program (or firmware)"},
    {OPT_TEST_DATA, 0, "test-data", required_argument, COMPILE, "DIR  vectors for --main=embedded: test_data_set_*/ or itself one"},
    {OPT_TUNING, 0, "tuning", required_argument, COMPILE | CHECK | VERIFY | BENCH | TUNE, "FILE  schedules that mlcc tune found, or none"},
    {OPT_MD, 0, "MD", no_argument, COMPILE, "also write a make rule, FILE.d"},
    {OPT_MF, 0, "MF", required_argument, COMPILE, "FILE  name of the make rule's file"},
    {OPT_MT, 0, "MT", required_argument, COMPILE, "NAME  target of the make rule"},
    {OPT_JSON, 0, "json", no_argument, CHECK | BENCH, "the same for machines"},
    {OPT_LIST_OPERATORS, 0, "list-operators", no_argument, CHECK, "what mlcc supports, one domain:Name a line"},
    {OPT_SECONDS, 0, "seconds", required_argument, BENCH | TUNE, "S  how long to measure (default 2, tune 60)"},
    {OPT_OUT, 0, "out", required_argument, RUN, "DIR  write output_0.npy, ... there instead of printing"},
    {OPT_RUN, 0, "run", required_argument, TUNE, "COMMAND  what runs programs for the target (default: this process)"},
    {OPT_VIA, 0, "via", required_argument, VERIFY, "c|object|jit  what to verify (default c)"},
    {OPT_CC, 0, "cc", required_argument, VERIFY | TUNE, "COMMAND  C compiler with its options (default: the target's)"},
    {OPT_QUANTIZE, 0, "quantize", required_argument, COMPILE, "KIND  static, dynamic, int8 ...; with the options of mlcc quantize"},
    {OPT_DYNAMIC, 0, "dynamic", no_argument, QUANTIZE, "int8 weights; activations are quantised when the model runs"},
    {OPT_WEIGHTS_ONLY, 0, "weights-only", required_argument, QUANTIZE, "TYPE  int8, int4, float16 or bfloat16, computed with as floats"},
    {OPT_FLOATS, 0, "floats", required_argument, QUANTIZE, "TYPE  float16 or bfloat16: weights and activations, not inputs and outputs"},
    {OPT_CALIBRATE, 0, "calibrate", required_argument, MAKES, "PATH  inputs: folder with test_data_set_*/ or .npy files, .npz, .npy"},
    {OPT_DATA, 0, "data", required_argument, MAKES, "PATH  inputs to compare on (default: --calibrate's); maybe with labels"},
    {OPT_METHOD, 0, "method", required_argument, MAKES, "NAME  of ranges: minmax (default), percentile, entropy, mse"},
    {OPT_ACTIVATIONS, 0, "activations", required_argument, MAKES, "TYPE  uint8 (default) or int8"},
    {OPT_BLOCK, 0, "block", required_argument, MAKES, "N  weights that share a scale: a power of 2 (default 32; int8 128)"},
    {OPT_ROUNDING, 0, "rounding", required_argument, MAKES, "HOW  of weights: errors (make up for each other, by --calibrate) or nearest"},
    {OPT_NO_CORRECT_BIAS, 0, "no-correct-bias", no_argument, MAKES, "biases do not take the mean error of weights on the samples"},
    {OPT_EQUALIZE, 0, "equalize", no_argument, MAKES, "even out the ranges of channels between layers"},
    {OPT_SMOOTH, 0, "smooth", optional_argument, MAKES, "[=SHARE]  move all channels' ranges into MatMul weights (default 0.5)"},
    {OPT_NO_SMOOTH, 0, "no-smooth", no_argument, MAKES, "not even those of very uneven channels"},
    {OPT_SAMPLES, 0, "samples", required_argument, MAKES, "N  take at most N samples (default 512)"},
    {OPT_ACCURACY_FLOOR, 0, "accuracy-floor", required_argument, MAKES, "X  fail where less remains: of right labels, or an output's cosine"},
    {OPT_MATH, 0, "math", required_argument, TARGETS, "default|fast  fast: larger rounding errors where that saves time"},
    {OPT_REQUANT, 0, "requant", required_argument, TARGETS, "float|fixed  how sums of bytes become bytes (default: the target's)"},
    {OPT_MIXED, 0, "mixed", no_argument, MAKES, "layers that lose most get 16 bits or stay float until the floor holds"},
    {OPT_NO_PRUNE_DEAD, 0, "no-prune-dead", no_argument, TARGETS, "keep channels that change nothing"},
    {OPT_HALF_WEIGHTS, 0, "half-weights", no_argument, TARGETS, "float16 and bfloat16 weights stay so: smaller, maybe slower"},
    {OPT_DUMP_AFTER, 0, "dump-after", required_argument, COMPILE | CHECK, "PASS  print the graph after a pass (or all)"},
    {OPT_DUMP_KERNELS, 0, "dump-kernels", no_argument, COMPILE | CHECK, "print the scheduled kernels"},
    {OPT_VERIFY_IR, 0, "verify-ir", no_argument, ALL, "check the invariants of the IR after every pass"},
    {OPT_QUIET, 'q', "quiet", no_argument, ALL, "no notes and warnings"},
    {OPT_HELP, 'h', "help", no_argument, ALL, "this text"},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* Of the verb of that name; 0 where there is none. */
static unsigned bit_named(const char *name) {
    static const struct {
        const char *name;
        unsigned bit;
    } verbs[] = {{"", COMPILE}, {"bench", BENCH}, {"check", CHECK}, {"quantize", QUANTIZE}, {"run", RUN}, {"tune", TUNE},
                 {"verify", VERIFY}};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(name, verbs[i].name))
            return verbs[i].bit;
    return 0;
}

static unsigned verb_bit(const Verb *v) { return bit_named(v->name); }

static void print_help(const Verb *v) {
    printf("Usage: mlcc %s%s%s\n%s\n\nOptions:\n", v->name, *v->name ? " " : "", v->usage, v->summary);
    for (int i = 0; i < ROWS; i++) {
        if (!(rows[i].verbs & verb_bit(v)))
            continue;
        char left[64], letter[8] = "   ";
        const char *help = rows[i].help, *text = strstr(help, "  ");
        int n = text ? (int)(text - help) : 0;
        if (rows[i].letter)
            snprintf(letter, sizeof letter, "-%c,", rows[i].letter);
        snprintf(left, sizeof left, " %s --%s%s%.*s", letter, rows[i].name,
                 n && rows[i].argument == required_argument ? " " : "", n, help);
        printf("%-32s %s\n", left, text ? text + 2 : help);
    }
    if (!*v->name)
        puts("\nVerbs: bench, check, quantize, run, tune, verify; each with --help.  mlcc --version prints the version.");
    puts("Exit status: 0 done, 1 the model failed, 2 usage.");
}

static int usage_error(const Verb *v, const char *what, const char *arg) {
    fprintf(stderr, "mlcc: error: %s%s%s; see mlcc %s%s--help\n", what, arg ? " " : "", arg ? arg : "", v->name,
            *v->name ? " " : "");
    return EXIT_USAGE;
}

static bool add_dim(Options *o, const char *text) {
    const char *eq = strrchr(text, '=');
    if (!eq || eq == text)
        return false;
    char *end;
    errno = 0;
    long long size = strtoll(eq + 1, &end, 10);
    if (errno || end == eq + 1 || *end || size < 0)
        return false;
    DimBinding *more = realloc(o->dims, (size_t)(o->n_dims + 1) * sizeof *more);
    if (!more)
        return false;
    more[o->n_dims++] = (DimBinding){strndup(text, (size_t)(eq - text)), size};
    o->dims = more;
    return true;
}

static bool positive(const char *text, double *x) {
    char *end;
    *x = strtod(text, &end);
    return end != text && !*end && *x > 0 && *x <= 1e6;
}

static bool count(const char *text, int most, int *n) {
    char *end;
    long x = strtol(text, &end, 10);
    *n = (int)x;
    return end != text && !*end && x >= 1 && x <= most;
}

static bool choose(const char *text, const char *const *names, int *out) {
    for (int i = 0; names[i]; i++) {
        if (!strcmp(text, names[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

static const char *const weight_names[] = {"int8", "int4", "float16", "bfloat16", NULL};
static const DType weight_types[] = {DT_I8, DT_I4, DT_F16, DT_BF16};

enum { FIRST_FLOAT = 2 };

static bool set_small_type(Options *o, const char *type, QuantizeKind kind, int first) {
    int k;
    if (!choose(type, weight_names + first, &k))
        return false;
    o->quantize = kind;
    o->weight_type = weight_types[first + k];
    return true;
}

static bool set_weights_only(Options *o, const char *type) { return set_small_type(o, type, QUANTIZE_WEIGHTS, 0); }

static bool set_floats(Options *o, const char *type) { return set_small_type(o, type, QUANTIZE_FLOATS, FIRST_FLOAT); }

const char *options_quantize_name(const Options *o) {
    int k = 0;
    if (o->quantize == QUANTIZE_FLOATS)
        return o->weight_type == DT_F16 ? "all-float16" : "all-bfloat16";
    if (o->quantize != QUANTIZE_WEIGHTS)
        return o->quantize == QUANTIZE_STATIC ? "static" : "dynamic";
    while (weight_types[k] != o->weight_type)
        k++;
    return weight_names[k];
}

static bool set_quantize(Options *o, const char *kind) {
    static const char *const names[] = {"static", "dynamic", NULL};
    static const QuantizeKind kinds[] = {QUANTIZE_STATIC, QUANTIZE_DYNAMIC};
    int k;
    if (!strncmp(kind, "all-", strlen("all-")))
        return set_floats(o, kind + strlen("all-"));
    if (!choose(kind, names, &k))
        return set_weights_only(o, kind);
    o->quantize = kinds[k];
    return true;
}

/* Options whose argument is one of some words. */
static const struct {
    int id;
    const char *word[5];
} choices[] = {
    {OPT_WEIGHTS, {"c", "incbin", "bin"}},
    {OPT_MATH, {"default", "fast"}},
    {OPT_REQUANT, {"float", "fixed"}},
    {OPT_VIA, {"c", "object", "jit"}},
    {OPT_METHOD, {"minmax", "percentile", "entropy", "mse"}},
    {OPT_ACTIVATIONS, {"uint8", "int8"}},
    {OPT_ROUNDING, {"errors", "nearest"}},
};

static bool set_choice(Options *o, int id, const char *arg) {
    int row = 0, k;
    while (choices[row].id != id)
        row++;
    if (!choose(arg, choices[row].word, &k))
        return false;
    switch (id) {
    case OPT_WEIGHTS: o->weights = (WeightsMode)k; break;
    case OPT_MATH: o->fast_math = k == 1; break;
    case OPT_REQUANT: o->requant = k ? REQUANT_FIXED : REQUANT_FLOAT; break;
    case OPT_VIA: o->via = (VerifyVia)k; break;
    case OPT_METHOD: o->method = (CalibrationMethod)k; break;
    case OPT_ACTIVATIONS: o->activations = k ? DT_I8 : DT_U8; break;
    case OPT_ROUNDING: o->plain_rounding = k == 1; break;
    default: break;
    }
    return true;
}

static bool set(Options *o, int id, const char *arg) {
    switch (id) {
    case OPT_OUTPUT: o->output = arg; break;
    case OPT_TARGET: o->target = arg; o->target_given = true; break;
    case OPT_DIM: return add_dim(o, arg);
    case OPT_PREFIX: o->prefix = arg; break;
    case OPT_WEIGHTS_SECTION: o->weights_section = arg; break;
    case OPT_NO_PRUNE_DEAD: o->keep_dead = true; break;
    case OPT_HALF_WEIGHTS: o->half_weights = true; break;
    case OPT_STATIC_ARENA: o->static_arena = true; break;
    case OPT_THREADS: return count(arg, MOST_THREADS, &o->threads);
    case OPT_MAIN:
        if (arg && strcmp(arg, "embedded") && strcmp(arg, "host"))
            return false;
        o->main = arg && !strcmp(arg, "embedded") ? MAIN_EMBEDDED : MAIN_HOST;
        break;
    case OPT_TEST_DATA: o->test_data = arg; break;
    case OPT_MD: o->depfile = true; break;
    case OPT_MF: o->depfile = true, o->depfile_name = arg; break;
    case OPT_MT: o->depfile_target = arg; break;
    case OPT_JSON: o->json = true; break;
    case OPT_LIST_OPERATORS: o->list_operators = true; break;
    case OPT_SECONDS: return positive(arg, &o->seconds);
    case OPT_OUT: o->out_dir = arg; break;
    case OPT_CALIBRATE: o->calibrate = arg; break;
    case OPT_SAMPLES: return count(arg, MOST_SAMPLES, &o->samples);
    case OPT_MIXED: o->mixed = true; break;
    case OPT_QUANTIZE: return set_quantize(o, arg);
    case OPT_DYNAMIC: return set_quantize(o, "dynamic");
    case OPT_FLOATS: return set_floats(o, arg);
    case OPT_WEIGHTS_ONLY: return set_weights_only(o, arg);
    case OPT_BLOCK: return count(arg, MOST_BLOCK, &o->block) && o->block >= LEAST_BLOCK && !(o->block & (o->block - 1));
    case OPT_NO_CORRECT_BIAS: o->keep_bias = true; break;
    case OPT_EQUALIZE: o->equalize = true; break;
    case OPT_SMOOTH: o->smooth = 0.5; return !arg || (positive(arg, &o->smooth) && o->smooth < 1);
    case OPT_NO_SMOOTH: o->keep_uneven = true; break;
    case OPT_DATA: o->data = arg; break;
    case OPT_ACCURACY_FLOOR: return positive(arg, &o->accuracy_floor) && o->accuracy_floor <= 1;
    case OPT_RUN: o->run_command = arg; break;
    case OPT_CC: o->cc = arg; break;
    case OPT_TUNING: o->tuning = arg; break;
    case OPT_DUMP_AFTER:
        o->dump_after = arg;
        return !strcmp(arg, "all") || passes_has(arg);
    case OPT_DUMP_KERNELS: o->dump_kernels = true; break;
    case OPT_VERIFY_IR: o->verify_ir = true; break;
    case OPT_QUIET: o->quiet = true; break;
    default: return set_choice(o, id, arg);
    }
    return true;
}

/* -MD, -MF FILE and -MT NAME are spelled with one dash by every compiler; getopt_long wants two. */
static void spell_like_compilers(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-MD"))
            argv[i] = (char *)(uintptr_t) "--MD";
        else if (!strcmp(argv[i], "-MF"))
            argv[i] = (char *)(uintptr_t) "--MF";
        else if (!strcmp(argv[i], "-MT"))
            argv[i] = (char *)(uintptr_t) "--MT";
    }
}

typedef struct Accepted {
    struct option longs[ROWS + 1];
    char shorts[3 * ROWS + 2];
} Accepted;

static Accepted accepted_by(const Verb *verb) {
    Accepted a = {.shorts = ":"}; /* getopt_long tells an argument that is missing from an unknown option */
    unsigned bits = verb_bit(verb) == COMPILE ? COMPILE | WITH_QUANTIZE : verb_bit(verb);
    int n = 0, s = 1;
    for (int i = 0; i < ROWS; i++) {
        if (!(rows[i].verbs & bits))
            continue;
        a.longs[n++] = (struct option){rows[i].name, rows[i].argument, NULL, rows[i].id};
        if (rows[i].letter) {
            a.shorts[s++] = rows[i].letter;
            if (rows[i].argument == required_argument)
                a.shorts[s++] = ':';
        }
    }
    return a;
}

static int take_operands(const Verb *verb, int n, char **operand, Options *o) {
    o->operand = operand;
    o->n_operands = n;
    if (o->list_operators)
        return -1;
    if (n < verb->min_operands)
        return usage_error(verb, !strcmp(verb->name, "verify") ? "no test case given" : "no model given", NULL);
    if (n > 1 && verb_bit(verb) == COMPILE && bit_named(operand[0]))
        return usage_error(verb, "a verb stands before the options:", operand[0]);
    if (verb->max_operands >= 0 && n > verb->max_operands)
        return usage_error(verb, "one operand too many:", operand[verb->max_operands]);
    return -1;
}

int options_parse(const Verb *verb, int argc, char **argv, Options *o) {
    unsigned measures = verb_bit(verb) & (BENCH | TUNE);
    *o = (Options){.target = measures ? "native" : "generic", .seconds = measures == TUNE ? 60 : 2, .activations = DT_U8,
                   .samples = 512};
    const Accepted accepted = accepted_by(verb);
    const char *needs_quantize = NULL;
    spell_like_compilers(argc, argv);
    optind = 1;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, accepted.shorts, accepted.longs, NULL)) != -1;) {
        if (c == '?' || c == ':') {
            char letter[] = {'-', (char)optopt, '\0'};
            bool is_short = optopt > 0 && optopt < OPT_OUTPUT;
            return usage_error(verb, c == ':' ? "no argument after" : "bad option", is_short ? letter : argv[optind - 1]);
        }
        const struct Row *row = rows;
        while (row->id != c && row->letter != c)
            row++;
        if (row->id == OPT_HELP) {
            print_help(verb);
            return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
        }
        if (!(row->verbs & verb_bit(verb)))
            needs_quantize = row->name;
        if (!set(o, row->id, optarg)) {
            char what[64];
            snprintf(what, sizeof what, "--%s does not take", row->name);
            return usage_error(verb, what, optarg);
        }
    }
    if (o->quantize == QUANTIZE_NOT && needs_quantize)
        return usage_error(verb, "only with --quantize:", needs_quantize);
    if (o->quantize == QUANTIZE_NOT && verb_bit(verb) == QUANTIZE)
        o->quantize = QUANTIZE_STATIC;
    if (!o->block)
        o->block = o->weight_type == DT_I4 ? 32 : 128;
    return take_operands(verb, argc - optind, argv + optind, o);
}
