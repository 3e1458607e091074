/* SPDX-License-Identifier: Apache-2.0 */
/* What to do with each kernel: register tiles for nests that reduce, lanes for those that do not. Decided from loops,
 * accesses and the target alone. */
#include "kernel/schedule.h"

#include <string.h>

#include "kernel/transform.h"
#include "support/ints.h"

enum {
    DEEPEST = 16,
    LARGEST_BORDER_SCAN = 8192,
    UNROLLED_INSTRUCTIONS = 200,
    SHORTEST_SUM = 8, /* that is worth lanes of its own */
};

typedef struct Schedule {
    KKernel *k;
    const Target *target;
    int lanes; /* of float32 */
    int registers;
    bool repeatable; /* iterations may run twice: nothing is read where the kernel writes */
    ScheduleChoice choice;
} Schedule;

/* A perfect nest of parallel loops with constant bounds, outermost first. */
typedef struct Nest {
    KInstr *loop[DEEPEST];
    int64_t trips[DEEPEST];
    int n;
    const KBlock *body;
} Nest;

static bool is_nest_loop(const KInstr *i, int64_t *trips) {
    int64_t lo, hi;
    return i && i->op == KOP_FOR && i->loop == KLOOP_PARALLEL && i->step == 1 && !i->nresults && kloop_bounds(i, &lo, &hi, trips);
}

static Nest nest_from(KInstr *loop) {
    Nest nest = {0};
    int64_t trips;
    while (nest.n < DEEPEST && is_nest_loop(loop, &trips)) {
        nest.loop[nest.n] = loop;
        nest.trips[nest.n++] = trips;
        nest.body = loop->block[0];
        loop = schedule_inner(loop);
    }
    return nest;
}

static bool has_loop(const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next)
        for (int n = 0; n < 2; n++)
            if (i->block[n] && (i->op == KOP_FOR || has_loop(i->block[n])))
                return true;
    return false;
}

static int count_instrs(const KBlock *b) {
    int n = 0;
    for (const KInstr *i = b->first; i; i = i->next) {
        n += i->op != KOP_CONST && i->op != KOP_AFFINE && i->op != KOP_YIELD;
        n += i->op == KOP_CALL ? 20 : 0;
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                n += count_instrs(i->block[k]);
    }
    return n;
}

/* --- accesses --- */

typedef struct Accesses {
    int stores, unit_stores, loads, fixed_loads, unit_loads;
} Accesses;

/* How the accesses below a block move with a variable. */
static void count_accesses(const KBlock *b, const KValue *iv, Accesses *a) {
    for (const KInstr *i = b->first; i; i = i->next) {
        int64_t c = i->mem.at ? kx_coef(i->mem.at, iv) : 0;
        if (i->op == KOP_STORE) {
            a->stores++;
            a->unit_stores += c == 1;
        } else if (i->op == KOP_LOAD) {
            a->loads++;
            a->fixed_loads += c == 0;
            a->unit_loads += c == 1;
        }
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                count_accesses(i->block[n], iv, a);
    }
}

/* The loop to become lanes: every store walks along it by one. */
static int vector_loop(const Schedule *s, const Nest *nest) {
    int best = -1, best_score = -1;
    for (int d = 0; d < nest->n; d++) {
        Accesses a = {0};
        count_accesses(nest->body, kb_iv(nest->loop[d]), &a);
        if (!a.stores || a.unit_stores != a.stores || !schedule_can_vectorize(s->k, nest->loop[d]))
            continue;
        int score = a.fixed_loads + a.unit_loads + (d == nest->n - 1);
        if (score > best_score) {
            best = d;
            best_score = score;
        }
    }
    return best;
}

/* Loads that vary with v but not with r: what a tile along r shares. */
static int shared_loads(const KBlock *b, const bool *with_v, const bool *with_r) {
    int n = 0;
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_LOAD)
            n += with_v[i->result[0]->id] && !with_r[i->result[0]->id];
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                n += shared_loads(i->block[k], with_v, with_r);
    }
    return n;
}

static int row_loop(const Schedule *s, const Nest *nest, int v) {
    const bool *with_v = schedule_varying(s->k, nest->loop[v], false);
    int told = s->choice.row_loop - 1;
    if (told >= 0 && told < nest->n && told != v && nest->trips[told] > 1)
        return told;
    for (int d = nest->n - 1; d >= 0; d--)
        if (d != v && nest->trips[d] > 1 && shared_loads(nest->body, with_v, schedule_varying(s->k, nest->loop[d], false)))
            return d;
    return -1;
}

/* Most values that a loop in the body carries from one iteration to the next. */
static int accumulators(const KBlock *b) {
    int most = 0;
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_FOR && i->nresults > most)
            most = i->nresults;
        for (int n = 0; n < 2; n++) {
            int inner = i->block[n] ? accumulators(i->block[n]) : 0;
            most = inner > most ? inner : most;
        }
    }
    return most;
}

/* Whether vectors of rows slide past each other: a loop inside moves along the same axis as the rows, and neighbours read
 * the same elements, as those of a depthwise convolution do. */
static bool rows_slide(const KBlock *b, const KValue *v, const KValue *row, const KInstr *within) {
    for (const KInstr *i = b->first; i; i = i->next) {
        int64_t lo, hi, along = i->op == KOP_LOAD ? kx_coef(i->mem.at, row) : 0;
        int64_t step = along && within ? kx_coef(i->mem.at, kb_iv(within)) : 0;
        if (step && kx_coef(i->mem.at, v) && along % step == 0 && kernel_value_range(kb_iv(within), &lo, &hi) &&
            (along < 0 ? -along : along) <= (step < 0 ? -step : step) * (hi - lo))
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && rows_slide(i->block[n], v, row, i->op == KOP_FOR ? i : within))
                return true;
    }
    return false;
}

/* --- borders: where the bounds of the loops inside depend on a loop's variable --- */

static bool evaluate(const KValue *v, const KValue *iv, int64_t at, int64_t *x) {
    const KInstr *i = v->def;
    int64_t a, b;
    if (v == iv) {
        *x = at;
        return true;
    }
    if (!i)
        return false;
    switch (i->op) {
    case KOP_CONST: *x = i->imm.i; return true;
    case KOP_AFFINE:
        *x = i->mem.at->base;
        for (int k = 0; k < i->mem.at->n; k++) {
            if (!evaluate(i->mem.at->term[k].var, iv, at, &a))
                return false;
            *x += i->mem.at->term[k].coef * a;
        }
        return true;
    case KOP_MIN:
    case KOP_MAX:
    case KOP_DIV:
        if (!evaluate(i->arg[0], iv, at, &a) || !evaluate(i->arg[1], iv, at, &b) || (i->op == KOP_DIV && b <= 0))
            return false;
        *x = i->op == KOP_MIN ? (a < b ? a : b) : i->op == KOP_MAX ? (a > b ? a : b) : a / b - (a % b < 0);
        return true;
    default: return false;
    }
}

typedef struct Bounds {
    const KValue *v[4 * DEEPEST];
    int n;
    bool known;
} Bounds;

static void collect_bounds(const KBlock *b, const bool *varies, Bounds *r) {
    for (const KInstr *i = b->first; i; i = i->next) {
        for (int a = 0; i->op == KOP_FOR && a < 2; a++) {
            if (!varies[i->arg[a]->id])
                continue;
            if (r->n == 4 * DEEPEST)
                r->known = false;
            else
                r->v[r->n++] = i->arg[a];
        }
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                collect_bounds(i->block[n], varies, r);
    }
}

static bool same_bounds(const Bounds *r, const KValue *iv, int64_t x, int64_t y) {
    for (int i = 0; i < r->n; i++) {
        int64_t a, b;
        if (!evaluate(r->v[i], iv, x, &a) || !evaluate(r->v[i], iv, y, &b) || a != b)
            return false;
    }
    return true;
}

/* The longest run of iterations in which all loops inside have the same bounds; false where there is none to find. */
static bool interior(const Schedule *s, const KInstr *loop, int64_t *from, int64_t *to) {
    int64_t lo, hi;
    Bounds r = {.known = true};
    kloop_bounds(loop, &lo, &hi, NULL);
    *from = lo;
    *to = hi;
    collect_bounds(loop->block[0], schedule_varying(s->k, loop, true), &r);
    if (!r.n)
        return true;
    if (!r.known || hi - lo > LARGEST_BORDER_SCAN)
        return false;
    int64_t start = lo;
    *to = lo;
    for (int64_t i = lo + 1; i <= hi; i++) {
        if (i < hi && same_bounds(&r, kb_iv(loop), start, i))
            continue;
        if (i - start > *to - *from) {
            *from = start;
            *to = i;
        }
        start = i;
    }
    return *to - *from > 1;
}

/* Fewer than half of the iterations are of the interior, and share a tile. */
static bool is_mostly_border(const Schedule *s, const KInstr *loop, int64_t trips) {
    int64_t from, to;
    return !interior(s, loop, &from, &to) || 2 * (to - from) < trips;
}

/* --- small moves --- */

/* Sinks a loop below the loops inside it, as deep as `levels`; the nest's new outermost loop. */
static KInstr *sink(Schedule *s, KInstr *loop, int levels, KInstr **sunk) {
    KInstr *outermost = loop;
    *sunk = loop;
    for (int i = 0; i < levels; i++) {
        KInstr *swapped;
        if (!schedule_interchange(s->k, *sunk, &swapped))
            break;
        if (i == 0)
            outermost = swapped;
        *sunk = schedule_inner(swapped);
    }
    return outermost;
}

/* Lanes, then as many vectors side by side as are left. No loop: it had one iteration and has dissolved. */
static void widen(Schedule *s, KInstr *loop, int lanes) {
    KInstr *outer, *inner, *rest;
    if (!loop)
        return;
    if (lanes == 1) {
        schedule_jam(s->k, loop);
        return;
    }
    if (!schedule_split(s->k, loop, lanes, &outer, &inner, &rest))
        return;
    schedule_vectorize(s->k, inner);
    int64_t lo, hi, trips;
    kloop_bounds(outer, &lo, &hi, &trips);
    schedule_jam(s->k, outer);
}

static int64_t largest_power(int64_t x) {
    int64_t p = 1;
    while (2 * p <= x)
        p *= 2;
    return p;
}

/* --- nests that reduce: tiles of accumulators in registers --- */

typedef struct Tile {
    int vectors, rows; /* accumulators: vectors x rows */
} Tile;

static bool has_op(const KBlock *b, KOp op) {
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->op == op)
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && has_op(i->block[n], op))
                return true;
    }
    return false;
}

/* The machine multiplies two rows at once. */
static bool takes_pairs(const Schedule *s, const KBlock *b) {
    return s->target->dot & DOT_PAIRS && has_op(b, KOP_DOT_LONG);
}

/* digits: sums of products of bytes, two or three for each element. */
static Tile largest_tile_by_rule(const Schedule *s, bool rows, int carried, bool halves, bool pairs, bool digits) {
    carried = carried < 1 ? 1 : carried;
    if (s->lanes == 1)
        return (Tile){4, rows && carried == 1 && s->registers >= 16 ? 2 : 1};
    if (digits)
        return (Tile){4, rows && s->registers >= 32 ? 6 / carried : 1};
    if (!rows)
        return (Tile){carried > 1 ? 2 : 8, 1};
    bool many = s->registers >= 32;
    int vectors = many ? 4 : 2;
    if (carried > 1)
        return (Tile){vectors, 1};
    /* Bytes that become halves take two registers for each vector of the constant, and two more. */
    if (halves)
        return (Tile){vectors, many ? 5 : 4};
    if (pairs)
        return (Tile){vectors, 4}; /* columns take two registers a vector */
    return many ? (Tile){4, 6} : (Tile){3, 4}; /* the fewest loads that leave registers for the operands */
}

static Tile largest_tile(const Schedule *s, bool rows, const KBlock *body) {
    bool dots = has_op(body, KOP_DOT) || has_op(body, KOP_DOT_S8), halves = s->target->dot & DOT_HALVES && dots;
    int carried = accumulators(body);
    Tile t = largest_tile_by_rule(s, rows, carried, halves, takes_pairs(s, body), dots && (carried == 2 || carried == 3));
    if (s->choice.vectors)
        t.vectors = s->choice.vectors;
    if (s->choice.rows && rows)
        t.rows = s->choice.rows;
    return t;
}

static double tile_cost(int64_t rows, int vectors) { return (double)(rows * vectors) + 0.6 * (double)(rows + vectors); }

/* Rows in a tile, so that the tiles cover the trips with the least work and rest. */
static int tile_rows(const Schedule *s, int64_t trips, int most, int vectors, bool even) {
    int best = 1;
    double least = 1e300;
    if (s->choice.rows)
        return (int)(trips < most ? trips : most);
    for (int r = 1; r <= most; r += even && r > 1 ? 2 : 1) {
        int64_t full = trips / r, rest = trips % r;
        double cost = (double)full * tile_cost(r, vectors);
        if (rest)
            cost += s->repeatable && full ? tile_cost(r, vectors) : tile_cost(rest, vectors) + 2;
        if (r * vectors < 8)
            cost *= 1 + 0.06 * (8 - r * vectors);
        if (cost <= least) {
            least = cost;
            best = r;
        }
    }
    return best;
}

/* The columns of a block; the loop over blocks may stand between. */
static KInstr *columns(KInstr *row, bool blocks) {
    KInstr *inner = schedule_inner(row);
    return blocks ? schedule_inner(inner) : inner;
}

/* rows x (vectors x lanes): the innermost two loops of a nest become straight code, below the loop over blocks. */
static void tile(Schedule *s, KInstr *row, bool blocks, int rows, int lanes) {
    KInstr *outer, *inner, *rest = NULL;
    if (!(s->repeatable && schedule_overlap(s->k, row, rows, &outer, &inner)) &&
        !schedule_split(s->k, row, rows, &outer, &inner, &rest))
        return;
    for (int i = 0; i < (rest ? 2 : 1); i++) {
        KInstr *rows_loop = i ? rest : inner;
        if (blocks && schedule_interchange(s->k, rows_loop, &rows_loop))
            rows_loop = schedule_inner(rows_loop);
        widen(s, schedule_inner(rows_loop), lanes);
        schedule_jam(s->k, rows_loop);
    }
}

/* The row loop with the vector loop right inside, or the loop over its blocks: borders apart, the middle in tiles. */
static void tile_rows_of(Schedule *s, KInstr *row, bool blocks, Tile t, int lanes) {
    int64_t lo, hi, from, to;
    KInstr *after = NULL, *middle = row;
    kloop_bounds(row, &lo, &hi, NULL);
    if (!interior(s, row, &from, &to)) {
        widen(s, columns(row, blocks), lanes);
        return;
    }
    if (to < hi && !schedule_cut(s->k, row, to, &after))
        return;
    if (from > lo && !schedule_cut(s->k, row, from, &middle))
        return;
    if (after && middle != row && from == lo + 1 && hi == to + 1 && !has_op(row->block[0], KOP_WORDS)) {
        /* One piece of code for both borders, unless they share words with what is between. */
        KBuilder b = kb_before(s->k, row);
        row->arg[1] = kb_int(&b, DT_INDEX, hi);
        row->step = to - lo;
        kernel_unlink(after);
        after = NULL;
    }
    if (after)
        widen(s, columns(after, blocks), lanes);
    if (middle != row)
        widen(s, columns(row, blocks), lanes);
    tile(s, middle, blocks, tile_rows(s, to - from, t.rows, t.vectors, takes_pairs(s, middle->block[0])), lanes);
}

/* A piece of the vector loop, outermost in its nest, of count blocks of vectors x lanes. depth: loops inside it. */
static void tile_piece(Schedule *s, KInstr *loop, int depth, int row, Tile t, int lanes) {
    KInstr *outer, *inner, *rest;
    int64_t lo, hi, outer_trips;
    if (!schedule_split(s->k, loop, (int64_t)t.vectors * lanes, &outer, &inner, &rest))
        return;
    kloop_bounds(outer, &lo, &hi, &outer_trips);
    KInstr *outermost = sink(s, inner, depth, &inner);
    if (!depth || row < 0) {
        widen(s, inner, lanes);
        return;
    }
    /* outermost is loop 0 of the others now; the row loop goes right outside the columns */
    KInstr *r = outermost;
    for (int d = 0; d < row; d++)
        r = schedule_inner(r);
    sink(s, r, depth - 1 - row, &r);
    bool blocks = s->choice.blocks_inside && outer_trips > 1;
    if (blocks) {
        r = sink(s, outer, depth, &outer);
        for (int d = 0; d < depth - 1; d++)
            r = schedule_inner(r);
    }
    tile_rows_of(s, r, blocks, t, lanes);
}

static void tile_nest(Schedule *s, Nest *nest, int v) {
    int row = row_loop(s, nest, v), depth = nest->n - 1;
    int64_t trips = nest->trips[v], lo, hi;
    Tile most = largest_tile(s, row >= 0, nest->body);
    if (row >= 0 && s->lanes >= 16 && s->registers >= 32 && !s->choice.rows && !s->choice.vectors &&
        accumulators(nest->body) == 1 && rows_slide(nest->body, kb_iv(nest->loop[v]), kb_iv(nest->loop[row]), NULL)) {
        /* Unrolled, the inputs stay in registers beside the accumulators. Fewer registers have no room for both. */
        most.vectors = 2;
        most.rows = s->registers / most.vectors / 2 - 1;
    }
    int64_t lanes = s->lanes < trips ? s->lanes : largest_power(trips);
    /* A row of the border has no sums to compute meanwhile but those of vectors beside it: three rather than one and a half. */
    if (row >= 0 && trips == lanes + lanes / 2 && is_mostly_border(s, nest->loop[row], nest->trips[row]))
        lanes /= 2;
    if (row > v)
        row--; /* its place among the others */
    KInstr *loop = nest->loop[v];
    for (int d = v; d > 0; d--) /* to the outside */
        if (!schedule_interchange(s->k, nest->loop[d - 1], &loop))
            return;
        else
            nest->loop[d - 1] = loop;
    kloop_bounds(loop, &lo, &hi, NULL);
    while (trips > 0) {
        while (lanes > trips)
            lanes /= 2;
        int64_t vectors = trips / lanes, blocks = divide_up(vectors, most.vectors);
        Tile t = {(int)divide_up(vectors, blocks), most.rows};
        if (t.vectors < most.vectors && most.rows > 1 && !s->choice.rows)
            t.rows = most.rows * most.vectors / t.vectors > 12 ? 12 : most.rows * most.vectors / t.vectors;
        int64_t covered = vectors / t.vectors * t.vectors;
        if (covered == vectors - 1 && covered > t.vectors && row >= 0 && !s->choice.vectors)
            covered -= t.vectors; /* two pairs rather than three and one */
        covered *= lanes;
        KInstr *rest = NULL;
        if (covered < trips && !schedule_cut(s->k, loop, lo + covered, &rest))
            return;
        tile_piece(s, loop, depth, row, t, (int)lanes);
        loop = rest;
        lo += covered;
        trips -= covered;
    }
}

/* --- nests that do not reduce --- */

/* The vector loop, innermost in its nest. */
static void stream_lanes(Schedule *s, KInstr *loop) {
    int64_t lo, hi, trips;
    kloop_bounds(loop, &lo, &hi, &trips);
    int size = count_instrs(loop->block[0]);
    int64_t lanes = s->lanes, together = size <= 8 ? 4 : size <= 24 ? 2 : 1;
    if (s->choice.together)
        together = s->choice.together;
    while (loop && lanes > 1) {
        int64_t block = lanes * together, covered = trips / block * block;
        if (!covered) {
            if (together > 1)
                together = 1;
            else
                lanes /= 2;
            continue;
        }
        KInstr *rest = NULL, *outer, *inner, *none;
        if (covered < trips && !schedule_cut(s->k, loop, lo + covered, &rest))
            return;
        if (!schedule_split(s->k, loop, block, &outer, &inner, &none))
            return;
        widen(s, inner, (int)lanes);
        loop = rest;
        lo += covered;
        trips -= covered;
    }
}

/* The loop along which loads are contiguous that walk across lanes; -1: none. */
static int across_loop(const Schedule *s, const Nest *nest, int v) {
    for (int d = 0; d < nest->n; d++) {
        bool across = false;
        for (const KInstr *i = nest->body->first; i; i = i->next) {
            int64_t along = i->op == KOP_LOAD ? kx_coef(i->mem.at, kb_iv(nest->loop[v])) : 0;
            across = across || (along && along != 1 && kx_coef(i->mem.at, kb_iv(nest->loop[d])) == 1);
        }
        if (d != v && across && nest->trips[d] >= s->lanes && nest->trips[v] >= s->lanes)
            return d;
    }
    return -1;
}

/* Blocks of as many iterations as there are lanes of both loops: what is read across lanes is read whole. `across` has the
 * vector loop right inside. */
static void transpose_nest(Schedule *s, KInstr *across) {
    int64_t lo, hi, trips, covered;
    KInstr *outer, *inner, *none, *v, *rest = NULL;
    kloop_bounds(across, &lo, &hi, &trips);
    covered = trips / s->lanes * s->lanes;
    if (covered < trips && !schedule_cut(s->k, across, lo + covered, &rest))
        return;
    if (rest)
        stream_lanes(s, schedule_inner(rest));
    if (!schedule_split(s->k, across, s->lanes, &outer, &inner, &none) || !schedule_interchange(s->k, inner, &v))
        return;
    kloop_bounds(v, &lo, &hi, &trips);
    covered = trips / s->lanes * s->lanes;
    rest = NULL;
    if (covered < trips && !schedule_cut(s->k, v, lo + covered, &rest))
        return;
    if (rest && schedule_interchange(s->k, rest, &rest))
        stream_lanes(s, schedule_inner(rest));
    if (!schedule_split(s->k, v, s->lanes, &outer, &v, &none) || !schedule_interchange(s->k, v, &inner))
        return;
    widen(s, schedule_inner(inner), s->lanes);
    schedule_jam(s->k, inner);
}

static KInstr *nth_inside(KInstr *loop, int n) {
    while (n-- > 0)
        loop = schedule_inner(loop);
    return loop;
}

static void stream_nest(Schedule *s, Nest *nest, int v) {
    int last = nest->n - 1, across = s->lanes > 1 ? across_loop(s, nest, v) : -1;
    if (s->lanes == 1)
        return;
    KInstr *loop, *outermost = nest->loop[0];
    if (across >= 0) {
        KInstr *top = sink(s, nest->loop[across], last - across, &loop);
        outermost = across ? outermost : top;
        v -= across < v;
        loop = nth_inside(outermost, v);
    } else {
        loop = nest->loop[v];
    }
    sink(s, loop, last - v, &loop);
    if (across >= 0)
        transpose_nest(s, loop->parent->parent);
    else
        stream_lanes(s, loop);
}

/* --- the whole kernel --- */

/* Loops whose accesses run on from one to the next become one. */
static KInstr *collapsed(Schedule *s, KInstr *loop) {
    for (KInstr *merged; schedule_collapse(s->k, loop, &merged);)
        loop = merged;
    for (KInstr *l = loop, *inner, *merged; (inner = schedule_inner(l)) != NULL;)
        if (!schedule_collapse(s->k, inner, &merged))
            l = inner;
    return loop;
}

static void schedule_block(Schedule *s, KBlock *b);

/* Sums, products and extremes along contiguous elements, in vectors; what is left over in shorter ones. */
static void reduce_in_lanes(Schedule *s, KInstr *loop) {
    Accesses a = {0};
    int64_t lo, hi, trips;
    count_accesses(loop->block[0], kb_iv(loop), &a);
    if (has_loop(loop->block[0]) || !a.unit_loads || a.unit_loads + a.fixed_loads < a.loads || loop->step != 1)
        return;
    int lanes = s->lanes;
    while (loop && lanes > 1 && kloop_bounds(loop, &lo, &hi, &trips)) {
        int chains = s->choice.chains ? s->choice.chains : 4;
        bool few = !s->choice.chains && trips < 8 * lanes; /* then a second loop for the rest costs more than waiting */
        while (chains > 1 && (trips < chains * lanes || (few && trips % (chains * lanes) >= lanes)))
            chains /= 2;
        if (trips < lanes)
            lanes /= 2;
        else if (!schedule_vectorize_reduction(s->k, loop, lanes, chains, &loop))
            return;
    }
}

static const KInstr *innermost(const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next)
        if (i->op == KOP_FOR)
            return has_loop(i->block[0]) ? innermost(i->block[0]) : i;
    return NULL;
}

/* Whether the body sums up contiguous elements, which lanes of the vector loop v would gather one by one without any rows to
 * share them. */
static bool sums_along(const Schedule *s, const Nest *nest, int v) {
    Accesses across = {0}, along = {0};
    const KInstr *sum = innermost(nest->body);
    int64_t lo, hi, trips;
    if (s->lanes == 1 || !sum || sum->loop != KLOOP_REDUCE || !kloop_bounds(sum, &lo, &hi, &trips) || trips < SHORTEST_SUM || row_loop(s, nest, v) >= 0)
        return false;
    count_accesses(sum->block[0], kb_iv(nest->loop[v]), &across);
    count_accesses(sum->block[0], kb_iv(sum), &along);
    return along.unit_loads && along.unit_loads + along.fixed_loads == along.loads && across.unit_loads + across.fixed_loads < across.loads;
}

static void schedule_loop(Schedule *s, KInstr *loop) {
    int64_t trips;
    if (loop->op == KOP_FOR && loop->loop == KLOOP_REDUCE && !has_loop(loop->block[0])) {
        reduce_in_lanes(s, loop);
        return;
    }
    if (!is_nest_loop(loop, &trips)) {
        for (int n = 0; n < 2; n++)
            if (loop->block[n])
                schedule_block(s, loop->block[n]);
        return;
    }
    loop = collapsed(s, loop);
    Nest nest = nest_from(loop);
    int v = vector_loop(s, &nest);
    if (v < 0 || (has_loop(nest.body) && sums_along(s, &nest, v)))
        schedule_block(s, (KBlock *)nest.body);
    else if (has_loop(nest.body))
        tile_nest(s, &nest, v);
    else
        stream_nest(s, &nest, v);
}

static void schedule_block(Schedule *s, KBlock *b) {
    for (KInstr *i = b->first, *next; i; i = next) {
        next = i->next;
        if (i->block[0])
            schedule_loop(s, i);
    }
}

/* Short loops of known length become straight code, from the inside. Words that several iterations make are then made once,
 * which pays for more code. */
static void unroll_short(KKernel *k, KBlock *b, int most) {
    for (KInstr *i = b->first, *next; i; i = next) {
        next = i->next;
        for (int n = 0; n < 2; n++)
            if (i->block[n])
                unroll_short(k, i->block[n], most);
        int64_t lo, hi, trips;
        if (i->op == KOP_FOR && i->loop == KLOOP_REDUCE && kloop_bounds(i, &lo, &hi, &trips) && trips <= 9 &&
            trips * count_instrs(i->block[0]) <= (has_op(i->block[0], KOP_WORDS) ? 2 * most : most))
            schedule_unroll(k, i);
    }
}

static bool is_stored(const KBlock *b, const KParam *p) {
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_STORE && i->mem.param == p)
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && is_stored(i->block[n], p))
                return true;
    }
    return false;
}

static bool reads_what_it_writes(const KKernel *k, const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_LOAD && is_stored(k->body, i->mem.param))
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && reads_what_it_writes(k, i->block[n]))
                return true;
    }
    return false;
}

static bool is_repeatable(const KKernel *k) {
    for (int i = 0; i < k->params.len; i++)
        if (k->params.data[i]->written && !k->params.data[i]->noalias)
            return false;
    return !reads_what_it_writes(k, k->body);
}

void schedule_kernel_as(KKernel *k, const Target *t, ScheduleChoice c) {
    int lanes = target_lanes(t);
    if (c.lanes && c.lanes < lanes)
        lanes = c.lanes;
    Schedule s = {k, t, lanes, t->vector_registers, is_repeatable(k), c};
    kernel_simplify(k); /* loops of one iteration would dissolve while the nest around them is counted */
    k->unordered = schedule_is_unordered(k);
    schedule_cut_at_tests(k);
    if (lanes > 1)
        schedule_split_groups(k);
    schedule_block(&s, k->body);
    kernel_simplify(k);
    unroll_short(k, k->body, c.unroll ? c.unroll : UNROLLED_INSTRUCTIONS);
    kernel_simplify(k);
}

void schedule_kernel(KKernel *k, const Target *t) { schedule_kernel_as(k, t, (ScheduleChoice){0}); }

static bool calls(const KBlock *b, const KFunc *f) {
    for (const KInstr *i = b->first; i; i = i->next) {
        if (i->func == f)
            return true;
        for (int n = 0; n < 2; n++)
            if (i->block[n] && calls(i->block[n], f))
                return true;
    }
    return false;
}

/* Functions that only scalar code called. */
static void drop_functions(KModule *m) {
    for (int f = m->funcs.len - 1; f >= 0; f--) {
        bool used = false;
        for (int i = 0; i < m->kernels.len && !used; i++)
            used = calls(m->kernels.data[i]->body, m->funcs.data[f]);
        for (int i = f + 1; i < m->funcs.len && !used; i++)
            used = calls(m->funcs.data[i]->body->body, m->funcs.data[f]);
        if (used)
            continue;
        memmove(&m->funcs.data[f], &m->funcs.data[f + 1], (size_t)(m->funcs.len - f - 1) * sizeof *m->funcs.data);
        m->funcs.len--;
    }
}

void schedule_module_as(KModule *m, const Target *t, const ScheduleTable *table) {
    for (int i = 0; i < m->kernels.len; i++) {
        KKernel *k = m->kernels.data[i];
        const ScheduleEntry *e = table->entries.len ? schedule_find(table, schedule_hash(k)) : NULL;
        schedule_kernel_as(k, t, e ? e->choice : (ScheduleChoice){0});
    }
    schedule_module_narrow(m, t);
    schedule_module_words(m);
    schedule_module_saturate(m, t);
    schedule_module_pairs(m, t);
    schedule_module_steps(m);
    drop_functions(m);
}

void schedule_module(KModule *m, const Target *t) { schedule_module_as(m, t, &(ScheduleTable){0}); }
