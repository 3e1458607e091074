/* SPDX-License-Identifier: Apache-2.0 */
/* Files through POSIX: mmap for inputs, rename for outputs. */
#define _POSIX_C_SOURCE 200809L
#include "support/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_exists(const char *path) {
    struct stat st;
    return !stat(path, &st);
}

bool file_is_folder(const char *path) {
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool file_is_same(const char *x, const char *y) {
    struct stat a, b;
    return !stat(x, &a) && !stat(y, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool file_has_suffix(const char *path, const char *suffix) {
    const char *name = file_name(path);
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && !strcmp(name + n - m, suffix);
}

bool file_map(Diag *d, const char *path, FileMap *out) {
    *out = (FileMap){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not wait */
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        diag_error(d, NOWHERE, "cannot open \"%s\": %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        diag_error(d, NOWHERE, "\"%s\" is not a regular file", path);
        close(fd);
        return false;
    }
    out->size = (size_t)st.st_size;
    if (out->size == 0) {
        out->data = (const uint8_t *)"";
        close(fd);
        return true;
    }
    void *p = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED) {
        diag_error(d, NOWHERE, "cannot map \"%s\": %s", path, strerror(errno));
        *out = (FileMap){0};
        return false;
    }
    out->data = p;
    return true;
}

void file_unmap(FileMap *map) {
    if (map->size)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (FileMap){0};
}

char *file_read_text(Diag *d, const char *path) {
    FileMap map;
    if (!file_map(d, path, &map))
        return NULL;
    char *text = malloc(map.size + 1);
    if (text) {
        memcpy(text, map.data, map.size);
        text[map.size] = '\0';
    } else {
        diag_error(d, NOWHERE, "\"%s\" does not fit into memory", path);
    }
    file_unmap(&map);
    return text;
}

typedef struct Output Output;
struct Output {
    Output *next;
    FILE *file;
    char *path, *temporary; /* temporary is NULL where the path is written directly */
};

struct Outputs {
    Diag *diag;
    Output *list;
};

static void *must(void *p) {
    if (!p) {
        fputs("mlcc: error: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

Outputs *outputs_new(Diag *d) {
    Outputs *o = must(calloc(1, sizeof *o));
    o->diag = d;
    return o;
}

FILE *outputs_open(Outputs *o, const char *path) {
    Output *out = must(calloc(1, sizeof *out));
    out->path = must(strdup(path));
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        out->file = fopen(path, "wb");
    } else {
        size_t n = strlen(path) + 32;
        out->temporary = must(malloc(n));
        snprintf(out->temporary, n, "%s.tmp%ld", path, (long)getpid());
        out->file = fopen(out->temporary, "wb");
    }
    if (!out->file) {
        diag_error(o->diag, NOWHERE, "cannot write \"%s\": %s", path, strerror(errno));
        free(out->path);
        free(out->temporary);
        free(out);
        return NULL;
    }
    out->next = o->list;
    o->list = out;
    return out->file;
}

static void free_list(Outputs *o, bool remove) {
    for (Output *out = o->list, *next; out; out = next) {
        next = out->next;
        if (out->file)
            fclose(out->file);
        if (remove && out->temporary)
            unlink(out->temporary);
        free(out->path);
        free(out->temporary);
        free(out);
    }
    free(o);
}

bool outputs_commit(Outputs *o) {
    bool ok = true;
    for (Output *out = o->list; out && ok; out = out->next) {
        errno = 0;
        bool bad = fflush(out->file) != 0 || ferror(out->file);
        if (bad && !errno) { /* a write long ago has failed: one more, for the reason */
            fputc('\n', out->file);
            fflush(out->file);
        }
        bad |= fclose(out->file) != 0;
        int why = errno ? errno : EIO;
        out->file = NULL;
        if (bad) {
            diag_error(o->diag, NOWHERE, "cannot write \"%s\": %s", out->path, strerror(why));
            ok = false;
        }
    }
    for (Output *out = o->list; out && ok; out = out->next) {
        if (out->temporary && rename(out->temporary, out->path) < 0) {
            diag_error(o->diag, NOWHERE, "cannot write \"%s\": %s", out->path, strerror(errno));
            ok = false;
        }
    }
    free_list(o, !ok);
    return ok;
}

void outputs_discard(Outputs *o) { free_list(o, true); }
