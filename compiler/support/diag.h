/* SPDX-License-Identifier: Apache-2.0 */
/* Diagnostics: errors are values that carry a place and end in one printer.
 *
 *     model.onnx: error: node "conv1" (Conv): attribute "group": 3 does not divide 16 channels; …
 *
 * A function that fails by the user's fault reports here and returns false or NULL; callers only pass it on. */
#ifndef MLCC_SUPPORT_DIAG_H
#define MLCC_SUPPORT_DIAG_H

#include <stdbool.h>
#include <stdio.h>

typedef struct Diag {
    FILE *stream;     /* where to print; NULL keeps silent (counts only) */
    const char *file; /* the model's path, NULL for mlcc's own matters */
    int errors, warnings;
    bool quiet; /* suppress notes and warnings */
} Diag;

/* A place inside the model; either may be NULL. */
typedef struct Place {
    const char *node; /* the node's name, or its first output's when it has none */
    const char *op;   /* the operator's name, with its domain where that is not ai.onnx */
} Place;

void diag_error(Diag *d, Place at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_warning(Diag *d, Place at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diag *d, Place at, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define NOWHERE ((Place){NULL, NULL})

#endif
