/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel IR: what tensor operators become. Structured SSA: loops carry values, blocks nest, there are no jumps.
 *
 * A module is everything that one compilation emits: buffers, kernels, and the calls of kernels on buffers in order.
 * Meaning is written once, by lowering, as plain scalar loop nests; speed comes from schedules that rewrite them
 * (schedule.h). Backends print what is here and know nothing else. */
#ifndef MLCC_KERNEL_KERNEL_H
#define MLCC_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/arena.h"
#include "support/dtype.h"
#include "support/strbuf.h"

enum { K_PURE = 1, K_LANES = 2, K_COMM = 4, K_READ = 8, K_WRITE = 16, K_BLOCKS = 32, K_END = 64 };

typedef enum KOp {
#define KOP(id, name, args, results, flags) KOP_##id,
#include "kernel/kops.def"
#undef KOP
    KOP_COUNT
} KOp;

typedef struct KOpInfo {
    const char *name;
    int args, results;
    unsigned flags;
} KOpInfo;
extern const KOpInfo kop_info[KOP_COUNT];

static inline bool kop_compares(KOp op) { return op >= KOP_EQ && op <= KOP_GE; }

/* F16 and BF16 occur only in LOAD, STORE, CAST, BITCAST, CONST, SELECT and vectors of them: arithmetic is in F32. */
typedef struct KType {
    DType dtype;
    int lanes; /* 1: scalar; else a power of two */
} KType;

typedef struct KValue KValue;
typedef struct KInstr KInstr;
typedef struct KBlock KBlock;
typedef struct KKernel KKernel;
typedef struct KModule KModule;

/* base + sum of coef * var, in elements or plain index units. Immutable; terms sorted by var->id, no zero coefficient;
 * variables are scalar INDEX values. */
typedef struct KTerm {
    KValue *var;
    int64_t coef;
} KTerm;
typedef struct KAffine {
    int64_t base;
    int n;
    KTerm term[];
} KAffine;
typedef const KAffine *KIndex;

struct KValue {
    int id; /* unique in its kernel, ascending with creation */
    KType type;
    KInstr *def;    /* the instruction, or NULL for a block argument or function parameter */
    KBlock *block;  /* for a block argument */
    int index;      /* which result or argument */
    const char *name; /* hint for printers, may be NULL */
};

/* A buffer parameter of a kernel: a pointer to elements. */
typedef struct KParam {
    const char *name;
    DType dtype;
    int64_t count; /* elements reachable from the pointer; the verifier checks accesses against it */
    int index;
    bool written;
    bool noalias; /* no other parameter of the same kernel overlaps it in any call (set after the memory plan) */
    int align;    /* bytes that every call's pointer is aligned to; at least the element's size */
} KParam;

typedef struct KMem {
    KParam *param; /* NULL for AFFINE */
    KIndex at;
    int64_t lane_stride;
} KMem;

typedef enum KLoopKind {
    KLOOP_SERIAL,
    KLOOP_PARALLEL, /* iterations are independent: no carried values, no iteration reads what another writes */
    KLOOP_REDUCE,   /* carries accumulators by ADD, FMA, MUL, MIN or MAX only, in whatever order */
} KLoopKind;

struct KInstr {
    KOp op;
    KBlock *parent;
    KInstr *prev, *next;
    int nargs, nresults;
    KValue **arg;
    KValue **result;
    union {
        int64_t i;
        double f;
    } imm;      /* CONST: i for integers and BOOL, f for floats (exact bits of F16/BF16 values too, as a number) */
    KMem mem;   /* LOAD, STORE, AFFINE */
    int64_t step;       /* FOR, > 0 */
    KLoopKind loop;     /* FOR */
    KBlock *block[2];   /* FOR: [0]; IF: then, else */
    struct KFunc *func; /* CALL */
};

struct KBlock {
    KInstr *parent; /* NULL for the body of a kernel or function */
    KInstr *first, *last;
    int nargs;
    KValue **arg;
};

/* A function of values, without memory: exp, tanh … It exists once for each lane count that is called. */
typedef struct KFunc {
    const char *name; /* "exp_f32" */
    KType result;
    int nargs;
    KKernel *body; /* a kernel without buffer parameters: block arguments are the parameters, YIELD gives the result */
} KFunc;

struct KKernel {
    KModule *module;
    const char *name;    /* C identifier without the module's prefix, unique in the module */
    const char *comment; /* the ONNX nodes it came from; printed into the code */
    VEC(KParam *) params;
    KBlock *body; /* its arguments are INDEX values that each call gives: which rows to compute … */
    /* It was lowered as a nest of PARALLEL loops with no other such loop inside: all that schedules make of the nest may
     * run in any order. */
    bool unordered;
    int next_id;
};

typedef enum KBufferKind { KBUF_INPUT, KBUF_OUTPUT, KBUF_CONST, KBUF_ARENA } KBufferKind;

/* Bytes of a constant, read through strides so that packing needs no copy. */
typedef struct KData {
    const void *bytes; /* little endian, maybe unaligned (inside the mapped model) */
    int rank;          /* axes in the order of writing, outermost first */
    const int64_t *dim, *stride; /* stride in elements of the source; 0 repeats */
    /* Where panel is not 0, that axis is cut into pieces of so many; each is written as a whole, all rows of it, before
     * the next; the last may be smaller. */
    int panel_axis;
    int64_t panel;
} KData;

typedef struct KBuffer {
    KBufferKind kind;
    int index; /* among all buffers of the module */
    const char *name;      /* C identifier without prefix, unique among inputs, outputs, constants */
    const char *onnx_name; /* for comments and the descriptor */
    DType dtype;
    int64_t count; /* elements */
    int rank;      /* shape as the model declares it, inputs and outputs only */
    const int64_t *dim;
    KData data;           /* KBUF_CONST */
    int64_t arena_offset; /* KBUF_ARENA, bytes */
} KBuffer;

static inline int64_t kbuffer_bytes(const KBuffer *b) { return b->count * dtype_size(b->dtype); }

typedef struct KArg {
    KBuffer *buffer;
    int64_t offset; /* elements */
} KArg;

typedef struct KCall {
    KKernel *kernel;
    KArg *arg; /* one for each parameter */
    int64_t *index; /* one for each argument of the kernel's body */
    int parts; /* 0, or 2 and more: the kernel runs that often, in any order or at once, with 0, 1 … as the last argument */
    const char *comment; /* the ONNX nodes of this call; the kernel may serve several */
    int64_t macs; /* multiply-accumulates, for reports */
} KCall;

struct KModule {
    Arena *arena;
    const char *model_name; /* from the file or the graph, for comments */
    VEC(KBuffer *) buffers; /* inputs first, in order, then outputs, in order, then the rest */
    VEC(KKernel *) kernels;
    VEC(KFunc *) funcs; /* in order of need: a function calls only earlier ones */
    VEC(KCall) calls;
    int64_t arena_size;  /* bytes */
    int arena_align;     /* bytes, power of two */
};

/* --- building (build.c) --- */

KModule *kernel_module_new(Arena *a);
KBuffer *kernel_buffer(KModule *m, KBufferKind kind, const char *name, DType dtype, int64_t count);
KKernel *kernel_new(KModule *m, const char *name);
KParam *kernel_param(KKernel *k, const char *name, DType dtype, int64_t count, bool written);
/* One more INDEX argument of the body. */
KValue *kernel_index(KKernel *k, const char *name);

/* Where the next instruction goes: before `before` in `block`, or at its end where NULL. */
typedef struct KBuilder {
    KKernel *kernel;
    KModule *module;
    Arena *arena;
    KBlock *block;
    KInstr *before;
} KBuilder;

KBuilder kb_at_end(KKernel *k, KBlock *block);
KBuilder kb_before(KKernel *k, KInstr *i);

/* Values. Builders fold constants and trivial identities (x+0, x*1, select of a constant …) as they go. */
KValue *kb_int(KBuilder *b, DType t, int64_t x);           /* any integer type, BOOL, INDEX; also floats (converted) */
KValue *kb_float(KBuilder *b, DType t, double x);
KValue *kb_const_like(KBuilder *b, KType t, double x);     /* splat of x in t */
KValue *kb_unary(KBuilder *b, KOp op, KValue *x);
KValue *kb_binary(KBuilder *b, KOp op, KValue *x, KValue *y); /* also comparisons */
KValue *kb_fma(KBuilder *b, KValue *x, KValue *y, KValue *z);
KValue *kb_dot(KBuilder *b, KOp op, KValue *x, KValue *y, KValue *z); /* DOT, DOT_S8, DOT_LONG, DOT_SUM, MATMUL_2X2 */
KValue *kb_select(KBuilder *b, KValue *cond, KValue *x, KValue *y);
KValue *kb_cast(KBuilder *b, KValue *x, DType to);
KValue *kb_bitcast(KBuilder *b, KValue *x, DType to); /* more or fewer lanes where the elements' sizes differ */
KValue *kb_nearest(KBuilder *b, KValue *x);
KValue *kb_nibble(KBuilder *b, KValue *x);
KValue *kb_saturate(KBuilder *b, int n, KValue *const *x, DType to);
KValue *kb_splat(KBuilder *b, KValue *x, int lanes);       /* x itself when lanes is 1 */
KValue *kb_pack(KBuilder *b, int n, KValue *const *x);
KValue *kb_extract(KBuilder *b, KValue *x, int first, int lanes);
KValue *kb_words(KBuilder *b, int n, KValue *const *x, int first, int lanes);
KValue *kb_reduce(KBuilder *b, KOp op, KValue *x);
KValue *kb_ramp(KBuilder *b, KValue *base, int lanes, int64_t step);
KValue *kb_load(KBuilder *b, KParam *p, KIndex at);
KValue *kb_load_vector(KBuilder *b, KParam *p, KIndex at, int lanes, int64_t lane_stride);
void kb_store(KBuilder *b, KParam *p, KIndex at, KValue *x); /* lane_stride 1 */
void kb_store_vector(KBuilder *b, KParam *p, KIndex at, KValue *x, int64_t lane_stride);
KValue *kb_call(KBuilder *b, KFunc *f, int nargs, KValue *const *arg);

/* Control. kb_for leaves the builder inside the loop; kb_end_for, after it. The loop variable is kb_iv(l), carried
 * values are kb_carried(l, i), the results kb_result(l, i). lo and hi are INDEX values. */
KInstr *kb_for(KBuilder *b, KLoopKind kind, const char *name, KValue *lo, KValue *hi, int64_t step, int ncarried,
               KValue *const *init);
void kb_end_for(KBuilder *b, KInstr *loop, KValue *const *next);
/* kb_if: the builder is in the then-block; kb_else: in the other; kb_end_if: after. Result counts must agree. */
KInstr *kb_if(KBuilder *b, KValue *cond, int nresults);
void kb_else(KBuilder *b, KInstr *branch, KValue *const *results);
void kb_end_if(KBuilder *b, KInstr *branch, KValue *const *results);
void kb_yield(KBuilder *b, int n, KValue *const *x);

static inline KValue *kb_iv(const KInstr *l) { return l->block[0]->arg[0]; }
static inline KValue *kb_carried(const KInstr *l, int i) { return l->block[0]->arg[1 + i]; }
static inline KValue *kb_result(const KInstr *i, int k) { return i->result[k]; }

/* Raw construction for rewriters: an instruction with the given counts, inserted at the builder's place, no folding. */
KInstr *kb_insert(KBuilder *b, KOp op, int nargs, KValue *const *arg, int nresults, const KType *types);
KBlock *kernel_block_new(KKernel *k, KInstr *parent, int nargs, const KType *types);
void kernel_unlink(KInstr *i);

/* --- indices (affine.c): immutable affine expressions --- */

KIndex kx_const(Arena *a, int64_t c);
KIndex kx_var(Arena *a, KValue *v);                 /* an AFFINE or INDEX CONST value dissolves into its terms */
KIndex kx_add(Arena *a, KIndex x, KIndex y);
KIndex kx_sub(Arena *a, KIndex x, KIndex y);
KIndex kx_add_const(Arena *a, KIndex x, int64_t c);
KIndex kx_scale(Arena *a, KIndex x, int64_t c);
bool kx_is_const(KIndex x, int64_t *c);             /* c may be NULL */
bool kx_equal(KIndex x, KIndex y);
int64_t kx_coef(KIndex x, const KValue *v);         /* 0 where v does not occur */
KIndex kx_substitute(Arena *a, KIndex x, const KValue *v, KIndex by);
KValue *kx_value(KBuilder *b, KIndex x);            /* as an INDEX value: a CONST, the variable itself, or an AFFINE */
/* Floor division and remainder by a positive constant, simplified by what is known of the ranges. */
KIndex kx_div(KBuilder *b, KIndex x, int64_t c);
KIndex kx_rem(KBuilder *b, KIndex x, int64_t c);
/* Where part `part` of so many begins, if `whole` things are dealt out in order: floor(part * whole / parts). */
KIndex kx_share(KBuilder *b, KIndex part, KIndex whole, int64_t parts);
/* Inclusive bounds of an expression or INDEX value over all iterations; false where unknown. Loop variables are
 * bounded by their loops' bounds; MIN, MAX, ADD, SUB, MUL, DIV, REM, SELECT and CAST are followed. */
bool kx_range(KIndex x, int64_t *lo, int64_t *hi);
bool kernel_value_range(const KValue *v, int64_t *lo, int64_t *hi);
bool kernel_fits_half(const KValue *v); /* all lanes of an integer vector are in 16 signed bits */

/* 3 * 2^22: floats from 2^23 to 2^24 are the integers, so that adding it rounds half to even, and leaves the integer in the
 * low bits. What ops/quant.c builds with it, kernel/saturate.c knows again. */
#define KERNEL_ROUNDER 12582912.0
#define KERNEL_ROUNDER_BITS INT64_C(0x4b400000)

/* --- functions (math.c): built on demand as kernel IR, so that every backend and lane count computes the same --- */

typedef enum KMath {
    KMATH_EXP,
    KMATH_EXP_LE0, /* for arguments <= 0, cheaper */
    KMATH_LOG, KMATH_TANH, KMATH_ERF, KMATH_SIGMOID,
    KMATH_SILU, /* x * sigmoid(x) */
    KMATH_GELU, /* x (1 + erf(x / sqrt 2)) / 2 */
    KMATH_SIN, KMATH_COS, KMATH_TAN, KMATH_ASIN, KMATH_ACOS, KMATH_ATAN, KMATH_SINH, KMATH_COSH, KMATH_ASINH, KMATH_ACOSH,
    KMATH_ATANH, KMATH_EXPM1, KMATH_LOG1P, KMATH_POW, KMATH_FLOOR, KMATH_CEIL, KMATH_TRUNC,
    KMATH_ROUND, /* half to even */
    KMATH_FMOD,
    KMATH_COUNT
} KMath;
/* f of F32 or F64 values of any lane count: a CALL of a function that the module then holds. POW and FMOD take y. */
KValue *kb_math(KBuilder *b, KMath f, KValue *x, KValue *y);
/* The same function with other lanes, made on demand. */
KFunc *kernel_func_lanes(KModule *m, const KFunc *f, int lanes);

/* --- text and checks (text.c, parse.c, verify.c) --- */

void kernel_print(StrBuf *out, const KKernel *k);
void kernel_module_print(StrBuf *out, const KModule *m);
/* Parses kernel_module_print's text; on failure returns NULL and sets *error to a message with the line. */
KModule *kernel_module_parse(Arena *a, const char *text, const char **error);
/* NULL when every invariant holds, else the first that does not, as text in the module's arena. */
const char *kernel_verify(const KKernel *k);
const char *kernel_module_verify(const KModule *m);

/* --- clean-up (simplify.c): folds, common subexpressions, dead code, loops of one or no iteration --- */

void kernel_simplify(KKernel *k);
/* Instructions go to where effects first need them, in one order, however they were built; dead ones vanish
 * (order.c). */
void kernel_order(KKernel *k);

/* Number of FMA and dot-product lane operations, loads and stores that one run executes (bounds taken from ranges). */
typedef struct KCount {
    double fmas, arithmetic, load_bytes, store_bytes;
} KCount;
KCount kernel_count(const KKernel *k);

/* Instructions of a block and below; whether there is a loop among them that reduces. */
int kblock_size(const KBlock *b);
bool kblock_reduces(const KBlock *b);

/* The elements of each parameter that a kernel may touch: lo .. hi, none where hi < lo; all where an index is the call's
 * choice. */
typedef struct KExtent {
    int64_t lo, hi;
} KExtent;
void kernel_extents(const KKernel *k, KExtent *by_param);

#endif
