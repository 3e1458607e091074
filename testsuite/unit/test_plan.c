/* SPDX-License-Identifier: Apache-2.0 */
/* Where the values of random graphs lie. The memory plan is checked by what knows nothing of the planner: buffers that
 * hold something at the same call do not overlap, all are aligned and within the arena, and the arena is hardly larger
 * than what lives at once. And results do not depend on fusion, layout, views, places shared and schedules: each graph
 * is compared with itself when every value is an output, which has a buffer of its own. */
#include <string.h>

#include "graph/graph.h"
#include "jit/jit.h"
#include "kernel/schedule.h"
#include "ops/lower.h"
#include "passes/passes.h"
#include "unit.h"

enum { ALIGN = 64, MOST = 512 };

static uint64_t seed;

static int below(int n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)((seed >> 20) % (uint64_t)n);
}

/* Nodes that change sizes (Gather of rows), join (Concat), cut (Split), view (Transpose) and compute, on values taken
 * anywhere before. */
static const Node *random_node(Graph *g, Value **v, int n, Value *rows) {
    Value *x = v[n - 1 - below(n < 6 ? n : 6)], *y = v[below(n)];
    const char *op = "Exp";
    Value *in[] = {x, NULL};
    int nin = 1;
    int64_t parts[] = {x->dim[0] / 2, x->dim[0] - x->dim[0] / 2};
    switch (below(8)) {
    case 0: op = "Softmax"; break;
    case 1: op = "Transpose"; break;
    case 2: op = "Neg"; break;
    case 3: op = "LogSoftmax"; break;
    case 4:
        if (parts[0]) {
            op = "Split";
            in[1] = graph_const_ints(g, "parts", 1, 2, parts);
            nin = 2;
        }
        break;
    case 5:
        op = "Gather";
        in[1] = rows;
        nin = 2;
        break;
    case 6:
        if (value_same_shape(x, y)) {
            op = "Add";
            in[1] = y;
            nin = 2;
        }
        break;
    default:
        if (x->dim[1] == y->dim[1] && x->dim[0] < 400 && y->dim[0] < 400) {
            op = "Concat";
            in[1] = y;
            nin = 2;
        }
    }
    Node *node = graph_node(g, NULL, "", op, NULL, nin, in, strcmp(op, "Split") ? 1 : 2, NULL);
    if (!strcmp(op, "Concat"))
        node_add_attr(node, (Attr){.name = "axis", .kind = ATTR_INT, .i = 0});
    ck_assert(node->op->infer(node));
    return node;
}

static void add_output(Graph *g, Value *v) {
    v->is_output = true;
    VEC_PUSH(g->arena, &g->outputs, v);
}

static Graph *random_graph(Arena *a, Diag *d, bool apart) {
    Graph *g = graph_new(a, d, "random");
    Value *v[MOST];
    int n = 0, size = 3 + below(60);
    for (; n < 2; n++)
        v[n] = graph_input(g, n ? "b" : "a", DT_F32, 2, (int64_t[]){1 + below(40), 1 + below(40)});
    int64_t count = 1 + below(9), index[16] = {0};
    Value *rows = graph_const_ints(g, "rows", 1, (int)count, index);
    while (n < size) {
        const Node *node = random_node(g, v, n, rows);
        for (int i = 0; i < node->nout; i++)
            v[n++] = node->out[i];
    }
    for (int i = 2; i < n; i++)
        if (!v[i]->uses.len)
            add_output(g, v[i]);
    for (int i = 2; apart && i < n; i++)
        if (v[i]->uses.len)
            add_output(g, v[i]);
    return g;
}

/* --- what the plan must keep --- */

typedef struct Buffer {
    const Value *root;
    int64_t begin, end; /* bytes */
    int first, last;    /* calls between which it holds something */
} Buffer;

/* A value is in memory where somebody outside its kernel sees it. */
static bool in_memory(const Value *v) {
    if (v->kind != VALUE_NODE || v->is_output || !v->def->group)
        return true;
    for (int i = 0; i < v->uses.len; i++)
        if (v->uses.data[i].node->group != v->def->group)
            return true;
    return false;
}

static void touch(Buffer *b, int *n, const Value *v, int call) {
    if (!in_memory(v) || v->storage.root->kind != VALUE_NODE || v->storage.root->is_output)
        return;
    for (int i = 0; i < *n; i++) {
        if (b[i].root == v->storage.root) {
            b[i].last = call;
            return;
        }
    }
    const Value *r = v->storage.root;
    ck_assert_int_lt(*n, MOST);
    b[(*n)++] = (Buffer){r, r->arena_offset, r->arena_offset + r->buffer_size * 4, call, call};
}

static int buffers(const Graph *g, Buffer *b, int *calls) {
    int n = 0, call = 0, group = 0;
    for (const Node *node = g->first; node; node = node->next) {
        if (!node->group)
            continue;
        call += node->group != group;
        group = node->group;
        for (int i = 0; i < node->nin; i++)
            if (node->in[i])
                touch(b, &n, node->in[i], call);
        for (int i = 0; i < node->nout; i++)
            touch(b, &n, node->out[i], call);
    }
    *calls = call;
    return n;
}

static int64_t most_alive(const Buffer *b, int n, int calls) {
    int64_t most = 0;
    for (int c = 0; c <= calls; c++) {
        int64_t sum = 0;
        for (int i = 0; i < n; i++)
            if (b[i].first <= c && c <= b[i].last)
                sum += (b[i].end - b[i].begin + ALIGN - 1) / ALIGN * ALIGN;
        most = sum > most ? sum : most;
    }
    return most;
}

static void expect_sound(const Graph *g, const Buffer *b, int n) {
    for (int i = 0; i < n; i++) {
        ck_assert_msg(b[i].begin >= 0 && b[i].begin % ALIGN == 0 && b[i].end <= g->arena_size, "%s: bytes %lld to %lld of %lld",
                      b[i].root->name, (long long)b[i].begin, (long long)b[i].end, (long long)g->arena_size);
        for (int k = 0; k < i; k++)
            ck_assert_msg(b[k].last < b[i].first || b[i].last < b[k].first || b[k].end <= b[i].begin || b[i].end <= b[k].begin,
                          "%s and %s overlap", b[i].root->name, b[k].root->name);
    }
}

START_TEST(plans_are_sound_and_tight) {
    static Buffer b[MOST];
    double needed = 0, taken = 0;
    for (int i = 0; i < 100; i++) {
        Arena *a = arena_new();
        Diag d = {.stream = stdout};
        seed = (uint64_t)(_i * 100 + i + 1) * 0x9e3779b97f4a7c15;
        Graph *g = random_graph(a, &d, false);
        pass_group(g);
        pass_layout(g, NULL);
        pass_storage(g);
        pass_plan(g);
        const char *error = graph_verify(g, true);
        ck_assert_msg(!error, "graph %d: %s", _i * 100 + i, error);
        int calls, n = buffers(g, b, &calls);
        expect_sound(g, b, n);
        int64_t bound = most_alive(b, n, calls);
        ck_assert_int_ge(g->arena_size, bound);
        needed += (double)bound;
        taken += (double)g->arena_size;
        arena_free(a);
    }
    ck_assert_msg(taken <= 1.01 * needed, "%.0f bytes for %.0f", taken, needed);
}
END_TEST

/* --- the same numbers wherever they lie --- */

static float **results(Graph *g, const Target *t, bool schedule, const void *const *in) {
    float **out = ARENA_ARRAY(g->arena, float *, g->outputs.len);
    for (int i = 0; i < g->outputs.len; i++)
        out[i] = ARENA_ARRAY(g->arena, float, value_count(g->outputs.data[i]) + 1);
    pass_group(g);
    pass_layout(g, t);
    pass_storage(g);
    pass_plan(g);
    KModule *m = lower_graph(g, g->arena, &(LowerOptions){0});
    if (schedule)
        schedule_module(m, t);
    const char *error = kernel_module_verify(m);
    ck_assert_msg(!error, "%s", error);
    Jit *j = jit_compile(g->diag, m, JIT_QUICK);
    ck_assert_ptr_nonnull(j);
    ck_assert_int_eq(jit_run(j, in, (void *const *)out), 0);
    jit_free(j);
    return out;
}

static bool is_near(float x, float y) {
    float d = x > y ? x - y : y - x, size = x < 0 ? -x : x;
    return x == y || d <= 1e-3f * (size + 1) || (x != x && y != y); /* beyond exp's range: infinite, or no number */
}

START_TEST(values_do_not_depend_on_their_place) {
    static float input[2][40 * 40];
    for (int i = 0; i < 5; i++) {
        Arena *a = arena_new();
        Diag d = {.stream = stdout};
        const Target *t = jit_native_target(a);
        uint64_t from = (uint64_t)(_i * 5 + i + 77) * 0x9e3779b97f4a7c15;
        Graph *g[2];
        float **out[2];
        for (int k = 0; k < 2; k++) {
            seed = from;
            g[k] = random_graph(a, &d, k == 0);
        }
        for (int k = 0; k < 2 * 40 * 40; k++)
            input[k / 1600][k % 1600] = (float)(below(2001) - 1000) / 1000;
        for (int k = 0; k < 2; k++)
            out[k] = results(g[k], k ? t : NULL, k, (const void *const[]){input[0], input[1]});
        for (int o = 0; o < g[1]->outputs.len; o++)
            for (int64_t e = 0; e < value_count(g[1]->outputs.data[o]); e++)
                ck_assert_msg(is_near(out[0][o][e], out[1][o][e]), "graph %d: %s[%lld] is %g, apart %g", _i * 5 + i,
                              g[1]->outputs.data[o]->name, (long long)e, (double)out[1][o][e], (double)out[0][o][e]);
        arena_free(a);
    }
}
END_TEST

static Suite *plan_suite(void) {
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, plans_are_sound_and_tight, 0, 10);
    tcase_add_loop_test(t, values_do_not_depend_on_their_place, 0, 20);
    return s;
}

int main(void) { return unit_run("plan", plan_suite()); }
