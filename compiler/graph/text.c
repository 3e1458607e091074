/* SPDX-License-Identifier: Apache-2.0 */
/* Printing graphs.
 *
 *     graph "mnist" arena 2048 {
 *       input %image: f32[1,1,28,28]
 *       const %w: f32[2] = {0.5, -1.0}
 *       %y: f32[1,2] buffer 2 strides [2, 1] = Gemm(%x, %w, _) {alpha = 1.0, transB = 1} "fc" from "fc, relu" group 3
 *       output %y
 *     }
 *
 * "_" is an absent input or output; "?" a type or shape not inferred yet; names that are no plain words are quoted.
 * What lies in another value's buffer says "in %root + offset" instead of "buffer elements". */
#include <string.h>

#include "graph/graph.h"
#include "graph/text.h"

static void print_graph(StrBuf *out, const Graph *g, int depth);

static void print_word(StrBuf *out, const char *s) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" GRAPH_NAME_MORE;
    if (*s && strspn(s, plain) == strlen(s) && strncmp(s, "//", 2) != 0)
        sb_puts(out, s);
    else
        sb_quote(out, s, strlen(s));
}

static void print_name(StrBuf *out, const Value *v) {
    if (!v) {
        sb_putc(out, '_');
        return;
    }
    sb_putc(out, '%');
    print_word(out, v->name);
}

static void print_ints(StrBuf *out, int n, const int64_t *x) {
    sb_putc(out, '[');
    for (int i = 0; i < n; i++)
        sb_printf(out, "%s%lld", i ? ", " : "", (long long)x[i]);
    sb_putc(out, ']');
}

static void print_type(StrBuf *out, const Value *v) {
    sb_puts(out, dtype_name(v->dtype));
    if (v->rank < 0) {
        sb_putc(out, '?');
        return;
    }
    sb_putc(out, '[');
    for (int d = 0; d < v->rank; d++)
        sb_printf(out, "%s%lld", d ? "," : "", (long long)v->dim[d]);
    sb_putc(out, ']');
}

static void print_storage(StrBuf *out, const Value *v) {
    const Storage *s = &v->storage;
    if (!s->root)
        return;
    if (s->root == v) {
        sb_printf(out, " buffer %lld", (long long)v->buffer_size);
        if (v->window)
            sb_printf(out, " window %lld", (long long)v->window);
        if (s->offset)
            sb_printf(out, " + %lld", (long long)s->offset);
    } else {
        sb_puts(out, " in ");
        print_name(out, s->root);
        sb_printf(out, " + %lld", (long long)s->offset);
    }
    sb_puts(out, " strides ");
    print_ints(out, v->rank, s->stride);
    if (v->arena_offset >= 0)
        sb_printf(out, " at %lld", (long long)v->arena_offset);
}

static void print_value(StrBuf *out, const Value *v) {
    print_name(out, v);
    if (!v)
        return;
    sb_puts(out, ": ");
    print_type(out, v);
    print_storage(out, v);
}

static void print_data(StrBuf *out, const Value *v) {
    int64_t n = dtype_size(v->dtype) ? (int64_t)v->data.size / dtype_size(v->dtype) : -1;
    if (n < 0 || n > GRAPH_TEXT_ELEMENTS) {
        sb_printf(out, "<%zu bytes>", v->data.size);
        return;
    }
    sb_putc(out, '{');
    for (int64_t i = 0; i < n; i++) {
        sb_puts(out, i ? ", " : "");
        if (dtype_is_float(v->dtype))
            sb_float(out, const_float(v, i), v->dtype != DT_F64);
        else
            sb_printf(out, "%lld", (long long)const_int(v, i));
    }
    sb_putc(out, '}');
}

static void print_const(StrBuf *out, const Value *v) {
    print_value(out, v);
    sb_puts(out, " = ");
    print_data(out, v);
}

static void print_attr(StrBuf *out, const Attr *a, int depth) {
    print_word(out, a->name);
    sb_puts(out, " = ");
    switch (a->kind) {
    case ATTR_INT:
        sb_printf(out, "%lld", (long long)a->i);
        break;
    case ATTR_FLOAT:
        sb_float(out, (double)a->f, true);
        break;
    case ATTR_STRING:
        sb_quote(out, a->s, a->s_len ? a->s_len : strlen(a->s));
        break;
    case ATTR_INTS:
        sb_puts(out, a->n ? "" : "ints ");
        print_ints(out, a->n, a->ints);
        break;
    case ATTR_FLOATS:
        sb_puts(out, a->n ? "[" : "floats [");
        for (int i = 0; i < a->n; i++) {
            sb_puts(out, i ? ", " : "");
            sb_float(out, (double)a->floats[i], true);
        }
        sb_putc(out, ']');
        break;
    case ATTR_STRINGS:
        sb_puts(out, a->n ? "[" : "strings [");
        for (int i = 0; i < a->n; i++) {
            sb_puts(out, i ? ", " : "");
            sb_quote(out, a->strings[i], strlen(a->strings[i]));
        }
        sb_putc(out, ']');
        break;
    case ATTR_TENSOR:
        sb_puts(out, "tensor ");
        print_const(out, a->tensor);
        break;
    case ATTR_GRAPH:
        print_graph(out, a->graph, depth + 1);
        break;
    }
}

static void print_quoted(StrBuf *out, const char *before, const char *s) {
    sb_puts(out, before);
    sb_quote(out, s, strlen(s));
}

static void print_node(StrBuf *out, const Node *n, int depth) {
    sb_indent(out, depth);
    for (int i = 0; i < n->nout; i++) {
        sb_puts(out, i ? ", " : "");
        print_value(out, n->out[i]);
    }
    sb_puts(out, n->nout ? " = " : "");
    if (*n->domain) {
        print_word(out, n->domain);
        sb_putc(out, ':');
    }
    print_word(out, n->op_type);
    sb_putc(out, '(');
    for (int i = 0; i < n->nin; i++) {
        sb_puts(out, i ? ", " : "");
        print_name(out, n->in[i]);
    }
    sb_putc(out, ')');
    for (int i = 0; i < n->nattrs; i++) {
        sb_puts(out, i ? ", " : " {");
        print_attr(out, &n->attr[i], depth);
    }
    sb_puts(out, n->nattrs ? "}" : "");
    if (!n->nout || !n->out[0] || strcmp(n->name, n->out[0]->name) != 0)
        print_quoted(out, " ", n->name);
    if (strcmp(n->sources, n->name) != 0)
        print_quoted(out, " from ", n->sources);
    if (n->group)
        sb_printf(out, " group %d", n->group);
    sb_putc(out, '\n');
}

/* strips %a, %b
 *   call 0 rows 0 to 10 at 0 from 0
 *   move 0 rows 8 to 10 at 0 */
static void print_strips(StrBuf *out, const Strips *s, int depth) {
    sb_indent(out, depth);
    for (int i = 0; i < s->n; i++) {
        sb_puts(out, i ? ", " : "strips ");
        print_name(out, s->value[i]);
    }
    for (int i = 0; i < s->steps.len; i++) {
        const StripStep *step = &s->steps.data[i];
        sb_putc(out, '\n');
        sb_indent(out, depth + 1);
        sb_printf(out, "%s %d rows %lld to %lld at %lld", step->move ? "move" : "call", step->member, (long long)step->lo,
                  (long long)step->hi, (long long)step->out_base);
        if (!step->move)
            sb_printf(out, " from %lld", (long long)step->in_base);
    }
    sb_putc(out, '\n');
}

static void print_graph(StrBuf *out, const Graph *g, int depth) {
    print_quoted(out, "graph ", g->name);
    if (g->arena_size)
        sb_printf(out, " arena %lld", (long long)g->arena_size);
    sb_puts(out, " {\n");
    for (int i = 0; i < g->inputs.len; i++) {
        sb_indent(out, depth + 1);
        sb_puts(out, "input ");
        print_value(out, g->inputs.data[i]);
        sb_putc(out, '\n');
    }
    for (int i = 0; i < g->consts.len; i++) {
        sb_indent(out, depth + 1);
        sb_puts(out, "const ");
        print_const(out, g->consts.data[i]);
        sb_putc(out, '\n');
    }
    for (const Node *n = g->first; n; n = n->next)
        print_node(out, n, depth + 1);
    for (int i = 0; i < g->strips.len; i++)
        print_strips(out, g->strips.data[i], depth + 1);
    for (int i = 0; i < g->outputs.len; i++) {
        sb_indent(out, depth + 1);
        sb_puts(out, "output ");
        print_name(out, g->outputs.data[i]);
        sb_putc(out, '\n');
    }
    sb_indent(out, depth);
    sb_putc(out, '}');
}

void graph_print(StrBuf *out, const Graph *g) {
    print_graph(out, g, 0);
    sb_putc(out, '\n');
}
