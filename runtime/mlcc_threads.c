/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of mlcc_threads.h. Each thread takes the part of its own number first, as its cache may hold what that part
 * needs, then any other, so that a thread that the system holds up delays its own part only. Threads look for work for a fraction of a millisecond, as the next kernel is near, and sleep after that. */
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200112L
#endif
#include "mlcc_threads.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_NANOSECONDS = 200000, MOST_PARTS = 32 };

struct helper {
    struct mlcc_threads *pool;
    int number; /* the caller is 0 */
    pthread_t thread;
};

struct mlcc_threads {
    /* A bit for each part that nobody has taken. Nothing else says that there is work: a thread that takes a part by
     * clearing its bit reads what to do after that, and it stays until the part is done. */
    uint32_t work;
    int left; /* parts not done yet */
    int stop;
    int sleeping, waiting; /* threads; the caller */
    void (*task)(void *context, int part);
    void *context;
    int first; /* the part of bit 0 */
    int may_spin;
    int n; /* threads beside the caller */
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    struct helper helper[];
};

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static double nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int has_work(const struct mlcc_threads *p) { return __atomic_load_n(&p->work, __ATOMIC_SEQ_CST) != 0; }

static int is_done(const struct mlcc_threads *p) { return !__atomic_load_n(&p->left, __ATOMIC_SEQ_CST); }

/* Whether it came about within the time. */
static int spin_until(int (*condition)(const struct mlcc_threads *), const struct mlcc_threads *p) {
    const double end = p->may_spin ? nanoseconds() + (double)SPIN_NANOSECONDS : 0;
    while (!condition(p)) {
        if (nanoseconds() >= end)
            return 0;
        for (int i = 0; i < 16 && !condition(p); i++)
            pause_briefly();
    }
    return 1;
}

/* One part, if there is one left to take. */
static int do_part(struct mlcc_threads *p, int number) {
    uint32_t work = __atomic_load_n(&p->work, __ATOMIC_ACQUIRE);
    int part;
    do {
        if (!work)
            return 0;
        part = number < MOST_PARTS && (work >> number & 1) ? number : __builtin_ctz(work);
    } while (!__atomic_compare_exchange_n(&p->work, &work, work & ~((uint32_t)1 << part), 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    p->task(p->context, p->first + part);
    if (__atomic_sub_fetch(&p->left, 1, __ATOMIC_SEQ_CST) == 0 && __atomic_load_n(&p->waiting, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->mutex);
    }
    return 1;
}

/* False when the pool ends. Who goes to sleep says so and looks once more; who brings work looks for sleepers after it:
 * one of them sees the other. */
static int wait_for_work(struct mlcc_threads *p) {
    if (spin_until(has_work, p))
        return 1;
    pthread_mutex_lock(&p->mutex);
    __atomic_add_fetch(&p->sleeping, 1, __ATOMIC_SEQ_CST);
    while (!has_work(p) && !p->stop)
        pthread_cond_wait(&p->wake, &p->mutex);
    __atomic_sub_fetch(&p->sleeping, 1, __ATOMIC_SEQ_CST);
    const int go_on = !p->stop;
    pthread_mutex_unlock(&p->mutex);
    return go_on;
}

static void *thread_main(void *helper) {
    const struct helper *const h = (const struct helper *)helper;
    while (wait_for_work(h->pool))
        while (do_part(h->pool, h->number))
            ;
    return NULL;
}

static void wait_for_others(struct mlcc_threads *p) {
    if (spin_until(is_done, p))
        return;
    pthread_mutex_lock(&p->mutex);
    __atomic_store_n(&p->waiting, 1, __ATOMIC_SEQ_CST);
    while (!is_done(p))
        pthread_cond_wait(&p->done, &p->mutex);
    __atomic_store_n(&p->waiting, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&p->mutex);
}

static void run_some(struct mlcc_threads *p, int parts) {
    __atomic_store_n(&p->left, parts, __ATOMIC_RELAXED);
    __atomic_store_n(&p->work, UINT32_MAX >> (MOST_PARTS - parts), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&p->sleeping, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
    while (do_part(p, 0))
        ;
    wait_for_others(p);
}

void mlcc_threads_run(void *pool, void (*task)(void *context, int part), void *context, int parts) {
    struct mlcc_threads *const p = (struct mlcc_threads *)pool;
    if (!p || !p->n || parts < 2) {
        for (int i = 0; i < parts; i++)
            task(context, i);
        return;
    }
    p->task = task;
    p->context = context;
    for (p->first = 0; p->first < parts; p->first += MOST_PARTS)
        run_some(p, parts - p->first < MOST_PARTS ? parts - p->first : MOST_PARTS);
}

struct mlcc_threads *mlcc_threads_new(int n) {
    const size_t others = n > 1 ? (size_t)n - 1 : 0;
    struct mlcc_threads *p = (struct mlcc_threads *)calloc(1, sizeof *p + others * sizeof *p->helper);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    /* Threads that share a processor must not spin on it. */
    p->may_spin = sysconf(_SC_NPROCESSORS_ONLN) >= n;
    size_t started = 0;
    while (started < others) {
        struct helper *const h = &p->helper[started];
        h->pool = p;
        h->number = (int)started + 1;
        if (pthread_create(&h->thread, NULL, thread_main, h))
            break;
        started++;
    }
    p->n = (int)started;
    return p;
}

void mlcc_threads_free(struct mlcc_threads *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stop = 1;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->n; i++)
        pthread_join(p->helper[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
