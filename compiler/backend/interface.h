/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the generated interface that C and machine code have in common. */
#ifndef MLCC_BACKEND_INTERFACE_H
#define MLCC_BACKEND_INTERFACE_H

#include "backend/emit.h"

/* "net" as "NET". */
const char *interface_upper(Arena *a, const char *prefix);
/* "int net_run(const float x[10], ..., void *arena)" */
const char *interface_prototype(Arena *a, const KModule *m, const EmitOptions *o);

/* The section of the constant with this name; NULL for the compiler's default. */
const char *interface_section(Arena *a, const EmitOptions *o, const char *name);

/* A constant's bytes in the order of its buffer, piece by piece. */
void interface_const_bytes(const KBuffer *b, void (*put)(void *to, const void *data, size_t n), void *to);
/* Where a constant lies in the weights file, and the file's size: constants in buffer order, each aligned to 64. */
int64_t interface_weights_offset(const KModule *m, const KBuffer *b);
int64_t interface_weights_size(const KModule *m);
/* The bytes of that file, piece by piece. */
void interface_weights_bytes(const KModule *m, void (*put)(void *to, const void *data, size_t n), void *to);
/* How many inputs, outputs … the module has. */
int interface_count(const KModule *m, KBufferKind kind);

#endif
