/* SPDX-License-Identifier: Apache-2.0 */
/* Clean-up of a kernel: folding by cloning, common subexpressions, dead code. */
#include "kernel/rewrite.h"

/* --- common subexpressions: pure instructions, within the blocks that enclose them --- */

typedef struct Seen {
    KInstr *instr;
    struct Seen *next;
} Seen;

enum { BUCKETS = 256 };

typedef struct Scope {
    struct Scope *outer;
    Seen *bucket[BUCKETS];
} Scope;

static unsigned hash_instr(const KInstr *i) {
    unsigned h = (unsigned)i->op * 31u + (unsigned)i->result[0]->type.dtype;
    for (int k = 0; k < i->nargs; k++)
        h = h * 16777619u + (unsigned)i->arg[k]->id;
    if (i->op == KOP_AFFINE) {
        h = h * 16777619u + (unsigned)i->mem.at->base;
        for (int k = 0; k < i->mem.at->n; k++)
            h = h * 16777619u + (unsigned)i->mem.at->term[k].var->id;
    } else {
        h = h * 16777619u + (unsigned)(i->imm.i ^ (i->imm.i >> 32));
    }
    return h % BUCKETS;
}

static bool equal_instr(const KInstr *x, const KInstr *y) {
    if (x->op != y->op || x->nargs != y->nargs || x->func != y->func || x->imm.i != y->imm.i ||
        x->result[0]->type.dtype != y->result[0]->type.dtype || x->result[0]->type.lanes != y->result[0]->type.lanes)
        return false;
    for (int k = 0; k < x->nargs; k++)
        if (x->arg[k] != y->arg[k])
            return false;
    return x->op != KOP_AFFINE || kx_equal(x->mem.at, y->mem.at);
}

static KInstr *find(const Scope *s, const KInstr *i, unsigned h) {
    for (; s; s = s->outer)
        for (const Seen *e = s->bucket[h]; e; e = e->next)
            if (equal_instr(e->instr, i))
                return e->instr;
    return NULL;
}

static KIndex replaced_index(Arena *a, const KMap *m, KIndex x) { return x ? kmap_index(a, m, x) : NULL; }

static void merge_block(KKernel *k, KBlock *b, Scope *outer, KMap *m) {
    Arena *a = k->module->arena;
    Scope *scope = ARENA_NEW(a, Scope);
    scope->outer = outer;
    for (KInstr *i = b->first, *next; i; i = next) {
        next = i->next;
        for (int n = 0; n < i->nargs; n++)
            i->arg[n] = kmap_get(m, i->arg[n]);
        if (kinstr_is(i, K_READ | K_WRITE) || i->op == KOP_AFFINE)
            i->mem.at = replaced_index(a, m, i->mem.at);
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                merge_block(k, i->block[n], scope, m);
        if (!kinstr_is(i, K_PURE))
            continue;
        unsigned h = hash_instr(i);
        KInstr *same = find(scope, i, h);
        if (same) {
            kmap_set(m, i->result[0], same->result[0]);
            kernel_unlink(i);
            continue;
        }
        Seen *e = ARENA_NEW(a, Seen);
        *e = (Seen){i, scope->bucket[h]};
        scope->bucket[h] = e;
    }
}

/* --- dead code --- */

static void mark_value(bool *live, KValue *v);

static void mark_instr(bool *live, KInstr *i);

static void mark_index(bool *live, KIndex x) {
    for (int k = 0; x && k < x->n; k++)
        mark_value(live, x->term[k].var);
}

static void mark_value(bool *live, KValue *v) {
    if (live[v->id])
        return;
    live[v->id] = true;
    if (v->def)
        mark_instr(live, v->def);
    else if (v->block && v->block->parent)
        mark_instr(live, v->block->parent);
}

static void mark_instr(bool *live, KInstr *i) {
    for (int n = 0; n < i->nargs; n++)
        mark_value(live, i->arg[n]);
    mark_index(live, i->mem.at);
    for (int n = 0; n < 2; n++)
        if (i->block[n] && i->block[n]->last)
            for (int k = 0; k < i->block[n]->last->nargs; k++)
                mark_value(live, i->block[n]->last->arg[k]);
}

static void mark_effects(bool *live, KBlock *b) {
    for (KInstr *i = b->first; i; i = i->next) {
        if (!kinstr_has_effect(i) && i->op != KOP_YIELD)
            continue;
        if (i->op != KOP_YIELD || !b->parent)
            mark_instr(live, i);
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                mark_effects(live, i->block[n]);
    }
}

static void sweep(const bool *live, KBlock *b) {
    for (KInstr *i = b->first, *next; i; i = next) {
        next = i->next;
        bool needed = i->op == KOP_YIELD || kinstr_has_effect(i);
        for (int r = 0; r < i->nresults && !needed; r++)
            needed = live[i->result[r]->id];
        if (!needed) {
            kernel_unlink(i);
            continue;
        }
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                sweep(live, i->block[n]);
    }
}

void kernel_simplify(KKernel *k) {
    KBlock *old = k->body;
    KMap m = kmap_new(k);
    KType *types = ARENA_ARRAY(k->module->arena, KType, old->nargs);
    for (int i = 0; i < old->nargs; i++)
        types[i] = old->arg[i]->type;
    k->body = kernel_block_new(k, NULL, old->nargs, types);
    for (int i = 0; i < old->nargs; i++) {
        k->body->arg[i]->name = old->arg[i]->name;
        kmap_set(&m, old->arg[i], k->body->arg[i]);
    }
    KBuilder b = kb_at_end(k, k->body);
    int n = old->last ? old->last->nargs : 0;
    KValue **results = ARENA_ARRAY(b.arena, KValue *, n);
    kernel_clone_block(&b, &m, old, results);
    kb_yield(&b, n, results);
    KMap same = kmap_new(k);
    merge_block(k, k->body, NULL, &same);
    bool *live = ARENA_ARRAY(b.arena, bool, k->next_id);
    mark_effects(live, k->body);
    sweep(live, k->body);
}
