/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the frontend share. */
#ifndef MLCC_FRONTEND_IMPORT_H
#define MLCC_FRONTEND_IMPORT_H

#include "frontend/frontend.h"
#include "frontend/wire.h"
#include "support/file.h"

typedef struct Import Import;
typedef struct Scope Scope;
typedef struct Call Call;

/* Mapped files, released by frontend_close. */
typedef struct ModelFile {
    const char *path;
    FileMap map;
    bool external; /* not the model itself */
} ModelFile;

struct ModelFiles {
    VEC(ModelFile) list;
};

/* A node with the opset version of its domain that it was written for. */
typedef struct Versioned {
    Node *node;
    int64_t version;
} Versioned;

struct Import {
    Arena *arena;
    Diag *diag;
    const char *path; /* the model's; external data lies beside it */
    const ImportOptions *options;
    struct ModelFiles *files;
    WireTensors tensors;
    StrMap functions;  /* domain, name and overload -> Onnx__FunctionProto */
    StrMap dims_noted; /* symbolic dimensions already reported */
    bool *dim_used;    /* per option */
    VEC(Versioned) nodes;
    int64_t n_nodes;   /* of all graphs and inlined functions so far */
    int depth;         /* graphs and functions being imported */
};

/* An attribute at a call of a function, with the scope in which it was written. */
typedef struct Argument {
    const char *name;
    const Onnx__AttributeProto *proto;
    Scope *scope;
} Argument;

/* A function being inlined. */
struct Call {
    const Call *caller;
    const Onnx__FunctionProto *function;
    int n;
    Argument *argument;
};

/* Names that nodes can refer to: one scope a graph or inlined function body. */
struct Scope {
    Scope *parent;  /* of the graph that encloses a body; NULL for models and functions */
    Graph *graph;   /* where nodes go */
    StrMap values;  /* ONNX name -> Value */
    const Call *call;
    size_t n_opsets;
    Onnx__OperatorSetIdProto **opset;
    const char *prefix;     /* of the names inside of functions; "" outside */
    StrMap renamed;         /* outputs of a function -> the name at its call */
    const StrMap *declared; /* every name that the graph's file text defines: invented names avoid them */
};

/* Elements of a tensor with all checks made. */
typedef struct Tensor {
    DType dtype;
    int rank;
    int64_t *dim;
    Data data;
} Tensor;

/* --- tensor.c --- `what` says in diagnostics what the tensor is: initializer "w". */
bool tensor_read(Import *im, Place at, const char *what, const Onnx__TensorProto *t, Tensor *out);
bool tensor_read_sparse(Import *im, Place at, const char *what, const Onnx__SparseTensorProto *t, Tensor *out);
Value *tensor_value(Arena *a, const char *name, const Tensor *t); /* a constant in no graph's list */
/* Copies dims; false when there are too many, negative ones, or too many elements (reported). */
bool tensor_dims(Import *im, Place at, const char *what, size_t n, const int64_t *dim, Tensor *out);

/* --- external.c --- the bytes of a tensor kept in another file */
bool external_read(Import *im, Place at, const char *what, const Onnx__TensorProto *t, size_t size, Data *out);

/* --- order.c --- a topological order of nodes as indices; NULL after a diagnostic. producers: name -> node + 1. */
int *order_nodes(Import *im, const char *where, size_t n, Onnx__NodeProto *const *node, StrMap *producers);
Place proto_place(Import *im, const Onnx__NodeProto *p);

/* --- attrs.c --- */
bool attrs_import(Import *im, Scope *s, Node *n, const Onnx__NodeProto *p);
/* Constant nodes become constants: the tensor in any of its forms. */
bool attrs_constant(Import *im, Scope *s, const Onnx__NodeProto *p, Tensor *out);
/* Follows ref_attr_name through calls. *s becomes the scope in which the result was written. NULL: no value given. */
const Onnx__AttributeProto *attrs_resolve(Scope **s, const Onnx__AttributeProto *a);

/* --- nodes.c --- */
bool nodes_import(Import *im, Scope *s, const char *where, size_t n, Onnx__NodeProto *const *node);
Value *scope_find(const Scope *s, const char *name);  /* NULL: undefined */
extern Value scope_absent;                            /* bound to inputs of functions that a call leaves out */

/* --- function.c --- */
bool functions_index(Import *im, size_t n, Onnx__FunctionProto *const *f);
const Onnx__FunctionProto *function_find(Import *im, const Onnx__NodeProto *p);
bool function_inline(Import *im, Scope *s, const Onnx__NodeProto *p, const Onnx__FunctionProto *f);

/* --- import.c --- */
Graph *graph_import(Import *im, Scope *parent, Place at, const Onnx__GraphProto *p);

/* --- upgrade.c --- brings a node to its operator's newest form; may put nodes before it or replace it. */
bool upgrade_node(Node *n, int64_t version);
int64_t upgrade_newest(const char *domain); /* the newest opset version that is known; 0: unknown domain */

static inline const char *text_or_empty(const char *s) { return s ? s : ""; }

#endif
