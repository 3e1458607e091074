/* SPDX-License-Identifier: Apache-2.0 */
/* Finding samples in folders and archives, and cutting arrays into them. */
#define _POSIX_C_SOURCE 200809L
#include "driver/samples.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "driver/execute.h"
#include "driver/npz.h"

typedef VEC(Tensor) Tensors;

typedef struct Reader {
    Arena *arena;
    Diag *diag;
    const KModule *module;
    int n_inputs;
    const KBuffer **input;
    int most;
    int left_out; /* sets for other shapes, */
    Tensors misfit; /* the first of them */
    Samples *out;
} Reader;

/* --- arrays into samples --- */

/* How many samples an array holds; 0: it does not fit. */
static int64_t samples_in(const Tensor *t, const KBuffer *b) {
    if (t->rank == b->rank && (!b->rank || !memcmp(t->dim, b->dim, (size_t)b->rank * sizeof *b->dim)))
        return 1;
    if (t->rank == b->rank + 1 && (!b->rank || !memcmp(t->dim + 1, b->dim, (size_t)b->rank * sizeof *b->dim)))
        return t->dim[0];
    if (t->rank != b->rank || !b->rank || !b->dim[0] || t->dim[0] % b->dim[0] ||
        (b->rank > 1 && memcmp(t->dim + 1, b->dim + 1, (size_t)(b->rank - 1) * sizeof *b->dim)))
        return 0;
    return t->dim[0] / b->dim[0];
}

/* Sample k; floating numbers of another width are converted. */
static Tensor sample_of(Arena *a, const Tensor *t, const KBuffer *b, int64_t k) {
    Tensor s = {b->dtype, b->rank, arena_dup(a, b->dim, (size_t)b->rank * sizeof *b->dim), b->count, NULL};
    size_t size = (size_t)kbuffer_bytes(b);
    if (t->dtype == b->dtype) {
        s.bytes = arena_dup(a, (const char *)t->bytes + (size_t)k * size, size);
        return s;
    }
    s.bytes = arena_alloc(a, size + 1);
    for (int64_t i = 0; i < b->count; i++) {
        double x = tensor_at(t, k * b->count + i);
        if (b->dtype == DT_F64)
            ((double *)s.bytes)[i] = x;
        else
            ((float *)s.bytes)[i] = (float)x;
    }
    return s;
}

static bool can_convert(DType from, DType to) {
    return from == to || (dtype_is_float(from) && (to == DT_F32 || to == DT_F64));
}

static bool cut(Reader *r, const char *from, const Tensor *t, int input, Tensors *out) {
    const KBuffer *b = r->input[input];
    int64_t n = samples_in(t, b);
    if (!n || !can_convert(t->dtype, b->dtype)) {
        execute_report_misfit(r->diag, input, b, arena_printf(r->arena, "\"%s\"", from), t);
        return false;
    }
    for (int64_t k = 0; k < n && out->len < r->most; k++)
        VEC_PUSH(r->arena, out, sample_of(r->arena, t, b, k));
    return true;
}

static void add_sample(Reader *r, const Tensor *input) {
    VEC_PUSH(r->arena, &r->out->list, arena_dup(r->arena, input, (size_t)r->n_inputs * sizeof *input));
}

static bool add_array(Reader *r, const char *path) {
    Tensor t;
    Tensors samples = {0};
    if (r->n_inputs != 1) {
        diag_error(r->diag, NOWHERE, "the model has %d inputs; a .npz file or test_data_set_<k> folders can hold them",
                   r->n_inputs);
        return false;
    }
    if (!tensor_read_file(r->arena, r->diag, path, &t) || !cut(r, path, &t, 0, &samples))
        return false;
    for (int k = 0; k < samples.len && r->out->list.len < r->most; k++)
        add_sample(r, &samples.data[k]);
    return true;
}

/* --- folders --- */

static bool add_set(Reader *r, const char *folder) {
    Tensors input = {0};
    const char *path = NULL;
    for (int j = 0; (path = tensor_in_folder(r->arena, folder, "input", j)); j++) {
        Tensor t;
        if (!tensor_read_file(r->arena, r->diag, path, &t))
            return false;
        VEC_PUSH(r->arena, &input, t);
    }
    Diag silent = {0};
    if (execute_inputs_fit(&silent, r->module, input.len, input.data))
        add_sample(r, input.data);
    else if (!r->left_out++)
        r->misfit = input;
    return true;
}

/* Cases of models with symbolic dimensions may be of several sizes; one set at least must fit. */
static bool sets_fit(Reader *r) {
    if (r->left_out && !r->out->list.len)
        return execute_inputs_fit(r->diag, r->module, r->misfit.len, r->misfit.data);
    if (r->left_out)
        diag_warning(r->diag, NOWHERE, "%d of %d data sets are for other shapes", r->left_out, r->left_out + r->out->list.len);
    return true;
}

static int by_name(const void *x, const void *y) { return strcmp(*(char *const *)x, *(char *const *)y); }

static bool add_arrays_of(Reader *r, const char *folder) {
    VEC(char *) names = {0};
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        if (file_has_suffix(e->d_name, ".npy"))
            VEC_PUSH(r->arena, &names, arena_printf(r->arena, "%s/%s", folder, e->d_name));
    if (dir)
        closedir(dir);
    if (names.len)
        qsort(names.data, (size_t)names.len, sizeof *names.data, by_name);
    for (int i = 0; i < names.len && r->out->list.len < r->most; i++)
        if (!add_array(r, names.data[i]))
            return false;
    return true;
}

static bool read_folder(Reader *r, const char *folder) {
    if (tensor_in_folder(r->arena, folder, "input", 0))
        return add_set(r, folder) && sets_fit(r);
    if (!file_exists(arena_printf(r->arena, "%s/test_data_set_0", folder)))
        return add_arrays_of(r, folder);
    for (int k = 0; r->out->list.len < r->most; k++) {
        const char *set = arena_printf(r->arena, "%s/test_data_set_%d", folder, k);
        if (!file_exists(set))
            break;
        if (!add_set(r, set))
            return false;
    }
    return sets_fit(r);
}

/* --- archives --- */

static const Tensor *array_for(Reader *r, const Npz *z, int input) {
    const char *names[] = {r->input[input]->onnx_name, arena_printf(r->arena, "input_%d", input),
                           arena_printf(r->arena, "arr_%d", input)};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (int i = 0; i < z->arrays.len; i++)
            if (!strcmp(z->arrays.data[i].name, names[k]))
                return &z->arrays.data[i].tensor;
    return r->n_inputs == 1 && z->arrays.len == 1 ? &z->arrays.data[0].tensor : NULL;
}

static bool read_archive(Reader *r, const char *path) {
    Npz z;
    Tensors *of = ARENA_ARRAY(r->arena, Tensors, r->n_inputs + 1);
    if (!npz_read(r->arena, r->diag, path, &z))
        return false;
    for (int j = 0; j < r->n_inputs; j++) {
        const Tensor *t = array_for(r, &z, j);
        if (!t)
            diag_error(r->diag, NOWHERE, "\"%s\" holds no array for input %d (\"%s\")", path, j, r->input[j]->onnx_name);
        if (!t || !cut(r, path, t, j, &of[j]))
            return false;
        if (of[j].len == of[0].len)
            continue;
        diag_error(r->diag, NOWHERE, "\"%s\" holds %d samples of input 0 and %d of input %d", path, of[0].len, of[j].len, j);
        return false;
    }
    Tensor *input = ARENA_ARRAY(r->arena, Tensor, r->n_inputs + 1);
    for (int k = 0; r->n_inputs && k < of[0].len; k++) {
        for (int j = 0; j < r->n_inputs; j++)
            input[j] = of[j].data[k];
        add_sample(r, input);
    }
    return true;
}

bool samples_read(Arena *a, Diag *d, const KModule *m, const char *path, int most, Samples *out) {
    Reader r = {.arena = a, .diag = d, .module = m, .most = most, .out = out};
    *out = (Samples){0};
    r.input = ARENA_ARRAY(a, const KBuffer *, m->buffers.len + 1);
    for (int i = 0; i < m->buffers.len && m->buffers.data[i]->kind == KBUF_INPUT; i++)
        r.input[r.n_inputs++] = m->buffers.data[i];
    bool ok = file_is_folder(path)            ? read_folder(&r, path)
              : file_has_suffix(path, ".npz") ? read_archive(&r, path)
                                              : add_array(&r, path);
    if (ok && !out->list.len)
        diag_error(d, NOWHERE, "\"%s\" holds no samples: no test_data_set_0, no .npy file", path);
    return ok && out->list.len;
}
