/* SPDX-License-Identifier: Apache-2.0 */
/* Products of bytes that are added lane by lane, as in depthwise convolutions, in 16 bits, where they fit: vectors hold twice
 * as many of them as of words. Two neighbouring accumulators take the halves of one product, or of the sum of two. */
#include "kernel/rewrite.h"
#include "kernel/schedule.h"
#include "kernel/transform.h"

/* acc + x * w: lanes of bytes that lie side by side, w constant and signed. */
typedef struct Product {
    KInstr *fma;
    const KInstr *x, *w; /* loads */
    int order;           /* in the block */
    bool used;
} Product;

typedef VEC(Product) Products;

typedef struct Narrowing {
    const KModule *m;
    KKernel *k;
    int *uses; /* by value id */
    KMap sums; /* what stands for the sums of the products that are done */
} Narrowing;

static const KInstr *bytes_behind(const KValue *v) {
    const KInstr *cast = v->def, *load = cast && cast->op == KOP_CAST ? cast->arg[0]->def : NULL;
    if (!load || load->op != KOP_LOAD || !dtype_is_byte(load->mem.param->dtype))
        return NULL;
    return load->mem.lane_stride == 1 ? load : NULL;
}

static bool is_product(const KInstr *i, Product *p) {
    if (i->op != KOP_FMA || i->result[0]->type.dtype != DT_I32 || i->result[0]->type.lanes < 2)
        return false;
    *p = (Product){.fma = (KInstr *)i, .x = bytes_behind(i->arg[0]), .w = bytes_behind(i->arg[1])};
    return p->x && p->w && p->w->mem.param->dtype == DT_I8 && !p->w->mem.param->written;
}

/* b's elements follow a's. */
static bool next_to(Arena *arena, const KInstr *a, const KInstr *b) {
    return a->mem.param == b->mem.param && kx_equal(kx_add_const(arena, a->mem.at, a->result[0]->type.lanes), b->mem.at);
}

static Product *neighbour(const Narrowing *n, Products *all, const Product *a) {
    for (int i = 0; i < all->len; i++) {
        Product *b = &all->data[i];
        if (!b->used && b != a && b->fma->result[0]->type.lanes == a->fma->result[0]->type.lanes && next_to(n->m->arena, a->x, b->x) &&
            next_to(n->m->arena, a->w, b->w))
            return b;
    }
    return NULL;
}

/* The product that is added to a's sum, and to nothing else. */
static Product *next_of(const Narrowing *n, Products *all, const Product *a) {
    if (n->uses[a->fma->result[0]->id] != 1)
        return NULL;
    for (int i = 0; i < all->len; i++)
        if (!all->data[i].used && all->data[i].fma->arg[2] == a->fma->result[0])
            return &all->data[i];
    return NULL;
}

/* Whether no call gives the parameter a constant with an element -128. */
static bool lacks_least(const Narrowing *n, const KParam *w) {
    for (int i = 0; i < n->m->calls.len; i++) {
        const KCall *c = &n->m->calls.data[i];
        if (c->kernel == n->k && (c->arg[w->index].buffer->kind != KBUF_CONST || schedule_has_least(&c->arg[w->index].buffer->data)))
            return false;
    }
    return true;
}

static KValue *product_of(KBuilder *b, const Product *p) {
    int lanes = 2 * p->fma->result[0]->type.lanes;
    KValue *x = kb_load_vector(b, p->x->mem.param, p->x->mem.at, lanes, 1), *w = kb_load_vector(b, p->w->mem.param, p->w->mem.at, lanes, 1);
    x = kb_cast(b, x, DT_I16);
    w = kb_cast(b, w, DT_I16);
    return kb_binary(b, KOP_MUL, x, w);
}

static KValue *sum_before(const Narrowing *n, const Product *p) { return kmap_get(&n->sums, p->fma->arg[2]); }

static void replace(Narrowing *n, Product *p, KValue *by) {
    kmap_set(&n->sums, p->fma->result[0], by);
    kernel_unlink(p->fma);
    p->used = true;
}

/* a and its neighbour b, then what follows both, where two products fit 16 bits. New instructions stand before a: sums that
 * come later are not needed for that, since b's own was there before b's first product. */
static void narrow(Narrowing *n, Products *all, Product *a, Product *b) {
    KBuilder at = kb_before(n->k, a->fma);
    int lanes = a->fma->result[0]->type.lanes;
    KValue *acc[2] = {sum_before(n, a), sum_before(n, b)}, *sum = product_of(&at, a);
    Product *last[2] = {a, b}, *c = NULL, *d = NULL;
    if (a->x->mem.param->dtype == DT_I8 && lacks_least(n, a->w->mem.param)) {
        c = next_of(n, all, a);
        d = next_of(n, all, b);
    }
    if (c && d && next_to(n->m->arena, c->x, d->x) && next_to(n->m->arena, c->w, d->w)) {
        sum = kb_binary(&at, KOP_ADD, sum, product_of(&at, c));
        last[0] = c;
        last[1] = d;
    }
    for (int i = 0; i < 2; i++)
        acc[i] = kb_binary(&at, KOP_ADD, acc[i], kb_cast(&at, kb_extract(&at, sum, i * lanes, lanes), DT_I32));
    for (int i = 0; i < 2; i++) {
        Product *first = i ? b : a;
        replace(n, last[i], acc[i]);
        if (first != last[i])
            replace(n, first, acc[i]); /* nobody else uses it */
    }
}

static bool precedes(const KValue *v, const Products *all, const Product *a) {
    for (int i = a->order; i < all->len; i++)
        if (all->data[i].fma->result[0] == v)
            return false;
    return true;
}

/* Products with nothing between them that stores or loops, in order. */
static void narrow_run(Narrowing *n, Products *all) {
    for (int i = 0; i < all->len; i++) {
        Product *a = &all->data[i], *b = a->used ? NULL : neighbour(n, all, a);
        if (b && precedes(sum_before(n, b), all, a))
            narrow(n, all, a, b);
    }
    all->len = 0;
}

static void narrow_block(Narrowing *n, KBlock *block) {
    Products run = {0};
    for (KInstr *i = block->first, *next; i; i = next) {
        Product p;
        next = i->next;
        if (is_product(i, &p)) {
            p.order = run.len;
            VEC_PUSH(n->m->arena, &run, p);
        }
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                narrow_block(n, i->block[k]);
        if (i->block[0] || kinstr_has_effect(i) || !next)
            narrow_run(n, &run);
    }
}

static void count_uses(const KBlock *b, int *uses) {
    for (const KInstr *i = b->first; i; i = i->next) {
        for (int k = 0; k < i->nargs; k++)
            uses[i->arg[k]->id]++;
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                count_uses(i->block[k], uses);
    }
}

void schedule_module_narrow(KModule *m, const Target *t) {
    for (int i = 0; t->vector_bits && t->widening && i < m->kernels.len; i++) {
        KKernel *k = m->kernels.data[i];
        Narrowing n = {m, k, ARENA_ARRAY(m->arena, int, k->next_id), kmap_new(k)};
        count_uses(k->body, n.uses);
        narrow_block(&n, k->body);
        kernel_replace_uses(k, k->body, &n.sums);
        kernel_simplify(k);
    }
}
