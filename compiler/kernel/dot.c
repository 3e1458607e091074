/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of products of bytes become dot products of four (or eight, or sixteen) where the machine has them: the constant operand is
 * stored anew, so many iterations of the sum side by side, so that a vector of outputs finds its words in one piece. */
#include "kernel/rewrite.h"
#include "kernel/schedule.h"
#include "kernel/transform.h"

enum { LONG = 8, ALONG = 16, SHORTEST_ROW = 16 };

/* for c in 0..depth: sum += x[.. + c] * w[.. + stride * c + ..], both bytes, w signed and constant. */
typedef struct DotLoop {
    KKernel *kernel;
    KInstr *loop, *load_x, *load_w, *fma;
    KOp op;     /* by the sign of x */
    bool flips; /* x is stored with the other sign; its sign bit is flipped on the way */
    int64_t depth, stride;
    int64_t width; /* how many at a time */
    bool rows;     /* all: the loop stays */
    bool words;    /* four iterations, side by side in both operands: nothing is to be stored anew */
} DotLoop;

static const KInstr *through_cast(const KValue *v) {
    const KInstr *i = v->def;
    return i && i->op == KOP_CAST && i->arg[0]->def ? i->arg[0]->def : NULL;
}

static bool match_x(DotLoop *d, const KValue *v) {
    const KInstr *i = through_cast(v);
    int64_t c;
    if (!i || dtype_bits(i->result[0]->type.dtype) != 8)
        return false;
    d->op = i->result[0]->type.dtype == DT_I8 ? KOP_DOT_S8 : KOP_DOT;
    if (i->op == KOP_BITCAST && i->arg[0]->def && i->arg[0]->def->op == KOP_XOR) {
        const KInstr *flip = i->arg[0]->def, *bit = flip->arg[1]->def;
        if (!bit || bit->op != KOP_CONST || (bit->imm.i & 255) != 128)
            return false;
        d->flips = true;
        i = flip->arg[0]->def;
    }
    if (!i || i->op != KOP_LOAD)
        return false;
    d->load_x = (KInstr *)i;
    c = kx_coef(i->mem.at, kb_iv(d->loop));
    return c == 1 && i->result[0]->type.lanes == 1;
}

/* What is not a multiple of the block (all depth iterations of all outputs) lies within one row of outputs. */
static bool match_w(DotLoop *d, const KValue *v) {
    const KInstr *i = through_cast(v);
    if (!i || i->op != KOP_LOAD || i->mem.param->dtype != DT_I8 || i->mem.param->written || i->result[0]->type.lanes != 1)
        return false;
    d->load_w = (KInstr *)i;
    d->stride = kx_coef(i->mem.at, kb_iv(d->loop));
    if (d->stride < 2)
        return false;
    int64_t block = d->stride * d->depth, most = i->mem.at->base % block, lo, hi;
    for (int k = 0; k < i->mem.at->n; k++) {
        const KTerm *t = &i->mem.at->term[k];
        if (t->var == kb_iv(d->loop) || t->coef % block == 0)
            continue;
        if (t->coef < 0 || !kernel_value_range(t->var, &lo, &hi) || lo < 0)
            return false;
        most += t->coef * hi;
    }
    return i->mem.at->base >= 0 && most < d->stride;
}

static bool match_words(DotLoop *d, const KValue *v) {
    const KInstr *i = through_cast(v);
    if (d->depth != 4 || !i || i->op != KOP_LOAD || i->mem.param->dtype != DT_I8 || i->result[0]->type.lanes != 1)
        return false;
    d->load_w = (KInstr *)i;
    d->words = kx_coef(i->mem.at, kb_iv(d->loop)) == 1;
    return d->words;
}

static bool match(KKernel *k, KInstr *loop, DotLoop *d) {
    int64_t lo, hi;
    *d = (DotLoop){.kernel = k, .loop = loop};
    if (loop->op != KOP_FOR || loop->loop != KLOOP_REDUCE || loop->nresults != 1 || loop->step != 1 ||
        !kloop_bounds(loop, &lo, &hi, NULL) || lo || hi < 4 || hi % 4)
        return false;
    d->depth = hi;
    int work = 0;
    for (const KInstr *i = loop->block[0]->first; i; i = i->next) {
        if (i->block[0])
            return false;
        work += i->op == KOP_FMA || i->op == KOP_LOAD;
    }
    d->fma = loop->block[0]->last->arg[0]->def;
    return work == 3 && d->fma && d->fma->op == KOP_FMA && d->fma->arg[2] == kb_carried(loop, 0) &&
           d->fma->result[0]->type.dtype == DT_I32 && match_x(d, d->fma->arg[0]) && (match_words(d, d->fma->arg[1]) || match_w(d, d->fma->arg[1]));
}

typedef VEC(DotLoop) DotLoops;

static void collect(Arena *a, KKernel *k, KBlock *b, DotLoops *all) {
    for (KInstr *i = b->first; i; i = i->next) {
        DotLoop d;
        if (match(k, i, &d))
            VEC_PUSH(a, all, d);
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                collect(a, k, i->block[n], all);
    }
}

static int count_loads(const KBlock *b, const KParam *p) {
    int count = 0;
    for (const KInstr *i = b->first; i; i = i->next) {
        count += i->op == KOP_LOAD && i->mem.param == p;
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                count += count_loads(i->block[n], p);
    }
    return count;
}

/* --- the constant in its new order --- */

/* The axis of the data that counts the iterations: all behind it make up one row of outputs. */
static int depth_axis(const KData *data, int64_t depth, int64_t stride) {
    int64_t row = 1;
    for (int d = data->rank - 1; d >= 0; d--) {
        if (row == stride)
            return data->dim[d] == depth ? d : -1;
        row *= data->dim[d];
    }
    return -1;
}

static KData interleaved(Arena *a, const KData *old, int axis, int64_t width) {
    int64_t *dim = ARENA_ARRAY(a, int64_t, old->rank + 1), *stride = ARENA_ARRAY(a, int64_t, old->rank + 1);
    for (int d = 0; d < old->rank; d++) {
        dim[d] = d == axis ? old->dim[d] / width : old->dim[d];
        stride[d] = d == axis ? old->stride[d] * width : old->stride[d];
    }
    dim[old->rank] = width;
    stride[old->rank] = old->stride[axis];
    return (KData){.bytes = old->bytes, .rank = old->rank + 1, .dim = dim, .stride = stride};
}

static bool has_least(const KData *data, int axis, int64_t at) { /* from this axis on */
    if (axis == data->rank)
        return ((const int8_t *)data->bytes)[at] == INT8_MIN;
    for (int64_t i = 0; i < data->dim[axis]; i++)
        if (has_least(data, axis + 1, at + i * data->stride[axis]))
            return true;
    return false;
}

bool schedule_has_least(const KData *data) { return has_least(data, 0, 0); }

/* Whether the machine has such a product. */
static bool suits(const Target *t, const DotLoop *d, const KData *w) {
    if (t->dot & DOT_ROWS)
        return d->depth >= SHORTEST_ROW;
    if (t->dot & (DOT_HALVES | (d->op == KOP_DOT ? DOT_U8S8 : DOT_S8S8)))
        return true;
    return w && d->op == KOP_DOT_S8 && t->dot & DOT_NARROW && !schedule_has_least(w);
}

/* Whether a loop around it gives other rows for the same columns, and a sum of long words is a loop still, which tiles need. */
static bool has_rows(const DotLoop *d) {
    int64_t lo, hi;
    const KInstr *around = d->loop->parent->parent;
    if (d->depth == LONG && !(around && around->op == KOP_FOR && around->loop == KLOOP_REDUCE))
        return false;
    for (const KInstr *l = around; l; l = l->parent->parent)
        if (l->op == KOP_FOR && l->loop == KLOOP_PARALLEL && kx_coef(d->load_x->mem.at, kb_iv(l)) && !kx_coef(d->load_w->mem.at, kb_iv(l)) &&
            kloop_bounds(l, &lo, &hi, NULL) && hi - lo > l->step)
            return true;
    return false;
}

static int64_t width_of(const Target *t, const DotLoop *d) {
    if (t->dot & DOT_ROWS)
        return d->depth;
    if (t->dot & DOT_PAIRS && d->op == KOP_DOT_S8 && d->depth % LONG == 0 && has_rows(d))
        return LONG;
    return t->dot & DOT_ALONG && d->op == KOP_DOT_S8 && d->depth % ALONG == 0 ? ALONG : 4;
}

/* Whether every call gives the operand a whole constant of the right form that nothing else reads. */
static bool may_reorder(const KModule *m, const BufferUser *user, const Target *t, const DotLoop *d) {
    int w = d->load_w->mem.param->index;
    if (count_loads(d->kernel->body, d->load_w->mem.param) != 1)
        return false;
    for (int i = 0; i < m->calls.len; i++) {
        const KCall *c = &m->calls.data[i];
        if (c->kernel != d->kernel)
            continue;
        const KBuffer *b = c->arg[w].buffer;
        if (b->kind != KBUF_CONST || user[b->index].users != 1 || b->count % (d->depth * d->stride) ||
            depth_axis(&b->data, d->depth, d->stride) < 0 || !suits(t, d, &b->data))
            return false;
    }
    return true;
}

static void reorder(const KModule *m, const DotLoop *d) {
    bool *done = ARENA_ARRAY(m->arena, bool, m->buffers.len);
    for (int i = 0; i < m->calls.len; i++) {
        if (m->calls.data[i].kernel != d->kernel)
            continue;
        KBuffer *b = m->calls.data[i].arg[d->load_w->mem.param->index].buffer;
        if (!done[b->index])
            b->data = interleaved(m->arena, &b->data, depth_axis(&b->data, d->depth, d->stride), d->width);
        done[b->index] = true;
    }
}

/* --- the loop --- */

/* The operand's address at iteration c, a multiple of the width. */
static KIndex new_address(Arena *a, const DotLoop *d, KIndex c) {
    KIndex old = d->load_w->mem.at;
    int64_t block = d->stride * d->depth, within = old->base % block;
    KIndex at = kx_add_const(a, kx_scale(a, c, d->stride), old->base - within + d->width * within);
    for (int k = 0; k < old->n; k++) {
        const KTerm *t = &old->term[k];
        if (t->var != kb_iv(d->loop))
            at = kx_add(a, at, kx_scale(a, kx_var(a, t->var), t->coef % block ? d->width * t->coef : t->coef));
    }
    return at;
}

static KValue *along(KBuilder *b, const DotLoop *d, KIndex c, KValue *sum) {
    KIndex at = kx_substitute(b->arena, d->load_x->mem.at, kb_iv(d->loop), c);
    KValue *x = kb_bitcast(b, kb_load_vector(b, d->load_x->mem.param, at, ALONG, 1), DT_I8);
    KValue *w = kb_load_vector(b, d->load_w->mem.param, new_address(b->arena, d, c), ALONG, 1);
    if (d->flips)
        x = kb_binary(b, KOP_XOR, x, kb_splat(b, kb_int(b, DT_I8, INT8_MIN), ALONG));
    return kb_dot(b, KOP_DOT_SUM, x, w, sum);
}

/* As many iterations from c on as fill a word, whose w lies at `at`. */
static KValue *word_at_once(KBuilder *b, const DotLoop *d, KIndex c, KIndex at, KValue *sum) {
    KIndex from = kx_substitute(b->arena, d->load_x->mem.at, kb_iv(d->loop), c);
    DType word = d->width == LONG ? DT_I64 : DT_I32;
    int width = dtype_size(word);
    KValue *x = kb_bitcast(b, kb_load_vector(b, d->load_x->mem.param, from, width, 1), word);
    KValue *w = kb_bitcast(b, kb_load_vector(b, d->load_w->mem.param, at, width, 1), word);
    if (d->flips)
        x = kb_binary(b, KOP_XOR, x, kb_int(b, word, word == DT_I64 ? (int64_t)0x8080808080808080 : (int32_t)0x80808080));
    return kb_dot(b, word == DT_I64 ? KOP_DOT_LONG : d->op, x, w, sum);
}

static KValue *one_after_another(KBuilder *b, const DotLoop *d, KIndex c, KValue *sum) {
    for (int j = 0; j < d->width; j++) {
        KMap m = kmap_new(d->kernel);
        kmap_set(&m, kb_iv(d->loop), kx_value(b, kx_add_const(b->arena, c, j)));
        kmap_set(&m, kb_carried(d->loop, 0), sum);
        for (const KInstr *i = d->loop->block[0]->first; i->op != KOP_YIELD; i = i->next) {
            if (i == d->load_w)
                kmap_set(&m, i->result[0], kb_load(b, i->mem.param, kx_add_const(b->arena, new_address(b->arena, d, c), j)));
            else
                kernel_clone(b, &m, i);
        }
        sum = kmap_get(&m, d->fma->result[0]);
    }
    return sum;
}

static void replace_loop(const DotLoop *d, KValue *by) {
    KMap m = kmap_new(d->kernel);
    kmap_set(&m, d->loop->result[0], by);
    kernel_replace_uses(d->kernel, d->kernel->body, &m);
    kernel_unlink(d->loop);
}

static void rewrite(const DotLoop *d, bool plain) {
    Arena *a = d->kernel->module->arena;
    if (d->rows) {
        d->load_w->mem.at = kx_add(a, new_address(a, d, kx_const(a, 0)), kx_var(a, kb_iv(d->loop)));
        return;
    }
    KInstr *old = d->loop;
    KBuilder b = kb_before(d->kernel, old);
    KInstr *loop = kb_for(&b, KLOOP_REDUCE, kb_iv(old)->name, old->arg[0], old->arg[1], d->width, 1, old->arg + 2);
    KValue *sum = kb_carried(loop, 0);
    KIndex c = kx_var(a, kb_iv(loop));
    if (plain)
        sum = one_after_another(&b, d, c, sum);
    else
        sum = d->width == ALONG ? along(&b, d, c, sum) : word_at_once(&b, d, c, new_address(a, d, c), sum);
    kb_end_for(&b, loop, &sum);
    replace_loop(d, kb_result(loop, 0));
}

/* The loop was one product of words. */
static void rewrite_words(const DotLoop *d) {
    KBuilder b = kb_before(d->kernel, d->loop);
    KIndex zero = kx_const(b.arena, 0), at = kx_substitute(b.arena, d->load_w->mem.at, kb_iv(d->loop), zero);
    replace_loop(d, word_at_once(&b, d, zero, at, d->loop->arg[2]));
}

void schedule_module_dots(KModule *m, const Target *t, bool plain) {
    const BufferUser *user = schedule_buffer_users(m);
    DotLoops all = {0};
    for (int i = 0; t->dot && i < m->kernels.len; i++)
        collect(m->arena, m->kernels.data[i], m->kernels.data[i]->body, &all);
    for (int i = 0; i < all.len; i++) {
        if (all.data[i].words && !plain && suits(t, &all.data[i], NULL))
            rewrite_words(&all.data[i]);
        if (all.data[i].words || !may_reorder(m, user, t, &all.data[i]))
            continue;
        all.data[i].width = width_of(t, &all.data[i]);
        all.data[i].rows = (t->dot & DOT_ROWS) != 0;
        reorder(m, &all.data[i]);
        rewrite(&all.data[i], plain);
    }
    for (int i = 0; i < all.len; i++)
        if (!i || all.data[i].kernel != all.data[i - 1].kernel)
            kernel_simplify(all.data[i].kernel);
}
