/* SPDX-License-Identifier: Apache-2.0 */
/* Right answers of classifiers, and how many a model gives. */
#include "driver/labels.h"

#include <string.h>

#include "driver/npz.h"

enum { FEW = 5 };

static const NpzArray *find(const Npz *z) {
    static const char *const names[] = {"labels", "label", "y"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (int i = 0; i < z->arrays.len; i++)
            if (!strcmp(z->arrays.data[i].name, names[k]))
                return &z->arrays.data[i];
    return NULL;
}

bool labels_read(Arena *a, Diag *d, const char *path, Labels *out) {
    Npz z;
    *out = (Labels){0, NULL};
    if (!file_has_suffix(path, ".npz"))
        return true;
    if (!npz_read(a, d, path, &z))
        return false;
    const NpzArray *array = find(&z);
    if (!array)
        return true;
    const Tensor *t = &array->tensor;
    int64_t *label = ARENA_ARRAY(a, int64_t, t->count + 1);
    for (int64_t i = 0; i < t->count; i++) {
        double x = tensor_at(t, i);
        if (!(x >= 0 && x <= 1e9) || x != (double)(int64_t)x) {
            diag_error(d, NOWHERE, "\"%s\", %s: element %lld, %g, is no class number", path, array->name, (long long)i, x);
            return false;
        }
        label[i] = (int64_t)x;
    }
    *out = (Labels){t->count, label};
    return true;
}

int64_t labels_score(const Tensor *output, const int64_t *label, int64_t left, Score *s) {
    int64_t classes = output->rank ? output->dim[output->rank - 1] : 1, rows = classes ? output->count / classes : 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t above = 0;
        if (r >= left || label[r] >= classes)
            return -1;
        double own = tensor_at(output, r * classes + label[r]);
        for (int64_t c = 0; c < classes; c++) {
            double x = tensor_at(output, r * classes + c);
            above += x > own || (x == own && c < label[r]); /* the first of equals wins, as in argmax */
        }
        s->first += above == 0;
        s->among_five += above < FEW;
    }
    return rows;
}
