/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc run: executes a model on files, through the JIT. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/execute.h"

static void print_tensor(const char *name, const Tensor *t) {
    printf("%s %s[", name, dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        printf("%s%lld", i ? "," : "", (long long)t->dim[i]);
    printf("]");
    for (int64_t i = 0; i < t->count && i < 100; i++)
        printf(" %.9g", tensor_at(t, i));
    puts(t->count > 100 ? " ..." : "");
}

static bool deliver(Arena *a, Diag *d, const Options *o, const KModule *m, int n, const Tensor *result) {
    if (o->out_dir && mkdir(o->out_dir, 0777) < 0 && errno != EEXIST) {
        diag_error(d, NOWHERE, "cannot make \"%s\": %s", o->out_dir, strerror(errno));
        return false;
    }
    int k = 0;
    for (int i = 0; i < m->buffers.len && k < n; i++) {
        if (m->buffers.data[i]->kind != KBUF_OUTPUT)
            continue;
        if (!o->out_dir)
            print_tensor(m->buffers.data[i]->onnx_name, &result[k]);
        else if (!tensor_write_npy(d, arena_printf(a, "%s/output_%d.npy", o->out_dir, k), &result[k]))
            return false;
        k++;
    }
    return fflush(stdout) == 0;
}

int verb_run(const Options *o) {
    const char *path = o->operand[0];
    Diag d = {.stream = stderr, .file = path, .quiet = o->quiet};
    Compilation c = {0};
    Arena *a = arena_new();
    const Target *target = jit_native_target(a);
    KModule *m = pipeline_open(&c, &d, o, path, target) ? pipeline_lower(&c, target) : NULL;
    Tensor *input = m ? execute_read_inputs(a, &d, m, o->n_operands - 1, o->operand + 1) : NULL;
    Jit *jit = input ? jit_compile(&d, m, JIT_FAST) : NULL;
    int n_outputs = 0;
    Tensor *result = jit ? execute_jit(a, &d, m, jit, input, &n_outputs) : NULL;
    bool ok = result && deliver(a, &d, o, m, n_outputs, result);
    jit_free(jit);
    pipeline_close(&c);
    arena_free(a);
    return ok ? EXIT_DONE : EXIT_FAILED;
}
