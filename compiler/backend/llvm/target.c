/* SPDX-License-Identifier: Apache-2.0 */
/* Target machines, the pass pipeline, and code out of a module. */
#include "backend/llvm/llvm.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdlib.h>
#include <string.h>

/* LLVM would abort with a trace; what it says is mostly the fault of a target description. */
static void fatal(const char *reason) {
    fprintf(stderr, "mlcc: error: LLVM: %s\n", reason);
    exit(EXIT_FAILURE);
}

static void start(void) {
    static bool started;
    if (started)
        return;
    started = true;
    LLVMInstallFatalErrorHandler(fatal);
    LLVMInitializeAllTargetInfos();
    LLVMInitializeAllTargets();
    LLVMInitializeAllTargetMCs();
    LLVMInitializeAllAsmPrinters();
}

static bool failed(Diag *d, const char *what, char *message) {
    diag_error(d, NOWHERE, "LLVM: %s%s%s", what, message ? ": " : "", message ? message : "");
    LLVMDisposeMessage(message);
    return false;
}

static bool is_bare_metal(const char *triple) { return strstr(triple, "-none-") || strstr(triple, "-unknown-elf"); }

/* The baseline of the architecture where the description names no processor. */
static const char *baseline(const char *triple) { return strncmp(triple, "x86_64", 6) ? "generic" : "x86-64"; }

LLVMTargetMachineRef machine_new(Diag *d, const Target *t, LLVMCodeGenOptLevel level) {
    start();
    char *given = *t->triple ? NULL : LLVMGetDefaultTargetTriple();
    char *triple = LLVMNormalizeTargetTriple(given ? given : t->triple), *message = NULL;
    LLVMTargetRef target = NULL;
    LLVMTargetMachineRef machine = NULL;
    if (LLVMGetTargetFromTriple(triple, &target, &message)) {
        failed(d, t->name, message);
    } else {
        LLVMTargetMachineOptionsRef o = LLVMCreateTargetMachineOptions();
        LLVMTargetMachineOptionsSetCPU(o, *t->cpu ? t->cpu : given ? baseline(triple) : "");
        LLVMTargetMachineOptionsSetFeatures(o, t->features);
        LLVMTargetMachineOptionsSetABI(o, t->abi);
        LLVMTargetMachineOptionsSetCodeGenOptLevel(o, level);
        LLVMTargetMachineOptionsSetRelocMode(o, is_bare_metal(triple) ? LLVMRelocStatic : LLVMRelocPIC);
        machine = LLVMCreateTargetMachineWithOptions(target, triple, o);
        LLVMDisposeTargetMachineOptions(o);
        if (!machine)
            failed(d, "there is no code generator for this target", NULL);
    }
    LLVMDisposeMessage(triple);
    LLVMDisposeMessage(given);
    return machine;
}

bool module_optimise(Diag *d, LLVMModuleRef m, LLVMTargetMachineRef machine) {
    LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
    LLVMPassBuilderOptionsSetLoopVectorization(o, true);
    LLVMPassBuilderOptionsSetLoopUnrolling(o, false); /* schedules have filled the registers */
    LLVMErrorRef error = LLVMRunPasses(m, "default<O2>", machine, o);
    LLVMDisposePassBuilderOptions(o);
    if (!error)
        return true;
    char *message = LLVMGetErrorMessage(error);
    diag_error(d, NOWHERE, "LLVM: %s", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

LLVMMemoryBufferRef module_emit(Diag *d, LLVMModuleRef m, LLVMTargetMachineRef machine, LLVMCodeGenFileType type) {
    LLVMMemoryBufferRef out = NULL;
    char *message = NULL;
    if (!LLVMTargetMachineEmitToMemoryBuffer(machine, m, type, &message, &out))
        return out;
    failed(d, "no code", message);
    return NULL;
}

static void report(LLVMDiagnosticInfoRef info, void *to) {
    char *message = LLVMGetDiagInfoDescription(info);
    switch (LLVMGetDiagInfoSeverity(info)) {
    case LLVMDSError: diag_error(to, NOWHERE, "LLVM: %s", message); break;
    case LLVMDSWarning: diag_warning(to, NOWHERE, "LLVM: %s", message); break;
    default: break; /* remarks on optimisation */
    }
    LLVMDisposeMessage(message);
}

void context_diagnostics(LLVMContextRef context, Diag *d) { LLVMContextSetDiagnosticHandler(context, report, d); }
