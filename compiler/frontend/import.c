/* SPDX-License-Identifier: Apache-2.0 */
/* ModelProto to graph IR: graphs, their inputs, initializers and outputs; the public functions of the frontend. */
#include <string.h>

#include "frontend/import.h"

enum { NEWEST_IR = 14, MAX_DEPTH = 64 };

/* --- inputs --- */

static const DimBinding *bound(Import *im, const char *name) {
    for (int i = 0; im->options && i < im->options->n_dims; i++) {
        if (!strcmp(im->options->dims[i].name, name)) {
            im->dim_used[i] = true;
            return &im->options->dims[i];
        }
    }
    return NULL;
}

static int64_t dim_size(Import *im, const char *input, size_t axis, const Onnx__TensorShapeProto__Dimension *d) {
    if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
        return d->dim_value;
    const char *place = arena_printf(im->arena, "%.200s:%zu", input, axis);
    bool symbol = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && *d->dim_param;
    const DimBinding *b = bound(im, place);
    if (!b && symbol)
        b = bound(im, d->dim_param);
    if (b)
        return b->size;
    const char *name = symbol ? d->dim_param : place;
    if (!strmap_get(&im->dims_noted, name)) {
        strmap_put(im->arena, &im->dims_noted, name, im);
        diag_note(im->diag, NOWHERE, "dimension \"%s\" of input \"%s\" is taken as 1; --dim %s=SIZE fixes another", name,
                  input, name);
    }
    return 1;
}

static const char *type_word(const Onnx__TypeProto *t) {
    switch (t->value_case) {
    case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE: return "a sparse tensor";
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE: return "a sequence";
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE: return "an optional value";
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE: return "a map";
    case ONNX__TYPE_PROTO__VALUE_OPAQUE_TYPE: return "an opaque value";
    default: return "of no known type";
    }
}

static Value *import_input(Import *im, Graph *g, Place at, const Onnx__ValueInfoProto *p) {
    const char *what = arena_printf(im->arena, "input \"%.200s\"", p->name);
    const Onnx__TypeProto *type = p->type;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        diag_error(im->diag, at, "%s is %s; only tensors are supported", what, type ? type_word(type) : "without a type");
        return NULL;
    }
    DType t = dtype_from_onnx(type->tensor_type->elem_type);
    if (t == DT_NONE || t == DT_STRING) {
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(&onnx__tensor_proto__data_type__descriptor,
                                                                            type->tensor_type->elem_type);
        diag_error(im->diag, at, "%s has element type %s (%d), which is not supported", what, v ? v->name : "unknown",
                   type->tensor_type->elem_type);
        return NULL;
    }
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    if (!shape) {
        diag_error(im->diag, at, "%s has no shape: its number of dimensions must be known", what);
        return NULL;
    }
    if (shape->n_dim > GRAPH_MAX_RANK) {
        diag_error(im->diag, at, "%s has %zu dimensions; at most %d are supported", what, shape->n_dim, GRAPH_MAX_RANK);
        return NULL;
    }
    int64_t dim[GRAPH_MAX_RANK];
    Tensor checked;
    for (size_t i = 0; i < shape->n_dim; i++)
        dim[i] = dim_size(im, p->name, i, shape->dim[i]);
    if (!tensor_dims(im, at, what, shape->n_dim, dim, &checked))
        return NULL;
    return graph_input(g, p->name, t, checked.rank, checked.dim);
}

/* Inputs of a body take their types from the node that runs it. */
static Value *body_input(Graph *g, const char *name) {
    Value *v = graph_input(g, name, DT_NONE, 0, NULL);
    v->rank = -1;
    return v;
}

static bool import_inputs(Import *im, Scope *s, Place at, const Onnx__GraphProto *p) {
    StrMap seen = {0};
    for (size_t i = 0; i < p->n_input; i++) {
        const char *name = text_or_empty(p->input[i]->name);
        if (!*name || strmap_get(&seen, name)) {
            diag_error(im->diag, at, *name ? "two inputs have the name \"%s\"" : "an input has no name%s", name);
            return false;
        }
        strmap_put(im->arena, &seen, name, s);
        if (strmap_get(&s->values, name))
            continue; /* an initializer of this name: IR versions below 4 list them all as inputs */
        Value *v = s->graph->outer ? body_input(s->graph, name) : import_input(im, s->graph, at, p->input[i]);
        if (!v)
            return false;
        strmap_put(im->arena, &s->values, name, v);
    }
    return true;
}

/* --- initializers --- */

static bool add_initializer(Import *im, Scope *s, Place at, const char *name, const Tensor *t) {
    if (!*name || strmap_get(&s->values, name)) {
        diag_error(im->diag, at, *name ? "two initializers have the name \"%s\"" : "an initializer has no name%s", name);
        return false;
    }
    strmap_put(im->arena, &s->values, name, graph_const(s->graph, name, t->dtype, t->rank, t->dim, t->data));
    return true;
}

static bool import_initializers(Import *im, Scope *s, Place at, const Onnx__GraphProto *p) {
    Tensor t;
    for (size_t i = 0; i < p->n_initializer; i++) {
        const char *name = text_or_empty(p->initializer[i]->name);
        const char *what = arena_printf(im->arena, "initializer \"%.200s\"", name);
        if (!tensor_read(im, at, what, p->initializer[i], &t) || !add_initializer(im, s, at, name, &t))
            return false;
    }
    for (size_t i = 0; i < p->n_sparse_initializer; i++) {
        const Onnx__TensorProto *values = p->sparse_initializer[i]->values;
        const char *name = text_or_empty(values ? values->name : NULL);
        const char *what = arena_printf(im->arena, "initializer \"%.200s\"", name);
        if (!tensor_read_sparse(im, at, what, p->sparse_initializer[i], &t) || !add_initializer(im, s, at, name, &t))
            return false;
    }
    return true;
}

/* --- outputs --- */

static bool import_outputs(Import *im, Scope *s, Place at, const Onnx__GraphProto *p) {
    Graph *g = s->graph;
    for (size_t i = 0; i < p->n_output; i++) {
        const char *name = text_or_empty(p->output[i]->name);
        Value *v = scope_find(s, name);
        if (!v || v == &scope_absent) {
            diag_error(im->diag, at, "output \"%s\" is not defined by any node, input or initializer", name);
            return false;
        }
        /* A value of an outer graph, or one that a function hands through under another name. */
        if (v->graph != g || (!g->outer && strcmp(v->name, name) != 0))
            v = graph_node(g, NULL, "", "Identity", name, 1, &v, 1, &name)->out[0];
        VEC_PUSH(im->arena, &g->outputs, v);
        v->is_output = true;
    }
    return true;
}

/* --- graphs --- */

static bool fill_graph(Import *im, Scope *s, Place at, const Onnx__GraphProto *p) {
    return import_initializers(im, s, at, p) && import_inputs(im, s, at, p) &&
           nodes_import(im, s, "", p->n_node, p->node) && import_outputs(im, s, at, p);
}

Graph *graph_import(Import *im, Scope *parent, Place at, const Onnx__GraphProto *p) {
    if (im->depth >= MAX_DEPTH) {
        diag_error(im->diag, at, "graphs are nested more than %d deep", MAX_DEPTH);
        return NULL;
    }
    Graph *g = graph_new(im->arena, im->diag, text_or_empty(p->name));
    g->outer = parent->graph;
    Scope *s = ARENA_NEW(im->arena, Scope);
    *s = (Scope){.parent = parent, .graph = g, .call = parent->call, .n_opsets = parent->n_opsets,
                 .opset = parent->opset, .prefix = parent->prefix};
    im->depth++;
    bool good = fill_graph(im, s, at, p);
    im->depth--;
    return good ? g : NULL;
}

static bool check_opsets(Import *im, size_t n, Onnx__OperatorSetIdProto *const *opset) {
    for (size_t i = 0; i < n; i++) {
        const char *domain = text_or_empty(opset[i]->domain);
        int64_t newest = upgrade_newest(domain), version = opset[i]->version;
        if (version < 1 || (newest && version > newest)) {
            diag_error(im->diag, NOWHERE, "version %lld of the operator set \"%s\" is not known; the newest known is %lld",
                       (long long)version, *domain ? domain : "ai.onnx", (long long)newest);
            return false;
        }
    }
    return true;
}

static bool check_model(Import *im, const Onnx__ModelProto *p) {
    if (!p->has_ir_version || p->ir_version < 1 || !p->graph) {
        diag_error(im->diag, NOWHERE, "not an ONNX model: %s", p->graph ? "it states no IR version" : "it has no graph");
        return false;
    }
    if (p->ir_version > NEWEST_IR)
        diag_warning(im->diag, NOWHERE, "IR version %lld is newer than %d, the newest known", (long long)p->ir_version,
                     NEWEST_IR);
    if (!p->graph->n_output) {
        diag_error(im->diag, NOWHERE, "the graph has no outputs");
        return false;
    }
    for (size_t i = 0; i < p->n_functions; i++)
        if (!check_opsets(im, p->functions[i]->n_opset_import, p->functions[i]->opset_import))
            return false;
    return check_opsets(im, p->n_opset_import, p->opset_import);
}

static bool import_model(Import *im, const Onnx__ModelProto *p, Model *m) {
    if (!check_model(im, p) || !functions_index(im, p->n_functions, p->functions))
        return false;
    m->graph = graph_new(im->arena, im->diag, text_or_empty(p->graph->name));
    m->ir_version = p->ir_version;
    m->producer = text_or_empty(p->producer_name);
    m->domain = text_or_empty(p->domain);
    m->version = arena_printf(im->arena, "%lld", (long long)p->model_version);
    static Onnx__OperatorSetIdProto first = ONNX__OPERATOR_SET_ID_PROTO__INIT;
    static Onnx__OperatorSetIdProto *implied[] = {&first};
    first.version = 1;
    Scope s = {.graph = m->graph, .n_opsets = p->n_opset_import, .opset = p->opset_import, .prefix = ""};
    if (p->ir_version < 3 && !p->n_opset_import) {
        s.n_opsets = 1;
        s.opset = implied;
    }
    for (size_t i = 0; i < s.n_opsets; i++)
        if (!strcmp(text_or_empty(s.opset[i]->domain), "") || !strcmp(s.opset[i]->domain, "ai.onnx"))
            m->opset = s.opset[i]->version;
    if (!fill_graph(im, &s, NOWHERE, p->graph))
        return false;
    for (int i = 0; i < im->nodes.len; i++)
        if (!upgrade_node(im->nodes.data[i].node, im->nodes.data[i].version))
            return false;
    for (int i = 0; im->options && i < im->options->n_dims; i++)
        if (!im->dim_used[i])
            diag_warning(im->diag, NOWHERE, "no input has a dimension \"%s\"", im->options->dims[i].name);
    return true;
}

/* --- the public functions --- */

static Model *import_mapped(Arena *a, Diag *d, const char *path, const void *bytes, size_t size,
                            const ImportOptions *options, struct ModelFiles *files) {
    Model *m = ARENA_NEW(a, Model);
    m->files = files;
    Import im = {.arena = a, .diag = d, .path = path, .options = options, .files = files};
    im.dim_used = ARENA_ARRAY(a, bool, options ? options->n_dims : 0);
    ProtobufCMessage *p = wire_unpack(a, d, &onnx__model_proto__descriptor, bytes, size, &im.tensors);
    if (p && import_model(&im, (const Onnx__ModelProto *)(const void *)p, m))
        return m;
    frontend_close(m);
    return NULL;
}

Model *frontend_import_bytes(Arena *a, Diag *d, const char *path, const void *bytes, size_t size,
                             const ImportOptions *options) {
    return import_mapped(a, d, path, bytes, size, options, ARENA_NEW(a, struct ModelFiles));
}

Model *frontend_import(Arena *a, Diag *d, const char *path, const ImportOptions *options) {
    struct ModelFiles *files = ARENA_NEW(a, struct ModelFiles);
    ModelFile f = {.path = path};
    if (!file_map(d, path, &f.map))
        return NULL;
    VEC_PUSH(a, &files->list, f);
    return import_mapped(a, d, path, f.map.data, f.map.size, options, files);
}

const char *frontend_file(const Model *m, int i) {
    for (int k = 0; k < m->files->list.len; k++)
        if (m->files->list.data[k].external && i-- == 0)
            return m->files->list.data[k].path;
    return NULL;
}

void frontend_close(Model *m) {
    for (int i = 0; i < m->files->list.len; i++)
        file_unmap(&m->files->list.data[i].map);
    m->files->list.len = 0;
}

Value *frontend_read_tensor(Arena *a, Diag *d, const char *path) {
    FileMap map;
    if (!file_map(d, path, &map))
        return NULL;
    Diag own = *d; /* the place is this file, not the model */
    own.file = path;
    Import im = {.arena = a, .diag = &own, .path = path, .files = ARENA_NEW(a, struct ModelFiles)};
    Value *v = NULL;
    Tensor t;
    ProtobufCMessage *m = wire_unpack(a, &own, &onnx__tensor_proto__descriptor, map.data, map.size, &im.tensors);
    const Onnx__TensorProto *p = (const Onnx__TensorProto *)(const void *)m;
    if (p && tensor_read(&im, NOWHERE, "the tensor", p, &t)) {
        t.data.bytes = arena_dup(a, t.data.bytes, t.data.size);
        v = tensor_value(a, text_or_empty(p->name), &t);
    }
    for (int i = 0; i < im.files->list.len; i++)
        file_unmap(&im.files->list.data[i].map);
    file_unmap(&map);
    d->errors = own.errors;
    return v;
}
