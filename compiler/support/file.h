/* SPDX-License-Identifier: Apache-2.0 */
/* Files: mapping inputs, and outputs that appear whole or not at all. */
#ifndef MLCC_SUPPORT_FILE_H
#define MLCC_SUPPORT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "support/diag.h"

/* A read-only mapping of a whole regular file; size 0 maps to a non-NULL pointer. */
typedef struct FileMap {
    const uint8_t *data;
    size_t size;
} FileMap;

bool file_map(Diag *d, const char *path, FileMap *out);
void file_unmap(FileMap *map);
/* Reads a small text file as a NUL-terminated string into malloc'ed memory; NULL after a diagnostic. */
char *file_read_text(Diag *d, const char *path);

bool file_exists(const char *path);
bool file_is_folder(const char *path);
bool file_is_same(const char *x, const char *y); /* both are there and one */
const char *file_name(const char *path); /* without folders */
bool file_has_suffix(const char *path, const char *suffix); /* and a name before it */

/* The outputs of one compilation. Each is written beside its place under a temporary name; outputs_commit renames all
 * of them, outputs_discard removes all of them, so that a failure leaves nothing behind. A path that is not a regular
 * file (/dev/stdout, a pipe) is written directly. */
typedef struct Outputs Outputs;
Outputs *outputs_new(Diag *d);
FILE *outputs_open(Outputs *o, const char *path);
bool outputs_commit(Outputs *o);
void outputs_discard(Outputs *o);

#endif
