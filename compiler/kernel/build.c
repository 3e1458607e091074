/* SPDX-License-Identifier: Apache-2.0 */
/* Building kernels: raw construction, and builders that fold as they go. */
#include <assert.h>
#include <string.h>

#include "kernel/fold.h"
#include "kernel/kernel.h"

const KOpInfo kop_info[KOP_COUNT] = {
#define KOP(id, name, args, results, flags) [KOP_##id] = {name, args, results, flags},
#include "kernel/kops.def"
#undef KOP
};

KModule *kernel_module_new(Arena *a) {
    KModule *m = ARENA_NEW(a, KModule);
    m->arena = a;
    m->arena_align = 64;
    return m;
}

KBuffer *kernel_buffer(KModule *m, KBufferKind kind, const char *name, DType dtype, int64_t count) {
    KBuffer *b = ARENA_NEW(m->arena, KBuffer);
    b->kind = kind;
    b->index = m->buffers.len;
    b->name = name;
    b->dtype = dtype;
    b->count = count;
    VEC_PUSH(m->arena, &m->buffers, b);
    return b;
}

KKernel *kernel_new(KModule *m, const char *name) {
    KKernel *k = ARENA_NEW(m->arena, KKernel);
    k->module = m;
    k->name = name;
    k->body = kernel_block_new(k, NULL, 0, NULL);
    return k;
}

KParam *kernel_param(KKernel *k, const char *name, DType dtype, int64_t count, bool written) {
    KParam *p = ARENA_NEW(k->module->arena, KParam);
    p->name = name;
    p->dtype = dtype;
    p->count = count;
    p->index = k->params.len;
    p->written = written;
    p->align = dtype_size(dtype);
    VEC_PUSH(k->module->arena, &k->params, p);
    return p;
}

static KValue *new_value(KKernel *k, KType t) {
    KValue *v = ARENA_NEW(k->module->arena, KValue);
    v->id = k->next_id++;
    v->type = t;
    return v;
}

KBlock *kernel_block_new(KKernel *k, KInstr *parent, int nargs, const KType *types) {
    KBlock *block = ARENA_NEW(k->module->arena, KBlock);
    block->parent = parent;
    block->nargs = nargs;
    block->arg = ARENA_ARRAY(k->module->arena, KValue *, nargs);
    for (int i = 0; i < nargs; i++) {
        block->arg[i] = new_value(k, types[i]);
        block->arg[i]->block = block;
        block->arg[i]->index = i;
    }
    return block;
}

KValue *kernel_index(KKernel *k, const char *name) {
    KBlock *b = k->body;
    KValue **arg = ARENA_ARRAY(k->module->arena, KValue *, b->nargs + 1);
    for (int i = 0; i < b->nargs; i++)
        arg[i] = b->arg[i];
    KValue *v = arg[b->nargs] = new_value(k, (KType){DT_INDEX, 1});
    v->block = b;
    v->index = b->nargs++;
    v->name = name;
    b->arg = arg;
    return v;
}

KBuilder kb_at_end(KKernel *k, KBlock *block) { return (KBuilder){k, k->module, k->module->arena, block, NULL}; }

KBuilder kb_before(KKernel *k, KInstr *i) { return (KBuilder){k, k->module, k->module->arena, i->parent, i}; }

KInstr *kb_insert(KBuilder *b, KOp op, int nargs, KValue *const *arg, int nresults, const KType *types) {
    KInstr *i = ARENA_NEW(b->arena, KInstr);
    i->op = op;
    i->nargs = nargs;
    i->arg = ARENA_ARRAY(b->arena, KValue *, nargs);
    if (nargs)
        memcpy(i->arg, arg, (size_t)nargs * sizeof *arg);
    i->nresults = nresults;
    i->result = ARENA_ARRAY(b->arena, KValue *, nresults);
    for (int r = 0; r < nresults; r++) {
        i->result[r] = new_value(b->kernel, types[r]);
        i->result[r]->def = i;
        i->result[r]->index = r;
    }
    i->parent = b->block;
    i->next = b->before;
    i->prev = b->before ? b->before->prev : b->block->last;
    *(i->prev ? &i->prev->next : &b->block->first) = i;
    *(i->next ? &i->next->prev : &b->block->last) = i;
    return i;
}

void kernel_unlink(KInstr *i) {
    *(i->prev ? &i->prev->next : &i->parent->first) = i->next;
    *(i->next ? &i->next->prev : &i->parent->last) = i->prev;
    i->prev = i->next = NULL;
    i->parent = NULL;
}

static KValue *insert1(KBuilder *b, KOp op, int nargs, KValue *const *arg, KType t) {
    return kb_insert(b, op, nargs, arg, 1, &t)->result[0];
}

static KValue *constant(KBuilder *b, KType t, KConst c) {
    KValue *v = insert1(b, KOP_CONST, 0, NULL, t);
    if (dtype_is_float(t.dtype))
        v->def->imm.f = c.f;
    else
        v->def->imm.i = c.i;
    return v;
}

KValue *kb_int(KBuilder *b, DType t, int64_t x) {
    if (dtype_is_float(t))
        return kb_float(b, t, (double)x);
    return constant(b, (KType){t, 1}, (KConst){.i = kernel_wrap(t, x)});
}

KValue *kb_float(KBuilder *b, DType t, double x) {
    return constant(b, (KType){t, 1}, (KConst){.f = kernel_round_to(t, x)});
}

KValue *kb_const_like(KBuilder *b, KType t, double x) {
    KConst c = dtype_is_float(t.dtype) ? (KConst){.f = kernel_round_to(t.dtype, x)}
                                       : (KConst){.i = kernel_wrap(t.dtype, (int64_t)x)};
    return constant(b, t, c);
}

static bool is_const(const KValue *v, KConst *c) {
    if (!v->def || v->def->op != KOP_CONST)
        return false;
    if (dtype_is_float(v->type.dtype))
        c->f = v->def->imm.f;
    else
        c->i = v->def->imm.i;
    return true;
}

KValue *kb_unary(KBuilder *b, KOp op, KValue *x) {
    KConst c, r;
    if (is_const(x, &c) && kernel_fold_unary(op, x->type.dtype, c, &r))
        return constant(b, x->type, r);
    if (x->type.dtype == DT_INDEX && x->type.lanes == 1 && op == KOP_NEG)
        return kx_value(b, kx_scale(b->arena, kx_var(b->arena, x), -1));
    return insert1(b, op, 1, &x, x->type);
}

/* Index arithmetic stays affine where it can. */
static KValue *index_binary(KBuilder *b, KOp op, KValue *x, KValue *y) {
    KIndex p = kx_var(b->arena, x), q = kx_var(b->arena, y);
    int64_t c;
    if (op == KOP_ADD)
        return kx_value(b, kx_add(b->arena, p, q));
    if (op == KOP_SUB)
        return kx_value(b, kx_sub(b->arena, p, q));
    if (op == KOP_MUL && kx_is_const(q, &c))
        return kx_value(b, kx_scale(b->arena, p, c));
    if (op == KOP_MUL && kx_is_const(p, &c))
        return kx_value(b, kx_scale(b->arena, q, c));
    int64_t l0, h0, l1, h1;
    if (kx_range(p, &l0, &h0) && kx_range(q, &l1, &h1)) {
        bool yes = false, no = false;
        switch (op) {
        case KOP_MIN:
            if (h0 <= l1 || h1 <= l0)
                return h0 <= l1 ? x : y;
            break;
        case KOP_MAX:
            if (l0 >= h1 || l1 >= h0)
                return l0 >= h1 ? x : y;
            break;
        case KOP_LT: yes = h0 < l1, no = l0 >= h1; break;
        case KOP_LE: yes = h0 <= l1, no = l0 > h1; break;
        case KOP_GT: yes = l0 > h1, no = h0 <= l1; break;
        case KOP_GE: yes = l0 >= h1, no = h0 < l1; break;
        case KOP_EQ: yes = l0 == h0 && l1 == h1 && l0 == l1, no = h0 < l1 || l0 > h1; break;
        case KOP_NE: no = l0 == h0 && l1 == h1 && l0 == l1, yes = h0 < l1 || l0 > h1; break;
        default: break;
        }
        if (yes || no)
            return kb_int(b, DT_BOOL, yes);
    }
    return NULL;
}

/* The least and largest number of an integer type. */
static KValue *bounded(KOp op, DType t, int64_t c, KValue *other, KValue *k) {
    int bits = dtype_bits(t);
    if (!dtype_is_integer(t) || bits < 8 || bits > 32)
        return NULL;
    int64_t least = dtype_is_signed(t) ? -((int64_t)1 << (bits - 1)) : 0, most = least + ((int64_t)1 << bits) - 1;
    return c == (op == KOP_MAX ? least : most) ? other : c == (op == KOP_MAX ? most : least) ? k : NULL;
}

/* x op c and c op x with a neutral or absorbing integer or float constant. */
static KValue *identity(KOp op, KValue *x, KValue *y) {
    KConst c;
    bool right = is_const(y, &c);
    if (!right && !is_const(x, &c))
        return NULL;
    KValue *other = right ? x : y, *k = right ? y : x;
    bool f = dtype_is_float(x->type.dtype), zero = f ? c.f == 0 : c.i == 0, one = f ? c.f == 1 : c.i == 1;
    switch (op) {
    case KOP_ADD: /* x + -0.0 is x; x + 0.0 turns -0.0 into 0.0, so it stays */
        return zero && (!f || __builtin_signbit(c.f)) ? other : NULL;
    case KOP_SUB:
        return zero && right && (!f || !__builtin_signbit(c.f)) ? other : NULL;
    case KOP_MUL:
        return one ? other : zero && !f ? k : NULL;
    case KOP_DIV:
        return one && right ? other : NULL;
    case KOP_AND:
        return zero ? k : x->type.dtype == DT_BOOL ? other : NULL;
    case KOP_OR:
        return zero ? other : x->type.dtype == DT_BOOL ? k : NULL;
    case KOP_XOR:
        return zero ? other : NULL;
    case KOP_SHL:
    case KOP_SHR:
        return zero && right ? other : NULL;
    case KOP_MIN:
    case KOP_MAX:
        return bounded(op, x->type.dtype, c.i, other, k);
    default:
        return NULL;
    }
}

KValue *kb_binary(KBuilder *b, KOp op, KValue *x, KValue *y) {
    assert(x->type.dtype == y->type.dtype && x->type.lanes == y->type.lanes);
    KType t = {kop_compares(op) ? DT_BOOL : x->type.dtype, x->type.lanes};
    KConst c, d, r;
    if (is_const(x, &c) && is_const(y, &d) && kernel_fold_binary(op, x->type.dtype, c, d, &r))
        return constant(b, t, r);
    KValue *same = identity(op, x, y);
    if (same)
        return same;
    if (x->type.dtype == DT_INDEX && x->type.lanes == 1) {
        KValue *v = index_binary(b, op, x, y);
        if (v)
            return v;
    }
    return insert1(b, op, 2, (KValue *[]){x, y}, t);
}

KValue *kb_fma(KBuilder *b, KValue *x, KValue *y, KValue *z) {
    assert(x->type.dtype == y->type.dtype && x->type.dtype == z->type.dtype);
    assert(x->type.lanes == y->type.lanes && x->type.lanes == z->type.lanes);
    KConst c;
    if (z->type.dtype == DT_INDEX || (!dtype_is_float(z->type.dtype) && is_const(z, &c) && c.i == 0))
        return kb_binary(b, KOP_ADD, kb_binary(b, KOP_MUL, x, y), z);
    return insert1(b, KOP_FMA, 3, (KValue *[]){x, y, z}, x->type);
}

KValue *kb_dot(KBuilder *b, KOp op, KValue *x, KValue *y, KValue *z) {
    assert((op == KOP_DOT || op == KOP_DOT_S8 || op == KOP_DOT_LONG || op == KOP_DOT_SUM || op == KOP_MATMUL_2X2) &&
           z->type.dtype == DT_I32);
    return insert1(b, op, 3, (KValue *[]){x, y, z}, z->type);
}

KValue *kb_select(KBuilder *b, KValue *cond, KValue *x, KValue *y) {
    assert(cond->type.dtype == DT_BOOL && cond->type.lanes == x->type.lanes);
    assert(x->type.dtype == y->type.dtype && x->type.lanes == y->type.lanes);
    KConst c;
    if (is_const(cond, &c))
        return c.i ? x : y;
    if (x == y)
        return x;
    return insert1(b, KOP_SELECT, 3, (KValue *[]){cond, x, y}, x->type);
}

KValue *kb_cast(KBuilder *b, KValue *x, DType to) {
    KConst c, r;
    if (x->type.dtype == to)
        return x;
    KType t = {to, x->type.lanes};
    if (is_const(x, &c) && kernel_fold_cast(x->type.dtype, to, c, &r))
        return constant(b, t, r);
    return insert1(b, KOP_CAST, 1, &x, t);
}

KValue *kb_bitcast(KBuilder *b, KValue *x, DType to) {
    int bits = dtype_bits(x->type.dtype) * x->type.lanes;
    assert(bits % dtype_bits(to) == 0);
    return x->type.dtype == to ? x : insert1(b, KOP_BITCAST, 1, &x, (KType){to, bits / dtype_bits(to)});
}

KValue *kb_nearest(KBuilder *b, KValue *x) {
    assert(x->type.dtype == DT_F32);
    return insert1(b, KOP_NEAREST, 1, &x, (KType){DT_I32, x->type.lanes});
}

KValue *kb_nibble(KBuilder *b, KValue *x) {
    assert(x->type.dtype == DT_I32);
    return insert1(b, KOP_NIBBLE, 1, &x, (KType){DT_F32, x->type.lanes});
}

KValue *kb_saturate(KBuilder *b, int n, KValue *const *x, DType to) {
    assert((n == 1 || n == 2 || n == 4) && x[0]->type.dtype == DT_I32 && (to == DT_I8 || to == DT_U8));
    return insert1(b, KOP_SATURATE, n, x, (KType){to, n * x[0]->type.lanes});
}

KValue *kb_splat(KBuilder *b, KValue *x, int lanes) {
    assert(x->type.lanes == 1);
    KConst c;
    KType t = {x->type.dtype, lanes};
    if (lanes == 1)
        return x;
    return is_const(x, &c) ? constant(b, t, c) : insert1(b, KOP_SPLAT, 1, &x, t);
}

KValue *kb_pack(KBuilder *b, int n, KValue *const *x) {
    if (n == 1)
        return x[0];
    bool equal = x[0]->type.lanes == 1;
    for (int i = 1; i < n && equal; i++)
        equal = x[i] == x[0];
    if (equal)
        return kb_splat(b, x[0], n);
    return insert1(b, KOP_PACK, n, x, (KType){x[0]->type.dtype, n * x[0]->type.lanes});
}

KValue *kb_extract(KBuilder *b, KValue *x, int first, int lanes) {
    assert(first >= 0 && first + lanes <= x->type.lanes);
    if (lanes == x->type.lanes)
        return x;
    if (x->def && x->def->op == KOP_SPLAT)
        return kb_splat(b, x->def->arg[0], lanes);
    KType t = {x->type.dtype, lanes};
    KConst c;
    if (is_const(x, &c))
        return constant(b, t, c);
    KValue *v = insert1(b, KOP_EXTRACT, 1, &x, t);
    v->def->imm.i = first;
    return v;
}

KValue *kb_words(KBuilder *b, int n, KValue *const *x, int first, int lanes) {
    assert(n >= 1 && n <= 4 && dtype_bits(x[0]->type.dtype) == 8 && first >= 0 && first + lanes <= x[0]->type.lanes);
    KValue *v = insert1(b, KOP_WORDS, n, x, (KType){DT_I32, lanes});
    v->def->imm.i = first;
    return v;
}

KValue *kb_reduce(KBuilder *b, KOp op, KValue *x) {
    return x->type.lanes == 1 ? x : insert1(b, op, 1, &x, (KType){x->type.dtype, 1});
}

KValue *kb_ramp(KBuilder *b, KValue *base, int lanes, int64_t step) {
    if (lanes == 1)
        return base;
    KValue *v = insert1(b, KOP_RAMP, 1, &base, (KType){DT_INDEX, lanes});
    v->def->imm.i = step;
    return v;
}

KValue *kb_load_vector(KBuilder *b, KParam *p, KIndex at, int lanes, int64_t lane_stride) {
    KValue *v = insert1(b, KOP_LOAD, 0, NULL, (KType){p->dtype, lanes});
    v->def->mem = (KMem){p, at, lane_stride};
    return v;
}

KValue *kb_load(KBuilder *b, KParam *p, KIndex at) { return kb_load_vector(b, p, at, 1, 1); }

void kb_store_vector(KBuilder *b, KParam *p, KIndex at, KValue *x, int64_t lane_stride) {
    assert(x->type.dtype == p->dtype && p->written);
    KInstr *i = kb_insert(b, KOP_STORE, 1, &x, 0, NULL);
    i->mem = (KMem){p, at, lane_stride};
}

void kb_store(KBuilder *b, KParam *p, KIndex at, KValue *x) { kb_store_vector(b, p, at, x, 1); }

KValue *kb_call(KBuilder *b, KFunc *f, int nargs, KValue *const *arg) {
    assert(nargs == f->nargs);
    KValue *v = insert1(b, KOP_CALL, nargs, arg, f->result);
    v->def->func = f;
    return v;
}

KInstr *kb_for(KBuilder *b, KLoopKind kind, const char *name, KValue *lo, KValue *hi, int64_t step, int ncarried,
               KValue *const *init) {
    assert(step > 0 && lo->type.dtype == DT_INDEX && hi->type.dtype == DT_INDEX);
    KValue **arg = ARENA_ARRAY(b->arena, KValue *, ncarried + 2);
    KType *types = ARENA_ARRAY(b->arena, KType, ncarried + 1);
    arg[0] = lo;
    arg[1] = hi;
    types[0] = (KType){DT_INDEX, 1};
    for (int i = 0; i < ncarried; i++) {
        arg[2 + i] = init[i];
        types[1 + i] = init[i]->type;
    }
    KInstr *loop = kb_insert(b, KOP_FOR, ncarried + 2, arg, ncarried, types + 1);
    loop->step = step;
    loop->loop = kind;
    loop->block[0] = kernel_block_new(b->kernel, loop, ncarried + 1, types);
    kb_iv(loop)->name = name;
    b->block = loop->block[0];
    b->before = NULL;
    return loop;
}

void kb_yield(KBuilder *b, int n, KValue *const *x) { kb_insert(b, KOP_YIELD, n, x, 0, NULL); }

static void leave(KBuilder *b, KInstr *i) {
    b->block = i->parent;
    b->before = i->next;
}

void kb_end_for(KBuilder *b, KInstr *loop, KValue *const *next) {
    kb_yield(b, loop->nresults, next);
    leave(b, loop);
}

KInstr *kb_if(KBuilder *b, KValue *cond, int nresults) {
    assert(cond->type.dtype == DT_BOOL && cond->type.lanes == 1);
    /* The results' types are known when the first block ends. */
    KType *types = ARENA_ARRAY(b->arena, KType, nresults);
    KInstr *i = kb_insert(b, KOP_IF, 1, &cond, nresults, types);
    i->block[0] = kernel_block_new(b->kernel, i, 0, NULL);
    i->block[1] = kernel_block_new(b->kernel, i, 0, NULL);
    b->block = i->block[0];
    b->before = NULL;
    return i;
}

void kb_else(KBuilder *b, KInstr *branch, KValue *const *results) {
    kb_yield(b, branch->nresults, results);
    for (int r = 0; r < branch->nresults; r++)
        branch->result[r]->type = results[r]->type;
    b->block = branch->block[1];
    b->before = NULL;
}

void kb_end_if(KBuilder *b, KInstr *branch, KValue *const *results) {
    if (b->block == branch->block[0]) {
        kb_else(b, branch, results);
        assert(branch->nresults == 0);
    }
    for (int r = 0; r < branch->nresults; r++)
        assert(branch->result[r]->type.dtype == results[r]->type.dtype);
    kb_yield(b, branch->nresults, results);
    leave(b, branch);
}
