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
    bool ok = m != NULL;
    if (ok) {
        int n = o->n_operands - 1, n_outputs = 0;
        Tensor *input = ARENA_ARRAY(a, Tensor, n + 1);
        for (int i = 0; ok && i < n; i++)
            ok = tensor_read_file(a, &d, o->operand[1 + i], &input[i]);
        ok = ok && execute_inputs_fit(&d, m, n, input);
        Jit *jit = ok ? jit_compile(&d, m, JIT_FAST) : NULL;
        Tensor *result = jit ? execute_jit(a, &d, m, jit, input, &n_outputs) : NULL;
        ok = result && deliver(a, &d, o, m, n_outputs, result);
        jit_free(jit);
    }
    pipeline_close(&c);
    arena_free(a);
    return ok ? EXIT_DONE : EXIT_FAILED;
}
