/* SPDX-License-Identifier: Apache-2.0 */
/* The skeleton walk. It follows protobuf-c's own descriptors, so that it knows every message of onnx.proto; whatever
 * protobuf-c would recurse into, allocate or trust is bounded here first. */
#include "frontend/wire.h"

#include <limits.h>
#include <string.h>

#include "support/strbuf.h"

enum {
    MAX_DEPTH = 100,   /* messages in messages: about 30 graphs in graphs */
    LENGTH_BYTES = 5,  /* lengths of rewritten messages are filled in afterwards, as varints of this width */
};

static const uint32_t data_ids[WIRE_DATA_FIELDS] = {
    [WIRE_RAW] = 9, [WIRE_FLOAT] = 4, [WIRE_DOUBLE] = 10, [WIRE_INT32] = 5, [WIRE_INT64] = 7, [WIRE_UINT64] = 11,
};

uint32_t wire_data_id(WireData field) { return data_ids[field]; }

bool wire_varint(WireSpan *rest, uint64_t *value) {
    uint64_t x = 0;
    for (size_t i = 0; i < rest->size && i < 10; i++) {
        x |= (uint64_t)(rest->data[i] & 0x7f) << (7 * i);
        if (rest->data[i] < 0x80) {
            *value = x;
            rest->data += i + 1;
            rest->size -= i + 1;
            return true;
        }
    }
    return false;
}

static bool take(WireSpan *rest, uint64_t n, WireSpan *out) {
    if (n > rest->size)
        return false;
    *out = (WireSpan){rest->data, (size_t)n};
    rest->data += n;
    rest->size -= (size_t)n;
    return true;
}

bool wire_next(WireSpan *rest, WireItem *item) {
    uint64_t tag, n;
    if (!wire_varint(rest, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return false;
    item->id = (uint32_t)tag >> 3;
    item->type = (int)(tag & 7);
    const uint8_t *start = rest->data;
    switch (item->type) {
    case 0:
        if (!wire_varint(rest, &n))
            return false;
        item->payload = (WireSpan){start, (size_t)(rest->data - start)};
        return true;
    case 1: return take(rest, 8, &item->payload);
    case 2: return wire_varint(rest, &n) && take(rest, n, &item->payload);
    case 5: return take(rest, 4, &item->payload);
    default: return false;
    }
}

typedef struct Walk {
    Arena *arena;
    Diag *diag;
    const uint8_t *start;
    WireTensors *tensors;
    StrBuf out;
} Walk;

static bool malformed(const Walk *w, const uint8_t *at, const char *what) {
    diag_error(w->diag, NOWHERE, "not an ONNX file, or a damaged one: %s at byte %zu", what, (size_t)(at - w->start));
    return false;
}

static void put_varint(StrBuf *b, uint64_t x) {
    for (; x >= 0x80; x >>= 7)
        sb_putc(b, (char)((x & 0x7f) | 0x80));
    sb_putc(b, (char)x);
}

/* The wire type that a field's values have when not packed. */
static int wire_type(const ProtobufCFieldDescriptor *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return 5;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 1;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return 2;
    default: return 0;
    }
}

static bool take_data(WireTensor *t, const WireItem *item) {
    for (int f = 0; f < WIRE_DATA_FIELDS; f++) {
        if (data_ids[f] != item->id)
            continue;
        t->pieces[f]++;
        if (item->type == 2)
            t->packed[f] = item->payload;
        return true;
    }
    return false;
}

static bool copy_message(Walk *w, WireSpan in, const ProtobufCMessageDescriptor *desc, int depth);

static bool copy_submessage(Walk *w, const WireItem *item, const ProtobufCFieldDescriptor *f, int depth) {
    put_varint(&w->out, (uint64_t)item->id << 3 | 2);
    size_t at = w->out.len;
    sb_write(&w->out, "\x80\x80\x80\x80", LENGTH_BYTES);
    if (!copy_message(w, item->payload, f->descriptor, depth + 1))
        return false;
    size_t n = w->out.len - at - LENGTH_BYTES;
    if (n > INT_MAX)
        return malformed(w, item->payload.data, "more than 2 GiB without the tensors");
    for (int i = 0; i < LENGTH_BYTES; i++)
        w->out.data[at + (size_t)i] = (char)((n >> (7 * i) & 0x7f) | (i < LENGTH_BYTES - 1 ? 0x80 : 0));
    return true;
}

static bool copy_message(Walk *w, WireSpan in, const ProtobufCMessageDescriptor *desc, int depth) {
    if (depth > MAX_DEPTH)
        return malformed(w, in.data, "messages nested too deep");
    bool is_tensor = desc == &onnx__tensor_proto__descriptor;
    WireTensor tensor = {.message = in};
    while (in.size) {
        const uint8_t *start = in.data;
        WireItem item;
        if (!wire_next(&in, &item))
            return malformed(w, start, "a field that is cut off or malformed");
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(desc, item.id);
        if (!f || !strcmp(f->name, "doc_string"))
            continue;
        bool packs = f->label == PROTOBUF_C_LABEL_REPEATED && wire_type(f) != 2;
        if (item.type != wire_type(f) && !(packs && item.type == 2))
            return malformed(w, start, arena_printf(w->arena, "a field \"%s\" of the wrong kind", f->name));
        if (is_tensor && take_data(&tensor, &item))
            continue;
        if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
            if (!copy_submessage(w, &item, f, depth))
                return false;
        } else {
            sb_write(&w->out, start, (size_t)(in.data - start));
        }
    }
    if (is_tensor) {
        uint32_t index = (uint32_t)w->tensors->list.len;
        VEC_PUSH(w->arena, &w->tensors->list, tensor);
        put_varint(&w->out, data_ids[WIRE_RAW] << 3 | 2);
        put_varint(&w->out, sizeof index);
        sb_write(&w->out, &index, sizeof index);
    }
    return true;
}

static void *arena_hook(void *arena, size_t size) { return arena_alloc(arena, size); }

static void no_free(void *arena, void *p) {
    (void)arena;
    (void)p;
}

ProtobufCMessage *wire_unpack(Arena *a, Diag *d, const ProtobufCMessageDescriptor *desc, const void *bytes, size_t size,
                              WireTensors *tensors) {
    Walk w = {.arena = a, .diag = d, .start = bytes, .tensors = tensors};
    ProtobufCMessage *m = NULL;
    if (copy_message(&w, (WireSpan){bytes, size}, desc, 0)) {
        ProtobufCAllocator allocator = {arena_hook, no_free, a};
        m = protobuf_c_message_unpack(desc, &allocator, w.out.len, (const uint8_t *)sb_text(&w.out));
        if (!m)
            diag_error(d, NOWHERE, "not an ONNX file, or a damaged one: malformed packed numbers");
    }
    sb_free(&w.out);
    return m;
}

const WireTensor *wire_tensor(const WireTensors *tensors, const Onnx__TensorProto *t) {
    uint32_t index;
    memcpy(&index, t->raw_data.data, sizeof index);
    return &tensors->list.data[index];
}
