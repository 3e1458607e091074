/* SPDX-License-Identifier: Apache-2.0 */
/* The module as machine code: weights, kernels, the run function and the descriptor. */
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <string.h>

#include "backend/interface.h"
#include "backend/llvm/llvm.h"

static LLVMTypeRef int_type(const Unit *u) { return type_int(u, 32, 1); }

static LLVMValueRef size_of(const Unit *u, int64_t x) { return splat_int(u->index, (uint64_t)x); }

/* --- data --- */

static LLVMValueRef private_data(const Unit *u, const char *name, LLVMValueRef value) {
    LLVMValueRef g = LLVMAddGlobal(u->module, LLVMTypeOf(value), unit_name(u, name));
    LLVMSetInitializer(g, value);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(g, true);
    LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
    return g;
}

static LLVMValueRef string(const Unit *u, const char *name, const char *s) {
    return private_data(u, name, LLVMConstStringInContext(u->context, s ? s : "", (unsigned)strlen(s ? s : ""), false));
}

typedef struct Copy {
    char *to;
} Copy;

static void copy_bytes(void *to, const void *data, size_t n) {
    Copy *c = to;
    memcpy(c->to, data, n);
    c->to += n;
}

static LLVMValueRef weights_data(const Unit *u, const KBuffer *b, const char *section) {
    size_t n = (size_t)kbuffer_bytes(b);
    Arena *a = arena_new();
    char *bytes = arena_alloc(a, n + 1);
    Copy c = {bytes};
    interface_const_bytes(b, copy_bytes, &c);
    LLVMValueRef g = private_data(u, b->name, LLVMConstStringInContext(u->context, bytes, (unsigned)n, true));
    arena_free(a);
    LLVMSetLinkage(g, LLVMInternalLinkage);
    LLVMSetAlignment(g, 64);
    if (section)
        LLVMSetSection(g, section);
    return g;
}

/* --- the run function --- */

/* Where tensors are while the run function's body is built. */
typedef struct Places {
    LLVMValueRef *tensor; /* by buffer index */
    LLVMValueRef weights, arena;
    LLVMValueRef parallel_for, pool, context; /* NULL without threads; context: room for any call's */
} Places;

static LLVMValueRef at_byte(const Unit *u, LLVMValueRef base, int64_t offset) {
    LLVMValueRef at = size_of(u, offset);
    return offset ? LLVMBuildInBoundsGEP2(u->builder, type_int(u, 8, 1), base, &at, 1, "") : base;
}

static LLVMValueRef constant_place(const Unit *u, Places *p, const KBuffer *b, const EmitOptions *o) {
    if (u->address)
        return LLVMConstIntToPtr(size_of(u, (int64_t)(intptr_t)u->address[b->index]), u->pointer);
    if (o->weights == WEIGHTS_BIN)
        return at_byte(u, p->weights, interface_weights_offset(u->kernels, b));
    if (!p->tensor[b->index])
        p->tensor[b->index] = weights_data(u, b, interface_section(u->arena, o, b->name));
    return p->tensor[b->index];
}

static LLVMValueRef place(const Unit *u, Places *p, const KArg *a, const EmitOptions *o) {
    const KBuffer *b = a->buffer;
    int64_t offset = a->offset * dtype_size(b->dtype);
    switch (b->kind) {
    case KBUF_CONST: return at_byte(u, constant_place(u, p, b, o), offset);
    case KBUF_ARENA: return at_byte(u, p->arena, b->arena_offset + offset);
    default: return at_byte(u, p->tensor[b->index], offset);
    }
}

/* --- threads --- */

static LLVMTypeRef task_type(const Unit *u) {
    LLVMTypeRef types[] = {u->pointer, int_type(u)};
    return LLVMFunctionType(LLVMVoidTypeInContext(u->context), types, 2, false);
}

/* What a task's context holds: the kernel's arguments but the last, which is the part. */
static LLVMTypeRef context_type(const Unit *u, const KKernel *k) {
    int n = k->params.len, all = n + k->body->nargs - 1;
    LLVMTypeRef *field = ARENA_ARRAY(u->arena, LLVMTypeRef, all);
    for (int i = 0; i < all; i++)
        field[i] = i < n ? u->pointer : u->index;
    return LLVMStructTypeInContext(u->context, field, (unsigned)all, false);
}

static LLVMValueRef begin_private(const Unit *u, const char *name, LLVMTypeRef type) {
    LLVMValueRef f = LLVMAddFunction(u->module, unit_name(u, name), type);
    LLVMSetLinkage(f, LLVMInternalLinkage);
    unit_describe_function(u, f);
    LLVMPositionBuilderAtEnd(u->builder, LLVMAppendBasicBlockInContext(u->context, f, ""));
    return f;
}

/* void(void *context, int part) that runs one part of a kernel. */
static LLVMValueRef build_task(const Unit *u, const KKernel *k) {
    LLVMValueRef kernel = LLVMGetNamedFunction(u->module, unit_name(u, k->name));
    LLVMValueRef f = begin_private(u, arena_printf(u->arena, "part_of_%s", k->name), task_type(u));
    LLVMTypeRef context = context_type(u, k);
    unsigned n = LLVMCountStructElementTypes(context);
    LLVMValueRef *x = ARENA_ARRAY(u->arena, LLVMValueRef, n + 1);
    for (unsigned i = 0; i < n; i++) {
        LLVMValueRef at = LLVMBuildStructGEP2(u->builder, context, LLVMGetParam(f, 0), i, "");
        x[i] = LLVMBuildLoad2(u->builder, LLVMStructGetTypeAtIndex(context, i), at, "");
    }
    x[n] = LLVMBuildSExtOrBitCast(u->builder, LLVMGetParam(f, 1), u->index, "");
    LLVMBuildCall2(u->builder, LLVMGlobalGetValueType(kernel), kernel, x, n + 1, "");
    LLVMBuildRetVoid(u->builder);
    return f;
}

/* void(parallel_for, pool, task, context, parts): one part after the other where there is no parallel_for. */
static void build_parts_of(const Unit *u) {
    LLVMTypeRef i32 = int_type(u), pointer = u->pointer, types[] = {pointer, pointer, pointer, pointer, i32};
    LLVMTypeRef none = LLVMVoidTypeInContext(u->context);
    LLVMValueRef f = begin_private(u, "parts_of", LLVMFunctionType(none, types, 5, false)), x[5], zero = splat_int(i32, 0);
    for (unsigned i = 0; i < 5; i++)
        x[i] = LLVMGetParam(f, i);
    LLVMBasicBlockRef entry = LLVMGetInsertBlock(u->builder);
    LLVMBasicBlockRef threads = LLVMAppendBasicBlockInContext(u->context, f, "threads");
    LLVMBasicBlockRef alone = LLVMAppendBasicBlockInContext(u->context, f, "alone");
    LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(u->context, f, "done");
    LLVMBuildCondBr(u->builder, LLVMBuildIsNull(u->builder, x[0], ""), alone, threads);
    LLVMPositionBuilderAtEnd(u->builder, threads);
    LLVMTypeRef parallel_for[] = {pointer, pointer, pointer, i32};
    LLVMBuildCall2(u->builder, LLVMFunctionType(none, parallel_for, 4, false), x[0], x + 1, 4, "");
    LLVMBuildBr(u->builder, done);
    LLVMPositionBuilderAtEnd(u->builder, alone);
    LLVMValueRef part = LLVMBuildPhi(u->builder, i32, ""), task[] = {x[3], part};
    LLVMBuildCall2(u->builder, task_type(u), x[2], task, 2, "");
    LLVMValueRef next = LLVMBuildAdd(u->builder, part, splat_int(i32, 1), "");
    LLVMValueRef from[] = {zero, next};
    LLVMBasicBlockRef blocks[] = {entry, alone};
    LLVMAddIncoming(part, from, blocks, 2);
    LLVMBuildCondBr(u->builder, LLVMBuildICmp(u->builder, LLVMIntSLT, next, x[4], ""), alone, done);
    LLVMPositionBuilderAtEnd(u->builder, done);
    LLVMBuildRetVoid(u->builder);
}

static void build_tasks(const Unit *u) {
    const KModule *m = u->kernels;
    bool any = false;
    for (int i = 0; i < m->calls.len; i++) {
        const KCall *c = &m->calls.data[i];
        if (c->parts && !LLVMGetNamedFunction(u->module, unit_name(u, arena_printf(u->arena, "part_of_%s", c->kernel->name))))
            build_task(u, c->kernel);
        any = any || c->parts;
    }
    if (any)
        build_parts_of(u);
}

/* --- calls of kernels --- */

static void call_with_threads(const Unit *u, const Places *p, const KCall *c, LLVMValueRef *x) {
    LLVMValueRef task = LLVMGetNamedFunction(u->module, unit_name(u, arena_printf(u->arena, "part_of_%s", c->kernel->name)));
    LLVMValueRef parts_of = LLVMGetNamedFunction(u->module, unit_name(u, "parts_of"));
    LLVMTypeRef type = context_type(u, c->kernel);
    for (unsigned i = 0; i < LLVMCountStructElementTypes(type); i++)
        LLVMBuildStore(u->builder, x[i], LLVMBuildStructGEP2(u->builder, type, p->context, i, ""));
    LLVMValueRef args[] = {p->parallel_for, p->pool, task, p->context, splat_int(int_type(u), (uint64_t)c->parts)};
    LLVMBuildCall2(u->builder, LLVMGlobalGetValueType(parts_of), parts_of, args, 5, "");
}

static LLVMValueRef context_room(const Unit *u) {
    const KModule *m = u->kernels;
    int most = 0;
    for (int i = 0; i < m->calls.len; i++) {
        int n = m->calls.data[i].kernel->params.len + m->calls.data[i].kernel->body->nargs;
        most = m->calls.data[i].parts && n > most ? n : most;
    }
    return most ? LLVMBuildAlloca(u->builder, LLVMArrayType2(u->pointer, (uint64_t)most), "") : NULL;
}

static void call_kernel(const Unit *u, Places *p, const KCall *c, const EmitOptions *o) {
    LLVMValueRef f = LLVMGetNamedFunction(u->module, unit_name(u, c->kernel->name));
    int n = c->kernel->params.len, all = n + c->kernel->body->nargs;
    LLVMValueRef *x = ARENA_ARRAY(u->arena, LLVMValueRef, all);
    for (int i = 0; i < all; i++)
        x[i] = i < n ? place(u, p, &c->arg[i], o) : size_of(u, c->index[i - n]);
    if (c->parts && o->threads > 1) {
        call_with_threads(u, p, c, x);
        return;
    }
    for (int part = 0; part < (c->parts ? c->parts : 1); part++) {
        if (c->parts)
            x[all - 1] = size_of(u, part);
        LLVMBuildCall2(u->builder, LLVMGlobalGetValueType(f), f, x, (unsigned)all, "");
    }
}

/* int name(n pointers) */
static LLVMValueRef begin_function(const Unit *u, const char *name, int n, LLVMLinkage linkage) {
    LLVMTypeRef *types = ARENA_ARRAY(u->arena, LLVMTypeRef, n);
    for (int i = 0; i < n; i++)
        types[i] = u->pointer;
    LLVMValueRef f = LLVMAddFunction(u->module, unit_name(u, name), LLVMFunctionType(int_type(u), types, (unsigned)n, false));
    LLVMSetLinkage(f, linkage);
    unit_describe_function(u, f);
    LLVMPositionBuilderAtEnd(u->builder, LLVMAppendBasicBlockInContext(u->context, f, ""));
    return f;
}

static bool is_tensor(const KBuffer *b) { return b->kind == KBUF_INPUT || b->kind == KBUF_OUTPUT; }

static LLVMValueRef static_arena(const Unit *u) {
    LLVMTypeRef type = LLVMArrayType2(type_int(u, 8, 1), (uint64_t)u->kernels->arena_size);
    LLVMValueRef g = LLVMAddGlobal(u->module, type, unit_name(u, "arena"));
    LLVMSetInitializer(g, LLVMConstNull(type));
    LLVMSetLinkage(g, LLVMInternalLinkage);
    LLVMSetAlignment(g, (unsigned)u->kernels->arena_align);
    return g;
}

static int tensor_count(const Unit *u) {
    return interface_count(u->kernels, KBUF_INPUT) + interface_count(u->kernels, KBUF_OUTPUT);
}

/* The calls from..to - 1. Parameters as in interface_prototype. */
static LLVMValueRef build_calls(const Unit *u, const EmitOptions *o, const char *name, int from, int to) {
    const KModule *m = u->kernels;
    int n = tensor_count(u), weights = o->weights == WEIGHTS_BIN, arena = !o->static_arena, threads = o->threads > 1;
    LLVMValueRef f = begin_function(u, name, n + weights + arena + 2 * threads, LLVMExternalLinkage);
    Places p = {.tensor = ARENA_ARRAY(u->arena, LLVMValueRef, m->buffers.len)};
    int k = 0;
    for (int i = 0; i < m->buffers.len; i++)
        if (is_tensor(m->buffers.data[i]))
            p.tensor[i] = LLVMGetParam(f, (unsigned)k++);
    for (int i = 0; i < m->buffers.len; i++)
        if (p.tensor[i])
            LLVMSetValueName2(p.tensor[i], m->buffers.data[i]->name, strlen(m->buffers.data[i]->name));
    p.weights = weights ? LLVMGetParam(f, (unsigned)n) : NULL;
    p.arena = arena ? LLVMGetParam(f, (unsigned)(n + weights)) : static_arena(u);
    p.parallel_for = threads ? LLVMGetParam(f, (unsigned)(n + weights + arena)) : NULL;
    p.pool = threads ? LLVMGetParam(f, (unsigned)(n + weights + arena + 1)) : NULL;
    p.context = threads ? context_room(u) : NULL;
    for (int i = from; i < to; i++)
        call_kernel(u, &p, &m->calls.data[i], o);
    LLVMBuildRet(u->builder, splat_int(int_type(u), 0));
    return f;
}

/* --- the descriptor --- */

static LLVMValueRef load_pointer(const Unit *u, LLVMValueRef table, int i) {
    LLVMValueRef at = size_of(u, i);
    return LLVMBuildLoad2(u->builder, u->pointer, LLVMBuildInBoundsGEP2(u->builder, u->pointer, table, &at, 1, ""), "");
}

/* int name(const void *const *input, void *const *output, const void *weights, void *arena), and, where pooled,
 * mlcc_parallel_for *parallel_for, void *pool. */
static LLVMValueRef build_any(const Unit *u, LLVMValueRef run, const char *name, const EmitOptions *o, LLVMLinkage linkage,
                              bool pooled) {
    const KModule *m = u->kernels;
    LLVMValueRef f = begin_function(u, name, pooled ? 6 : 4, linkage);
    LLVMValueRef *x = ARENA_ARRAY(u->arena, LLVMValueRef, tensor_count(u) + 4);
    unsigned n = 0;
    int in = 0, out = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind == KBUF_INPUT)
            x[n++] = load_pointer(u, LLVMGetParam(f, 0), in++);
        else if (b->kind == KBUF_OUTPUT)
            x[n++] = load_pointer(u, LLVMGetParam(f, 1), out++);
    }
    if (o->weights == WEIGHTS_BIN)
        x[n++] = LLVMGetParam(f, 2);
    if (!o->static_arena)
        x[n++] = LLVMGetParam(f, 3);
    for (unsigned i = 4; o->threads > 1 && i < 6; i++)
        x[n++] = pooled ? LLVMGetParam(f, i) : LLVMConstNull(u->pointer);
    LLVMBuildRet(u->builder, LLVMBuildCall2(u->builder, LLVMGlobalGetValueType(run), run, x, n, ""));
    return f;
}

static LLVMValueRef structure(const Unit *u, LLVMValueRef *field, unsigned n) {
    return LLVMConstStructInContext(u->context, field, n, false);
}

/* const struct mlcc_tensor[] of all tensors of a kind; a null pointer where there is none. */
static LLVMValueRef tensors(const Unit *u, KBufferKind kind, const char *what) {
    const KModule *m = u->kernels;
    LLVMValueRef *list = ARENA_ARRAY(u->arena, LLVMValueRef, m->buffers.len);
    unsigned n = 0;
    LLVMTypeRef wide = type_int(u, 64, 1);
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind != kind)
            continue;
        LLVMValueRef *dim = ARENA_ARRAY(u->arena, LLVMValueRef, b->rank + 1);
        dim[0] = splat_int(wide, 0);
        for (int k = 0; k < b->rank; k++)
            dim[k] = splat_int(wide, (uint64_t)b->dim[k]);
        LLVMValueRef dims = LLVMConstArray2(wide, dim, b->rank ? (uint64_t)b->rank : 1);
        LLVMValueRef field[] = {
            string(u, "string", b->onnx_name),
            splat_int(int_type(u), (uint64_t)dtype_to_onnx(b->dtype)),
            splat_int(int_type(u), (uint64_t)b->rank),
            private_data(u, arena_printf(u->arena, "%s_dim_%u", what, n), dims),
            size_of(u, kbuffer_bytes(b)),
        };
        list[n++] = structure(u, field, 5);
    }
    if (!n)
        return LLVMConstNull(u->pointer);
    return private_data(u, what, LLVMConstArray2(LLVMTypeOf(list[0]), list, n));
}

static void build_descriptor(const Unit *u, LLVMValueRef run_any, LLVMValueRef run_parallel, const EmitOptions *o) {
    const KModule *m = u->kernels;
    LLVMValueRef field[] = {
        string(u, "string", m->model_name),
        string(u, "string", o->generator),
        splat_int(int_type(u), (uint64_t)interface_count(m, KBUF_INPUT)),
        splat_int(int_type(u), (uint64_t)interface_count(m, KBUF_OUTPUT)),
        tensors(u, KBUF_INPUT, "input"),
        tensors(u, KBUF_OUTPUT, "output"),
        size_of(u, o->static_arena ? 0 : m->arena_size),
        size_of(u, m->arena_align),
        size_of(u, 0),
        size_of(u, o->weights == WEIGHTS_BIN ? interface_weights_size(m) : 0),
        run_any,
        run_parallel ? run_parallel : LLVMConstNull(u->pointer),
        splat_int(int_type(u), (uint64_t)(run_parallel ? o->threads : 1)),
    };
    LLVMValueRef value = structure(u, field, sizeof field / sizeof *field);
    LLVMValueRef g = LLVMAddGlobal(u->module, LLVMTypeOf(value), unit_name(u, "model"));
    LLVMSetInitializer(g, value);
    LLVMSetGlobalConstant(g, true);
}

/* --- the module --- */

static char *keep(Arena *a, char *message) {
    char *s = arena_strdup(a, message);
    LLVMDisposeMessage(message);
    return s;
}

static void describe_target(Unit *u, LLVMTargetMachineRef machine) {
    const char *triple = keep(u->arena, LLVMGetTargetMachineTriple(machine));
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetModuleDataLayout(u->module, layout);
    LLVMSetTarget(u->module, triple);
    u->cpu = keep(u->arena, LLVMGetTargetMachineCPU(machine));
    u->features = keep(u->arena, LLVMGetTargetMachineFeatureString(machine));
    u->index = LLVMIntPtrTypeInContext(u->context, layout);
    LLVMDisposeTargetData(layout);
    const Target *t = u->target;
    u->native_half = target_converts_halves(t, triple);
    if (*t->abi)
        LLVMAddModuleFlag(u->module, LLVMModuleFlagBehaviorError, "target-abi", strlen("target-abi"),
                          LLVMMDStringInContext2(u->context, t->abi, strlen(t->abi)));
}

void unit_begin(Unit *u, Arena *a, const KModule *m, const EmitOptions *o, LLVMTargetMachineRef machine,
                const void *const *address) {
    LLVMContextRef c = LLVMContextCreate();
    *u = (Unit){.arena = a, .context = c, .target = o->target, .prefix = o->prefix, .kernels = m, .address = address};
    u->module = LLVMModuleCreateWithNameInContext(o->prefix, c);
    u->builder = LLVMCreateBuilderInContext(c);
    u->pointer = LLVMPointerTypeInContext(c, 0);
    describe_target(u, machine);
    for (int i = 0; i < m->funcs.len; i++)
        unit_func(u, m->funcs.data[i]);
    for (int i = 0; i < m->kernels.len; i++)
        unit_kernel(u, m->kernels.data[i]);
    bool threads = o->threads > 1;
    if (threads)
        build_tasks(u);
    LLVMValueRef run = build_calls(u, o, "run", 0, m->calls.len);
    LLVMValueRef any = build_any(u, run, "run_any", o, address ? LLVMExternalLinkage : LLVMInternalLinkage, false);
    LLVMValueRef pooled = threads ? build_any(u, run, "run_parallel", o, LLVMInternalLinkage, true) : NULL;
    if (!address)
        build_descriptor(u, any, pooled, o);
    for (int i = 0; o->calls_apart && i < m->calls.len; i++) {
        LLVMValueRef call = build_calls(u, o, arena_printf(a, "only_%d", i), i, i + 1);
        build_any(u, call, unit_call_name(u, i), o, LLVMExternalLinkage, false);
    }
}

const char *unit_call_name(const Unit *u, int call) { return arena_printf(u->arena, "call_%d", call); }

void unit_end(Unit *u) {
    LLVMDisposeBuilder(u->builder);
    LLVMDisposeModule(u->module);
    LLVMContextDispose(u->context);
}

static bool write_code(Diag *d, Unit *u, LLVMTargetMachineRef machine, ObjectFormat format, FILE *out) {
    char *message = NULL;
    if (LLVMVerifyModule(u->module, LLVMReturnStatusAction, &message)) {
        diag_error(d, NOWHERE, "internal: LLVM refuses the module: %s", message);
        LLVMDisposeMessage(message);
        return false;
    }
    LLVMDisposeMessage(message);
    int errors = d->errors;
    if (!module_optimise(d, u->module, machine))
        return false;
    if (format == OBJECT_LL) {
        char *text = LLVMPrintModuleToString(u->module);
        fputs(text, out);
        LLVMDisposeMessage(text);
        return d->errors == errors;
    }
    LLVMMemoryBufferRef code = module_emit(d, u->module, machine, format == OBJECT_S ? LLVMAssemblyFile : LLVMObjectFile);
    if (!code)
        return false;
    fwrite(LLVMGetBufferStart(code), 1, LLVMGetBufferSize(code), out);
    LLVMDisposeMemoryBuffer(code);
    return d->errors == errors;
}

/* A constant's size is 32 bits in LLVM's C interface. */
static bool weights_fit(Diag *d, const KModule *m, const EmitOptions *o) {
    for (int i = 0; o->weights != WEIGHTS_BIN && i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind == KBUF_CONST && kbuffer_bytes(b) > UINT32_MAX) {
            diag_error(d, NOWHERE, "constant \"%s\" has more than 4 GiB; use --weights=bin", b->name);
            return false;
        }
    }
    return true;
}

bool emit_llvm(Diag *d, const KModule *m, const EmitOptions *o, ObjectFormat format, FILE *out) {
    LLVMTargetMachineRef machine = weights_fit(d, m, o) ? machine_new(d, o->target, LLVMCodeGenLevelDefault) : NULL;
    if (!machine)
        return false;
    Arena *a = arena_new();
    Unit u;
    unit_begin(&u, a, m, o, machine, NULL);
    context_diagnostics(u.context, d);
    bool ok = write_code(d, &u, machine, format, out);
    unit_end(&u);
    LLVMDisposeTargetMachine(machine);
    arena_free(a);
    return ok;
}
