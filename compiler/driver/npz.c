/* SPDX-License-Identifier: Apache-2.0 */
/* Reading .npz: the ZIP format as far as numpy.savez and savez_compressed write it (APPNOTE.TXT of PKWARE, sections 4.3.7,
 * 4.3.12 and 4.3.16). Sizes come from the central directory. */
#include "driver/npz.h"

#include <string.h>

#include "support/file.h"
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

enum { END_SIZE = 22, ENTRY_SIZE = 46, LOCAL_SIZE = 30, STORED = 0, DEFLATED = 8 };
enum { MOST_EXPANSION = 1040 }; /* of deflate */

typedef struct Entry {
    const char *name;
    unsigned method;
    size_t packed, size, local; /* bytes in the file, of the content, and the place of its local header */
} Entry;

static size_t le16(const uint8_t *p) { return (size_t)p[0] | (size_t)p[1] << 8; }
static size_t le32(const uint8_t *p) { return le16(p) | le16(p + 2) << 16; }

/* The end record, which a comment of up to 65535 bytes may follow. */
static const uint8_t *find_end(const FileMap *map) {
    for (size_t back = END_SIZE; back <= map->size && back <= END_SIZE + 65535; back++)
        if (!memcmp(map->data + map->size - back, "PK\5\6", 4))
            return map->data + map->size - back;
    return NULL;
}

static const char *inflate_entry(const uint8_t *data, const Entry *e, uint8_t *out) {
#ifdef HAVE_ZLIB
    z_stream z = {0};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return "zlib does not start";
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)e->packed;
    z.next_out = out;
    z.avail_out = (uInt)e->size;
    int status = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return status == Z_STREAM_END && z.total_out == e->size ? NULL : "its compressed content is damaged";
#else
    (void)data, (void)e, (void)out;
    return "it is compressed, and mlcc was built without zlib; numpy.savez writes it uncompressed";
#endif
}

static const char *read_content(Arena *a, const FileMap *map, const Entry *e, FileMap *out) {
    if (e->local > map->size || map->size - e->local < LOCAL_SIZE || memcmp(map->data + e->local, "PK\3\4", 4))
        return "its directory is damaged";
    const uint8_t *local = map->data + e->local;
    size_t start = LOCAL_SIZE + le16(local + 26) + le16(local + 28), room = map->size - e->local;
    if (start > room || e->packed > room - start)
        return "it is cut off";
    if (e->method == STORED && e->packed == e->size) {
        *out = (FileMap){local + start, e->size};
        return NULL;
    }
    if (e->method != DEFLATED)
        return "it is compressed in a way that mlcc does not know";
    if (e->size / MOST_EXPANSION > e->packed)
        return "its directory is damaged";
    uint8_t *bytes = arena_alloc(a, e->size + 1);
    *out = (FileMap){bytes, e->size};
    return inflate_entry(local + start, e, bytes);
}

/* Takes the next entry off the directory. */
static const char *next_entry(Arena *a, const FileMap *map, size_t *at, Entry *e) {
    const uint8_t *p = map->data + *at;
    if (*at > map->size || map->size - *at < ENTRY_SIZE || memcmp(p, "PK\1\2", 4))
        return "its directory is damaged";
    size_t name = le16(p + 28), whole = ENTRY_SIZE + name + le16(p + 30) + le16(p + 32);
    if (whole > map->size - *at)
        return "its directory is damaged";
    *e = (Entry){arena_strndup(a, (const char *)p + ENTRY_SIZE, name), (unsigned)le16(p + 10), le32(p + 20), le32(p + 24),
                 le32(p + 42)};
    *at += whole;
    if (e->packed == UINT32_MAX || e->size == UINT32_MAX || e->local == UINT32_MAX)
        return "it is larger than 4 GiB";
    return NULL;
}

static const char *read_entry(Arena *a, const FileMap *map, const Entry *e, Npz *out) {
    if (!file_has_suffix(e->name, ".npy"))
        return NULL;
    FileMap content;
    NpzArray array = {.name = arena_strndup(a, e->name, strlen(e->name) - 4)};
    const char *why = read_content(a, map, e, &content);
    if (!why)
        why = tensor_parse_npy(a, &content, &array.tensor);
    if (!why)
        VEC_PUSH(a, &out->arrays, array);
    return why == tensor_npy_type ? NULL : why;
}

static const char *read_entries(Arena *a, const FileMap *map, Npz *out, const char **name) {
    const uint8_t *end = find_end(map);
    if (!end)
        return "it is not a .npz file";
    size_t at = le32(end + 16), n = le16(end + 10);
    for (size_t i = 0; i < n; i++) {
        Entry e;
        const char *why = next_entry(a, map, &at, &e);
        if (why)
            return why;
        *name = e.name;
        if ((why = read_entry(a, map, &e, out)) != NULL)
            return why;
    }
    return NULL;
}

bool npz_read(Arena *a, Diag *d, const char *path, Npz *out) {
    FileMap map;
    const char *name = "";
    *out = (Npz){0};
    if (!file_map(d, path, &map))
        return false;
    const char *why = read_entries(a, &map, out, &name);
    file_unmap(&map);
    if (why)
        diag_error(d, NOWHERE, "cannot read \"%s\"%s%s: %s", path, *name ? ", " : "", name, why);
    return !why;
}
