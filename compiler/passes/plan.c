/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets in the arena. Buffers alive at the same call may not overlap; the arena should be as small as the calls with
 * the most alive allow. Greedy first fit in several orders, then a search that moves the buffers at the top earlier in
 * the order, until the lower bound is met or a fixed number of tries is spent. */
#include <string.h>

#include "passes/passes.h"
#include "support/ints.h"

enum { ALIGN = 64, TRIES = 400 };

typedef struct Block {
    Value *root;
    int64_t size, offset;
    int first, last; /* calls */
} Block;

typedef struct Plan {
    Block *block;
    int n;
    int *order, *best_order;
    int64_t *best; /* offsets */
    int64_t best_size, bound;
} Plan;

static bool has_buffer(const Value *v) {
    if (v->kind != VALUE_NODE)
        return false;
    if (v->is_output || !v->def->group)
        return true;
    for (int u = 0; u < v->uses.len; u++)
        if (v->uses.data[u].node->group != v->def->group)
            return true;
    return false;
}

static void touch(Plan *p, int *slot, Value *v, int call) {
    if (!v || !has_buffer(v))
        return;
    Value *root = v->storage.root;
    if (root->kind != VALUE_NODE || root->is_output)
        return;
    if (!slot[root->id]) {
        slot[root->id] = p->n + 1;
        int64_t bytes = root->buffer_size * dtype_size(root->dtype);
        p->block[p->n++] = (Block){root, round_up(bytes, ALIGN), 0, call, call};
    }
    p->block[slot[root->id] - 1].last = call;
}

static int collect(Plan *p, Graph *g) {
    int *slot = ARENA_ARRAY(g->arena, int, g->next_id), call = 0;
    for (Node *n = g->first; n; n = n->next) {
        if (!n->group)
            continue;
        int member;
        const Strips *strips = graph_strips(g, n->group, &member);
        if ((!n->prev || n->prev->group != n->group) && (!strips || !member)) /* members of strips live together */
            call++;
        for (int i = 0; i < n->nin; i++)
            touch(p, slot, n->in[i], call);
        for (int i = 0; i < n->nout; i++)
            if (n->out[i] && (n->out[i]->uses.len || n->out[i]->is_output))
                touch(p, slot, n->out[i], call);
    }
    return call;
}

static int64_t lower_bound(const Plan *p, int calls) {
    int64_t most = 0;
    for (int c = 1; c <= calls; c++) {
        int64_t sum = 0;
        for (int i = 0; i < p->n; i++)
            if (p->block[i].first <= c && c <= p->block[i].last)
                sum += p->block[i].size;
        most = sum > most ? sum : most;
    }
    return most;
}

/* First fit in the given order; the arena's size. `busy` is scratch for n blocks sorted by offset. */
static int64_t fit(Plan *p, Block **busy) {
    int64_t size = 0;
    int placed = 0;
    for (int k = 0; k < p->n; k++) {
        Block *b = &p->block[p->order[k]];
        int64_t at = 0;
        for (int i = 0; i < placed; i++) {
            const Block *o = busy[i];
            if (o->last < b->first || b->last < o->first)
                continue;
            if (o->offset >= at + b->size)
                break;
            if (o->offset + o->size > at)
                at = o->offset + o->size;
        }
        b->offset = at;
        int i = placed++;
        for (; i > 0 && busy[i - 1]->offset > at; i--)
            busy[i] = busy[i - 1];
        busy[i] = b;
        size = at + b->size > size ? at + b->size : size;
    }
    return size;
}

static void attempt(Plan *p, Block **busy) {
    int64_t size = fit(p, busy);
    if (p->best_size >= 0 && size >= p->best_size)
        return;
    p->best_size = size;
    memcpy(p->best_order, p->order, (size_t)p->n * sizeof *p->order);
    for (int i = 0; i < p->n; i++)
        p->best[i] = p->block[i].offset;
}

static double weight(const Block *b, int rule) {
    double life = (double)(b->last - b->first + 1), size = (double)b->size;
    return rule == 0 ? size : rule == 1 ? size * life : rule == 2 ? life : -(double)b->first;
}

static void sort_by(Plan *p, int rule) {
    for (int i = 0; i < p->n; i++) {
        int at = i;
        for (; at > 0 && weight(&p->block[p->order[at - 1]], rule) < weight(&p->block[i], rule); at--)
            p->order[at] = p->order[at - 1];
        p->order[at] = i;
    }
}

/* Moves a block that touches the top of the best plan to a random earlier place in its order. */
static void perturb(Plan *p, unsigned *seed) {
    memcpy(p->order, p->best_order, (size_t)p->n * sizeof *p->order);
    int top = 0;
    for (int k = 0; k < p->n; k++)
        if (p->best[p->order[k]] + p->block[p->order[k]].size == p->best_size)
            top = k;
    for (int move = 0; move < 2; move++) {
        *seed = *seed * 1664525u + 1013904223u;
        int from = move ? (int)((*seed >> 8) % (unsigned)p->n) : top;
        *seed = *seed * 1664525u + 1013904223u;
        int to = (int)((*seed >> 8) % (unsigned)(from + 1)), b = p->order[from];
        memmove(p->order + to + 1, p->order + to, (size_t)(from - to) * sizeof *p->order);
        p->order[to] = b;
        if (*seed & 64)
            break;
    }
}

void pass_plan(Graph *g) {
    Plan p = {.best_size = -1};
    p.block = ARENA_ARRAY(g->arena, Block, g->next_id);
    int calls = collect(&p, g);
    p.order = ARENA_ARRAY(g->arena, int, p.n);
    p.best_order = ARENA_ARRAY(g->arena, int, p.n);
    p.best = ARENA_ARRAY(g->arena, int64_t, p.n);
    Block **busy = ARENA_ARRAY(g->arena, Block *, p.n);
    p.bound = lower_bound(&p, calls);
    for (int rule = 0; rule < 4 && p.best_size != p.bound; rule++) {
        sort_by(&p, rule);
        attempt(&p, busy);
    }
    unsigned seed = 1;
    for (int i = 0; p.n > 1 && i < TRIES && p.best_size > p.bound; i++) {
        perturb(&p, &seed);
        attempt(&p, busy);
    }
    for (int i = 0; i < p.n; i++)
        p.block[i].root->arena_offset = p.best[i];
    g->arena_size = p.best_size > 0 ? p.best_size : 0;
}
