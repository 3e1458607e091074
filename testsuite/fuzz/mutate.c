/* SPDX-License-Identifier: Apache-2.0 */
/* Truncations and random mutations of models, the same in every run.
 *
 *     fuzz_model [-n RUNS] [-t SECONDS] [-k ONLY] [-o FILE] [MODEL.onnx...]
 *
 * Every model (three built in, where none is named) is cut at every byte, if it is small, and mutated RUNS times, or
 * until its share of the SECONDS is over. The work is done in a child process: one that dies is one failure, named by model and number,
 * and the next child goes on behind it. -k runs one mutation only, in this process; -o writes it to a file. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "frontend/wire.h"
#include "one.h"
#include "samples.h"
#include "support/file.h"

enum {
    CUT_UP_TO = 1 << 17, /* bytes of a model that is cut at every byte */
    ROOM = 512,        /* how much a mutation may add */
    SECONDS = 30,      /* one model must not take longer */
    MAX_FAILURES = 10,
};

typedef struct Subject {
    Sample sample;
    size_t *place; /* of the bytes that are not elements of tensors */
    size_t n_places;
    uint8_t *buffer; /* size + ROOM */
} Subject;

static uint64_t state;

static uint64_t random_bits(void) { /* splitmix64 */
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t random_below(size_t n) { return n ? (size_t)(random_bits() % n) : 0; }

/* Elements are most of a model and hardly matter: nine mutations of ten hit the rest. */
static void find_places(Subject *s) {
    const Sample *m = &s->sample;
    Arena *a = arena_new();
    Diag d = {0};
    WireTensors tensors = {0};
    char *is_element = calloc(m->size + 1, 1);
    wire_unpack(a, &d, &onnx__model_proto__descriptor, m->bytes, m->size, &tensors);
    for (int i = 0; i < tensors.list.len; i++)
        for (int f = 0; f < WIRE_DATA_FIELDS; f++)
            if (tensors.list.data[i].pieces[f] && tensors.list.data[i].packed[f].size)
                memset(is_element + (tensors.list.data[i].packed[f].data - (uint8_t *)m->bytes), 1,
                       tensors.list.data[i].packed[f].size);
    s->place = malloc((m->size + 1) * sizeof *s->place);
    for (size_t i = 0; i < m->size; i++)
        if (!is_element[i])
            s->place[s->n_places++] = i;
    s->buffer = malloc(m->size + ROOM);
    free(is_element);
    arena_free(a);
}

static size_t random_place(const Subject *s, size_t size) {
    size_t at = random_below(10) ? s->place[random_below(s->n_places)] : random_below(size);
    return at < size ? at : random_below(size);
}

static size_t mutate_once(const Subject *s, uint8_t *p, size_t size, size_t limit) {
    static const uint8_t special[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x0a, 0x3a};
    if (!size)
        return 0;
    size_t at = random_place(s, size), n = 1 + random_below(8), from = random_below(size);
    if (n > size - at)
        n = size - at;
    if (from > size - n)
        from = size - n;
    switch (random_below(9)) {
    case 0: p[at] ^= (uint8_t)(1u << random_below(8)); return size;
    case 1: p[at] = (uint8_t)random_bits(); return size;
    case 2: p[at] = special[random_below(sizeof special)]; return size;
    case 3: p[at] = (uint8_t)(p[at] + 1 - 2 * random_below(2)); return size;
    case 4: /* a large number where a small one was */
        n = 1 + random_below(10);
        if (n > size - at)
            n = size - at;
        memset(p + at, 0xff, n);
        p[at + n - 1] = 1;
        return size;
    case 5: memmove(p + at, p + at + n, size - at - n); return size - n;
    case 6:
        if (size + n > limit)
            return size;
        memmove(p + at + n, p + at, size - at);
        return size + n;
    case 7: memmove(p + at, p + from, n); return size;
    default: return random_below(50) ? size : at;
    }
}

static size_t mutation(const Subject *s, int64_t k) {
    size_t size = s->sample.size;
    memcpy(s->buffer, s->sample.bytes, size);
    state = (uint64_t)k * UINT64_C(0x2545f4914f6cdd1d) + size;
    for (size_t n = 1 + random_below(4); n; n--)
        size = mutate_once(s, s->buffer, size, s->sample.size + ROOM);
    return size;
}

/* Numbers below zero are truncations: -1 is the empty model. */
static size_t input(const Subject *s, int64_t k) {
    if (k >= 0)
        return mutation(s, k);
    size_t size = -1 - k < (int64_t)s->sample.size ? (size_t)(-1 - k) : s->sample.size;
    memcpy(s->buffer, s->sample.bytes, size);
    return size;
}

/* In memory of its very size, so that sanitizers see a byte too many. */
static bool run(const Subject *s, int64_t k) {
    size_t size = input(s, k);
    void *exact = malloc(size ? size : 1);
    memcpy(exact, s->buffer, size);
    bool kept = fuzz_one(exact, size);
    free(exact);
    return kept;
}

typedef struct Progress {
    int64_t at, runs;
    double until;
    bool broke; /* fuzz_one said false */
} Progress;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#if defined __SANITIZE_ADDRESS__
#define ADDRESS_SANITIZER
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER
#endif
#endif

#ifdef ADDRESS_SANITIZER
const char *__asan_default_options(void);

/* Leaks are none: LLVM keeps some memory to the end, and a compilation frees its own in one go. */
const char *__asan_default_options(void) {
    return "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024:quarantine_size_mb=16";
}
#endif

/* A few bytes must not ask for all memory. The sanitizer needs the address space for itself. */
static void limit_memory(void) {
#ifndef ADDRESS_SANITIZER
    rlim_t most = (rlim_t)4 << 30;
    setrlimit(RLIMIT_AS, &(struct rlimit){most, most});
#endif
}

static void child(const Subject *s, Progress *p, int64_t to) {
    limit_memory();
    for (; p->at < to && now() < p->until; p->at++, p->runs++) {
        alarm(SECONDS);
        if (!run(s, p->at)) {
            p->broke = true;
            _exit(2);
        }
    }
    _exit(0);
}

static int run_range(const Subject *s, Progress *p, int64_t from, int64_t to) {
    int failures = 0;
    for (p->at = from; p->at < to && failures < MAX_FAILURES; p->at++) {
        fflush(NULL);
        p->broke = false;
        pid_t pid = fork();
        if (pid == 0)
            child(s, p, to);
        int status;
        if (pid < 0 || waitpid(pid, &status, 0) < 0) {
            perror("fuzz_model");
            exit(1);
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            break;
        failures++;
        const char *what = p->broke ? "diagnostics and outcome differ"
                           : WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "takes too long"
                           : WIFSIGNALED(status) ? strsignal(WTERMSIG(status))
                                                 : "ended the program";
        printf("FAIL %s: %s; fuzz_model -k %lld\n", s->sample.name, what, (long long)p->at);
    }
    return failures;
}

static Sample sample_file(const char *path) {
    Diag d = {.stream = stderr};
    FileMap map;
    if (!file_map(&d, path, &map))
        exit(1);
    Sample s = {path, malloc(map.size + 1), map.size};
    memcpy(s.bytes, map.data, map.size);
    file_unmap(&map);
    return s;
}

static int only(const Subject *s, int64_t k, const char *output) {
    if (output) {
        size_t size = input(s, k);
        FILE *f = fopen(output, "wb");
        if (!f || fwrite(s->buffer, 1, size, f) != size || fclose(f)) {
            perror(output);
            return 1;
        }
    }
    bool kept = run(s, k);
    printf("%s: %s\n", s->sample.name, kept ? "passed" : "diagnostics and outcome differ");
    return !kept;
}

/* Cuts, then mutations, each with half of the seconds; what one leaves is the other's. */
static int fuzz(const Subject *s, Progress *p, int64_t runs, double seconds) {
    int64_t cuts = s->sample.size <= CUT_UP_TO ? (int64_t)s->sample.size : 0;
    double start = now();
    int failed = 0;
    p->runs = 0;
    p->until = start + seconds / 2;
    failed += run_range(s, p, -cuts, 0) != 0;
    p->until = start + seconds;
    failed += run_range(s, p, 0, runs) != 0;
    printf("%s: %lld models tried\n", s->sample.name, (long long)p->runs);
    return failed;
}

static Sample (*const built_in[])(void) = {sample_features, sample_old, sample_network};
enum { BUILT_IN = sizeof built_in / sizeof *built_in };

static Progress *shared_progress(void) {
    Progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("fuzz_model");
        exit(1);
    }
    return p;
}

int main(int argc, char **argv) {
    int64_t runs = 1000000, k = 0;
    double seconds = 10;
    const char *output = NULL;
    bool just_one = false;
    for (int c; (c = getopt(argc, argv, "n:t:k:o:")) != -1;) {
        if (c == 'n')
            runs = strtoll(optarg, NULL, 10);
        else if (c == 't')
            seconds = strtod(optarg, NULL);
        else if (c == 'o')
            output = optarg;
        else if (c == 'k')
            k = strtoll(optarg, NULL, 10), just_one = true;
        else
            return 2;
    }
    Progress *p = shared_progress();
    int failed = 0, files = argc - optind, subjects = files ? files : BUILT_IN;
    for (int i = 0; i < subjects; i++) {
        Subject s = {.sample = files ? sample_file(argv[optind + i]) : built_in[i]()};
        find_places(&s);
        failed += just_one ? only(&s, k, output) : fuzz(&s, p, runs, seconds / subjects);
        free(s.sample.bytes);
        free(s.place);
        free(s.buffer);
    }
    if (!just_one)
        printf("fuzz_model: %d passed, %d failed, 0 skipped\n", 2 * subjects - failed, failed);
    return failed != 0;
}
