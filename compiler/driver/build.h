/* SPDX-License-Identifier: Apache-2.0 */
/* Building generated code in a temporary folder, with a target's compiler, and running commands there. */
#ifndef MLCC_DRIVER_BUILD_H
#define MLCC_DRIVER_BUILD_H

#include "kernel/target.h"
#include "support/arena.h"
#include "support/diag.h"

typedef struct Build {
    Arena *arena;
    Diag *diag;
    const Target *target;
    const char *cc;   /* with its options; NULL for the target's */
    const char *work; /* the folder */
    bool script;      /* it has net.ld, a linker script */
} Build;

/* Makes the folder; false after a diagnostic. build_end removes it with all that is in it. */
bool build_begin(Build *b);
void build_end(Build *b);
/* WORK/net from net_main.c and net with the suffix, with what gives it threads, and by the linker script if there is one. */
bool build_program(Build *b, const char *suffix, bool threads);
/* Runs a shell command with its output in the log; false after a diagnostic where it fails. */
bool build_shell(Build *b, const char *what, const char *command);
/* The start of what the last command printed. */
void build_log(const Build *b, char *text, size_t size);
/* 'text' with quotes for the shell. */
const char *build_quoted(Arena *a, const char *text);
/* There is no system to run programs: they are firmware. */
bool build_is_firmware(const Target *t);

#endif
