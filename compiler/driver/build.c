/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary folders, compilers and commands. */
#define _XOPEN_SOURCE 700
#include "driver/build.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/emit.h"

bool build_begin(Build *b) {
    const char *tmp = getenv("TMPDIR");
    char *work = arena_printf(b->arena, "%s/mlcc-build-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(work)) {
        diag_error(b->diag, NOWHERE, "cannot make \"%s\": %s", work, strerror(errno));
        return false;
    }
    b->work = work;
    return true;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

void build_end(Build *b) { nftw(b->work, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

const char *build_quoted(Arena *a, const char *text) {
    char *p = arena_printf(a, "'");
    for (; *text; text++)
        p = *text == '\'' ? arena_printf(a, "%s'\\''", p) : arena_printf(a, "%s%c", p, *text);
    return arena_printf(a, "%s'", p);
}

void build_log(const Build *b, char *text, size_t size) {
    FILE *f = fopen(arena_printf(b->arena, "%s/log", b->work), "r");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
}

bool build_shell(Build *b, const char *what, const char *command) {
    Arena *a = b->arena;
    const char *log = arena_printf(a, "%s/log", b->work);
    fflush(NULL);
    int status = system(arena_printf(a, "{ %s; } </dev/null >%s 2>&1", command, build_quoted(a, log)));
    if (status == 0)
        return true;
    char text[400];
    build_log(b, text, sizeof text);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    diag_error(b->diag, NOWHERE, "%s failed with status %d: %s", what, code, text);
    return false;
}

bool build_program(Build *b, const char *suffix, bool threads) {
    Arena *a = b->arena;
    const Target *t = b->target;
    if (!b->cc && !*t->cc) {
        diag_error(b->diag, NOWHERE, "target \"%s\" names no C compiler; give one with --cc", t->name);
        return false;
    }
    const char *cc = b->cc ? b->cc : arena_printf(a, "%s %s", t->cc, t->cflags);
    return build_shell(b, "building the generated code",
                       arena_printf(a, "cd %s && %s%s -o net net_main.c net%s%s", build_quoted(a, b->work), cc, b->script ? " -T net.ld" : "", suffix,
                                    threads ? " " THREADS_NAME ".c -pthread" : ""));
}

bool build_is_firmware(const Target *t) { return strstr(t->triple, "-none-") || strstr(t->triple, "unknown-elf"); }
