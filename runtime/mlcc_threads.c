/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of mlcc_threads.h. Whoever is free takes the next part, so that a thread that the system holds up delays its
 * own part only. Threads look for work for some tens of microseconds, as the next kernel is near, and sleep after that. */
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200112L
#endif
#include "mlcc_threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { SPINS = 2000, MOST_PARTS = 65535 };

struct mlcc_threads {
    /* The next part in the low half, how many there are in the high one. Nothing else says that there is work: a thread
     * that takes a part by exchanging the word reads what to do after that, and it stays until the part is done. */
    unsigned work;
    int left; /* parts not done yet */
    int stop;
    int sleeping, waiting; /* threads; the caller */
    void (*task)(void *context, int part);
    void *context;
    int spins;
    int n; /* threads beside the caller */
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    pthread_t thread[];
};

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int has_work(const struct mlcc_threads *p) {
    const unsigned work = __atomic_load_n(&p->work, __ATOMIC_SEQ_CST);
    return (work & 0xffff) < work >> 16;
}

/* One part, if there is one left to take. */
static int do_part(struct mlcc_threads *p) {
    unsigned work = __atomic_load_n(&p->work, __ATOMIC_ACQUIRE);
    do {
        if ((work & 0xffff) >= work >> 16)
            return 0;
    } while (!__atomic_compare_exchange_n(&p->work, &work, work + 1, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    p->task(p->context, (int)(work & 0xffff));
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
    for (int i = 0; i < p->spins; i++) {
        if (has_work(p))
            return 1;
        pause_briefly();
    }
    pthread_mutex_lock(&p->mutex);
    __atomic_add_fetch(&p->sleeping, 1, __ATOMIC_SEQ_CST);
    while (!has_work(p) && !p->stop)
        pthread_cond_wait(&p->wake, &p->mutex);
    __atomic_sub_fetch(&p->sleeping, 1, __ATOMIC_SEQ_CST);
    const int go_on = !p->stop;
    pthread_mutex_unlock(&p->mutex);
    return go_on;
}

static void *thread_main(void *pool) {
    struct mlcc_threads *const p = (struct mlcc_threads *)pool;
    while (wait_for_work(p))
        while (do_part(p))
            ;
    return NULL;
}

static void wait_for_others(struct mlcc_threads *p) {
    for (int i = 0; i < p->spins; i++) {
        if (!__atomic_load_n(&p->left, __ATOMIC_ACQUIRE))
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&p->mutex);
    __atomic_store_n(&p->waiting, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&p->left, __ATOMIC_SEQ_CST))
        pthread_cond_wait(&p->done, &p->mutex);
    __atomic_store_n(&p->waiting, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&p->mutex);
}

void mlcc_threads_run(void *pool, void (*task)(void *context, int part), void *context, int parts) {
    struct mlcc_threads *const p = (struct mlcc_threads *)pool;
    if (!p || !p->n || parts < 2 || parts > MOST_PARTS) {
        for (int i = 0; i < parts; i++)
            task(context, i);
        return;
    }
    p->task = task;
    p->context = context;
    __atomic_store_n(&p->left, parts, __ATOMIC_RELAXED);
    __atomic_store_n(&p->work, (unsigned)parts << 16, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&p->sleeping, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
    while (do_part(p))
        ;
    wait_for_others(p);
}

struct mlcc_threads *mlcc_threads_new(int n) {
    const size_t others = n > 1 ? (size_t)n - 1 : 0;
    struct mlcc_threads *p = (struct mlcc_threads *)calloc(1, sizeof *p + others * sizeof(pthread_t));
    if (!p)
        return NULL;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    /* Threads that share a processor must not spin on it. */
    p->spins = sysconf(_SC_NPROCESSORS_ONLN) < n ? 0 : SPINS;
    size_t started = 0;
    while (started < others && !pthread_create(&p->thread[started], NULL, thread_main, p))
        started++;
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
        pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
