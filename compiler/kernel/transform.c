/* SPDX-License-Identifier: Apache-2.0 */
/* Loop transformations by cloning: the loop's body is built again beside it under a map, then the loop goes. */
#include "kernel/transform.h"

static KValue *index_const(KBuilder *b, int64_t x) { return kb_int(b, DT_INDEX, x); }

static KValue *sum_value(KBuilder *b, KValue *x, KValue *y) {
    return kx_value(b, kx_add(b->arena, kx_var(b->arena, x), kx_var(b->arena, y)));
}

KInstr *schedule_inner(const KInstr *outer) {
    KInstr *inner = NULL;
    for (KInstr *i = outer->block[0]->first; i; i = i->next) {
        if (i->op == KOP_FOR && !inner)
            inner = i;
        else if (i->op != KOP_YIELD && !kinstr_is(i, K_PURE))
            return NULL;
    }
    for (const KInstr *i = inner ? inner->next : NULL; i; i = i->next)
        if (i->op != KOP_YIELD)
            return NULL;
    return inner;
}

/* What stands beside the only loop in its parent's body: pure values. */
static void clone_beside(KBuilder *b, KMap *m, const KInstr *outer) {
    for (const KInstr *i = outer->block[0]->first; i && i->op != KOP_FOR; i = i->next)
        kernel_clone(b, m, i);
}

static void clone_body(KBuilder *b, KMap *m, const KInstr *loop) { kernel_clone_block(b, m, loop->block[0], NULL); }

/* The loop again over [lo, hi) where the builder stands; it carries nothing. */
static KInstr *clone_range(KBuilder *b, KMap *m, const KInstr *loop, int64_t lo, int64_t hi) {
    KInstr *again = kb_for(b, loop->loop, kb_iv(loop)->name, index_const(b, lo), index_const(b, hi), loop->step, 0, NULL);
    kmap_set(m, kb_iv(loop), kb_iv(again));
    clone_body(b, m, loop);
    kb_end_for(b, again, NULL);
    return again;
}

bool schedule_split(KKernel *k, KInstr *loop, int64_t factor, KInstr **outer, KInstr **inner, KInstr **rest) {
    int64_t lo, hi, trips;
    *rest = NULL;
    if (loop->nresults || loop->step != 1 || !kloop_bounds(loop, &lo, &hi, &trips) || factor < 1 || trips < factor)
        return false;
    KBuilder b = kb_before(k, loop);
    KMap m = kmap_new(k);
    const char *name = kb_iv(loop)->name;
    int64_t end = lo + trips / factor * factor;
    *outer = kb_for(&b, loop->loop, name, index_const(&b, lo), index_const(&b, end), factor, 0, NULL);
    *inner = kb_for(&b, loop->loop, name, index_const(&b, 0), index_const(&b, factor), 1, 0, NULL);
    kmap_set(&m, kb_iv(loop), sum_value(&b, kb_iv(*outer), kb_iv(*inner)));
    clone_body(&b, &m, loop);
    kb_end_for(&b, *inner, NULL);
    kb_end_for(&b, *outer, NULL);
    if (end < hi)
        *rest = clone_range(&b, &m, loop, end, hi);
    kernel_unlink(loop);
    return true;
}

bool schedule_factor(KKernel *k, KInstr *loop, int64_t factor, KInstr **outer, KInstr **inner) {
    int64_t lo, hi, trips;
    if (loop->nresults || loop->step != 1 || !kloop_bounds(loop, &lo, &hi, &trips) || factor < 1 || trips % factor)
        return false;
    KBuilder b = kb_before(k, loop);
    KMap m = kmap_new(k);
    const char *name = kb_iv(loop)->name;
    *outer = kb_for(&b, loop->loop, name, index_const(&b, 0), index_const(&b, trips / factor), 1, 0, NULL);
    *inner = kb_for(&b, loop->loop, name, index_const(&b, 0), index_const(&b, factor), 1, 0, NULL);
    KIndex block = kx_add_const(b.arena, kx_scale(b.arena, kx_var(b.arena, kb_iv(*outer)), factor), lo);
    kmap_set(&m, kb_iv(loop), kx_value(&b, kx_add(b.arena, block, kx_var(b.arena, kb_iv(*inner)))));
    clone_body(&b, &m, loop);
    kb_end_for(&b, *inner, NULL);
    kb_end_for(&b, *outer, NULL);
    kernel_unlink(loop);
    return true;
}

bool schedule_overlap(KKernel *k, KInstr *loop, int64_t factor, KInstr **outer, KInstr **inner) {
    int64_t lo, hi, trips;
    if (loop->loop != KLOOP_PARALLEL || loop->nresults || loop->step != 1 || !kloop_bounds(loop, &lo, &hi, &trips) ||
        factor < 1 || trips < factor)
        return false;
    KBuilder b = kb_before(k, loop);
    KMap m = kmap_new(k);
    const char *name = kb_iv(loop)->name;
    *outer = kb_for(&b, KLOOP_PARALLEL, name, index_const(&b, lo), index_const(&b, hi), factor, 0, NULL);
    KValue *first = kb_iv(*outer);
    if (trips % factor)
        first = kb_binary(&b, KOP_MIN, first, index_const(&b, hi - factor));
    *inner = kb_for(&b, KLOOP_PARALLEL, name, index_const(&b, 0), index_const(&b, factor), 1, 0, NULL);
    kmap_set(&m, kb_iv(loop), sum_value(&b, first, kb_iv(*inner)));
    clone_body(&b, &m, loop);
    kb_end_for(&b, *inner, NULL);
    kb_end_for(&b, *outer, NULL);
    kernel_unlink(loop);
    return true;
}

bool schedule_interchange(KKernel *k, KInstr *outer, KInstr **swapped) {
    KInstr *inner = schedule_inner(outer);
    int64_t lo, hi, lo2, hi2;
    if (!inner || outer->nresults || inner->nresults || outer->loop != KLOOP_PARALLEL || inner->loop != KLOOP_PARALLEL ||
        !kloop_bounds(outer, &lo, &hi, NULL) || !kloop_bounds(inner, &lo2, &hi2, NULL))
        return false;
    KBuilder b = kb_before(k, outer);
    KMap m = kmap_new(k);
    KInstr *first = kb_for(&b, inner->loop, kb_iv(inner)->name, index_const(&b, lo2), index_const(&b, hi2), inner->step, 0, NULL);
    KInstr *second = kb_for(&b, outer->loop, kb_iv(outer)->name, index_const(&b, lo), index_const(&b, hi), outer->step, 0, NULL);
    kmap_set(&m, kb_iv(inner), kb_iv(first));
    kmap_set(&m, kb_iv(outer), kb_iv(second));
    clone_beside(&b, &m, outer);
    clone_body(&b, &m, inner);
    kb_end_for(&b, second, NULL);
    kb_end_for(&b, first, NULL);
    kernel_unlink(outer);
    *swapped = first;
    return true;
}

/* Every use of the two variables is an address in which they stand as outer * trips + inner. */
static bool collapses(const KBlock *block, const KValue *outer, const KValue *inner, int64_t trips) {
    for (const KInstr *i = block->first; i; i = i->next) {
        for (int a = 0; a < i->nargs; a++)
            if (i->arg[a] == outer || i->arg[a] == inner)
                return false;
        if (i->mem.at && kx_coef(i->mem.at, outer) != trips * kx_coef(i->mem.at, inner))
            return false;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && !collapses(i->block[n], outer, inner, trips))
                return false;
    }
    return true;
}

bool schedule_collapse(KKernel *k, KInstr *outer, KInstr **merged) {
    KInstr *inner = schedule_inner(outer);
    int64_t lo, hi, lo2, hi2;
    if (!inner || outer->loop != KLOOP_PARALLEL || inner->loop != KLOOP_PARALLEL || outer->step != 1 || inner->step != 1 ||
        !kloop_bounds(outer, &lo, &hi, NULL) || !kloop_bounds(inner, &lo2, &hi2, NULL) || lo || lo2 ||
        !collapses(outer->block[0], kb_iv(outer), kb_iv(inner), hi2))
        return false;
    KBuilder b = kb_before(k, outer);
    KMap m = kmap_new(k);
    *merged = kb_for(&b, KLOOP_PARALLEL, kb_iv(inner)->name, index_const(&b, 0), index_const(&b, hi * hi2), 1, 0, NULL);
    kmap_set(&m, kb_iv(outer), index_const(&b, 0));
    kmap_set(&m, kb_iv(inner), kb_iv(*merged));
    clone_beside(&b, &m, outer);
    clone_body(&b, &m, inner);
    kb_end_for(&b, *merged, NULL);
    kernel_unlink(outer);
    return true;
}

bool schedule_cut(KKernel *k, KInstr *loop, int64_t at, KInstr **second) {
    int64_t lo, hi;
    if (loop->nresults || !kloop_bounds(loop, &lo, &hi, NULL) || at <= lo || at >= hi || (at - lo) % loop->step)
        return false;
    KBuilder b = {k, k->module, k->module->arena, loop->parent, loop->next};
    KMap m = kmap_new(k);
    *second = clone_range(&b, &m, loop, at, hi);
    KBuilder before = kb_before(k, loop);
    loop->arg[1] = index_const(&before, at);
    return true;
}

bool schedule_unroll(KKernel *k, KInstr *loop) {
    int64_t lo, hi, trips;
    if (!kloop_bounds(loop, &lo, &hi, &trips))
        return false;
    KBuilder b = kb_before(k, loop);
    int n = loop->nresults;
    KValue **carried = ARENA_ARRAY(b.arena, KValue *, n);
    for (int r = 0; r < n; r++)
        carried[r] = loop->arg[2 + r];
    for (int64_t i = lo; i < hi; i += loop->step) {
        KMap m = kmap_new(k);
        kmap_set(&m, kb_iv(loop), index_const(&b, i));
        for (int r = 0; r < n; r++)
            kmap_set(&m, kb_carried(loop, r), carried[r]);
        kernel_clone_block(&b, &m, loop->block[0], carried);
    }
    if (n) {
        KMap m = kmap_new(k);
        for (int r = 0; r < n; r++)
            kmap_set(&m, loop->result[r], carried[r]);
        kernel_replace_uses(k, k->body, &m);
    }
    kernel_unlink(loop);
    return true;
}

/* --- what varies with a loop's variable --- */

static bool index_varies(const bool *varies, KIndex x) {
    for (int i = 0; x && i < x->n; i++)
        if (varies[x->term[i].var->id])
            return true;
    return false;
}

static bool instr_varies(const bool *varies, const KInstr *i) {
    for (int a = 0; a < i->nargs; a++)
        if (varies[i->arg[a]->id])
            return true;
    if (index_varies(varies, i->mem.at))
        return true;
    for (int r = 0; r < i->nresults; r++)
        if (varies[i->result[r]->id])
            return true;
    for (int n = 0; n < 2; n++)
        for (const KInstr *j = i->block[n] ? i->block[n]->first : NULL; j; j = j->next)
            if (instr_varies(varies, j))
                return true;
    return false;
}

static void mark(bool *varies, const KValue *v, bool yes, bool *changed) {
    if (!yes || varies[v->id])
        return;
    varies[v->id] = true;
    *changed = true;
}

static void spread_block(bool *varies, const KBlock *block, bool borders, bool *changed);

static void spread(bool *varies, const KInstr *i, bool borders, bool *changed) {
    if (i->op == KOP_FOR) {
        bool bounds = borders && (varies[i->arg[0]->id] || varies[i->arg[1]->id]);
        mark(varies, kb_iv(i), bounds, changed);
        spread_block(varies, i->block[0], borders, changed);
        const KInstr *yield = i->block[0]->last;
        for (int r = 0; r < i->nresults; r++) {
            bool yes = bounds || varies[i->arg[2 + r]->id] || varies[yield->arg[r]->id];
            mark(varies, kb_carried(i, r), yes, changed);
            mark(varies, i->result[r], yes, changed);
        }
        return;
    }
    if (i->op == KOP_IF) {
        bool cond = varies[i->arg[0]->id];
        spread_block(varies, i->block[0], borders, changed);
        spread_block(varies, i->block[1], borders, changed);
        for (int r = 0; r < i->nresults; r++)
            mark(varies, i->result[r], cond || varies[i->block[0]->last->arg[r]->id] || varies[i->block[1]->last->arg[r]->id],
                 changed);
        return;
    }
    if (i->nresults)
        mark(varies, i->result[0], instr_varies(varies, i), changed);
}

static void spread_block(bool *varies, const KBlock *block, bool borders, bool *changed) {
    for (const KInstr *i = block->first; i; i = i->next)
        spread(varies, i, borders, changed);
}

bool *schedule_varying(KKernel *k, const KInstr *loop, bool borders) {
    bool *varies = ARENA_ARRAY(k->module->arena, bool, k->next_id);
    varies[kb_iv(loop)->id] = true;
    for (bool changed = true; changed;) {
        changed = false;
        spread_block(varies, loop->block[0], borders, &changed);
    }
    return varies;
}

/* --- jam --- */

typedef struct Jam {
    KBuilder b;
    const bool *varies;
    KMap *map; /* one for each iteration */
    int n;
} Jam;

static void jam_block(Jam *j, const KBlock *block, KValue **yield);

static int copies(const Jam *j, const KValue *v) { return j->varies[v->id] ? j->n : 1; }

static void set_all(Jam *j, const KValue *v, KValue *by) {
    for (int t = 0; t < j->n; t++)
        kmap_set(&j->map[t], v, by);
}

static void jam_for(Jam *j, const KInstr *i) {
    KBuilder *b = &j->b;
    int n = 0;
    KValue **init = ARENA_ARRAY(b->arena, KValue *, i->nresults * j->n);
    KValue **next = ARENA_ARRAY(b->arena, KValue *, i->nresults * j->n);
    for (int r = 0; r < i->nresults; r++)
        for (int t = 0; t < copies(j, i->result[r]); t++)
            init[n++] = kmap_get(&j->map[t], i->arg[2 + r]);
    KValue *lo = kmap_get(&j->map[0], i->arg[0]), *hi = kmap_get(&j->map[0], i->arg[1]);
    KInstr *loop = kb_for(b, i->loop, kb_iv(i)->name, lo, hi, i->step, n, init);
    set_all(j, kb_iv(i), kb_iv(loop));
    n = 0;
    for (int r = 0; r < i->nresults; r++) {
        int c = copies(j, i->result[r]);
        for (int t = 0; t < j->n; t++)
            kmap_set(&j->map[t], kb_carried(i, r), kb_carried(loop, n + (c > 1 ? t : 0)));
        n += c;
    }
    jam_block(j, i->block[0], next);
    kb_end_for(b, loop, next);
    n = 0;
    for (int r = 0; r < i->nresults; r++) {
        int c = copies(j, i->result[r]);
        for (int t = 0; t < j->n; t++)
            kmap_set(&j->map[t], i->result[r], kb_result(loop, n + (c > 1 ? t : 0)));
        n += c;
    }
}

static bool is_jammed(const Jam *j, const KInstr *i) {
    return i->op == KOP_FOR && instr_varies(j->varies, i) && !j->varies[i->arg[0]->id] && !j->varies[i->arg[1]->id];
}

/* What all iterations share once, then each iteration's part in one piece, so that few values live at a time. No
 * iteration reads what another writes: what they share may move up. */
static void jam_straight(Jam *j, const KInstr *from, const KInstr *to) {
    for (const KInstr *i = from; i != to; i = i->next) {
        if (instr_varies(j->varies, i))
            continue;
        kernel_clone(&j->b, &j->map[0], i);
        for (int r = 0; r < i->nresults; r++)
            set_all(j, i->result[r], kmap_get(&j->map[0], i->result[r]));
    }
    for (int t = 0; t < j->n; t++)
        for (const KInstr *i = from; i != to; i = i->next)
            if (instr_varies(j->varies, i))
                kernel_clone(&j->b, &j->map[t], i);
}

/* yield: the block's results, each in as many copies as it has. */
static void jam_block(Jam *j, const KBlock *block, KValue **yield) {
    const KInstr *i = block->first;
    for (;;) {
        const KInstr *from = i;
        while (i->op != KOP_YIELD && !is_jammed(j, i))
            i = i->next;
        jam_straight(j, from, i);
        if (i->op == KOP_YIELD)
            break;
        jam_for(j, i);
        i = i->next;
    }
    int n = 0;
    for (int r = 0; yield && r < i->nargs; r++)
        for (int t = 0; t < copies(j, block->parent->result[r]); t++)
            yield[n++] = kmap_get(&j->map[t], i->arg[r]);
}

bool schedule_jam(KKernel *k, KInstr *loop) {
    int64_t lo, hi, trips;
    if (loop->loop != KLOOP_PARALLEL || !kloop_bounds(loop, &lo, &hi, &trips) || trips < 1 || trips > 64)
        return false;
    Jam j = {kb_before(k, loop), schedule_varying(k, loop, true), NULL, (int)trips};
    j.map = ARENA_ARRAY(j.b.arena, KMap, trips);
    for (int t = 0; t < j.n; t++) {
        j.map[t] = kmap_new(k);
        kmap_set(&j.map[t], kb_iv(loop), index_const(&j.b, lo + t * loop->step));
    }
    jam_block(&j, loop->block[0], NULL);
    kernel_unlink(loop);
    return true;
}
