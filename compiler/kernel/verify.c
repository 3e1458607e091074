/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of one kernel: scopes, types, memory, loops. */
#include "kernel/kernel.h"

#include <string.h>

#include "kernel/fold.h"
#include "kernel/rewrite.h"

enum { MAX_LANES = 4096 };

/* Which accumulator a value of a REDUCE loop continues, and by which operation. */
typedef struct Chain {
    int accumulator; /* 1 + index; 0: none */
    KOp op;          /* KOP_CONST: none yet */
} Chain;

typedef struct Check {
    const KKernel *kernel;
    const KFunc *func; /* whose body the kernel is, or NULL */
    Arena *temporary;
    const KValue **visible; /* by id: the value while it may be used */
    bool *met;              /* by id: defined somewhere already */
    bool certain;           /* all enclosing loops run and no IF encloses: what stands here is executed */
    const char *error;
} Check;

static bool fail(Check *c, const KInstr *i, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool fail(Check *c, const KInstr *i, const char *format, ...) {
    if (c->error)
        return false;
    Arena *a = c->kernel->module->arena;
    va_list ap;
    va_start(ap, format);
    const char *what = arena_vprintf(a, format, ap);
    va_end(ap);
    const char *at = "";
    if (i && i->nresults && i->result[0])
        at = arena_printf(a, "%%%d = %s: ", i->result[0]->id, kop_info[i->op].name);
    else if (i)
        at = arena_printf(a, "%s: ", kop_info[i->op].name);
    c->error = arena_printf(a, "kernel %s: %s%s", c->kernel->name, at, what);
    return false;
}

static bool same_type(KType x, KType y) { return x.dtype == y.dtype && x.lanes == y.lanes; }

/* --- values and scopes --- */

static bool define(Check *c, const KInstr *i, const KValue *v) {
    if (!v || v->id < 0 || v->id >= c->kernel->next_id)
        return fail(c, i, "a value without an id of the kernel");
    if (c->met[v->id])
        return fail(c, i, "%%%d is defined twice", v->id);
    DType t = v->type.dtype;
    int lanes = v->type.lanes;
    if (t == DT_NONE || t == DT_STRING || (int)t < 0 || t >= DT_COUNT)
        return fail(c, i, "%%%d has no type of a kernel", v->id);
    if (lanes < 1 || lanes > MAX_LANES || (lanes & (lanes - 1)))
        return fail(c, i, "%%%d has %d lanes", v->id, lanes);
    c->met[v->id] = true;
    c->visible[v->id] = v;
    return true;
}

static bool use(Check *c, const KInstr *i, const KValue *v) {
    if (!v || v->id < 0 || v->id >= c->kernel->next_id)
        return fail(c, i, "an argument that is no value of the kernel");
    if (c->visible[v->id] != v)
        return fail(c, i, "%%%d is used where its definition does not reach", v->id);
    return true;
}

static bool check_index(Check *c, const KInstr *i, KIndex x) {
    if (!x)
        return fail(c, i, "no index");
    for (int k = 0; k < x->n; k++) {
        const KValue *v = x->term[k].var;
        if (!use(c, i, v))
            return false;
        if (v->type.dtype != DT_INDEX || v->type.lanes != 1)
            return fail(c, i, "index variable %%%d is no scalar index", v->id);
        if (!x->term[k].coef)
            return fail(c, i, "index variable %%%d has coefficient 0", v->id);
        if (k && x->term[k - 1].var->id >= v->id)
            return fail(c, i, "index terms are not in the order of their ids");
    }
    return true;
}

/* --- memory --- */

/* True when the least and the most of the index's range occur in the run, as far as variables tell: they are variables
 * of loops with constant bounds, or clamped. Other variables may be tied to each other (a quotient and its remainder),
 * and then the range may be wider than the truth. */
static bool range_is_tight(KIndex x) {
    for (int k = 0; k < x->n; k++) {
        const KValue *v = x->term[k].var;
        int64_t lo, hi;
        if (v->def) {
            if (v->def->op != KOP_MIN && v->def->op != KOP_MAX)
                return false;
        } else if (!v->block->parent || v->index || !kloop_bounds(v->block->parent, &lo, &hi, NULL)) {
            return false;
        }
    }
    return true;
}

static bool check_bounds(Check *c, const KInstr *i, int lanes) {
    int64_t lo, hi, reach;
    if (!c->certain || !range_is_tight(i->mem.at) || !kx_range(i->mem.at, &lo, &hi))
        return true;
    if (__builtin_mul_overflow(i->mem.lane_stride, (int64_t)(lanes - 1), &reach) ||
        __builtin_add_overflow(reach < 0 ? lo : hi, reach, reach < 0 ? &lo : &hi))
        return fail(c, i, "lane stride %lld overflows", (long long)i->mem.lane_stride);
    if (lo < 0 || hi >= i->mem.param->count)
        return fail(c, i, "elements %lld to %lld of %s, which has %lld", (long long)lo, (long long)hi,
                    i->mem.param->name, (long long)i->mem.param->count);
    return true;
}

static bool check_memory(Check *c, const KInstr *i) {
    const KParam *p = i->mem.param;
    const KValue *x = i->op == KOP_LOAD ? i->result[0] : i->arg[0];
    if (!p || p->index < 0 || p->index >= c->kernel->params.len || c->kernel->params.data[p->index] != p)
        return fail(c, i, "no parameter of the kernel");
    if (x->type.dtype != p->dtype)
        return fail(c, i, "%s elements of %s, which holds %s", dtype_name(x->type.dtype), p->name, dtype_name(p->dtype));
    if (i->op == KOP_STORE && !p->written)
        return fail(c, i, "%s is not marked as written", p->name);
    if (i->op == KOP_STORE && x->type.lanes > 1 && !i->mem.lane_stride)
        return fail(c, i, "all lanes go to one element of %s", p->name);
    return check_index(c, i, i->mem.at) && check_bounds(c, i, x->type.lanes);
}

/* --- types --- */

static bool check_const(Check *c, const KInstr *i) {
    DType t = i->result[0]->type.dtype;
    if (dtype_is_float(t)) {
        double x = i->imm.f;
        if (x == x && kernel_round_to(t, x) != x)
            return fail(c, i, "%a is no %s", x, dtype_name(t));
    } else if (kernel_wrap(t, i->imm.i) != i->imm.i) {
        return fail(c, i, "%lld is no %s", (long long)i->imm.i, dtype_name(t));
    }
    return true;
}

static bool arguments_equal(const KInstr *i, int from) {
    for (int k = from + 1; k < i->nargs; k++)
        if (!same_type(i->arg[k]->type, i->arg[from]->type))
            return false;
    return true;
}

static bool operand_type_ok(KOp op, DType t) {
    bool number = (dtype_is_float(t) && !dtype_is_half(t)) || dtype_is_integer(t);
    switch (op) {
    case KOP_SQRT:
        return t == DT_F32 || t == DT_F64;
    case KOP_REM:
    case KOP_SHL:
    case KOP_SHR:
        return dtype_is_integer(t);
    case KOP_AND:
    case KOP_OR:
    case KOP_XOR:
    case KOP_NOT:
        return dtype_is_integer(t) || t == DT_BOOL;
    case KOP_EQ:
    case KOP_NE:
    case KOP_LT:
    case KOP_LE:
    case KOP_GT:
    case KOP_GE:
    case KOP_MIN:
    case KOP_MAX:
        return number || t == DT_BOOL;
    default:
        return number;
    }
}

static bool check_arithmetic(Check *c, const KInstr *i) {
    const KValue *r = i->result[0];
    KType t = i->arg[0]->type;
    bool comparison = i->op >= KOP_EQ && i->op <= KOP_GE;
    if (!arguments_equal(i, 0))
        return fail(c, i, "arguments of different types");
    if (!operand_type_ok(i->op, t.dtype))
        return fail(c, i, "not an operation on %s", dtype_name(t.dtype));
    if (r->type.lanes != t.lanes || r->type.dtype != (comparison ? DT_BOOL : t.dtype))
        return fail(c, i, "the result's type is %sx%d", dtype_name(r->type.dtype), r->type.lanes);
    return true;
}

static bool check_bitcast(Check *c, const KInstr *i) {
    KType from = i->arg[0]->type, to = i->result[0]->type;
    bool equal = from.dtype == to.dtype && from.lanes == to.lanes;
    if (!equal && (!dtype_bits(from.dtype) || dtype_bits(from.dtype) * from.lanes != dtype_bits(to.dtype) * to.lanes))
        return fail(c, i, "from %d to %d bits", dtype_bits(from.dtype) * from.lanes, dtype_bits(to.dtype) * to.lanes);
    return true;
}

static bool check_vector(Check *c, const KInstr *i) {
    KType from = i->arg[0]->type, to = i->result[0]->type;
    switch (i->op) {
    case KOP_SPLAT:
        if (from.lanes != 1 || from.dtype != to.dtype)
            return fail(c, i, "a scalar of the result's type is needed");
        return true;
    case KOP_PACK:
        if (!arguments_equal(i, 0) || from.dtype != to.dtype || from.lanes * i->nargs != to.lanes)
            return fail(c, i, "the lanes of the arguments are not those of the result");
        return true;
    case KOP_EXTRACT:
        if (from.dtype != to.dtype || i->imm.i < 0 || i->imm.i > from.lanes - to.lanes)
            return fail(c, i, "%d lanes from %lld of %d", to.lanes, (long long)i->imm.i, from.lanes);
        return true;
    case KOP_WORDS:
        if (!arguments_equal(i, 0) || (from.dtype != DT_I8 && from.dtype != DT_U8) || to.dtype != DT_I32 || i->imm.i < 0 ||
            i->imm.i > from.lanes - to.lanes)
            return fail(c, i, "%d words from byte %lld of %d", to.lanes, (long long)i->imm.i, from.lanes);
        return true;
    case KOP_RAMP:
        if (from.dtype != DT_INDEX || from.lanes != 1 || to.dtype != DT_INDEX)
            return fail(c, i, "ramps are of indices");
        return true;
    default: /* reductions */
        if (from.dtype != to.dtype || to.lanes != 1 || !operand_type_ok(KOP_ADD, from.dtype))
            return fail(c, i, "from %s x %d", dtype_name(from.dtype), from.lanes);
        return true;
    }
}

static bool check_call(Check *c, const KInstr *i) {
    const KFunc *f = i->func;
    const KModule *m = c->kernel->module;
    bool found = false;
    for (int k = 0; k < m->funcs.len && !found && m->funcs.data[k] != c->func; k++)
        found = m->funcs.data[k] == f;
    if (!found)
        return fail(c, i, "no function of the module that stands earlier");
    if (i->nargs != f->nargs || f->body->body->nargs != f->nargs)
        return fail(c, i, "%d arguments for %s, which has %d", i->nargs, f->name, f->nargs);
    for (int k = 0; k < f->nargs; k++)
        if (!same_type(i->arg[k]->type, f->body->body->arg[k]->type))
            return fail(c, i, "argument %d of %s has another type", k, f->name);
    return same_type(i->result[0]->type, f->result) || fail(c, i, "the result of %s has another type", f->name);
}

/* --- loops --- */

static bool adds_products(KOp op) {
    return op == KOP_FMA || op == KOP_DOT || op == KOP_DOT_S8 || op == KOP_DOT_LONG || op == KOP_DOT_SUM || op == KOP_MATMUL_2X2;
}

static bool accumulates(KOp op) { return adds_products(op) || op == KOP_ADD || op == KOP_MUL || op == KOP_MIN || op == KOP_MAX; }

static bool trace_block(Check *c, Chain *chain, const KInstr *loop, const KBlock *b);

static bool untouched(Check *c, const Chain *chain, const KInstr *i, const KValue *v) {
    return !chain[v->id].accumulator ||
           fail(c, i, "%%%d, an accumulator of a reduction loop, is used for something else", v->id);
}

static bool trace_pass(Check *c, Chain *chain, const KInstr *i, const KValue *from, const KValue *to) {
    Chain x = chain[from->id], *y = &chain[to->id];
    if (!x.accumulator)
        return true;
    if (y->accumulator && y->accumulator != x.accumulator)
        return fail(c, i, "two accumulators of a reduction loop meet");
    KOp op = y->op != KOP_CONST ? y->op : x.op;
    if (x.op != KOP_CONST && x.op != op)
        return fail(c, i, "an accumulator of a reduction loop is combined in two ways");
    *y = (Chain){x.accumulator, op};
    return true;
}

static bool trace_accumulate(Check *c, Chain *chain, const KInstr *i) {
    bool product = adds_products(i->op);
    KOp op = product ? KOP_ADD : i->op;
    int n = 0;
    Chain from = {0};
    for (int k = 0; k < i->nargs; k++) {
        Chain x = chain[i->arg[k]->id];
        if (!x.accumulator)
            continue;
        if (product && k < 2)
            return untouched(c, chain, i, i->arg[k]);
        from = x;
        n++;
    }
    if (!n)
        return true;
    if (n > 1)
        return fail(c, i, "two values of accumulators are combined");
    if (from.op != KOP_CONST && from.op != op)
        return fail(c, i, "an accumulator of a reduction loop is combined in two ways");
    chain[i->result[0]->id] = (Chain){from.accumulator, op};
    return true;
}

static bool trace_for(Check *c, Chain *chain, const KInstr *loop, const KInstr *i) {
    if (!untouched(c, chain, i, i->arg[0]) || !untouched(c, chain, i, i->arg[1]))
        return false;
    for (int k = 0; k < i->nresults; k++)
        if (!trace_pass(c, chain, i, i->arg[2 + k], kb_carried(i, k)))
            return false;
    if (!trace_block(c, chain, loop, i->block[0]))
        return false;
    const KInstr *yield = i->block[0]->last;
    for (int k = 0; k < i->nresults; k++) {
        if (chain[yield->arg[k]->id].accumulator != chain[kb_carried(i, k)->id].accumulator)
            return fail(c, i, "an accumulator changes its place");
        if (!trace_pass(c, chain, i, yield->arg[k], i->result[k]))
            return false;
    }
    return true;
}

static bool trace_if(Check *c, Chain *chain, const KInstr *loop, const KInstr *i) {
    if (!untouched(c, chain, i, i->arg[0]))
        return false;
    for (int n = 0; n < 2; n++) {
        if (!trace_block(c, chain, loop, i->block[n]))
            return false;
        for (int k = 0; k < i->nresults; k++)
            if (!trace_pass(c, chain, i, i->block[n]->last->arg[k], i->result[k]))
                return false;
    }
    return true;
}

static bool trace_block(Check *c, Chain *chain, const KInstr *loop, const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next) {
        bool ok = true;
        if (i->op == KOP_YIELD)
            continue; /* its block's owner looks at it */
        if (i->op == KOP_FOR) {
            ok = trace_for(c, chain, loop, i);
        } else if (i->op == KOP_IF) {
            ok = trace_if(c, chain, loop, i);
        } else if (accumulates(i->op)) {
            ok = trace_accumulate(c, chain, i);
        } else if (i->op == KOP_SELECT) {
            ok = untouched(c, chain, i, i->arg[0]) && trace_pass(c, chain, i, i->arg[1], i->result[0]) &&
                 trace_pass(c, chain, i, i->arg[2], i->result[0]);
        } else {
            for (int k = 0; k < i->nargs && ok; k++)
                ok = untouched(c, chain, i, i->arg[k]);
            for (int k = 0; i->mem.at && k < i->mem.at->n && ok; k++)
                ok = untouched(c, chain, i, i->mem.at->term[k].var);
        }
        if (!ok)
            return false;
    }
    return true;
}

/* Every use of an accumulator, from its value at the iteration's start on, only adds to it (or multiplies …), in one
 * way, and ends in its own place of the YIELD. */
static bool check_reduction(Check *c, const KInstr *loop) {
    Chain *chain = ARENA_ARRAY(c->temporary, Chain, c->kernel->next_id);
    for (int k = 0; k < loop->nresults; k++)
        chain[kb_carried(loop, k)->id] = (Chain){k + 1, KOP_CONST};
    if (!trace_block(c, chain, loop, loop->block[0]))
        return false;
    for (int k = 0; k < loop->nresults; k++)
        if (chain[loop->block[0]->last->arg[k]->id].accumulator != k + 1)
            return fail(c, loop, "carried value %d of a reduction loop does not continue its accumulator", k);
    return true;
}

static bool check_block(Check *c, const KBlock *b, const KInstr *owner, int nresults, const KType *types);

static bool check_nested(Check *c, const KInstr *i, const KBlock *b) {
    KType *types = ARENA_ARRAY(c->temporary, KType, i->nresults);
    for (int k = 0; k < i->nresults; k++)
        types[k] = i->result[k]->type;
    return check_block(c, b, i, i->nresults, types);
}

static bool check_for(Check *c, const KInstr *i) {
    const KBlock *b = i->block[0];
    if (i->nargs != i->nresults + 2 || !b || i->block[1] || b->nargs != i->nresults + 1)
        return fail(c, i, "the counts of arguments, carried values and results differ");
    if (i->step <= 0)
        return fail(c, i, "step %lld", (long long)i->step);
    KType index = {DT_INDEX, 1};
    if (!same_type(i->arg[0]->type, index) || !same_type(i->arg[1]->type, index) || !same_type(b->arg[0]->type, index))
        return fail(c, i, "the bounds are no indices");
    for (int k = 0; k < i->nresults; k++)
        if (!same_type(i->arg[2 + k]->type, b->arg[1 + k]->type) || !same_type(i->arg[2 + k]->type, i->result[k]->type))
            return fail(c, i, "carried value %d changes its type", k);
    if ((int)i->loop < 0 || i->loop > KLOOP_REDUCE)
        return fail(c, i, "a loop of no kind");
    if (i->loop == KLOOP_PARALLEL && i->nresults)
        return fail(c, i, "a parallel loop carries values");
    int64_t lo, hi;
    bool certain = c->certain;
    c->certain = certain && kloop_bounds(i, &lo, &hi, NULL) && lo < hi;
    bool ok = check_nested(c, i, b);
    c->certain = certain;
    return ok && (i->loop != KLOOP_REDUCE || check_reduction(c, i));
}

static bool check_if(Check *c, const KInstr *i) {
    if (!i->block[0] || !i->block[1] || i->block[0]->nargs || i->block[1]->nargs)
        return fail(c, i, "two blocks without arguments are needed");
    if (!same_type(i->arg[0]->type, (KType){DT_BOOL, 1}))
        return fail(c, i, "the condition is no scalar bool");
    bool certain = c->certain;
    c->certain = false;
    bool ok = check_nested(c, i, i->block[0]) && check_nested(c, i, i->block[1]);
    c->certain = certain;
    return ok;
}

/* --- instructions and blocks --- */

static bool check_counts(Check *c, const KInstr *i) {
    if ((int)i->op < 0 || i->op >= KOP_COUNT)
        return fail(c, NULL, "an instruction of no kind");
    const KOpInfo *info = &kop_info[i->op];
    if ((info->args >= 0 && i->nargs != info->args) || (i->op == KOP_PACK && i->nargs < 1) ||
        (i->op == KOP_WORDS && (i->nargs < 1 || i->nargs > 4)) ||
        (i->op == KOP_SATURATE && i->nargs != 1 && i->nargs != 2 && i->nargs != 4) ||
        (i->op == KOP_FOR && i->nargs < 2))
        return fail(c, i, "%d arguments", i->nargs);
    if (info->results >= 0 && i->nresults != info->results)
        return fail(c, i, "%d results", i->nresults);
    if (!(info->flags & K_BLOCKS) && (i->block[0] || i->block[1]))
        return fail(c, i, "nested blocks");
    return true;
}

static bool check_kind(Check *c, const KInstr *i) {
    switch (i->op) {
    case KOP_CONST:
        return check_const(c, i);
    case KOP_AFFINE:
        if (!same_type(i->result[0]->type, (KType){DT_INDEX, 1}))
            return fail(c, i, "the result is no scalar index");
        return check_index(c, i, i->mem.at);
    case KOP_DOT:
    case KOP_DOT_S8:
        if (i->result[0]->type.dtype != DT_I32 || !arguments_equal(i, 0) || !same_type(i->result[0]->type, i->arg[0]->type))
            return fail(c, i, "the types differ");
        return true;
    case KOP_DOT_SUM:
        if (!same_type(i->result[0]->type, (KType){DT_I32, 1}) || !same_type(i->arg[2]->type, (KType){DT_I32, 1}) ||
            i->arg[0]->type.dtype != DT_I8 || !same_type(i->arg[0]->type, i->arg[1]->type))
            return fail(c, i, "the types differ");
        return true;
    case KOP_DOT_LONG:
        if (i->result[0]->type.dtype != DT_I32 || !same_type(i->arg[2]->type, i->result[0]->type) || i->arg[0]->type.dtype != DT_I64 ||
            i->arg[0]->type.lanes != i->result[0]->type.lanes || !same_type(i->arg[0]->type, i->arg[1]->type))
            return fail(c, i, "the types differ");
        return true;
    case KOP_MATMUL_2X2:
        if (!same_type(i->result[0]->type, (KType){DT_I32, 4}) || !same_type(i->arg[2]->type, (KType){DT_I32, 4}) ||
            !same_type(i->arg[0]->type, (KType){DT_I8, 16}) || !same_type(i->arg[1]->type, (KType){DT_I8, 16}))
            return fail(c, i, "the types differ");
        return true;
    case KOP_SELECT:
        if (i->arg[0]->type.dtype != DT_BOOL || i->arg[0]->type.lanes != i->arg[1]->type.lanes ||
            !arguments_equal(i, 1) || !same_type(i->result[0]->type, i->arg[1]->type))
            return fail(c, i, "the types differ");
        return true;
    case KOP_CAST:
        return i->arg[0]->type.lanes == i->result[0]->type.lanes || fail(c, i, "the lanes differ");
    case KOP_NEAREST:
        if (i->arg[0]->type.dtype != DT_F32 || !same_type(i->result[0]->type, (KType){DT_I32, i->arg[0]->type.lanes}))
            return fail(c, i, "from F32 to I32 only");
        return true;
    case KOP_NIBBLE:
        if (i->arg[0]->type.dtype != DT_I32 || !same_type(i->result[0]->type, (KType){DT_F32, i->arg[0]->type.lanes}))
            return fail(c, i, "from I32 to F32 only");
        return true;
    case KOP_SATURATE:
        if (!arguments_equal(i, 0) || i->arg[0]->type.dtype != DT_I32 || i->result[0]->type.lanes != i->nargs * i->arg[0]->type.lanes ||
            (i->result[0]->type.dtype != DT_I8 && i->result[0]->type.dtype != DT_U8))
            return fail(c, i, "from I32 to I8 or U8 only");
        return true;
    case KOP_BITCAST:
        return check_bitcast(c, i);
    case KOP_RAMP:
    case KOP_SPLAT:
    case KOP_PACK:
    case KOP_EXTRACT:
    case KOP_WORDS:
    case KOP_REDUCE_ADD:
    case KOP_REDUCE_MUL:
    case KOP_REDUCE_MIN:
    case KOP_REDUCE_MAX:
        return check_vector(c, i);
    case KOP_LOAD:
    case KOP_STORE:
        return check_memory(c, i);
    case KOP_FOR:
        return check_for(c, i);
    case KOP_IF:
        return check_if(c, i);
    case KOP_CALL:
        return check_call(c, i);
    case KOP_YIELD:
        return true;
    default:
        return check_arithmetic(c, i);
    }
}

static bool check_instr(Check *c, const KInstr *i) {
    if (!check_counts(c, i))
        return false;
    for (int k = 0; k < i->nargs; k++)
        if (!use(c, i, i->arg[k]))
            return false;
    for (int r = 0; r < i->nresults; r++) {
        if (!i->result[r] || i->result[r]->def != i || i->result[r]->index != r)
            return fail(c, i, "result %d does not know its instruction", r);
        if (i->result[r]->id >= 0 && i->result[r]->id < c->kernel->next_id && c->met[i->result[r]->id])
            return fail(c, i, "%%%d is defined twice", i->result[r]->id);
    }
    if (!check_kind(c, i))
        return false;
    for (int r = 0; r < i->nresults; r++)
        if (!define(c, i, i->result[r]))
            return false;
    return true;
}

static bool check_yield(Check *c, const KBlock *b, const KInstr *owner, int nresults, const KType *types) {
    const KInstr *y = b->last;
    if (!y || y->op != KOP_YIELD)
        return fail(c, owner, "a block does not end in yield");
    if (y->nargs != nresults)
        return fail(c, owner, "a block yields %d values, %d are needed", y->nargs, nresults);
    for (int k = 0; k < nresults; k++)
        if (!same_type(y->arg[k]->type, types[k]))
            return fail(c, owner, "yielded value %d has another type", k);
    return true;
}

/* What a block defines is out of sight after it. */
static void leave_block(Check *c, const KBlock *b) {
    for (int k = 0; k < b->nargs; k++)
        c->visible[b->arg[k]->id] = NULL;
    for (const KInstr *i = b->first; i; i = i->next)
        for (int r = 0; r < i->nresults; r++)
            c->visible[i->result[r]->id] = NULL;
}

static bool check_block(Check *c, const KBlock *b, const KInstr *owner, int nresults, const KType *types) {
    if (b->parent != owner)
        return fail(c, owner, "a block does not know its owner");
    for (int k = 0; k < b->nargs; k++) {
        if (!define(c, owner, b->arg[k]))
            return false;
        if (b->arg[k]->def || b->arg[k]->block != b || b->arg[k]->index != k)
            return fail(c, owner, "%%%d does not know its block", b->arg[k]->id);
    }
    const KInstr *before = NULL;
    for (const KInstr *i = b->first; i; before = i, i = i->next) {
        if (i->parent != b || i->prev != before)
            return fail(c, i, "the list of the block's instructions is broken");
        if (!check_instr(c, i))
            return false;
        if (i->next && kinstr_is(i, K_END))
            return fail(c, i, "stands before the block's end");
    }
    if (b->last != before)
        return fail(c, owner, "the list of a block's instructions is broken");
    if (!check_yield(c, b, owner, nresults, types))
        return false;
    leave_block(c, b);
    return true;
}

static bool check_params(Check *c) {
    const KKernel *k = c->kernel;
    for (int i = 0; i < k->body->nargs && !c->func; i++)
        if (k->body->arg[i]->type.dtype != DT_INDEX || k->body->arg[i]->type.lanes != 1)
            return fail(c, NULL, "argument %d of the kernel is no index", i);
    for (int i = 0; i < k->params.len; i++) {
        const KParam *p = k->params.data[i];
        if (!p->name || !*p->name || p->index != i || p->count < 0 || dtype_size(p->dtype) < 1)
            return fail(c, NULL, "parameter %d is not sound", i);
        if (p->align < dtype_size(p->dtype) || (p->align & (p->align - 1)))
            return fail(c, NULL, "parameter %s has alignment %d", p->name, p->align);
        for (int j = 0; j < i; j++)
            if (!strcmp(k->params.data[j]->name, p->name))
                return fail(c, NULL, "two parameters are called %s", p->name);
    }
    return true;
}

const char *kernel_verify(const KKernel *k) {
    Check c = {.kernel = k, .temporary = arena_new(), .certain = true};
    c.visible = ARENA_ARRAY(c.temporary, const KValue *, k->next_id);
    c.met = ARENA_ARRAY(c.temporary, bool, k->next_id);
    for (int i = 0; i < k->module->funcs.len && !c.func; i++)
        if (k->module->funcs.data[i]->body == k)
            c.func = k->module->funcs.data[i];
    if (!k->body)
        fail(&c, NULL, "no body");
    else if (c.func && k->params.len)
        fail(&c, NULL, "a function has no buffers");
    else if (check_params(&c))
        check_block(&c, k->body, NULL, c.func != NULL, c.func ? &c.func->result : NULL);
    arena_free(c.temporary);
    return c.error;
}
