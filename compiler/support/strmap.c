/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing with linear probing; FNV-1a. */
#include "support/strmap.h"

#include <stdint.h>
#include <string.h>

typedef struct StrEntry {
    const char *key;
    void *value;
    uint32_t hash;
} StrEntry;

static uint32_t hash_of(const char *s) {
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static StrEntry *find(const StrMap *m, const char *key, uint32_t hash) {
    uint32_t mask = (uint32_t)m->cap - 1, i = hash & mask;
    while (m->slot[i].key && (m->slot[i].hash != hash || strcmp(m->slot[i].key, key)))
        i = (i + 1) & mask;
    return &m->slot[i];
}

void *strmap_get(const StrMap *m, const char *key) {
    return m->cap ? find(m, key, hash_of(key))->value : NULL;
}

void strmap_put(Arena *a, StrMap *m, const char *key, void *value) {
    if (2 * (m->len + 1) > m->cap) {
        StrMap larger = {NULL, m->len, m->cap ? m->cap * 2 : 16};
        larger.slot = ARENA_ARRAY(a, StrEntry, larger.cap);
        for (int i = 0; i < m->cap; i++)
            if (m->slot[i].key)
                *find(&larger, m->slot[i].key, m->slot[i].hash) = m->slot[i];
        *m = larger;
    }
    uint32_t hash = hash_of(key);
    StrEntry *e = find(m, key, hash);
    m->len += !e->key;
    *e = (StrEntry){key, value, hash};
}
