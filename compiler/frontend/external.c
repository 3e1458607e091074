/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in other files: mapped read-only, found relative to the model's folder and never outside of it. */
#include <string.h>

#include "frontend/import.h"

/* Only the text of the path is judged: a symbolic link is the doing of whoever owns the folder. */
static bool leaves_folder(const char *path) {
    if (*path == '/' || *path == '\\' || strchr(path, ':'))
        return true;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/\\");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return true;
        p += n;
        p += *p != '\0';
    }
    return false;
}

static bool decimal(const char *s, uint64_t *out) {
    uint64_t x = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(x, 10u, &x) ||
            __builtin_add_overflow(x, (uint64_t)(*s - '0'), &x))
            return false;
    }
    *out = x;
    return true;
}

static const FileMap *map_once(Import *im, const char *location) {
    int folder = im->path ? (int)(file_name(im->path) - im->path) : 0;
    const char *path = arena_printf(im->arena, "%.*s%s", folder, folder ? im->path : "", location);
    for (int i = 0; i < im->files->list.len; i++)
        if (!strcmp(im->files->list.data[i].path, path))
            return &im->files->list.data[i].map;
    ModelFile f = {.path = path, .external = true};
    if (!file_map(im->diag, path, &f.map))
        return NULL;
    VEC_PUSH(im->arena, &im->files->list, f);
    return &im->files->list.data[im->files->list.len - 1].map;
}

bool external_read(Import *im, Place at, const char *what, const Onnx__TensorProto *t, size_t size, Data *out) {
    const char *location = NULL;
    uint64_t offset = 0, length = size;
    bool good = true;
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = text_or_empty(t->external_data[i]->key), *value = text_or_empty(t->external_data[i]->value);
        if (!strcmp(key, "location"))
            location = value;
        else if (!strcmp(key, "offset"))
            good = good && decimal(value, &offset);
        else if (!strcmp(key, "length"))
            good = good && decimal(value, &length);
    }
    if (!good || !location || !*location) {
        diag_error(im->diag, at, "%s: its external data has no location, or a malformed offset or length", what);
        return false;
    }
    if (leaves_folder(location)) {
        diag_error(im->diag, at, "%s: its external data \"%s\" is not inside the model's folder", what, location);
        return false;
    }
    if (length != size) {
        diag_error(im->diag, at, "%s: its external data has %llu bytes where its shape needs %zu", what,
                   (unsigned long long)length, size);
        return false;
    }
    const FileMap *map = map_once(im, location);
    if (!map)
        return false;
    if (offset > map->size || size > map->size - offset) {
        diag_error(im->diag, at, "%s: its external data \"%s\" ends at byte %zu, before %llu + %zu", what, location,
                   map->size, (unsigned long long)offset, size);
        return false;
    }
    *out = (Data){map->data + offset, size};
    return true;
}
