/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing the text of kernels; text.c shows what it looks like. Values keep their written ids. What is well formed as
 * text need not be a sound kernel: that is kernel_module_verify's to say. */
#include <string.h>

#include "kernel/text.h"
#include "support/scan.h"

enum { MAX_ID = 1 << 24, MAX_DEPTH = 64, MAX_LANES = 1 << 12 };

typedef struct Parse {
    Scan scan;
    KModule *module;
    KKernel *kernel;
    VEC(KValue *) values; /* of the kernel, by id; NULL: not met yet */
    int depth;
} Parse;

/* "%oy.3" as it is written. */
typedef struct Name {
    const char *hint;
    int id;
} Name;

typedef struct Results {
    VEC(Name) names;
    VEC(KType) types;
} Results;

typedef VEC(KValue *) Values;

static bool parse_block(Parse *p, KBlock *b);

/* --- values --- */

static bool parse_name(Parse *p, Name *n) {
    Scan *s = &p->scan;
    if (!scan_expect(s, "%"))
        return false;
    const char *word = scan_word(s, ".");
    if (!word)
        return false;
    const char *dot = strrchr(word, '.'), *digits = dot ? dot + 1 : word;
    *n = (Name){dot ? arena_strndup(s->arena, word, (size_t)(dot - word)) : NULL, 0};
    if (!*digits || strspn(digits, "0123456789") != strlen(digits) || strlen(digits) > 8)
        return scan_fail(s, "%%%s has no number", word);
    for (; *digits; digits++)
        n->id = n->id * 10 + (*digits - '0');
    return n->id < MAX_ID || scan_fail(s, "%%%s has too large a number", word);
}

static bool parse_use(Parse *p, KValue **v) {
    Name n;
    if (!parse_name(p, &n))
        return false;
    *v = n.id < p->values.len ? p->values.data[n.id] : NULL;
    return *v || scan_fail(&p->scan, "%%%d is not defined before its use", n.id);
}

/* Gives a new value the id that is written. */
static bool define(Parse *p, KValue *v, const Name *n) {
    while (p->values.len <= n->id)
        VEC_PUSH(p->scan.arena, &p->values, NULL);
    if (p->values.data[n->id])
        return scan_fail(&p->scan, "%%%d is defined twice", n->id);
    p->values.data[n->id] = v;
    v->id = n->id;
    v->name = n->hint;
    return true;
}

static bool parse_type(Parse *p, KType *t) {
    Scan *s = &p->scan;
    const char *word = scan_word(s, "");
    if (!word)
        return false;
    const char *x = strchr(word, 'x');
    if (x && !strncmp(word, "index", 5)) /* its own x is no lanes */
        x = word[5] == 'x' ? word + 5 : NULL;
    t->dtype = dtype_parse(word, x ? (int)(x - word) : (int)strlen(word));
    t->lanes = 1;
    if (t->dtype == DT_NONE)
        return scan_fail(s, "\"%s\" is no type", word);
    if (!x)
        return true;
    t->lanes = 0;
    for (x++; *x >= '0' && *x <= '9' && t->lanes <= MAX_LANES; x++)
        t->lanes = t->lanes * 10 + (*x - '0');
    return (!*x && t->lanes > 0 && t->lanes <= MAX_LANES) || scan_fail(s, "\"%s\" is no type", word);
}

static bool parse_list(Parse *p, Values *v) {
    do {
        KValue *x;
        if (!parse_use(p, &x))
            return false;
        VEC_PUSH(p->scan.arena, v, x);
    } while (scan_accept(&p->scan, ","));
    return true;
}

/* --- indices --- */

static bool parse_affine(Parse *p, KIndex *index) {
    Scan *s = &p->scan;
    VEC(KTerm) terms = {0};
    int64_t base = 0;
    bool minus = scan_accept(s, "-");
    do {
        KTerm t = {NULL, 1};
        bool number = !scan_is(s, "%");
        if (number && !scan_int(s, &t.coef))
            return false;
        bool constant = number && !scan_accept(s, "*");
        if (!constant && !parse_use(p, &t.var))
            return false;
        if (minus)
            t.coef = (int64_t)(0 - (uint64_t)t.coef);
        if (constant)
            base = (int64_t)((uint64_t)base + (uint64_t)t.coef);
        else
            VEC_PUSH(s->arena, &terms, t);
        minus = scan_is(s, "-");
    } while (scan_accept(s, "+") || scan_accept(s, "-"));
    KAffine *x = arena_alloc(s->arena, sizeof(KAffine) + (size_t)terms.len * sizeof(KTerm));
    x->base = base;
    x->n = terms.len;
    for (int i = 0; i < terms.len; i++)
        x->term[i] = terms.data[i];
    *index = x;
    return true;
}

static bool parse_memory(Parse *p, KMem *m) {
    Scan *s = &p->scan;
    const char *name = scan_word(s, "");
    if (!name)
        return false;
    for (int i = 0; i < p->kernel->params.len && !m->param; i++)
        if (!strcmp(p->kernel->params.data[i]->name, name))
            m->param = p->kernel->params.data[i];
    if (!m->param)
        return scan_fail(s, "no parameter %s", name);
    m->lane_stride = 1;
    return scan_expect(s, "[") && parse_affine(p, &m->at) && scan_expect(s, "]") &&
           (!scan_accept(s, "stride") || scan_int(s, &m->lane_stride));
}

/* --- instructions --- */

static bool parse_results(Parse *p, Results *r) {
    Scan *s = &p->scan;
    if (!scan_is(s, "%"))
        return true;
    do {
        Name n;
        KType t;
        if (!parse_name(p, &n) || !scan_expect(s, ":") || !parse_type(p, &t))
            return false;
        VEC_PUSH(s->arena, &r->names, n);
        VEC_PUSH(s->arena, &r->types, t);
    } while (scan_accept(s, ","));
    return scan_expect(s, "=");
}

static KInstr *insert(Parse *p, KBlock *b, KOp op, const Values *args, const Results *r) {
    KBuilder at = kb_at_end(p->kernel, b);
    return kb_insert(&at, op, args->len, args->data, r->types.len, r->types.data);
}

static bool define_results(Parse *p, KInstr *i, const Results *r) {
    for (int k = 0; k < i->nresults; k++)
        if (!define(p, i->result[k], &r->names.data[k]))
            return false;
    return true;
}

static bool parse_const(Parse *p, KInstr *i) {
    if (i->nresults != 1)
        return scan_fail(&p->scan, "a constant has one result");
    if (dtype_is_float(i->result[0]->type.dtype))
        return scan_float(&p->scan, &i->imm.f);
    return scan_int(&p->scan, &i->imm.i);
}

/* Index of a word in a list of n; -1 where it is in none. */
static int word_index(const char *word, const char *const *list, int n) {
    while (word && n-- > 0)
        if (!strcmp(list[n], word))
            return n;
    return -1;
}

static bool parse_for(Parse *p, KBlock *b, const Results *r) {
    Scan *s = &p->scan;
    VEC(Name) names = {0};
    Values args = {0};
    Name iv;
    KValue *v;
    int64_t step;
    int kind = word_index(scan_word(s, ""), kernel_loop_kinds, KLOOP_REDUCE + 1);
    if (kind < 0)
        return scan_fail(s, "no kind of loop");
    if (!parse_name(p, &iv) || !scan_expect(s, "=") || !parse_use(p, &v))
        return false;
    VEC_PUSH(s->arena, &args, v);
    if (!scan_expect(s, "to") || !parse_use(p, &v) || !scan_expect(s, "step") || !scan_int(s, &step))
        return false;
    VEC_PUSH(s->arena, &args, v);
    VEC_PUSH(s->arena, &names, iv);
    for (bool more = scan_accept(s, "carry"); more; more = scan_accept(s, ",")) {
        Name n;
        if (!parse_name(p, &n) || !scan_expect(s, "=") || !parse_use(p, &v))
            return false;
        VEC_PUSH(s->arena, &names, n);
        VEC_PUSH(s->arena, &args, v);
    }
    if (names.len != r->names.len + 1)
        return scan_fail(s, "%d carried values for %d results", names.len - 1, r->names.len);
    KInstr *i = insert(p, b, KOP_FOR, &args, r);
    i->loop = (KLoopKind)kind;
    i->step = step;
    KType *types = ARENA_ARRAY(s->arena, KType, names.len);
    types[0] = (KType){DT_INDEX, 1};
    for (int k = 1; k < names.len; k++)
        types[k] = r->types.data[k - 1];
    i->block[0] = kernel_block_new(p->kernel, i, names.len, types);
    for (int k = 0; k < names.len; k++)
        if (!define(p, i->block[0]->arg[k], &names.data[k]))
            return false;
    return parse_block(p, i->block[0]) && define_results(p, i, r);
}

static bool parse_if(Parse *p, KBlock *b, const Results *r) {
    Values args = {0};
    KValue *condition;
    if (!parse_use(p, &condition))
        return false;
    VEC_PUSH(p->scan.arena, &args, condition);
    KInstr *i = insert(p, b, KOP_IF, &args, r);
    i->block[0] = kernel_block_new(p->kernel, i, 0, NULL);
    i->block[1] = kernel_block_new(p->kernel, i, 0, NULL);
    return parse_block(p, i->block[0]) && scan_expect(&p->scan, "else") && parse_block(p, i->block[1]) &&
           define_results(p, i, r);
}

static KFunc *find_func(const Parse *p, const char *name) {
    for (int i = 0; name && i < p->module->funcs.len; i++)
        if (!strcmp(p->module->funcs.data[i]->name, name))
            return p->module->funcs.data[i];
    return NULL;
}

static bool parse_call(Parse *p, KFunc **f, Values *args) {
    Scan *s = &p->scan;
    if (!scan_expect(s, "@"))
        return false;
    const char *name = scan_word(s, "");
    *f = find_func(p, name);
    if (!*f)
        return scan_fail(s, "no function %s before its call", name ? name : "");
    return scan_expect(s, "(") && (scan_is(s, ")") || parse_list(p, args)) && scan_expect(s, ")");
}

static bool find_op(Parse *p, KOp *op) {
    const char *word = scan_word(&p->scan, "");
    for (int k = 0; word && k < KOP_COUNT; k++) {
        if (!strcmp(kop_info[k].name, word)) {
            *op = (KOp)k;
            return true;
        }
    }
    return scan_fail(&p->scan, "\"%s\" is no instruction", word ? word : "");
}

static bool parse_instr(Parse *p, KBlock *b) {
    Scan *s = &p->scan;
    Results r = {0};
    Values args = {0};
    KMem mem = {0};
    KFunc *func = NULL;
    KValue *v;
    KOp op = KOP_CONST;
    int64_t first = 0;
    bool ok;
    if (!parse_results(p, &r) || !find_op(p, &op))
        return false;
    if (kop_info[op].results >= 0 && r.names.len != kop_info[op].results)
        return scan_fail(s, "%s has %d results", kop_info[op].name, kop_info[op].results);
    switch (op) {
    case KOP_FOR:
        return parse_for(p, b, &r);
    case KOP_IF:
        return parse_if(p, b, &r);
    case KOP_CONST:
        ok = true;
        break;
    case KOP_AFFINE:
        ok = parse_affine(p, &mem.at);
        break;
    case KOP_LOAD:
        ok = parse_memory(p, &mem);
        break;
    case KOP_STORE:
        ok = parse_memory(p, &mem) && scan_expect(s, ",") && parse_list(p, &args);
        break;
    case KOP_CALL:
        ok = parse_call(p, &func, &args);
        break;
    case KOP_RAMP:
    case KOP_EXTRACT:
        ok = parse_use(p, &v) && scan_expect(s, ",");
        if (ok)
            VEC_PUSH(s->arena, &args, v);
        break;
    case KOP_WORDS:
        ok = scan_int(s, &first) && scan_expect(s, ",") && parse_list(p, &args);
        break;
    default:
        ok = (op == KOP_YIELD && !scan_is(s, "%")) || parse_list(p, &args);
    }
    if (!ok)
        return false;
    if (kop_info[op].args >= 0 && args.len != kop_info[op].args)
        return scan_fail(s, "%s has %d arguments", kop_info[op].name, kop_info[op].args);
    KInstr *i = insert(p, b, op, &args, &r);
    i->mem = mem;
    i->func = func;
    i->imm.i = first;
    if (op == KOP_CONST && !parse_const(p, i))
        return false;
    if ((op == KOP_RAMP || op == KOP_EXTRACT) && !scan_int(s, &i->imm.i))
        return false;
    return define_results(p, i, &r);
}

/* From "{" to "}". */
static bool parse_block(Parse *p, KBlock *b) {
    if (!scan_expect(&p->scan, "{"))
        return false;
    if (p->depth++ == MAX_DEPTH)
        return scan_fail(&p->scan, "blocks nest more than %d deep", MAX_DEPTH);
    if (!b->parent && scan_accept(&p->scan, "#")) {
        p->kernel->comment = scan_quoted(&p->scan, NULL);
        if (!p->kernel->comment)
            return false;
    }
    while (!scan_is(&p->scan, "}"))
        if (!parse_instr(p, b))
            return false;
    p->depth--;
    return scan_expect(&p->scan, "}");
}

/* --- kernels and functions --- */

static bool parse_param(Parse *p) {
    Scan *s = &p->scan;
    KType t;
    int64_t count;
    const char *name = scan_word(s, "");
    if (!name || !scan_expect(s, ":") || !parse_type(p, &t) || !scan_expect(s, "[") || !scan_int(s, &count) ||
        !scan_expect(s, "]"))
        return false;
    KParam *param = kernel_param(p->kernel, name, t.dtype, count, scan_accept(s, "written"));
    param->noalias = scan_accept(s, "noalias");
    return !scan_accept(s, "align") || scan_small(s, &param->align);
}

static bool begin(Parse *p, const char **name) {
    *name = scan_expect(&p->scan, "@") ? scan_word(&p->scan, "") : NULL;
    if (!*name)
        return false;
    p->kernel = kernel_new(p->module, *name);
    p->values.len = 0;
    return scan_expect(&p->scan, "(");
}

static bool parse_body(Parse *p) {
    bool ok = parse_block(p, p->kernel->body);
    p->kernel->next_id = p->values.len;
    return ok;
}

static bool parse_kernel(Parse *p) {
    Scan *s = &p->scan;
    const char *name;
    if (!begin(p, &name))
        return false;
    while (!scan_is(s, ")"))
        if ((p->kernel->params.len && !scan_expect(s, ",")) || !parse_param(p))
            return false;
    if (!scan_expect(s, ")"))
        return false;
    for (bool more = scan_accept(s, "at"); more; more = scan_accept(s, ",")) {
        Name n;
        if (!parse_name(p, &n) || !define(p, kernel_index(p->kernel, NULL), &n))
            return false;
    }
    p->kernel->unordered = scan_accept(s, "unordered");
    if (!parse_body(p))
        return false;
    VEC_PUSH(s->arena, &p->module->kernels, p->kernel);
    return true;
}

static bool parse_func(Parse *p) {
    Scan *s = &p->scan;
    Results args = {0};
    KFunc *f = ARENA_NEW(s->arena, KFunc);
    if (!begin(p, &f->name))
        return false;
    while (!scan_is(s, ")")) {
        Name n;
        KType t;
        if ((args.names.len && !scan_expect(s, ",")) || !parse_name(p, &n) || !scan_expect(s, ":") || !parse_type(p, &t))
            return false;
        VEC_PUSH(s->arena, &args.names, n);
        VEC_PUSH(s->arena, &args.types, t);
    }
    if (!scan_expect(s, ")") || !scan_expect(s, "->") || !parse_type(p, &f->result))
        return false;
    f->nargs = args.names.len;
    f->body = p->kernel;
    f->body->body = kernel_block_new(p->kernel, NULL, f->nargs, args.types.data);
    for (int k = 0; k < f->nargs; k++)
        if (!define(p, f->body->body->arg[k], &args.names.data[k]))
            return false;
    if (!parse_body(p))
        return false;
    VEC_PUSH(s->arena, &p->module->funcs, f);
    return true;
}

/* --- buffers and calls --- */

static bool parse_elements(Parse *p, KBuffer *b, char *bytes) {
    Scan *s = &p->scan;
    int size = dtype_size(b->dtype);
    for (int64_t i = 0; i < b->count; i++) {
        int64_t x;
        double f;
        bool is_float;
        if ((i && !scan_expect(s, ",")) || !scan_number(s, &x, &f, &is_float))
            return false;
        if (is_float && !dtype_is_float(b->dtype))
            return scan_fail(s, "an integer expected");
        float single = (float)f;
        uint16_t half = b->dtype == DT_F16 ? float_to_half(single) : float_to_bfloat(single);
        const void *from = b->dtype == DT_F32   ? (const void *)&single
                           : b->dtype == DT_F64 ? (const void *)&f
                           : dtype_is_float(b->dtype) ? (const void *)&half
                                                      : (const void *)&x;
        memcpy(bytes + i * size, from, (size_t)size);
    }
    return true;
}

static bool parse_data(Parse *p, KBuffer *b) {
    static const int64_t zero[2], one = 1;
    Scan *s = &p->scan;
    int64_t size;
    b->data = (KData){.bytes = zero, .rank = 1, .dim = arena_dup(s->arena, &b->count, sizeof b->count), .stride = zero};
    if (scan_accept(s, "<")) /* zeros that take no memory */
        return scan_int(s, &size) && scan_expect(s, "bytes") && scan_expect(s, ">");
    if (b->count > KERNEL_TEXT_ELEMENTS)
        return scan_fail(s, "more than %d elements", KERNEL_TEXT_ELEMENTS);
    char *bytes = ARENA_ARRAY(s->arena, char, kbuffer_bytes(b) + 1);
    b->data.bytes = bytes;
    b->data.stride = &one;
    return scan_expect(s, "{") && parse_elements(p, b, bytes) && scan_expect(s, "}");
}

static bool parse_shape(Parse *p, KBuffer *b) {
    VEC(int64_t) dims = {0};
    while (!scan_is(&p->scan, "]")) {
        int64_t x;
        if ((dims.len && !scan_expect(&p->scan, ",")) || !scan_int(&p->scan, &x))
            return false;
        VEC_PUSH(p->scan.arena, &dims, x);
    }
    b->rank = dims.len;
    b->dim = dims.data;
    return scan_expect(&p->scan, "]");
}

static bool parse_buffer(Parse *p) {
    Scan *s = &p->scan;
    KType t;
    int index;
    int64_t count, at = 0;
    if (!scan_small(s, &index))
        return false;
    if (index != p->module->buffers.len)
        return scan_fail(s, "buffer %d expected", p->module->buffers.len);
    int kind = word_index(scan_word(s, ""), kernel_buffer_kinds, KBUF_ARENA + 1);
    if (kind < 0)
        return scan_fail(s, "no kind of buffer");
    if (!parse_type(p, &t) || !scan_expect(s, "[") || !scan_int(s, &count) || !scan_expect(s, "]"))
        return false;
    if (count < 0 || (kind == KBUF_ARENA && (!scan_expect(s, "at") || !scan_int(s, &at))))
        return scan_fail(s, "an impossible size");
    KBuffer *b = kernel_buffer(p->module, (KBufferKind)kind, NULL, t.dtype, count);
    b->arena_offset = at;
    if (scan_accept(s, "@") && !(b->name = scan_word(s, "")))
        return false;
    if (scan_accept(s, "onnx") && !(b->onnx_name = scan_quoted(s, NULL)))
        return false;
    if (scan_accept(s, "shape") && !(scan_expect(s, "[") && parse_shape(p, b)))
        return false;
    return kind != KBUF_CONST || (scan_expect(s, "=") && parse_data(p, b));
}

static bool parse_module_call(Parse *p) {
    Scan *s = &p->scan;
    KCall c = {0};
    const char *name = scan_expect(s, "@") ? scan_word(s, "") : NULL;
    if (!name)
        return false;
    for (int i = 0; i < p->module->kernels.len && !c.kernel; i++)
        if (!strcmp(p->module->kernels.data[i]->name, name))
            c.kernel = p->module->kernels.data[i];
    if (!c.kernel)
        return scan_fail(s, "no kernel %s", name);
    if (!scan_expect(s, "("))
        return false;
    c.arg = ARENA_ARRAY(s->arena, KArg, c.kernel->params.len);
    for (int k = 0; k < c.kernel->params.len; k++) {
        int buffer;
        if ((k && !scan_expect(s, ",")) || !scan_small(s, &buffer) || !scan_expect(s, "+") ||
            !scan_int(s, &c.arg[k].offset))
            return false;
        if (buffer >= p->module->buffers.len)
            return scan_fail(s, "no buffer %d", buffer);
        c.arg[k].buffer = p->module->buffers.data[buffer];
    }
    int n = c.kernel->body->nargs;
    c.index = ARENA_ARRAY(s->arena, int64_t, n);
    if (!scan_expect(s, ")"))
        return false;
    for (int k = 0; k < n; k++)
        if (!scan_expect(s, k ? "," : "at") || !scan_int(s, &c.index[k]))
            return false;
    if ((scan_accept(s, "parts") && !scan_small(s, &c.parts)) || (scan_accept(s, "macs") && !scan_int(s, &c.macs)) ||
        (scan_accept(s, "#") && !(c.comment = scan_quoted(s, NULL))))
        return false;
    VEC_PUSH(s->arena, &p->module->calls, c);
    return true;
}

static bool parse_module(Parse *p) {
    Scan *s = &p->scan;
    if (!scan_expect(s, "module") || (scan_is_quoted(s) && !(p->module->model_name = scan_quoted(s, NULL))))
        return false;
    if (!scan_expect(s, "arena") || !scan_int(s, &p->module->arena_size) || !scan_expect(s, "align") ||
        !scan_small(s, &p->module->arena_align))
        return false;
    while (!scan_at_end(s)) {
        bool ok = scan_accept(s, "buffer")   ? parse_buffer(p)
                  : scan_accept(s, "func")   ? parse_func(p)
                  : scan_accept(s, "kernel") ? parse_kernel(p)
                  : scan_accept(s, "call")   ? parse_module_call(p)
                                             : scan_fail(s, "\"buffer\", \"func\", \"kernel\" or \"call\" expected");
        if (!ok)
            return false;
    }
    return true;
}

KModule *kernel_module_parse(Arena *a, const char *text, const char **error) {
    Parse p = {.scan = scan_text(a, text), .module = kernel_module_new(a)};
    bool ok = parse_module(&p) && !p.scan.error;
    *error = p.scan.error;
    return ok ? p.module : NULL;
}
