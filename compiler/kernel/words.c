/* SPDX-License-Identifier: Apache-2.0 */
/* Words made of bytes: where two neighbours of a tile take bytes that lie side by side, both are made of the same vectors, which
 * are twice as long. One instruction then picks among them all. */
#include "kernel/rewrite.h"
#include "kernel/schedule.h"

enum { LONGEST = 32 };

typedef VEC(KInstr *) Instrs;

static const KInstr *load_of(const KInstr *words, int k) {
    const KInstr *i = words->arg[k]->def;
    return i && i->op == KOP_LOAD && i->mem.lane_stride == 1 ? i : NULL;
}

static bool suits(const KInstr *i) {
    if (i->op != KOP_WORDS || i->imm.i || i->arg[0]->type.lanes != i->result[0]->type.lanes || i->arg[0]->type.lanes < 2 ||
        2 * i->arg[0]->type.lanes > LONGEST)
        return false;
    for (int k = 0; k < i->nargs; k++)
        if (!load_of(i, k))
            return false;
    return true;
}

static bool next_to(Arena *a, const KInstr *x, const KInstr *y) {
    if (x->nargs != y->nargs || x->result[0]->type.lanes != y->result[0]->type.lanes)
        return false;
    for (int k = 0; k < x->nargs; k++) {
        const KInstr *p = load_of(x, k), *q = load_of(y, k);
        if (p->mem.param != q->mem.param || !kx_equal(kx_add_const(a, p->mem.at, p->result[0]->type.lanes), q->mem.at))
            return false;
    }
    return true;
}

/* Both from the place of the first. */
static void join(KKernel *k, KInstr *x, KInstr *y) {
    KBuilder b = kb_before(k, x);
    KValue *bytes[4];
    int lanes = x->result[0]->type.lanes;
    KMap m = kmap_new(k);
    for (int a = 0; a < x->nargs; a++) {
        const KInstr *p = load_of(x, a);
        bytes[a] = kb_load_vector(&b, p->mem.param, p->mem.at, 2 * lanes, 1);
    }
    kmap_set(&m, x->result[0], kb_words(&b, x->nargs, bytes, 0, lanes));
    kmap_set(&m, y->result[0], kb_words(&b, y->nargs, bytes, lanes, lanes));
    kernel_replace_uses(k, k->body, &m);
    kernel_unlink(x);
    kernel_unlink(y);
}

/* Words with nothing between them that stores or loops, in order. */
static bool join_run(KKernel *k, Instrs *run) {
    bool any = false;
    for (int i = 0; i < run->len; i++) {
        for (int j = i + 1; run->data[i] && j < run->len; j++) {
            if (!run->data[j] || !next_to(k->module->arena, run->data[i], run->data[j]))
                continue;
            join(k, run->data[i], run->data[j]);
            run->data[i] = run->data[j] = NULL;
            any = true;
        }
    }
    run->len = 0;
    return any;
}

static bool join_block(KKernel *k, KBlock *block) {
    Instrs run = {0};
    bool any = false;
    for (KInstr *i = block->first, *next; i; i = next) {
        next = i->next;
        if (suits(i))
            VEC_PUSH(k->module->arena, &run, i);
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                any = join_block(k, i->block[n]) || any;
        if (i->block[0] || kinstr_has_effect(i) || !next)
            any = join_run(k, &run) || any;
    }
    return any;
}

void schedule_module_words(KModule *m) {
    for (int i = 0; i < m->kernels.len; i++)
        if (join_block(m->kernels.data[i], m->kernels.data[i]->body))
            kernel_simplify(m->kernels.data[i]);
}
