/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules keep the meaning: random kernels run before and after random transformations, and before and after what the
 * policy does for several machines. The numbers are small integers in floats, so that sums are exact in every order and
 * results must agree bit for bit. */
#include <string.h>

#include "backend/interface.h"
#include "jit/jit.h"
#include "kernel/rewrite.h"
#include "kernel/schedule.h"
#include "kernel/text.h"
#include "unit.h"

enum { MOST_DEPTH = 4, MOST_LOOPS = 256 };

static uint64_t seed;

static int below(int n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)((seed >> 20) % (uint64_t)n);
}

static bool rarely(int n) { return below(n) == 0; }

/* --- a random kernel: a nest that writes t, and often another that reads it and writes y --- */

typedef struct Random {
    KModule *m;
    KKernel *k;
    KBuilder b;
    KCall call;
    VEC(KArg) args;
    int inputs;
} Random;

static Arena *arena;
static Diag diag;

static KIndex var(KValue *v) { return kx_var(arena, v); }

static KValue *index_const(Random *r, int64_t x) { return kb_int(&r->b, DT_INDEX, x); }

static KParam *param(Random *r, KBufferKind kind, DType t, int64_t count) {
    int n = r->args.len;
    const char *name = arena_printf(arena, kind == KBUF_INPUT ? "x%d" : kind == KBUF_OUTPUT ? "y%d" : "t%d", n);
    KArg arg = {.buffer = kernel_buffer(r->m, kind, name, t, count)};
    VEC_PUSH(arena, &r->args, arg);
    r->inputs += kind == KBUF_INPUT;
    return kernel_param(r->k, name, t, count, kind != KBUF_INPUT && kind != KBUF_CONST);
}

/* A place in a new input that walks along the variables in some way. */
static KIndex place(Random *r, int n, KValue *const *iv, int64_t *count) {
    static const int64_t coefs[] = {0, 1, 1, 1, 2, 3, -1, 16};
    KIndex at = kx_const(arena, 0);
    int64_t lo, hi;
    (void)r;
    for (int d = 0; d < n; d++)
        at = kx_add(arena, at, kx_scale(arena, var(iv[d]), coefs[below(8)]));
    ck_assert(kx_range(at, &lo, &hi));
    *count = hi - lo + 1;
    return kx_add_const(arena, at, -lo);
}

static KValue *loaded(Random *r, int n, KValue *const *iv) {
    int64_t count;
    KIndex at = place(r, n, iv, &count);
    return kb_load(&r->b, param(r, KBUF_INPUT, DT_F32, count), at);
}

/* An element whose place is loaded. */
static KValue *gathered(Random *r, int n, KValue *const *iv) {
    int64_t count;
    KIndex at = place(r, n, iv, &count);
    KValue *i = kb_cast(&r->b, kb_load(&r->b, param(r, KBUF_INPUT, rarely(2) ? DT_I32 : DT_I64, count), at), DT_INDEX);
    i = kb_binary(&r->b, KOP_MAX, kb_binary(&r->b, KOP_MIN, i, index_const(r, 6)), index_const(r, 0));
    return kb_load(&r->b, param(r, KBUF_INPUT, DT_F32, 7), var(i));
}

static KValue *guarded(Random *r, int n, KValue *const *iv) {
    KBuilder *b = &r->b;
    KValue *v = iv[below(n)];
    KInstr *branch = kb_if(b, kb_binary(b, KOP_LT, v, index_const(r, 1 + below(5))), 1);
    KValue *x = loaded(r, n, iv);
    kb_else(b, branch, &x);
    KValue *zero = kb_float(b, DT_F32, below(3));
    kb_end_if(b, branch, &zero);
    return kb_result(branch, 0);
}

static KValue *combined(Random *r, KValue *x, KValue *y) {
    KBuilder *b = &r->b;
    switch (below(8)) {
    case 0: return kb_binary(b, KOP_ADD, x, y);
    case 1: return kb_binary(b, KOP_SUB, x, y);
    case 2: return kb_binary(b, KOP_MIN, x, y);
    case 3: return kb_binary(b, KOP_MAX, x, y);
    case 4: return kb_select(b, kb_binary(b, KOP_LT, x, y), y, kb_unary(b, KOP_NEG, x));
    case 5: return kb_cast(b, kb_binary(b, KOP_XOR, kb_cast(b, x, DT_I32), kb_cast(b, y, DT_I32)), DT_F32);
    case 6: return kb_math(b, KMATH_FLOOR, kb_binary(b, KOP_MUL, x, kb_float(b, DT_F32, 0.5)), NULL);
    default: return kb_binary(b, KOP_MAX, kb_binary(b, KOP_ADD, x, y), kb_float(b, DT_F32, 0));
    }
}

static KValue *simple(Random *r, int n, KValue *const *iv) {
    switch (below(10)) {
    case 0: return gathered(r, n, iv);
    case 1: return guarded(r, n, iv);
    case 2: return kb_cast(&r->b, iv[below(n)], DT_F32);
    default: return loaded(r, n, iv);
    }
}

/* Bounds of a window at a border, as convolutions have them; or constant ones. */
static void bounds(Random *r, int n, KValue *const *iv, KValue **lo, KValue **hi) {
    KBuilder *b = &r->b;
    int64_t size = 1 + below(rarely(3) ? 40 : 9), first, last;
    *lo = index_const(r, 0);
    *hi = index_const(r, size);
    KIndex at = var(iv[below(n)]);
    if (!rarely(3) || !kx_range(at, &first, &last))
        return;
    int64_t pad = below(3);
    *lo = kb_binary(b, KOP_MAX, *lo, kx_value(b, kx_add_const(arena, kx_scale(arena, at, -1), pad)));
    *hi = kb_binary(b, KOP_MIN, *hi, kx_value(b, kx_add_const(arena, kx_scale(arena, at, -1), last + 1)));
}

static KValue *reduced(Random *r, int n, KValue *const *iv, int depth);

/* The accumulator after one more element. */
static KValue *accumulated(Random *r, KOp op, KValue *acc, int n, KValue *const *iv) {
    KBuilder *b = &r->b;
    if (op == KOP_FMA)
        return kb_fma(b, loaded(r, n, iv), loaded(r, n, iv), acc);
    return kb_binary(b, op, rarely(2) ? combined(r, loaded(r, n, iv), loaded(r, n, iv)) : simple(r, n, iv), acc);
}

static KValue *reduced(Random *r, int n, KValue *const *iv, int depth) {
    static const KOp ops[] = {KOP_FMA, KOP_FMA, KOP_ADD, KOP_MAX, KOP_MIN};
    KBuilder *b = &r->b;
    KValue *lo, *hi, *in[MOST_DEPTH + 3], *init[2], *next[2];
    int carried = rarely(4) ? 2 : 1;
    KOp op[2] = {ops[below(5)], ops[below(5)]};
    for (int c = 0; c < carried; c++)
        init[c] = kb_float(b, DT_F32, below(3));
    bounds(r, n, iv, &lo, &hi);
    KInstr *l = kb_for(b, KLOOP_REDUCE, "k", lo, hi, 1, carried, init);
    memcpy(in, iv, (size_t)n * sizeof *in);
    in[n] = kb_iv(l);
    if (depth && carried == 1) { /* two loops that reduce together */
        KValue *acc = kb_carried(l, 0);
        bounds(r, n, iv, &lo, &hi);
        KInstr *inner = kb_for(b, KLOOP_REDUCE, "j", lo, hi, 1, 1, &acc);
        in[n + 1] = kb_iv(inner);
        next[0] = accumulated(r, op[0], kb_carried(inner, 0), n + 2, in);
        kb_end_for(b, inner, next);
        next[0] = kb_result(inner, 0);
    } else {
        for (int c = 0; c < carried; c++)
            next[c] = accumulated(r, op[c], kb_carried(l, c), n + 1, in);
    }
    kb_end_for(b, l, next);
    return carried == 2 ? kb_binary(b, KOP_SUB, kb_result(l, 0), kb_result(l, 1)) : kb_result(l, 0);
}

static KParam *random_nest(Random *r, KBufferKind kind, const KParam *from) {
    static const int trips[] = {1, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 24, 33, 40};
    KBuilder *b = &r->b;
    KInstr *loop[MOST_DEPTH];
    KValue *iv[MOST_DEPTH];
    int n = 1 + below(MOST_DEPTH);
    int64_t count = 1, size[MOST_DEPTH], stride[MOST_DEPTH];
    for (int d = 0; d < n; d++) {
        size[d] = trips[below(15)];
        size[d] = count * size[d] > 3000 ? 1 : size[d];
        count *= size[d];
    }
    int64_t next = 1; /* row-major, or with the last axis but one innermost */
    bool swapped = n > 1 && rarely(3);
    for (int k = n - 1; k >= 0; k--) {
        int d = swapped && k >= n - 2 ? 2 * n - 3 - k : k;
        stride[d] = next;
        next *= size[d];
    }
    KIndex at = kx_const(arena, 0);
    KParam *y = param(r, kind, DT_F32, count);
    for (int d = 0; d < n; d++) {
        loop[d] = kb_for(b, KLOOP_PARALLEL, "i", index_const(r, 0), index_const(r, size[d]), 1, 0, NULL);
        iv[d] = kb_iv(loop[d]);
        at = kx_add(arena, at, kx_scale(arena, var(iv[d]), stride[d]));
    }
    KValue *x = rarely(2) ? reduced(r, n, iv, below(2)) : simple(r, n, iv);
    for (int i = below(3); i > 0; i--)
        x = combined(r, x, simple(r, n, iv));
    if (from) {
        KIndex there = rarely(2) && from->count >= count ? at : kx_const(arena, below((int)from->count));
        x = combined(r, x, kb_load(b, (KParam *)from, there));
    }
    if (rarely(4))
        x = combined(r, x, reduced(r, n, iv, 0));
    kb_store(b, y, at, x);
    for (int d = n - 1; d >= 0; d--)
        kb_end_for(b, loop[d], NULL);
    return y;
}

/* The module lists inputs first, outputs next, then the rest. */
static void sort_buffers(KModule *m) {
    KBuffer **sorted = ARENA_ARRAY(arena, KBuffer *, m->buffers.len);
    int n = 0;
    for (int kind = KBUF_INPUT; kind <= KBUF_ARENA; kind++)
        for (int i = 0; i < m->buffers.len; i++)
            if ((int)m->buffers.data[i]->kind == kind)
                sorted[n++] = m->buffers.data[i];
    for (int i = 0; i < n; i++) {
        m->buffers.data[i] = sorted[i];
        sorted[i]->index = i;
        if (sorted[i]->kind != KBUF_ARENA)
            continue;
        sorted[i]->arena_offset = m->arena_size;
        m->arena_size += (sorted[i]->count * 4 + 63) / 64 * 64;
    }
}

static Random random_kernel(uint64_t from) {
    Random r = {.m = kernel_module_new(arena)};
    seed = from * 0x9e3779b97f4a7c15 + 1;
    r.k = kernel_new(r.m, "k");
    VEC_PUSH(arena, &r.m->kernels, r.k);
    r.b = kb_at_end(r.k, r.k->body);
    const KParam *t = rarely(2) ? random_nest(&r, KBUF_ARENA, NULL) : NULL;
    random_nest(&r, KBUF_OUTPUT, t);
    kb_yield(&r.b, 0, NULL);
    r.call = (KCall){.kernel = r.k, .arg = r.args.data};
    VEC_PUSH(arena, &r.m->calls, r.call);
    sort_buffers(r.m);
    return r;
}

/* --- running --- */

static void expect_sound(const Random *r, const char *after) {
    const char *error = kernel_module_verify(r->m);
    ck_assert_msg(!error, "%s: after %s: %s", r->m->model_name, after, error);
}

static const void *random_input(const KBuffer *b) {
    char *p = arena_array(arena, (size_t)b->count, 8);
    for (int64_t i = 0; i < b->count; i++) {
        int x = below(7) - 2;
        if (b->dtype == DT_F32)
            ((float *)p)[i] = (float)x;
        else if (b->dtype == DT_I32)
            ((int32_t *)p)[i] = x;
        else
            ((int64_t *)p)[i] = x;
    }
    return p;
}

static const float *run(const Random *r, const void *const *in, int64_t *count) {
    const KBuffer *y = r->m->buffers.data[r->inputs];
    float *out = arena_array(arena, (size_t)y->count, sizeof *out);
    Jit *j = jit_compile(&diag, r->m, JIT_QUICK);
    ck_assert_ptr_nonnull(j);
    for (int64_t i = 0; i < y->count; i++)
        out[i] = -12345;
    ck_assert_int_eq(jit_run(j, in, (void *const[]){out}), 0);
    jit_free(j);
    *count = y->count;
    return out;
}

static void expect_same(const Random *x, const Random *y, const char *after) {
    const void **in = ARENA_ARRAY(arena, const void *, x->inputs + 1);
    int64_t n;
    for (int i = 0; i < x->inputs; i++)
        in[i] = random_input(x->m->buffers.data[i]);
    const float *a = run(x, in, &n), *b = run(y, in, &n);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(a[i] == b[i], "%s: after %s: element %lld is %g and was %g", y->m->model_name, after, (long long)i,
                      (double)b[i], (double)a[i]);
}

/* --- random transformations --- */

static void collect(KBlock *b, KInstr **loop, int *n) {
    for (KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_FOR && *n < MOST_LOOPS)
            loop[(*n)++] = i;
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                collect(i->block[k], loop, n);
    }
}

static int instructions(const KBlock *b) {
    int n = 0;
    for (const KInstr *i = b->first; i; i = i->next) {
        n++;
        for (int k = 0; k < 2; k++)
            n += i->block[k] ? instructions(i->block[k]) : 0;
    }
    return n;
}

static const char *transform_once(Random *r) {
    KInstr *loop[MOST_LOOPS], *a, *b, *c;
    int n = 0;
    collect(r->k->body, loop, &n);
    if (!n)
        return NULL;
    KInstr *l = loop[below(n)];
    int64_t lo, hi, trips = 0;
    bool known = kloop_bounds(l, &lo, &hi, &trips), short_enough = instructions(l->block[0]) * trips < 1500;
    switch (below(9)) {
    case 0: return schedule_split(r->k, l, 1 + below(9), &a, &b, &c) ? "split" : NULL;
    case 1: return schedule_interchange(r->k, l, &a) ? "interchange" : NULL;
    case 2: return schedule_collapse(r->k, l, &a) ? "collapse" : NULL;
    case 3: return known && schedule_cut(r->k, l, lo + below((int)(hi - lo) + 1), &a) ? "cut" : NULL;
    case 4: return short_enough && schedule_unroll(r->k, l) ? "unroll" : NULL;
    case 5: return short_enough && schedule_jam(r->k, l) ? "jam" : NULL;
    case 6:
        if (schedule_split(r->k, l, 2 << below(4), &a, &b, &c))
            return schedule_vectorize(r->k, b) ? "split, vectorize" : "split";
        return schedule_vectorize(r->k, l) ? "vectorize" : NULL;
    case 7: return schedule_vectorize_reduction(r->k, l, 2 << below(3), 1 + below(3), &c) ? "vectorize_reduction" : NULL;
    default: kernel_simplify(r->k); return "simplify";
    }
}

static void begin(void) {
    arena = arena_new();
    diag = (Diag){.stream = stdout};
}

START_TEST(transformations_keep_the_meaning) {
    for (int i = 0; i < 12; i++) {
        uint64_t from = (uint64_t)(_i * 12 + i + 1);
        begin();
        Random x = random_kernel(from), y = random_kernel(from);
        x.m->model_name = y.m->model_name = arena_printf(arena, "kernel %d", (int)from);
        expect_sound(&x, "building");
        const char *done = "nothing";
        for (int step = 0; step < 14 && instructions(y.k->body) < 4000; step++) {
            const char *name = transform_once(&y);
            if (!name)
                continue;
            done = arena_printf(arena, "%s, %s", done, name);
            expect_sound(&y, done);
        }
        expect_same(&x, &y, done);
        arena_free(arena);
    }
}
END_TEST

static const Target machines[] = {
    {.name = "scalar", .pointer_bits = 32, .vector_registers = 16, .float32 = true},
    {.name = "neon", .pointer_bits = 64, .vector_bits = 128, .vector_registers = 32, .fma = true, .l1 = 32768},
    {.name = "avx2", .pointer_bits = 64, .vector_bits = 256, .vector_registers = 16, .fma = true, .l1 = 32768},
    {.name = "avx512", .pointer_bits = 64, .vector_bits = 512, .vector_registers = 32, .fma = true, .l1 = 32768},
};

START_TEST(schedules_keep_the_meaning) {
    for (int i = 0; i < 12; i++) {
        uint64_t from = (uint64_t)(100000 + _i * 12 + i);
        const Target *t = &machines[i % 4];
        begin();
        Random x = random_kernel(from), y = random_kernel(from);
        x.m->model_name = y.m->model_name = arena_printf(arena, "kernel %d", (int)from);
        schedule_module(y.m, t);
        expect_sound(&y, t->name);
        expect_same(&x, &y, t->name);
        arena_free(arena);
    }
}
END_TEST

/* The parts as calls of their own, the last one first. */
static void reverse_parts(KModule *m) {
    KCall c = m->calls.data[0];
    int last = c.kernel->body->nargs - 1, n = c.parts;
    m->calls.len = c.parts = 0;
    for (int part = n - 1; part >= 0; part--) {
        c.index = arena_dup(arena, c.index, (size_t)(last + 1) * sizeof *c.index);
        c.index[last] = part;
        VEC_PUSH(arena, &m->calls, c);
    }
}

START_TEST(parts_keep_the_meaning) {
    int cut = 0;
    for (int i = 0; i < 12; i++) {
        uint64_t from = (uint64_t)(200000 + _i * 12 + i);
        const Target *t = &machines[i % 4];
        begin();
        Random x = random_kernel(from), y = random_kernel(from);
        x.m->model_name = y.m->model_name = arena_printf(arena, "kernel %d", (int)from);
        schedule_module(x.m, t);
        schedule_module(y.m, t);
        if (schedule_parts(y.k, 2 + below(4))) {
            cut++;
            if (below(2))
                reverse_parts(y.m);
            expect_sound(&y, t->name);
            expect_same(&x, &y, t->name);
        }
        arena_free(arena);
    }
    ck_assert_int_gt(cut, 0);
}
END_TEST

/* --- panels --- */

/* y[m][n] = sum of x[m][k] * w[k][n] over k, or of two halves of the columns apart; w is a constant, stored by columns or
 * by rows in the source. */
static Random product(int rows, int depth, int columns, bool halves, bool transposed) {
    Random r = {.m = kernel_module_new(arena)};
    int n = halves ? columns / 2 : columns;
    r.k = kernel_new(r.m, "k");
    VEC_PUSH(arena, &r.m->kernels, r.k);
    r.b = kb_at_end(r.k, r.k->body);
    KParam *x = param(&r, KBUF_INPUT, DT_F32, (int64_t)rows * depth), *y = param(&r, KBUF_OUTPUT, DT_F32, (int64_t)rows * columns);
    KParam *w = param(&r, KBUF_CONST, DT_F32, (int64_t)depth * columns);
    int64_t *dim = ARENA_ARRAY(arena, int64_t, 2), *stride = ARENA_ARRAY(arena, int64_t, 2);
    dim[0] = depth, dim[1] = columns;
    stride[0] = transposed ? 1 : columns, stride[1] = transposed ? depth : 1;
    KBuffer *data = r.args.data[2].buffer;
    data->data = (KData){.bytes = random_input(data), .rank = 2, .dim = dim, .stride = stride};
    KInstr *i = kb_for(&r.b, KLOOP_PARALLEL, "m", index_const(&r, 0), index_const(&r, rows), 1, 0, NULL);
    KInstr *j = kb_for(&r.b, KLOOP_PARALLEL, "n", index_const(&r, 0), index_const(&r, n), 1, 0, NULL);
    for (int half = 0; half <= halves; half++) {
        KValue *sum = kb_float(&r.b, DT_F32, 0);
        KInstr *k = kb_for(&r.b, KLOOP_REDUCE, "k", index_const(&r, 0), index_const(&r, depth), 1, 1, &sum);
        KIndex column = kx_add_const(arena, var(kb_iv(j)), (int64_t)half * n);
        KValue *a = kb_load(&r.b, x, kx_add(arena, kx_scale(arena, var(kb_iv(i)), depth), var(kb_iv(k))));
        KValue *b = kb_load(&r.b, w, kx_add(arena, kx_scale(arena, var(kb_iv(k)), columns), column));
        KValue *next = kb_fma(&r.b, a, b, kb_carried(k, 0));
        kb_end_for(&r.b, k, &next);
        kb_store(&r.b, y, kx_add(arena, kx_scale(arena, var(kb_iv(i)), columns), column), kb_result(k, 0));
    }
    kb_end_for(&r.b, j, NULL);
    kb_end_for(&r.b, i, NULL);
    kb_yield(&r.b, 0, NULL);
    r.call = (KCall){.kernel = r.k, .arg = r.args.data};
    VEC_PUSH(arena, &r.m->calls, r.call);
    sort_buffers(r.m);
    return r;
}

typedef struct Bytes {
    char *at;
} Bytes;

static void take(void *to, const void *data, size_t n) {
    Bytes *b = to;
    memcpy(b->at, data, n);
    b->at += n;
}

/* The constant is written in the order in which its elements are asked for, and has the same elements as before. */
static void expect_data(const KBuffer *b, const KBuffer *before) {
    float *written = arena_array(arena, (size_t)b->count, sizeof *written);
    Bytes to = {(char *)written};
    double sum = 0, old = 0;
    interface_const_bytes(b, take, &to);
    ck_assert_ptr_eq(to.at, (char *)(written + b->count));
    for (int64_t i = 0; i < b->count; i++) {
        ck_assert(kernel_data_element(&b->data, DT_F32, i).f == (double)written[i]);
        sum += (double)written[i] * (double)written[i];
        old += kernel_data_element(&before->data, DT_F32, i).f * kernel_data_element(&before->data, DT_F32, i).f;
    }
    ck_assert(sum == old);
}

START_TEST(panels_keep_the_meaning) {
    int cut = 0;
    for (int i = 0; i < 12; i++) {
        Target t = machines[i % 4];
        t.l1 = t.l1 ? 64 : 0;
        seed = (uint64_t)(_i * 12 + i) * 0x9e3779b97f4a7c15 + 1;
        begin();
        int rows = 1 + below(9), depth = 2 + below(30), columns = 2 * (1 + below(120));
        bool halves = rarely(3), transposed = rarely(2);
        uint64_t data = seed;
        Random x = product(rows, depth, columns, halves, transposed);
        seed = data;
        Random y = product(rows, depth, columns, halves, transposed);
        seed = data;
        Random z = product(rows, depth, columns, halves, transposed);
        x.m->model_name = y.m->model_name = z.m->model_name =
            arena_printf(arena, "%d x %d x %d%s for %s", rows, depth, columns, halves ? " in halves" : "", t.name);
        schedule_module(y.m, &t);
        schedule_module_panels(y.m, &t);
        expect_sound(&y, "panels");
        expect_data(y.args.data[2].buffer, x.args.data[2].buffer);
        expect_same(&x, &y, "panels");
        cut += y.args.data[2].buffer->data.panel != 0;
        schedule_module_panels_as(z.m, y.m);
        expect_sound(&z, "the same panels");
        schedule_module(z.m, &machines[0]);
        expect_sound(&z, "the same panels, scheduled");
        expect_same(&x, &z, "the same panels");
        arena_free(arena);
    }
    ck_assert_int_gt(cut, 0);
}
END_TEST

/* --- choices --- */

static ScheduleChoice random_choice(void) {
    ScheduleChoice c = {0};
    for (const ScheduleField *f = schedule_fields; f->name; f++) {
        int x = f->least + below(f->most < 40 ? f->most - f->least + 1 : 40);
        while (f->power_of_two && (x & (x - 1)))
            x &= x - 1;
        *schedule_field(&c, f) = rarely(3) ? 0 : x;
    }
    return c;
}

static const char *text_of(const KKernel *k) {
    StrBuf text = {0};
    kernel_print(&text, k);
    const char *s = arena_strdup(arena, sb_text(&text));
    sb_free(&text);
    return s;
}

START_TEST(choices_change_the_code_and_keep_the_meaning) {
    int changed = 0;
    for (int i = 0; i < 12; i++) {
        uint64_t from = (uint64_t)(200000 + _i * 12 + i);
        const Target *t = &machines[i % 4];
        begin();
        Random x = random_kernel(from), y = random_kernel(from);
        ScheduleChoice c = random_choice();
        x.m->model_name = y.m->model_name = arena_printf(arena, "kernel %d", (int)from);
        ScheduleTable table = {0};
        schedule_put(arena, &table, (ScheduleEntry){schedule_hash(y.k), c});
        schedule_module_as(y.m, t, &table);
        expect_sound(&y, t->name);
        expect_same(&x, &y, t->name);
        schedule_kernel(x.k, t);
        changed += strcmp(text_of(x.k), text_of(y.k)) != 0;
        arena_free(arena);
    }
    ck_assert_int_ge(changed, 2);
}
END_TEST

START_TEST(kernels_are_known_by_what_they_do) {
    begin();
    Random x = random_kernel(1), y = random_kernel(1), z = random_kernel(2);
    y.k->name = "other";
    y.k->comment = "of another model";
    for (int i = 0; i < y.k->params.len; i++)
        y.k->params.data[i]->name = arena_printf(arena, "other%d", i);
    ck_assert(schedule_hash(x.k) == schedule_hash(y.k));
    ck_assert(schedule_hash(x.k) != schedule_hash(z.k));
    y.k->params.data[0]->noalias = !y.k->params.data[0]->noalias;
    ck_assert(schedule_hash(x.k) != schedule_hash(y.k));
    ScheduleTable t = {0};
    for (int i = 0; i < 50; i++)
        schedule_put(arena, &t, (ScheduleEntry){(uint64_t)(i * 7 % 25), {.rows = i}});
    ck_assert_int_eq(t.entries.len, 25);
    for (int i = 25; i < 50; i++)
        ck_assert_int_eq(schedule_find(&t, (uint64_t)(i * 7 % 25))->choice.rows, i);
    ck_assert_ptr_null(schedule_find(&t, 25));
    arena_free(arena);
}
END_TEST

static Suite *schedule_suite(void) {
    Suite *s = suite_create("schedule");
    TCase *t = tcase_create("schedule");
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, transformations_keep_the_meaning, 0, 20);
    tcase_add_loop_test(t, schedules_keep_the_meaning, 0, 20);
    tcase_add_loop_test(t, parts_keep_the_meaning, 0, 20);
    tcase_add_loop_test(t, panels_keep_the_meaning, 0, 20);
    tcase_add_loop_test(t, choices_change_the_code_and_keep_the_meaning, 0, 20);
    tcase_add_test(t, kernels_are_known_by_what_they_do);
    return s;
}

int main(void) { return unit_run("schedule", schedule_suite()); }
