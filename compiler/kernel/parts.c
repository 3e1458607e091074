/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts a kernel into parts that threads may run side by side. Every iteration is computed as before, by whichever part
 * has it: the results' bits do not depend on how many parts there are. */
#include "kernel/transform.h"

/* A byte that two threads need goes from one cache to another, which takes as long as so many instructions. */
static const double byte_cost = 0.12;
/* How much better a cut further inside must be: what one kernel leaves in a cache, the next finds there if both are cut
 * into the same rows. */
static const double inside_gain = 1.06;
/* How much more even the parts must be if two loops are cut as one. */
static const double even_gain = 1.03;
/* Instructions of a call, some 2 us, below which the threads' meeting costs more than it saves; and how much faster the
 * kernel must get. */
static const double worthwhile_work = 7000, worthwhile_gain = 1.15;

typedef struct Parts {
    KKernel *k;
    int n;
    KValue *part;
    /* By value id of a loop's variable, over all calls: iterations; instructions; instructions if the loop is cut, those
     * that a part waits for others included. */
    double *runs, *work, *cut;
    double *cut_both; /* the same if the loop and the only one inside it are cut as if they were one */
    int64_t *at; /* INDEX values in the call that is being measured, by id */
    bool *known;
    int calls;
    double *load; /* instructions that a part has beside its share of the loops */
} Parts;

static int effects(const KBlock *b) {
    int n = 0;
    for (const KInstr *i = b->first; i; i = i->next)
        n += kinstr_has_effect(i);
    return n;
}

static bool may_cut(const KInstr *i) { return i->op == KOP_FOR && i->loop == KLOOP_PARALLEL && !i->nresults && kinstr_has_effect(i); }

/* The last iteration of such a loop may repeat some of the one before it (schedule_overlap): one part must have both, as
 * it does where there are more iterations than parts. */
static bool repeats(const Parts *p, const KInstr *loop) {
    int64_t lo, hi, trips;
    return kloop_bounds(loop, &lo, &hi, &trips) && (hi - lo) % loop->step && trips <= p->n;
}

/* The loop of constant length, the only one in another, whose iterations are shared out together with it; NULL if there is
 * none. *units: of how many iterations, the last two counting as one where parts must not divide them. */
static KInstr *inner_of(const KInstr *loop, int64_t *units) {
    KInstr *inner = schedule_inner(loop);
    int64_t lo, hi;
    if (!inner || !may_cut(inner) || !kloop_bounds(inner, &lo, &hi, units))
        return NULL;
    *units -= (hi - lo) % inner->step != 0;
    return *units > 1 ? inner : NULL;
}

/* --- what the calls execute --- */

static bool evaluate(const Parts *p, const KValue *v, int64_t *x) {
    const KInstr *i = v->def;
    int64_t a, b;
    if (!i) {
        *x = p->at[v->id];
        return p->known[v->id];
    }
    switch (i->op) {
    case KOP_CONST:
        *x = i->imm.i;
        return true;
    case KOP_AFFINE:
        *x = i->mem.at->base;
        for (int k = 0; k < i->mem.at->n; k++) {
            if (!evaluate(p, i->mem.at->term[k].var, &a))
                return false;
            *x += i->mem.at->term[k].coef * a;
        }
        return true;
    case KOP_MIN:
    case KOP_MAX:
    case KOP_DIV:
        if (!evaluate(p, i->arg[0], &a) || !evaluate(p, i->arg[1], &b) || (i->op == KOP_DIV && b <= 0))
            return false;
        *x = i->op == KOP_MIN ? (a < b ? a : b) : i->op == KOP_MAX ? (a > b ? a : b) : a / b - (a % b < 0);
        return true;
    default: return false;
    }
}

static double instructions(const KBlock *b) {
    double n = 0;
    for (const KInstr *i = b->first; i; i = i->next)
        n += i->op != KOP_CONST && i->op != KOP_YIELD;
    return n;
}

static double count_block(Parts *p, const KBlock *b, double times);

/* Instructions that a part waits for the longest one's included, all parts together. */
static double shared_out(const Parts *p, double work, double units) {
    double rounds = (double)(int64_t)((units + p->n - 1) / p->n);
    return units > 0 ? work / units * rounds * p->n : 0;
}

static double count_loop(Parts *p, const KInstr *i, double times) {
    int64_t lo = 0, hi = 1, inside;
    bool known = evaluate(p, i->arg[0], &lo) && evaluate(p, i->arg[1], &hi);
    double trips = !known ? 1 : hi <= lo ? 0 : (double)((hi - lo - 1) / i->step + 1);
    int iv = kb_iv(i)->id;
    p->known[iv] = known;
    p->at[iv] = lo + (hi - lo) / 2; /* the borders are few */
    double work = trips > 0 ? count_block(p, i->block[0], times * trips) : 0;
    p->runs[iv] += times * trips;
    p->work[iv] += work;
    p->cut[iv] += repeats(p, i) ? work * p->n : shared_out(p, work, trips);
    p->cut_both[iv] += inner_of(i, &inside) ? shared_out(p, work, trips * (double)inside) : work * p->n;
    return work;
}

static double count_instr(Parts *p, const KInstr *i, double times) {
    double yes, no;
    switch (i->op) {
    case KOP_FOR: return count_loop(p, i, times);
    case KOP_IF:
        yes = count_block(p, i->block[0], times);
        no = count_block(p, i->block[1], times);
        return yes > no ? yes : no;
    case KOP_CALL: return times * instructions(i->func->body->body);
    case KOP_CONST:
    case KOP_AFFINE:
    case KOP_YIELD: return 0;
    default: return times;
    }
}

static double count_block(Parts *p, const KBlock *b, double times) {
    double n = 0;
    for (const KInstr *i = b->first; i; i = i->next)
        n += count_instr(p, i, times);
    return n;
}

/* Weights come from afar: as many instructions as their bytes take time. */
static double waiting(const KCall *c) {
    const double bytes_per_instruction = 8;
    double bytes = 0;
    for (int i = 0; i < c->kernel->params.len; i++)
        if (c->arg[i].buffer->kind == KBUF_CONST)
            bytes += (double)(c->kernel->params.data[i]->count * dtype_size(c->kernel->params.data[i]->dtype));
    return bytes / bytes_per_instruction;
}

/* Over all calls: instructions, and what they wait besides. */
static double count_calls(Parts *p, double *wait) {
    const KModule *m = p->k->module;
    double work = 0;
    *wait = 0;
    for (int c = 0; c < m->calls.len; c++) {
        if (m->calls.data[c].kernel != p->k)
            continue;
        for (int i = 0; i < p->k->body->nargs; i++) {
            p->at[p->k->body->arg[i]->id] = m->calls.data[c].index[i];
            p->known[p->k->body->arg[i]->id] = true;
        }
        work += count_block(p, p->k->body, 1);
        *wait += waiting(&m->calls.data[c]);
        p->calls++;
    }
    return work;
}

/* --- where to cut --- */

/* Without an order among what the kernel does, everything in a block may be cut; else only what is alone in it. */
static bool may_cut_in(const Parts *p, const KBlock *b) { return p->k->unordered || effects(b) == 1; }

static double best(const Parts *p, const KBlock *b, double runs);

static double best_below(const Parts *p, const KInstr *loop) { return best(p, loop->block[0], p->runs[kb_iv(loop)->id]); }

/* Marks the parameters that are read at places which the varying values do not move. */
static void mark_shared(const KBlock *b, const bool *varies, bool *shared) {
    for (const KInstr *i = b->first; i; i = i->next) {
        bool moves = false;
        for (int k = 0; i->op == KOP_LOAD && k < i->mem.at->n; k++)
            moves = moves || varies[i->mem.at->term[k].var->id];
        if (i->op == KOP_LOAD && !moves)
            shared[i->mem.param->index] = true;
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                mark_shared(i->block[n], varies, shared);
    }
}

/* What it costs that all parts read the same, if the loop is cut. */
static double sharing(const Parts *p, const KInstr *loop) {
    bool *shared = ARENA_ARRAY(p->k->module->arena, bool, p->k->params.len);
    mark_shared(loop->block[0], schedule_varying(p->k, loop, true), shared);
    double bytes = 0;
    for (int i = 0; i < p->k->params.len; i++)
        if (shared[i])
            bytes += (double)(p->k->params.data[i]->count * dtype_size(p->k->params.data[i]->dtype));
    return bytes * byte_cost * p->calls * p->n;
}

typedef enum Where { NOWHERE, HERE, BOTH, BELOW } Where;

/* *cost: instructions, times of waiting included. */
static Where where(const Parts *p, const KInstr *loop, double *cost) {
    int iv = kb_iv(loop)->id;
    bool both = p->cut_both[iv] * even_gain < p->cut[iv];
    double here = (both ? p->cut_both[iv] : p->cut[iv]) + sharing(p, loop), below = best_below(p, loop), alone = p->n * p->work[iv];
    Where w = below * inside_gain < here ? BELOW : both ? BOTH : HERE;
    *cost = w == BELOW ? below : here;
    if (*cost < alone)
        return w;
    *cost = alone;
    return NOWHERE;
}

/* Instructions, times of waiting included, with the best cuts in a block that runs so many times. */
static double best(const Parts *p, const KBlock *b, double runs) {
    double n = 0;
    bool may = may_cut_in(p, b);
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_CONST || i->op == KOP_AFFINE || i->op == KOP_YIELD)
            continue;
        double cost;
        if (may && may_cut(i)) {
            where(p, i, &cost);
            n += cost;
            continue;
        }
        n += p->n * (i->op == KOP_FOR ? p->work[kb_iv(i)->id] : runs);
    }
    return n;
}

/* --- cutting --- */

static KIndex trips_of(KBuilder *b, const KInstr *loop, KIndex length) {
    return kx_div(b, kx_add_const(b->arena, length, loop->step - 1), loop->step);
}

static KIndex share(Parts *p, KBuilder *b, const KInstr *loop, KIndex trips, int64_t after) {
    KIndex first = kx_share(b, kx_add_const(b->arena, kx_var(b->arena, p->part), after), trips, p->n);
    return kx_add(b->arena, kx_var(b->arena, loop->arg[0]), kx_scale(b->arena, first, loop->step));
}

static void cut_loop(Parts *p, KInstr *loop) {
    KBuilder b = kb_before(p->k, loop);
    KIndex lo = kx_var(b.arena, loop->arg[0]), hi = kx_var(b.arena, loop->arg[1]), length = kx_sub(b.arena, hi, lo);
    KIndex trips = trips_of(&b, loop, length);
    KValue *from = kx_value(&b, share(p, &b, loop, trips, 0)), *to = kx_value(&b, share(p, &b, loop, trips, 1));
    int64_t constant;
    if (!kx_is_const(length, &constant) || constant % loop->step)
        to = kb_binary(&b, KOP_MIN, to, loop->arg[1]);
    loop->arg[0] = from;
    loop->arg[1] = to;
}

/* Iterations of the loop and of the one inside it are counted through; a part has those from..to - 1 of them. */
static void cut_both(Parts *p, KInstr *loop) {
    int64_t units, lowest, highest, trips;
    KInstr *inner = inner_of(loop, &units);
    kloop_bounds(inner, &lowest, &highest, &trips);
    KBuilder b = kb_before(p->k, loop);
    Arena *a = b.arena;
    KIndex lo = kx_var(a, loop->arg[0]), length = kx_sub(a, kx_var(a, loop->arg[1]), lo);
    KIndex all = kx_scale(a, trips_of(&b, loop, length), units);
    KIndex from = kx_share(&b, kx_var(a, p->part), all, p->n), to = kx_share(&b, kx_add_const(a, kx_var(a, p->part), 1), all, p->n);
    KIndex first = kx_div(&b, from, units), end = kx_div(&b, kx_add_const(a, to, units - 1), units);
    KValue *begin = kx_value(&b, kx_add(a, lo, kx_scale(a, first, loop->step)));
    KValue *stop = kb_binary(&b, KOP_MIN, kx_value(&b, kx_add(a, lo, kx_scale(a, end, loop->step))), loop->arg[1]);
    loop->arg[0] = begin;
    loop->arg[1] = stop;
    b = kb_before(p->k, inner);
    KIndex done = kx_scale(a, kx_div(&b, kx_sub(a, kx_var(a, kb_iv(loop)), lo), loop->step), units);
    KIndex begun = kx_var(a, kb_binary(&b, KOP_MAX, kx_value(&b, kx_sub(a, from, done)), kb_int(&b, DT_INDEX, 0)));
    KIndex ended = kx_sub(a, to, done);
    if (trips > units) /* with all the units comes the iteration that counts as none */
        ended = kx_add(a, ended, kx_div(&b, ended, units));
    inner->arg[0] = kx_value(&b, kx_add_const(a, kx_scale(a, begun, inner->step), lowest));
    inner->arg[1] = kb_binary(&b, KOP_MIN, kx_value(&b, kx_add_const(a, kx_scale(a, ended, inner->step), lowest)), inner->arg[1]);
}

/* What stands between loops, from..to - 1, is done by one part alone: the one with the least to do. Values that loops
 * further on need stay for all; the clean-up removes the rest. */
static void leave_to_one(Parts *p, KInstr *from, KInstr *to) {
    bool any = false;
    for (const KInstr *i = from; i != to; i = i->next)
        any = any || kinstr_has_effect(i);
    if (!any)
        return;
    int who = 0;
    for (int i = 1; i < p->n; i++)
        if (p->load[i] < p->load[who])
            who = i;
    KInstr *last = to->prev;
    KBuilder b = kb_before(p->k, to);
    KMap m = kmap_new(p->k);
    KInstr *branch = kb_if(&b, kb_binary(&b, KOP_EQ, p->part, kb_int(&b, DT_INDEX, who)), 0), *end = last->next;
    for (KInstr *i = from; i != end; i = i->next) {
        p->load[who] += i->op == KOP_FOR ? p->work[kb_iv(i)->id] : 1;
        kernel_clone(&b, &m, i);
    }
    kb_else(&b, branch, NULL);
    kb_end_if(&b, branch, NULL);
    for (KInstr *i = from, *next; i != end; i = next) {
        next = i->next;
        if (kinstr_has_effect(i))
            kernel_unlink(i);
    }
}

static void cut_block(Parts *p, KBlock *block) {
    KInstr *from = NULL, *i = block->first;
    for (; i->op != KOP_YIELD; i = i->next) {
        double cost;
        Where at = may_cut(i) ? where(p, i, &cost) : NOWHERE;
        if (at == NOWHERE) {
            from = from ? from : i;
            continue;
        }
        if (from)
            leave_to_one(p, from, i);
        from = NULL;
        if (at == HERE)
            cut_loop(p, i);
        else if (at == BOTH)
            cut_both(p, i);
        else
            cut_block(p, i->block[0]);
    }
    if (from)
        leave_to_one(p, from, i);
}

static void change_calls(const Parts *p) {
    KModule *m = p->k->module;
    int n = p->k->body->nargs;
    for (int c = 0; c < m->calls.len; c++) {
        KCall *call = &m->calls.data[c];
        if (call->kernel != p->k)
            continue;
        int64_t *index = ARENA_ARRAY(m->arena, int64_t, n);
        for (int i = 0; i < n - 1; i++)
            index[i] = call->index[i];
        call->index = index;
        call->parts = p->n;
    }
}

static bool is_whole(const KKernel *k) {
    for (int c = 0; c < k->module->calls.len; c++)
        if (k->module->calls.data[c].kernel == k && k->module->calls.data[c].parts)
            return false;
    return true;
}

static bool make_parts(KKernel *k, int parts, double least_work, double gain) {
    if (parts < 2 || !is_whole(k) || !may_cut_in(&(Parts){.k = k}, k->body))
        return false;
    Arena *a = k->module->arena;
    int values = k->next_id;
    Parts p = {k, parts, NULL, ARENA_ARRAY(a, double, values), ARENA_ARRAY(a, double, values), ARENA_ARRAY(a, double, values),
               ARENA_ARRAY(a, double, values), ARENA_ARRAY(a, int64_t, values), ARENA_ARRAY(a, bool, values), 0, ARENA_ARRAY(a, double, parts)};
    double wait, work = count_calls(&p, &wait), whole = best(&p, k->body, p.calls);
    if (!p.calls || (work + wait) / p.calls < least_work || whole / parts * gain >= work)
        return false;
    p.part = kernel_index(k, "part");
    cut_block(&p, k->body);
    change_calls(&p);
    kernel_simplify(k);
    return true;
}

static bool has_parallel(const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next)
        for (int n = 0; n < 2; n++)
            if (i->block[n] && ((i->op == KOP_FOR && i->loop == KLOOP_PARALLEL) || has_parallel(i->block[n])))
                return true;
    return false;
}

bool schedule_is_unordered(const KKernel *k) {
    const KInstr *loop = k->body->first;
    while (loop && !kinstr_has_effect(loop))
        loop = loop->next;
    if (!loop || !may_cut(loop) || effects(k->body) != 1)
        return false;
    for (const KInstr *inner; (inner = schedule_inner(loop)) && may_cut(inner);)
        loop = inner;
    return !has_parallel(loop->block[0]);
}

bool schedule_parts(KKernel *k, int parts) { return make_parts(k, parts, 0, 1); }

void schedule_module_parts(KModule *m, int parts) {
    for (int i = 0; i < m->kernels.len; i++)
        make_parts(m->kernels.data[i], parts, worthwhile_work, worthwhile_gain);
}
