/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent networks: RNN, GRU and LSTM, one direction and one sequence of the batch after the other. */
#define _POSIX_C_SOURCE 200809L
#include <string.h>
#include <strings.h>

#include "ops/quant.h"
#include "ops/rules.h"

enum { MAX_GATES = 4, MAX_FUNCTIONS = 3 };

/* Inputs; the last two belong to LSTM. */
enum { IN_X, IN_W, IN_R, IN_B, IN_LENGTHS, IN_H, IN_C, IN_P };
enum { OUT_Y, OUT_H, OUT_C };

typedef struct CellKind {
    int gates;     /* blocks of hidden_size rows in W and R */
    int functions; /* activations of one direction */
    const char *usual[MAX_FUNCTIONS];
} CellKind;

static const CellKind rnn = {1, 1, {"Tanh"}}, gru = {3, 2, {"Sigmoid", "Tanh"}}, lstm = {4, 3, {"Sigmoid", "Tanh", "Tanh"}};

typedef enum Function {
    AFFINE, ELU, HARD_SIGMOID, LEAKY_RELU, RELU, SCALED_TANH, SIGMOID, SOFTPLUS, SOFTSIGN, TANH, THRESHOLDED_RELU, FUNCTIONS
} Function;

/* Only a function that has a parameter takes one from activation_alpha or activation_beta. */
static const struct {
    const char *name;
    bool has_alpha, has_beta;
    float alpha, beta;
} functions[FUNCTIONS] = {
    [AFFINE] = {"Affine", true, true, 1, 0},
    [ELU] = {"Elu", true, false, 1, 0},
    [HARD_SIGMOID] = {"HardSigmoid", true, true, 0.2f, 0.5f},
    [LEAKY_RELU] = {"LeakyRelu", true, false, 0.01f, 0},
    [RELU] = {"Relu", false, false, 0, 0},
    [SCALED_TANH] = {"ScaledTanh", true, true, 1, 1},
    [SIGMOID] = {"Sigmoid", false, false, 0, 0},
    [SOFTPLUS] = {"Softplus", false, false, 0, 0},
    [SOFTSIGN] = {"Softsign", false, false, 0, 0},
    [TANH] = {"Tanh", false, false, 0, 0},
    [THRESHOLDED_RELU] = {"ThresholdedRelu", true, false, 1, 0},
};

typedef struct Activation {
    Function function;
    double alpha, beta;
} Activation;

typedef struct Cell {
    const Node *n;
    const CellKind *kind;
    int directions;
    bool first_reversed; /* direction 0 runs from the end; direction 1 always does */
    bool batch_first;
    int64_t steps, batch, input, hidden;
    bool clips;
    double clip;
    Activation activation[2 * MAX_FUNCTIONS];
    DType t; /* of the arithmetic */
} Cell;

/* --- attributes and shapes --- */

static bool has(const Node *n, int input) { return input < n->nin && n->in[input]; }

static bool read_direction(const Node *n, Cell *c) {
    const char *s = attr_string(n, "direction", "forward");
    c->first_reversed = !strcmp(s, "reverse");
    c->directions = strcmp(s, "bidirectional") ? 1 : 2;
    return c->first_reversed || c->directions == 2 || !strcmp(s, "forward") || infer_error(n, "attribute \"direction\" is \"%s\"", s);
}

/* The next entry of a list of parameters, or the usual one where the list has ended. */
static double take(const Attr *list, int *at, bool wanted, float otherwise) {
    if (!wanted || !list || list->kind != ATTR_FLOATS || *at >= list->n)
        return (double)otherwise;
    return (double)list->floats[(*at)++];
}

static bool read_activations(const Node *n, Cell *c) {
    const Attr *names = node_attr(n, "activations"), *alpha = node_attr(n, "activation_alpha"), *beta = node_attr(n, "activation_beta");
    int count = c->directions * c->kind->functions, alphas = 0, betas = 0;
    if (names && names->kind == ATTR_STRINGS && names->n && names->n != count)
        return infer_error(n, "attribute \"activations\" has %d entries; it needs %d", names->n, count);
    bool given = names && names->kind == ATTR_STRINGS && names->n;
    for (int i = 0; i < count; i++) {
        const char *name = given ? names->strings[i] : c->kind->usual[i % c->kind->functions];
        int f = 0;
        while (f < FUNCTIONS && strcasecmp(functions[f].name, name))
            f++;
        if (f == FUNCTIONS)
            return infer_error(n, "activation \"%s\" is not known", name);
        c->activation[i].function = (Function)f;
        c->activation[i].alpha = take(alpha, &alphas, functions[f].has_alpha, functions[f].alpha);
        c->activation[i].beta = take(beta, &betas, functions[f].has_beta, functions[f].beta);
    }
    return true;
}

static bool has_shape(const Node *n, int input, int rank, const int64_t *dim) {
    const Value *v = n->in[input];
    if (v->rank != rank)
        return infer_error(n, "input %d must have rank %d, not %d", input, rank, v->rank);
    for (int d = 0; d < rank; d++)
        if (v->dim[d] != dim[d])
            return infer_error(n, "axis %d of input %d has size %lld; it must be %lld", d, input, (long long)v->dim[d], (long long)dim[d]);
    return true;
}

static bool check_shapes(const Node *n, const Cell *c) {
    int64_t rows = c->kind->gates * c->hidden, each = c->directions;
    const int64_t w[] = {each, rows, c->input}, r[] = {each, rows, c->hidden}, b[] = {each, 2 * rows};
    const int64_t by_direction[] = {each, c->batch, c->hidden}, by_batch[] = {c->batch, each, c->hidden};
    const int64_t peephole[] = {each, 3 * c->hidden};
    const int64_t *state = c->batch_first ? by_batch : by_direction;
    return has_shape(n, IN_W, 3, w) && has_shape(n, IN_R, 3, r) && (!has(n, IN_B) || has_shape(n, IN_B, 2, b)) &&
           (!has(n, IN_LENGTHS) || has_shape(n, IN_LENGTHS, 1, &c->batch)) && (!has(n, IN_H) || has_shape(n, IN_H, 3, state)) &&
           (!has(n, IN_C) || has_shape(n, IN_C, 3, state)) && (!has(n, IN_P) || has_shape(n, IN_P, 2, peephole));
}

static bool check_types(const Node *n) {
    if (!infer_float(n, IN_X) || !infer_present(n, IN_W) || !infer_present(n, IN_R))
        return false;
    for (int i = 0; i < n->nin; i++) {
        DType t = i == IN_LENGTHS ? DT_I32 : n->in[IN_X]->dtype;
        if (n->in[i] && n->in[i]->dtype != t)
            return infer_error(n, "input %d has element type %s; it must be %s", i, dtype_name(n->in[i]->dtype), dtype_name(t));
    }
    return true;
}

static bool read_cell(const Node *n, const CellKind *kind, Cell *c) {
    *c = (Cell){.n = n, .kind = kind};
    if (!check_types(n) || !read_direction(n, c) || !read_activations(n, c))
        return false;
    const Value *x = n->in[IN_X], *r = n->in[IN_R];
    if (x->rank != 3 || r->rank != 3)
        return infer_error(n, "inputs X and R must have rank 3, not %d and %d", x->rank, r->rank);
    int64_t layout = attr_int(n, "layout", 0);
    if (layout != 0 && layout != 1)
        return infer_error(n, "attribute \"layout\" is %lld", (long long)layout);
    c->batch_first = layout == 1;
    c->steps = x->dim[c->batch_first];
    c->batch = x->dim[!c->batch_first];
    c->input = x->dim[2];
    c->hidden = r->dim[2];
    if (c->hidden < 1 || c->hidden > INT32_MAX || attr_int(n, "hidden_size", c->hidden) != c->hidden)
        return infer_error(n, "input R has hidden size %lld; attribute \"hidden_size\" is %lld", (long long)c->hidden,
                           (long long)attr_int(n, "hidden_size", c->hidden));
    c->clip = (double)attr_float(n, "clip", 0);
    c->clips = c->clip > 0;
    c->t = lower_compute_type(x->dtype);
    return check_shapes(n, c);
}

static bool infer_cell(Node *n, const CellKind *kind) {
    Cell c;
    if (!read_cell(n, kind, &c))
        return false;
    const int64_t y[] = {c.steps, c.directions, c.batch, c.hidden}, y_batch[] = {c.batch, c.steps, c.directions, c.hidden};
    const int64_t h[] = {c.directions, c.batch, c.hidden}, h_batch[] = {c.batch, c.directions, c.hidden};
    DType t = n->in[IN_X]->dtype;
    return infer_set(n, OUT_Y, t, 4, c.batch_first ? y_batch : y) && infer_set(n, OUT_H, t, 3, c.batch_first ? h_batch : h) &&
           infer_set(n, OUT_C, t, 3, c.batch_first ? h_batch : h);
}

INFER(infer_rnn) { return infer_cell(n, &rnn); }
INFER(infer_gru) { return infer_cell(n, &gru); }
INFER(infer_lstm) { return infer_cell(n, &lstm); }

MACS(macs_rnn) {
    const Value *x = n->in[IN_X], *w = n->in[IN_W], *r = n->in[IN_R];
    return (double)x->dim[0] * (double)x->dim[1] * ((double)value_count(w) + (double)value_count(r));
}

/* --- activations --- */

static KValue *constant(Lower *l, const KValue *x, double c) { return kb_const_like(&l->b, x->type, c); }

static KValue *scaled(Lower *l, KValue *x, double a, double b) { return kb_fma(&l->b, x, constant(l, x, a), constant(l, x, b)); }

static KValue *softplus(Lower *l, KValue *x) {
    KBuilder *b = &l->b;
    KValue *tail = kb_math(b, KMATH_EXP, kb_unary(b, KOP_NEG, kb_unary(b, KOP_ABS, x)), NULL);
    return kb_binary(b, KOP_ADD, kb_binary(b, KOP_MAX, constant(l, x, 0), x), kb_math(b, KMATH_LOG1P, tail, NULL));
}

static KValue *activation(Lower *l, const Activation *f, KValue *x) {
    KBuilder *b = &l->b;
    KValue *zero = constant(l, x, 0), *one = constant(l, x, 1), *alpha = constant(l, x, f->alpha), *y;
    switch (f->function) {
    case AFFINE:
        return scaled(l, x, f->alpha, f->beta);
    case ELU:
        y = kb_binary(b, KOP_MUL, alpha, kb_math(b, KMATH_EXPM1, x, NULL));
        return kb_select(b, kb_binary(b, KOP_LT, x, zero), y, x);
    case HARD_SIGMOID:
        return kb_binary(b, KOP_MIN, one, kb_binary(b, KOP_MAX, zero, scaled(l, x, f->alpha, f->beta)));
    case LEAKY_RELU:
        return kb_select(b, kb_binary(b, KOP_LT, x, zero), kb_binary(b, KOP_MUL, alpha, x), x);
    case RELU:
        return kb_binary(b, KOP_MAX, zero, x);
    case SCALED_TANH:
        y = kb_math(b, KMATH_TANH, kb_binary(b, KOP_MUL, constant(l, x, f->beta), x), NULL);
        return kb_binary(b, KOP_MUL, alpha, y);
    case SIGMOID:
        return kb_math(b, KMATH_SIGMOID, x, NULL);
    case SOFTPLUS:
        return softplus(l, x);
    case SOFTSIGN:
        return kb_binary(b, KOP_DIV, x, kb_binary(b, KOP_ADD, one, kb_unary(b, KOP_ABS, x)));
    case TANH:
        return kb_math(b, KMATH_TANH, x, NULL);
    case THRESHOLDED_RELU:
    default:
        return kb_select(b, kb_binary(b, KOP_GT, x, alpha), x, zero);
    }
}

/* --- one step --- */

/* Where lowering is: direction, sequence, time; and the state, one element a hidden unit. */
typedef struct Step {
    Lower *l;
    const Cell *c;
    int direction;
    KIndex sequence, time;
    KParam *h, *next; /* the new h is whole before the old one goes */
    KParam *cell;     /* LSTM's c */
    KParam *update, *reset; /* GRU's z, and r * h */
    KParam *rounded;        /* LSTM's h as bytes stand for it; NULL: as it is */
} Step;

static KValue *add(const Step *s, KValue *x, KValue *y) { return kb_binary(&s->l->b, KOP_ADD, x, y); }
static KValue *mul(const Step *s, KValue *x, KValue *y) { return kb_binary(&s->l->b, KOP_MUL, x, y); }
static KValue *zero(const Step *s) { return kb_float(&s->l->b, s->c->t, 0); }

static KValue *apply(const Step *s, int function, KValue *x) {
    const Cell *c = s->c;
    KBuilder *b = &s->l->b;
    if (c->clips) {
        x = kb_binary(b, KOP_MAX, kb_const_like(b, x->type, -c->clip), x);
        x = kb_binary(b, KOP_MIN, kb_const_like(b, x->type, c->clip), x);
    }
    return activation(s->l, &c->activation[s->direction * c->kind->functions + function], x);
}

/* Element [direction, block * hidden_size + unit] of B or P. */
static KValue *unit_of(const Step *s, int input, int block, KIndex unit) {
    const KIndex at[] = {kx_const(s->l->arena, s->direction), kx_add_const(s->l->arena, unit, block * s->c->hidden)};
    return lower_load(s->l, s->c->n, input, at);
}

/* sum += the rows of W (times the step's input) or of R (times a state) for `count` gates from `first` on. */
static void add_products(const Step *s, int input, KParam *state, int first, int count, KIndex unit, KValue **sum) {
    Lower *l = s->l;
    const Cell *c = s->c;
    KValue *next[MAX_GATES];
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "k", 0, state ? c->hidden : c->input, count, sum);
    KIndex k = lower_iv(l, loop);
    const KIndex by_time[] = {s->time, s->sequence, k}, by_sequence[] = {s->sequence, s->time, k};
    KValue *x = state ? kb_load(&l->b, state, k) : lower_load(l, c->n, IN_X, c->batch_first ? by_sequence : by_time);
    for (int g = 0; g < count; g++) {
        const KIndex at[] = {kx_const(l->arena, s->direction), kx_add_const(l->arena, unit, (first + g) * c->hidden), k};
        next[g] = kb_fma(&l->b, lower_load(l, c->n, input, at), x, kb_carried(loop, g));
    }
    kb_end_for(&l->b, loop, next);
    for (int g = 0; g < count; g++)
        sum[g] = kb_result(loop, g);
}

/* The bias of W (block = gate) or R (block = gates + gate). */
static KValue *add_bias(const Step *s, int block, KIndex unit, KValue *x) {
    return has(s->c->n, IN_B) ? add(s, x, unit_of(s, IN_B, block, unit)) : x;
}

static KValue *add_biases(const Step *s, int gate, KIndex unit, KValue *x) {
    return add_bias(s, s->c->kind->gates + gate, unit, add_bias(s, gate, unit, x));
}

/* W x + R h + both biases of `count` gates from `first` on. */
static void gate_sums(const Step *s, int first, int count, KParam *state, KIndex unit, KValue **sum) {
    for (int g = 0; g < count; g++)
        sum[g] = zero(s);
    add_products(s, IN_W, NULL, first, count, unit, sum);
    add_products(s, IN_R, state, first, count, unit, sum);
    for (int g = 0; g < count; g++)
        sum[g] = add_biases(s, first + g, unit, sum[g]);
}

static KInstr *open_units(const Step *s) { return lower_for(s->l, KLOOP_PARALLEL, "j", 0, s->c->hidden, 0, NULL); }
static void close_units(const Step *s, KInstr *loop) { kb_end_for(&s->l->b, loop, NULL); }

static void rnn_step(const Step *s) {
    KInstr *loop = open_units(s);
    KIndex j = lower_iv(s->l, loop);
    KValue *sum;
    gate_sums(s, 0, 1, s->h, j, &sum);
    kb_store(&s->l->b, s->next, j, apply(s, 0, sum));
    close_units(s, loop);
}

/* Gates z, r, h. */
static KValue *gru_mix(const Step *s, KIndex j, KValue *z, KValue *candidate) {
    KBuilder *b = &s->l->b;
    KValue *rest = kb_binary(b, KOP_SUB, kb_float(b, s->c->t, 1), z);
    return add(s, mul(s, rest, candidate), mul(s, z, kb_load(b, s->h, j)));
}

static void gru_step_linear_before_reset(const Step *s) {
    KInstr *loop = open_units(s);
    KIndex j = lower_iv(s->l, loop);
    KValue *sum[3] = {zero(s), zero(s), zero(s)};
    add_products(s, IN_W, NULL, 0, 3, j, sum);
    KValue *candidate = add_bias(s, 2, j, sum[2]);
    sum[2] = zero(s);
    add_products(s, IN_R, s->h, 0, 3, j, sum);
    KValue *z = apply(s, 0, add_biases(s, 0, j, sum[0])), *r = apply(s, 0, add_biases(s, 1, j, sum[1]));
    candidate = apply(s, 1, add(s, candidate, mul(s, r, add_bias(s, 3 + 2, j, sum[2]))));
    kb_store(&s->l->b, s->next, j, gru_mix(s, j, z, candidate));
    close_units(s, loop);
}

static void gru_step(const Step *s) {
    KBuilder *b = &s->l->b;
    if (attr_int(s->c->n, "linear_before_reset", 0)) {
        gru_step_linear_before_reset(s);
        return;
    }
    KInstr *loop = open_units(s);
    KIndex j = lower_iv(s->l, loop);
    KValue *sum[2];
    gate_sums(s, 0, 2, s->h, j, sum);
    kb_store(b, s->update, j, apply(s, 0, sum[0]));
    kb_store(b, s->reset, j, mul(s, apply(s, 0, sum[1]), kb_load(b, s->h, j)));
    close_units(s, loop);
    loop = open_units(s);
    j = lower_iv(s->l, loop);
    gate_sums(s, 2, 1, s->reset, j, sum);
    kb_store(b, s->next, j, gru_mix(s, j, kb_load(b, s->update, j), apply(s, 1, sum[0])));
    close_units(s, loop);
}

/* Gates i, o, f, c; peepholes i, o, f. */
static KValue *peep(const Step *s, int block, KIndex j, KValue *sum, KValue *cell) {
    return has(s->c->n, IN_P) ? add(s, sum, mul(s, unit_of(s, IN_P, block, j), cell)) : sum;
}

/* com.microsoft.DynamicQuantizeLSTM takes products with bytes, whose scale and zero point follow from the range of h. */
static KParam *rounded_state(const Step *s) {
    Lower *l = s->l;
    KBuilder *b = &l->b;
    KValue *bounds[2] = {zero(s), zero(s)}, *scale, *offset;
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "j", 0, s->c->hidden, 2, bounds);
    KValue *x = kb_load(b, s->h, lower_iv(l, loop));
    bounds[0] = kb_binary(b, KOP_MIN, x, kb_carried(loop, 0));
    bounds[1] = kb_binary(b, KOP_MAX, x, kb_carried(loop, 1));
    kb_end_for(b, loop, bounds);
    quant_dynamic(l, kb_result(loop, 0), kb_result(loop, 1), &scale, &offset);
    loop = open_units(s);
    KIndex j = lower_iv(l, loop);
    KValue *byte = quant_round(l, kb_binary(b, KOP_DIV, kb_load(b, s->h, j), scale), offset, DT_U8);
    kb_store(b, s->rounded, j, mul(s, kb_cast(b, quant_centred(l, byte, offset), DT_F32), scale));
    close_units(s, loop);
    return s->rounded;
}

static void lstm_step(const Step *s) {
    KBuilder *b = &s->l->b;
    KParam *state = s->rounded ? rounded_state(s) : s->h;
    KInstr *loop = open_units(s);
    KIndex j = lower_iv(s->l, loop);
    KValue *sum[4];
    gate_sums(s, 0, 4, state, j, sum);
    KValue *cell = kb_load(b, s->cell, j);
    KValue *in = apply(s, 0, peep(s, 0, j, sum[0], cell)), *keep;
    if (attr_int(s->c->n, "input_forget", 0))
        keep = kb_binary(b, KOP_SUB, kb_float(b, s->c->t, 1), in);
    else
        keep = apply(s, 0, peep(s, 2, j, sum[2], cell));
    cell = add(s, mul(s, keep, cell), mul(s, in, apply(s, 1, sum[3])));
    KValue *out = apply(s, 0, peep(s, 1, j, sum[1], cell));
    kb_store(b, s->cell, j, cell);
    kb_store(b, s->next, j, mul(s, out, apply(s, 2, cell)));
    close_units(s, loop);
}

/* --- sequences --- */

static KIndex direction_of(const Step *s) { return kx_const(s->l->arena, s->direction); }

/* The state before the first step. */
static void begin_state(const Step *s, KParam *state, int input) {
    KInstr *loop = open_units(s);
    KIndex j = lower_iv(s->l, loop);
    const KIndex at[] = {direction_of(s), s->sequence, j}, by_batch[] = {s->sequence, direction_of(s), j};
    KValue *x = has(s->c->n, input) ? lower_load(s->l, s->c->n, input, s->c->batch_first ? by_batch : at) : zero(s);
    kb_store(&s->l->b, state, j, x);
    close_units(s, loop);
}

static void end_state(const Step *s, KParam *state, int output) {
    if (output >= s->c->n->nout || !s->c->n->out[output])
        return;
    KInstr *loop = open_units(s);
    KIndex j = lower_iv(s->l, loop);
    const KIndex at[] = {direction_of(s), s->sequence, j}, by_batch[] = {s->sequence, direction_of(s), j};
    lower_store(s->l, s->c->n, output, s->c->batch_first ? by_batch : at, kb_load(&s->l->b, state, j));
    close_units(s, loop);
}

static void store_y(const Step *s, KIndex j, KValue *x) {
    const KIndex at[] = {s->time, direction_of(s), s->sequence, j}, by_batch[] = {s->sequence, s->time, direction_of(s), j};
    if (s->c->n->out[OUT_Y])
        lower_store(s->l, s->c->n, OUT_Y, s->c->batch_first ? by_batch : at, x);
}

/* The new h becomes the old one, and an output. */
static void advance(const Step *s) {
    KInstr *loop = open_units(s);
    KIndex j = lower_iv(s->l, loop);
    KValue *x = kb_load(&s->l->b, s->next, j);
    kb_store(&s->l->b, s->h, j, x);
    store_y(s, j, x);
    close_units(s, loop);
}

/* Y is zero behind the end of a short sequence. */
static void pad_sequence(Step *s, KValue *length) {
    Lower *l = s->l;
    KInstr *rest = kb_for(&l->b, KLOOP_PARALLEL, "t", length, kb_int(&l->b, DT_INDEX, s->c->steps), 1, 0, NULL);
    s->time = lower_iv(l, rest);
    KInstr *loop = open_units(s);
    store_y(s, lower_iv(l, loop), zero(s));
    close_units(s, loop);
    kb_end_for(&l->b, rest, NULL);
}

static KValue *sequence_length(const Step *s) {
    KBuilder *b = &s->l->b;
    KValue *steps = kb_int(b, DT_INDEX, s->c->steps);
    if (!has(s->c->n, IN_LENGTHS))
        return steps;
    KValue *length = kb_cast(b, lower_load(s->l, s->c->n, IN_LENGTHS, &s->sequence), DT_INDEX);
    return kb_binary(b, KOP_MAX, kb_binary(b, KOP_MIN, length, steps), kb_int(b, DT_INDEX, 0));
}

static void lower_sequence(Step *s, void (*step)(const Step *)) {
    Lower *l = s->l;
    KBuilder *b = &l->b;
    begin_state(s, s->h, IN_H);
    if (s->cell)
        begin_state(s, s->cell, IN_C);
    KValue *length = sequence_length(s);
    KInstr *loop = kb_for(b, KLOOP_SERIAL, "t", kb_int(b, DT_INDEX, 0), length, 1, 0, NULL);
    s->time = lower_iv(l, loop);
    if (s->direction == 1 || s->c->first_reversed) {
        KIndex last = kx_add_const(l->arena, kx_var(l->arena, length), -1);
        s->time = kx_sub(l->arena, last, s->time);
        if (!kx_is_const(last, NULL)) /* its bounds are not seen otherwise */
            s->time = kx_var(l->arena, kb_binary(b, KOP_MAX, kx_value(b, s->time), kb_int(b, DT_INDEX, 0)));
    }
    step(s);
    advance(s);
    kb_end_for(b, loop, NULL);
    if (has(s->c->n, IN_LENGTHS))
        pad_sequence(s, length);
    end_state(s, s->h, OUT_H);
    if (s->cell)
        end_state(s, s->cell, OUT_C);
}

static void lower_cell(Lower *l, const Node *n, const CellKind *kind, void (*step)(const Step *)) {
    Cell c;
    read_cell(n, kind, &c);
    Step s = {.l = l, .c = &c};
    s.h = lower_scratch(l, c.t, c.hidden);
    s.next = lower_scratch(l, c.t, c.hidden);
    if (kind == &lstm)
        s.cell = lower_scratch(l, c.t, c.hidden);
    if (kind == &gru && !attr_int(n, "linear_before_reset", 0)) {
        s.update = lower_scratch(l, c.t, c.hidden);
        s.reset = lower_scratch(l, c.t, c.hidden);
    }
    if (kind == &lstm && attr_int(n, "quantise_state", 0) && c.t == DT_F32)
        s.rounded = lower_scratch(l, c.t, c.hidden);
    for (s.direction = 0; s.direction < c.directions; s.direction++) {
        /* The sequences share the state. */
        KInstr *loop = lower_for(l, KLOOP_SERIAL, "n", 0, c.batch, 0, NULL);
        s.sequence = lower_iv(l, loop);
        lower_sequence(&s, step);
        kb_end_for(&l->b, loop, NULL);
    }
}

LOWER(lower_rnn) { lower_cell(l, n, &rnn, rnn_step); }
LOWER(lower_gru) { lower_cell(l, n, &gru, gru_step); }
LOWER(lower_lstm) { lower_cell(l, n, &lstm, lstm_step); }
