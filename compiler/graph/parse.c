/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing the text of graphs; text.c shows what it looks like. */
#include <string.h>

#include "graph/graph.h"
#include "graph/text.h"
#include "support/scan.h"

enum { MAX_DEPTH = 32 };

typedef struct Parse {
    Scan scan;
    Diag *diag;
    Graph *graph;
    int depth;
    VEC(Value *) unrooted; /* values that lie in roots that may stand later */
    VEC(const char *) roots;
} Parse;

/* A value as it is written, before it exists. */
typedef struct Written {
    const char *name; /* NULL: "_" */
    DType dtype;
    int rank;
    int64_t dim[GRAPH_MAX_RANK];
    const char *root; /* NULL: own or none */
    bool stored;
    int64_t buffer_size, window, offset, arena_offset;
    int nstrides;
    int64_t stride[GRAPH_MAX_RANK];
} Written;

static Graph *parse_graph(Parse *p, Graph *outer);

static const char *parse_word(Parse *p) {
    return scan_is_quoted(&p->scan) ? scan_quoted(&p->scan, NULL) : scan_word(&p->scan, GRAPH_NAME_MORE);
}

static bool parse_name(Parse *p, const char **name) {
    *name = NULL;
    if (scan_accept(&p->scan, "_"))
        return true;
    return scan_expect(&p->scan, "%") && (*name = parse_word(p)) != NULL;
}

/* Numbers between brackets; at most `most`. */
static bool parse_dims(Parse *p, int most, int64_t *x, int *n) {
    Scan *s = &p->scan;
    *n = 0;
    if (!scan_expect(s, "["))
        return false;
    while (!scan_is(s, "]")) {
        if (*n == most)
            return scan_fail(s, "more than %d axes", most);
        if ((*n && !scan_expect(s, ",")) || !scan_int(s, &x[*n]))
            return false;
        ++*n;
    }
    return scan_expect(s, "]");
}

static bool parse_dtype(Parse *p, DType *t) {
    *t = DT_NONE;
    if (scan_accept(&p->scan, "?"))
        return true;
    const char *word = scan_word(&p->scan, "");
    if (!word)
        return false;
    *t = dtype_parse(word, (int)strlen(word));
    return (*t != DT_NONE && *t != DT_INDEX) || scan_fail(&p->scan, "\"%s\" is no element type", word);
}

static bool parse_type(Parse *p, Written *w) {
    int64_t n;
    w->rank = -1;
    if (!parse_dtype(p, &w->dtype))
        return false;
    if (scan_accept(&p->scan, "?"))
        return true;
    return parse_dims(p, GRAPH_MAX_RANK, w->dim, &w->rank) &&
           (dims_count(w->rank, w->dim, &n) || scan_fail(&p->scan, "an impossible shape"));
}

static bool parse_storage(Parse *p, Written *w) {
    Scan *s = &p->scan;
    if (scan_accept(s, "buffer")) {
        if (!scan_int(s, &w->buffer_size) || (scan_accept(s, "window") && !scan_int(s, &w->window)) ||
            (scan_accept(s, "+") && !scan_int(s, &w->offset)))
            return false;
    } else if (scan_accept(s, "in")) {
        if (!parse_name(p, &w->root) || !scan_expect(s, "+") || !scan_int(s, &w->offset))
            return false;
        if (!w->root)
            return scan_fail(s, "a root has a name");
    } else {
        return true;
    }
    w->stored = true;
    if (!scan_expect(s, "strides") || !parse_dims(p, GRAPH_MAX_RANK, w->stride, &w->nstrides))
        return false;
    if (w->nstrides != w->rank)
        return scan_fail(s, "%d strides for rank %d", w->nstrides, w->rank);
    return !scan_accept(s, "at") || scan_int(s, &w->arena_offset);
}

static bool parse_value(Parse *p, Written *w) {
    *w = (Written){.rank = -1, .arena_offset = -1};
    if (!parse_name(p, &w->name))
        return false;
    if (!w->name)
        return true;
    if (strmap_get(&p->graph->names, w->name))
        return scan_fail(&p->scan, "value %s is defined twice", w->name);
    return scan_expect(&p->scan, ":") && parse_type(p, w) && parse_storage(p, w);
}

static void set_value(Parse *p, Value *v, const Written *w) {
    Arena *a = p->scan.arena;
    if (w->rank >= 0)
        value_set_type(v, w->dtype, w->rank, w->dim);
    v->dtype = w->dtype;
    v->rank = w->rank;
    if (!w->stored)
        return;
    v->storage = (Storage){v, w->offset, ARENA_ARRAY(a, int64_t, w->rank)};
    for (int d = 0; d < w->rank; d++)
        v->storage.stride[d] = w->stride[d];
    v->buffer_size = w->root ? 0 : w->buffer_size;
    v->window = w->window;
    v->arena_offset = w->arena_offset;
    if (w->root) {
        VEC_PUSH(a, &p->unrooted, v);
        VEC_PUSH(a, &p->roots, w->root);
    }
}

/* --- constants --- */

static void put_element(DType t, char *at, int64_t i, double f) {
    float single = (float)f;
    uint16_t half = t == DT_F16 ? float_to_half(single) : float_to_bfloat(single);
    const void *from = &i; /* little endian, like the data */
    if (t == DT_F32)
        from = &single;
    else if (t == DT_F64)
        from = &f;
    else if (dtype_is_half(t))
        from = &half;
    memcpy(at, from, (size_t)dtype_size(t));
}

static bool parse_data(Parse *p, const Written *w, Data *data) {
    Scan *s = &p->scan;
    int64_t n = -1;
    if (scan_is(s, "<"))
        return scan_fail(s, "constant %s is printed without its elements", w->name);
    if (w->rank >= 0)
        dims_count(w->rank, w->dim, &n);
    if (n < 0 || n > GRAPH_TEXT_ELEMENTS || !dtype_size(w->dtype))
        return scan_fail(s, "constant %s has no type for elements in text", w->name);
    char *bytes = ARENA_ARRAY(s->arena, char, n * dtype_size(w->dtype) + 1);
    if (!scan_expect(s, "{"))
        return false;
    for (int64_t i = 0; i < n; i++) {
        int64_t x;
        double f;
        bool is_float;
        if ((i && !scan_expect(s, ",")) || !scan_number(s, &x, &f, &is_float))
            return false;
        if (is_float && !dtype_is_float(w->dtype))
            return scan_fail(s, "an integer expected");
        put_element(w->dtype, bytes + i * dtype_size(w->dtype), x, f);
    }
    *data = (Data){bytes, (size_t)n * (size_t)dtype_size(w->dtype)};
    return scan_expect(s, "}");
}

static bool parse_const(Parse *p, Written *w, Data *data) {
    if (!parse_value(p, w) || !scan_expect(&p->scan, "="))
        return false;
    if (!w->name)
        return scan_fail(&p->scan, "a constant has a name");
    return parse_data(p, w, data);
}

/* --- attributes --- */

static bool parse_tensor(Parse *p, Attr *a) {
    Written w;
    Data data;
    if (!parse_const(p, &w, &data))
        return false;
    Value *v = ARENA_NEW(p->scan.arena, Value);
    v->kind = VALUE_CONST;
    v->graph = p->graph;
    v->name = w.name;
    v->arena_offset = -1;
    value_set_type(v, w.dtype, w.rank, w.dim);
    v->data = data;
    a->kind = ATTR_TENSOR;
    a->tensor = v;
    return true;
}

typedef struct List {
    VEC(int64_t) ints;
    VEC(float) floats;
    VEC(const char *) strings;
} List;

/* The elements say what kind of list it is; an empty one says so before the bracket. */
static bool parse_list(Parse *p, Attr *a) {
    Scan *s = &p->scan;
    Arena *arena = s->arena;
    List l = {0};
    if (!scan_expect(s, "["))
        return false;
    for (; !scan_is(s, "]"); a->n++) {
        int64_t i;
        double f;
        bool is_float;
        if (a->n && !scan_expect(s, ","))
            return false;
        if (scan_is_quoted(s)) {
            const char *text = scan_quoted(s, NULL);
            VEC_PUSH(arena, &l.strings, text);
            a->kind = ATTR_STRINGS;
        } else if (!scan_number(s, &i, &f, &is_float)) {
            return false;
        } else if (is_float) {
            VEC_PUSH(arena, &l.floats, (float)f);
            a->kind = ATTR_FLOATS;
        } else {
            VEC_PUSH(arena, &l.ints, i);
            a->kind = ATTR_INTS;
        }
    }
    a->ints = l.ints.data;
    a->floats = l.floats.data;
    a->strings = l.strings.data;
    if (l.ints.len + l.floats.len + l.strings.len != (a->kind == ATTR_INTS     ? l.ints.len
                                                      : a->kind == ATTR_FLOATS ? l.floats.len
                                                                               : l.strings.len))
        return scan_fail(s, "a list of mixed kinds");
    return scan_expect(s, "]");
}

static bool parse_attr(Parse *p, Node *n) {
    Scan *s = &p->scan;
    Attr a = {.name = parse_word(p)};
    bool ok, is_float = false;
    double f = 0;
    if (!a.name || !scan_expect(s, "="))
        return false;
    if (scan_is(s, "graph")) {
        a.kind = ATTR_GRAPH;
        a.graph = parse_graph(p, p->graph);
        ok = a.graph != NULL;
    } else if (scan_accept(s, "tensor")) {
        ok = parse_tensor(p, &a);
    } else if (scan_is_quoted(s)) {
        a.kind = ATTR_STRING;
        a.s = scan_quoted(s, &a.s_len);
        ok = a.s != NULL;
    } else if (scan_accept(s, "ints")) {
        a.kind = ATTR_INTS;
        ok = parse_list(p, &a);
    } else if (scan_accept(s, "floats")) {
        a.kind = ATTR_FLOATS;
        ok = parse_list(p, &a);
    } else if (scan_accept(s, "strings")) {
        a.kind = ATTR_STRINGS;
        ok = parse_list(p, &a);
    } else if (scan_is(s, "[")) {
        a.kind = ATTR_INTS;
        ok = parse_list(p, &a);
    } else {
        ok = scan_number(s, &a.i, &f, &is_float);
        a.kind = is_float ? ATTR_FLOAT : ATTR_INT;
        a.f = (float)f;
    }
    if (ok)
        node_add_attr(n, a);
    return ok;
}

/* --- nodes --- */

static Value *find_value(const Parse *p, const char *name) {
    Value *v = NULL;
    for (const Graph *g = p->graph; g && !v; g = g->outer)
        v = strmap_get(&g->names, name);
    return v;
}

typedef VEC(Value *) Inputs;
typedef VEC(Written) Outputs;

static bool parse_outputs(Parse *p, Outputs *out) {
    Scan *s = &p->scan;
    if (!scan_is(s, "%") && !scan_is(s, "_"))
        return true;
    do {
        Written w;
        if (!parse_value(p, &w))
            return false;
        VEC_PUSH(s->arena, out, w);
    } while (scan_accept(s, ","));
    return scan_expect(s, "=");
}

static bool parse_inputs(Parse *p, Inputs *in) {
    Scan *s = &p->scan;
    if (!scan_expect(s, "("))
        return false;
    while (!scan_is(s, ")")) {
        const char *name;
        if ((in->len && !scan_expect(s, ",")) || !parse_name(p, &name))
            return false;
        Value *v = name ? find_value(p, name) : NULL;
        if (name && !v)
            return scan_fail(s, "no value %s before its use", name);
        VEC_PUSH(s->arena, in, v);
    }
    return scan_expect(s, ")");
}

static bool parse_op(Parse *p, const char **domain, const char **op) {
    *domain = "";
    *op = parse_word(p);
    if (*op && scan_accept(&p->scan, ":")) {
        *domain = *op;
        *op = parse_word(p);
    }
    return *op != NULL;
}

/* Makes the values of a node; those that nobody wants lose their names again. */
static bool set_outputs(Parse *p, Node *n, const Outputs *out) {
    for (int i = 0; i < n->nout; i++) {
        const Written *w = &out->data[i];
        if (!w->name) {
            strmap_put(p->scan.arena, &p->graph->names, n->out[i]->name, NULL);
            n->out[i] = NULL;
            continue;
        }
        if (strcmp(n->out[i]->name, w->name) != 0)
            return scan_fail(&p->scan, "value %s is defined twice", w->name);
        set_value(p, n->out[i], w);
    }
    return true;
}

static bool parse_node_end(Parse *p, Node *n) {
    Scan *s = &p->scan;
    if (scan_accept(s, "{")) {
        do {
            if (!parse_attr(p, n))
                return false;
        } while (scan_accept(s, ","));
        if (!scan_expect(s, "}"))
            return false;
    }
    if (scan_is_quoted(s)) {
        n->name = scan_quoted(s, NULL);
        n->sources = n->name;
    }
    if (scan_accept(s, "from"))
        n->sources = scan_quoted(s, NULL);
    if (!n->name || !n->sources)
        return false;
    if (scan_accept(s, "group") && !scan_small(s, &n->group))
        return false;
    if (n->group >= (1 << 24))
        return scan_fail(s, "group %d is out of range", n->group);
    if (n->group >= p->graph->next_group)
        p->graph->next_group = n->group + 1;
    return true;
}

static bool parse_node(Parse *p) {
    Arena *a = p->scan.arena;
    Outputs out = {0};
    Inputs in = {0};
    const char *domain, *op;
    if (!parse_outputs(p, &out) || !parse_op(p, &domain, &op) || !parse_inputs(p, &in))
        return false;
    const char **names = ARENA_ARRAY(a, const char *, out.len);
    for (int i = 0; i < out.len; i++)
        names[i] = out.data[i].name ? out.data[i].name : arena_printf(a, " %d", i);
    Node *n = graph_node(p->graph, NULL, domain, op, NULL, in.len, in.data, out.len, names);
    return set_outputs(p, n, &out) && parse_node_end(p, n);
}

/* --- graphs --- */

static bool parse_output(Parse *p) {
    const char *name;
    if (!parse_name(p, &name))
        return false;
    Value *v = name ? find_value(p, name) : NULL;
    if (!v)
        return scan_fail(&p->scan, "no value for the output");
    VEC_PUSH(p->scan.arena, &p->graph->outputs, v);
    if (v->graph == p->graph)
        v->is_output = true;
    return true;
}

static bool parse_input(Parse *p) {
    Written w;
    if (!parse_value(p, &w))
        return false;
    if (!w.name)
        return scan_fail(&p->scan, "an input has a name");
    set_value(p, graph_input(p->graph, w.name, w.dtype, w.rank < 0 ? 0 : w.rank, w.dim), &w);
    return true;
}

static bool parse_step(Parse *p, Strips *to) {
    Scan *s = &p->scan;
    StripStep step = {.move = scan_accept(s, "move")};
    if ((!step.move && !scan_expect(s, "call")) || !scan_small(s, &step.member) || !scan_expect(s, "rows") ||
        !scan_int(s, &step.lo) || !scan_expect(s, "to") || !scan_int(s, &step.hi) || !scan_expect(s, "at") ||
        !scan_int(s, &step.out_base) || (!step.move && (!scan_expect(s, "from") || !scan_int(s, &step.in_base))))
        return false;
    if (step.member >= to->n)
        return scan_fail(s, "the strips have no member %d", step.member);
    VEC_PUSH(s->arena, &to->steps, step);
    return true;
}

static bool parse_strips(Parse *p) {
    Scan *s = &p->scan;
    VEC(Value *) values = {0};
    do {
        const char *name;
        if (!parse_name(p, &name))
            return false;
        Value *v = name ? find_value(p, name) : NULL;
        if (!v || v->kind != VALUE_NODE)
            return scan_fail(s, "no node's value in the strips");
        VEC_PUSH(s->arena, &values, v);
    } while (scan_accept(s, ","));
    Strips *strips = ARENA_NEW(s->arena, Strips);
    strips->n = values.len;
    strips->value = values.data;
    strips->group = ARENA_ARRAY(s->arena, int, values.len);
    for (int i = 0; i < values.len; i++)
        strips->group[i] = values.data[i]->def->group;
    while (scan_is(s, "call") || scan_is(s, "move"))
        if (!parse_step(p, strips))
            return false;
    VEC_PUSH(s->arena, &p->graph->strips, strips);
    return true;
}

static bool parse_line(Parse *p) {
    Scan *s = &p->scan;
    if (scan_accept(s, "strips"))
        return parse_strips(p);
    if (scan_accept(s, "input"))
        return parse_input(p);
    if (scan_accept(s, "output"))
        return parse_output(p);
    if (!scan_accept(s, "const"))
        return parse_node(p);
    Written w;
    Data data;
    if (!parse_const(p, &w, &data))
        return false;
    set_value(p, graph_const(p->graph, w.name, w.dtype, w.rank, w.dim, data), &w);
    return true;
}

static bool find_roots(Parse *p, int from) {
    for (int i = from; i < p->unrooted.len; i++) {
        Value *v = p->unrooted.data[i], *root = strmap_get(&p->graph->names, p->roots.data[i]);
        if (!root || root->storage.root != root)
            return scan_fail(&p->scan, "%s, where value %s lies, is no root", p->roots.data[i], v->name);
        v->storage.root = root;
    }
    p->unrooted.len = p->roots.len = from;
    return true;
}

static Graph *parse_graph(Parse *p, Graph *outer) {
    Scan *s = &p->scan;
    int unrooted = p->unrooted.len;
    if (!scan_expect(s, "graph"))
        return NULL;
    if (p->depth++ == MAX_DEPTH) {
        scan_fail(s, "graphs nest more than %d deep", MAX_DEPTH);
        return NULL;
    }
    const char *name = scan_quoted(s, NULL);
    if (!name)
        return NULL;
    Graph *g = graph_new(s->arena, p->diag, name);
    g->outer = outer;
    p->graph = g;
    bool ok = (!scan_accept(s, "arena") || scan_int(s, &g->arena_size)) && scan_expect(s, "{");
    while (ok && !scan_is(s, "}"))
        ok = parse_line(p);
    ok = ok && scan_expect(s, "}") && find_roots(p, unrooted);
    p->graph = outer;
    p->depth--;
    return ok ? g : NULL;
}

Graph *graph_parse(Arena *a, Diag *d, const char *text) {
    Parse p = {.scan = scan_text(a, text), .diag = d};
    Graph *g = parse_graph(&p, NULL);
    if (g && !scan_at_end(&p.scan))
        scan_fail(&p.scan, "more text after the graph");
    if (!p.scan.error)
        return g;
    diag_error(d, NOWHERE, "%s", p.scan.error);
    return NULL;
}
