/* SPDX-License-Identifier: Apache-2.0 */
/* Tree ensembles: trees as tables, walked for as many steps as the tree is deep; leaves lead to themselves. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/rules.h"

enum { MOST_NODES = 1 << 28 };

typedef enum Transform { NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO, PROBIT, TRANSFORMS } Transform;
typedef enum Aggregate { SUM, AVERAGE, MIN, MAX, AGGREGATES } Aggregate;

/* A node asks x <= threshold, or x == threshold. The other comparisons are these with other thresholds, or with their
 * children exchanged. */
typedef struct Forest {
    int nodes, trees, votes;
    int32_t *feature, *child; /* child[2 * node]: where the answer is no; the next one: yes */
    double *threshold;
    bool *is_equality, *nan_is_yes;
    int32_t *root, *depth; /* by tree */
    /* Votes of node i: first_vote[i] up to first_vote[i + 1]. */
    int32_t *first_vote, *target;
    double *weight;
    int targets; /* classes, or regression targets */
    int base_values;
    double *base;
    Transform transform;
    Aggregate aggregate;
    DType compare, sum;
} Forest;

/* --- attributes --- */

/* An INTS attribute of count entries within 0 .. most. */
static const int64_t *read_ints(const Node *n, const char *name, int count, int64_t most) {
    const Attr *a = node_attr(n, name);
    int given = a && a->kind == ATTR_INTS ? a->n : 0;
    if (given != count) {
        infer_error(n, "attribute \"%s\" has %d entries; it needs %d", name, given, count);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        if (a->ints[i] < 0 || a->ints[i] > most) {
            infer_error(n, "attribute \"%s\": %lld is outside 0 .. %lld", name, (long long)a->ints[i], (long long)most);
            return NULL;
        }
    }
    static const int64_t none = 0;
    return count ? a->ints : &none;
}

static int length_of(const Node *n, const char *name) {
    const Attr *a = node_attr(n, name);
    return a && a->kind == ATTR_INTS ? a->n : 0;
}

/* A FLOATS attribute or the tensor that stands for it; sets *wide where that is of doubles. -1 after a report. */
static int read_floats(const Node *n, const char *name, double **out, bool *wide) {
    Arena *arena = n->graph->arena;
    const Attr *a = node_attr(n, name), *t = node_attr(n, arena_printf(arena, "%s_as_tensor", name));
    *out = NULL;
    if (t && t->kind == ATTR_TENSOR && t->tensor && value_count(t->tensor)) {
        int64_t count = value_count(t->tensor);
        if ((t->tensor->dtype != DT_F32 && t->tensor->dtype != DT_F64) || count > 2 * (int64_t)MOST_NODES) {
            infer_error(n, "attribute \"%s_as_tensor\" must be of floats or doubles", name);
            return -1;
        }
        *wide |= t->tensor->dtype == DT_F64;
        *out = ARENA_ARRAY(arena, double, count);
        for (int64_t i = 0; i < count; i++)
            (*out)[i] = const_float(t->tensor, i);
        return (int)count;
    }
    if (!a || a->kind != ATTR_FLOATS)
        return 0;
    *out = ARENA_ARRAY(arena, double, a->n);
    for (int i = 0; i < a->n; i++)
        (*out)[i] = (double)a->floats[i];
    return a->n;
}

/* --- the table of nodes --- */

typedef struct Key {
    int64_t tree, node;
    int index;
} Key;

static int compare_keys(const void *p, const void *q) {
    const Key *x = p, *y = q;
    if (x->tree != y->tree)
        return x->tree < y->tree ? -1 : 1;
    return x->node < y->node ? -1 : x->node > y->node;
}

static const Key *find_node(const Key *keys, int count, int64_t tree, int64_t node) {
    Key wanted = {tree, node, 0};
    return bsearch(&wanted, keys, (size_t)count, sizeof *keys, compare_keys);
}

static Key *read_keys(const Node *n, int count) {
    const int64_t *tree = read_ints(n, "nodes_treeids", count, INT64_MAX), *node = read_ints(n, "nodes_nodeids", count, INT64_MAX);
    if (!tree || !node)
        return NULL;
    Key *keys = ARENA_ARRAY(n->graph->arena, Key, count);
    for (int i = 0; i < count; i++)
        keys[i] = (Key){tree[i], node[i], i};
    qsort(keys, (size_t)count, sizeof *keys, compare_keys);
    for (int i = 1; i < count; i++) {
        if (!compare_keys(&keys[i - 1], &keys[i])) {
            infer_error(n, "tree %lld has node %lld twice", (long long)keys[i].tree, (long long)keys[i].node);
            return NULL;
        }
    }
    return keys;
}

static double just_below(DType t, double x) {
    if (x == (double)-INFINITY)
        return (double)NAN; /* nothing is less */
    return t == DT_F32 ? (double)nextafterf((float)x, -INFINITY) : nextafter(x, (double)-INFINITY);
}

/* Node i asks `mode`; false for a mode that does not exist. */
static bool set_question(Forest *f, int i, const char *mode, double threshold, bool nan_is_yes) {
    bool less = !strcmp(mode, "BRANCH_LT") || !strcmp(mode, "BRANCH_GTE");
    bool equal = !strcmp(mode, "BRANCH_EQ") || !strcmp(mode, "BRANCH_NEQ");
    bool greater = !strcmp(mode, "BRANCH_GT") || !strcmp(mode, "BRANCH_GTE");
    bool exchange = !strcmp(mode, "BRANCH_NEQ") || (greater && !isnan(threshold));
    if (!less && !equal && !greater && strcmp(mode, "BRANCH_LEQ"))
        return false;
    f->threshold[i] = less ? just_below(f->compare, threshold) : threshold;
    f->is_equality[i] = equal;
    f->nan_is_yes[i] = nan_is_yes != exchange;
    if (exchange) {
        int32_t no = f->child[2 * i];
        f->child[2 * i] = f->child[2 * i + 1];
        f->child[2 * i + 1] = no;
    }
    return true;
}

static bool read_nodes(const Node *n, Forest *f, const Key *keys, int64_t features) {
    int count = f->nodes;
    const Attr *modes = node_attr(n, "nodes_modes");
    bool wide = false;
    double *value;
    int values = read_floats(n, "nodes_values", &value, &wide);
    const int64_t *feature = read_ints(n, "nodes_featureids", count, INT32_MAX);
    const int64_t *yes = read_ints(n, "nodes_truenodeids", count, INT64_MAX), *no = read_ints(n, "nodes_falsenodeids", count, INT64_MAX);
    const int64_t *nan = NULL;
    if (values < 0 || !feature || !yes || !no)
        return false;
    if (!modes || modes->kind != ATTR_STRINGS || modes->n != count || values != count)
        return infer_error(n, "attributes \"nodes_modes\" and \"nodes_values\" need %d entries", count);
    if (length_of(n, "nodes_missing_value_tracks_true") && !(nan = read_ints(n, "nodes_missing_value_tracks_true", count, INT64_MAX)))
        return false;
    if (wide)
        f->compare = DT_F64;
    for (int k = 0; k < count; k++) {
        int i = keys[k].index;
        const char *mode = modes->strings[i];
        f->child[2 * i] = f->child[2 * i + 1] = i;
        if (!strcmp(mode, "LEAF"))
            continue;
        const Key *y = find_node(keys, count, keys[k].tree, yes[i]), *o = find_node(keys, count, keys[k].tree, no[i]);
        if (!y || !o || y->index == i || o->index == i)
            return infer_error(n, "node %lld of tree %lld has children %lld and %lld", (long long)keys[k].node, (long long)keys[k].tree,
                               (long long)yes[i], (long long)no[i]);
        if (feature[i] >= features)
            return infer_error(n, "node %lld of tree %lld reads feature %lld of %lld", (long long)keys[k].node, (long long)keys[k].tree,
                               (long long)feature[i], (long long)features);
        f->feature[i] = (int32_t)feature[i];
        f->child[2 * i] = o->index;
        f->child[2 * i + 1] = y->index;
        if (!set_question(f, i, mode, value[i], nan && nan[i]))
            return infer_error(n, "attribute \"nodes_modes\" contains \"%s\"", mode);
    }
    return true;
}

static bool is_leaf(const Forest *f, int node) { return f->child[2 * node] == node; }

/* The tree that each node belongs to, the roots, and the longest way down from each. */
static bool find_roots(const Node *n, Forest *f, const Key *keys) {
    Arena *arena = n->graph->arena;
    int *parents = ARENA_ARRAY(arena, int, f->nodes), *tree = ARENA_ARRAY(arena, int, f->nodes);
    int *level = ARENA_ARRAY(arena, int, f->nodes), *queue = ARENA_ARRAY(arena, int, f->nodes), done = 0, queued = 0;
    for (int i = 0; i < f->nodes; i++)
        for (int c = 0; c < 2 && !is_leaf(f, i); c++)
            parents[f->child[2 * i + c]]++;
    for (int k = 0; k < f->nodes; k++) {
        f->trees += k == 0 || keys[k].tree != keys[k - 1].tree;
        tree[keys[k].index] = f->trees - 1;
        level[k] = -1;
    }
    f->root = ARENA_ARRAY(arena, int32_t, f->trees);
    f->depth = ARENA_ARRAY(arena, int32_t, f->trees);
    for (int t = 0; t < f->trees; t++)
        f->root[t] = -1;
    for (int i = 0; i < f->nodes; i++) {
        if (parents[i])
            continue;
        queue[queued++] = i;
        if (f->root[tree[i]] < 0) {
            f->root[tree[i]] = i;
            level[i] = 0;
        }
    }
    for (int k = 0; k < f->nodes; k++)
        if (f->root[tree[keys[k].index]] < 0)
            return infer_error(n, "tree %lld has no root", (long long)keys[k].tree);
    while (done < queued) {
        int i = queue[done++];
        if (f->depth[tree[i]] < level[i])
            f->depth[tree[i]] = level[i];
        for (int c = 0; c < 2 && !is_leaf(f, i); c++) {
            int to = f->child[2 * i + c];
            if (level[i] >= 0 && level[to] <= level[i])
                level[to] = level[i] + 1;
            if (!--parents[to])
                queue[queued++] = to;
        }
    }
    for (int k = 0; k < f->nodes; k++)
        if (parents[keys[k].index])
            return infer_error(n, "node %lld of tree %lld is its own descendant", (long long)keys[k].node, (long long)keys[k].tree);
    return true;
}

/* Attributes class_… or target_…, by node. */
static bool read_votes(const Node *n, Forest *f, const Key *keys, const char *kind) {
    Arena *arena = n->graph->arena;
    const char *ids = arena_printf(arena, "%s_ids", kind);
    bool wide = false;
    double *weight;
    int count = length_of(n, ids), weights = read_floats(n, arena_printf(arena, "%s_weights", kind), &weight, &wide);
    const int64_t *target = read_ints(n, ids, count, f->targets - 1);
    const int64_t *tree = read_ints(n, arena_printf(arena, "%s_treeids", kind), count, INT64_MAX);
    const int64_t *node = read_ints(n, arena_printf(arena, "%s_nodeids", kind), count, INT64_MAX);
    if (weights < 0 || !target || !tree || !node)
        return false;
    if (weights != count)
        return infer_error(n, "attribute \"%s_weights\" has %d entries; it needs %d", kind, weights, count);
    if (wide)
        f->sum = DT_F64;
    f->votes = count;
    f->first_vote = ARENA_ARRAY(arena, int32_t, f->nodes + 1);
    f->target = ARENA_ARRAY(arena, int32_t, count);
    f->weight = ARENA_ARRAY(arena, double, count);
    int *of = ARENA_ARRAY(arena, int, count), *next = ARENA_ARRAY(arena, int, f->nodes);
    for (int i = 0; i < count; i++) {
        const Key *key = find_node(keys, f->nodes, tree[i], node[i]);
        if (!key)
            return infer_error(n, "attribute \"%s_nodeids\" names node %lld of tree %lld, which is not there", kind, (long long)node[i],
                               (long long)tree[i]);
        of[i] = key->index;
        f->first_vote[key->index + 1]++;
    }
    for (int i = 0; i < f->nodes; i++) {
        f->first_vote[i + 1] += f->first_vote[i];
        next[i] = f->first_vote[i];
    }
    for (int i = 0; i < count; i++) {
        int at = next[of[i]]++;
        f->target[at] = (int32_t)target[i];
        f->weight[at] = weight[i];
    }
    return true;
}

static bool read_forest(const Node *n, Forest *f, const char *kind) {
    static const char *const transforms[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
    static const char *const aggregates[] = {"SUM", "AVERAGE", "MIN", "MAX"};
    static const DType allowed[] = {DT_F32, DT_F64, DT_I32, DT_I64, DT_NONE};
    const Value *x = n->in[0];
    Arena *arena = n->graph->arena;
    int transform = 0, aggregate = 0, count = length_of(n, "nodes_nodeids");
    bool wide = false;
    if (!infer_type_in(n, 0, allowed) || !infer_choice(n, "post_transform", transforms, TRANSFORMS, &transform) ||
        !infer_choice(n, "aggregate_function", aggregates, AGGREGATES, &aggregate))
        return false;
    if (x->rank != 1 && x->rank != 2)
        return infer_error(n, "the input must have rank 1 or 2, not %d", x->rank);
    if (count < 1 || count > MOST_NODES)
        return infer_error(n, "attribute \"nodes_nodeids\" has %d entries", count);
    f->transform = (Transform)transform;
    f->aggregate = (Aggregate)aggregate;
    f->compare = x->dtype == DT_F32 ? DT_F32 : DT_F64; /* a double holds every i32 */
    f->sum = x->dtype == DT_F64 ? DT_F64 : DT_F32;
    f->nodes = count;
    f->feature = ARENA_ARRAY(arena, int32_t, count);
    f->child = ARENA_ARRAY(arena, int32_t, 2 * (int64_t)count);
    f->threshold = ARENA_ARRAY(arena, double, count);
    f->is_equality = ARENA_ARRAY(arena, bool, count);
    f->nan_is_yes = ARENA_ARRAY(arena, bool, count);
    f->base_values = read_floats(n, "base_values", &f->base, &wide);
    if (f->base_values > 1 && f->base_values != f->targets)
        return infer_error(n, "attribute \"base_values\" has %d entries for %d scores", f->base_values, f->targets);
    const Key *keys = f->base_values < 0 ? NULL : read_keys(n, count);
    return keys && read_nodes(n, f, keys, x->dim[x->rank - 1]) && find_roots(n, f, keys) && read_votes(n, f, keys, kind);
}

static int64_t rows_of(const Node *n) { return n->in[0]->rank == 2 ? n->in[0]->dim[0] : 1; }

static bool read_classifier(const Node *n, Forest *f) {
    const Attr *strings = node_attr(n, "classlabels_strings");
    *f = (Forest){.targets = length_of(n, "classlabels_int64s")};
    if (strings && strings->kind == ATTR_STRINGS && strings->n)
        return infer_error(n, "class labels that are strings are not supported");
    if (f->targets < 1)
        return infer_error(n, "attribute \"classlabels_int64s\" is missing");
    return read_forest(n, f, "class");
}

static bool read_regressor(const Node *n, Forest *f) {
    int64_t targets = attr_int(n, "n_targets", 1);
    if (targets < 1 || targets > MOST_NODES)
        return infer_error(n, "attribute \"n_targets\" is %lld", (long long)targets);
    *f = (Forest){.targets = (int)targets};
    return read_forest(n, f, "target");
}

INFER(infer_tree_classifier) {
    Forest f;
    if (!read_classifier(n, &f))
        return false;
    const int64_t dim[] = {rows_of(n), f.targets};
    return infer_set(n, 0, DT_I64, 1, dim) && infer_set(n, 1, DT_F32, 2, dim);
}

INFER(infer_tree_regressor) {
    Forest f;
    if (!read_regressor(n, &f))
        return false;
    const int64_t dim[] = {rows_of(n), f.targets};
    return infer_set(n, 0, DT_F32, 2, dim);
}

/* --- walking --- */

typedef struct Walk {
    Lower *l;
    const Node *n;
    const Forest *f;
    KIndex row;
    KParam *feature, *child, *threshold, *equality, *nan, *root, *depth; /* tables; NULL where they are not needed */
    KParam *first_vote, *target, *weight;
    KParam *value; /* the one vote of a leaf, where all are for one target */
    KParam *score; /* one element a target */
    KParam *base;
} Walk;

static KParam *table_i32(Lower *l, const char *name, int64_t count, const int32_t *x) { return lower_table(l, name, DT_I32, count, x); }

static KParam *table_float(Lower *l, const char *name, DType t, int64_t count, const double *x) {
    if (t == DT_F64)
        return lower_table(l, name, t, count, x);
    float *narrow = ARENA_ARRAY(l->arena, float, count);
    for (int64_t i = 0; i < count; i++)
        narrow[i] = (float)x[i];
    return lower_table(l, name, t, count, narrow);
}

static KParam *table_bool(Lower *l, const char *name, int64_t count, const bool *x) {
    uint8_t *bytes = ARENA_ARRAY(l->arena, uint8_t, count);
    for (int64_t i = 0; i < count; i++)
        bytes[i] = x[i];
    return lower_table(l, name, DT_BOOL, count, bytes);
}

static bool any(const bool *x, int count) {
    for (int i = 0; i < count; i++)
        if (x[i])
            return true;
    return false;
}

static KIndex load_index(const Walk *w, KParam *table, KIndex at) {
    return kx_var(w->l->arena, kb_cast(&w->l->b, kb_load(&w->l->b, table, at), DT_INDEX));
}

static KValue *zero(const Walk *w) { return kb_float(&w->l->b, w->f->sum, 0); }

static double neutral(Aggregate a) { return a == MIN ? (double)INFINITY : a == MAX ? (double)-INFINITY : 0; }

/* Whether every vote is for one target, and there are no targets that get none but class 1 of 2. */
static bool is_single(const Forest *f, bool classes) {
    for (int i = 1; i < f->votes; i++)
        if (f->target[i] != f->target[0])
            return false;
    return f->targets == 1 || (classes && f->targets == 2 && f->votes);
}

static double combine(Aggregate a, double x, double y) { return a == MIN ? fmin(x, y) : a == MAX ? fmax(x, y) : x + y; }

static KParam *value_table(Lower *l, const Forest *f) {
    double *x = ARENA_ARRAY(l->arena, double, f->nodes);
    for (int i = 0; i < f->nodes; i++) {
        x[i] = neutral(f->aggregate);
        for (int k = f->first_vote[i]; k < f->first_vote[i + 1]; k++)
            x[i] = combine(f->aggregate, x[i], f->weight[k]);
    }
    return table_float(l, "tree_value", f->sum, f->nodes, x);
}

static void make_walk_tables(Walk *w) {
    Lower *l = w->l;
    const Forest *f = w->f;
    w->root = table_i32(l, "tree_root", f->trees, f->root);
    w->depth = table_i32(l, "tree_depth", f->trees, f->depth);
    w->feature = table_i32(l, "tree_feature", f->nodes, f->feature);
    w->threshold = table_float(l, "tree_threshold", f->compare, f->nodes, f->threshold);
    w->child = table_i32(l, "tree_child", 2 * (int64_t)f->nodes, f->child);
    if (any(f->is_equality, f->nodes))
        w->equality = table_bool(l, "tree_equality", f->nodes, f->is_equality);
    if (any(f->nan_is_yes, f->nodes) && dtype_is_float(w->n->in[0]->dtype))
        w->nan = table_bool(l, "tree_nan", f->nodes, f->nan_is_yes);
}

static void make_tables(Walk *w, bool single, bool code) {
    Lower *l = w->l;
    const Forest *f = w->f;
    if (!code)
        make_walk_tables(w);
    if (single) {
        w->value = code ? NULL : value_table(l, f);
        return;
    }
    w->score = lower_scratch(l, f->sum, f->targets);
    if (f->base_values > 1)
        w->base = table_float(l, "tree_base", f->sum, f->targets, f->base);
    if (!f->votes || code)
        return;
    w->first_vote = table_i32(l, "tree_first_vote", f->nodes + 1, f->first_vote);
    w->target = table_i32(l, "tree_target", f->votes, f->target);
    w->weight = table_float(l, "tree_weight", f->sum, f->votes, f->weight);
}

/* Whether the node's answer is yes. */
static KValue *answer(const Walk *w, KIndex node) {
    KBuilder *b = &w->l->b;
    const KIndex at[] = {w->row, load_index(w, w->feature, node)};
    KValue *x = kb_cast(b, lower_load(w->l, w->n, 0, w->n->in[0]->rank == 2 ? at : at + 1), w->f->compare);
    KValue *threshold = kb_load(b, w->threshold, node), *yes = kb_binary(b, KOP_LE, x, threshold);
    if (w->equality) {
        KValue *less_too = kb_unary(b, KOP_NOT, kb_load(b, w->equality, node));
        yes = kb_binary(b, KOP_AND, yes, kb_binary(b, KOP_OR, less_too, kb_binary(b, KOP_EQ, x, threshold)));
    }
    if (w->nan)
        yes = kb_binary(b, KOP_OR, yes, kb_binary(b, KOP_AND, kb_binary(b, KOP_NE, x, x), kb_load(b, w->nan, node)));
    return yes;
}

/* The leaf of a tree that the row comes to. */
static KIndex find_leaf(const Walk *w, KIndex tree) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    KValue *node = kx_value(b, load_index(w, w->root, tree));
    KValue *steps = kx_value(b, load_index(w, w->depth, tree));
    KInstr *loop = kb_for(b, KLOOP_SERIAL, "step", kb_int(b, DT_INDEX, 0), steps, 1, 1, &node);
    KIndex at = kx_var(l->arena, kb_carried(loop, 0));
    KIndex yes = kx_var(l->arena, kb_cast(b, answer(w, at), DT_INDEX));
    KValue *next = kx_value(b, load_index(w, w->child, kx_add(l->arena, kx_scale(l->arena, at, 2), yes)));
    kb_end_for(b, loop, &next);
    return kx_var(l->arena, kb_result(loop, 0));
}

static KOp operation(Aggregate a) { return a == MIN ? KOP_MIN : a == MAX ? KOP_MAX : KOP_ADD; }

/* --- small forests as code: questions are branches, thresholds and votes constants --- */

enum { MOST_NODES_OF_CODE = 4000, DEEPEST_CODE = 24, MOST_VOTES_OF_CODE = 4 };

static bool is_code(const Forest *f, int scores) {
    if (f->nodes > MOST_NODES_OF_CODE || scores > MOST_VOTES_OF_CODE)
        return false;
    for (int t = 0; t < f->trees; t++)
        if (f->depth[t] > DEEPEST_CODE)
            return false;
    return true;
}

static KValue *coded_answer(const Walk *w, int node) {
    KBuilder *b = &w->l->b;
    const Forest *f = w->f;
    const KIndex at[] = {w->row, kx_const(w->l->arena, f->feature[node])};
    KValue *x = kb_cast(b, lower_load(w->l, w->n, 0, w->n->in[0]->rank == 2 ? at : at + 1), f->compare);
    KValue *yes = kb_binary(b, f->is_equality[node] ? KOP_EQ : KOP_LE, x, kb_float(b, f->compare, f->threshold[node]));
    if (f->nan_is_yes[node] && dtype_is_float(w->n->in[0]->dtype))
        yes = kb_binary(b, KOP_OR, yes, kb_binary(b, KOP_NE, x, x));
    return yes;
}

/* What the tree below a node gives to each of n scores. */
static void coded_tree(const Walk *w, int node, int n, KValue **vote) {
    KBuilder *b = &w->l->b;
    const Forest *f = w->f;
    if (is_leaf(f, node)) {
        double sum[MOST_VOTES_OF_CODE];
        for (int c = 0; c < n; c++)
            sum[c] = neutral(f->aggregate);
        for (int k = f->first_vote[node]; k < f->first_vote[node + 1]; k++) {
            double *s = &sum[n == 1 ? 0 : f->target[k]];
            *s = combine(f->aggregate, *s, f->weight[k]);
        }
        for (int c = 0; c < n; c++)
            vote[c] = kb_float(b, f->sum, sum[c]);
        return;
    }
    KInstr *branch = kb_if(b, coded_answer(w, node), n);
    coded_tree(w, f->child[2 * node + 1], n, vote);
    kb_else(b, branch, vote);
    coded_tree(w, f->child[2 * node], n, vote);
    kb_end_if(b, branch, vote);
    for (int c = 0; c < n; c++)
        vote[c] = kb_result(branch, c);
}

static void coded_forest(const Walk *w, int n, KValue **score) {
    KBuilder *b = &w->l->b;
    KValue *vote[MOST_VOTES_OF_CODE];
    for (int c = 0; c < n; c++)
        score[c] = kb_float(b, w->f->sum, neutral(w->f->aggregate));
    for (int t = 0; t < w->f->trees && w->f->votes; t++) {
        coded_tree(w, w->f->root[t], n, vote);
        for (int c = 0; c < n; c++)
            score[c] = kb_binary(b, operation(w->f->aggregate), vote[c], score[c]);
    }
}

/* A target's score from what the trees gave. */
static KValue *finish(const Walk *w, KValue *x, KIndex target) {
    KBuilder *b = &w->l->b;
    const Forest *f = w->f;
    if (f->aggregate == AVERAGE)
        x = kb_binary(b, KOP_DIV, x, kb_float(b, f->sum, f->trees));
    if (f->aggregate == MIN || f->aggregate == MAX) { /* no tree voted */
        KValue *none = kb_binary(b, KOP_EQ, x, kb_float(b, f->sum, neutral(f->aggregate)));
        x = kb_select(b, none, zero(w), x);
    }
    if (w->base)
        return kb_binary(b, KOP_ADD, x, kb_load(b, w->base, target));
    return f->base_values ? kb_binary(b, KOP_ADD, x, kb_float(b, f->sum, f->base[f->base_values - 1])) : x;
}

/* The score of the one target, as a value. */
static KValue *single_score(const Walk *w) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    KValue *sum = kb_float(b, w->f->sum, neutral(w->f->aggregate));
    if (is_code(w->f, 1)) {
        coded_forest(w, 1, &sum);
        return finish(w, sum, kx_const(l->arena, 0));
    }
    KInstr *loop = lower_for(l, KLOOP_SERIAL, "tree", 0, w->f->trees, 1, &sum);
    KValue *x = kb_load(b, w->value, find_leaf(w, lower_iv(l, loop)));
    KValue *next = kb_binary(b, operation(w->f->aggregate), x, kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    return finish(w, kb_result(loop, 0), kx_const(l->arena, 0));
}

static KInstr *open_targets(const Walk *w, KIndex *target) {
    KInstr *loop = lower_for(w->l, KLOOP_PARALLEL, "c", 0, w->f->targets, 0, NULL);
    *target = lower_iv(w->l, loop);
    return loop;
}

static void count_votes(const Walk *w, KIndex leaf) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    KValue *from = kx_value(b, load_index(w, w->first_vote, leaf));
    KValue *to = kx_value(b, load_index(w, w->first_vote, kx_add_const(l->arena, leaf, 1)));
    KInstr *votes = kb_for(b, KLOOP_SERIAL, "vote", from, to, 1, 0, NULL);
    KIndex vote = lower_iv(l, votes), target = load_index(w, w->target, vote);
    KValue *score = kb_load(b, w->score, target);
    KValue *sum = kb_binary(b, operation(w->f->aggregate), kb_load(b, w->weight, vote), score);
    kb_store(b, w->score, target, sum);
    kb_end_for(b, votes, NULL);
}

/* All targets' scores, in memory. */
static void all_scores(const Walk *w) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    KIndex c;
    if (is_code(w->f, w->f->targets)) {
        KValue *score[MOST_VOTES_OF_CODE];
        coded_forest(w, w->f->targets, score);
        for (int i = 0; i < w->f->targets; i++) {
            KIndex at = kx_const(l->arena, i);
            kb_store(b, w->score, at, finish(w, score[i], at));
        }
        return;
    }
    KInstr *loop = open_targets(w, &c);
    kb_store(b, w->score, c, kb_float(b, w->f->sum, neutral(w->f->aggregate)));
    kb_end_for(b, loop, NULL);
    loop = lower_for(l, KLOOP_SERIAL, "tree", 0, w->f->trees, 0, NULL);
    if (w->first_vote)
        count_votes(w, find_leaf(w, lower_iv(l, loop)));
    kb_end_for(b, loop, NULL);
    loop = open_targets(w, &c);
    kb_store(b, w->score, c, finish(w, kb_load(b, w->score, c), c));
    kb_end_for(b, loop, NULL);
}

/* --- transforms --- */

static KValue *constant(const Walk *w, double x) { return kb_float(&w->l->b, w->f->sum, x); }

/* sqrt(2) times the inverse error function of 2 x - 1, by Winitzki's approximation with a = 0.147. */
static KValue *probit(const Walk *w, KValue *x) {
    KBuilder *b = &w->l->b;
    const double a = 0.147, pi = 3.14159265358979323846;
    KValue *y = kb_fma(b, x, constant(w, 2), constant(w, -1));
    KValue *rest = kb_binary(b, KOP_SUB, constant(w, 1), kb_binary(b, KOP_MUL, y, y));
    KValue *log = kb_math(b, KMATH_LOG, rest, NULL);
    KValue *p = kb_fma(b, log, constant(w, 0.5), constant(w, 2 / (pi * a)));
    KValue *q = kb_binary(b, KOP_SUB, kb_binary(b, KOP_MUL, p, p), kb_binary(b, KOP_MUL, log, constant(w, 1 / a)));
    KValue *r = kb_unary(b, KOP_SQRT, kb_binary(b, KOP_SUB, kb_unary(b, KOP_SQRT, q), p));
    r = kb_binary(b, KOP_MUL, r, constant(w, 1.41421356));
    r = kb_select(b, kb_binary(b, KOP_LT, y, constant(w, 0)), kb_unary(b, KOP_NEG, r), r);
    return kb_select(b, kb_binary(b, KOP_EQ, rest, constant(w, 0)), constant(w, 0), r);
}

static KValue *reduce_scores(const Walk *w, KOp op, double from) {
    KBuilder *b = &w->l->b;
    KValue *init = constant(w, from);
    KInstr *loop = lower_for(w->l, KLOOP_REDUCE, "c", 0, w->f->targets, 1, &init);
    KValue *next = kb_binary(b, op, kb_load(b, w->score, lower_iv(w->l, loop)), kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    return kb_result(loop, 0);
}

/* SOFTMAX_ZERO leaves scores of zero near zero. */
static void exponentials(const Walk *w) {
    KBuilder *b = &w->l->b;
    KValue *most = reduce_scores(w, KOP_MAX, (double)-INFINITY);
    KIndex c;
    KInstr *loop = open_targets(w, &c);
    KValue *x = kb_load(b, w->score, c), *e = kb_math(b, KMATH_EXP, kb_binary(b, KOP_SUB, x, most), NULL);
    if (w->f->transform == SOFTMAX_ZERO) {
        KValue *small = kb_binary(b, KOP_MUL, x, kb_math(b, KMATH_EXP, kb_unary(b, KOP_NEG, most), NULL));
        e = kb_select(b, kb_binary(b, KOP_GT, kb_unary(b, KOP_ABS, x), constant(w, 1e-7)), e, small);
    }
    kb_store(b, w->score, c, e);
    kb_end_for(b, loop, NULL);
}

/* Stores the scores through the transform. */
static void store_scores(const Walk *w, int output) {
    KBuilder *b = &w->l->b;
    Transform t = w->f->transform;
    KValue *sum = NULL;
    KIndex c;
    if (output >= w->n->nout || !w->n->out[output])
        return;
    if (t == SOFTMAX || t == SOFTMAX_ZERO) {
        exponentials(w);
        sum = reduce_scores(w, KOP_ADD, 0);
    }
    KInstr *loop = open_targets(w, &c);
    KValue *x = kb_load(b, w->score, c);
    if (t == LOGISTIC)
        x = kb_math(b, KMATH_SIGMOID, x, NULL);
    else if (t == PROBIT)
        x = probit(w, x);
    else if (sum)
        x = kb_select(b, kb_binary(b, KOP_EQ, sum, zero(w)), constant(w, 0.5), kb_binary(b, KOP_DIV, x, sum));
    const KIndex at[] = {w->row, c};
    lower_store(w->l, w->n, output, at, kb_cast(b, x, DT_F32));
    kb_end_for(b, loop, NULL);
}

/* --- the operators --- */

/* The rows share the scores. */
static KInstr *open_rows(Walk *w) {
    KInstr *loop = lower_for(w->l, KLOOP_SERIAL, "n", 0, rows_of(w->n), 0, NULL);
    w->row = lower_iv(w->l, loop);
    return loop;
}

LOWER(lower_tree_regressor) {
    Forest f;
    read_regressor(n, &f);
    Walk w = {.l = l, .n = n, .f = &f};
    bool single = is_single(&f, false);
    make_tables(&w, single, is_code(&f, single ? 1 : f.targets));
    if (single)
        w.score = lower_scratch(l, f.sum, 1);
    KInstr *loop = open_rows(&w);
    if (single)
        kb_store(&l->b, w.score, kx_const(l->arena, 0), single_score(&w));
    else
        all_scores(&w);
    store_scores(&w, 0);
    kb_end_for(&l->b, loop, NULL);
}

static void store_label(const Walk *w, KValue *label) {
    if (w->n->out[0])
        lower_store(w->l, w->n, 0, &w->row, label);
}

/* One class of one or two has votes. Two scores then are s and its complement: 1 - s where s is a probability (or is
 * going to be taken for one), else -s. */
static void single_class(const Walk *w, const int64_t *label) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    bool probability = w->f->transform == PROBIT;
    if (w->f->transform == NONE) {
        probability = w->f->targets == 2;
        for (int i = 0; i < w->f->votes; i++)
            probability &= w->f->weight[i] >= 0;
    }
    KValue *s = single_score(w), *yes = kb_binary(b, KOP_GT, s, constant(w, probability ? 0.5 : 0));
    if (w->f->targets == 1) {
        kb_store(b, w->score, kx_const(l->arena, 0), s);
        store_label(w, kb_select(b, yes, kb_int(b, DT_I64, 1), kb_int(b, DT_I64, 0)));
        return;
    }
    KValue *rest = probability ? kb_binary(b, KOP_SUB, constant(w, 1), s) : kb_unary(b, KOP_NEG, s);
    kb_store(b, w->score, kx_const(l->arena, 0), rest);
    kb_store(b, w->score, kx_const(l->arena, 1), s);
    store_label(w, kb_select(b, yes, kb_int(b, DT_I64, label[1]), kb_int(b, DT_I64, label[0])));
}

/* The label of the highest score; the first of equals. */
static void best_class(const Walk *w, KParam *labels) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    KValue *init[2] = {constant(w, (double)-INFINITY), kb_int(b, DT_INDEX, 0)}, *next[2];
    KInstr *loop = lower_for(l, KLOOP_SERIAL, "c", 0, w->f->targets, 2, init);
    KValue *x = kb_load(b, w->score, lower_iv(l, loop)), *better = kb_binary(b, KOP_GT, x, kb_carried(loop, 0));
    next[0] = kb_select(b, better, x, kb_carried(loop, 0));
    next[1] = kb_select(b, better, kb_iv(loop), kb_carried(loop, 1));
    kb_end_for(b, loop, next);
    store_label(w, kb_load(b, labels, kx_var(l->arena, kb_result(loop, 1))));
}

LOWER(lower_tree_classifier) {
    Forest f;
    read_classifier(n, &f);
    const int64_t *label = node_attr(n, "classlabels_int64s")->ints;
    Walk w = {.l = l, .n = n, .f = &f};
    bool single = is_single(&f, true);
    make_tables(&w, single, is_code(&f, single ? 1 : f.targets));
    if (single)
        w.score = lower_scratch(l, f.sum, f.targets);
    KParam *labels = single ? NULL : lower_table(l, "tree_label", DT_I64, f.targets, label);
    KInstr *loop = open_rows(&w);
    if (single) {
        single_class(&w, label);
    } else {
        all_scores(&w);
        best_class(&w, labels);
    }
    store_scores(&w, 1);
    kb_end_for(&l->b, loop, NULL);
}
