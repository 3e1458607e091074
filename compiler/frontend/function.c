/* SPDX-License-Identifier: Apache-2.0 */
/* Model-local functions: every call becomes the nodes of the body. */
#include <string.h>

#include "frontend/import.h"

enum { MAX_DEPTH = 64, MAX_PREFIX = 200 };

static const char *key_of(Import *im, const char *domain, const char *name, const char *overload) {
    domain = text_or_empty(domain);
    if (!strcmp(domain, "ai.onnx"))
        domain = "";
    return arena_printf(im->arena, "%s\n%s\n%s", domain, text_or_empty(name), text_or_empty(overload));
}

bool functions_index(Import *im, size_t n, Onnx__FunctionProto *const *f) {
    for (size_t i = 0; i < n; i++) {
        const char *key = key_of(im, f[i]->domain, f[i]->name, f[i]->overload);
        if (strmap_get(&im->functions, key)) {
            diag_error(im->diag, NOWHERE, "function \"%s\" is defined twice", text_or_empty(f[i]->name));
            return false;
        }
        strmap_put(im->arena, &im->functions, key, f[i]);
    }
    return true;
}

const Onnx__FunctionProto *function_find(Import *im, const Onnx__NodeProto *p) {
    if (!im->functions.len)
        return NULL;
    return strmap_get(&im->functions, key_of(im, p->domain, p->op_type, p->overload));
}

static bool may_call(Import *im, const Scope *s, const Onnx__NodeProto *p, const Onnx__FunctionProto *f) {
    for (const Call *c = s->call; c; c = c->caller) {
        if (c->function == f) {
            diag_error(im->diag, proto_place(im, p), "function \"%s\" calls itself", text_or_empty(f->name));
            return false;
        }
    }
    if (im->depth >= MAX_DEPTH) {
        diag_error(im->diag, proto_place(im, p), "functions are nested more than %d deep", MAX_DEPTH);
        return false;
    }
    if (p->n_input > f->n_input || p->n_output > f->n_output) {
        diag_error(im->diag, proto_place(im, p), "function \"%s\" has %zu inputs and %zu outputs, the call %zu and %zu",
                   text_or_empty(f->name), f->n_input, f->n_output, p->n_input, p->n_output);
        return false;
    }
    return true;
}

/* The call's attributes, then the function's defaults for those that it leaves out. */
static void bind_attributes(Import *im, Scope *s, const Onnx__NodeProto *p, const Onnx__FunctionProto *f, Call *c) {
    c->argument = ARENA_ARRAY(im->arena, Argument, p->n_attribute + f->n_attribute_proto);
    for (size_t i = 0; i < p->n_attribute + f->n_attribute_proto; i++) {
        bool given = i < p->n_attribute;
        const Onnx__AttributeProto *a = given ? p->attribute[i] : f->attribute_proto[i - p->n_attribute];
        Scope *where = s;
        const Onnx__AttributeProto *value = given ? attrs_resolve(&where, a) : a;
        if (value && !(!given && a->ref_attr_name && *a->ref_attr_name))
            c->argument[c->n++] = (Argument){text_or_empty(a->name), value, where};
    }
}

static bool bind_inputs(Import *im, Scope *s, Scope *body, const Onnx__NodeProto *p, const Onnx__FunctionProto *f) {
    for (size_t i = 0; i < f->n_input; i++) {
        Value *v = &scope_absent;
        if (i < p->n_input && *p->input[i])
            v = scope_find(s, p->input[i]);
        if (!v) {
            diag_error(im->diag, proto_place(im, p), "input \"%s\" is not defined by any node, input or initializer",
                       p->input[i]);
            return false;
        }
        if (strmap_get(&body->values, f->input[i])) {
            diag_error(im->diag, NOWHERE, "function \"%s\" has two inputs \"%s\"", text_or_empty(f->name), f->input[i]);
            return false;
        }
        strmap_put(im->arena, &body->values, f->input[i], v);
    }
    return true;
}

static bool bind_outputs(Import *im, Scope *s, const Scope *body, const Onnx__NodeProto *p,
                         const Onnx__FunctionProto *f) {
    for (size_t i = 0; i < p->n_output; i++) {
        if (!*p->output[i])
            continue;
        Value *v = scope_find(body, f->output[i]);
        if (!v || strmap_get(&s->values, p->output[i])) {
            diag_error(im->diag, proto_place(im, p),
                       v ? "output \"%s\" is already defined" : "the function does not compute its output \"%s\"",
                       v ? p->output[i] : f->output[i]);
            return false;
        }
        strmap_put(im->arena, &s->values, p->output[i], v);
    }
    return true;
}

/* The outputs keep the names that the call gives them, which may be the model's outputs. */
static void rename_outputs(Import *im, const Scope *s, Scope *body, const Onnx__NodeProto *p,
                           const Onnx__FunctionProto *f) {
    for (size_t i = 0; i < p->n_output; i++) {
        const char *name = p->output[i];
        if (!*name || strmap_get(&body->renamed, f->output[i]))
            continue;
        const char *outer = strmap_get(&s->renamed, name);
        if (!outer && *s->prefix)
            continue;
        strmap_put(im->arena, &body->renamed, f->output[i], (void *)(uintptr_t)(outer ? outer : name));
    }
}

bool function_inline(Import *im, Scope *s, const Onnx__NodeProto *p, const Onnx__FunctionProto *f) {
    if (!may_call(im, s, p, f))
        return false;
    Call call = {.caller = s->call, .function = f};
    bind_attributes(im, s, p, f, &call);
    const char *name = proto_place(im, p).node;
    Scope *body = ARENA_NEW(im->arena, Scope);
    *body = (Scope){
        .graph = s->graph,
        .call = arena_dup(im->arena, &call, sizeof call),
        .n_opsets = f->n_opset_import,
        .opset = f->opset_import,
        .prefix = arena_printf(im->arena, "%.*s%.*s/", MAX_PREFIX, s->prefix, MAX_PREFIX, name),
        .declared = s->declared,
    };
    if (!bind_inputs(im, s, body, p, f))
        return false;
    rename_outputs(im, s, body, p, f);
    const char *where = arena_printf(im->arena, "function \"%.200s\": ", text_or_empty(f->name));
    im->depth++;
    bool good = nodes_import(im, body, where, f->n_node, f->node) && bind_outputs(im, s, body, p, f);
    im->depth--;
    return good;
}
