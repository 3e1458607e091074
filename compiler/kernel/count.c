/* SPDX-License-Identifier: Apache-2.0 */
/* How large a kernel is, and what one run of it executes and touches, from loop bounds alone. */
#include "kernel/rewrite.h"

/* Iterations, at most, where the bounds are not constant. */
static double trips(const KInstr *loop) {
    int64_t lo, hi, n, least, most;
    if (kloop_bounds(loop, &lo, &hi, &n))
        return (double)n;
    /* o .. min(o + 8, 30): the distance is known better than the ends. */
    const KValue *l = loop->arg[0], *h = loop->arg[1];
    double distance = -1;
    if (kernel_value_range(l, &lo, &most) && kernel_value_range(h, &least, &hi))
        distance = (double)hi - (double)lo;
    for (int k = 0; h->def && h->def->op == KOP_MIN && k < 2; k++) {
        const KValue *end = h->def->arg[k];
        if (!end->def || end->def->op != KOP_AFFINE || end->def->mem.at->n != 1 ||
            end->def->mem.at->term[0].var != l || end->def->mem.at->term[0].coef != 1)
            continue;
        double width = (double)end->def->mem.at->base;
        distance = distance < 0 || width < distance ? width : distance;
    }
    if (distance < 0)
        return 1; /* nothing is known */
    return distance <= 0 ? 0 : (distance + (double)loop->step - 1) / (double)loop->step;
}

static void count_block(const KBlock *b, double times, KCount *c);

static void count_instr(const KInstr *i, double times, KCount *c) {
    double lanes = i->nresults ? (double)i->result[0]->type.lanes : 1;
    switch (i->op) {
    case KOP_FOR:
        count_block(i->block[0], times * trips(i), c);
        break;
    case KOP_IF: { /* the dearer side */
        KCount yes = {0}, no = {0};
        count_block(i->block[0], times, &yes);
        count_block(i->block[1], times, &no);
        const KCount *x = yes.fmas + yes.arithmetic + yes.load_bytes >= no.fmas + no.arithmetic + no.load_bytes ? &yes : &no;
        c->fmas += x->fmas;
        c->arithmetic += x->arithmetic;
        c->load_bytes += x->load_bytes;
        c->store_bytes += x->store_bytes;
        break;
    }
    case KOP_FMA:
        c->fmas += times * lanes;
        break;
    case KOP_DOT:
    case KOP_DOT_S8:
        c->fmas += times * 4 * lanes;
        break;
    case KOP_DOT_LONG:
    case KOP_MATMUL_2X2:
        c->fmas += times * 8 * lanes;
        break;
    case KOP_DOT_SUM:
        c->fmas += times * (double)i->arg[0]->type.lanes;
        break;
    case KOP_LOAD:
        c->load_bytes += times * lanes * dtype_size(i->mem.param->dtype);
        break;
    case KOP_STORE:
        c->store_bytes += times * i->arg[0]->type.lanes * dtype_size(i->mem.param->dtype);
        break;
    case KOP_CALL: {
        KCount body = {0};
        count_block(i->func->body->body, times, &body);
        c->fmas += body.fmas;
        c->arithmetic += body.arithmetic;
        break;
    }
    case KOP_REDUCE_ADD:
    case KOP_REDUCE_MUL:
    case KOP_REDUCE_MIN:
    case KOP_REDUCE_MAX:
        c->arithmetic += times * (double)(i->arg[0]->type.lanes - 1);
        break;
    default:
        if (i->op >= KOP_ADD && i->op <= KOP_CAST && i->result[0]->type.dtype != DT_INDEX)
            c->arithmetic += times * lanes;
    }
}

static void count_block(const KBlock *b, double times, KCount *c) {
    for (const KInstr *i = b->first; i; i = i->next)
        count_instr(i, times, c);
}

KCount kernel_count(const KKernel *k) {
    KCount c = {0};
    count_block(k->body, 1, &c);
    return c;
}

int kblock_size(const KBlock *b) {
    int n = 0;
    for (const KInstr *i = b->first; i; i = i->next) {
        n++;
        for (int k = 0; k < 2; k++)
            n += i->block[k] ? kblock_size(i->block[k]) : 0;
    }
    return n;
}

bool kblock_reduces(const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next)
        for (int k = 0; k < 2; k++)
            if (i->block[k] && ((i->op == KOP_FOR && i->loop == KLOOP_REDUCE) || kblock_reduces(i->block[k])))
                return true;
    return false;
}

static void extend(const KBlock *block, KExtent *e) {
    for (const KInstr *i = block->first; i; i = i->next) {
        int64_t lo, hi;
        bool access = i->op == KOP_LOAD || i->op == KOP_STORE;
        if (access && !kx_range(i->mem.at, &lo, &hi)) {
            e[i->mem.param->index] = (KExtent){0, i->mem.param->count - 1};
        } else if (access) {
            int lanes = i->op == KOP_LOAD ? i->result[0]->type.lanes : i->arg[0]->type.lanes;
            int64_t last = i->mem.lane_stride * (lanes - 1), most = i->mem.param->count - 1;
            KExtent *x = &e[i->mem.param->index];
            lo += last < 0 ? last : 0;
            hi += last > 0 ? last : 0;
            x->lo = lo < x->lo ? (lo < 0 ? 0 : lo) : x->lo;
            x->hi = hi > x->hi ? (hi > most ? most : hi) : x->hi;
        }
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                extend(i->block[n], e);
    }
}

void kernel_extents(const KKernel *k, KExtent *by_param) {
    for (int i = 0; i < k->params.len; i++)
        by_param[i] = (KExtent){INT64_MAX, -1};
    extend(k->body, by_param);
}
