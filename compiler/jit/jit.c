/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles modules into this process. One ORC instance serves all modules, each with a tracker that frees its code. */
#include "jit/jit.h"

#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <stdlib.h>
#include <string.h>

#include "backend/interface.h"
#include "backend/llvm/llvm.h"

typedef int (*RunAny)(const void *const *input, void *const *output, const void *weights, void *arena);

struct Jit {
    LLVMOrcResourceTrackerRef code;
    RunAny run, *call; /* call: each of the module's alone */
    Arena *memory; /* constants that had to be packed */
    const void *const *constant;
    void *arena;
    const KModule *module;
    bool borrows; /* the arena is another's */
};

/* What does not change from one module to the next. */
static struct Host {
    Arena *memory;
    const Target *target, *measured; /* this machine; what JIT_BENCH is for */
    LLVMOrcLLJITRef orc;
    LLVMTargetMachineRef machine[JIT_BENCH + 1]; /* by JitSpeed */
    unsigned modules;
} host;

static void find_host(void) {
    if (host.memory)
        return;
    host.memory = arena_new();
    host.target = jit_native_target(host.memory);
}

static const Target *target_of(JitSpeed speed) { return speed == JIT_BENCH && host.measured ? host.measured : host.target; }

void jit_measure_for(const Target *t) {
    find_host();
    size_t architecture = strcspn(host.target->triple, "-");
    bool runs = !strncmp(t->triple, host.target->triple, architecture + 1) && t->vector_bits <= host.target->vector_bits;
    host.measured = runs ? t : NULL;
}

static bool orc_failed(Diag *d, LLVMErrorRef error) {
    char *message = LLVMGetErrorMessage(error);
    diag_error(d, NOWHERE, "LLVM: %s", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

/* Generated code calls memcpy and memset only; they are this process's own. */
static bool find_process_symbols(Diag *d) {
    LLVMOrcDefinitionGeneratorRef process = NULL;
    LLVMErrorRef error =
        LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(host.orc), NULL, NULL);
    if (error)
        return orc_failed(d, error);
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(host.orc), process);
    return true;
}

static bool start(Diag *d, JitSpeed speed) {
    static const LLVMCodeGenOptLevel level[] = {[JIT_QUICK] = LLVMCodeGenLevelNone, [JIT_FAST] = LLVMCodeGenLevelDefault,
                                                [JIT_BENCH] = LLVMCodeGenLevelDefault};
    find_host();
    if (!host.machine[speed] && !(host.machine[speed] = machine_new(d, target_of(speed), level[speed])))
        return false;
    if (host.orc)
        return true;
    LLVMErrorRef error = LLVMOrcCreateLLJIT(&host.orc, NULL);
    return error ? orc_failed(d, error) : find_process_symbols(d);
}

/* --- constants --- */

static bool is_packed(const KBuffer *b) {
    int64_t next = 1;
    if (b->data.panel)
        return false;
    for (int i = b->data.rank - 1; i >= 0; i--) {
        if (b->data.dim[i] != 1 && b->data.stride[i] != next)
            return false;
        next *= b->data.dim[i];
    }
    return true;
}

static void append(void *to, const void *data, size_t n) {
    char **p = to;
    memcpy(*p, data, n);
    *p += n;
}

static const void *constant_address(Arena *a, const KBuffer *b) {
    enum { ALIGN = 64 };
    if (is_packed(b))
        return b->data.bytes;
    char *bytes = arena_alloc(a, (size_t)kbuffer_bytes(b) + ALIGN);
    bytes += (ALIGN - (uintptr_t)bytes % ALIGN) % ALIGN;
    char *end = bytes;
    interface_const_bytes(b, append, &end);
    return bytes;
}

static const void *const *constant_addresses(Arena *a, const KModule *m) {
    const void **address = ARENA_ARRAY(a, const void *, m->buffers.len + 1);
    for (int i = 0; i < m->buffers.len; i++)
        if (m->buffers.data[i]->kind == KBUF_CONST)
            address[i] = constant_address(a, m->buffers.data[i]);
    return address;
}

/* --- compilation --- */

static bool find(Diag *d, RunAny *f, const char *symbol) {
    LLVMOrcExecutorAddress at = 0;
    LLVMErrorRef error = LLVMOrcLLJITLookup(host.orc, &at, symbol);
    if (error)
        return orc_failed(d, error);
    uintptr_t p = (uintptr_t)at;
    memcpy(f, &p, sizeof *f);
    return true;
}

static bool load(Diag *d, Jit *j, LLVMMemoryBufferRef object, const Unit *u, JitSpeed speed) {
    j->code = LLVMOrcJITDylibCreateResourceTracker(LLVMOrcLLJITGetMainJITDylib(host.orc));
    LLVMErrorRef error = LLVMOrcLLJITAddObjectFileWithRT(host.orc, j->code, object);
    if (error)
        return orc_failed(d, error);
    bool ok = find(d, &j->run, unit_name(u, "run_any"));
    int n = speed == JIT_BENCH ? u->kernels->calls.len : 0;
    j->call = ARENA_ARRAY(j->memory, RunAny, n);
    for (int i = 0; ok && i < n; i++)
        ok = find(d, &j->call[i], unit_name(u, unit_call_name(u, i)));
    return ok;
}

static bool compile(Diag *d, Jit *j, const KModule *m, JitSpeed speed) {
    Arena *a = arena_new();
    EmitOptions o = {.prefix = arena_printf(a, "jit%u", host.modules++), .target = target_of(speed), .calls_apart = speed == JIT_BENCH};
    LLVMTargetMachineRef machine = host.machine[speed];
    Unit u;
    unit_begin(&u, a, m, &o, machine, j->constant);
    context_diagnostics(u.context, d);
    bool ok = speed == JIT_QUICK || module_optimise(d, u.module, machine);
    LLVMMemoryBufferRef object = ok ? module_emit(d, u.module, machine, LLVMObjectFile) : NULL;
    ok = object && load(d, j, object, &u, speed);
    unit_end(&u);
    arena_free(a);
    return ok;
}

static bool reserve_arena(Diag *d, Jit *j, const KModule *m) {
    size_t align = m->arena_align > 64 ? (size_t)m->arena_align : 64, size = (size_t)m->arena_size + align;
    j->arena = aligned_alloc(align, size / align * align);
    if (!j->arena)
        diag_error(d, NOWHERE, "out of memory: %lld bytes of scratch memory", (long long)m->arena_size);
    return j->arena != NULL;
}

static Jit *jit_new(Diag *d) {
    Jit *j = calloc(1, sizeof *j);
    if (j)
        j->memory = arena_new();
    else
        diag_error(d, NOWHERE, "out of memory");
    return j;
}

static Jit *compiled(Diag *d, Jit *j, const KModule *m, JitSpeed speed) {
    int errors = d->errors;
    if (compile(d, j, m, speed) && d->errors == errors)
        return j;
    jit_free(j);
    return NULL;
}

Jit *jit_compile(Diag *d, const KModule *m, JitSpeed speed) {
    Jit *j = start(d, speed) ? jit_new(d) : NULL;
    if (!j)
        return NULL;
    if (!reserve_arena(d, j, m)) {
        jit_free(j);
        return NULL;
    }
    j->module = m;
    j->constant = constant_addresses(j->memory, m);
    return compiled(d, j, m, speed);
}

Jit *jit_compile_beside(Diag *d, const KModule *m, const Jit *with) {
    Jit *j = start(d, JIT_BENCH) ? jit_new(d) : NULL;
    if (!j)
        return NULL;
    j->borrows = true;
    j->module = m;
    const void **constant = ARENA_ARRAY(j->memory, const void *, m->buffers.len + 1);
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        bool known = i < with->module->buffers.len && b->data.panel == with->module->buffers.data[i]->data.panel;
        if (b->kind == KBUF_CONST)
            constant[i] = known ? with->constant[i] : constant_address(j->memory, b);
    }
    j->constant = constant;
    j->arena = with->arena;
    return compiled(d, j, m, JIT_BENCH);
}

int jit_run(Jit *j, const void *const *input, void *const *output) { return j->run(input, output, NULL, j->arena); }

int jit_run_call(Jit *j, int call, const void *const *input, void *const *output) {
    return j->call[call](input, output, NULL, j->arena);
}

void jit_free(Jit *j) {
    if (!j)
        return;
    if (j->code) {
        LLVMErrorRef error = LLVMOrcResourceTrackerRemove(j->code);
        if (error)
            LLVMConsumeError(error);
        LLVMOrcReleaseResourceTracker(j->code);
    }
    arena_free(j->memory);
    if (!j->borrows)
        free(j->arena);
    free(j);
}
