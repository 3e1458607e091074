/* SPDX-License-Identifier: Apache-2.0 */
/* TensorProto to elements: views into the mapped file wherever the bytes lie there as they should. */
#include <string.h>

#include "frontend/import.h"

enum { MAX_DENSE_BYTES = 1 << 30 }; /* of a sparse tensor made dense: a small file must not fill the memory */

static const char *onnx_type_name(int32_t t) {
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(&onnx__tensor_proto__data_type__descriptor, t);
    return v ? v->name : "unknown";
}

bool tensor_dims(Import *im, Place at, const char *what, size_t n, const int64_t *dim, Tensor *out) {
    if (n > GRAPH_MAX_RANK) {
        diag_error(im->diag, at, "%s has %zu dimensions; at most %d are supported", what, n, GRAPH_MAX_RANK);
        return false;
    }
    int64_t count;
    for (size_t i = 0; i < n; i++) {
        if (dim[i] < 0) {
            diag_error(im->diag, at, "%s: dimension %zu is negative (%lld)", what, i, (long long)dim[i]);
            return false;
        }
    }
    if (!dims_count((int)n, dim, &count)) {
        diag_error(im->diag, at, "%s has more elements than memory can hold", what);
        return false;
    }
    out->rank = (int)n;
    out->dim = n ? arena_dup(im->arena, dim, n * sizeof *dim) : NULL;
    return true;
}

static bool tensor_type(Import *im, Place at, const char *what, int32_t type, DType *out) {
    *out = dtype_from_onnx(type);
    if (*out != DT_NONE && *out != DT_STRING)
        return true;
    diag_error(im->diag, at, "%s has element type %s (%d), which is not supported", what, onnx_type_name(type), type);
    return false;
}

static bool wrong_size(Import *im, Place at, const char *what, uint64_t has, uint64_t needs, const char *unit) {
    diag_error(im->diag, at, "%s has %llu %s where its shape needs %llu", what, (unsigned long long)has, unit,
               (unsigned long long)needs);
    return false;
}

/* The field of TensorProto that holds elements of a type when raw_data does not. */
static WireData typed_field(DType t) {
    switch (t) {
    case DT_F32: return WIRE_FLOAT;
    case DT_F64: return WIRE_DOUBLE;
    case DT_I64: return WIRE_INT64;
    case DT_U32:
    case DT_U64: return WIRE_UINT64;
    default: return WIRE_INT32;
    }
}

typedef struct Elements {
    uint8_t *to;
    size_t size, done, count; /* bytes an element; elements */
    bool varints;
} Elements;

static bool decode_span(Elements *e, WireSpan in) {
    while (in.size) {
        uint64_t x = 0;
        if (e->varints) {
            if (!wire_varint(&in, &x))
                return false;
        } else {
            if (in.size < e->size)
                return false;
            memcpy(&x, in.data, e->size);
            in.data += e->size;
            in.size -= e->size;
        }
        if (e->done < e->count)
            memcpy(e->to + e->done * e->size, &x, e->size);
        e->done++;
    }
    return true;
}

/* Elements in a repeated field: packed in one piece or several, or one by one. */
static bool decode_field(Import *im, Place at, const char *what, const WireTensor *w, WireData field, size_t count,
                         size_t size, Data *out) {
    bool varints = field != WIRE_FLOAT && field != WIRE_DOUBLE;
    if (!varints && w->pieces[field] == 1 && w->packed[field].size == count * size) {
        *out = (Data){w->packed[field].data, count * size};
        return true;
    }
    if (count > w->message.size) /* an element takes at least a byte */
        return wrong_size(im, at, what, w->message.size, count, "bytes of elements");
    Elements e = {arena_alloc(im->arena, count * size), size, 0, count, varints};
    WireSpan rest = w->message;
    WireItem item;
    bool good = true;
    while (good && rest.size && wire_next(&rest, &item))
        if (item.id == wire_data_id(field))
            good = decode_span(&e, item.payload);
    if (!good) {
        diag_error(im->diag, at, "%s has malformed elements", what);
        return false;
    }
    *out = (Data){e.to, count * size};
    return e.done == count || wrong_size(im, at, what, e.done, count, "elements");
}

/* BOOL elements are 0 or 1 ever after. */
static void normalize_bool(Import *im, Data *data) {
    const uint8_t *p = data->bytes;
    size_t i = 0;
    while (i < data->size && p[i] <= 1)
        i++;
    if (i == data->size)
        return;
    uint8_t *q = arena_alloc(im->arena, data->size);
    for (i = 0; i < data->size; i++)
        q[i] = p[i] != 0;
    data->bytes = q;
}

/* Elements of a few bits, the first in the lowest, get a byte each. */
static void unpack(Import *im, DType t, size_t count, Data *data) {
    int width = dtype_width(t), each = 8 / width;
    const uint8_t *packed = data->bytes;
    uint8_t *q = arena_alloc(im->arena, count);
    for (size_t i = 0; i < count; i++) {
        unsigned x = (unsigned)packed[i / (size_t)each] >> (i % (size_t)each * (size_t)width) & ((1u << width) - 1);
        bool negative = dtype_is_signed(t) && x >> (width - 1);
        q[i] = (uint8_t)(negative ? x | ~0u << width : x);
    }
    *data = (Data){q, count};
}

bool tensor_read(Import *im, Place at, const char *what, const Onnx__TensorProto *t, Tensor *out) {
    if (!tensor_type(im, at, what, t->data_type, &out->dtype) || !tensor_dims(im, at, what, t->n_dims, t->dims, out))
        return false;
    if (t->segment) {
        diag_error(im->diag, at, "%s is a segment of a tensor, which is not supported", what);
        return false;
    }
    int64_t elements = 0;
    dims_count(out->rank, out->dim, &elements);
    size_t count = (size_t)elements, size = (size_t)dtype_size(out->dtype);
    bool narrow = dtype_stored(out->dtype) != out->dtype;
    if (narrow)
        count = (count * (size_t)dtype_width(out->dtype) + 7) / 8; /* packed bytes */
    if (t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        if (!external_read(im, at, what, t, count * size, &out->data))
            return false;
    } else {
        const WireTensor *w = wire_tensor(&im->tensors, t);
        WireData typed = typed_field(out->dtype);
        if (w->pieces[WIRE_RAW]) {
            out->data = (Data){w->packed[WIRE_RAW].data, w->packed[WIRE_RAW].size};
            if (out->data.size != count * size)
                return wrong_size(im, at, what, out->data.size, count * size, "bytes of data");
        } else if (!w->pieces[typed]) {
            out->data = (Data){"", 0};
            if (count) {
                diag_error(im->diag, at, "%s has no elements of its type %s", what, onnx_type_name(t->data_type));
                return false;
            }
        } else if (!decode_field(im, at, what, w, typed, count, size, &out->data)) {
            return false;
        }
    }
    if (narrow)
        unpack(im, out->dtype, (size_t)elements, &out->data);
    if (out->dtype == DT_BOOL)
        normalize_bool(im, &out->data);
    return true;
}

bool tensor_read_sparse(Import *im, Place at, const char *what, const Onnx__SparseTensorProto *t, Tensor *out) {
    Tensor values, indices;
    if (!t->values || !t->indices) {
        diag_error(im->diag, at, "%s is sparse without values or indices", what);
        return false;
    }
    if (!tensor_read(im, at, what, t->values, &values) || !tensor_read(im, at, what, t->indices, &indices) ||
        !tensor_dims(im, at, what, t->n_dims, t->dims, out))
        return false;
    int64_t n = values.rank == 1 ? values.dim[0] : -1, count = 0;
    bool flat = indices.rank == 1;
    if (indices.dtype != DT_I64 || n < 0 || (!flat && indices.rank != 2) || indices.dim[0] != n ||
        (!flat && indices.dim[1] != out->rank)) {
        diag_error(im->diag, at, "%s is sparse: values and indices do not fit together", what);
        return false;
    }
    size_t size = (size_t)dtype_size(values.dtype);
    dims_count(out->rank, out->dim, &count);
    if ((size_t)count > MAX_DENSE_BYTES / size) {
        diag_error(im->diag, at, "%s is sparse and would take more than 1 GiB", what);
        return false;
    }
    out->dtype = values.dtype;
    uint8_t *dense = arena_alloc(im->arena, (size_t)count * size);
    out->data = (Data){dense, (size_t)count * size};
    const uint8_t *index = indices.data.bytes;
    for (int64_t i = 0; i < n; i++) {
        int64_t position = 0, x;
        for (int d = 0; d < (flat ? 1 : out->rank); d++, index += sizeof x) {
            memcpy(&x, index, sizeof x);
            int64_t limit = flat ? count : out->dim[d];
            if (x < 0 || x >= limit) {
                diag_error(im->diag, at, "%s is sparse: index %lld is out of range", what, (long long)x);
                return false;
            }
            position = flat ? x : position * limit + x;
        }
        if (position < count)
            memcpy(dense + (size_t)position * size, (const uint8_t *)values.data.bytes + (size_t)i * size, size);
    }
    return true;
}

Value *tensor_value(Arena *a, const char *name, const Tensor *t) {
    Value *v = ARENA_NEW(a, Value);
    v->kind = VALUE_CONST;
    v->id = -1;
    v->name = name;
    v->dtype = t->dtype;
    v->rank = t->rank;
    v->dim = t->dim;
    v->data = t->data;
    v->arena_offset = -1;
    return v;
}
