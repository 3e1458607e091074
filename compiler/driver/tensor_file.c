/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing tensors. */
#include "driver/tensor_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "support/file.h"

static const struct {
    DType dtype;
    const char *descr;
} npy_types[] = {
    {DT_F32, "<f4"}, {DT_F64, "<f8"}, {DT_F16, "<f2"}, {DT_I8, "|i1"},  {DT_U8, "|u1"},  {DT_I16, "<i2"},
    {DT_U16, "<u2"}, {DT_I32, "<i4"}, {DT_U32, "<u4"}, {DT_I64, "<i8"}, {DT_U64, "<u8"}, {DT_BOOL, "|b1"},
    {DT_BF16, "<V2"},
};

/* The text after 'key': in the header's Python dictionary, or NULL. */
static const char *npy_field(const char *header, const char *key) {
    const char *p = strstr(header, key);
    if (!p)
        return NULL;
    p += strlen(key);
    while (*p == '\'' || *p == '"' || *p == ':' || *p == ' ')
        p++;
    return p;
}

static bool npy_shape(Arena *a, const char *p, Tensor *t) {
    int64_t dim[GRAPH_MAX_RANK];
    t->rank = 0;
    for (;;) {
        while (*p == ',' || *p == ' ')
            p++;
        if (*p == ')')
            break;
        char *end;
        errno = 0;
        long long n = strtoll(p, &end, 10);
        if (end == p || errno || n < 0 || t->rank == GRAPH_MAX_RANK)
            return false;
        dim[t->rank++] = n;
        p = *end == 'L' ? end + 1 : end;
    }
    t->dim = arena_dup(a, dim, (size_t)t->rank * sizeof *dim);
    return dims_count(t->rank, dim, &t->count);
}

const char tensor_npy_type[] = "its element type is none that mlcc reads";

const char *tensor_parse_npy(Arena *a, const FileMap *map, Tensor *t) {
    if (map->size < 12 || memcmp(map->data, "\x93NUMPY", 6))
        return "it is not a .npy file";
    size_t length = map->data[8] | (size_t)map->data[9] << 8, start = 10;
    if (map->data[6] >= 2) {
        length |= (size_t)map->data[10] << 16 | (size_t)map->data[11] << 24;
        start = 12;
    }
    if (length > map->size - start)
        return "its header is cut off";
    const char *header = arena_strndup(a, (const char *)map->data + start, length);
    const char *descr = npy_field(header, "descr"), *order = npy_field(header, "fortran_order");
    const char *shape = strchr(header, '(');
    if (!descr || !order || !shape)
        return "its header lacks descr, fortran_order or shape";
    t->dtype = DT_NONE;
    for (size_t i = 0; i < sizeof npy_types / sizeof *npy_types; i++)
        if (!strncmp(descr + (*descr == '=' || *descr == '|' || *descr == '<'), npy_types[i].descr + 1, 2))
            t->dtype = npy_types[i].dtype;
    if (t->dtype == DT_NONE || *descr == '>')
        return tensor_npy_type;
    if (!npy_shape(a, shape + 1, t))
        return "its shape is not valid";
    if (strncmp(order, "False", 5) && t->rank > 1)
        return "it is in Fortran order; save it with numpy.ascontiguousarray";
    size_t size = (size_t)t->count * (size_t)dtype_size(t->dtype);
    if (size != map->size - start - length)
        return "its size does not match its shape";
    t->bytes = arena_dup(a, map->data + start + length, size);
    return NULL;
}

bool tensor_read_file(Arena *a, Diag *d, const char *path, Tensor *out) {
    *out = (Tensor){0};
    if (file_has_suffix(path, ".pb")) {
        const Value *v = frontend_read_tensor(a, d, path);
        if (!v)
            return false;
        *out = (Tensor){dtype_stored(v->dtype), v->rank, v->dim, value_count(v), arena_dup(a, v->data.bytes, v->data.size)};
        return true;
    }
    FileMap map;
    if (!file_map(d, path, &map))
        return false;
    const char *why = tensor_parse_npy(a, &map, out);
    file_unmap(&map);
    if (why)
        diag_error(d, NOWHERE, "cannot read \"%s\": %s", path, why);
    return !why;
}

const char *tensor_in_folder(Arena *a, const char *folder, const char *kind, int j) {
    static const char *const suffix[] = {"pb", "npy"};
    for (int i = 0; i < 2; i++) {
        const char *path = arena_printf(a, "%s/%s_%d.%s", folder, kind, j, suffix[i]);
        if (file_exists(path))
            return path;
    }
    return NULL;
}

bool tensor_write_npy(Diag *d, const char *path, const Tensor *t) {
    StrBuf header = {0};
    const char *descr = NULL;
    for (size_t i = 0; i < sizeof npy_types / sizeof *npy_types; i++)
        if (npy_types[i].dtype == t->dtype)
            descr = npy_types[i].descr;
    sb_printf(&header, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < t->rank; i++)
        sb_printf(&header, "%lld%s", (long long)t->dim[i], t->rank == 1 ? "," : i + 1 < t->rank ? ", " : "");
    sb_puts(&header, "), }");
    while ((10 + header.len + 1) % 64)
        sb_putc(&header, ' ');
    sb_putc(&header, '\n');
    Outputs *o = outputs_new(d);
    FILE *f = outputs_open(o, path);
    if (f) {
        unsigned char magic[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(header.len & 255),
                                   (unsigned char)(header.len >> 8)};
        fwrite(magic, 1, sizeof magic, f);
        fwrite(header.data, 1, header.len, f);
        fwrite(t->bytes, (size_t)dtype_size(t->dtype), (size_t)t->count, f);
    }
    sb_free(&header);
    if (f)
        return outputs_commit(o);
    outputs_discard(o);
    return false;
}

double tensor_at(const Tensor *t, int64_t i) {
    Value v = {.dtype = t->dtype, .data = {t->bytes, 0}};
    return const_float(&v, i);
}
