/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels and functions of values as LLVM functions: addresses, memory, control flow. */
#include <assert.h>
#include <llvm-c/DebugInfo.h>
#include <string.h>

#include "backend/llvm/llvm.h"

/* The function in the making. */
typedef struct Body {
    Unit *u;
    LLVMValueRef function;
    LLVMValueRef *value; /* by value id */
    unsigned *align;     /* by parameter: bytes that its pointer is aligned to */
} Body;

const char *unit_name(const Unit *u, const char *name) { return arena_printf(u->arena, "%s_%s", u->prefix, name); }

static void add_attribute(const Unit *u, LLVMValueRef function, unsigned place, const char *name, uint64_t value) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    if (kind) /* some come and go with LLVM's versions */
        LLVMAddAttributeAtIndex(function, place, LLVMCreateEnumAttribute(u->context, kind, value));
}

static LLVMValueRef value_of(const Body *b, const KValue *v) {
    assert(b->value[v->id]);
    return b->value[v->id];
}

static LLVMBasicBlockRef new_block(const Body *b, const char *name) {
    return LLVMAppendBasicBlockInContext(b->u->context, b->function, name);
}

/* --- addresses --- */

static LLVMValueRef affine(const Body *b, KIndex x) {
    LLVMBuilderRef l = b->u->builder;
    LLVMTypeRef t = b->u->index;
    LLVMValueRef sum = NULL;
    for (int i = 0; i < x->n; i++) {
        LLVMValueRef v = value_of(b, x->term[i].var);
        if (x->term[i].coef != 1)
            v = LLVMBuildNSWMul(l, v, splat_int(t, (uint64_t)x->term[i].coef), "");
        sum = sum ? LLVMBuildNSWAdd(l, sum, v, "") : v;
    }
    if (!sum)
        return splat_int(t, (uint64_t)x->base);
    return x->base ? LLVMBuildNSWAdd(l, sum, splat_int(t, (uint64_t)x->base), "") : sum;
}

enum { MOST_ZEROS = 12 };

static int trailing_zeros(int64_t x) {
    int n = x ? __builtin_ctzll((unsigned long long)x) : MOST_ZEROS;
    return n < MOST_ZEROS ? n : MOST_ZEROS;
}

static int least(int x, int y) { return x < y ? x : y; }

static int affine_zeros(KIndex x);

/* How many low bits of an index are always 0. */
static int value_zeros(const KValue *v) {
    if (v->def && v->def->op == KOP_CONST)
        return trailing_zeros(v->def->imm.i);
    if (v->def && v->def->op == KOP_AFFINE)
        return affine_zeros(v->def->mem.at);
    const KInstr *loop = v->block ? v->block->parent : NULL;
    if (loop && loop->op == KOP_FOR && v->index == 0)
        return least(trailing_zeros(loop->step), value_zeros(loop->arg[0]));
    return 0;
}

static int affine_zeros(KIndex x) {
    int n = trailing_zeros(x->base);
    for (int i = 0; i < x->n && n; i++)
        n = least(n, trailing_zeros(x->term[i].coef) + value_zeros(x->term[i].var));
    return n;
}

/* --- memory --- */

static unsigned alignment(const Body *b, const KInstr *i, int lanes) {
    const KParam *p = i->mem.param;
    unsigned size = (unsigned)dtype_size(p->dtype), known = b->align[p->index];
    unsigned at = lanes == 1 ? size : size << affine_zeros(i->mem.at);
    return at < known ? at : known;
}

static LLVMValueRef address(const Body *b, const KInstr *i, int64_t lane) {
    const Unit *u = b->u;
    const KParam *p = i->mem.param;
    LLVMValueRef base = LLVMGetParam(b->function, (unsigned)p->index), at = affine(b, i->mem.at);
    if (lane)
        at = LLVMBuildNSWAdd(u->builder, at, splat_int(u->index, (uint64_t)(lane * i->mem.lane_stride)), "");
    return LLVMBuildInBoundsGEP2(u->builder, memory_type(u, (KType){p->dtype, 1}), base, &at, 1, "");
}

static LLVMValueRef load_at(const Body *b, const KInstr *i, int lanes, int64_t lane) {
    const Unit *u = b->u;
    KType t = {i->mem.param->dtype, lanes};
    LLVMValueRef v = LLVMBuildLoad2(u->builder, memory_type(u, t), address(b, i, lane), "");
    LLVMSetAlignment(v, alignment(b, i, lanes));
    if (t.dtype != DT_BOOL)
        return v;
    return LLVMBuildICmp(u->builder, LLVMIntNE, v, splat_int(memory_type(u, t), 0), "");
}

static LLVMValueRef load(const Body *b, const KInstr *i) {
    const Unit *u = b->u;
    KType t = i->result[0]->type;
    if (t.lanes == 1 || i->mem.lane_stride == 1)
        return load_at(b, i, t.lanes, 0);
    if (i->mem.lane_stride == 0)
        return build_splat(u, load_at(b, i, 1, 0), t.lanes);
    LLVMValueRef v = LLVMGetPoison(type_of(u, t));
    for (int k = 0; k < t.lanes; k++)
        v = LLVMBuildInsertElement(u->builder, v, load_at(b, i, 1, k), splat_int(type_int(u, 32, 1), (uint64_t)k), "");
    return v;
}

static void store_at(const Body *b, const KInstr *i, LLVMValueRef x, int lanes, int64_t lane) {
    const Unit *u = b->u;
    KType t = {i->mem.param->dtype, lanes};
    if (t.dtype == DT_BOOL)
        x = LLVMBuildZExt(u->builder, x, memory_type(u, t), "");
    LLVMSetAlignment(LLVMBuildStore(u->builder, x, address(b, i, lane)), alignment(b, i, lanes));
}

static void store(const Body *b, const KInstr *i) {
    const Unit *u = b->u;
    LLVMValueRef x = value_of(b, i->arg[0]);
    int lanes = i->arg[0]->type.lanes;
    if (lanes == 1 || i->mem.lane_stride == 1) {
        store_at(b, i, x, lanes, 0);
        return;
    }
    for (int k = 0; k < lanes; k++) {
        LLVMValueRef at = splat_int(type_int(u, 32, 1), (uint64_t)k);
        store_at(b, i, LLVMBuildExtractElement(u->builder, x, at, ""), 1, k);
    }
}

/* --- control --- */

static void block(Body *b, const KBlock *k);

static void join(LLVMValueRef phi, LLVMValueRef value, LLVMBasicBlockRef from) { LLVMAddIncoming(phi, &value, &from, 1); }

/* LLVM's own vectoriser keeps away where vectors are for dot products alone: what version 19 makes of gathers under
 * predicates on Cortex-M gave wrong sums. */
static void keep_scalar(const Unit *u, LLVMValueRef branch) {
    static const char name[] = "llvm.loop.vectorize.enable";
    if (u->target->vector_bits || !(u->target->dot & DOT_ALONG))
        return;
    LLVMContextRef c = u->context;
    LLVMMetadataRef off[] = {LLVMMDStringInContext2(c, name, strlen(name)),
                             LLVMValueAsMetadata(LLVMConstInt(LLVMInt1TypeInContext(c), 0, false))};
    LLVMMetadataRef self = LLVMTemporaryMDNode(c, NULL, 0), list[] = {self, LLVMMDNodeInContext2(c, off, 2)};
    LLVMMetadataRef node = LLVMMDNodeInContext2(c, list, 2);
    LLVMMetadataReplaceAllUsesWith(self, node);
    LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(c, "llvm.loop", strlen("llvm.loop")), LLVMMetadataAsValue(c, node));
}

/* A bottom-tested loop behind a guard, as LLVM's own passes want loops. */
static void loop(Body *b, const KInstr *i) {
    Unit *u = b->u;
    LLVMBuilderRef l = u->builder;
    const KBlock *body = i->block[0];
    LLVMValueRef lo = value_of(b, i->arg[0]), hi = value_of(b, i->arg[1]);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(l), head = new_block(b, "loop"), after = new_block(b, "done");
    LLVMBuildCondBr(l, LLVMBuildICmp(l, LLVMIntSLT, lo, hi, ""), head, after);
    LLVMPositionBuilderAtEnd(l, head);
    for (int k = 0; k < body->nargs; k++) {
        const KValue *v = body->arg[k];
        LLVMValueRef phi = LLVMBuildPhi(l, type_of(u, v->type), v->name ? v->name : "");
        join(phi, k ? value_of(b, i->arg[1 + k]) : lo, before);
        b->value[v->id] = phi;
    }
    block(b, body);
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(l);
    LLVMValueRef iv = value_of(b, body->arg[0]), next = LLVMBuildNSWAdd(l, iv, splat_int(u->index, (uint64_t)i->step), "");
    join(iv, next, latch);
    for (int k = 1; k < body->nargs; k++)
        join(value_of(b, body->arg[k]), value_of(b, body->last->arg[k - 1]), latch);
    keep_scalar(u, LLVMBuildCondBr(l, LLVMBuildICmp(l, LLVMIntSLT, next, hi, ""), head, after));
    LLVMMoveBasicBlockAfter(after, latch);
    LLVMPositionBuilderAtEnd(l, after);
    for (int k = 0; k < i->nresults; k++) {
        LLVMValueRef phi = LLVMBuildPhi(l, type_of(u, i->result[k]->type), "");
        join(phi, value_of(b, i->arg[2 + k]), before);
        join(phi, value_of(b, body->last->arg[k]), latch);
        b->value[i->result[k]->id] = phi;
    }
}

static void branch(Body *b, const KInstr *i) {
    Unit *u = b->u;
    LLVMBuilderRef l = u->builder;
    LLVMBasicBlockRef side[2] = {new_block(b, "then"), new_block(b, "else")}, end[2], after = new_block(b, "join");
    LLVMBuildCondBr(l, value_of(b, i->arg[0]), side[0], side[1]);
    for (int k = 0; k < 2; k++) {
        LLVMPositionBuilderAtEnd(l, side[k]);
        block(b, i->block[k]);
        end[k] = LLVMGetInsertBlock(l);
        LLVMBuildBr(l, after);
    }
    LLVMMoveBasicBlockAfter(after, end[1]);
    LLVMPositionBuilderAtEnd(l, after);
    for (int r = 0; r < i->nresults; r++) {
        LLVMValueRef phi = LLVMBuildPhi(l, type_of(u, i->result[r]->type), "");
        for (int k = 0; k < 2; k++)
            join(phi, value_of(b, i->block[k]->last->arg[r]), end[k]);
        b->value[i->result[r]->id] = phi;
    }
}

static LLVMValueRef call(const Body *b, const KInstr *i, LLVMValueRef *x) {
    LLVMValueRef f = LLVMGetNamedFunction(b->u->module, unit_name(b->u, i->func->name));
    return LLVMBuildCall2(b->u->builder, LLVMGlobalGetValueType(f), f, x, (unsigned)i->nargs, "");
}

static LLVMValueRef expression(Body *b, const KInstr *i) {
    Unit *u = b->u;
    LLVMValueRef few[8], *x = i->nargs <= 8 ? few : ARENA_ARRAY(u->arena, LLVMValueRef, i->nargs);
    for (int k = 0; k < i->nargs; k++)
        x[k] = value_of(b, i->arg[k]);
    switch (i->op) {
    case KOP_CONST: return const_of(u, i);
    case KOP_AFFINE: return affine(b, i->mem.at);
    case KOP_LOAD: return load(b, i);
    case KOP_CALL: return call(b, i, x);
    case KOP_SATURATE: return build_saturate(u, i, x);
    case KOP_CAST:
    case KOP_NEAREST:
    case KOP_NIBBLE:
    case KOP_BITCAST: return build_convert(u, i, x[0]);
    case KOP_RAMP:
    case KOP_SPLAT:
    case KOP_PACK:
    case KOP_EXTRACT:
    case KOP_WORDS:
    case KOP_REDUCE_ADD:
    case KOP_REDUCE_MUL:
    case KOP_REDUCE_MIN:
    case KOP_REDUCE_MAX: return build_shape(u, i, x);
    default: return build_arithmetic(u, i, x);
    }
}

static void block(Body *b, const KBlock *k) {
    for (const KInstr *i = k->first; i; i = i->next) {
        switch (i->op) {
        case KOP_FOR: loop(b, i); break;
        case KOP_IF: branch(b, i); break;
        case KOP_STORE: store(b, i); break;
        case KOP_YIELD: break;
        default: b->value[i->result[0]->id] = expression(b, i);
        }
    }
}

/* --- functions --- */

static void set_text(const Unit *u, LLVMValueRef f, const char *key, const char *value) {
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(u->context, key, (unsigned)strlen(key), value, (unsigned)strlen(value)));
}

void unit_describe_function(const Unit *u, LLVMValueRef f) {
    add_attribute(u, f, (unsigned)LLVMAttributeFunctionIndex, "nounwind", 0);
    set_text(u, f, "no-builtins", "");
    if (*u->cpu)
        set_text(u, f, "target-cpu", u->cpu);
    if (*u->features)
        set_text(u, f, "target-features", u->features);
}

static Body begin(Unit *u, const KKernel *k, LLVMValueRef function) {
    Body b = {.u = u, .function = function};
    LLVMSetLinkage(function, LLVMInternalLinkage);
    unit_describe_function(u, function);
    b.value = ARENA_ARRAY(u->arena, LLVMValueRef, k->next_id);
    b.align = ARENA_ARRAY(u->arena, unsigned, k->params.len);
    LLVMPositionBuilderAtEnd(u->builder, new_block(&b, ""));
    return b;
}

/* What all calls guarantee. In the JIT, constants are where the model's file has them. */
static unsigned parameter_align(const Unit *u, const KKernel *k, const KParam *p) {
    uintptr_t low = p->align > 0 ? (uintptr_t)p->align : 1;
    for (int i = 0; u->address && i < u->kernels->calls.len; i++) {
        const KCall *c = &u->kernels->calls.data[i];
        if (c->kernel == k && c->arg[p->index].buffer->kind == KBUF_CONST)
            low |= (uintptr_t)u->address[c->arg[p->index].buffer->index] +
                   (uintptr_t)(c->arg[p->index].offset * dtype_size(p->dtype));
    }
    return (unsigned)(low & (~low + 1));
}

void unit_kernel(Unit *u, const KKernel *k) {
    unsigned n = (unsigned)k->params.len, all = n + (unsigned)k->body->nargs;
    LLVMTypeRef *types = ARENA_ARRAY(u->arena, LLVMTypeRef, all);
    for (unsigned i = 0; i < all; i++)
        types[i] = i < n ? u->pointer : u->index;
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(u->context), types, all, false);
    LLVMValueRef f = LLVMAddFunction(u->module, unit_name(u, k->name), type);
    Body b = begin(u, k, f);
    add_attribute(u, f, (unsigned)LLVMAttributeFunctionIndex, "noinline", 0);
    for (unsigned i = 0; i < n; i++) {
        const KParam *p = k->params.data[i];
        b.align[i] = parameter_align(u, k, p);
        LLVMSetValueName2(LLVMGetParam(f, i), p->name, strlen(p->name));
        add_attribute(u, f, i + 1, "nocapture", 0);
        add_attribute(u, f, i + 1, "align", b.align[i]);
        if (p->noalias)
            add_attribute(u, f, i + 1, "noalias", 0);
        if (!p->written)
            add_attribute(u, f, i + 1, "readonly", 0);
        if (p->count > 0)
            add_attribute(u, f, i + 1, "dereferenceable", (uint64_t)p->count * (uint64_t)dtype_size(p->dtype));
    }
    for (unsigned i = n; i < all; i++)
        b.value[k->body->arg[i - n]->id] = LLVMGetParam(f, i);
    block(&b, k->body);
    LLVMBuildRetVoid(u->builder);
}

void unit_func(Unit *u, const KFunc *f) {
    const KBlock *body = f->body->body;
    LLVMTypeRef *types = ARENA_ARRAY(u->arena, LLVMTypeRef, f->nargs);
    for (int i = 0; i < f->nargs; i++)
        types[i] = type_of(u, body->arg[i]->type);
    LLVMTypeRef type = LLVMFunctionType(type_of(u, f->result), types, (unsigned)f->nargs, false);
    LLVMValueRef function = LLVMAddFunction(u->module, unit_name(u, f->name), type);
    Body b = begin(u, f->body, function);
    add_attribute(u, function, (unsigned)LLVMAttributeFunctionIndex, "alwaysinline", 0);
    for (int i = 0; i < f->nargs; i++)
        b.value[body->arg[i]->id] = LLVMGetParam(function, (unsigned)i);
    block(&b, body);
    LLVMBuildRet(u->builder, value_of(&b, body->last->arg[0]));
}
