/* SPDX-License-Identifier: Apache-2.0 */
/* A planned graph becomes a module: buffers, one kernel a group, calls, scratch. */
#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "ops/lower_state.h"
#include "support/ident.h"
#include "support/ints.h"

typedef struct Assembly {
    const Graph *graph;
    LowerOptions options;
    KModule *module;
    Arena *arena;
    KBuffer **buffer; /* by id of the root value */
    StrMap taken;     /* names of buffers */
    StrMap kernels;   /* text -> kernel, so that equal kernels are emitted once */
    StrMap kernel_names;
} Assembly;

/* A constant in the order of its storage: axes by descending stride, read from the row-major source. */
static KData packed_data(Arena *a, const Value *v) {
    int64_t *dim = ARENA_ARRAY(a, int64_t, v->rank), *from = ARENA_ARRAY(a, int64_t, v->rank);
    int axis[GRAPH_MAX_RANK], n = 0;
    int64_t source[GRAPH_MAX_RANK], stride = 1;
    for (int d = v->rank - 1; d >= 0; d--) {
        source[d] = stride;
        stride *= v->dim[d];
    }
    for (int d = 0; d < v->rank; d++) {
        if (v->dim[d] == 1)
            continue;
        int at = n++;
        for (; at > 0 && v->storage.stride[axis[at - 1]] < v->storage.stride[d]; at--)
            axis[at] = axis[at - 1];
        axis[at] = d;
    }
    for (int k = 0; k < n; k++) {
        dim[k] = v->dim[axis[k]];
        from[k] = source[axis[k]];
    }
    return (KData){.bytes = v->data.bytes, .rank = n, .dim = dim, .stride = from};
}

static const float *widened(Arena *a, const Value *v) {
    int64_t n = value_count(v);
    float *x = ARENA_ARRAY(a, float, n + 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)const_float(v, i);
    return x;
}

static KBuffer *buffer_of(Assembly *as, Value *root) {
    KBuffer **slot = &as->buffer[root->id];
    if (*slot)
        return *slot;
    bool constant = value_is_const(root);
    assert(constant || root->arena_offset >= 0);
    DType t = lower_stored_type(&as->options, root);
    KBuffer *b = kernel_buffer(as->module, constant ? KBUF_CONST : KBUF_ARENA, NULL, t, root->buffer_size);
    b->onnx_name = root->name;
    b->name = ident_unique(as->arena, &as->taken, root->name);
    b->arena_offset = root->arena_offset;
    if (constant)
        b->data = packed_data(as->arena, root);
    if (constant && t != dtype_stored(root->dtype))
        b->data.bytes = widened(as->arena, root);
    return *slot = b;
}

static void interface_buffer(Assembly *as, KBufferKind kind, Value *v) {
    assert(!as->buffer[v->id] && v->storage.root == v);
    KBuffer *b = kernel_buffer(as->module, kind, NULL, dtype_stored(v->dtype), value_count(v));
    b->name = ident_unique(as->arena, &as->taken, v->name);
    b->onnx_name = v->name;
    b->rank = v->rank;
    b->dim = v->dim;
    as->buffer[v->id] = b;
}

/* conv_3: the operator's name in lower case and a number. */
static const char *kernel_name(Assembly *as, const Node *anchor) {
    char *name = arena_strdup(as->arena, anchor->op_type);
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return ident_unique(as->arena, &as->kernel_names, name);
}

static bool has_loops(const Node *n) { return (n->op->flags & (OP_REDUCTION | OP_LOOPS)) != 0; }

static bool overlap(const KArg *x, const KArg *y) {
    return x->buffer == y->buffer;
}

/* What the kernel may assume of its pointers, from this call's arguments. */
static void set_pointer_facts(KKernel *k, const KArg *arg) {
    for (int i = 0; i < k->params.len; i++) {
        KParam *p = k->params.data[i];
        const KBuffer *b = arg[i].buffer;
        int64_t at = arg[i].offset * dtype_size(p->dtype);
        int align = b->kind == KBUF_ARENA || b->kind == KBUF_CONST ? k->module->arena_align : dtype_size(p->dtype);
        while (align > dtype_size(p->dtype) && at % align)
            align /= 2;
        p->align = align;
        p->noalias = true;
        for (int j = 0; j < k->params.len; j++)
            if (j != i && (p->written || k->params.data[j]->written) && overlap(&arg[i], &arg[j]))
                p->noalias = false;
    }
}

static KArg *arguments(Assembly *as, const LowerState *s) {
    KArg *arg = ARENA_ARRAY(as->arena, KArg, s->bindings.len);
    for (int i = 0; i < s->bindings.len; i++) {
        const Binding *b = &s->bindings.data[i];
        arg[i] = b->value ? (KArg){buffer_of(as, b->value->storage.root), b->value->storage.offset} : (KArg){b->buffer, 0};
    }
    return arg;
}

static const char *joined_sources(Arena *a, const LowerState *s) {
    const char *text = s->first->sources;
    for (const Node *n = s->first; n != s->last; n = n->next)
        text = arena_printf(a, "%s, %s", text, n->next->sources);
    return text;
}

/* The kernel with the same text that an earlier group gave, or this one. Both may touch what both buffers hold: elements
 * beyond are out of bounds only as far as ranges can tell. */
static KKernel *share(Assembly *as, KKernel *k) {
    const char *name = k->name;
    int n = k->params.len;
    int64_t *count = ARENA_ARRAY(as->arena, int64_t, n);
    StrBuf text = {0};
    for (int i = 0; i < n; i++) {
        count[i] = k->params.data[i]->count;
        k->params.data[i]->count = 0;
    }
    k->name = "";
    k->comment = NULL;
    kernel_print(&text, k);
    k->name = name;
    KKernel *same = strmap_get(&as->kernels, sb_text(&text));
    if (!same)
        strmap_put(as->arena, &as->kernels, arena_strdup(as->arena, sb_text(&text)), k);
    sb_free(&text);
    for (int i = 0; i < n; i++)
        if (!same || count[i] < same->params.data[i]->count)
            (same ? same : k)->params.data[i]->count = count[i];
    return same ? same : k;
}

/* Parameters in the order in which the kernel meets them. */
static void meet_params(const KBlock *b, int *place, int *n) {
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->mem.param && place[i->mem.param->index] < 0)
            place[i->mem.param->index] = (*n)++;
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                meet_params(i->block[k], place, n);
    }
}

static void remove_buffer(KModule *m, const KBuffer *b) {
    int n = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        KBuffer *x = m->buffers.data[i];
        if (x == b)
            continue;
        x->index = n;
        m->buffers.data[n++] = x;
    }
    m->buffers.len = n;
}

/* x, x1, … are inputs, y outputs, w constants. */
static const char *param_name(Arena *a, const Binding *b, int same) {
    const char *letter = b->buffer    ? (b->buffer->kind == KBUF_CONST ? "table" : "scratch")
                         : b->written ? "y"
                                      : (value_is_const(b->value) ? "w" : "x");
    return same ? arena_printf(a, "%s%d", letter, same) : letter;
}

/* Orders and names parameters. Where tensors are empty, lowering may have asked for what no instruction uses. */
static void arrange_params(Assembly *as, KKernel *k, LowerState *s) {
    int n = k->params.len, used = 0, *place = ARENA_ARRAY(as->arena, int, n);
    Binding *old = arena_dup(as->arena, s->bindings.data, (size_t)n * sizeof *old);
    for (int i = 0; i < n; i++) {
        assert(old[i].param == k->params.data[i]);
        place[i] = -1;
    }
    meet_params(k->body, place, &used);
    for (int i = 0; i < n; i++) {
        if (place[i] >= 0) {
            s->bindings.data[place[i]] = old[i];
            k->params.data[place[i]] = old[i].param;
            old[i].param->index = place[i];
        } else if (old[i].buffer) {
            remove_buffer(as->module, old[i].buffer);
        }
    }
    k->params.len = s->bindings.len = used;
    for (int i = 0; i < used; i++) {
        int same = 0;
        const Binding *b = &s->bindings.data[i];
        const char *name = param_name(as->arena, b, 0);
        for (int j = 0; j < i; j++)
            same += !strcmp(param_name(as->arena, &s->bindings.data[j], 0), name);
        b->param->name = param_name(as->arena, b, same);
    }
}

/* A parameter counts only what the kernel touches, so that kernels on parts of larger buffers are equal. */
static void tighten_params(Arena *a, KKernel *k) {
    KExtent *e = ARENA_ARRAY(a, KExtent, k->params.len);
    kernel_extents(k, e);
    for (int i = 0; i < k->params.len; i++)
        k->params.data[i]->count = e[i].hi + 1;
}

/* Which rows a call computes and what the windows hold then: arguments of the kernel. */
static void open_strips(Lower *l, const Graph *g) {
    LowerState *s = l->state;
    s->strips = graph_strips(g, s->group, &s->member);
    if (!s->strips)
        return;
    s->from = kx_var(l->arena, kernel_index(l->kernel, "from"));
    s->to = kx_var(l->arena, kernel_index(l->kernel, "to"));
    if (s->member > 0)
        s->in_base = kx_var(l->arena, kernel_index(l->kernel, "in_base"));
    if (s->member < s->strips->n - 1)
        s->out_base = kx_var(l->arena, kernel_index(l->kernel, "out_base"));
}

/* One kernel for the group and its call for all rows; no kernel where there is nothing to do. */
static KCall lower_group(Assembly *as, Node *first, Node *last) {
    LowerState state = {.group = first->group, .first = first, .last = last};
    Node *anchor = last;
    double macs = 0;
    for (Node *n = first;; n = n->next) {
        if (has_loops(n))
            anchor = n;
        if (n->op->macs)
            macs += n->op->macs(n);
        if (n == last)
            break;
    }
    KKernel *k = kernel_new(as->module, arena_strdup(as->arena, anchor->op_type));
    Lower l = {kb_at_end(k, k->body), as->module, k, as->graph, as->arena, as->options, &state};
    open_strips(&l, as->graph);
    if (anchor->op->lower)
        anchor->op->lower(&l, anchor);
    else
        lower_elements(&l, anchor);
    kb_yield(&l.b, 0, NULL);
    kernel_order(k);
    kernel_simplify(k);
    arrange_params(as, k, &state);
    tighten_params(as->arena, k);
    if (!k->params.len)
        return (KCall){0}; /* nothing but empty tensors */
    KArg *arg = arguments(as, &state);
    set_pointer_facts(k, arg);
    const char *comment = joined_sources(as->arena, &state);
    KKernel *shared = share(as, k);
    if (shared == k) {
        k->name = kernel_name(as, anchor);
        k->comment = comment;
        VEC_PUSH(as->arena, &as->module->kernels, k);
    } else {
        shared->comment = arena_printf(as->arena, "%s; %s", shared->comment, comment);
    }
    return (KCall){.kernel = shared, .arg = arg, .comment = comment, .macs = (int64_t)macs};
}

/* --- strips --- */

/* Copies rows of a window to its start; they do not overlap. */
static KCall move_rows(Assembly *as, const Value *v, int64_t from, int64_t rows) {
    int64_t row = v->storage.stride[2], count = rows * row;
    KKernel *k = kernel_new(as->module, "move_rows");
    KParam *x = kernel_param(k, "x", dtype_stored(v->dtype), count, false), *y = kernel_param(k, "y", dtype_stored(v->dtype), count, true);
    KBuilder b = kb_at_end(k, k->body);
    KInstr *loop = kb_for(&b, KLOOP_PARALLEL, "i", kb_int(&b, DT_INDEX, 0), kb_int(&b, DT_INDEX, count), 1, 0, NULL);
    KIndex at = kx_var(as->arena, kb_iv(loop));
    kb_store(&b, y, at, kb_load(&b, x, at));
    kb_end_for(&b, loop, NULL);
    kb_yield(&b, 0, NULL);
    KArg *arg = ARENA_ARRAY(as->arena, KArg, 2);
    arg[0] = (KArg){buffer_of(as, v->storage.root), from * row};
    arg[1] = (KArg){arg[0].buffer, 0};
    set_pointer_facts(k, arg);
    KCall c = {.kernel = share(as, k), .arg = arg, .comment = "rows that the next strip needs again"};
    if (c.kernel == k) {
        k->name = ident_unique(as->arena, &as->kernel_names, "move_rows");
        k->comment = c.comment;
        VEC_PUSH(as->arena, &as->module->kernels, k);
    }
    return c;
}

static void call_strips(Assembly *as, const Strips *s, const KCall *whole) {
    for (int i = 0; i < s->steps.len; i++) {
        const StripStep *step = &s->steps.data[i];
        const Value *v = s->value[step->member];
        if (step->move) {
            VEC_PUSH(as->arena, &as->module->calls, move_rows(as, v, step->lo - step->out_base, step->hi - step->lo));
            continue;
        }
        KCall c = whole[step->member];
        int n = 0;
        c.index = ARENA_ARRAY(as->arena, int64_t, 4);
        c.index[n++] = step->lo;
        c.index[n++] = step->hi;
        if (step->member > 0)
            c.index[n++] = step->in_base;
        if (step->member < s->n - 1)
            c.index[n++] = step->out_base;
        c.macs = (int64_t)((double)c.macs * (double)step->hi / (double)v->dim[2]) -
                 (int64_t)((double)c.macs * (double)step->lo / (double)v->dim[2]);
        VEC_PUSH(as->arena, &as->module->calls, c);
    }
}

/* Puts scratch buffers, each alive from its first call to its last, into the lowest gap between the buffers alive then. */
static void place_scratch(Assembly *as) {
    KModule *m = as->module;
    int *first = ARENA_ARRAY(as->arena, int, m->buffers.len), *last = ARENA_ARRAY(as->arena, int, m->buffers.len);
    for (int i = 0; i < m->buffers.len; i++)
        first[i] = m->calls.len;
    for (int c = 0; c < m->calls.len; c++) {
        const KCall *call = &m->calls.data[c];
        for (int i = 0; i < call->kernel->params.len; i++) {
            int b = call->arg[i].buffer->index;
            if (first[b] > c)
                first[b] = c;
            last[b] = c;
        }
    }
    for (int i = 0; i < m->buffers.len; i++) {
        KBuffer *b = m->buffers.data[i];
        if (b->kind != KBUF_ARENA || b->arena_offset >= 0)
            continue;
        int64_t at = 0;
        bool moved = true;
        while (moved) {
            moved = false;
            for (int j = 0; j < m->buffers.len; j++) {
                const KBuffer *o = m->buffers.data[j];
                if (o->kind != KBUF_ARENA || o->arena_offset < 0 || first[j] > last[i] || last[j] < first[i])
                    continue;
                if (at < o->arena_offset + kbuffer_bytes(o) && o->arena_offset < at + kbuffer_bytes(b)) {
                    at = round_up(o->arena_offset + kbuffer_bytes(o), m->arena_align);
                    moved = true;
                }
            }
        }
        b->arena_offset = at;
        if (m->arena_size < at + kbuffer_bytes(b))
            m->arena_size = at + kbuffer_bytes(b);
    }
}

/* Several nodes may have tables of one name. */
static void name_tables(Assembly *as) {
    for (int i = 0; i < as->module->buffers.len; i++) {
        KBuffer *b = as->module->buffers.data[i];
        if (b->kind == KBUF_CONST && !b->onnx_name)
            b->name = ident_unique(as->arena, &as->taken, b->name);
    }
}

KModule *lower_graph(const Graph *g, Arena *a, const LowerOptions *o) {
    Assembly as = {.options = *o, .graph = g, .module = kernel_module_new(a), .arena = a};
    as.buffer = ARENA_ARRAY(a, KBuffer *, g->next_id);
    as.module->model_name = g->name;
    as.module->arena_size = g->arena_size;
    KCall *part = NULL; /* of the strips that are being lowered */
    for (int i = 0; i < g->inputs.len; i++)
        interface_buffer(&as, KBUF_INPUT, g->inputs.data[i]);
    for (int i = 0; i < g->outputs.len; i++)
        interface_buffer(&as, KBUF_OUTPUT, g->outputs.data[i]);
    for (Node *n = group_from(g->first), *last; n; n = group_from(last->next)) {
        int member;
        last = group_last(n);
        const Strips *strips = graph_strips(g, n->group, &member);
        KCall call = lower_group(&as, n, last);
        if (!call.kernel)
            continue;
        if (!strips) {
            VEC_PUSH(a, &as.module->calls, call);
            continue;
        }
        if (member == 0)
            part = ARENA_ARRAY(a, KCall, strips->n);
        part[member] = call;
        if (member == strips->n - 1)
            call_strips(&as, strips, part);
    }
    place_scratch(&as);
    name_tables(&as);
    return as.module;
}
