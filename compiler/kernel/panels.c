/* SPDX-License-Identifier: Apache-2.0 */
/* Large constants that kernels walk through row by row, some columns at a time, are stored in that order: panels of as
 * many columns as the register tile has, one behind the other. Then memory is read in one stream, which the machine
 * fetches ahead (the packed operand of GotoBLAS, Goto and van de Geijn 2008, made at compile time). */
#include <assert.h>

#include "kernel/rewrite.h"
#include "kernel/schedule.h"
#include "kernel/transform.h"
#include "support/ints.h"

/* A constant that lies in the first cache anyway gains nothing. */
static const int cache_share = 2;
enum { MOST_PARTS = 16 /* bytes that products take of a column at a time */ };

/* A parameter that is such a constant in all calls of its kernel, as rows of so many elements. */
typedef struct Operand {
    KKernel *kernel;
    KParam *param;
    int64_t rows, row, panel; /* elements of a row, and of it in a panel */
} Operand;

typedef VEC(KInstr *) Loads;

static bool collect_loads(Arena *a, const KBlock *b, const KParam *p, Loads *all) {
    for (KInstr *i = b->first; i; i = i->next) {
        if (i->mem.param == p && i->op != KOP_LOAD)
            return false;
        if (i->mem.param == p)
            VEC_PUSH(a, all, i);
        for (int n = 0; n < 2; n++)
            if (i->block[n] && !collect_loads(a, i->block[n], p, all))
                return false;
    }
    return true;
}

/* --- rows and columns in an address --- */

/* What one iteration adds to the address: sums of bytes go by words, and count bytes. */
static int64_t step_of(const KTerm *t) {
    const KInstr *loop = t->var->def ? NULL : t->var->block->parent;
    int64_t lo, hi;
    bool sums = loop && loop->op == KOP_FOR && loop->loop != KLOOP_PARALLEL && kb_iv(loop) == t->var;
    return sums && kloop_bounds(loop, &lo, &hi, NULL) && lo % loop->step == 0 ? t->coef * loop->step : t->coef;
}

/* The smallest step of the address that lies beyond all that the smaller ones reach; 0 where there is none. */
static int64_t row_length(Arena *a, const KInstr *load) {
    KIndex at = load->mem.at, columns = kx_const(a, 0);
    bool done[64] = {false};
    if (at->n > (int)(sizeof done / sizeof *done))
        return 0;
    for (int k = 0; k < at->n; k++) {
        int least = -1;
        int64_t lo, hi;
        for (int i = 0; i < at->n; i++)
            if (!done[i] && (least < 0 || step_of(&at->term[i]) < step_of(&at->term[least])))
                least = i;
        int64_t step = step_of(&at->term[least]);
        if (step < 1 || !kx_range(columns, &lo, &hi))
            return 0;
        if (k && hi - lo + load->result[0]->type.lanes <= step && step > load->result[0]->type.lanes)
            return step;
        columns = kx_add(a, columns, kx_scale(a, kx_var(a, at->term[least].var), at->term[least].coef));
        done[least] = true;
    }
    return 0;
}

/* An address as row * length + column. */
typedef struct Place {
    KIndex row, column; /* the row in parts of rows: where products take four bytes of a column, each is a fourth of one */
    int64_t lo, hi;     /* of the column, lanes included */
    bool in_row;        /* it stays within the row, and its elements lie side by side */
    KInstr *loop;       /* the PARALLEL loop whose variable makes the longest steps in the row; NULL: none */
    int64_t coef;       /* of that variable in the column */
} Place;

/* Into how many parts a row and each panel can be divided. */
static int64_t parts_of(const Operand *o) {
    int64_t parts = MOST_PARTS;
    while (o->row % parts || o->panel % parts)
        parts /= 2;
    return parts;
}

static Place find_place(Arena *a, const Operand *o, const KInstr *load) {
    KIndex at = load->mem.at;
    int64_t up = divide_down(at->base, o->row), parts = parts_of(o);
    Place p = {.row = kx_const(a, up * parts), .column = kx_const(a, at->base - up * o->row)};
    for (int k = 0; k < at->n; k++) {
        KIndex var = kx_var(a, at->term[k].var);
        int64_t coef = at->term[k].coef;
        if (step_of(&at->term[k]) % o->row == 0 && coef * parts % o->row == 0)
            p.row = kx_add(a, p.row, kx_scale(a, var, coef * parts / o->row));
        else
            p.column = kx_add(a, p.column, kx_scale(a, var, coef));
    }
    int lanes = load->result[0]->type.lanes;
    if ((lanes > 1 && load->mem.lane_stride != 1) || !kx_range(p.column, &p.lo, &p.hi))
        return p;
    p.hi += lanes - 1;
    for (int k = 0; k < p.column->n; k++) {
        const KTerm *t = &p.column->term[k];
        KInstr *loop = t->var->def ? NULL : t->var->block->parent;
        if (loop && loop->op == KOP_FOR && loop->loop == KLOOP_PARALLEL && kb_iv(loop) == t->var && t->coef > 0 &&
            loop->step * t->coef >= (p.loop ? p.loop->step * p.coef : 1)) {
            p.loop = loop;
            p.coef = t->coef;
        }
    }
    p.in_row = p.lo >= 0 && p.hi < o->row;
    return p;
}

/* --- the address in panels --- */

static int64_t cut_end(const Operand *o) { return o->row - o->row % o->panel; }

/* Columns from..to lie in one panel: its first column and width. */
static bool panel_of(const Operand *o, int64_t from, int64_t to, int64_t *first, int64_t *width) {
    *first = divide_down(from, o->panel) * o->panel;
    *width = *first < cut_end(o) ? o->panel : o->row - *first;
    return to < *first + *width;
}

static KIndex in_panel(Arena *a, const Operand *o, const Place *p, KIndex first, int64_t width) {
    KIndex column = kx_sub(a, p->column, first);
    return kx_add(a, kx_add(a, kx_scale(a, first, o->rows), kx_scale(a, p->row, width / parts_of(o))), column);
}

/* NULL where no affine expression says it. */
static KIndex panel_address(Arena *a, const Operand *o, const KInstr *load) {
    const Place p = find_place(a, o, load);
    int64_t first, width, lo, hi, trips, from, to;
    if (!p.in_row)
        return NULL;
    if (panel_of(o, p.lo, p.hi, &first, &width))
        return in_panel(a, o, &p, kx_const(a, first), width);
    if (!p.loop || !kloop_bounds(p.loop, &lo, &hi, &trips) || p.hi >= cut_end(o))
        return NULL;
    if (p.loop->step * p.coef % o->panel || lo * p.coef % o->panel)
        return NULL;
    KIndex start = kx_scale(a, kx_var(a, kb_iv(p.loop)), p.coef);
    if (!kx_range(kx_sub(a, p.column, start), &from, &to))
        return NULL;
    to += load->result[0]->type.lanes - 1;
    if (!panel_of(o, from, to, &first, &width) || width != o->panel)
        return NULL;
    return in_panel(a, o, &p, kx_add_const(a, start, first), o->panel);
}

/* --- constants --- */

/* The axis of the data of which all behind and itself make up a row, and of which whole steps make up a panel. */
static int row_axis(const KData *d, int64_t row, int64_t panel) {
    int64_t behind = 1;
    for (int axis = d->rank - 1; axis >= 0; axis--) {
        if (behind * d->dim[axis] == row)
            return panel % behind ? -1 : axis;
        behind *= d->dim[axis];
    }
    return -1;
}

static void cut_data(KData *d, int64_t row, int64_t panel) {
    d->panel_axis = row_axis(d, row, panel);
    d->panel = panel;
    for (int axis = d->panel_axis + 1; axis < d->rank; axis++)
        d->panel /= d->dim[axis];
}

BufferUser *schedule_buffer_users(const KModule *m) {
    BufferUser *user = ARENA_ARRAY(m->arena, BufferUser, m->buffers.len);
    for (int c = 0; c < m->calls.len; c++) {
        const KCall *call = &m->calls.data[c];
        for (int i = 0; i < call->kernel->params.len; i++) {
            BufferUser *u = &user[call->arg[i].buffer->index];
            if (call->arg[i].offset || (u->users && (u->kernel != call->kernel || u->param != i)))
                u->users = 2;
            else
                *u = (BufferUser){call->kernel, i, u->users ? u->users : 1};
        }
    }
    return user;
}

/* All calls give the parameter a whole constant of its own, large enough. */
static bool is_operand(const KModule *m, const BufferUser *user, const KKernel *k, int param, int64_t large) {
    const KParam *p = k->params.data[param];
    int calls = 0;
    for (int c = 0; c < m->calls.len; c++) {
        if (m->calls.data[c].kernel != k)
            continue;
        const KBuffer *b = m->calls.data[c].arg[param].buffer;
        calls++;
        if (b->kind != KBUF_CONST || user[b->index].users != 1 || b->count != p->count || b->data.panel)
            return false;
        if (kbuffer_bytes(b) < large)
            return false;
    }
    return calls > 0;
}

static bool data_fits(const KModule *m, const Operand *o) {
    for (int c = 0; c < m->calls.len; c++) {
        const KCall *call = &m->calls.data[c];
        if (call->kernel == o->kernel && row_axis(&call->arg[o->param->index].buffer->data, o->row, o->panel) < 0)
            return false;
    }
    return true;
}

/* --- choice --- */

static bool all_fit(Arena *a, const Operand *o, const Loads *loads) {
    for (int i = 0; i < loads->len; i++)
        if (!panel_address(a, o, loads->data[i]))
            return false;
    return true;
}

/* The widest step of a loop for which every load stays within a panel. */
static bool choose_panel(Arena *a, Operand *o, const Loads *loads) {
    int64_t below = o->row;
    for (;;) {
        o->panel = 0;
        for (int i = 0; i < loads->len; i++) {
            const Place p = find_place(a, o, loads->data[i]);
            if (!p.in_row)
                return false;
            int64_t step = p.loop ? p.loop->step * p.coef : 0;
            if (step < below && step > o->panel)
                o->panel = step;
        }
        if (o->panel <= 1)
            return false;
        if (all_fit(a, o, loads))
            return true;
        below = o->panel;
    }
}

static bool choose(Arena *a, Operand *o, Loads *loads) {
    *loads = (Loads){0};
    if (!collect_loads(a, o->kernel->body, o->param, loads) || !loads->len)
        return false;
    for (int i = 0; i < loads->len; i++) {
        int64_t row = row_length(a, loads->data[i]);
        o->row = row && (!o->row || row < o->row) ? row : o->row;
    }
    if (o->row < 2 || o->param->count % o->row || o->param->count == o->row)
        return false;
    o->rows = o->param->count / o->row;
    return choose_panel(a, o, loads);
}

void schedule_module_panels(KModule *m, const Target *t) {
    const BufferUser *user = schedule_buffer_users(m);
    for (int i = 0; t->l1 && target_lanes(t) > 1 && i < m->kernels.len; i++) {
        KKernel *k = m->kernels.data[i];
        for (int p = 0; p < k->params.len; p++) {
            Operand o = {.kernel = k, .param = k->params.data[p]};
            Loads loads;
            if (!is_operand(m, user, k, p, t->l1 / cache_share) || !choose(m->arena, &o, &loads) || !data_fits(m, &o))
                continue;
            for (int j = 0; j < loads.len; j++)
                loads.data[j]->mem.at = panel_address(m->arena, &o, loads.data[j]);
            for (int c = 0; c < m->calls.len; c++)
                if (m->calls.data[c].kernel == k && !m->calls.data[c].arg[p].buffer->data.panel)
                    cut_data(&m->calls.data[c].arg[p].buffer->data, o.row, o.panel);
        }
        kernel_simplify(k);
    }
}

/* --- the same constants for other loops --- */

/* One more of the loops over columns is split into panels; false where none is left. */
static bool split_columns(Arena *a, const Operand *o, const Loads *loads) {
    for (int i = 0; i < loads->len; i++) {
        const Place p = find_place(a, o, loads->data[i]);
        int64_t lo, hi, trips;
        KInstr *outer, *inner, *rest;
        if (panel_address(a, o, loads->data[i]) || !p.in_row || !p.loop || p.loop->step != 1 || o->panel % p.coef ||
            !kloop_bounds(p.loop, &lo, &hi, &trips) || trips * p.coef <= o->panel)
            continue;
        if (schedule_split(o->kernel, p.loop, o->panel / p.coef, &outer, &inner, &rest))
            return true;
    }
    return false;
}

/* The address for any column. */
static KIndex computed_address(KBuilder *b, const Operand *o, const KInstr *load) {
    Arena *a = b->arena;
    const Place p = find_place(a, o, load);
    assert(p.in_row);
    KIndex first = kx_scale(a, kx_div(b, p.column, o->panel), o->panel);
    KValue *full = kx_value(b, in_panel(a, o, &p, first, o->panel));
    KValue *last = kx_value(b, in_panel(a, o, &p, kx_const(a, cut_end(o)), o->row - cut_end(o)));
    KValue *column = kx_value(b, p.column), *end = kb_int(b, DT_INDEX, cut_end(o));
    KValue *is_last = kb_binary(b, KOP_GE, column, end);
    return kx_var(a, kb_select(b, is_last, last, full));
}

static void follow(KModule *m, Operand *o) {
    Arena *a = m->arena;
    Loads loads;
    do {
        loads = (Loads){0};
        collect_loads(a, o->kernel->body, o->param, &loads);
    } while (split_columns(a, o, &loads));
    for (int i = 0; i < loads.len; i++) {
        KInstr *load = loads.data[i];
        KBuilder b = kb_before(o->kernel, load);
        KIndex at = panel_address(a, o, load);
        load->mem.at = at ? at : computed_address(&b, o, load);
    }
}

void schedule_module_panels_as(KModule *m, const KModule *like) {
    const BufferUser *user = schedule_buffer_users(m);
    for (int i = 0; i < m->buffers.len; i++) {
        KBuffer *b = m->buffers.data[i];
        const KData *d = &like->buffers.data[i]->data;
        if (b->kind != KBUF_CONST || !d->panel || b->data.panel)
            continue;
        Operand o = {.kernel = user[i].kernel, .param = user[i].kernel->params.data[user[i].param], .row = 1, .panel = d->panel};
        for (int axis = d->panel_axis; axis < d->rank; axis++) {
            o.row *= d->dim[axis];
            o.panel *= axis > d->panel_axis ? d->dim[axis] : 1;
        }
        o.rows = b->count / o.row;
        follow(m, &o);
        kernel_simplify(o.kernel);
        for (int c = 0; c < m->calls.len; c++) {
            KBuffer *other = m->calls.data[c].kernel == o.kernel ? m->calls.data[c].arg[user[i].param].buffer : b;
            other->data = like->buffers.data[other->index]->data;
        }
    }
}
