/* SPDX-License-Identifier: Apache-2.0 */
/* NodeProto to nodes: names to values, one scope at a time. */
#include <limits.h>
#include <string.h>

#include "frontend/import.h"

enum { MAX_NODES = 250000, MAX_NAME = 200 };

Value scope_absent;

Value *scope_find(const Scope *s, const char *name) {
    for (; s; s = s->parent) {
        Value *v = strmap_get(&s->values, name);
        if (v)
            return v;
    }
    return NULL;
}

/* A value's name in the graph. Inside of functions it is made of the call's and must avoid names yet to come. */
static const char *value_name(Import *im, const Scope *s, const char *name) {
    const char *given = strmap_get(&s->renamed, name);
    if (given)
        return given;
    if (!*s->prefix)
        return name;
    const char *base = arena_printf(im->arena, "%s%.*s", s->prefix, MAX_NAME, name), *out = base;
    for (int i = 1; strmap_get(s->declared, out) || strmap_get(&s->graph->names, out); i++)
        out = arena_printf(im->arena, "%s_%d", base, i);
    return out;
}

static bool is_standard(const char *domain) { return !*domain || !strcmp(domain, "ai.onnx"); }

static bool same_domain(const char *x, const char *y) {
    return is_standard(x) ? is_standard(y) : !strcmp(x, y);
}

/* The imported version of a domain; 0 after a diagnostic. Domains that mlcc does not know may go without. */
static int64_t version_of(Import *im, const Scope *s, const Onnx__NodeProto *p) {
    const char *domain = text_or_empty(p->domain);
    for (size_t i = 0; i < s->n_opsets; i++)
        if (same_domain(text_or_empty(s->opset[i]->domain), domain))
            return s->opset[i]->version;
    if (!upgrade_newest(domain))
        return 1;
    diag_error(im->diag, proto_place(im, p), "the model imports no version of the operator set \"%s\"",
               is_standard(domain) ? "ai.onnx" : domain);
    return 0;
}

static bool define(Import *im, Scope *s, const Onnx__NodeProto *p, const char *name, Value *v) {
    if (strmap_get(&s->values, name)) {
        diag_error(im->diag, proto_place(im, p), "output \"%s\" is already defined", name);
        return false;
    }
    strmap_put(im->arena, &s->values, name, v);
    return true;
}

static bool import_constant(Import *im, Scope *s, const Onnx__NodeProto *p) {
    Tensor t;
    if (p->n_output != 1 || !*p->output[0]) {
        diag_error(im->diag, proto_place(im, p), "a constant has exactly one output");
        return false;
    }
    if (!attrs_constant(im, s, p, &t))
        return false;
    Value *v = graph_const(s->graph, value_name(im, s, p->output[0]), t.dtype, t.rank, t.dim, t.data);
    return define(im, s, p, p->output[0], v);
}

static bool resolve_inputs(Import *im, Scope *s, const Onnx__NodeProto *p, Value **in, int *nin) {
    *nin = 0;
    for (size_t i = 0; i < p->n_input; i++) {
        if (!*p->input[i])
            continue;
        Value *v = scope_find(s, p->input[i]);
        if (!v) {
            diag_error(im->diag, proto_place(im, p), "input \"%s\" is not defined by any node, input or initializer",
                       p->input[i]);
            return false;
        }
        if (v == &scope_absent)
            continue;
        in[i] = v;
        *nin = (int)i + 1;
    }
    return true;
}

static bool import_operator(Import *im, Scope *s, const Onnx__NodeProto *p, int64_t version) {
    Arena *a = im->arena;
    Value **in = ARENA_ARRAY(a, Value *, p->n_input);
    const char **names = ARENA_ARRAY(a, const char *, p->n_output), **given = ARENA_ARRAY(a, const char *, p->n_output);
    int nin, nout = (int)p->n_output;
    bool wanted = false;
    if (!resolve_inputs(im, s, p, in, &nin))
        return false;
    for (int i = 0; i < nout; i++) {
        if (*p->output[i]) {
            names[i] = value_name(im, s, p->output[i]);
            wanted = true;
        }
        given[i] = names[i] ? names[i] : ""; /* not the node's name, which a later output may have */
    }
    if (!wanted)
        return true; /* nothing can come of it */
    const char *name = text_or_empty(p->name);
    if (!*name)
        name = NULL;
    else if (*s->prefix)
        name = arena_printf(a, "%s%.*s", s->prefix, MAX_NAME, name);
    Node *n = graph_node(s->graph, NULL, text_or_empty(p->domain), p->op_type, name, nin, in, nout, given);
    for (int i = 0; i < nout; i++) {
        if (!names[i]) {
            strmap_put(a, &s->graph->names, n->out[i]->name, NULL);
            n->out[i] = NULL;
        } else if (!define(im, s, p, p->output[i], n->out[i])) {
            return false;
        } else if (!name) {
            n->name = n->sources = name = n->out[i]->name;
        }
    }
    VEC_PUSH(a, &im->nodes, ((Versioned){n, version}));
    return attrs_import(im, s, n, p);
}

static bool import_node(Import *im, Scope *s, const Onnx__NodeProto *p) {
    if (!p->op_type || !*p->op_type) {
        diag_error(im->diag, proto_place(im, p), "a node without an operator");
        return false;
    }
    if (p->n_input > INT_MAX || p->n_output > INT_MAX || ++im->n_nodes > MAX_NODES) {
        diag_error(im->diag, proto_place(im, p), "the model has more than %d nodes with its functions inlined",
                   MAX_NODES);
        return false;
    }
    const Onnx__FunctionProto *f = function_find(im, p);
    if (f)
        return function_inline(im, s, p, f);
    int64_t version = version_of(im, s, p);
    if (!version)
        return false;
    if (!strcmp(p->op_type, "Constant") && is_standard(text_or_empty(p->domain)))
        return import_constant(im, s, p);
    return import_operator(im, s, p, version);
}

bool nodes_import(Import *im, Scope *s, const char *where, size_t n, Onnx__NodeProto *const *node) {
    if (n > MAX_NODES) {
        diag_error(im->diag, NOWHERE, "%smore than %d nodes", where, MAX_NODES);
        return false;
    }
    StrMap *producers = ARENA_NEW(im->arena, StrMap);
    int *order = order_nodes(im, where, n, node, producers);
    if (!order)
        return false;
    if (!s->declared)
        s->declared = producers;
    for (size_t i = 0; i < n; i++)
        if (!import_node(im, s, node[order[i]]))
            return false;
    return true;
}
