/* SPDX-License-Identifier: Apache-2.0 */
/* The graph IR: a model as typed SSA over tensors, after the frontend has brought every operator to one form. */
#ifndef MLCC_GRAPH_GRAPH_H
#define MLCC_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/arena.h"
#include "support/diag.h"
#include "support/dtype.h"
#include "support/strbuf.h"
#include "support/strmap.h"

typedef struct Graph Graph;
typedef struct Node Node;
typedef struct Value Value;
typedef struct Op Op; /* ops/op.h */

enum {
    GRAPH_MAX_RANK = 16,
};

/* A constant's elements: little endian, row-major, `size` bytes = elements * element size, maybe unaligned: most point
 * into the mapped model. Strings are not tensors of this kind. */
typedef struct Data {
    const void *bytes;
    size_t size;
} Data;

typedef struct Use {
    Node *node;
    int index; /* which input of the node */
} Use;

typedef enum ValueKind { VALUE_NODE, VALUE_INPUT, VALUE_CONST } ValueKind;

/* Where a value's elements lie: element (i0, i1, …) of the value is element offset + sum of i[d] * stride[d] of the
 * root's buffer. A root is its own root. Set by the storage passes; until then root is NULL. */
typedef struct Storage {
    Value *root;
    int64_t offset;
    int64_t *stride; /* rank entries, in elements; an axis of size 1 may have any */
} Storage;

struct Value {
    ValueKind kind;
    Graph *graph;
    int id;           /* unique in the graph, ascending with creation */
    const char *name; /* the ONNX name; unique in the graph, never NULL */
    DType dtype;      /* DT_NONE: not inferred yet */
    int rank;         /* -1: not inferred yet */
    int64_t *dim;
    Node *def;        /* VALUE_NODE */
    int def_index;    /* which output of def */
    Data data;        /* VALUE_CONST */
    VEC(Use) uses;    /* in no particular order; a graph output is not a use */
    bool is_output;
    bool known;       /* VALUE_NODE: folding can compute it (passes/fold.h) */

    Storage storage;
    int64_t window;       /* roots: rows (axis 2) that the buffer holds at a time; 0: all */
    int64_t buffer_size;  /* roots: elements of the buffer; set with storage */
    int64_t arena_offset; /* roots in the arena: bytes; -1 until planned and for inputs, outputs, constants */
};

typedef enum AttrKind {
    ATTR_INT, ATTR_FLOAT, ATTR_STRING, ATTR_INTS, ATTR_FLOATS, ATTR_STRINGS, ATTR_TENSOR, ATTR_GRAPH
} AttrKind;

typedef struct Attr {
    const char *name;
    AttrKind kind;
    int n;                  /* entries of the lists */
    int64_t i;
    float f;
    const char *s;          /* NUL-terminated; s_len where it may hold NULs */
    size_t s_len;
    const int64_t *ints;
    const float *floats;
    const char *const *strings;
    Value *tensor;          /* a VALUE_CONST that belongs to no list */
    Graph *graph;           /* If, Loop, Scan bodies */
} Attr;

struct Node {
    Graph *graph;
    const Op *op;         /* NULL: mlcc does not know the operator */
    const char *op_type, *domain; /* "" is ai.onnx */
    const char *name;     /* ONNX node name, or the first output's name; never NULL */
    const char *sources;  /* names of the ONNX nodes that this node stands for, ", " between; printed into the code */
    int nin, nout;
    Value **in;           /* NULL: an optional input that is absent */
    Value **out;          /* NULL: an output that nobody wants */
    int nattrs;
    Attr *attr;
    Node *prev, *next;    /* topological order */
    /* Nodes with the same group become one kernel; 0: not grouped yet. Set by the fusion pass. In a group, a value that
     * is used only inside never gets a buffer: it is computed where it is needed. */
    int group;
};

/* A call of a group for some rows (axis 2) of its value, or rows of that value that move within its window. */
typedef struct StripStep {
    bool move;
    int member;
    int64_t lo, hi;
    int64_t in_base, out_base; /* first row that the window before the member holds, and its own (before a move) */
} StripStep;

/* Consecutive groups that are computed together a few rows at a time: what one hands to the next needs a window of rows
 * only, which stays in the cache. */
typedef struct Strips {
    int n;
    int *group;    /* members in order */
    Value **value; /* what each computes; all but the last have windows */
    VEC(StripStep) steps;
} Strips;

/* What reports say of a node. */
typedef struct NodeNote {
    const char *node, *op_type, *text;
} NodeNote;

typedef VEC(NodeNote) NodeNotes;

struct Graph {
    Arena *arena;
    Diag *diag;
    const char *name;
    Graph *outer; /* the graph whose values a body may use */
    VEC(Value *) inputs;
    VEC(Value *) outputs; /* the same value may stand twice */
    VEC(Value *) consts;
    Node *first, *last;
    StrMap names; /* of all values: name -> Value */
    int next_id, next_group;
    VEC(Strips *) strips;
    NodeNotes floats;         /* nodes of a quantised model that compute with floating-point numbers, and why */
    NodeNotes approximations; /* nodes whose results --math=fast makes less exact, and how */
    int64_t arena_size; /* bytes, set by the memory plan */
    bool fast;          /* results may be less exact where that is faster (--math=fast) */
    bool half_weights;  /* constants of 16-bit floating numbers stay so (passes/weights.c) */
    struct {            /* what folding may spend, and has (passes/fold.c) */
        int64_t largest, bytes;
        double work;
    } fold;
};

/* The strips that a group takes part in and its place there; NULL where it is called once for all rows. */
const Strips *graph_strips(const Graph *g, int group, int *member);

/* --- construction (graph.c); all of it in the graph's arena --- */

Graph *graph_new(Arena *a, Diag *d, const char *name);
Value *graph_input(Graph *g, const char *name, DType t, int rank, const int64_t *dim);
/* A constant over bytes that the caller keeps alive as long as the arena. */
Value *graph_const(Graph *g, const char *name, DType t, int rank, const int64_t *dim, Data data);
/* A small int64 vector (rank 1) or scalar (rank 0, n 1), copied. */
Value *graph_const_ints(Graph *g, const char *name, int rank, int n, const int64_t *x);
Value *graph_const_float(Graph *g, const char *name, float x); /* scalar */
/* A node before `before`, or at the end where NULL. Inputs may contain NULL. Makes noutputs values without type,
 * named by out_names (NULL entries: invented names; out_names itself may be NULL). */
Node *graph_node(Graph *g, Node *before, const char *domain, const char *op_type, const char *name, int nin,
                 Value *const *in, int nout, const char *const *out_names);
void node_set_input(Node *n, int i, Value *v);              /* keeps use lists */
void node_add_attr(Node *n, Attr a);                        /* replaces one of the same name */
void node_remove(Node *n);                                  /* its outputs must be unused */
void node_move_before(Node *n, Node *before);               /* NULL: to the end */
void value_replace_all(Value *old, Value *by);              /* uses and graph outputs */
void value_swap_names(Value *x, Value *y);
void value_set_type(Value *v, DType t, int rank, const int64_t *dim); /* copies dim */
void graph_remove_const(Graph *g, Value *v);                /* unused constants only */
/* A name not taken in the graph, from a base. */
const char *graph_fresh_name(Graph *g, const char *base);

/* --- questions --- */

bool value_is_const(const Value *v); /* false for NULL */
bool value_is_number(const Value *v); /* a constant of one element */
int64_t value_count(const Value *v); /* elements; 1 for a scalar */
/* Element i of an integer or BOOL constant; of a floating one. */
int64_t const_int(const Value *v, int64_t i);
double const_float(const Value *v, int64_t i);
/* n * … * dim; false on overflow of PTRDIFF_MAX / 16. */
bool dims_count(int rank, const int64_t *dim, int64_t *count);
bool value_same_shape(const Value *x, const Value *y);
Place node_place(const Node *n);
bool node_is(const Node *n, const char *domain, const char *op_type);
const Attr *node_attr(const Node *n, const char *name); /* NULL if absent */
int64_t attr_int(const Node *n, const char *name, int64_t otherwise);
float attr_float(const Node *n, const char *name, float otherwise);
const char *attr_string(const Node *n, const char *name, const char *otherwise);
Node *value_only_user(const Value *v); /* the one node that uses it (maybe more than once) and it is no output; else NULL */
void storage_row_major(Value *v);      /* own root, offset 0, row-major strides */
bool storage_is_row_major(const Value *v); /* contiguous in logical order, whatever the root and offset */
/* The groups in order: the first node, from n on, that is in one (NULL if none is); and the last of that node's. */
Node *group_from(Node *n);
Node *group_last(Node *n);

/* --- text (text.c, parse.c) and checks (verify.c) --- */

void graph_print(StrBuf *out, const Graph *g);
/* Parses graph_print's text; constants of more than 64 elements print as their size only and do not parse back. */
Graph *graph_parse(Arena *a, Diag *d, const char *text);
/* NULL when every invariant holds: topological order, use lists, types known where `typed`, groups convex, storage
 * within roots; else the first violation as text in the arena. */
const char *graph_verify(const Graph *g, bool typed);

#endif
