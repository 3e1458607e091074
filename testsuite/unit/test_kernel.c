/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel IR: builders, indices and their ranges, clean-up, cloning, text, and what the verifier finds. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "kernel/rewrite.h"
#include "support/strbuf.h"
#include "unit.h"

static Arena *arena;
static KModule *module;
static KKernel *kernel;
static KBuilder b;

static void set_up(void) {
    arena = arena_new();
    module = kernel_module_new(arena);
    kernel = kernel_new(module, "k");
    VEC_PUSH(arena, &module->kernels, kernel);
    b = kb_at_end(kernel, kernel->body);
}

static void tear_down(void) { arena_free(arena); }

static KValue *index_const(int64_t x) { return kb_int(&b, DT_INDEX, x); }

static KInstr *loop_to(KLoopKind kind, int64_t n, int ncarried, KValue *const *init) {
    return kb_for(&b, kind, "i", index_const(0), index_const(n), 1, ncarried, init);
}

static KIndex var(KValue *v) { return kx_var(arena, v); }

static void end_kernel(void) { kb_yield(&b, 0, NULL); }

static void expect_sound(void) {
    const char *error = kernel_verify(kernel);
    ck_assert_msg(!error, "%s", error);
}

static void expect_error(const char *part) {
    const char *error = kernel_verify(kernel);
    ck_assert_msg(error != NULL, "nothing found, \"%s\" expected", part);
    ck_assert_msg(strstr(error, part) != NULL, "\"%s\" found, \"%s\" expected", error, part);
}

static void expect_int(const KValue *v, int64_t x) {
    ck_assert(v->def && v->def->op == KOP_CONST);
    ck_assert_int_eq(v->def->imm.i, x);
}

static int count_op(const KBlock *block, KOp op) {
    int n = 0;
    for (const KInstr *i = block->first; i; i = i->next) {
        n += i->op == op;
        for (int k = 0; k < 2; k++)
            n += i->block[k] ? count_op(i->block[k], op) : 0;
    }
    return n;
}

/* --- builders --- */

START_TEST(integers_fold_as_the_machine_computes) {
    static const struct {
        KOp op;
        DType t;
        int64_t x, y, result;
    } cases[] = {
        {KOP_ADD, DT_I8, 127, 1, -128},
        {KOP_ADD, DT_U8, 255, 1, 0},
        {KOP_SUB, DT_U32, 0, 1, 0xffffffff},
        {KOP_MUL, DT_I32, 65536, 65536, 0},
        {KOP_DIV, DT_I32, -7, 2, -3},
        {KOP_DIV, DT_INDEX, -7, 2, -4},
        {KOP_REM, DT_I32, -7, 2, -1},
        {KOP_REM, DT_INDEX, -7, 2, 1},
        {KOP_DIV, DT_I32, 5, 0, 0},
        {KOP_REM, DT_I32, 5, 0, 5},
        {KOP_DIV, DT_I32, INT32_MIN, -1, INT32_MIN},
        {KOP_DIV, DT_I64, INT64_MIN, -1, INT64_MIN},
        {KOP_DIV, DT_U64, -1, 2, INT64_MAX},
        {KOP_MIN, DT_U64, -1, 1, 1},
        {KOP_MIN, DT_I64, -1, 1, -1},
        {KOP_SHL, DT_I32, 1, 31, INT32_MIN},
        {KOP_SHL, DT_I32, 1, 32, 0},
        {KOP_SHR, DT_I8, -128, 3, -16},
        {KOP_SHR, DT_U8, 128, 3, 16},
        {KOP_LT, DT_U8, 200, 100, 0},
        {KOP_LT, DT_I8, -56, 100, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        KValue *x = kb_int(&b, cases[i].t, cases[i].x), *y = kb_int(&b, cases[i].t, cases[i].y);
        KValue *r = kb_binary(&b, cases[i].op, x, y);
        ck_assert_msg(r->def && r->def->op == KOP_CONST, "case %zu", i);
        ck_assert_msg(r->def->imm.i == cases[i].result, "case %zu: %lld", i, (long long)r->def->imm.i);
    }
}
END_TEST

START_TEST(floats_fold_in_their_precision) {
    KValue *x = kb_float(&b, DT_F32, 0.1), *sum = kb_binary(&b, KOP_ADD, x, x);
    ck_assert(sum->def->imm.f == (double)(0.1f + 0.1f));
    KValue *nan = kb_float(&b, DT_F32, (double)NAN), *one = kb_float(&b, DT_F32, 1);
    ck_assert(kb_binary(&b, KOP_MIN, nan, one)->def->imm.f == 1);
    ck_assert(isnan(kb_binary(&b, KOP_MIN, one, nan)->def->imm.f));
    expect_int(kb_binary(&b, KOP_NE, nan, nan), 1);
    expect_int(kb_binary(&b, KOP_GE, nan, one), 0);
    expect_int(kb_cast(&b, kb_float(&b, DT_F32, 300), DT_I8), 127);
    expect_int(kb_cast(&b, nan, DT_I32), 0);
    expect_int(kb_cast(&b, kb_float(&b, DT_F64, -1), DT_U16), 0);
    expect_int(kb_cast(&b, kb_int(&b, DT_I32, 300), DT_U8), 44);
    ck_assert(kb_cast(&b, kb_float(&b, DT_F32, 65520), DT_F16)->def->imm.f == (double)INFINITY);
}
END_TEST

START_TEST(identities_vanish_and_others_stay) {
    KParam *p = kernel_param(kernel, "x", DT_F32, 1, false), *q = kernel_param(kernel, "n", DT_I32, 1, false);
    KValue *x = kb_load(&b, p, kx_const(arena, 0)), *n = kb_load(&b, q, kx_const(arena, 0));
    KValue *zero = kb_int(&b, DT_I32, 0), *one = kb_int(&b, DT_I32, 1);
    ck_assert_ptr_eq(kb_binary(&b, KOP_ADD, n, zero), n);
    ck_assert_ptr_eq(kb_binary(&b, KOP_MUL, one, n), n);
    expect_int(kb_binary(&b, KOP_MUL, n, zero), 0);
    ck_assert_ptr_eq(kb_binary(&b, KOP_MUL, x, kb_float(&b, DT_F32, 1)), x);
    /* NaN times 0 is NaN, and -0 plus 0 is 0. */
    ck_assert_ptr_ne(kb_binary(&b, KOP_MUL, x, kb_float(&b, DT_F32, 0)), x);
    ck_assert_int_eq(kb_binary(&b, KOP_MUL, x, kb_float(&b, DT_F32, 0))->def->op, KOP_MUL);
    ck_assert_ptr_ne(kb_binary(&b, KOP_ADD, x, kb_float(&b, DT_F32, 0)), x);
    ck_assert_ptr_eq(kb_binary(&b, KOP_ADD, x, kb_float(&b, DT_F32, -0.0)), x);
    ck_assert_ptr_eq(kb_select(&b, kb_int(&b, DT_BOOL, 0), n, zero), zero);
    ck_assert_ptr_eq(kb_cast(&b, n, DT_I32), n);
    ck_assert_ptr_eq(kb_splat(&b, x, 1), x);
    ck_assert_ptr_eq(kb_extract(&b, kb_splat(&b, x, 8), 3, 1), x);
    ck_assert_ptr_eq(kb_reduce(&b, KOP_REDUCE_ADD, x), x);
    end_kernel();
    expect_sound();
}
END_TEST

/* --- indices --- */

START_TEST(indices_are_a_ring) {
    KInstr *outer = loop_to(KLOOP_PARALLEL, 4, 0, NULL), *inner = loop_to(KLOOP_PARALLEL, 5, 0, NULL);
    KIndex i = var(kb_iv(outer)), j = var(kb_iv(inner));
    KIndex x = kx_add(arena, kx_scale(arena, j, 3), kx_add_const(arena, i, 7));
    ck_assert_int_eq(x->n, 2);
    ck_assert_int_lt(x->term[0].var->id, x->term[1].var->id);
    ck_assert_int_eq(kx_coef(x, kb_iv(inner)), 3);
    ck_assert(kx_equal(kx_sub(arena, x, x), kx_const(arena, 0)));
    ck_assert_int_eq(kx_sub(arena, x, kx_scale(arena, j, 3))->n, 1);
    ck_assert(kx_equal(kx_add(arena, i, j), kx_add(arena, j, i)));
    ck_assert(!kx_equal(x, kx_add_const(arena, x, 1)));
    KIndex y = kx_substitute(arena, x, kb_iv(inner), kx_add_const(arena, kx_scale(arena, i, 2), 1));
    ck_assert_int_eq(kx_coef(y, kb_iv(outer)), 7);
    ck_assert_int_eq(y->base, 10);
    ck_assert_ptr_eq(kx_substitute(arena, i, kb_iv(inner), j), i);
    int64_t c = 1;
    ck_assert(kx_is_const(kx_scale(arena, x, 0), &c) && c == 0);
    /* An AFFINE or a constant dissolves where it is used again. */
    KValue *v = kx_value(&b, x);
    ck_assert_int_eq(v->def->op, KOP_AFFINE);
    ck_assert(kx_equal(var(v), x));
    ck_assert_ptr_eq(kx_value(&b, i), kb_iv(outer));
    expect_int(kx_value(&b, kx_const(arena, 9)), 9);
}
END_TEST

START_TEST(quotients_and_remainders_use_ranges) {
    KInstr *outer = loop_to(KLOOP_PARALLEL, 4, 0, NULL), *inner = loop_to(KLOOP_PARALLEL, 5, 0, NULL);
    KIndex i = var(kb_iv(outer)), j = var(kb_iv(inner)), flat = kx_add(arena, kx_scale(arena, i, 5), j);
    ck_assert(kx_equal(kx_div(&b, flat, 5), i));
    ck_assert(kx_equal(kx_rem(&b, flat, 5), j));
    ck_assert(kx_equal(kx_div(&b, flat, 1), flat));
    int64_t c;
    ck_assert(kx_is_const(kx_div(&b, kx_const(arena, -7), 2), &c) && c == -4);
    ck_assert(kx_is_const(kx_rem(&b, kx_const(arena, -7), 2), &c) && c == 1);
    KIndex q = kx_div(&b, flat, 3), r = kx_rem(&b, flat, 3);
    int64_t lo, hi;
    ck_assert(kx_range(q, &lo, &hi) && lo == 0 && hi == 6);
    ck_assert(kx_range(r, &lo, &hi) && lo == 0 && hi == 2);
    kb_end_for(&b, inner, NULL);
    kb_end_for(&b, outer, NULL);
    end_kernel();
    expect_sound();
}
END_TEST

START_TEST(ranges_follow_loops_and_clamps) {
    KParam *p = kernel_param(kernel, "n", DT_I64, 10, false);
    KInstr *tiles = kb_for(&b, KLOOP_PARALLEL, "o", index_const(2), index_const(30), 8, 0, NULL);
    KIndex o = var(kb_iv(tiles));
    int64_t lo, hi;
    ck_assert(kx_range(o, &lo, &hi));
    ck_assert_int_eq(lo, 2);
    ck_assert_int_eq(hi, 26);
    ck_assert(kx_range(kx_add_const(arena, kx_scale(arena, o, -2), 1), &lo, &hi) && lo == -51 && hi == -3);
    KValue *end = kb_binary(&b, KOP_MIN, kx_value(&b, kx_add_const(arena, o, 8)), index_const(30));
    KInstr *tile = kb_for(&b, KLOOP_PARALLEL, "i", kb_iv(tiles), end, 1, 0, NULL);
    ck_assert(kx_range(var(kb_iv(tile)), &lo, &hi) && lo == 2 && hi == 29);
    KValue *n = kb_cast(&b, kb_load(&b, p, kx_const(arena, 3)), DT_INDEX);
    ck_assert(!kernel_value_range(n, &lo, &hi));
    KValue *clamped = kb_binary(&b, KOP_MAX, kb_binary(&b, KOP_MIN, n, index_const(9)), index_const(0));
    ck_assert(!kernel_value_range(clamped, &lo, &hi) || (lo == 0 && hi == 9));
    KValue *byte = kb_load(&b, kernel_param(kernel, "u", DT_U8, 1, false), kx_const(arena, 0));
    ck_assert(kernel_value_range(kb_cast(&b, byte, DT_INDEX), &lo, &hi) && lo == 0 && hi == 255);
    /* No room for the sum: nothing is known, rather than something wrong. */
    ck_assert(!kx_range(kx_scale(arena, o, INT64_MAX / 4), &lo, &hi));
}
END_TEST

/* --- a matrix product, to print, parse, clone and damage --- */

enum { M = 3, N = 4, K = 5 };

typedef struct Product {
    KParam *x, *y;
    KInstr *row, *column, *sum, *store;
    KValue *load, *fma;
} Product;

static Product product(void) {
    Product p = {kernel_param(kernel, "x", DT_F32, M * K, false), kernel_param(kernel, "y", DT_F32, M * N, true),
                 0, 0, 0, 0, 0, 0};
    KParam *w = kernel_param(kernel, "w", DT_F32, K * N, false);
    p.row = loop_to(KLOOP_PARALLEL, M, 0, NULL);
    p.column = loop_to(KLOOP_PARALLEL, N, 0, NULL);
    KValue *zero = kb_float(&b, DT_F32, 0);
    p.sum = loop_to(KLOOP_REDUCE, K, 1, &zero);
    KIndex i = var(kb_iv(p.row)), j = var(kb_iv(p.column)), k = var(kb_iv(p.sum));
    p.load = kb_load(&b, p.x, kx_add(arena, kx_scale(arena, i, K), k));
    KValue *r = kb_load(&b, w, kx_add(arena, kx_scale(arena, k, N), j));
    p.fma = kb_fma(&b, p.load, r, kb_carried(p.sum, 0));
    kb_end_for(&b, p.sum, &p.fma);
    kb_store(&b, p.y, kx_add(arena, kx_scale(arena, i, N), j), kb_result(p.sum, 0));
    p.store = p.column->block[0]->last;
    kb_end_for(&b, p.column, NULL);
    kb_end_for(&b, p.row, NULL);
    end_kernel();
    return p;
}

START_TEST(counts_are_of_one_run) {
    product();
    expect_sound();
    KCount c = kernel_count(kernel);
    ck_assert(c.fmas == M * N * K);
    ck_assert(c.load_bytes == 2 * 4 * M * N * K);
    ck_assert(c.store_bytes == 4 * M * N);
    ck_assert(c.arithmetic == 0);
}
END_TEST

START_TEST(counts_take_the_dearer_branch_and_lanes) {
    KParam *x = kernel_param(kernel, "x", DT_F32, 64, false), *y = kernel_param(kernel, "y", DT_F32, 64, true);
    KInstr *tiles = kb_for(&b, KLOOP_PARALLEL, "o", index_const(0), index_const(10), 4, 0, NULL);
    KIndex o = var(kb_iv(tiles));
    KValue *end = kb_binary(&b, KOP_MIN, kx_value(&b, kx_add_const(arena, o, 4)), index_const(10));
    KInstr *tile = kb_for(&b, KLOOP_PARALLEL, "i", kb_iv(tiles), end, 1, 0, NULL);
    KValue *yes = kb_binary(&b, KOP_LT, kb_iv(tile), index_const(2));
    KInstr *branch = kb_if(&b, yes, 0);
    KValue *v = kb_load_vector(&b, x, kx_const(arena, 0), 8, 1);
    kb_store(&b, y, kx_const(arena, 0), kb_binary(&b, KOP_MUL, v, v));
    kb_end_if(&b, branch, NULL);
    kb_end_for(&b, tile, NULL);
    kb_end_for(&b, tiles, NULL);
    end_kernel();
    expect_sound();
    KCount c = kernel_count(kernel);
    ck_assert(c.load_bytes == 3 * 4 * 8 * 4);
    ck_assert(c.arithmetic == 3 * 4 * (8 + 1)); /* the comparison's result is no index */
}
END_TEST

/* --- clean-up and cloning --- */

START_TEST(simplify_removes_what_is_dead_or_twice_there) {
    KParam *x = kernel_param(kernel, "x", DT_F32, 8, false), *y = kernel_param(kernel, "y", DT_F32, 8, true);
    KInstr *loop = loop_to(KLOOP_PARALLEL, 8, 0, NULL);
    KIndex i = var(kb_iv(loop));
    KValue *v = kb_load(&b, x, i);
    KValue *first = kb_unary(&b, KOP_SQRT, v), *second = kb_unary(&b, KOP_SQRT, v);
    kb_unary(&b, KOP_ABS, v);
    kb_store(&b, y, i, kb_binary(&b, KOP_ADD, first, second));
    kb_end_for(&b, loop, NULL);
    KValue *zero = kb_float(&b, DT_F32, 0);
    KInstr *dead = loop_to(KLOOP_REDUCE, 8, 1, &zero);
    KValue *sum = kb_binary(&b, KOP_ADD, kb_carried(dead, 0), kb_load(&b, x, var(kb_iv(dead))));
    kb_end_for(&b, dead, &sum);
    KInstr *never = loop_to(KLOOP_SERIAL, 0, 0, NULL);
    kb_store(&b, y, kx_const(arena, 0), zero);
    kb_end_for(&b, never, NULL);
    end_kernel();
    expect_sound();
    kernel_simplify(kernel);
    expect_sound();
    ck_assert_int_eq(count_op(kernel->body, KOP_SQRT), 1);
    ck_assert_int_eq(count_op(kernel->body, KOP_ABS), 0);
    ck_assert_int_eq(count_op(kernel->body, KOP_FOR), 1);
    ck_assert_int_eq(count_op(kernel->body, KOP_STORE), 1);
}
END_TEST

START_TEST(loops_of_one_iteration_dissolve) {
    KParam *x = kernel_param(kernel, "x", DT_F32, 8, false), *y = kernel_param(kernel, "y", DT_F32, 8, true);
    KValue *one = kb_float(&b, DT_F32, 1);
    KInstr *loop = kb_for(&b, KLOOP_REDUCE, "i", index_const(3), index_const(4), 1, 1, &one);
    KValue *sum = kb_binary(&b, KOP_MUL, kb_carried(loop, 0), kb_load(&b, x, var(kb_iv(loop))));
    kb_end_for(&b, loop, &sum);
    kb_store(&b, y, kx_const(arena, 1), kb_result(loop, 0));
    end_kernel();
    expect_sound();
    kernel_simplify(kernel);
    expect_sound();
    ck_assert_int_eq(count_op(kernel->body, KOP_FOR), 0);
    ck_assert_int_eq(count_op(kernel->body, KOP_MUL), 0);
    const KInstr *load = kernel->body->first;
    while (load->op != KOP_LOAD)
        load = load->next;
    ck_assert(kx_equal(load->mem.at, kx_const(arena, 3)));
}
END_TEST

START_TEST(clones_replace_what_the_map_says) {
    Product p = product();
    KBuilder at = kb_before(kernel, kernel->body->last);
    KMap m = kmap_new(kernel);
    kernel_clone(&at, &m, p.row);
    expect_sound();
    ck_assert_int_eq(count_op(kernel->body, KOP_FOR), 6);
    ck_assert_int_eq(count_op(kernel->body, KOP_STORE), 2);
    ck_assert_ptr_ne(kmap_get(&m, p.fma), p.fma);
    /* The inner loop once more, with the row fixed to the last one. */
    KBuilder inner = kb_before(kernel, kernel->body->last);
    KMap fixed = kmap_new(kernel);
    kmap_set(&fixed, kb_iv(p.row), kb_int(&inner, DT_INDEX, M - 1));
    kmap_set(&fixed, p.column->arg[0], kb_int(&inner, DT_INDEX, 0));
    kmap_set(&fixed, p.column->arg[1], kb_int(&inner, DT_INDEX, N));
    kernel_clone(&inner, &fixed, p.column);
    expect_sound();
    KInstr *copy = kernel->body->last->prev, *store = copy->block[0]->last->prev;
    ck_assert_int_eq(store->op, KOP_STORE);
    ck_assert_int_eq(store->mem.at->base, (M - 1) * N);
    ck_assert_int_eq(kx_coef(store->mem.at, kb_iv(copy)), 1);
}
END_TEST

/* --- text --- */

static char *text_of(const KModule *m) {
    StrBuf s = {0};
    kernel_module_print(&s, m);
    char *text = arena_strdup(arena, sb_text(&s));
    sb_free(&s);
    return text;
}

static void expect_round_trip(const char *text) {
    const char *error = NULL;
    KModule *again = kernel_module_parse(arena, text, &error);
    ck_assert_msg(again && !error, "%s", error);
    ck_assert_str_eq(text_of(again), text);
    error = kernel_module_verify(again);
    ck_assert_msg(!error, "%s", error);
}

static KBuffer *buffer(KBufferKind kind, const char *name, int64_t count) {
    KBuffer *x = kernel_buffer(module, kind, name, DT_F32, count);
    x->onnx_name = arena_printf(arena, "%s:\"0\"\n", name);
    x->rank = 1;
    x->dim = arena_dup(arena, &count, sizeof count);
    return x;
}

/* A module around the product: input, output and weights. */
static void around_product(void) {
    static const float weights[K * N] = {1, -0.0f, 0.1f, 1e30f, -INFINITY, 1e-45f};
    static const int64_t dim[] = {K, N}, stride[] = {1, K};
    KBuffer *in = buffer(KBUF_INPUT, "in", M * K), *out = buffer(KBUF_OUTPUT, "out", M * N);
    KBuffer *w = kernel_buffer(module, KBUF_CONST, "w", DT_F32, K * N);
    w->data = (KData){.bytes = weights, .rank = 2, .dim = dim, .stride = stride};
    KArg *arg = ARENA_ARRAY(arena, KArg, 3);
    arg[0].buffer = in;
    arg[1].buffer = out;
    arg[2].buffer = w;
    VEC_PUSH(arena, &module->calls, ((KCall){.kernel = kernel, .arg = arg, .comment = "fc", .macs = M * N * K}));
}

START_TEST(modules_survive_text) {
    product();
    kernel->comment = "fc, \"relu\"";
    module->model_name = "model \\ 1";
    around_product();
    KBuffer *large = kernel_buffer(module, KBUF_CONST, "large", DT_I16, 100), *scratch;
    int64_t hundred = 100, one = 1;
    large->data = (KData){.bytes = ARENA_ARRAY(arena, int16_t, 100), .rank = 1, .dim = &hundred, .stride = &one};
    scratch = kernel_buffer(module, KBUF_ARENA, NULL, DT_F64, 3);
    scratch->arena_offset = 64;
    module->arena_size = 88;
    ck_assert_msg(!kernel_module_verify(module), "%s", kernel_module_verify(module));
    const char *text = text_of(module);
    ck_assert_msg(strstr(text, "{1.0, 1e-45, 0.0, ") != NULL, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "<200 bytes>"));
    expect_round_trip(text);
}
END_TEST

static const char everything[] =
    "module arena 0 align 64\n"
    "func @twice_f32x4(%x.0: f32x4) -> f32x4 {\n"
    "  %1: f32x4 = add %x.0, %x.0\n"
    "  yield %1\n"
    "}\n"
    "kernel @k(x: f32[64] align 4, y: f32[64] written noalias align 64, h: f16[8] align 2, n: i64[4] align 8) {"
    " # \"a, b\"\n"
    "  %0: index = const 0\n"
    "  %1: index = const 8\n"
    "  %2: f32x4 = const 0x1.8p-3\n"
    "  %3: f32 = const -inf\n"
    "  for parallel %o.4 = %0 to %1 step 4 {\n"
    "    %5: f32x4 = load x[4*%o.4 + 1] stride 2\n"
    "    %6: f32x4 = fma %5, %2, %5\n"
    "    %7: f32x4 = call @twice_f32x4(%6)\n"
    "    %8: index = affine -%o.4 + 9\n"
    "    %9: i64 = load n[3]\n"
    "    %10: index = cast %9\n"
    "    %11: bool = lt %10, %8\n"
    "    %12: f32, %13: bool = if %11 {\n"
    "      %14: f32 = extract %7, 2\n"
    "      yield %14, %11\n"
    "    } else {\n"
    "      yield %3, %11\n"
    "    }\n"
    "    %15: f32, %16: f32 = for reduce %i.17 = %0 to %10 step 1 carry %18 = %12, %best.19 = %3 {\n"
    "      %20: f32 = load x[%i.17]\n"
    "      %21: f32 = mul %18, %20\n"
    "      %22: f32 = max %20, %best.19\n"
    "      yield %21, %22\n"
    "    }\n"
    "    %23: f32x4 = pack %15, %16, %12, %3\n"
    "    %24: f16 = load h[%o.4]\n"
    "    %25: f32 = cast %24\n"
    "    %26: f32x4 = splat %25\n"
    "    %27: f32x4 = sub %23, %26\n"
    "    %28: i32x4 = bitcast %27\n"
    "    %29: i32 = reduce_max %28\n"
    "    %30: indexx4 = ramp %o.4, -2\n"
    "    store y[8*%o.4 - 0] stride 2, %27\n"
    "    yield\n"
    "  }\n"
    "  yield\n"
    "}\n";

START_TEST(every_form_of_instruction_survives_text) {
    const char *error = NULL;
    KModule *m = kernel_module_parse(arena, everything, &error);
    ck_assert_msg(m != NULL, "%s", error);
    error = kernel_module_verify(m);
    ck_assert_msg(!error, "%s", error);
    const char *text = text_of(m);
    ck_assert_ptr_nonnull(strstr(text, "store y[8*%o.4] stride 2, %27\n"));
    expect_round_trip(text);
}
END_TEST

START_TEST(broken_text_is_refused_with_its_line) {
    static const struct {
        const char *from, *to, *error;
    } damage[] = {
        {"fma %5", "fma %99", "line 13: %99 is not defined"},
        {"= fma", "= fmb", "line 13: \"fmb\" is no instruction"},
        {"%6: f32x4", "%5: f32x4", "%5 is defined twice"},
        {"load n[3]", "load m[3]", "line 16: no parameter m"},
        {"@twice_f32x4(%6)", "@thrice(%6)", "line 14: no function thrice"},
        {"splat %25", "splat %25, %25", "splat has 1 arguments"},
        {"f32x4 = pack", "f32y4 = pack", "\"f32y4\" is no type"},
        {", %best.19 = %3 {", " {", "1 carried values for 2 results"},
        {"} else {", "} {", "\"else\" expected"},
        {"# \"a, b\"", "# \"a, b", "a text does not end"},
    };
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        const char *at = strstr(everything, damage[i].from), *error = NULL;
        ck_assert_ptr_nonnull(at);
        const char *text = arena_printf(arena, "%.*s%s%s", (int)(at - everything), everything, damage[i].to,
                                        at + strlen(damage[i].from));
        ck_assert_ptr_null(kernel_module_parse(arena, text, &error));
        ck_assert_ptr_nonnull(error);
        ck_assert_msg(strstr(error, damage[i].error) != NULL, "\"%s\", not \"%s\"", error, damage[i].error);
    }
}
END_TEST

START_TEST(text_cut_anywhere_does_no_harm) {
    for (size_t n = 0; n + 2 < sizeof everything; n++) {
        const char *error = NULL, *text = arena_strndup(arena, everything, n);
        KModule *m = kernel_module_parse(arena, text, &error);
        ck_assert_msg((m == NULL) == (error != NULL), "%zu bytes", n);
    }
}
END_TEST

/* --- what the verifier finds --- */

/* The text with one replacement must parse and then fail. */
static void expect_damage(const char *from, const char *to, const char *part) {
    const char *at = strstr(everything, from), *error = NULL;
    ck_assert_msg(at != NULL, "%s", from);
    const char *text = arena_printf(arena, "%.*s%s%s", (int)(at - everything), everything, to, at + strlen(from));
    KModule *m = kernel_module_parse(arena, text, &error);
    ck_assert_msg(m != NULL, "%s: %s", to, error);
    error = kernel_module_verify(m);
    ck_assert_msg(error != NULL, "%s: nothing found", to);
    ck_assert_msg(strstr(error, part) != NULL, "%s: \"%s\", not \"%s\"", to, error, part);
}

START_TEST(verifier_finds_wrong_types) {
    expect_damage("%11: bool = lt", "%11: index = lt", "the result's type");
    expect_damage("%6: f32x4 = fma %5, %2, %5", "%6: f32x4 = fma %5, %2, %3", "different types");
    expect_damage("%25: f32 = cast %24", "%25: f16 = neg %24", "not an operation on f16");
    expect_damage("%5: f32x4 = load x", "%5: f16x4 = load x", "f16 elements of x");
    expect_damage("%14: f32 = extract %7, 2", "%14: f32 = extract %7, 4", "1 lanes from 4 of 4");
    expect_damage("pack %15, %16, %12, %3", "pack %15, %16, %12", "lanes of the arguments");
    expect_damage("%28: i32x4 = bitcast", "%28: i64x4 = bitcast", "from 128 to 256 bits");
    expect_damage("%2: f32x4 = const 0x1.8p-3", "%2: f32x3 = const 0x1.8p-3", "3 lanes");
    expect_damage("%2: f32x4 = const 0x1.8p-3", "%2: f32x4 = const 0.1", "is no f32");
    expect_damage("%12: f32, %13: bool = if", "%12: bool, %13: bool = if", "another type");
    expect_damage("if %11 {", "if %10 {", "no scalar bool");
    expect_damage("step 4 {", "step 0 {", "step 0");
    expect_damage("-> f32x4", "-> f32x8", "another type");
    expect_damage("affine -%o.4 + 9", "affine -%2 + 9", "%2 is no scalar index");
    expect_damage("n: i64[4] align 8", "n: i64[4] align 4", "alignment 4");
}
END_TEST

START_TEST(verifier_finds_wrong_scopes) {
    expect_damage("pack %15, %16, %12, %3", "pack %15, %16, %14, %3", "%14 is used where");
    expect_damage("pack %15, %16, %12, %3", "pack %21, %16, %12, %3", "%21 is used where");
    expect_damage("      yield %14, %11\n", "      yield %14\n", "yields 1 values");
    expect_damage("      yield %14, %11\n", "", "does not end in yield");
    expect_damage("    store y[8", "    yield\n    store y[8", "before the block's end");
}
END_TEST

START_TEST(verifier_finds_wrong_accesses) {
    expect_damage("x[4*%o.4 + 1] stride 2", "x[4*%o.4 + 1] stride 16", "elements 1 to 65 of x");
    expect_damage("h[%o.4]", "h[%o.4 - 1]", "elements -1 to 3 of h");
    expect_damage("h[%o.4]", "h[-2*%o.4 + 8]", "elements 0 to 8 of h");
    expect_damage("store y[8*%o.4 - 0] stride 2", "store y[8*%o.4] stride 0", "all lanes go to one");
    expect_damage("store y[8*%o.4 - 0] stride 2", "store x[8*%o.4] stride 2", "not marked as written");
}
END_TEST

START_TEST(verifier_allows_what_a_branch_guards) {
    KParam *x = kernel_param(kernel, "x", DT_F32, 8, false), *y = kernel_param(kernel, "y", DT_F32, 10, true);
    KInstr *loop = loop_to(KLOOP_PARALLEL, 10, 0, NULL);
    KIndex i = var(kb_iv(loop));
    KInstr *branch = kb_if(&b, kb_binary(&b, KOP_LT, kb_iv(loop), index_const(8)), 1);
    KValue *v = kb_load(&b, x, i);
    kb_else(&b, branch, &v);
    KValue *zero = kb_float(&b, DT_F32, 0);
    kb_end_if(&b, branch, &zero);
    kb_store(&b, y, i, kb_result(branch, 0));
    kb_end_for(&b, loop, NULL);
    end_kernel();
    expect_sound();
}
END_TEST

START_TEST(verifier_finds_reductions_that_are_none) {
    expect_damage("%21: f32 = mul %18, %20", "%21: f32 = sub %18, %20", "used for something else");
    expect_damage("%21: f32 = mul %18, %20", "%21: f32 = mul %20, %20", "does not continue");
    expect_damage("%21: f32 = mul %18, %20", "%21: f32 = mul %18, %best.19", "combined");
    expect_damage("%21: f32 = mul %18, %20", "%21: f32 = add %18, %18", "combined");
    expect_damage("      yield %21, %22", "      yield %22, %21", "does not continue");
    expect_damage("      %21: f32 = mul %18, %20",
                  "      %40: f32 = add %18, %20\n      %21: f32 = mul %40, %20", "in two ways");
}
END_TEST

START_TEST(verifier_finds_parallel_loops_that_carry) {
    Product p = product();
    p.sum->loop = KLOOP_PARALLEL;
    expect_error("a parallel loop carries values");
    p.sum->loop = KLOOP_SERIAL;
    expect_sound();
}
END_TEST

START_TEST(verifier_finds_broken_lists) {
    Product p = product();
    p.store->prev = NULL;
    expect_error("list of the block's instructions is broken");
    p.store->prev = p.sum;
    expect_sound();
    p.fma->index = 1;
    expect_error("does not know its instruction");
    p.fma->index = 0;
    p.sum->block[0]->parent = p.row;
    expect_error("does not know its owner");
    p.sum->block[0]->parent = p.sum;
    kb_iv(p.row)->block = NULL;
    expect_error("does not know its block");
}
END_TEST

START_TEST(verifier_finds_wrong_calls) {
    product();
    around_product();
    KCall *c = &module->calls.data[0];
    ck_assert_msg(!kernel_module_verify(module), "%s", kernel_module_verify(module));
    c->arg[0].offset = 1;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "x needs 15 elements from 1, buffer 0 has 15"));
    c->arg[0].offset = 0;
    KBuffer *out = c->arg[1].buffer;
    c->arg[1].buffer = c->arg[2].buffer;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "is not to be"));
    c->arg[1].buffer = out;
    out->dtype = DT_I32;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "gets a buffer of i32"));
    out->dtype = DT_F32;
    kernel->params.data[0]->align = 64;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "not aligned"));
    kernel->params.data[0]->align = 4;
    c->arg[2].buffer->data.bytes = NULL;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "without data"));
}
END_TEST

START_TEST(verifier_finds_overlaps_and_full_arenas) {
    product();
    around_product();
    KCall *c = &module->calls.data[0];
    KBuffer *x = kernel_buffer(module, KBUF_ARENA, NULL, DT_F32, M * K);
    KBuffer *y = kernel_buffer(module, KBUF_ARENA, NULL, DT_F32, M * N);
    c->arg[0].buffer = x;
    c->arg[1].buffer = y;
    y->arena_offset = 4 * M * K;
    module->arena_size = 4 * M * (K + N);
    for (int i = 0; i < 3; i++)
        kernel->params.data[i]->noalias = true;
    ck_assert_msg(!kernel_module_verify(module), "%s", kernel_module_verify(module));
    y->arena_offset -= 4;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "x and y overlap"));
    for (int i = 0; i < 3; i++)
        kernel->params.data[i]->noalias = false;
    ck_assert_msg(!kernel_module_verify(module), "%s", kernel_module_verify(module));
    module->arena_size -= 8;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "of an arena of"));
    y->arena_offset = 2;
    ck_assert_ptr_nonnull(strstr(kernel_module_verify(module), "of an arena of"));
}
END_TEST

static Suite *kernel_suite(void) {
    Suite *s = suite_create("kernel");
    TCase *t = tcase_create("kernel");
    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, integers_fold_as_the_machine_computes);
    tcase_add_test(t, floats_fold_in_their_precision);
    tcase_add_test(t, identities_vanish_and_others_stay);
    tcase_add_test(t, indices_are_a_ring);
    tcase_add_test(t, quotients_and_remainders_use_ranges);
    tcase_add_test(t, ranges_follow_loops_and_clamps);
    tcase_add_test(t, counts_are_of_one_run);
    tcase_add_test(t, counts_take_the_dearer_branch_and_lanes);
    tcase_add_test(t, simplify_removes_what_is_dead_or_twice_there);
    tcase_add_test(t, loops_of_one_iteration_dissolve);
    tcase_add_test(t, clones_replace_what_the_map_says);
    tcase_add_test(t, modules_survive_text);
    tcase_add_test(t, every_form_of_instruction_survives_text);
    tcase_add_test(t, broken_text_is_refused_with_its_line);
    tcase_add_test(t, text_cut_anywhere_does_no_harm);
    tcase_add_test(t, verifier_finds_wrong_types);
    tcase_add_test(t, verifier_finds_wrong_scopes);
    tcase_add_test(t, verifier_finds_wrong_accesses);
    tcase_add_test(t, verifier_allows_what_a_branch_guards);
    tcase_add_test(t, verifier_finds_reductions_that_are_none);
    tcase_add_test(t, verifier_finds_parallel_loops_that_carry);
    tcase_add_test(t, verifier_finds_broken_lists);
    tcase_add_test(t, verifier_finds_wrong_calls);
    tcase_add_test(t, verifier_finds_overlaps_and_full_arenas);
    return s;
}

int main(void) { return unit_run("kernel", kernel_suite()); }
