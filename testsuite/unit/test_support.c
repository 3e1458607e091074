/* SPDX-License-Identifier: Apache-2.0 */
/* support/: regions, maps, identifiers, half floats, outputs. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/arena.h"
#include "support/dtype.h"
#include "support/embed.h"
#include "support/file.h"
#include "support/ident.h"
#include "support/strbuf.h"
#include "support/strmap.h"
#include "unit.h"

START_TEST(arena_is_zeroed_and_aligned) {
    Arena *a = arena_new();
    for (size_t size = 1; size < 100000; size = size * 3 + 1) {
        unsigned char *p = arena_alloc(a, size);
        ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            ck_assert_uint_eq(p[i], 0);
        memset(p, 255, size);
    }
    arena_free(a);
}
END_TEST

START_TEST(vectors_grow) {
    Arena *a = arena_new();
    VEC(int) v = {0};
    for (int i = 0; i < 1000; i++)
        VEC_PUSH(a, &v, i);
    ck_assert_int_eq(v.len, 1000);
    for (int i = 0; i < v.len; i++)
        ck_assert_int_eq(v.data[i], i);
    arena_free(a);
}
END_TEST

START_TEST(maps_find_replace_and_miss) {
    Arena *a = arena_new();
    StrMap m = {0};
    int value[500], other;
    for (int i = 0; i < 500; i++)
        strmap_put(a, &m, arena_printf(a, "key%d", i), &value[i]);
    strmap_put(a, &m, "key7", &other);
    ck_assert_int_eq(m.len, 500);
    ck_assert_ptr_eq(strmap_get(&m, "key7"), &other);
    ck_assert_ptr_eq(strmap_get(&m, "key499"), &value[499]);
    ck_assert_ptr_null(strmap_get(&m, "key500"));
    ck_assert_ptr_null(strmap_get(&(StrMap){0}, ""));
    arena_free(a);
}
END_TEST

START_TEST(identifiers_are_legal_and_unique) {
    static const char *const names[] = {"input.1", "input 1", "int", "arena", "3d", "", "///", "\xc3\xa9", "class"};
    Arena *a = arena_new();
    StrMap taken = {0}, seen = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *id = ident_unique(a, &taken, names[i]);
        ck_assert_ptr_null(strmap_get(&seen, id));
        strmap_put(a, &seen, id, a);
        ck_assert_msg(strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == strlen(id), "%s", id);
        ck_assert_msg(*id && !strchr("0123456789_", *id), "%s", id);
        ck_assert_str_ne(id, "int");
        ck_assert_str_ne(id, "arena");
        ck_assert_str_ne(id, "class");
    }
    arena_free(a);
}
END_TEST

START_TEST(halves_survive_the_way_through_float) {
    for (unsigned bits = 0; bits < 65536; bits++) {
        float half = half_to_float((uint16_t)bits), bfloat = bfloat_to_float((uint16_t)bits);
        if (!isnan(half))
            ck_assert_uint_eq(float_to_half(half), bits);
        else
            ck_assert(isnan(half_to_float(float_to_half(half))));
        if (!isnan(bfloat))
            ck_assert_uint_eq(float_to_bfloat(bfloat), bits);
        else
            ck_assert(isnan(bfloat_to_float(float_to_bfloat(bfloat))));
    }
}
END_TEST

START_TEST(halves_round_to_nearest_even) {
    ck_assert_uint_eq(float_to_half(1.0f + 0x1p-11f), 0x3c00);           /* a tie goes to even, down */
    ck_assert_uint_eq(float_to_half(1.0f + 0x1p-10f + 0x1p-11f), 0x3c02); /* and up */
    ck_assert_uint_eq(float_to_half(1.0f + 0x1p-11f + 0x1p-20f), 0x3c01);
    ck_assert_uint_eq(float_to_half(65520.0f), 0x7c00);
    ck_assert_uint_eq(float_to_half(0x1p-25f), 0);
    ck_assert_uint_eq(float_to_half(0x1.8p-25f), 1);
    ck_assert_uint_eq(float_to_bfloat(1.0f + 0x1p-8f), 0x3f80);
    ck_assert_uint_eq(float_to_bfloat(1.0f + 0x1p-7f + 0x1p-8f), 0x3f82);
}
END_TEST

START_TEST(types_have_one_name_each) {
    for (int t = DT_NONE + 1; t < DT_COUNT; t++) {
        const char *name = dtype_name((DType)t);
        ck_assert_int_eq((int)dtype_parse(name, (int)strlen(name)), t);
    }
    ck_assert_int_eq(dtype_parse("f31", 3), DT_NONE);
    ck_assert_int_eq(dtype_from_onnx(1), DT_F32);
    ck_assert_int_eq(dtype_from_onnx(-5), DT_NONE);
    ck_assert_int_eq(dtype_from_onnx(9999), DT_NONE);
}
END_TEST

static int exists(const char *folder, const char *name) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

START_TEST(outputs_appear_whole_or_not_at_all) {
    char folder[] = "/tmp/mlcc-unit-XXXXXX", path[300];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    Diag silent = {0};
    for (int commit = 0; commit < 2; commit++) {
        Outputs *o = outputs_new(&silent);
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%d.txt", folder, i);
            FILE *f = outputs_open(o, path);
            ck_assert_ptr_nonnull(f);
            fputs("text", f);
        }
        ck_assert(!exists(folder, "0.txt") && !exists(folder, "1.txt"));
        if (commit)
            ck_assert(outputs_commit(o));
        else
            outputs_discard(o);
        ck_assert_int_eq(exists(folder, "0.txt") && exists(folder, "1.txt"), commit);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%d.txt", folder, i);
        remove(path);
    }
    ck_assert_msg(rmdir(folder) == 0, "nothing else was left");
}
END_TEST

START_TEST(full_disks_and_missing_folders_are_reported) {
    Diag silent = {0};
    Outputs *o = outputs_new(&silent);
    ck_assert_ptr_null(outputs_open(o, "/nonexistent/folder/x.c"));
    ck_assert_int_eq(silent.errors, 1);
    outputs_discard(o);
    if (access("/dev/full", W_OK))
        return;
    o = outputs_new(&silent);
    fputs("text", outputs_open(o, "/dev/full"));
    ck_assert(!outputs_commit(o));
    ck_assert_int_eq(silent.errors, 2);
}
END_TEST

START_TEST(embedded_text_is_found_by_its_path) {
    ck_assert_ptr_null(embedded_find("targets/none.json"));
    for (const EmbeddedFile *f = embedded_files; f->name; f++) {
        ck_assert_ptr_eq(embedded_find(f->name), f);
        char *text = embedded_text(f);
        ck_assert_msg(*text && text[strlen(text) - 1] == '\n', "%s", f->name);
        free(text);
    }
}
END_TEST

static Suite *support_suite(void) {
    Suite *s = suite_create("support");
    TCase *t = tcase_create("support");
    suite_add_tcase(s, t);
    tcase_add_test(t, arena_is_zeroed_and_aligned);
    tcase_add_test(t, vectors_grow);
    tcase_add_test(t, maps_find_replace_and_miss);
    tcase_add_test(t, identifiers_are_legal_and_unique);
    tcase_add_test(t, halves_survive_the_way_through_float);
    tcase_add_test(t, halves_round_to_nearest_even);
    tcase_add_test(t, types_have_one_name_each);
    tcase_add_test(t, outputs_appear_whole_or_not_at_all);
    tcase_add_test(t, full_disks_and_missing_folders_are_reported);
    tcase_add_test(t, embedded_text_is_found_by_its_path);
    return s;
}

int main(void) { return unit_run("support", support_suite()); }
