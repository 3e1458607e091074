/* SPDX-License-Identifier: Apache-2.0 */
/* Graph IR to an ONNX file. */
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "frontend/frontend.h"
#include "frontend/onnx.pb-c.h"
#include "ops/op.h"
#include "support/ints.h"

enum { EXPORT_IR = 10, OLDEST_OPSET = 13 };

typedef struct Export {
    Arena *arena;
    Diag *diag;
    StrMap names; /* of nodes; other programs want them to differ */
} Export;

/* protobuf-c has no const. */
static char *text(const char *s) { return (char *)(uintptr_t)s; }

/* --- tensors --- */

/* Several elements a byte, the first in the low bits. */
static void *packed(Arena *a, const Value *v, size_t *size) {
    int bits = dtype_width(v->dtype), each = 8 / bits;
    int64_t n = value_count(v);
    *size = (size_t)divide_up(n, each);
    uint8_t *bytes = arena_alloc(a, *size + 1);
    for (int64_t i = 0; i < n; i++) {
        unsigned x = (unsigned)((const uint8_t *)v->data.bytes)[i] & ((1u << bits) - 1);
        bytes[i / each] = (uint8_t)(bytes[i / each] | x << (i % each * bits));
    }
    return bytes;
}

static Onnx__TensorProto *tensor(Arena *a, const Value *v) {
    Onnx__TensorProto *t = ARENA_NEW(a, Onnx__TensorProto);
    onnx__tensor_proto__init(t);
    t->name = text(v->name);
    t->has_data_type = true;
    t->data_type = dtype_to_onnx(v->dtype);
    t->n_dims = (size_t)v->rank;
    t->dims = v->dim;
    t->has_raw_data = true;
    t->raw_data.data = (uint8_t *)(uintptr_t)v->data.bytes;
    t->raw_data.len = v->data.size;
    if (dtype_stored(v->dtype) != v->dtype)
        t->raw_data.data = packed(a, v, &t->raw_data.len);
    return t;
}

static Onnx__ValueInfoProto *value_info(Arena *a, const Value *v) {
    Onnx__ValueInfoProto *info = ARENA_NEW(a, Onnx__ValueInfoProto);
    Onnx__TypeProto *type = ARENA_NEW(a, Onnx__TypeProto);
    Onnx__TypeProto__Tensor *t = ARENA_NEW(a, Onnx__TypeProto__Tensor);
    Onnx__TensorShapeProto *shape = ARENA_NEW(a, Onnx__TensorShapeProto);
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(t);
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = (size_t)v->rank;
    shape->dim = ARENA_ARRAY(a, Onnx__TensorShapeProto__Dimension *, v->rank + 1);
    for (int i = 0; i < v->rank; i++) {
        shape->dim[i] = ARENA_NEW(a, Onnx__TensorShapeProto__Dimension);
        onnx__tensor_shape_proto__dimension__init(shape->dim[i]);
        shape->dim[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        shape->dim[i]->dim_value = v->dim[i];
    }
    t->has_elem_type = true;
    t->elem_type = dtype_to_onnx(v->dtype);
    t->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = t;
    info->name = text(v->name);
    info->type = type;
    return info;
}

/* --- nodes --- */

static Onnx__AttributeProto *attribute(Arena *a, const Attr *from) {
    Onnx__AttributeProto *to = ARENA_NEW(a, Onnx__AttributeProto);
    onnx__attribute_proto__init(to);
    to->name = text(from->name);
    to->has_type = true;
    switch (from->kind) {
    case ATTR_INT:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        to->has_i = true;
        to->i = from->i;
        break;
    case ATTR_FLOAT:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        to->has_f = true;
        to->f = from->f;
        break;
    case ATTR_STRING:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        to->has_s = true;
        to->s.data = (uint8_t *)(uintptr_t)from->s;
        to->s.len = from->s_len ? from->s_len : strlen(from->s);
        break;
    case ATTR_INTS:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        to->n_ints = (size_t)from->n;
        to->ints = (int64_t *)(uintptr_t)from->ints;
        break;
    case ATTR_FLOATS:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
        to->n_floats = (size_t)from->n;
        to->floats = (float *)(uintptr_t)from->floats;
        break;
    case ATTR_STRINGS:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
        to->n_strings = (size_t)from->n;
        to->strings = ARENA_ARRAY(a, ProtobufCBinaryData, from->n + 1);
        for (int i = 0; i < from->n; i++)
            to->strings[i] = (ProtobufCBinaryData){strlen(from->strings[i]), (uint8_t *)(uintptr_t)from->strings[i]};
        break;
    case ATTR_TENSOR:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
        to->t = tensor(a, from->tensor);
        break;
    case ATTR_GRAPH: return NULL;
    }
    return to;
}

/* NULL: the first output's name does, which a reader takes then. */
static char *node_name(Export *e, const Node *n) {
    const char *name = n->name;
    if (n->nout && n->out[0] && !strcmp(name, n->out[0]->name))
        return NULL;
    for (int i = 1; strmap_get(&e->names, name); i++)
        name = arena_printf(e->arena, "%s_%d", n->name, i);
    strmap_put(e->arena, &e->names, name, e);
    return text(name);
}

static char **value_names(Arena *a, int n, Value *const *v) {
    char **names = ARENA_ARRAY(a, char *, n + 1);
    for (int i = 0; i < n; i++)
        names[i] = text(v[i] ? v[i]->name : "");
    return names;
}

/* Windows' attributes that say what holds without them. */
static bool is_default(const Node *n, const Attr *a) {
    static const char *const windows[] = {"Conv", "ConvTranspose", "ConvInteger", "MaxPool", "AveragePool", NULL};
    bool window = false, pads = !strcmp(a->name, "pads");
    for (int i = 0; windows[i]; i++)
        window = window || (!*n->domain && !strcmp(n->op_type, windows[i]));
    if (!window || (a->kind == ATTR_INT && strcmp(a->name, "group") != 0))
        return false;
    if (a->kind == ATTR_INT)
        return a->i == 1;
    if (a->kind != ATTR_INTS || (!pads && strcmp(a->name, "strides") != 0 && strcmp(a->name, "dilations") != 0))
        return false;
    for (int i = 0; i < a->n; i++)
        if (a->ints[i] != !pads)
            return false;
    return true;
}

static Onnx__NodeProto *node(Export *e, const Node *n) {
    Onnx__NodeProto *p = ARENA_NEW(e->arena, Onnx__NodeProto);
    onnx__node_proto__init(p);
    p->name = node_name(e, n);
    p->op_type = text(n->op_type);
    p->domain = *n->domain ? text(n->domain) : NULL;
    p->n_input = (size_t)n->nin;
    p->input = value_names(e->arena, n->nin, n->in);
    p->n_output = (size_t)n->nout;
    p->output = value_names(e->arena, n->nout, n->out);
    p->attribute = ARENA_ARRAY(e->arena, Onnx__AttributeProto *, n->nattrs + 1);
    for (int i = 0; i < n->nattrs; i++) {
        if (is_default(n, &n->attr[i]))
            continue;
        Onnx__AttributeProto *a = p->attribute[p->n_attribute++] = attribute(e->arena, &n->attr[i]);
        if (a && strcmp(n->domain, "mlcc") != 0)
            continue;
        diag_error(e->diag, node_place(n), "this operator cannot be written to an ONNX file");
        return NULL;
    }
    return p;
}

/* --- versions --- */

/* Operators whose later versions take more element types only, with the version since which they are as they are:
 * what takes no new type is readable by older programs. */
static int64_t version_needed(const Node *n) {
    static const struct {
        const char *op;
        int version;
        bool bfloats; /* that version has bfloat16 */
    } older[] = {
        {"QuantizeLinear", 13, false}, {"DequantizeLinear", 13, false}, {"Conv", 11, false}, {"ConvTranspose", 11, false},
        {"MaxPool", 12, false}, {"GlobalMaxPool", 1, false}, {"GlobalAveragePool", 1, false}, {"AveragePool", 19, false},
        {"Reshape", 14, true}, {"Flatten", 13, true}, {"Squeeze", 13, true}, {"Unsqueeze", 13, true}, {"Transpose", 13, true},
        {"Identity", 16, true}, {"HardSwish", 14, false}, {"HardSigmoid", 6, false}, {"Elu", 6, false}, {"Selu", 6, false},
        {"Softplus", 1, false}, {"Softsign", 1, false}, {"DepthToSpace", 13, true}, {"SpaceToDepth", 13, true}, {"Resize", 19, true},
        {"Pad", 19, true}, {"Cast", 19, true}, {"ThresholdedRelu", 10, false}, {"InstanceNormalization", 6, false},
        {"LSTM", 14, false}, {"GRU", 14, false}, {"RNN", 14, false}, {"Shape", 15, true}
    };
    enum { BLOCKS_AND_OTHER_WIDTHS = 21 };
    bool types = true, bfloats = false; /* those of before */
    bool linear = !*n->domain && (!strcmp(n->op_type, "QuantizeLinear") || !strcmp(n->op_type, "DequantizeLinear"));
    const Value *element = !strcmp(n->op_type, "QuantizeLinear") ? n->out[0] : n->in[0];
    if (linear && (attr_int(n, "block_size", 0) || dtype_width(element->dtype) == 4 || dtype_width(element->dtype) == 16))
        return BLOCKS_AND_OTHER_WIDTHS;
    for (int i = 0; i < n->nin; i++) {
        types = types && (!n->in[i] || dtype_stored(n->in[i]->dtype) == n->in[i]->dtype);
        bfloats = bfloats || (n->in[i] && n->in[i]->dtype == DT_BF16);
    }
    for (size_t i = 0; types && i < sizeof older / sizeof *older; i++)
        if (!*n->domain && !strcmp(n->op_type, older[i].op) && (older[i].bfloats || !bfloats))
            return older[i].version;
    return n->op ? n->op->version : 1;
}

static void state_opsets(Arena *a, const Graph *g, Onnx__ModelProto *m) {
    VEC(Onnx__OperatorSetIdProto *) list = {0};
    Onnx__OperatorSetIdProto *own = ARENA_NEW(a, Onnx__OperatorSetIdProto);
    onnx__operator_set_id_proto__init(own);
    own->domain = text("");
    own->version = OLDEST_OPSET;
    VEC_PUSH(a, &list, own);
    for (const Node *n = g->first; n; n = n->next) {
        Onnx__OperatorSetIdProto *o = NULL;
        for (int i = 0; i < list.len && !o; i++)
            o = !strcmp(list.data[i]->domain, n->domain) ? list.data[i] : NULL;
        if (!o) {
            o = ARENA_NEW(a, Onnx__OperatorSetIdProto);
            onnx__operator_set_id_proto__init(o);
            o->domain = text(n->domain);
            VEC_PUSH(a, &list, o);
        }
        o->has_version = true;
        o->version = version_needed(n) > o->version ? version_needed(n) : o->version;
    }
    own->has_version = true;
    m->n_opset_import = (size_t)list.len;
    m->opset_import = list.data;
}

/* --- the model --- */

static bool fill_graph(Export *e, const Graph *g, Onnx__GraphProto *p) {
    Arena *a = e->arena;
    p->name = text(*g->name ? g->name : "graph");
    p->input = ARENA_ARRAY(a, Onnx__ValueInfoProto *, g->inputs.len + 1);
    for (int i = 0; i < g->inputs.len; i++)
        p->input[p->n_input++] = value_info(a, g->inputs.data[i]);
    p->output = ARENA_ARRAY(a, Onnx__ValueInfoProto *, g->outputs.len + 1);
    for (int i = 0; i < g->outputs.len; i++)
        p->output[p->n_output++] = value_info(a, g->outputs.data[i]);
    p->initializer = ARENA_ARRAY(a, Onnx__TensorProto *, g->consts.len + 1);
    for (int i = 0; i < g->consts.len; i++) {
        if (g->consts.data[i]->dtype == DT_STRING) {
            diag_error(e->diag, NOWHERE, "strings cannot be written to an ONNX file");
            return false;
        }
        p->initializer[p->n_initializer++] = tensor(a, g->consts.data[i]);
    }
    size_t nodes = 0;
    for (const Node *n = g->first; n; n = n->next)
        nodes++;
    p->node = ARENA_ARRAY(a, Onnx__NodeProto *, nodes + 1);
    for (const Node *n = g->first; n; n = n->next) {
        p->node[p->n_node] = node(e, n);
        if (!p->node[p->n_node++])
            return false;
    }
    return true;
}

bool frontend_export(Arena *a, Diag *d, const Graph *g, const char *version, const void **bytes, size_t *size) {
    Export e = {.arena = a, .diag = d};
    Onnx__ModelProto m = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto p = ONNX__GRAPH_PROTO__INIT;
    if (!fill_graph(&e, g, &p))
        return false;
    m.has_ir_version = true;
    m.ir_version = EXPORT_IR;
    m.producer_name = text("mlcc");
    m.producer_version = text(version);
    m.graph = &p;
    state_opsets(a, g, &m);
    *size = onnx__model_proto__get_packed_size(&m);
    if (*size > INT_MAX) {
        diag_error(d, NOWHERE, "the model is too large for one ONNX file");
        return false;
    }
    uint8_t *to = arena_alloc(a, *size);
    *bytes = to;
    onnx__model_proto__pack(&m, to);
    return true;
}
