/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of floats are rounded to bytes by a number that is added between two bounds, which any machine can do. Some have
 * instructions that round, and others that saturate: with these, the bounds need no instructions of their own where the
 * rounded number is known to fit a word. */
#include <math.h>

#include "kernel/rewrite.h"
#include "kernel/schedule.h"

enum { DEEPEST = 8, FEWEST_LANES = 4, FITS = 1 << 30 /* with a zero point to come */ };

typedef struct Saturation {
    const KModule *m;
    KKernel *k;
    double *largest; /* by parameter: the largest magnitude of its elements, INFINITY where it is not known; -1: not asked yet */
} Saturation;

static double largest_of(const KData *d, int axis, int64_t at) {
    double most = 0;
    if (axis == d->rank)
        return fabs((double)((const float *)d->bytes)[at]);
    for (int64_t i = 0; i < d->dim[axis]; i++) {
        double x = largest_of(d, axis + 1, at + i * d->stride[axis]);
        most = x <= most ? most : x == x ? x : INFINITY;
    }
    return most;
}

static double largest_element(const Saturation *s, const KParam *p) {
    double *most = &s->largest[p->index];
    if (*most >= 0)
        return *most;
    bool called = false;
    *most = p->dtype == DT_F32 && !p->written ? 0 : INFINITY;
    for (int i = 0; i < s->m->calls.len; i++) {
        const KCall *c = &s->m->calls.data[i];
        if (c->kernel != s->k)
            continue;
        const KBuffer *b = c->arg[p->index].buffer;
        bool known = *most < INFINITY && b->kind == KBUF_CONST && (uintptr_t)b->data.bytes % sizeof(float) == 0;
        *most = fmax(*most, known ? largest_of(&b->data, 0, 0) : INFINITY);
        called = true;
    }
    return called ? *most : (*most = INFINITY);
}

/* No element of v, a float or an integer, has a larger magnitude; INFINITY where that is not known. */
static double magnitude(const Saturation *s, const KValue *v, int depth) {
    const KInstr *i = v->def;
    DType t = v->type.dtype;
    double type = dtype_is_float(t) ? INFINITY : ldexp(1, dtype_bits(t) - dtype_is_signed(t));
    if (!i || depth == DEEPEST)
        return type;
    double x = i->nargs ? magnitude(s, i->arg[0], depth + 1) : 0, y = i->nargs > 1 ? magnitude(s, i->arg[1], depth + 1) : 0;
    switch (i->op) {
    case KOP_CONST: x = dtype_is_float(t) ? fabs(i->imm.f) : fabs((double)i->imm.i); break;
    case KOP_LOAD: x = largest_element(s, i->mem.param); break;
    case KOP_CAST:
    case KOP_SPLAT: break;
    case KOP_MUL: x *= y; break;
    case KOP_ADD:
    case KOP_SUB: x += y; break;
    case KOP_FMA: x = x * y + magnitude(s, i->arg[2], depth + 1); break;
    case KOP_MIN:
    case KOP_MAX: x = fmax(x, y); break;
    default: return type;
    }
    return x < type ? x : type; /* a product of 0 and INFINITY is neither */
}

static bool is_number(const KValue *v, double x) { return v->def && v->def->op == KOP_CONST && v->def->imm.f == x; }

static const KInstr *def_of(const KValue *v, KOp op) { return v->def && v->def->op == op ? v->def : NULL; }

static bool constant_of(const KInstr *i, double *x) {
    const KInstr *c = i ? def_of(i->arg[1], KOP_CONST) : NULL;
    if (c)
        *x = c->imm.f;
    return c != NULL;
}

/* cast(bitcast(min(max(x, lo), hi) + rounder) + zero - rounder_bits) */
static bool saturate(const Saturation *s, KInstr *cast, KMap *m) {
    if (cast->op != KOP_CAST)
        return false;
    KType t = cast->result[0]->type;
    if (t.lanes < FEWEST_LANES || (t.dtype != DT_I8 && t.dtype != DT_U8))
        return false;
    const KInstr *sum = def_of(cast->arg[0], KOP_ADD), *k = sum ? def_of(sum->arg[1], KOP_CONST) : NULL, *bits = k ? def_of(sum->arg[0], KOP_BITCAST) : NULL;
    const KInstr *rounded = bits ? def_of(bits->arg[0], KOP_ADD) : NULL;
    if (!rounded || rounded->result[0]->type.dtype != DT_F32 || !is_number(rounded->arg[1], KERNEL_ROUNDER))
        return false;
    double lo, hi, zero = (double)(k->imm.i + KERNEL_ROUNDER_BITS), least = t.dtype == DT_I8 ? -128 : 0;
    const KInstr *min = def_of(rounded->arg[0], KOP_MIN), *max = min ? def_of(min->arg[0], KOP_MAX) : NULL;
    if (!constant_of(min, &hi) || !constant_of(max, &lo) || lo + zero < least || hi + zero > least + 255)
        return false;
    bool whole = lo + zero == least && hi + zero == least + 255 && magnitude(s, max->arg[0], 0) < (double)FITS;
    KBuilder b = kb_before(s->k, cast);
    KValue *x = kb_nearest(&b, whole ? max->arg[0] : min->result[0]);
    if (zero != 0)
        x = kb_binary(&b, KOP_ADD, x, kb_const_like(&b, x->type, zero));
    kmap_set(m, cast->result[0], kb_saturate(&b, 1, &x, t.dtype));
    return true;
}

static bool saturate_block(const Saturation *s, KBlock *block, KMap *m) {
    bool any = false;
    for (KInstr *i = block->first; i; i = i->next) {
        any = saturate(s, i, m) || any;
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                any = saturate_block(s, i->block[n], m) || any;
    }
    return any;
}

/* --- neighbours in memory --- */

typedef VEC(KInstr *) Stores;

/* What is stored is the saturated sum, maybe within a bound. */
static const KInstr *bound_of(const KValue *v) {
    const KInstr *i = v->def;
    return i && (i->op == KOP_MAX || i->op == KOP_MIN) && def_of(i->arg[1], KOP_CONST) ? i : NULL;
}

static const KInstr *saturated(const KInstr *store) {
    const KInstr *bound = bound_of(store->arg[0]);
    return def_of(bound ? bound->arg[0] : store->arg[0], KOP_SATURATE);
}

static bool same_bound(const KInstr *x, const KInstr *y) {
    return (!x && !y) || (x && y && x->op == y->op && x->arg[1]->def->imm.i == y->arg[1]->def->imm.i);
}

static bool stores_bytes(const KInstr *i) {
    const KInstr *v = i->op == KOP_STORE ? saturated(i) : NULL;
    return v && v->nargs == 1 && v->result[0]->type.lanes >= FEWEST_LANES && i->mem.lane_stride == 1 && i->mem.param->noalias;
}

static int find_at(const Saturation *s, const Stores *run, const KInstr *first, int64_t offset) {
    KIndex at = kx_add_const(s->m->arena, first->mem.at, offset);
    KType t = first->arg[0]->type;
    for (int i = 0; i < run->len; i++) {
        const KInstr *store = run->data[i];
        if (store && store->mem.param == first->mem.param && store->arg[0]->type.lanes == t.lanes && kx_equal(store->mem.at, at) &&
            same_bound(bound_of(store->arg[0]), bound_of(first->arg[0])))
            return i;
    }
    return -1;
}

/* One store for n of them, where the last of them stands. */
static bool join(const Saturation *s, Stores *run, int first, int n) {
    int member[4] = {first}, last = first;
    KInstr *from = run->data[first];
    KValue *x[4];
    for (int k = 0; k < n; k++) {
        member[k] = find_at(s, run, from, (int64_t)k * from->arg[0]->type.lanes);
        if (member[k] < 0)
            return false;
        last = member[k] > last ? member[k] : last;
        x[k] = saturated(run->data[member[k]])->arg[0];
    }
    KBuilder b = kb_before(s->k, run->data[last]);
    KValue *bytes = kb_saturate(&b, n, x, from->arg[0]->type.dtype);
    const KInstr *bound = bound_of(from->arg[0]);
    if (bound)
        bytes = kb_binary(&b, bound->op, bytes, kb_const_like(&b, bytes->type, (double)bound->arg[1]->def->imm.i));
    kb_store_vector(&b, from->mem.param, from->mem.at, bytes, 1);
    for (int k = 0; k < n; k++) {
        kernel_unlink(run->data[member[k]]);
        run->data[member[k]] = NULL;
    }
    return true;
}

static void join_run(const Saturation *s, Stores *run) {
    for (int n = 4; n > 1; n /= 2)
        for (int i = 0; i < run->len; i++)
            if (run->data[i])
                join(s, run, i, n);
    run->len = 0;
}

static bool reads(const KInstr *i, const Stores *run) {
    for (int k = 0; k < run->len; k++)
        if (i->mem.param == run->data[k]->mem.param)
            return true;
    return false;
}

/* Stores with nothing between them that could see how far they are. */
static void join_block(const Saturation *s, KBlock *block) {
    Stores run = {0};
    for (KInstr *i = block->first, *next; i; i = next) {
        next = i->next;
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                join_block(s, i->block[n]);
        if (i->block[0] || !next || (i->op == KOP_LOAD && reads(i, &run)))
            join_run(s, &run);
        else if (stores_bytes(i))
            VEC_PUSH(s->m->arena, &run, i);
    }
}

void schedule_module_saturate(KModule *m, const Target *t) {
    for (int i = 0; t->saturates && t->vector_bits && i < m->kernels.len; i++) {
        KKernel *k = m->kernels.data[i];
        Saturation s = {m, k, ARENA_ARRAY(m->arena, double, k->params.len)};
        KMap map = kmap_new(k);
        for (int p = 0; p < k->params.len; p++)
            s.largest[p] = -1;
        if (!saturate_block(&s, k->body, &map))
            continue;
        kernel_replace_uses(k, k->body, &map);
        join_block(&s, k->body);
        kernel_simplify(k);
    }
}
