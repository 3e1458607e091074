/* SPDX-License-Identifier: Apache-2.0 */
/* Runs many compiled models in one program, each case in a process of its own.
 *
 *     harness FOLDER      reads FOLDER/<case>.in, writes FOLDER/<case>.out; prints "case status" for each
 *
 * The inputs of all data sets of a case lie one after the other in the .in file, the outputs likewise in the .out file;
 * sizes are the descriptor's. models.h lists "MODEL(case, descriptor)". Status 0 is a good run; beyond the outputs and the arena
 * lie guard bytes, and a model that touches them has status 99. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptor.h"

#define MODEL(name, descriptor) extern const struct mlcc_model descriptor;
#include "models.h"
#undef MODEL

static const struct Entry {
    const char *name;
    const struct mlcc_model *model;
} entries[] = {
#define MODEL(name, descriptor) {name, &descriptor},
#include "models.h"
#undef MODEL
};

enum { GUARD = 64, GUARD_BYTE = 0xa5, MOST = 64 };

static unsigned char *guarded(size_t size, size_t align) {
    unsigned char *p = aligned_alloc(align, (size + GUARD + align - 1) / align * align);
    if (!p)
        exit(98);
    memset(p, GUARD_BYTE, size + GUARD);
    return p;
}

static void check_guard(const unsigned char *p, size_t size) {
    for (size_t i = size; i < size + GUARD; i++)
        if (p[i] != GUARD_BYTE)
            exit(99);
}

static void run(const struct Entry *e, const char *folder) {
    const struct mlcc_model *m = e->model;
    void *input[MOST], *output[MOST];
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.in", folder, e->name);
    FILE *in = fopen(path, "rb");
    snprintf(path, sizeof path, "%s/%s.out", folder, e->name);
    FILE *out = fopen(path, "wb");
    if (!in || !out || m->inputs > MOST || m->outputs > MOST)
        exit(97);
    for (int i = 0; i < m->inputs; i++)
        input[i] = guarded(m->input[i].size, 64);
    for (int i = 0; i < m->outputs; i++)
        output[i] = guarded(m->output[i].size, 64);
    unsigned char *arena = guarded(m->arena_size, m->arena_align > 64 ? m->arena_align : 64);
    for (int set = 0;; set++) {
        for (int i = 0; i < m->inputs; i++)
            if (fread(input[i], 1, m->input[i].size, in) != m->input[i].size)
                exit(set ? 0 : 96);
        int status = m->run((const void *const *)input, output, NULL, arena);
        if (status)
            exit(95);
        check_guard(arena, m->arena_size);
        for (int i = 0; i < m->outputs; i++) {
            check_guard(output[i], m->output[i].size);
            fwrite(output[i], 1, m->output[i].size, out);
        }
        if (fflush(out))
            exit(94);
        size_t bytes = 0;
        for (int i = 0; i < m->inputs; i++)
            bytes += m->input[i].size;
        if (!bytes)
            exit(0); /* nothing to read: one set */
    }
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            run(&entries[i], argv[1]);
        }
        int status = 0;
        waitpid(child, &status, 0);
        printf("%s %d\n", entries[i].name, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    return 0;
}
