/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc: compiles ONNX models to C or machine code. Finds the verb; the rest is in driver/. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/options.h"
#include "driver/version.h"

static const Verb verbs[] = {
    {"", "[options] MODEL.onnx -o FILE", "Compile a model to C (FILE.c and FILE.h) or to machine code (.o .s .ll).", 1, 1,
     verb_compile},
    {"bench", "[options] MODEL.onnx [INPUT.npy|.pb]...", "Measure a model on this machine, kernel by kernel.", 1, -1, verb_bench},
    {"check", "[options] MODEL.onnx", "Report whether mlcc supports a model, and what it will cost.", 1, 1, verb_check},
    {"quantize", "[options] MODEL.onnx -o FILE.onnx",
     "Write a model of small weights, by default with 8-bit activations too (which needs --calibrate).", 1, 1, verb_quantize},
    {"run", "[options] MODEL.onnx [INPUT.npy|.pb]...", "Execute a model on this machine.", 1, -1, verb_run},
    {"tune", "[options] MODEL.onnx -o FILE.json", "Measure schedules of a model's kernels; write those that are faster.", 1, 1, verb_tune},
    {"verify", "[options] CASE_DIR...", "Compile, build and run ONNX test cases; compare with their stored outputs.", 1, -1,
     verb_verify},
};

int main(int argc, char **argv) {
    signal(SIGXFSZ, SIG_IGN); /* a file that outgrows a limit is a failed write like others */
    const Verb *verb = &verbs[0];
    if (argc > 1 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
        puts("mlcc " MLCC_VERSION);
        return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
    }
    for (size_t i = 1; argc > 1 && i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(argv[1], verbs[i].name))
            verb = &verbs[i];
    if (*verb->name) {
        argc--;
        argv++;
    }
    Options options;
    int status = options_parse(verb, argc, argv, &options);
    if (status < 0)
        status = verb->run(&options);
    for (int i = 0; i < options.n_dims; i++)
        free((char *)(uintptr_t)options.dims[i].name);
    free(options.dims);
    return status;
}
