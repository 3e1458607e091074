/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the model on the test vectors compiled in above, compares with the expected outputs and prints PASS or FAIL, the
 * largest error and, where the processor counts them, the cycles of a run. Exit status 0 for PASS. */
#include <stdio.h>

static const struct mlcc_model *const model = &MODEL;

/* --- cycles --- */

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && !defined(__ARM_ARCH_6M__)
#define HAVE_CYCLES 1
#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define VECTOR_TABLE (*(volatile uint32_t *)0xE000ED08u)

enum { SYSTICK = 15, VECTORS = 16, TICKS = 1 << 24 };

static volatile uint32_t wraps;

static void count_wrap(void) { wraps++; }

/* SysTick has 24 bits only: a copy of the vector table gets a handler that counts the rest. */
static void start_cycles(void) {
    static uint32_t vectors[VECTORS] __attribute__((aligned(128)));
    const volatile uint32_t *old = (const volatile uint32_t *)VECTOR_TABLE;
    for (int i = 0; i < VECTORS; i++)
        vectors[i] = old[i];
    vectors[SYSTICK] = (uint32_t)(uintptr_t)count_wrap;
    VECTOR_TABLE = (uint32_t)(uintptr_t)vectors;
    SYSTICK_RELOAD = TICKS - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7;
}

static uint64_t cycles(void) {
    uint32_t before, value;
    do {
        before = wraps;
        value = SYSTICK_VALUE;
    } while (before != wraps);
    return (uint64_t)before * TICKS + (TICKS - 1 - value);
}
#elif defined(__riscv) && defined(__riscv_zicsr)
#define HAVE_CYCLES 1
static void start_cycles(void) {}

static uint64_t cycles(void) {
#if __riscv_xlen == 64
    uint64_t n;
    __asm__ volatile("rdcycle %0" : "=r"(n));
    return n;
#else
    uint32_t low, high, again;
    do {
        __asm__ volatile("rdcycleh %0\n\trdcycle %1\n\trdcycleh %2" : "=&r"(high), "=&r"(low), "=&r"(again));
    } while (high != again);
    return (uint64_t)high << 32 | low;
#endif
}
#endif

/* --- comparing --- */

static double half_value(unsigned bits) {
    const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
    double x = (double)(exponent ? fraction | 1024 : fraction) / 1024;
    if (exponent == 31)
        x = fraction ? __builtin_nan("") : __builtin_inf();
    for (unsigned e = exponent ? exponent : 1; exponent < 31 && e < 15; e++)
        x /= 2;
    for (unsigned e = exponent; exponent < 31 && e > 15; e--)
        x *= 2;
    return bits & 0x8000 ? -x : x;
}

static double element(int type, const void *data, size_t i) {
    union {
        uint32_t bits;
        float value;
    } brain;
    switch (type) {
    case 1: return (double)((const float *)data)[i];
    case 3: return ((const int8_t *)data)[i];
    case 4: return ((const uint16_t *)data)[i];
    case 5: return ((const int16_t *)data)[i];
    case 6: return ((const int32_t *)data)[i];
    case 7: return (double)((const int64_t *)data)[i];
    case 10: return half_value(((const uint16_t *)data)[i]);
    case 11: return ((const double *)data)[i];
    case 12: return ((const uint32_t *)data)[i];
    case 13: return (double)((const uint64_t *)data)[i];
    case 16: brain.bits = (uint32_t)((const uint16_t *)data)[i] << 16; return (double)brain.value;
    default: return ((const uint8_t *)data)[i];
    }
}

static double magnitude(double x) { return x < 0 ? -x : x; }

/* The largest difference between got and want over ATOL + RTOL * (largest finite magnitude of want): at most 1 is good.
 * Infinities and NaN must agree. */
static double error_of(const struct mlcc_tensor *t, const void *got, const void *want) {
    size_t n = 1;
    double largest = 0, off = 0;
    for (int i = 0; i < t->rank; i++)
        n *= (size_t)t->dim[i];
    for (size_t i = 0; i < n; i++) {
        const double w = magnitude(element(t->type, want, i));
        if (w > largest && w < __builtin_inf())
            largest = w;
    }
    const double bound = ATOL + RTOL * largest;
    for (size_t i = 0; i < n; i++) {
        const double g = element(t->type, got, i), w = element(t->type, want, i), d = magnitude(g - w);
        const int equal = g < w || g > w ? 0 : (g == w || (!(g == g) && !(w == w)));
        if (!equal && !(d <= off))
            off = d < __builtin_inf() ? d : __builtin_inf();
    }
    return off > 0 ? off / bound : 0;
}

int main(void) {
    double worst = 0;
#ifdef HAVE_CYCLES
    uint64_t spent = 0;
    start_cycles();
#endif
    for (int set = 0; set < SETS; set++) {
#ifdef HAVE_CYCLES
        const uint64_t start = cycles();
#endif
        const int status = model->run(test_input[set], result, TEST_WEIGHTS, ARENA);
#ifdef HAVE_CYCLES
        spent += cycles() - start;
#endif
        if (status) {
            printf("FAIL: set %d: the model returned %d\n", set, status);
            return 1;
        }
        for (int i = 0; i < model->outputs; i++) {
            const double error = error_of(&model->output[i], result[i], test_output[set][i]);
            if (error > 1)
                printf("set %d, output \"%s\": off by %g times the tolerance\n", set, model->output[i].name, error);
            if (!(error <= worst))
                worst = error;
        }
    }
    printf("%s: %d sets, largest error %.3g of the tolerance\n", worst <= 1 ? "PASS" : "FAIL", SETS, worst);
#ifdef HAVE_CYCLES
    printf("cycles %lu\n", (unsigned long)(spent / SETS));
#endif
    return !(worst <= 1);
}
