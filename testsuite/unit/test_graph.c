/* SPDX-License-Identifier: Apache-2.0 */
/* The graph IR: construction, use lists, text, and what the verifier finds. */
#include <math.h>
#include <string.h>

#include "graph/graph.h"
#include "unit.h"

static Arena *arena;
static Diag silent;
static Graph *g;

static void set_up(void) {
    arena = arena_new();
    silent = (Diag){0};
    g = graph_new(arena, &silent, "test");
}

static void tear_down(void) { arena_free(arena); }

static void expect_sound(bool typed) {
    const char *error = graph_verify(g, typed);
    ck_assert_msg(!error, "%s", error);
}

static void expect_error(const char *part) {
    const char *error = graph_verify(g, false);
    ck_assert_msg(error != NULL, "nothing found, \"%s\" expected", part);
    ck_assert_msg(strstr(error, part) != NULL, "\"%s\" found, \"%s\" expected", error, part);
}

static Value *input(const char *name, int64_t n) { return graph_input(g, name, DT_F32, 1, &n); }

static Value *node(const char *op, const char *name, Value *x, Value *y) {
    Node *n = graph_node(g, NULL, "", op, NULL, y ? 2 : 1, (Value *[]){x, y}, 1, &name);
    if (x->rank >= 0)
        value_set_type(n->out[0], x->dtype, x->rank, x->dim);
    return n->out[0];
}

static void output(Value *v) {
    VEC_PUSH(arena, &g->outputs, v);
    v->is_output = true;
}

/* x -> Relu a -> Add(a, a) b -> Mul(b, x) c, which is the output. */
typedef struct Chain {
    Value *x, *a, *b, *c;
} Chain;

static Chain chain(void) {
    Chain k;
    k.x = input("x", 4);
    k.a = node("Relu", "a", k.x, NULL);
    k.b = node("Add", "b", k.a, k.a);
    k.c = node("Mul", "c", k.b, k.x);
    output(k.c);
    return k;
}

/* --- construction --- */

START_TEST(nodes_know_their_values_and_values_their_uses) {
    Chain k = chain();
    expect_sound(true);
    ck_assert_int_eq(k.x->uses.len, 2);
    ck_assert_int_eq(k.a->uses.len, 2);
    ck_assert_ptr_eq(value_only_user(k.a), k.b->def);
    ck_assert_ptr_null(value_only_user(k.x));
    ck_assert_ptr_null(value_only_user(k.c));
    ck_assert_str_eq(k.a->def->name, "a");
    ck_assert_ptr_nonnull(k.a->def->op);
    ck_assert_ptr_null(graph_node(g, NULL, "", "NoSuchOperator", NULL, 0, NULL, 1, NULL)->op);
}
END_TEST

START_TEST(names_are_unique) {
    Value *x = input("x", 1), *y = node("Relu", "x", x, NULL), *z = node("Relu", NULL, y, NULL);
    ck_assert_str_ne(x->name, y->name);
    ck_assert_ptr_eq(strmap_get(&g->names, "x"), x);
    ck_assert_ptr_eq(strmap_get(&g->names, y->name), y);
    ck_assert(*z->name);
    expect_sound(true);
}
END_TEST

START_TEST(inputs_change_with_their_use_lists) {
    Chain k = chain();
    node_set_input(k.b->def, 1, k.x);
    ck_assert_int_eq(k.a->uses.len, 1);
    ck_assert_int_eq(k.x->uses.len, 3);
    expect_sound(true);
    node_set_input(k.b->def, 1, NULL);
    ck_assert_int_eq(k.x->uses.len, 2);
    expect_sound(true);
    value_replace_all(k.a, k.x);
    ck_assert_int_eq(k.a->uses.len, 0);
    node_remove(k.a->def);
    ck_assert_ptr_null(strmap_get(&g->names, "a"));
    ck_assert_int_eq(k.x->uses.len, 2);
    expect_sound(true);
}
END_TEST

START_TEST(outputs_are_replaced_too) {
    Chain k = chain();
    VEC_PUSH(arena, &g->outputs, k.c);
    value_replace_all(k.c, k.b);
    ck_assert_ptr_eq(g->outputs.data[0], k.b);
    ck_assert_ptr_eq(g->outputs.data[1], k.b);
    ck_assert(k.b->is_output && !k.c->is_output);
    node_remove(k.c->def);
    expect_sound(true);
}
END_TEST

START_TEST(nodes_move) {
    Chain k = chain();
    Value *d = node("Relu", "d", k.x, NULL);
    node_move_before(d->def, k.a->def);
    ck_assert_ptr_eq(g->first, d->def);
    ck_assert_ptr_eq(g->last, k.c->def);
    expect_sound(true);
    node_move_before(d->def, NULL);
    ck_assert_ptr_eq(g->last, d->def);
    expect_sound(true);
}
END_TEST

START_TEST(constants_are_read_whatever_their_type) {
    static const unsigned char bytes[] = {0xff, 0x80, 0xff, 0xff, 0, 0, 0x80, 0x3f, 0, 0x3c, 0x80, 0x3f};
    int64_t one = 1, two = 2;
    ck_assert_int_eq(const_int(graph_const(g, "a", DT_I8, 1, &two, (Data){bytes, 2}), 1), -128);
    ck_assert_int_eq(const_int(graph_const(g, "b", DT_U8, 1, &two, (Data){bytes, 2}), 1), 128);
    ck_assert_int_eq(const_int(graph_const(g, "c", DT_U16, 1, &one, (Data){bytes + 2, 2}), 0), 65535);
    ck_assert_int_eq(const_int(graph_const(g, "d", DT_I16, 1, &one, (Data){bytes + 2, 2}), 0), -1);
    ck_assert(const_float(graph_const(g, "e", DT_F32, 1, &one, (Data){bytes + 4, 4}), 0) == 1);
    ck_assert(const_float(graph_const(g, "f", DT_F16, 1, &one, (Data){bytes + 8, 2}), 0) == 1);
    ck_assert(const_float(graph_const(g, "g", DT_BF16, 1, &one, (Data){bytes + 10, 2}), 0) == 1);
    Value *v = graph_const_ints(g, "h", 1, 3, (int64_t[]){1, -2, INT64_MIN});
    ck_assert_int_eq(const_int(v, 2), INT64_MIN);
    expect_sound(true);
    graph_remove_const(g, v);
    ck_assert_ptr_null(strmap_get(&g->names, "h"));
    expect_sound(true);
}
END_TEST

START_TEST(sizes_do_not_overflow) {
    int64_t n, large[] = {1LL << 31, 1LL << 31, 2}, zero[] = {1LL << 62, 0, 1LL << 62}, minus[] = {2, -1};
    ck_assert(!dims_count(3, large, &n));
    ck_assert(!dims_count(2, minus, &n));
    ck_assert(dims_count(0, NULL, &n) && n == 1);
    ck_assert(!dims_count(3, zero, &n) || n == 0);
}
END_TEST

START_TEST(attributes_are_found_by_name_and_kind) {
    Chain k = chain();
    Node *n = k.a->def;
    node_add_attr(n, (Attr){.name = "axis", .kind = ATTR_INT, .i = 3});
    node_add_attr(n, (Attr){.name = "alpha", .kind = ATTR_FLOAT, .f = 0.5f});
    node_add_attr(n, (Attr){.name = "axis", .kind = ATTR_INT, .i = -1});
    ck_assert_int_eq(n->nattrs, 2);
    ck_assert_int_eq(attr_int(n, "axis", 7), -1);
    ck_assert_int_eq(attr_int(n, "alpha", 7), 7);
    ck_assert(attr_float(n, "alpha", 0) == 0.5f);
    ck_assert_str_eq(attr_string(n, "mode", "none"), "none");
}
END_TEST

/* --- text --- */

static char *text_of(const Graph *graph) {
    StrBuf s = {0};
    graph_print(&s, graph);
    char *text = arena_strdup(arena, sb_text(&s));
    sb_free(&s);
    return text;
}

static Graph *expect_round_trip(const char *text) {
    Diag loud = {.stream = stdout};
    Graph *again = graph_parse(arena, &loud, text);
    ck_assert_msg(again != NULL, "%s", text);
    ck_assert_str_eq(text_of(again), text);
    const char *error = graph_verify(again, false);
    ck_assert_msg(!error, "%s", error);
    return again;
}

static const char everything[] =
    "graph \"all \\\"forms\\\"\" arena 256 {\n"
    "  input %x: f32[1,3,4,4] buffer 48 strides [48, 16, 4, 1]\n"
    "  input %\"image:0\": u8[]\n"
    "  input %unknown: ??\n"
    "  const %w: f32[2,2] = {0.1, -0.0, inf, 1e-45}\n"
    "  const %half: f16[3] = {0.5, nan, -inf}\n"
    "  const %empty: i64[0] = {}\n"
    "  const %double: f64[] = {0.1}\n"
    "  const %flags: bool[2] = {0, 1}\n"
    "  %y: f32[1,3,2,2] buffer 12 strides [12, 4, 2, 1] at 64 = Conv(%x, %w, _)"
    " {auto_pad = \"NOTSET\", strides = [2, 2], pads = ints []} group 1\n"
    "  %z: f32[1,3,4] in %y + 0 strides [12, 4, 1] = Relu(%y) \"relu \\\\ 1\" from \"bn1, relu 1\" group 1\n"
    "  %a: ?[2], _, %\"b c\": i64? = com.example:Odd(%z, %w) {f = 2.0, fs = [1.0, -inf], gs = floats [],"
    " s = \"a\\x00b\\x0a\", ss = [\"p\", \"q\"], ts = strings [], t = tensor %t: i32[2] = {-1, 2}} \"odd\"\n"
    "  %c: f32[1] = If(%flags) {then_branch = graph \"then\" {\n"
    "      const %k: f32[] = {1.0}\n"
    "      %m: f32[] = Add(%k, %w)\n"
    "      output %m\n"
    "    }, else_branch = graph \"else\" {\n"
    "      %n: f32? = Loop(%z) {body = graph \"inner\" {\n"
    "          input %k: i64[]\n"
    "          %o: ?? = Mul(%y, %k)\n"
    "          output %o\n"
    "        }}\n"
    "      output %n\n"
    "    }}\n"
    "  Print(%c) \"print\"\n"
    "  output %c\n"
    "  output %c\n"
    "  output %x\n"
    "}\n";

START_TEST(every_form_survives_text) {
    Graph *again = expect_round_trip(everything);
    ck_assert_int_eq(again->inputs.len, 3);
    ck_assert_int_eq(again->consts.len, 5);
    ck_assert_str_eq(again->name, "all \"forms\"");
    Value *w = strmap_get(&again->names, "w"), *y = strmap_get(&again->names, "y"), *z = strmap_get(&again->names, "z");
    ck_assert(const_float(w, 2) == (double)INFINITY && signbit(const_float(w, 1)));
    ck_assert_ptr_eq(z->storage.root, y);
    ck_assert_int_eq(y->arena_offset, 64);
    ck_assert_int_eq(y->uses.len, 2); /* one of them deep inside */
    ck_assert_int_eq(again->next_group, 2);
    const Attr *s = node_attr(z->def->next, "s");
    ck_assert_uint_eq(s->s_len, 4);
    ck_assert_mem_eq(s->s, "a\0b\n", 4);
}
END_TEST

START_TEST(built_graphs_survive_text) {
    Chain k = chain();
    storage_row_major(k.x);
    storage_row_major(k.a);
    k.b->storage = k.a->storage;
    k.a->def->group = k.b->def->group = g->next_group++;
    expect_sound(true);
    expect_round_trip(text_of(g));
}
END_TEST

START_TEST(comments_are_no_names) {
    output(node("Relu", "//y", input("/x//", 1), NULL));
    const char *text = arena_printf(arena, "// what // ever\n%s// end", text_of(g));
    Graph *again = graph_parse(arena, &silent, text);
    ck_assert_ptr_nonnull(again);
    ck_assert_str_eq(text_of(again), text_of(g));
}
END_TEST

START_TEST(large_constants_print_their_size) {
    int64_t n = 65;
    graph_const(g, "w", DT_U8, 1, &n, (Data){ARENA_ARRAY(arena, char, n), 65});
    const char *text = text_of(g);
    ck_assert_ptr_nonnull(strstr(text, "const %w: u8[65] = <65 bytes>"));
    ck_assert_ptr_null(graph_parse(arena, &silent, text));
    ck_assert_int_eq(silent.errors, 1);
}
END_TEST

START_TEST(broken_text_is_refused) {
    static const char *const damage[][2] = {
        {"Relu(%y)", "Relu(%q)"},          {"%z: f32", "%y: f32"},          {"[2, 2]", "[2, 2.5]"},
        {"f32[2,2]", "f32[2,-2]"},         {"f32[2,2]", "f33[2,2]"},        {"strides [48, 16, 4, 1]", "strides [1]"},
        {"{0.1, -0.0", "{0.1, 0.1, -0.0"}, {"group 1", "group x"},          {"\"print\"", "\"print"},
        {"output %x", "output %q"},        {"in %y + 0", "in %q + 0"},      {"}, else_branch", "else_branch"},
        {"input %unknown: ??", "input _"}, {"= {0, 1}", "= {0.5, 1}"},      {"arena 256", "arena 99999999999999999999"},
        {"f32[2,2]", "f32[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"},
    };
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        const char *at = strstr(everything, damage[i][0]);
        ck_assert_msg(at != NULL, "%s", damage[i][0]);
        const char *text = arena_printf(arena, "%.*s%s%s", (int)(at - everything), everything, damage[i][1],
                                        at + strlen(damage[i][0]));
        silent.errors = 0;
        ck_assert_msg(graph_parse(arena, &silent, text) == NULL, "%s", damage[i][1]);
        ck_assert_int_eq(silent.errors, 1);
    }
}
END_TEST

START_TEST(text_cut_anywhere_does_no_harm) {
    for (size_t n = 0; n + 2 < sizeof everything; n++) {
        silent.errors = 0;
        ck_assert_ptr_null(graph_parse(arena, &silent, arena_strndup(arena, everything, n)));
        ck_assert_int_eq(silent.errors, 1);
    }
}
END_TEST

/* --- what the verifier finds --- */

START_TEST(verifier_finds_wrong_order) {
    Chain k = chain();
    node_move_before(k.b->def, k.a->def);
    expect_error("node b uses value a, which is not defined before it");
}
END_TEST

START_TEST(verifier_finds_broken_lists) {
    Chain k = chain();
    k.b->def->prev = NULL;
    expect_error("the list of nodes is broken before b");
    k.b->def->prev = k.a->def;
    g->last = k.b->def;
    expect_error("broken at its end");
}
END_TEST

START_TEST(verifier_finds_wrong_use_lists) {
    Chain k = chain();
    k.a->uses.len--;
    expect_error("value a knows of 1 uses and has 2");
    k.a->uses.len++;
    k.a->uses.data[1].node = k.c->def;
    expect_error("value a is not input");
    k.a->uses.data[1].node = k.b->def;
    k.b->def->in[0] = k.x;
    expect_error("uses and has");
}
END_TEST

START_TEST(verifier_finds_uses_by_removed_nodes) {
    Chain k = chain();
    Node gone = *k.b->def;
    k.a->uses.data[0].node = &gone;
    expect_error("value a is used by a node that is not in the graph");
}
END_TEST

START_TEST(verifier_finds_wrong_definitions) {
    Chain k = chain();
    k.a->def = k.b->def;
    expect_error("value a does not know that node a defines it");
    k.a->def = k.c->def->prev->prev;
    strmap_put(arena, &g->names, "a", k.b);
    expect_error("value a is not known by its name");
    strmap_put(arena, &g->names, "a", k.a);
    expect_sound(true);
    k.b->id = k.a->id;
    expect_error("defined twice");
}
END_TEST

START_TEST(verifier_finds_wrong_outputs) {
    Chain k = chain();
    k.c->is_output = false;
    expect_error("value c is an output and is not marked so");
    k.c->is_output = k.a->is_output = true;
    expect_error("value a is marked as an output and is none");
    k.a->is_output = false;
    expect_sound(true);
    Graph *other = graph_new(arena, &silent, "other");
    g->outputs.data[0] = graph_input(other, "o", DT_F32, 0, NULL);
    expect_error("output o is not of graph test");
}
END_TEST

START_TEST(verifier_wants_types_where_asked) {
    Chain k = chain();
    k.b->rank = -1;
    expect_sound(false);
    ck_assert_str_eq(graph_verify(g, true), "value b has no type");
    k.b->rank = 1;
    k.b->dim[0] = -1;
    expect_error("value b has an impossible shape");
}
END_TEST

START_TEST(verifier_finds_constants_of_another_size) {
    Value *v = graph_const_float(g, "half", 0.5f);
    v->data.size = 3;
    expect_error("constant half has 3 bytes");
    v->data = (Data){NULL, 4};
    expect_error("constant half has 4 bytes");
}
END_TEST

START_TEST(verifier_finds_groups_that_are_not_convex) {
    Chain k = chain();
    int group = g->next_group++;
    k.a->def->group = k.c->def->group = group;
    expect_error("group 1 is not convex: node c uses b");
    k.b->def->group = group;
    expect_sound(true);
    /* Something in between that has nothing to do with the group is no harm. */
    Value *d = node("Relu", "d", k.x, NULL);
    node_move_before(d->def, k.b->def);
    expect_sound(true);
    node_set_input(d->def, 0, k.a);
    expect_sound(true);
    d->def->group = 9;
    expect_error("group 9, which was never made");
}
END_TEST

START_TEST(verifier_finds_storage_outside_of_roots) {
    Chain k = chain();
    storage_row_major(k.x);
    storage_row_major(k.a);
    storage_row_major(k.b);
    k.b->storage.root = k.a;
    expect_sound(true);
    k.b->storage.offset = 1;
    expect_error("value b takes elements 1 to 4 of a, which has 4");
    k.b->storage.stride[0] = -1;
    expect_error("value b takes elements -2 to 1 of a");
    k.b->storage.offset = 3;
    expect_sound(true);
    k.b->storage.stride[0] = INT64_MAX;
    expect_error("strides of value b overflow");
    k.b->storage = k.x->storage;
    k.x->storage.root = k.a;
    expect_error("lies in x, which is no root");
}
END_TEST

START_TEST(verifier_finds_places_outside_of_the_arena) {
    Chain k = chain();
    storage_row_major(k.a);
    k.a->arena_offset = 16;
    g->arena_size = 32;
    expect_sound(true);
    g->arena_size = 31;
    expect_error("value a does not fit into the arena");
    g->arena_size = 64;
    k.a->arena_offset = 18;
    expect_error("value a does not fit into the arena");
    k.a->arena_offset = -1;
    storage_row_major(k.x);
    k.x->arena_offset = 0;
    expect_error("value x has a place in the arena and should not");
}
END_TEST

START_TEST(verifier_looks_into_bodies) {
    Graph *parsed = graph_parse(arena, &silent, everything);
    ck_assert_ptr_nonnull(parsed);
    g = parsed;
    Value *c = strmap_get(&g->names, "c");
    Graph *body = c->def->attr[0].graph;
    body->outer = NULL;
    expect_error("the body then_branch does not know its graph");
    body->outer = g;
    Value *m = strmap_get(&body->names, "m"), *w = strmap_get(&g->names, "w");
    ck_assert_ptr_eq(m->def->in[1], w);
    w->uses.len--;
    expect_error("value w knows of");
    w->uses.len++;
    m->is_output = false;
    expect_error("value m is an output");
    m->is_output = true;
    expect_sound(false);
}
END_TEST

static Suite *graph_suite(void) {
    Suite *s = suite_create("graph");
    TCase *t = tcase_create("graph");
    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, nodes_know_their_values_and_values_their_uses);
    tcase_add_test(t, names_are_unique);
    tcase_add_test(t, inputs_change_with_their_use_lists);
    tcase_add_test(t, outputs_are_replaced_too);
    tcase_add_test(t, nodes_move);
    tcase_add_test(t, constants_are_read_whatever_their_type);
    tcase_add_test(t, sizes_do_not_overflow);
    tcase_add_test(t, attributes_are_found_by_name_and_kind);
    tcase_add_test(t, every_form_survives_text);
    tcase_add_test(t, built_graphs_survive_text);
    tcase_add_test(t, comments_are_no_names);
    tcase_add_test(t, large_constants_print_their_size);
    tcase_add_test(t, broken_text_is_refused);
    tcase_add_test(t, text_cut_anywhere_does_no_harm);
    tcase_add_test(t, verifier_finds_wrong_order);
    tcase_add_test(t, verifier_finds_broken_lists);
    tcase_add_test(t, verifier_finds_wrong_use_lists);
    tcase_add_test(t, verifier_finds_uses_by_removed_nodes);
    tcase_add_test(t, verifier_finds_wrong_definitions);
    tcase_add_test(t, verifier_finds_wrong_outputs);
    tcase_add_test(t, verifier_wants_types_where_asked);
    tcase_add_test(t, verifier_finds_constants_of_another_size);
    tcase_add_test(t, verifier_finds_groups_that_are_not_convex);
    tcase_add_test(t, verifier_finds_storage_outside_of_roots);
    tcase_add_test(t, verifier_finds_places_outside_of_the_arena);
    tcase_add_test(t, verifier_looks_into_bodies);
    return s;
}

int main(void) { return unit_run("graph", graph_suite()); }
