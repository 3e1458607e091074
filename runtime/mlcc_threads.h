/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of POSIX threads for models that are compiled with --threads:
 *
 *     struct mlcc_threads *pool = mlcc_threads_new(4);
 *     net_run(input, output, arena, mlcc_threads_run, pool);
 *     mlcc_threads_free(pool);
 *
 * A pool serves any number of models, and one call at a time. Compile and link with -pthread. */
#ifndef MLCC_THREADS_H
#define MLCC_THREADS_H

#ifdef __cplusplus
extern "C" {
#endif

struct mlcc_threads;

/* n threads, the caller being one of them; fewer where the system gives no more. NULL where there is no memory. */
struct mlcc_threads *mlcc_threads_new(int n);
/* An mlcc_parallel_for: task(context, part) for part = 0 .. parts - 1. pool may be NULL. */
void mlcc_threads_run(void *pool, void (*task)(void *context, int part), void *context, int parts);
void mlcc_threads_free(struct mlcc_threads *pool);

#ifdef __cplusplus
}
#endif

#endif
