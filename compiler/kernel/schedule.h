/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules: rewrites of kernels that change speed, never meaning. Each prints before and after as kernel text. */
#ifndef MLCC_KERNEL_SCHEDULE_H
#define MLCC_KERNEL_SCHEDULE_H

#include "kernel/kernel.h"
#include "kernel/target.h"

/* --- primitive transformations (transform.c); false where not applicable, the kernel then is unchanged --- */

/* for i in lo..hi  ->  for o in lo..lo+n*factor step factor { for i in o..o+factor } and, where factor does not divide
 * the constant trip count, a remainder loop after it, returned in *rest (else NULL). */
bool schedule_split(KKernel *k, KInstr *loop, int64_t factor, KInstr **outer, KInstr **inner, KInstr **rest);
/* for i in lo..hi  ->  for o in 0..n { for i in 0..factor }, i taken as lo + o*factor + i; factor divides the trip count. */
bool schedule_factor(KKernel *k, KInstr *loop, int64_t factor, KInstr **outer, KInstr **inner);
/* The same as schedule_split without a remainder: the last block begins early enough, and repeats iterations of the one before. For kernels
 * that may store an element twice: none reads where it writes. */
bool schedule_overlap(KKernel *k, KInstr *loop, int64_t factor, KInstr **outer, KInstr **inner);
/* Two perfectly nested parallel loops exchange places; *swapped is then the outer one. */
bool schedule_interchange(KKernel *k, KInstr *outer, KInstr **swapped);
/* Two perfectly nested loops become one where every access allows it (coef_outer == trip_inner * coef_inner). */
bool schedule_collapse(KKernel *k, KInstr *outer, KInstr **merged);
/* Cuts the iteration space at `at`: [lo, at) and [at, hi). */
bool schedule_cut(KKernel *k, KInstr *loop, int64_t at, KInstr **second);
/* Parallel loops are cut where tests of their variables change, as far as that stays small (borders.c). */
void schedule_cut_at_tests(KKernel *k);
/* Parallel loops over channels of which the kernel asks in which group they are become two, over groups and within one, as
 * what a vector reads beside weights should be of one group (groups.c). */
void schedule_split_groups(KKernel *k);
/* All iterations one after the other; constant trip count. */
bool schedule_unroll(KKernel *k, KInstr *loop);
/* A PARALLEL loop of constant trip count disappears: its iterations run side by side in every nested loop. */
bool schedule_jam(KKernel *k, KInstr *loop);
/* A PARALLEL loop of constant trip count (a power of two) becomes lanes: values that depend on it turn into vectors. */
bool schedule_vectorize(KKernel *k, KInstr *loop);
/* A REDUCE loop of scalars accumulates in `chains` vectors side by side, whose lanes are combined at the end. Iterations
 * that are left over stay in *rest (else NULL). */
bool schedule_vectorize_reduction(KKernel *k, KInstr *loop, int lanes, int chains, KInstr **rest);

/* --- policy (schedule.c): what to do with each kernel, from its loops and accesses and the target alone --- */

/* What the policy decides for a kernel by its cost rules, unless told. 0: not told. Any choice is legal on any kernel:
 * what does not apply changes nothing. */
typedef struct ScheduleChoice {
    int lanes;         /* float32 in a vector; no more than the target has */
    int vectors;       /* register tiles: most vectors side by side … */
    int rows;          /* … by this many rows */
    int row_loop;      /* which loop of the nest, from 1 at the outermost, gives the rows */
    int blocks_inside; /* 1: a tile's rows meet all blocks of columns in turn; else a block of columns meets all rows */
    int chains;        /* reductions in lanes: accumulators side by side */
    int together;      /* nests that do not reduce: vectors in a turn */
    int unroll;        /* a short loop dissolves where it gives at most this many instructions */
} ScheduleChoice;

typedef struct ScheduleField {
    const char *name;
    size_t offset; /* of an int in ScheduleChoice */
    int least, most;
    bool power_of_two;
} ScheduleField;

extern const ScheduleField schedule_fields[]; /* all of them; name NULL ends */
int *schedule_field(ScheduleChoice *c, const ScheduleField *f);

/* Choices by what kernels are before they are scheduled: the hash of their text without any names (choice.c). */
typedef struct ScheduleEntry {
    uint64_t kernel;
    ScheduleChoice choice;
} ScheduleEntry;

typedef struct ScheduleTable {
    VEC(ScheduleEntry) entries; /* ascending by kernel */
} ScheduleTable;

uint64_t schedule_hash(const KKernel *k);
ScheduleEntry *schedule_find(const ScheduleTable *t, uint64_t kernel); /* NULL where there is none */
/* The entry's place in the order; what there was for the same kernel is replaced. */
void schedule_put(Arena *a, ScheduleTable *t, ScheduleEntry e);

/* On a module as it was lowered. Plain: the same order of constants, but plain sums (dot.c). */
void schedule_module_dots(KModule *m, const Target *t, bool plain);
/* After the other schedules: products of bytes that need no 32 bits (narrow.c). */
void schedule_module_narrow(KModule *m, const Target *t);
/* Bytes that floats are rounded to, by the machine's own instructions (saturate.c). */
void schedule_module_saturate(KModule *m, const Target *t);
/* Words made of bytes that lie side by side share the bytes' loads (words.c). */
void schedule_module_words(KModule *m);
/* Sums that take numbers out of words, number by number (steps.c). */
void schedule_module_steps(KModule *m);
/* After the other schedules too: products of bytes for two rows and two columns at once (pairs.c). */
void schedule_module_pairs(KModule *m, const Target *t);
void schedule_kernel(KKernel *k, const Target *t);
void schedule_kernel_as(KKernel *k, const Target *t, ScheduleChoice c);
void schedule_module(KModule *m, const Target *t);
/* With the table's choices, where it has some for a kernel. */
void schedule_module_as(KModule *m, const Target *t, const ScheduleTable *table);

/* After schedules: large constants lie as the tiles walk through them (panels.c). */
void schedule_module_panels(KModule *m, const Target *t);
/* On a module before schedules that was lowered of the same graph: its constants lie as those of the other one. */
void schedule_module_panels_as(KModule *m, const KModule *like);

/* --- threads (parts.c), after all other schedules --- */

/* The kernel computes one of so many parts, as a new last argument says, and its calls have that many; false where it
 * has nothing that may be done in any order. Results are the same to the bit. */
bool schedule_parts(KKernel *k, int parts);
/* Those of the kernels for which it is worth it. */
void schedule_module_parts(KModule *m, int parts);
/* What KKernel's field says, of a kernel that has not been scheduled. */
bool schedule_is_unordered(const KKernel *k);

#endif
