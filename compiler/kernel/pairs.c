/* SPDX-License-Identifier: Apache-2.0 */
/* Products of eight bytes in register tiles become products of matrices, of two rows and two columns each. While it is summed, what
 * held four columns of one row holds two columns of two rows, and its neighbour the other two columns. */
#include "kernel/rewrite.h"
#include "kernel/schedule.h"

enum { PAIR = 2, COLUMNS = 2 * PAIR };

/* What an accumulator meets in a loop: products, and loops that carry it on. */
typedef VEC(KInstr *) Steps;

/* An argument that replacing must leave alone. */
typedef struct Kept {
    KInstr *instr;
    KValue *arg;
} Kept;

typedef struct Pairing {
    Arena *arena;
    KKernel *k;
    int *uses;     /* by value id, and … */
    KInstr **user; /* … one of those */
    bool *paired;  /* by a product's value id */
    KValue *(*column)[PAIR]; /* by the id of a value of columns: those two by two */
    KMap map;
    VEC(Kept) kept;
} Pairing;

static void find_users(Pairing *p, const KBlock *b) {
    for (KInstr *i = b->first; i; i = i->next) {
        for (int k = 0; k < i->nargs; k++) {
            p->uses[i->arg[k]->id]++;
            p->user[i->arg[k]->id] = i;
        }
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                find_users(p, i->block[k]);
    }
}

static KInstr *only_user(const Pairing *p, const KValue *v) { return p->uses[v->id] == 1 ? p->user[v->id] : NULL; }

/* A word of one row times those of several columns, added to v. */
static bool adds_product(const KInstr *i, const KValue *v) {
    int lanes = i->op == KOP_DOT_LONG ? i->result[0]->type.lanes : 0;
    return (lanes == PAIR || lanes == COLUMNS) && i->arg[2] == v && i->arg[0]->def && i->arg[0]->def->op == KOP_SPLAT;
}

/* --- operands --- */

static KValue *rows_of(KBuilder *b, const KInstr *x, const KInstr *y) {
    KValue *row[] = {x->arg[0]->def->arg[0], y->arg[0]->def->arg[0]};
    return kb_bitcast(b, kb_pack(b, PAIR, row), DT_I8);
}

/* Two of the columns: their part of memory, where they come from there. */
static KValue *columns_of(Pairing *p, KBuilder *b, KValue *all, int pair) {
    const KInstr *cast = all->def, *load = cast && cast->op == KOP_BITCAST ? cast->arg[0]->def : NULL;
    if (!load || load->op != KOP_LOAD || load->mem.lane_stride != 1)
        return kb_bitcast(b, kb_extract(b, all, PAIR * pair, PAIR), DT_I8);
    KValue **v = &p->column[all->id][pair];
    if (!*v) {
        KBuilder at = kb_before(p->k, (KInstr *)load);
        *v = kb_load_vector(&at, load->mem.param, kx_add_const(p->arena, load->mem.at, 16 * pair), 16, 1);
    }
    return *v;
}

static KValue *halves(KBuilder *b, KValue *x, KValue *y, int first) {
    KValue *half[] = {kb_extract(b, x, first, PAIR), kb_extract(b, y, first, PAIR)};
    return kb_pack(b, 2, half);
}

/* --- two rows, all through a loop --- */

static bool steps_of(const Pairing *p, const KInstr *loop, int slot, Steps *steps) {
    const KValue *v = kb_carried(loop, slot);
    for (;;) {
        KInstr *i = only_user(p, v);
        if (!i)
            return false;
        if (i->op == KOP_YIELD)
            return i->parent == loop->block[0] && i->arg[slot] == v;
        VEC_PUSH(p->arena, steps, i);
        if (adds_product(i, v)) {
            v = i->result[0];
            continue;
        }
        int inner = 0;
        if (i->op != KOP_FOR || i->loop != KLOOP_REDUCE || v == i->arg[0] || v == i->arg[1])
            return false;
        while (i->arg[2 + inner] != v)
            inner++;
        if (!steps_of(p, i, inner, steps))
            return false;
        v = i->result[inner];
    }
}

/* The same columns of two rows. */
static bool side_by_side(const Steps *x, const Steps *y) {
    bool products = false;
    if (x->len != y->len)
        return false;
    for (int i = 0; i < x->len; i++) {
        const KInstr *a = x->data[i], *b = y->data[i];
        if (a->op != b->op || a->parent != b->parent || (a->op == KOP_FOR ? a != b : a->arg[1] != b->arg[1]))
            return false;
        products = products || a->op == KOP_DOT_LONG;
    }
    return products;
}

static KInstr *later_of(KInstr *x, KInstr *y) {
    for (KInstr *i = x; i; i = i->next)
        if (i == y)
            return y;
    return x;
}

static void pair_products(Pairing *p, KInstr *x, KInstr *y) {
    KBuilder b = kb_before(p->k, later_of(x, y));
    KValue *rows = rows_of(&b, x, y);
    KInstr *old[] = {x, y};
    for (int i = 0; i < 2; i++) {
        KValue *sum = kb_dot(&b, KOP_MATMUL_2X2, rows, columns_of(p, &b, x->arg[1], i), old[i]->arg[2]);
        kmap_set(&p->map, old[i]->result[0], sum);
        p->paired[old[i]->result[0]->id] = true;
    }
}

static void pair_slots(Pairing *p, KInstr *loop, int i, int j) {
    KBuilder before = kb_before(p->k, loop), after = kb_before(p->k, loop->next);
    KValue *x = loop->arg[2 + i], *y = loop->arg[2 + j], *low = halves(&before, x, y, 0), *high = halves(&before, x, y, PAIR);
    loop->arg[2 + i] = low;
    loop->arg[2 + j] = high;
    for (int row = 0; row < 2; row++) {
        KValue *part[2];
        for (int k = 0; k < 2; k++) {
            KValue *sum = loop->result[k ? j : i];
            part[k] = kb_extract(&after, sum, PAIR * row, PAIR);
            VEC_PUSH(p->arena, &p->kept, ((Kept){part[k]->def, sum}));
        }
        kmap_set(&p->map, loop->result[row ? j : i], kb_pack(&after, 2, part));
    }
}

static void pair_loop(Pairing *p, KInstr *loop) {
    int n = loop->nresults;
    Steps *steps = ARENA_ARRAY(p->arena, Steps, n);
    bool *free_slot = ARENA_ARRAY(p->arena, bool, n);
    for (int i = 0; i < n; i++)
        free_slot[i] = loop->result[i]->type.dtype == DT_I32 && loop->result[i]->type.lanes == COLUMNS && steps_of(p, loop, i, &steps[i]);
    for (int i = 0; i < n; i++) {
        int j = i + 1;
        while (j < n && !(free_slot[i] && free_slot[j] && side_by_side(&steps[i], &steps[j])))
            j++;
        if (j == n)
            continue;
        free_slot[j] = false;
        pair_slots(p, loop, i, j);
        for (int s = 0; s < steps[i].len; s++)
            if (steps[i].data[s]->op == KOP_DOT_LONG)
                pair_products(p, steps[i].data[s], steps[j].data[s]);
    }
}

static void pair_loops(Pairing *p, KBlock *block) {
    for (KInstr *i = block->first, *next; i; i = next) {
        next = i->next;
        if (i->op == KOP_FOR && i->loop == KLOOP_REDUCE) {
            pair_loop(p, i);
            continue;
        }
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                pair_loops(p, i->block[k]);
    }
}

/* --- in straight code: two rows, or one that is left over twice --- */

static KInstr *next_product(const Pairing *p, const KInstr *i) {
    KInstr *next = only_user(p, i->result[0]);
    return next && next->parent == i->parent && adds_product(next, i->result[0]) ? next : NULL;
}

static bool uses(const KInstr *i, const KValue *v) {
    for (int k = 0; k < i->nargs; k++)
        if (i->arg[k] == v)
            return true;
    for (int k = 0; k < 2; k++)
        for (const KInstr *j = i->block[k] ? i->block[k]->first : NULL; j; j = j->next)
            if (uses(j, v))
                return true;
    return false;
}

/* Nobody between them needs the result of the one that stands first. */
static bool may_wait(KInstr *x, KInstr *y) {
    KInstr *later = later_of(x, y);
    const KInstr *first = later == x ? y : x;
    for (const KInstr *i = first->next; i != later; i = i->next)
        if (uses(i, first->result[0]))
            return false;
    return true;
}

/* Whether the sums that begin with x and y are of the same columns. */
static bool go_together(const Pairing *p, KInstr *x, KInstr *y) {
    if (y->arg[2]->def && y->arg[2]->def->op == KOP_DOT_LONG && next_product(p, y->arg[2]->def) == y)
        return false; /* it does not begin there */
    for (;;) {
        KInstr *next_x = next_product(p, x), *next_y = next_product(p, y);
        if (x->arg[1] != y->arg[1] || !next_x != !next_y)
            return false;
        if (!next_x)
            return may_wait(x, y);
        x = next_x;
        y = next_y;
    }
}

static KInstr *partner_of(const Pairing *p, KInstr *first) {
    for (KInstr *i = first->next; i; i = i->next)
        if (i->op == KOP_DOT_LONG && !p->paired[i->result[0]->id] && adds_product(i, i->arg[2]) && go_together(p, first, i))
            return i;
    return first;
}

static void multiply_rows(Pairing *p, KInstr *x, KInstr *y) {
    KInstr *last[] = {x, y};
    KValue *start[] = {x->arg[2], y->arg[2]}, *sum[2] = {NULL, NULL};
    int lanes = x->result[0]->type.lanes, rows = x == y ? 1 : 2;
    for (; x; x = next_product(p, x), y = next_product(p, y)) {
        KBuilder b = kb_before(p->k, later_of(x, y));
        KValue *both = rows_of(&b, x, y);
        for (int k = 0; k < lanes / PAIR; k++)
            sum[k] = kb_dot(&b, KOP_MATMUL_2X2, both, columns_of(p, &b, x->arg[1], k),
                            sum[k] ? sum[k] : kb_const_like(&b, (KType){DT_I32, COLUMNS}, 0));
        p->paired[x->result[0]->id] = p->paired[y->result[0]->id] = true;
        last[0] = x;
        last[1] = y;
    }
    KBuilder b = kb_before(p->k, later_of(last[0], last[1]));
    for (int row = 0; row < rows; row++) {
        KValue *all = lanes == PAIR ? kb_extract(&b, sum[0], PAIR * row, PAIR) : halves(&b, sum[0], sum[1], PAIR * row);
        kmap_set(&p->map, last[row]->result[0], kb_binary(&b, KOP_ADD, start[row], all));
    }
}

static void pair_block(Pairing *p, KBlock *block) {
    for (KInstr *i = block->first; i; i = i->next) {
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                pair_block(p, i->block[k]);
        if (i->op == KOP_DOT_LONG && !p->paired[i->result[0]->id] && adds_product(i, i->arg[2]))
            multiply_rows(p, i, partner_of(p, i));
    }
}

void schedule_module_pairs(KModule *m, const Target *t) {
    for (int i = 0; t->dot & DOT_PAIRS && i < m->kernels.len; i++) {
        KKernel *k = m->kernels.data[i];
        int n = k->next_id;
        Pairing p = {.arena = m->arena, .k = k, .uses = ARENA_ARRAY(m->arena, int, n), .user = ARENA_ARRAY(m->arena, KInstr *, n),
                     .paired = ARENA_ARRAY(m->arena, bool, n), .map = kmap_new(k)};
        p.column = arena_array(m->arena, (size_t)n, sizeof *p.column);
        find_users(&p, k->body);
        pair_loops(&p, k->body);
        pair_block(&p, k->body);
        kernel_replace_uses(k, k->body, &p.map);
        for (int j = 0; j < p.kept.len; j++)
            p.kept.data[j].instr->arg[0] = p.kept.data[j].arg;
        kernel_simplify(k);
    }
}
