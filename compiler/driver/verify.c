/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc verify: compiles test cases, builds and runs them, compares with the stored outputs. */
#include <stdio.h>
#include <string.h>

#include "driver/build.h"
#include "driver/compile.h"
#include "driver/execute.h"
#include "driver/firmware.h"
#include "driver/target.h"
#include "driver/test_data.h"

typedef struct Case {
    const Options *o;
    Diag *d;
    Compilation c;
    KModule *m;
    TestData data;
    Build build;
    double worst;     /* largest difference over its bound */
} Case;

static bool compare(Case *t, int k, int j, const Tensor *got) {
    double worst;
    bool close = tensor_close(got, &t->data.set[k].output[j], t->data.rtol, t->data.atol, &worst);
    if (worst > t->worst)
        t->worst = worst;
    if (!close)
        diag_error(t->d, NOWHERE, "output %d of %s is off by %.3g times the tolerance", j, t->data.set[k].folder, worst);
    return close;
}

static bool run_jit(Case *t) {
    Jit *jit = jit_compile(t->d, t->m, JIT_QUICK);
    bool ok = jit != NULL;
    for (int k = 0; ok && k < t->data.n; k++) {
        int n = 0;
        const Tensor *result = execute_jit(t->c.arena, t->d, t->m, jit, t->data.set[k].input, &n);
        ok = result != NULL;
        for (int j = 0; ok && j < n; j++)
            ok = compare(t, k, j, &result[j]);
    }
    jit_free(jit);
    return ok;
}

static bool run_set(Case *t, int k) {
    Arena *a = t->c.arena;
    const TestSet *s = &t->data.set[k];
    char *command = arena_printf(a, "cd %s && %s ./net --out .", build_quoted(a, t->build.work), t->c.target->emulator);
    for (int i = 0; i < s->n_inputs; i++) {
        if (!tensor_write_npy(t->d, arena_printf(a, "%s/input_%d.npy", t->build.work, i), &s->input[i]))
            return false;
        command = arena_printf(a, "%s input_%d.npy", command, i);
    }
    if (!build_shell(&t->build, "the generated program", command))
        return false;
    for (int j = 0; j < s->n_outputs; j++) {
        Tensor got;
        if (!tensor_read_file(a, t->d, arena_printf(a, "%s/output_%d.npy", t->build.work, j), &got) || !compare(t, k, j, &got))
            return false;
    }
    return true;
}

/* The program compares by itself, says PASS or FAIL, and how far off it was. */
static bool run_firmware(Case *t) {
    Arena *a = t->c.arena;
    const char *command = arena_printf(a, "cd %s && %s net", build_quoted(a, t->build.work), t->c.target->emulator);
    if (!build_shell(&t->build, "the firmware", command))
        return false;
    char text[400];
    build_log(&t->build, text, sizeof text);
    const char *error = strstr(text, "largest error ");
    if (!strstr(text, "PASS") || !error || sscanf(error, "largest error %lf", &t->worst) != 1) {
        diag_error(t->d, NOWHERE, "the firmware did not print PASS: %s", text);
        return false;
    }
    return true;
}

static bool run_built(Case *t, const char *folder) {
    bool bare = build_is_firmware(t->c.target);
    const char *suffix = t->o->via == VIA_OBJECT ? ".o" : ".c";
    Options o = *t->o;
    o.main = bare ? MAIN_EMBEDDED : MAIN_HOST;
    o.test_data = folder;
    t->build.script = bare && !o.cc && *t->c.target->memory;
    o.weights_section = t->build.script ? FIRMWARE_SECTIONS : bare ? FIRMWARE_SECTION : NULL;
    Arena *a = t->c.arena;
    const KModule *m;
    if (!compile_write(&t->c, &o, o.operand[0], arena_printf(a, "%s/net%s", t->build.work, suffix), &m))
        return false;
    if (t->build.script && !firmware_script(t->d, t->c.target, m, &t->data, arena_printf(a, "%s/net.ld", t->build.work)))
        return false;
    if (!build_program(&t->build, suffix, o.threads > 1 && !bare))
        return false;
    if (bare)
        return run_firmware(t);
    bool ok = true;
    for (int k = 0; ok && k < t->data.n; k++)
        ok = run_set(t, k);
    return ok;
}

static bool verify_case(Case *t, const char *folder, const Target *target) {
    char model[4096];
    snprintf(model, sizeof model, "%s/model.onnx", folder);
    if (!pipeline_open(&t->c, t->d, t->o, model, target))
        return false;
    t->m = pipeline_lower(&t->c, target);
    if (!t->m || !test_data_read(t->c.arena, t->d, t->m, folder, t->c.graph->approximations.len > 0, &t->data))
        return false;
    if (t->o->via == VIA_JIT)
        return run_jit(t);
    t->build = (Build){.arena = t->c.arena, .diag = t->d, .target = target, .cc = t->o->cc};
    if (!build_begin(&t->build))
        return false;
    bool ok = run_built(t, folder);
    build_end(&t->build);
    return ok;
}

int verb_verify(const Options *o) {
    Diag d = {.stream = stderr, .quiet = o->quiet};
    Arena *a = arena_new();
    const Target *target = o->via == VIA_JIT && !o->target_given ? jit_native_target(a) : target_load(a, &d, o->target);
    if (!target) {
        arena_free(a);
        return EXIT_USAGE;
    }
    int passed = 0;
    for (int i = 0; i < o->n_operands; i++) {
        const char *folder = o->operand[i];
        Case t = {.o = o, .d = &d};
        d.file = folder;
        bool ok = verify_case(&t, folder, target);
        passed += ok;
        if (ok)
            printf("%s: passed, largest error %.3g of the tolerance\n", folder, t.worst);
        else
            printf("%s: failed\n", folder);
        fflush(stdout);
        pipeline_close(&t.c);
    }
    if (o->n_operands > 1)
        printf("%d passed, %d failed\n", passed, o->n_operands - passed);
    arena_free(a);
    return fflush(stdout) || passed < o->n_operands ? EXIT_FAILED : EXIT_DONE;
}
