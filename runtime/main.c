/* SPDX-License-Identifier: Apache-2.0 */
/* A program that runs the model on .npy files:
 *
 *     model [--bench SECONDS] [--out DIR] [--threads N] INPUT.npy ...
 *
 * --out writes DIR/output_0.npy ...; --bench prints one JSON line of statistics; without either the outputs are shown.
 * --threads, of a model compiled for threads, is how many run it; as many as it was compiled for where not given. It knows the model through its descriptor only. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DONE = 0, FAILED = 1, USAGE = 2, MOST_RUNS = 1 << 20, SHOWN = 8 };

static const struct mlcc_model *const model = &MODEL;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(FAILED);
}

/* --- element types --- */

static const struct type {
    int onnx; /* as in TensorProto.DataType */
    const char *name, *npy;
} types[] = {
    {1, "float32", "<f4"}, {2, "uint8", "|u1"},   {3, "int8", "|i1"},    {4, "uint16", "<u2"},  {5, "int16", "<i2"},
    {6, "int32", "<i4"},   {7, "int64", "<i8"},   {9, "bool", "|b1"},    {10, "float16", "<f2"}, {11, "float64", "<f8"},
    {12, "uint32", "<u4"}, {13, "uint64", "<u8"}, {16, "bfloat16", "<V2"},
};

static const struct type *type_of(const struct mlcc_tensor *t) {
    size_t i = 0;
    while (types[i].onnx != t->type)
        i++;
    return &types[i];
}

static size_t element_count(const struct mlcc_tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= (size_t)t->dim[i];
    return n;
}

/* --- memory --- */

/* Never freed: the program ends soon. */
static void *aligned_memory(size_t size, size_t align) {
    unsigned char *p = (unsigned char *)calloc(1, size + align);
    if (!p)
        fail("cannot allocate memory", strerror(errno));
    return p + (align - (uintptr_t)p % align);
}

/* --- .npy files --- */

static char *read_file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    size_t n = 0, capacity = 1 << 16, got;
    char *data = (char *)malloc(capacity + 1);
    if (!f)
        fail(path, strerror(errno));
    while (data && (got = fread(data + n, 1, capacity - n, f)) > 0) {
        n += got;
        if (n == capacity)
            data = (char *)realloc(data, (capacity *= 2) + 1);
    }
    if (!data || ferror(f))
        fail(path, strerror(errno));
    fclose(f);
    data[n] = '\0';
    *size = n;
    return data;
}

/* What follows the key in the header's dictionary. */
static const char *field(const char *path, const char *header, const char *key) {
    const char *p = strstr(header, key);
    if (!p)
        fail(path, "not a .npy file: its header is incomplete");
    p += strlen(key);
    return p + strspn(p, "\"': ");
}

static void check_type(const char *path, const char *descr, const struct mlcc_tensor *t) {
    const struct type *want = type_of(t);
    const char *code = descr + (strchr("<|=", *descr) != NULL);
    if (*descr == '>' || strncmp(code, want->npy + 1, 2)) {
        fprintf(stderr, "%s: the elements of input \"%s\" must be %s, numpy's %s\n", path, t->name, want->name, want->npy);
        exit(FAILED);
    }
}

static void check_shape(const char *path, const char *shape, const struct mlcc_tensor *t) {
    const char *p = shape + (*shape == '(');
    int rank = 0, same = 1;
    for (;; rank++) {
        char *end;
        const long long n = strtoll(p, &end, 10);
        if (end == p)
            break;
        same = same && rank < t->rank && n == t->dim[rank];
        p = end + strspn(end, "L, ");
    }
    if (same && rank == t->rank)
        return;
    fprintf(stderr, "%s: the shape of input \"%s\" must be (", path, t->name);
    for (int i = 0; i < t->rank; i++)
        fprintf(stderr, "%s%lld", i ? ", " : "", (long long)t->dim[i]);
    fprintf(stderr, "), it is %.*s\n", (int)strcspn(shape, ")") + 1, shape);
    exit(FAILED);
}

static void *read_npy(const char *path, const struct mlcc_tensor *t) {
    size_t size, start = 10, length;
    char *data = read_file(path, &size);
    const unsigned char *bytes = (const unsigned char *)data;
    if (size < 12 || memcmp(data, "\x93NUMPY", 6))
        fail(path, "not a .npy file");
    length = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] >= 2) {
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
        start = 12;
    }
    if (!length || length > size - start)
        fail(path, "not a .npy file: its header is cut off");
    data[start + length - 1] = '\0';
    check_type(path, field(path, data + start, "descr"), t);
    check_shape(path, field(path, data + start, "shape"), t);
    if (t->rank > 1 && strncmp(field(path, data + start, "fortran_order"), "False", 5))
        fail(path, "it is in Fortran order; save it with numpy.ascontiguousarray");
    if (size - start - length != t->size)
        fail(path, "its size does not match its shape");
    void *tensor = aligned_memory(t->size, 64);
    memcpy(tensor, data + start + length, t->size);
    free(data);
    return tensor;
}

static void write_npy(const char *folder, int index, const struct mlcc_tensor *t, const void *data) {
    char header[1024], *path = (char *)malloc(strlen(folder) + 32);
    size_t n = 10;
    if (!path)
        fail("cannot allocate memory", strerror(errno));
    sprintf(path, "%s/output_%d.npy", folder, index);
    n += (size_t)sprintf(header + n, "{'descr': '%s', 'fortran_order': False, 'shape': (", type_of(t)->npy);
    for (int i = 0; i < t->rank; i++)
        n += (size_t)sprintf(header + n, "%lld%s", (long long)t->dim[i], t->rank == 1 ? "," : i + 1 < t->rank ? ", " : "");
    n += (size_t)sprintf(header + n, "), }");
    while (n % 64 != 63)
        header[n++] = ' ';
    header[n++] = '\n';
    memcpy(header, "\x93NUMPY\1", 8);
    header[8] = (char)((n - 10) & 255);
    header[9] = (char)((n - 10) >> 8);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(header, 1, n, f) != n || fwrite(data, 1, t->size, f) != t->size || fclose(f))
        fail(path, strerror(errno));
    free(path);
}

/* --- showing outputs --- */

static double half_value(unsigned bits) {
    const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
    double x = exponent == 31 ? (fraction ? strtod("nan", NULL) : strtod("inf", NULL))
                              : (double)(exponent ? fraction | 1024 : fraction) / 1024;
    for (unsigned e = exponent ? exponent : 1; exponent < 31 && e < 15; e++)
        x /= 2;
    for (unsigned e = exponent; exponent < 31 && e > 15; e--)
        x *= 2;
    return bits & 0x8000 ? -x : x;
}

static double bfloat_value(uint32_t bits) {
    float x;
    bits <<= 16;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static void print_element(int type, const void *data, size_t i) {
    switch (type) {
    case 1: printf("%.7g", (double)((const float *)data)[i]); break;
    case 2:
    case 9: printf("%d", ((const uint8_t *)data)[i]); break;
    case 3: printf("%d", ((const int8_t *)data)[i]); break;
    case 4: printf("%d", ((const uint16_t *)data)[i]); break;
    case 5: printf("%d", ((const int16_t *)data)[i]); break;
    case 6: printf("%ld", (long)((const int32_t *)data)[i]); break;
    case 7: printf("%lld", (long long)((const int64_t *)data)[i]); break;
    case 10: printf("%.4g", half_value(((const uint16_t *)data)[i])); break;
    case 11: printf("%.16g", ((const double *)data)[i]); break;
    case 12: printf("%lu", (unsigned long)((const uint32_t *)data)[i]); break;
    case 13: printf("%llu", (unsigned long long)((const uint64_t *)data)[i]); break;
    default: printf("%.3g", bfloat_value(((const uint16_t *)data)[i])); break;
    }
}

static void show(const struct mlcc_tensor *t, const void *data) {
    const size_t n = element_count(t);
    printf("%s: %s[", t->name, type_of(t)->name);
    for (int i = 0; i < t->rank; i++)
        printf("%s%lld", i ? "," : "", (long long)t->dim[i]);
    printf("]");
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        printf(" ");
        print_element(t->type, data, i);
    }
    printf(n > SHOWN ? " ...\n" : "\n");
}

/* --- running --- */

static const void *const *inputs;
static void *const *outputs;
static const void *weights;
static void *arena;
#ifdef MODEL_THREADS
static struct mlcc_threads *pool;
#endif

static void run(void) {
#ifdef MODEL_THREADS
    const int status = model->run_parallel(inputs, outputs, weights, arena, mlcc_threads_run, pool);
#else
    const int status = model->run(inputs, outputs, weights, arena);
#endif
    if (status) {
        fprintf(stderr, "%s: the model returned %d\n", model->name, status);
        exit(FAILED);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int ascending(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double square_root(double x) {
    double r = x > 1 ? x : 1;
    for (int i = 0; i < 2000 && r * r > x * (1 + 1e-12); i++)
        r = (r + x / r) / 2;
    return x > 0 ? r : 0;
}

static void print_statistics(double *us, size_t n) {
    double sum = 0, squares = 0;
    qsort(us, n, sizeof *us, ascending);
    for (size_t i = 0; i < n; i++)
        sum += us[i];
    const double mean = sum / (double)n, last = (double)(n - 1);
    for (size_t i = 0; i < n; i++)
        squares += (us[i] - mean) * (us[i] - mean);
    printf("{\"median_us\": %.3f, \"min_us\": %.3f, \"mean_us\": %.3f, \"p90_us\": %.3f, \"p95_us\": %.3f, ",
           (us[(n - 1) / 2] + us[n / 2]) / 2, us[0], mean, us[(size_t)(last * 0.90)], us[(size_t)(last * 0.95)]);
    printf("\"p99_us\": %.3f, \"max_us\": %.3f, \"std_us\": %.3f, \"runs\": %lu}\n", us[(size_t)(last * 0.99)], us[n - 1],
           square_root(squares / (double)n), (unsigned long)n);
}

/* A tenth of the time to warm up, then every run is timed by itself. */
static void bench(double seconds) {
    double *us = (double *)malloc(MOST_RUNS * sizeof *us), t = now();
    const double warm = t + seconds * 1e5;
    size_t n = 0;
    if (!us)
        fail("cannot allocate memory", strerror(errno));
    do
        run();
    while (now() < warm);
    const double end = now() + seconds * 1e6;
    do {
        t = now();
        run();
        const double after = now();
        us[n++] = after - t;
        t = after;
    } while (n < MOST_RUNS && (t < end || n < 3));
    print_statistics(us, n);
    free(us);
}

#ifdef MODEL_WEIGHTS
/* The weights lie beside the program. */
static void *read_weights(const char *program) {
    const char *slash = strrchr(program, '/');
    const size_t folder = slash ? (size_t)(slash - program) + 1 : 0;
    char *path = (char *)malloc(folder + sizeof MODEL_WEIGHTS);
    size_t size;
    if (!path)
        fail("cannot allocate memory", strerror(errno));
    memcpy(path, program, folder);
    strcpy(path + folder, MODEL_WEIGHTS);
    char *data = read_file(path, &size);
    if (size != model->weights_size)
        fail(path, "it does not belong to this program: its size is wrong");
    void *aligned = aligned_memory(size, 64);
    memcpy(aligned, data, size);
    free(data);
    free(path);
    return aligned;
}
#endif

static int usage(const char *program) {
    fprintf(stderr, "usage: %s [--bench SECONDS] [--out DIR]%s", program, model->threads > 1 ? " [--threads N]" : "");
    for (int i = 0; i < model->inputs; i++)
        fprintf(stderr, " %s.npy", model->input[i].name);
    fprintf(stderr, "\n");
    return USAGE;
}

int main(int argc, char **argv) {
    const char *folder = NULL;
    double seconds = 0, threads = model->threads;
    int first = 1;
    for (; first < argc && !strncmp(argv[first], "--", 2); first += 2) {
        double *number = NULL;
        char *end;
        if (first + 1 == argc)
            return usage(argv[0]);
        if (!strcmp(argv[first], "--out"))
            folder = argv[first + 1];
        else if (!strcmp(argv[first], "--bench"))
            number = &seconds;
        else if (!strcmp(argv[first], "--threads") && model->threads > 1)
            number = &threads;
        else
            return usage(argv[0]);
        if (!number)
            continue;
        *number = strtod(argv[first + 1], &end);
        if (*end || !(*number > 0) || threads > 1024)
            return usage(argv[0]);
    }
    if (argc - first != model->inputs)
        return usage(argv[0]);
    const void **in = (const void **)calloc((size_t)model->inputs + 1, sizeof *in);
    void **out = (void **)calloc((size_t)model->outputs + 1, sizeof *out);
    if (!in || !out)
        fail("cannot allocate memory", strerror(errno));
    for (int i = 0; i < model->inputs; i++)
        in[i] = read_npy(argv[first + i], &model->input[i]);
    for (int i = 0; i < model->outputs; i++)
        out[i] = aligned_memory(model->output[i].size, 64);
    inputs = in;
    outputs = out;
    arena = aligned_memory(model->arena_size, model->arena_align);
#ifdef MODEL_WEIGHTS
    weights = read_weights(argv[0]);
#endif
#ifdef MODEL_THREADS
    pool = mlcc_threads_new((int)threads);
#endif
    run();
    for (int i = 0; i < model->outputs; i++) {
        if (folder)
            write_npy(folder, i, &model->output[i], out[i]);
        else if (!(seconds > 0))
            show(&model->output[i], out[i]);
    }
    if (seconds > 0)
        bench(seconds);
#ifdef MODEL_THREADS
    mlcc_threads_free(pool);
#endif
    free(in);
    free(out);
    return fflush(stdout) ? FAILED : DONE;
}
