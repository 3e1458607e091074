/* SPDX-License-Identifier: Apache-2.0 */
/* Reads target descriptions: the shipped JSON files, which are inside the program, and users' own. */
#include "driver/target.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "driver/firmware.h"
#include "jit/jit.h"
#include "support/embed.h"
#include "support/file.h"

enum { MOST_BYTES = 1 << 16, MOST_TEXT = 2000, MOST_BASES = 4 };

typedef enum Kind { TEXT, WORD, NUMBER, FLAG, CHOICE } Kind;

/* The keys of a target file. A WORD goes to LLVM and has no spaces. Where 'optional', the zero value is the default. */
static const struct Key {
    const char *name;
    Kind kind;
    bool optional;
    size_t offset;
    int least, most;
} keys[] = {
    {"triple", WORD, false, offsetof(Target, triple), 0, 0},
    {"cpu", WORD, false, offsetof(Target, cpu), 0, 0},
    {"features", WORD, true, offsetof(Target, features), 0, 0},
    {"abi", WORD, true, offsetof(Target, abi), 0, 0},
    {"pointer_bits", NUMBER, false, offsetof(Target, pointer_bits), 32, 64},
    {"vector_bits", NUMBER, false, offsetof(Target, vector_bits), 0, 2048},
    {"vector_registers", NUMBER, false, offsetof(Target, vector_registers), 0, 128},
    {"fma", FLAG, false, offsetof(Target, fma), 0, 0},
    {"float32", FLAG, false, offsetof(Target, float32), 0, 0},
    {"float64", FLAG, false, offsetof(Target, float64), 0, 0},
    {"dot", CHOICE, true, offsetof(Target, dot), 0, 0},
    {"widening", FLAG, true, offsetof(Target, widening), 0, 0},
    {"words", FLAG, true, offsetof(Target, words), 0, 0},
    {"saturates", FLAG, true, offsetof(Target, saturates), 0, 0},
    {"fma_per_cycle", NUMBER, false, offsetof(Target, fma_per_cycle), 1, 16},
    {"fma_latency", NUMBER, false, offsetof(Target, fma_latency), 1, 64},
    {"l1", NUMBER, false, offsetof(Target, l1), 0, 1 << 30},
    {"l2", NUMBER, false, offsetof(Target, l2), 0, 1 << 30},
    {"c_guard", TEXT, true, offsetof(Target, c_guard), 0, 0},
    {"cc", TEXT, true, offsetof(Target, cc), 0, 0},
    {"cflags", TEXT, true, offsetof(Target, cflags), 0, 0},
    {"memory", TEXT, true, offsetof(Target, memory), 0, 0},
    {"tuning", WORD, true, offsetof(Target, tuning), 0, 0},
    {"emulator", TEXT, true, offsetof(Target, emulator), 0, 0},
};
enum { N_KEYS = sizeof keys / sizeof *keys };

/* The values of "dot". */
static const struct Dot {
    const char *name;
    unsigned dot;
} dots[] = {
    {"none", 0},
    {"u8s8", DOT_U8S8},
    {"s8s8", DOT_S8S8},
    {"u8s8+s8s8", DOT_U8S8 | DOT_S8S8},
    {"halves", DOT_HALVES},
    {"halves+along", DOT_HALVES | DOT_ALONG},
    {"s8s8+pairs", DOT_S8S8 | DOT_PAIRS},
    {"narrow", DOT_NARROW},
    {"rows", DOT_ROWS},
};

static const Target *load_named(Arena *a, Diag *d, const char *name, int depth);

static void *field(Target *t, const struct Key *key) { return (char *)t + key->offset; }

static bool is_key(const cJSON *item, const char *name) { return !strcmp(item->string, name); }

static const struct Key *find_key(const cJSON *item) {
    for (int i = 0; i < N_KEYS; i++)
        if (is_key(item, keys[i].name))
            return &keys[i];
    return NULL;
}

static bool bad(Diag *d, const char *key, const char *why) {
    diag_error(d, NOWHERE, "key \"%s\": %s", key, why);
    return false;
}

/* One line of printable ASCII: it goes into commands, LLVM's options and the generated code. */
static bool is_line(const char *s, bool spaces) {
    if (strlen(s) > MOST_TEXT)
        return false;
    for (; *s; s++)
        if (*s < ' ' || *s > '~' || (*s == ' ' && !spaces))
            return false;
    return true;
}

static bool set_text(Arena *a, Diag *d, const struct Key *key, const cJSON *item, const char **out) {
    if (!cJSON_IsString(item))
        return bad(d, key->name, "must be a string");
    if (!is_line(item->valuestring, key->kind == TEXT))
        return bad(d, key->name, key->kind == TEXT ? "must be one line of printable ASCII, of at most 2000 bytes"
                                                   : "must be printable ASCII without spaces, of at most 2000 bytes");
    *out = arena_strdup(a, item->valuestring);
    return true;
}

static bool set_number(Diag *d, const struct Key *key, const cJSON *item, int *out) {
    if (!cJSON_IsNumber(item))
        return bad(d, key->name, "must be a number");
    double x = item->valuedouble;
    if (!(x >= key->least && x <= key->most)) {
        diag_error(d, NOWHERE, "key \"%s\": %g is not in the range %d to %d", key->name, x, key->least, key->most);
        return false;
    }
    *out = (int)x;
    if ((double)*out < x)
        return bad(d, key->name, "must be a whole number");
    return true;
}

static bool set_dot(Diag *d, const cJSON *item, unsigned *out) {
    for (size_t i = 0; cJSON_IsString(item) && i < sizeof dots / sizeof *dots; i++) {
        if (!strcmp(item->valuestring, dots[i].name)) {
            *out = dots[i].dot;
            return true;
        }
    }
    return bad(d, "dot", "must be one of \"none\", \"u8s8\", \"s8s8\", \"u8s8+s8s8\", \"s8s8+pairs\", \"halves\", "
                         "\"halves+along\", \"narrow\", \"rows\"");
}

static bool set(Arena *a, Diag *d, Target *t, const struct Key *key, const cJSON *item) {
    switch (key->kind) {
    case TEXT:
    case WORD: return set_text(a, d, key, item, field(t, key));
    case NUMBER: return set_number(d, key, item, field(t, key));
    case CHOICE: return set_dot(d, item, field(t, key));
    case FLAG: break;
    }
    if (!cJSON_IsBool(item))
        return bad(d, key->name, "must be true or false");
    *(bool *)field(t, key) = cJSON_IsTrue(item);
    return true;
}

/* What no key says by itself. */
static bool consistent(Diag *d, const Target *t) {
    if (t->pointer_bits != 32 && t->pointer_bits != 64)
        return bad(d, "pointer_bits", "must be 32 or 64");
    if (t->vector_bits && (t->vector_bits < 64 || (t->vector_bits & (t->vector_bits - 1))))
        return bad(d, "vector_bits", "must be 0 or a power of two of at least 64");
    if (t->vector_bits && t->vector_registers < 4)
        return bad(d, "vector_registers", "must be at least 4 where there are vectors");
    Memory memory[MOST_MEMORIES];
    if (*t->memory && !firmware_memories(t->memory, memory))
        return bad(d, "memory", "must be two to eight memories, as \"0+512K 0x20000000+4M\": code's, data's, others");
    return true;
}

/* The base, whose values hold where the file is silent; without one they are zero and *inherits is false. */
static bool start_from_base(Arena *a, Diag *d, Target *t, const cJSON *root, int depth, bool *inherits) {
    for (int i = 0; i < N_KEYS; i++)
        if (keys[i].kind <= WORD)
            *(const char **)field(t, &keys[i]) = "";
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "base");
    *inherits = item != NULL;
    if (!item)
        return true;
    if (!cJSON_IsString(item))
        return bad(d, "base", "must be a string");
    if (depth == MOST_BASES)
        return bad(d, "base", "too many of them, one from the other");
    const Target *base = load_named(a, d, item->valuestring, depth + 1);
    if (!base)
        return bad(d, "base", "must be one of those targets");
    *t = *base;
    return true;
}

static bool read_keys(Arena *a, Diag *d, Target *t, const cJSON *root, int depth) {
    bool inherits, seen[N_KEYS] = {false};
    if (!start_from_base(a, d, t, root, depth, &inherits))
        return false;
    for (const cJSON *item = root->child; item; item = item->next) {
        if (is_key(item, "base") || is_key(item, "description")) {
            if (!cJSON_IsString(item))
                return bad(d, item->string, "must be a string");
            continue;
        }
        const struct Key *key = find_key(item);
        if (!key)
            return bad(d, item->string, "there is no such key in a target file");
        if (seen[key - keys])
            return bad(d, key->name, "is there twice");
        seen[key - keys] = true;
        if (!set(a, d, t, key, item))
            return false;
    }
    for (int i = 0; i < N_KEYS && !inherits; i++)
        if (!seen[i] && !keys[i].optional)
            return bad(d, keys[i].name, "is missing, and there is no \"base\" to take it from");
    return consistent(d, t);
}

static int line_of(const char *text, const char *at) {
    int line = 1;
    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

static const Target *parse(Arena *a, Diag *d, const char *text, size_t size, int depth) {
    const char *end = text;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size, &end, false);
    while (root && end < text + size && isspace((unsigned char)*end))
        end++;
    Target *t = ARENA_NEW(a, Target);
    bool ok = false;
    if (!root || end < text + size)
        diag_error(d, NOWHERE, "line %d: this is not JSON", line_of(text, end < text + size ? end : text + size));
    else if (!cJSON_IsObject(root))
        diag_error(d, NOWHERE, "a target file holds one JSON object");
    else
        ok = read_keys(a, d, t, root, depth);
    cJSON_Delete(root);
    return ok ? t : NULL;
}

static const char *stem_of(Arena *a, const char *path) {
    const char *base = file_name(path), *dot = strrchr(base, '.');
    return arena_strndup(a, base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

/* The name is the file's: it stands in the generated code, which must not depend on folders. */
static const Target *with_name(Arena *a, const Target *t, const char *name) {
    if (!t)
        return NULL;
    Target *named = arena_dup(a, t, sizeof *t);
    named->name = name;
    return named;
}

static bool is_shipped(const char *name) {
    return !strncmp(name, "targets/", 8) && file_has_suffix(name, ".json");
}

static void report_unknown(Arena *a, Diag *d, const char *name) {
    char *names = arena_strdup(a, "native");
    for (const EmbeddedFile *f = embedded_files; f->name; f++)
        if (is_shipped(f->name))
            names = arena_printf(a, "%s, %s", names, stem_of(a, f->name));
    diag_error(d, NOWHERE, "unknown target \"%.100s\"; there are %s, and files ending in .json", name, names);
}

static const Target *load_named(Arena *a, Diag *d, const char *name, int depth) {
    if (!strcmp(name, "native"))
        return jit_native_target(a);
    const EmbeddedFile *f = strlen(name) < 100 ? embedded_find(arena_printf(a, "targets/%s.json", name)) : NULL;
    if (!f) {
        report_unknown(a, d, name);
        return NULL;
    }
    char *text = embedded_text(f);
    const Target *t = parse(a, d, text, strlen(text), depth);
    free(text);
    return with_name(a, t, stem_of(a, f->name));
}

static const Target *load_file(Arena *a, Diag *d, const char *path) {
    FileMap map;
    if (!file_map(d, path, &map))
        return NULL;
    const Target *t = NULL;
    if (map.size > MOST_BYTES)
        diag_error(d, NOWHERE, "a target file has at most %d bytes", MOST_BYTES);
    else
        t = parse(a, d, (const char *)map.data, map.size, 0);
    file_unmap(&map);
    const char *name = stem_of(a, path);
    if (t && (!is_line(name, false) || strstr(name, "*/"))) {
        diag_error(d, NOWHERE, "a target file's name must be printable ASCII without spaces");
        return NULL;
    }
    return with_name(a, t, name);
}

bool target_is_file(const char *name) { return strchr(name, '/') || file_has_suffix(name, ".json"); }

const Target *target_load(Arena *a, Diag *d, const char *name) {
    const char *file = d->file;
    bool is_path = target_is_file(name);
    d->file = is_path ? name : NULL;
    const Target *t = is_path ? load_file(a, d, name) : load_named(a, d, name, 0);
    d->file = file;
    return t;
}
