/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes tuning files. */
#include "driver/tuning.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "driver/version.h"
#include "support/embed.h"

enum { MOST_BYTES = 1 << 24, HASH_DIGITS = 16 };

static bool bad(Diag *d, const char *key, const char *why) {
    diag_error(d, NOWHERE, "key \"%.100s\": %s", key, why);
    return false;
}

static bool parse_hash(const char *s, uint64_t *hash) {
    if (strlen(s) != HASH_DIGITS || strspn(s, "0123456789abcdef") != HASH_DIGITS)
        return false;
    *hash = strtoull(s, NULL, 16);
    return true;
}

static const ScheduleField *find_field(const char *name) {
    const ScheduleField *f = schedule_fields;
    while (f->name && strcmp(f->name, name) != 0)
        f++;
    return f->name ? f : NULL;
}

static bool read_field(Diag *d, const ScheduleField *f, const cJSON *item, int *out) {
    double x = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (!(x >= f->least && x <= f->most) || x > (double)(int)x || (f->power_of_two && ((int)x & ((int)x - 1)))) {
        diag_error(d, NOWHERE, "key \"%s\": must be a %s of %d to %d", f->name, f->power_of_two ? "power of two" : "number",
                   f->least, f->most);
        return false;
    }
    *out = (int)x;
    return true;
}

static bool read_entry(Arena *a, Diag *d, const cJSON *item, ScheduleTable *out) {
    ScheduleEntry e = {0};
    if (!parse_hash(item->string, &e.kernel))
        return bad(d, item->string, "a kernel is named by 16 digits of 0-9 and a-f");
    if (!cJSON_IsObject(item))
        return bad(d, item->string, "must be an object");
    if (schedule_find(out, e.kernel))
        return bad(d, item->string, "is there twice");
    for (const cJSON *i = item->child; i; i = i->next) {
        const ScheduleField *f = find_field(i->string);
        if (!f)
            diag_warning(d, NOWHERE, "key \"%.100s\" is unknown and ignored", i->string);
        else if (!read_field(d, f, i, schedule_field(&e.choice, f)))
            return false;
    }
    schedule_put(a, out, e);
    return true;
}

static bool is_one_of(const char *s, const char *const *names) {
    while (*names && strcmp(s, *names) != 0)
        names++;
    return *names != NULL;
}

static bool has_text(Diag *d, const cJSON *root, const char *key, const char **text) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsString(item))
        return bad(d, key, item ? "must be a string" : "is missing");
    *text = item->valuestring;
    return true;
}

/* For t alone, unless that is NULL. */
static bool read_root(Arena *a, Diag *d, const cJSON *root, const Target *t, ScheduleTable *out) {
    const char *version, *target, *cpu;
    const cJSON *kernels = cJSON_GetObjectItemCaseSensitive(root, "kernels");
    if (!has_text(d, root, "mlcc", &version) || !has_text(d, root, "target", &target) || !has_text(d, root, "cpu", &cpu))
        return false;
    if (!cJSON_IsObject(kernels))
        return bad(d, "kernels", kernels ? "must be an object" : "is missing");
    for (const cJSON *i = root->child; i; i = i->next)
        if (!is_one_of(i->string, (const char *const[]){"mlcc", "target", "cpu", "kernels", NULL}))
            diag_warning(d, NOWHERE, "key \"%.100s\" is unknown and ignored", i->string);
    for (const cJSON *i = kernels->child; i; i = i->next)
        if (!read_entry(a, d, i, out))
            return false;
    if (t && (strcmp(target, t->name) != 0 || strcmp(cpu, t->cpu) != 0)) {
        diag_warning(d, NOWHERE, "tuned for target %.100s (%.100s), not for %s (%s): ignored", target, cpu, t->name, t->cpu);
        *out = (ScheduleTable){0};
    }
    return true;
}

static bool parse(Arena *a, Diag *d, const char *text, size_t size, const Target *t, ScheduleTable *out) {
    const char *end = text;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size, &end, false);
    while (root && end < text + size && isspace((unsigned char)*end))
        end++;
    bool ok = false;
    if (!root || end < text + size) {
        int line = 1;
        for (const char *p = text; p < end && p < text + size; p++)
            line += *p == '\n';
        diag_error(d, NOWHERE, "line %d: this is not JSON", line);
    } else if (!cJSON_IsObject(root)) {
        diag_error(d, NOWHERE, "a tuning file holds one JSON object");
    } else {
        ok = read_root(a, d, root, t, out);
    }
    cJSON_Delete(root);
    return ok;
}

bool tuning_shipped(Arena *a, Diag *d, const Target *t, ScheduleTable *out) {
    *out = (ScheduleTable){0};
    const EmbeddedFile *f = *t->tuning ? embedded_find(arena_printf(a, "tuning/%s.json", t->tuning)) : NULL;
    if (!f) {
        if (*t->tuning)
            diag_error(d, NOWHERE, "target %s: there is no tuning table \"%s\"", t->name, t->tuning);
        return !*t->tuning;
    }
    char *text = embedded_text(f);
    bool ok = parse(a, d, text, strlen(text), NULL, out);
    free(text);
    return ok;
}

bool tuning_read(Arena *a, Diag *d, const char *path, const Target *t, ScheduleTable *out) {
    const char *model = d->file;
    FileMap map;
    bool ok = false;
    *out = (ScheduleTable){0};
    d->file = path;
    if (file_map(d, path, &map)) {
        if (map.size > MOST_BYTES)
            diag_error(d, NOWHERE, "a tuning file has at most %d bytes", MOST_BYTES);
        else
            ok = parse(a, d, (const char *)map.data, map.size, t, out);
        file_unmap(&map);
    }
    d->file = model;
    return ok;
}

static void add_entry(cJSON *kernels, const ScheduleEntry *e) {
    char name[HASH_DIGITS + 1];
    snprintf(name, sizeof name, "%016llx", (unsigned long long)e->kernel);
    cJSON *item = cJSON_AddObjectToObject(kernels, name);
    ScheduleChoice c = e->choice;
    for (const ScheduleField *f = schedule_fields; f->name; f++)
        if (*schedule_field(&c, f))
            cJSON_AddNumberToObject(item, f->name, *schedule_field(&c, f));
}

bool tuning_write(Diag *d, const char *path, const Target *t, const ScheduleTable *table) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "mlcc", MLCC_VERSION);
    cJSON_AddStringToObject(root, "target", t->name);
    cJSON_AddStringToObject(root, "cpu", t->cpu);
    cJSON *kernels = cJSON_AddObjectToObject(root, "kernels");
    for (int i = 0; i < table->entries.len; i++)
        add_entry(kernels, &table->entries.data[i]);
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    if (!text) {
        diag_error(d, NOWHERE, "out of memory");
        return false;
    }
    Outputs *out = outputs_new(d);
    FILE *f = outputs_open(out, path);
    if (f)
        fprintf(f, "%s\n", text);
    free(text);
    if (f)
        return outputs_commit(out);
    outputs_discard(out);
    return false;
}
