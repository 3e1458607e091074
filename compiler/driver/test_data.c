/* SPDX-License-Identifier: Apache-2.0 */
/* Reading test cases and comparing tensors. */
#include "driver/test_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/execute.h"
#include "support/file.h"

static bool read_kind(Arena *a, Diag *d, const char *folder, const char *kind, int *n, Tensor **out) {
    int count = 0;
    while (tensor_in_folder(a, folder, kind, count))
        count++;
    *n = count;
    *out = ARENA_ARRAY(a, Tensor, count + 1);
    for (int j = 0; j < count; j++)
        if (!tensor_read_file(a, d, tensor_in_folder(a, folder, kind, j), &(*out)[j]))
            return false;
    return true;
}

static bool outputs_fit(Diag *d, const KModule *m, const TestSet *s) {
    int declared = 0;
    for (int i = 0; i < m->buffers.len; i++)
        declared += m->buffers.data[i]->kind == KBUF_OUTPUT;
    if (declared != s->n_outputs)
        diag_error(d, NOWHERE, "\"%s\" holds %d outputs; the model has %d", s->folder, s->n_outputs, declared);
    return declared == s->n_outputs;
}

static TestVector vector_of(Arena *a, const TestSet *s) {
    const void **in = ARENA_ARRAY(a, const void *, s->n_inputs + 1), **out = ARENA_ARRAY(a, const void *, s->n_outputs + 1);
    for (int i = 0; i < s->n_inputs; i++)
        in[i] = s->input[i].bytes;
    for (int i = 0; i < s->n_outputs; i++)
        out[i] = s->output[i].bytes;
    return (TestVector){in, out};
}

static void read_tolerance(Arena *a, const char *folder, TestData *out) {
    out->rtol = 1e-3;
    out->atol = 1e-7;
    const char *path = arena_printf(a, "%s/tolerance.txt", folder);
    Diag silent = {0};
    char *text = file_exists(path) ? file_read_text(&silent, path) : NULL;
    if (text)
        sscanf(text, "%lf %lf", &out->rtol, &out->atol);
    free(text);
}

bool test_data_read(Arena *a, Diag *d, const KModule *m, const char *folder, bool approximate, TestData *out) {
    *out = (TestData){0};
    VEC(TestSet) sets = {0};
    for (int k = 0;; k++) {
        const char *set = arena_printf(a, "%s/test_data_set_%d", folder, k);
        if (!file_exists(set)) {
            if (k || !tensor_in_folder(a, folder, "output", 0))
                break;
            set = folder;
        }
        VEC_PUSH(a, &sets, ((TestSet){.folder = set}));
        if (set == folder)
            break;
    }
    if (!sets.len) {
        diag_error(d, NOWHERE, "\"%s\" has no test_data_set_0", folder);
        return false;
    }
    out->n = sets.len;
    out->set = sets.data;
    out->vectors = ARENA_ARRAY(a, TestVector, sets.len);
    for (int k = 0; k < sets.len; k++) {
        TestSet *s = &sets.data[k];
        if (!read_kind(a, d, s->folder, "input", &s->n_inputs, &s->input) ||
            !read_kind(a, d, s->folder, "output", &s->n_outputs, &s->output) ||
            !execute_inputs_fit(d, m, s->n_inputs, s->input) || !outputs_fit(d, m, s))
            return false;
        out->vectors[k] = vector_of(a, s);
    }
    read_tolerance(a, folder, out);
    out->rtol *= approximate ? 10 : 1;
    out->atol *= approximate ? 10 : 1;
    return true;
}

bool tensor_close(const Tensor *got, const Tensor *want, double rtol, double atol, double *worst) {
    *worst = INFINITY;
    if (got->dtype != want->dtype || got->rank != want->rank || got->count != want->count)
        return false;
    for (int i = 0; i < got->rank; i++)
        if (got->dim[i] != want->dim[i])
            return false;
    double largest = 0, off = 0;
    if (want->count && !memcmp(got->bytes, want->bytes, (size_t)want->count * (size_t)dtype_size(want->dtype))) {
        *worst = 0;
        return true;
    }
    for (int64_t i = 0; i < want->count; i++) {
        double w = fabs(tensor_at(want, i));
        if (isfinite(w) && w > largest)
            largest = w;
    }
    for (int64_t i = 0; i < want->count; i++) {
        double g = tensor_at(got, i), w = tensor_at(want, i);
        if (isnan(g) && isnan(w))
            continue;
        double difference = g == w ? 0 : fabs(g - w);
        if (!(difference <= off))
            off = isnan(difference) ? INFINITY : difference;
    }
    double bound = atol + rtol * largest;
    *worst = off == 0 ? 0 : bound > 0 ? off / bound : INFINITY;
    return *worst <= 1;
}
