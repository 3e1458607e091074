/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc quantize: a model into a quantised one. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>

#include "driver/quantize_job.h"

static bool write_file(const QuantizeJob *j) {
    Outputs *out = outputs_new(j->diag);
    FILE *f = outputs_open(out, j->o->output);
    if (!f) {
        outputs_discard(out);
        return false;
    }
    fwrite(j->bytes, 1, j->size, f);
    return outputs_commit(out);
}

static int usage(const char *what) {
    fprintf(stderr, "mlcc: error: %s; see mlcc quantize --help\n", what);
    return EXIT_USAGE;
}

int verb_quantize(const Options *o) {
    const char *misuse = quantize_misuse(o);
    if (!o->output)
        return usage("no output given: -o FILE.onnx");
    if (file_is_same(o->output, o->operand[0]))
        return usage("the output would overwrite the model");
    if (misuse)
        return usage(misuse);
    Diag d = {.stream = stderr, .file = o->operand[0], .quiet = o->quiet};
    QuantizeJob j;
    bool ok = quantize_model(&j, &d, o, stdout) && write_file(&j);
    quantize_end(&j);
    return ok && !fflush(stdout) ? EXIT_DONE : EXIT_FAILED;
}
