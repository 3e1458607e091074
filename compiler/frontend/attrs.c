/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes, references of function bodies to the attributes of their calls, and Constant nodes. */
#include <limits.h>
#include <string.h>

#include "frontend/import.h"

typedef Onnx__AttributeProto Proto;
#define KIND(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name

const Proto *attrs_resolve(Scope **s, const Proto *a) {
    while (a && a->ref_attr_name && *a->ref_attr_name) {
        const Call *c = (*s)->call;
        const Proto *found = NULL;
        for (int i = 0; c && i < c->n && !found; i++) {
            if (!strcmp(c->argument[i].name, a->ref_attr_name)) {
                found = c->argument[i].proto;
                *s = c->argument[i].scope;
            }
        }
        a = found;
    }
    return a;
}

/* The type, which the first two IR versions left to the filled field. */
static int kind_of(const Proto *a) {
    if (a->type != KIND(UNDEFINED))
        return (int)a->type;
    return a->has_f     ? KIND(FLOAT)
           : a->has_i   ? KIND(INT)
           : a->has_s   ? KIND(STRING)
           : a->t       ? KIND(TENSOR)
           : a->g       ? KIND(GRAPH)
           : a->n_floats  ? KIND(FLOATS)
           : a->n_strings ? KIND(STRINGS)
                          : KIND(INTS);
}

static bool too_long(Import *im, Place at, const Proto *a) {
    if (a->n_ints <= INT_MAX && a->n_floats <= INT_MAX && a->n_strings <= INT_MAX)
        return false;
    diag_error(im->diag, at, "attribute \"%s\" has too many entries", text_or_empty(a->name));
    return true;
}

static bool missing(Import *im, Place at, const char *name) {
    diag_error(im->diag, at, "attribute \"%s\" has no value", name);
    return false;
}

/* *used becomes false for kinds that no operator of the graph IR has. */
static bool import_value(Import *im, Scope *s, Place at, const Proto *p, Attr *out, bool *used) {
    Arena *a = im->arena;
    *used = true;
    switch (kind_of(p)) {
    case KIND(FLOAT):
        out->kind = ATTR_FLOAT;
        out->f = p->f;
        return true;
    case KIND(INT):
        out->kind = ATTR_INT;
        out->i = p->i;
        return true;
    case KIND(STRING):
        out->kind = ATTR_STRING;
        out->s = arena_strndup(a, (const char *)p->s.data, p->s.len);
        out->s_len = p->s.len;
        return true;
    case KIND(FLOATS):
        out->kind = ATTR_FLOATS;
        out->n = (int)p->n_floats;
        out->floats = p->floats;
        return true;
    case KIND(INTS):
        out->kind = ATTR_INTS;
        out->n = (int)p->n_ints;
        out->ints = p->ints;
        return true;
    case KIND(STRINGS): {
        const char **list = ARENA_ARRAY(a, const char *, p->n_strings);
        for (size_t i = 0; i < p->n_strings; i++)
            list[i] = arena_strndup(a, (const char *)p->strings[i].data, p->strings[i].len);
        out->kind = ATTR_STRINGS;
        out->n = (int)p->n_strings;
        out->strings = list;
        return true;
    }
    case KIND(TENSOR): {
        Tensor t;
        if (!p->t)
            return missing(im, at, out->name);
        if (!tensor_read(im, at, arena_printf(a, "attribute \"%.200s\"", out->name), p->t, &t))
            return false;
        out->kind = ATTR_TENSOR;
        out->tensor = tensor_value(a, out->name, &t);
        return true;
    }
    case KIND(GRAPH):
        if (!p->g)
            return missing(im, at, out->name);
        out->kind = ATTR_GRAPH;
        out->graph = graph_import(im, s, at, p->g);
        return out->graph != NULL;
    default:
        *used = false;
        return true;
    }
}

bool attrs_import(Import *im, Scope *s, Node *n, const Onnx__NodeProto *p) {
    Place at = node_place(n);
    if (p->n_attribute > INT_MAX / (int)sizeof(Attr)) {
        diag_error(im->diag, at, "too many attributes");
        return false;
    }
    n->attr = ARENA_ARRAY(im->arena, Attr, p->n_attribute);
    StrMap seen = {0}; /* only for hostile numbers of attributes */
    for (size_t i = 0; i < p->n_attribute; i++) {
        const char *name = text_or_empty(p->attribute[i]->name);
        bool twice = p->n_attribute > 32 ? strmap_get(&seen, name) != NULL : node_attr(n, name) != NULL;
        if (twice || !*name) {
            diag_error(im->diag, at, twice ? "attribute \"%s\" is given twice" : "an attribute has no name%s", name);
            return false;
        }
        if (p->n_attribute > 32)
            strmap_put(im->arena, &seen, name, n);
        Scope *where = s;
        const Proto *value = attrs_resolve(&where, p->attribute[i]);
        Attr a = {.name = name};
        bool used;
        if (!value)
            continue;
        if (too_long(im, at, value) || !import_value(im, where, at, value, &a, &used))
            return false;
        if (used)
            n->attr[n->nattrs++] = a;
    }
    return true;
}

static void scalar_or_list(Import *im, DType t, bool list, size_t n, const void *x, Tensor *out) {
    out->dtype = t;
    out->rank = list;
    out->dim = ARENA_NEW(im->arena, int64_t);
    *out->dim = (int64_t)n;
    size_t size = n * (size_t)dtype_size(t);
    out->data = (Data){arena_dup(im->arena, x, size), size};
}

bool attrs_constant(Import *im, Scope *s, const Onnx__NodeProto *p, Tensor *out) {
    Place at = proto_place(im, p);
    for (size_t i = 0; i < p->n_attribute; i++) {
        const char *name = text_or_empty(p->attribute[i]->name);
        Scope *where = s;
        const Proto *a = attrs_resolve(&where, p->attribute[i]);
        if (!a)
            continue;
        if (!strcmp(name, "value") && a->t)
            return tensor_read(im, at, "its value", a->t, out);
        if (!strcmp(name, "sparse_value") && a->sparse_tensor)
            return tensor_read_sparse(im, at, "its value", a->sparse_tensor, out);
        if (!strcmp(name, "value_int"))
            return scalar_or_list(im, DT_I64, false, 1, &a->i, out), true;
        if (!strcmp(name, "value_float"))
            return scalar_or_list(im, DT_F32, false, 1, &a->f, out), true;
        if (!strcmp(name, "value_ints"))
            return scalar_or_list(im, DT_I64, true, a->n_ints, a->ints, out), true;
        if (!strcmp(name, "value_floats"))
            return scalar_or_list(im, DT_F32, true, a->n_floats, a->floats, out), true;
        if (!strncmp(name, "value_string", 12)) {
            diag_error(im->diag, at, "its value is text, which is not supported");
            return false;
        }
    }
    diag_error(im->diag, at, "it has no value");
    return false;
}
