/* SPDX-License-Identifier: Apache-2.0 */
/* driver/target.c: the shipped targets, users' files, and every way in which one can be wrong. */
#define _DEFAULT_SOURCE /* mkstemps */
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "driver/target.h"
#include "support/embed.h"
#include "unit.h"

static Arena *arena;
static char path[] = "/tmp/mlcc-target-XXXXXX.json";
static char *message; /* what the last load printed */
static size_t message_size;

static void open_all(void) {
    arena = arena_new();
    int fd = mkstemps(path, 5);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void close_all(void) {
    unlink(path);
    free(message);
    message = NULL;
    arena_free(arena);
}

static const Target *load(const char *name) {
    free(message);
    FILE *f = open_memstream(&message, &message_size);
    Diag d = {.stream = f, .file = "model.onnx"};
    const Target *t = target_load(arena, &d, name);
    fclose(f);
    ck_assert_str_eq(d.file, "model.onnx");
    ck_assert_int_eq(t == NULL, d.errors != 0);
    return t;
}

static const Target *load_text(const char *text, size_t size) {
    unlink(path); /* file systems write at once what takes the place of a file's content */
    FILE *f = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(text, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
    return load(path);
}

static bool is_json(const char *name) {
    return !strncmp(name, "targets/", 8) && strlen(name) > 5 && !strcmp(name + strlen(name) - 5, ".json");
}

START_TEST(shipped_targets_load) {
    int n = 0;
    for (const EmbeddedFile *f = embedded_files; f->name; f++) {
        if (!is_json(f->name))
            continue;
        char *name = arena_strndup(arena, f->name + 8, strlen(f->name) - 13);
        const Target *t = load(name);
        ck_assert_msg(t != NULL, "%s: %s", name, message);
        ck_assert_str_eq(t->name, name);
        ck_assert(!t->vector_bits || t->vector_registers >= 8);
        n++;
    }
    ck_assert_int_ge(n, 9);
}
END_TEST

START_TEST(fields_arrive) {
    const Target *t = load("x86-64-v4");
    ck_assert_int_eq(t->vector_bits, 512);
    ck_assert_int_eq(t->vector_registers, 32);
    ck_assert(t->fma && t->float32 && t->float64);
    ck_assert_ptr_nonnull(strstr(t->c_guard, "__AVX512VL__"));
    t = load("cortex-m4");
    ck_assert_int_eq(t->pointer_bits, 32);
    ck_assert(!t->float64);
    ck_assert_str_eq(t->triple, "thumbv7em-none-eabihf");
    ck_assert_str_eq(load("riscv64-v")->abi, "lp64d");
    ck_assert_str_eq(load("native")->name, "native");
    ck_assert_uint_eq(load("cortex-a76")->dot, DOT_S8S8);
    ck_assert_uint_eq(load("neoverse-n2")->dot, DOT_S8S8 | DOT_PAIRS);
    ck_assert_uint_eq(load("generic")->dot, DOT_ROWS);
}
END_TEST

START_TEST(unknown_names_list_the_known) {
    static const char *const names[] = {"", "gneric", "../generic", "generic.json.json", "/", "%s%n", "x/generic"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_ptr_null(load(names[i]));
    load("gneric");
    ck_assert_ptr_nonnull(strstr(message, "\"gneric\""));
    ck_assert_ptr_nonnull(strstr(message, "native"));
    ck_assert_ptr_nonnull(strstr(message, "cortex-m4"));
}
END_TEST

START_TEST(base_gives_what_the_file_leaves_out) {
    static const char text[] = "{\"base\": \"rpi4\", \"description\": \"a newer one\", \"cpu\": \"cortex-a76\", "
                               "\"l2\": 524288, \"fma\": false}\n";
    const Target *t = load_text(text, sizeof text - 1), *rpi4 = load("rpi4");
    ck_assert_ptr_nonnull(t);
    ck_assert_str_eq(t->cpu, "cortex-a76");
    ck_assert_int_eq(t->l2, 524288);
    ck_assert(!t->fma && rpi4->fma);
    ck_assert_str_eq(t->triple, rpi4->triple);
    ck_assert_int_eq(t->vector_bits, rpi4->vector_bits);
    ck_assert(!strncmp(t->name, "mlcc-target-", 12) && !strchr(t->name, '.'));
}
END_TEST

START_TEST(this_machine_is_a_base) {
    static const char text[] = "{\"base\": \"native\", \"cflags\": \"-O1\"}";
    const Target *t = load_text(text, sizeof text - 1);
    ck_assert_msg(t != NULL, "%s", message);
    ck_assert_str_eq(t->cflags, "-O1");
    ck_assert_str_eq(t->memory, "");
}
END_TEST

static const struct {
    const char *text, *says;
} wrong[] = {
    {"", "not JSON"},
    {"[]", "one JSON object"},
    {"{} {}", "not JSON"},
    {"{\n\n\"base\": generic}", "line 3"},
    {"{}", "\"triple\": is missing"},
    {"{\"base\": 1}", "\"base\""},
    {"{\"base\": \"pdp11\"}", "\"pdp11\""},
    {"{\"base\": \"./x.json\"}", "\"base\""},
    {"{\"base\": \"rpi4\", \"speed\": 3}", "\"speed\": there is no such key"},
    {"{\"base\": \"rpi4\", \"\": 3}", "no such key"},
    {"{\"base\": \"rpi4\", \"description\": 3}", "\"description\": must be a string"},
    {"{\"base\": \"rpi4\", \"l1\": 3, \"l1\": 4}", "\"l1\": is there twice"},
    {"{\"base\": \"rpi4\", \"l1\": \"3\"}", "\"l1\": must be a number"},
    {"{\"base\": \"rpi4\", \"l1\": -1}", "\"l1\": -1 is not in the range"},
    {"{\"base\": \"rpi4\", \"l1\": 1e300}", "\"l1\": 1e+300 is not in the range"},
    {"{\"base\": \"rpi4\", \"l1\": 0.5}", "\"l1\": must be a whole number"},
    {"{\"base\": \"rpi4\", \"fma\": 1}", "\"fma\": must be true or false"},
    {"{\"base\": \"rpi4\", \"dot\": true}", "\"dot\": must be one of"},
    {"{\"base\": \"rpi4\", \"dot\": \"u9\"}", "\"dot\": must be one of"},
    {"{\"base\": \"rpi4\", \"cpu\": null}", "\"cpu\": must be a string"},
    {"{\"base\": \"rpi4\", \"cpu\": \"cortex a72\"}", "\"cpu\": must be printable ASCII without spaces"},
    {"{\"base\": \"rpi4\", \"c_guard\": \"1\\n#error\"}", "\"c_guard\": must be one line"},
    {"{\"base\": \"rpi4\", \"pointer_bits\": 48}", "\"pointer_bits\": must be 32 or 64"},
    {"{\"base\": \"rpi4\", \"vector_bits\": 96}", "\"vector_bits\": must be 0 or a power of two"},
    {"{\"base\": \"cortex-m4\", \"memory\": 4}", "\"memory\": must be a string"},
    {"{\"base\": \"cortex-m4\", \"memory\": \"0+4M\"}", "\"memory\": must be two to eight memories"},
    {"{\"base\": \"cortex-m4\", \"memory\": \"0+4M 0x20000000\"}", "\"memory\": must be two"},
    {"{\"base\": \"cortex-m4\", \"memory\": \"0+4M 0x20000000+0\"}", "\"memory\": must be two"},
    {"{\"base\": \"cortex-m4\", \"memory\": \"0+4M -1+4M\"}", "\"memory\": must be two"},
    {"{\"base\": \"cortex-m4\", \"memory\": \"0+4M 0xfff00000+1M 0xfff00000+2M\"}", "\"memory\": must be two"},
    {"{\"base\": \"cortex-m4\", \"memory\": \"0+1 2+1 4+1 6+1 8+1 10+1 12+1 14+1 16+1\"}", "\"memory\": must be two"},
    {"{\"base\": \"rpi4\", \"vector_registers\": 0}", "\"vector_registers\": must be at least 4"},
};

START_TEST(mistakes_are_named) {
    ck_assert_ptr_null(load_text(wrong[_i].text, strlen(wrong[_i].text)));
    ck_assert_msg(strstr(message, wrong[_i].says) != NULL, "%s gives: %s", wrong[_i].text, message);
    ck_assert_msg(strstr(message, path) != NULL, "without the file's name: %s", message);
}
END_TEST

START_TEST(files_that_cannot_be_read) {
    ck_assert_ptr_null(load("/tmp/there/is/none.json"));
    ck_assert_ptr_null(load("/tmp/"));
    size_t size = 1 << 17;
    char *text = arena_alloc(arena, size);
    memset(text, ' ', size);
    ck_assert_ptr_null(load_text(text, size));
    ck_assert_ptr_nonnull(strstr(message, "at most 65536 bytes"));
    memset(text, '[', size);
    ck_assert_ptr_null(load_text(text, 60000));
    ck_assert_ptr_null(load_text("{\"base\": \"rpi4\"}\0", 17));
}
END_TEST

/* The text of a shipped target is long enough to hold every kind of value. */
START_TEST(cut_off_and_damaged_files_end_in_diagnostics) {
    char *text = embedded_text(embedded_find("targets/x86-64-v3.json"));
    size_t whole = strlen(text);
    while (text[whole - 1] == '\n')
        whole--;
    ck_assert_ptr_nonnull(load_text(text, whole));
    for (size_t n = 0; n < whole; n++)
        ck_assert_msg(!load_text(text, n), "the first %zu bytes load", n);
    static const char marks[] = "\"{}[]:,0-\\\n\377";
    for (size_t n = 0; n < whole; n++) {
        char kept = text[n];
        for (size_t k = 0; k < sizeof marks; k++) {
            text[n] = marks[k];
            load_text(text, whole);
        }
        text[n] = kept;
    }
    free(text);
}
END_TEST

static Suite *target_suite(void) {
    Suite *suite = suite_create("target");
    TCase *t = tcase_create("target");
    tcase_add_checked_fixture(t, open_all, close_all);
    tcase_add_test(t, shipped_targets_load);
    tcase_add_test(t, fields_arrive);
    tcase_add_test(t, unknown_names_list_the_known);
    tcase_add_test(t, base_gives_what_the_file_leaves_out);
    tcase_add_test(t, this_machine_is_a_base);
    tcase_add_loop_test(t, mistakes_are_named, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(t, files_that_cannot_be_read);
    tcase_add_test(t, cut_off_and_damaged_files_end_in_diagnostics);
    suite_add_tcase(suite, t);
    return suite;
}

int main(void) { return unit_run("target", target_suite()); }
