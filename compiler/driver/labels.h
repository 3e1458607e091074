/* SPDX-License-Identifier: Apache-2.0 */
/* Right answers of classifiers. */
#ifndef MLCC_DRIVER_LABELS_H
#define MLCC_DRIVER_LABELS_H

#include "driver/tensor_file.h"

/* Classes, one for each row of a model's first output, sample after sample. */
typedef struct Labels {
    int64_t n;
    const int64_t *label; /* NULL: there are none */
} Labels;

/* The array "labels", "label" or "y" of a .npz file, if it has one: class numbers, of integers or whole floating numbers.
 * False after a diagnostic. */
bool labels_read(Arena *a, Diag *d, const char *path, Labels *out);

/* How often the right class was the largest, and among the five largest. */
typedef struct Score {
    int64_t first, among_five;
} Score;

typedef struct Scores {
    int64_t n, classes;
    Score want, got; /* of the float model and of the quantised one */
} Scores;

/* Output of one run: rows of classes, whose labels start at label[0]. Returns the number of rows; -1 where a label is no
 * class. */
int64_t labels_score(const Tensor *output, const int64_t *label, int64_t left, Score *s);

#endif
