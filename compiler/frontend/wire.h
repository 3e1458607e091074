/* SPDX-License-Identifier: Apache-2.0 */
/* The protobuf wire format below protobuf-c: tensors' elements stay where they are.
 *
 * protobuf-c copies every field that it unpacks. wire_unpack first writes a skeleton of the message in which each
 * TensorProto has lost its element fields and carries an index into a table of places instead; only the skeleton is
 * unpacked. */
#ifndef MLCC_FRONTEND_WIRE_H
#define MLCC_FRONTEND_WIRE_H

#include <protobuf-c/protobuf-c.h>

#include "frontend/onnx.pb-c.h"
#include "support/arena.h"
#include "support/diag.h"

typedef struct WireSpan {
    const uint8_t *data;
    size_t size;
} WireSpan;

/* One field of a message. */
typedef struct WireItem {
    uint32_t id;
    int type;         /* 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes */
    WireSpan payload; /* without the tag and, for type 2, without the length */
} WireItem;

/* Takes the next field off rest; false on malformed bytes. */
bool wire_next(WireSpan *rest, WireItem *item);
/* Takes a varint off rest; false when it is cut off or longer than ten bytes. */
bool wire_varint(WireSpan *rest, uint64_t *value);

typedef enum WireData {
    WIRE_RAW, WIRE_FLOAT, WIRE_DOUBLE, WIRE_INT32, WIRE_INT64, WIRE_UINT64,
    WIRE_DATA_FIELDS
} WireData;

/* Where a TensorProto has its elements. */
typedef struct WireTensor {
    WireSpan message;
    int pieces[WIRE_DATA_FIELDS];        /* how often the field occurs */
    WireSpan packed[WIRE_DATA_FIELDS];   /* its last length-delimited occurrence */
} WireTensor;

uint32_t wire_data_id(WireData field); /* the field number */

typedef struct WireTensors {
    VEC(WireTensor) list;
} WireTensors;

/* The message unpacked into the arena; NULL after a diagnostic. Appends to tensors. */
ProtobufCMessage *wire_unpack(Arena *a, Diag *d, const ProtobufCMessageDescriptor *desc, const void *bytes, size_t size,
                              WireTensors *tensors);
const WireTensor *wire_tensor(const WireTensors *tensors, const Onnx__TensorProto *t);

#endif
