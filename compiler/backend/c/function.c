/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels as C functions: structured control flow, one statement or nested expression an instruction. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/c/print.h"
#include "support/ident.h"

enum { LONGEST_EXPRESSION = 72 };

typedef struct Printer {
    Helpers *h;
    StrBuf *out;
    Arena *arena;
    const char *prefix;
    const KKernel *kernel;
    int depth, temporaries;
    StrMap taken;       /* names in this function */
    const char **text;  /* by value id: the name, or the expression printed where it is used */
    bool *is_atom;      /* the text is a name or a literal */
    int *uses;
} Printer;

/* --- uses --- */

static void count_uses(Printer *p, const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next) {
        for (int k = 0; k < i->nargs; k++)
            p->uses[i->arg[k]->id]++;
        for (int k = 0; i->mem.at && k < i->mem.at->n; k++)
            p->uses[i->mem.at->term[k].var->id] += 2; /* variables of an address get a name */
        for (int k = 0; k < 2; k++)
            if (i->block[k])
                count_uses(p, i->block[k]);
    }
}

/* --- lines --- */

static void indent(Printer *p) {
    for (int i = 0; i < p->depth; i++)
        sb_puts(p->out, "    ");
}

__attribute__((format(printf, 2, 3))) static void line(Printer *p, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    indent(p);
    sb_vprintf(p->out, format, ap);
    sb_putc(p->out, '\n');
    va_end(ap);
}

/* --- atoms --- */

static const char *integer_text(Printer *p, DType t, int64_t x) {
    if (t == DT_I64 && x == INT64_MIN)
        return "(-9223372036854775807 - 1)";
    if (t == DT_I32 && x == INT32_MIN)
        return "(-2147483647 - 1)";
    if (t == DT_U64)
        return arena_printf(p->arena, "%lluu", (unsigned long long)x);
    if (t == DT_U32)
        return arena_printf(p->arena, "%lluu", (unsigned long long)(uint32_t)x);
    return arena_printf(p->arena, x < 0 ? "(%lld)" : "%lld", (long long)x);
}

static const char *float_text(Printer *p, DType t, double x) {
    if (dtype_is_half(t)) {
        unsigned bits = t == DT_F16 ? float_to_half((float)x) : float_to_bfloat((float)x);
        return arena_printf(p->arena, "%u", bits);
    }
    if (!isfinite(x))
        return arena_printf(p->arena, "%s(%s)", c_helper(p->h, "special", (KType){t, 1}, DT_NONE),
                            isnan(x) ? "2" : x < 0 ? "1" : "0");
    const char *s = "";
    for (int digits = 1; digits <= 17; digits++) { /* the shortest that reads back the same */
        s = arena_printf(p->arena, "%.*g", digits, x);
        double back = strtod(s, NULL);
        if (t == DT_F32 ? (float)back == (float)x : back == x)
            break;
    }
    if (!strpbrk(s, ".e"))
        s = arena_printf(p->arena, "%s.0", s);
    return arena_printf(p->arena, signbit(x) ? "(%s%s)" : "%s%s", s, t == DT_F32 ? "f" : "");
}

static const char *const_text(Printer *p, const KInstr *i) {
    KType t = i->result[0]->type;
    const char *s = dtype_is_float(t.dtype) ? float_text(p, t.dtype, i->imm.f) : integer_text(p, t.dtype, i->imm.i);
    if (t.lanes == 1)
        return s;
    return arena_printf(p->arena, "%s(%s)", c_helper(p->h, "splat", t, DT_NONE), s);
}

static const char *fresh_name(Printer *p, const KValue *v) {
    if (v->name)
        return ident_unique(p->arena, &p->taken, v->name);
    return ident_unique(p->arena, &p->taken, arena_printf(p->arena, "t%d", p->temporaries++));
}

static const char *text_of(Printer *p, const KValue *v) {
    assert(p->text[v->id]);
    return p->text[v->id];
}

static void set_text(Printer *p, const KValue *v, const char *s, bool atom) {
    p->text[v->id] = s;
    p->is_atom[v->id] = atom;
}

static void declare(Printer *p, const KValue *v, const char *expression) {
    const char *name = fresh_name(p, v);
    line(p, "const %s %s = %s;", c_type(p->h, v->type), name, expression);
    set_text(p, v, name, true);
}

/* The value as a name or literal, for places that print it twice. */
static const char *atom(Printer *p, const KValue *v) {
    if (!p->is_atom[v->id])
        declare(p, v, text_of(p, v));
    return text_of(p, v);
}

/* --- addresses --- */

static const char *affine_text(Printer *p, KIndex x) {
    if (!x->n)
        return arena_printf(p->arena, "%lld", (long long)x->base);
    StrBuf b = {0};
    for (int i = x->n - 1; i >= 0; i--) {
        int64_t c = x->term[i].coef;
        const char *name = atom(p, x->term[i].var);
        if (b.len)
            sb_puts(&b, c < 0 ? " - " : " + ");
        else if (c < 0)
            sb_puts(&b, "-");
        if (c != 1 && c != -1)
            sb_printf(&b, "%lld * ", (long long)(c < 0 ? -c : c));
        sb_puts(&b, name);
    }
    if (x->base)
        sb_printf(&b, " %c %lld", x->base < 0 ? '-' : '+', (long long)(x->base < 0 ? -x->base : x->base));
    const char *s = arena_strdup(p->arena, b.data);
    sb_free(&b);
    return s;
}

/* --- expressions --- */

static const char *unsigned_of(DType t) {
    return t == DT_INDEX ? "size_t" : dtype_bits(t) == 64 ? "uint64_t" : "uint32_t";
}

static const char *wrapped(Printer *p, DType t, const char *x, const char *op, const char *y) {
    const char *u = unsigned_of(t);
    if (t == DT_U64 || t == DT_U32)
        return arena_printf(p->arena, "%s %s %s", x, op, y);
    return arena_printf(p->arena, "(%s)((%s)%s %s (%s)%s)", dtype_c(t), u, x, op, u, y);
}

static const char *operator_of(KOp op) {
    switch (op) {
    case KOP_ADD: return "+";
    case KOP_SUB: return "-";
    case KOP_MUL: return "*";
    case KOP_DIV: return "/";
    case KOP_AND: return "&";
    case KOP_OR: return "|";
    case KOP_XOR: return "^";
    case KOP_EQ: return "==";
    case KOP_NE: return "!=";
    case KOP_LT: return "<";
    case KOP_LE: return "<=";
    case KOP_GT: return ">";
    case KOP_GE: return ">=";
    default: return NULL;
    }
}

/* Argument k, in parentheses unless it is an atom. */
static const char *operand(Printer *p, const KInstr *i, int k) {
    const char *s = text_of(p, i->arg[k]);
    return p->is_atom[i->arg[k]->id] ? s : arena_printf(p->arena, "(%s)", s);
}

static const char *call_helper(Printer *p, const char *family, const KInstr *i, KType t, DType from) {
    const char *name = c_helper(p->h, family, t, from);
    char *s = arena_printf(p->arena, "%s(%s", name, text_of(p, i->arg[0]));
    for (int k = 1; k < i->nargs; k++)
        s = arena_printf(p->arena, "%s, %s", s, text_of(p, i->arg[k]));
    return arena_printf(p->arena, "%s)", s);
}

static const char *scalar_binary(Printer *p, const KInstr *i) {
    DType t = i->arg[0]->type.dtype;
    bool f = dtype_is_float(t);
    if (i->op == KOP_MIN || i->op == KOP_MAX) {
        const char *x = atom(p, i->arg[0]), *y = atom(p, i->arg[1]);
        return arena_printf(p->arena, "%s %c %s ? %s : %s", x, i->op == KOP_MIN ? '<' : '>', y, x, y);
    }
    if (i->op == KOP_MUL_HIGH || i->op == KOP_SHL || i->op == KOP_SHR || i->op == KOP_REM || (i->op == KOP_DIV && !f))
        return call_helper(p, kop_info[i->op].name, i, (KType){t, 1}, DT_NONE);
    const char *x = operand(p, i, 0), *y = operand(p, i, 1), *op = operator_of(i->op);
    if (f || (t == DT_INDEX && !kop_compares(i->op)))
        return arena_printf(p->arena, "%s %s %s", x, op, y);
    if (kop_compares(i->op))
        return arena_printf(p->arena, "%s %s %s", x, op, y);
    if (i->op >= KOP_AND && i->op <= KOP_XOR)
        return dtype_bits(t) < 32 ? arena_printf(p->arena, "(%s)(%s %s %s)", dtype_c(t), x, op, y)
                                  : arena_printf(p->arena, "%s %s %s", x, op, y);
    return wrapped(p, t, x, op, y);
}

static const char *scalar_cast(Printer *p, const KInstr *i) {
    DType from = i->arg[0]->type.dtype, to = i->result[0]->type.dtype;
    bool f = dtype_is_float(from), g = dtype_is_float(to);
    bool half = dtype_is_half(from) || dtype_is_half(to);
    if (half || (f && !g && to != DT_BOOL))
        return call_helper(p, "cast", i, (KType){to, 1}, from);
    if (to == DT_BOOL)
        return arena_printf(p->arena, f ? "(uint8_t)(%s != 0.0f)" : "(uint8_t)(%s != 0)", operand(p, i, 0));
    return arena_printf(p->arena, "(%s)%s", dtype_c(to), operand(p, i, 0));
}

static const char *words_text(Printer *p, const KInstr *i) {
    char *s = arena_printf(p->arena, "%s(", c_words_helper(p->h, i->arg[0]->type, i->nargs, (int)i->imm.i, i->result[0]->type.lanes));
    for (int k = 0; k < i->nargs; k++)
        s = arena_printf(p->arena, "%s%s%s", s, k ? ", " : "", text_of(p, i->arg[k]));
    return arena_printf(p->arena, "%s)", s);
}

static const char *scalar_text(Printer *p, const KInstr *i) {
    DType t = i->arg[0]->type.dtype;
    bool f = dtype_is_float(t);
    switch (i->op) {
    case KOP_FMA:
        if (f)
            return arena_printf(p->arena, "%s * %s + %s", operand(p, i, 0), operand(p, i, 1), operand(p, i, 2));
        return wrapped(p, t, arena_printf(p->arena, "(%s)", wrapped(p, t, operand(p, i, 0), "*", operand(p, i, 1))), "+",
                       operand(p, i, 2));
    case KOP_NEG:
        return f ? arena_printf(p->arena, "-%s", operand(p, i, 0)) : wrapped(p, t, "0", "-", operand(p, i, 0));
    case KOP_NOT:
        if (t == DT_BOOL)
            return arena_printf(p->arena, "(uint8_t)!%s", operand(p, i, 0));
        return arena_printf(p->arena, "(%s)~%s", dtype_c(t), operand(p, i, 0));
    case KOP_DOT:
    case KOP_DOT_S8:
    case KOP_NEAREST:
    case KOP_NIBBLE:
    case KOP_DOT_LONG:
    case KOP_ABS:
    case KOP_SQRT: return call_helper(p, kop_info[i->op].name, i, i->result[0]->type, DT_NONE);
    case KOP_SELECT:
        return arena_printf(p->arena, "%s ? %s : %s", operand(p, i, 0), operand(p, i, 1), operand(p, i, 2));
    case KOP_CAST: return scalar_cast(p, i);
    case KOP_BITCAST: return call_helper(p, "bitcast", i, i->result[0]->type, t);
    case KOP_WORDS: return words_text(p, i);
    case KOP_SATURATE: return call_helper(p, "saturate", i, i->result[0]->type, (DType)1);
    default: return scalar_binary(p, i);
    }
}

static const char *vector_text(Printer *p, const KInstr *i) {
    KType t = i->result[0]->type, a = i->nargs ? i->arg[0]->type : t;
    const char *op = operator_of(i->op);
    switch (i->op) {
    case KOP_FMA:
        if (c_riscv_widens(p->h, i))
            return call_helper(p, i->arg[0]->def && i->arg[0]->def->op == KOP_SPLAT ? "fma_halves_by" : "fma_halves", i, t, DT_NONE);
        break;
    case KOP_DOT_SUM: return call_helper(p, "dot_sum", i, a, DT_NONE);
    case KOP_ADD:
    case KOP_SUB:
    case KOP_MUL:
    case KOP_AND:
    case KOP_OR:
    case KOP_XOR:
        if (c_is_bytes(p->h, t))
            break;
        return arena_printf(p->arena, "%s %s %s", operand(p, i, 0), op, operand(p, i, 1));
    case KOP_DIV:
        if (dtype_is_float(t.dtype))
            return arena_printf(p->arena, "%s %s %s", operand(p, i, 0), op, operand(p, i, 1));
        break;
    case KOP_NEG: return arena_printf(p->arena, "-%s", operand(p, i, 0));
    case KOP_NOT: return arena_printf(p->arena, "~%s", operand(p, i, 0));
    case KOP_EXTRACT:
        if (t.lanes == 1)
            return arena_printf(p->arena, t.dtype == DT_BOOL ? "(uint8_t)(%s[%lld] & 1)" : "%s[%lld]", atom(p, i->arg[0]),
                                (long long)i->imm.i);
        return arena_printf(p->arena, "%s(%s, %lld)", c_helper(p->h, "extract", t, (DType)a.lanes), text_of(p, i->arg[0]),
                            (long long)i->imm.i);
    case KOP_WORDS: return words_text(p, i);
    case KOP_SATURATE: return call_helper(p, "saturate", i, t, (DType)i->nargs);
    case KOP_REDUCE_ADD:
    case KOP_REDUCE_MUL:
    case KOP_REDUCE_MIN:
    case KOP_REDUCE_MAX: return call_helper(p, kop_info[i->op].name, i, a, DT_NONE);
    case KOP_RAMP:
        return arena_printf(p->arena, "%s(%s, %lld)", c_helper(p->h, "ramp", t, DT_NONE), text_of(p, i->arg[0]),
                            (long long)i->imm.i);
    case KOP_PACK: {
        const char *s = c_helper(p->h, "pack", t, (DType)a.lanes);
        for (int k = 0; k < i->nargs; k++)
            s = arena_printf(p->arena, "%s%s%s", s, k ? ", " : "(", text_of(p, i->arg[k]));
        return arena_printf(p->arena, "%s)", s);
    }
    default: break;
    }
    if (kop_compares(i->op))
        return call_helper(p, kop_info[i->op].name, i, a, DT_NONE);
    return call_helper(p, kop_info[i->op].name, i, t, a.dtype);
}

/* Bytes that are read to become a word, or sixteen with the other sign: plain C has no type for them. */
static bool is_word(const Printer *p, const KInstr *i) {
    const KInstr *next = i->next;
    if (i->op != KOP_LOAD || i->mem.lane_stride != 1 || dtype_bits(i->mem.param->dtype) != 8 || !next || next->op != KOP_BITCAST ||
        next->arg[0] != i->result[0] || p->uses[i->result[0]->id] != 1)
        return false;
    KType t = next->result[0]->type;
    return ((t.dtype == DT_I32 || t.dtype == DT_I64) && t.lanes == 1) || c_is_bytes(p->h, t);
}

static const char *load_text(Printer *p, const KInstr *i) {
    KType t = i->result[0]->type;
    const char *at = affine_text(p, i->mem.at);
    if (is_word(p, i))
        return arena_printf(p->arena, "%s(&%s[%s])", c_helper(p->h, "word", i->next->result[0]->type, t.dtype), i->mem.param->name, at);
    if (t.lanes == 1)
        return arena_printf(p->arena, "%s[%s]", i->mem.param->name, at);
    if (i->mem.lane_stride == 1)
        return arena_printf(p->arena, "%s(&%s[%s])", c_helper(p->h, "load", t, DT_NONE), i->mem.param->name, at);
    return arena_printf(p->arena, "%s(&%s[%s], %lld)", c_helper(p->h, "gather", t, DT_NONE), i->mem.param->name, at,
                        (long long)i->mem.lane_stride);
}

static const char *call_text(Printer *p, const KInstr *i) {
    char *s = arena_printf(p->arena, "%s_%s(", p->prefix, i->func->name);
    for (int k = 0; k < i->nargs; k++)
        s = arena_printf(p->arena, "%s%s%s", s, k ? ", " : "", text_of(p, i->arg[k]));
    return arena_printf(p->arena, "%s)", s);
}

static const char *expression(Printer *p, const KInstr *i) {
    bool vector = i->result[0]->type.lanes > 1 || (i->nargs && i->arg[0]->type.lanes > 1);
    switch (i->op) {
    case KOP_AFFINE: return affine_text(p, i->mem.at);
    case KOP_LOAD: return load_text(p, i);
    case KOP_CALL: return call_text(p, i);
    default: return vector ? vector_text(p, i) : scalar_text(p, i);
    }
}

/* --- statements --- */

static bool only_use_is_next(const KInstr *i) {
    const KValue *v = i->result[0];
    const KInstr *n = i->next;
    for (int k = 0; n && k < n->nargs; k++)
        if (n->arg[k] == v)
            return n->op != KOP_FOR && n->op != KOP_IF;
    return false;
}

/* An expression used once may stand where it is used, if nothing in between can change it: pure ones anywhere in their
 * block, loads in the very next instruction. */
static bool may_wait(Printer *p, const KInstr *i, const char *text) {
    const KValue *v = i->result[0];
    if (p->uses[v->id] != 1 || strlen(text) > LONGEST_EXPRESSION)
        return false;
    for (const KInstr *n = i->next; n; n = n->next)
        for (int k = 0; k < n->nargs; k++)
            if (n->arg[k] == v)
                return n->op != KOP_FOR && n->op != KOP_IF && n->op != KOP_YIELD &&
                       (i->op != KOP_LOAD || only_use_is_next(i));
    return false;
}

static void print_block(Printer *p, const KBlock *b);

/* Assigns the yielded values to the carried variables; one that reads another carried variable waits in a temporary. */
static void assign_carried(Printer *p, const KInstr *loop, const KInstr *yield) {
    const char **value = ARENA_ARRAY(p->arena, const char *, yield->nargs);
    for (int k = 0; k < yield->nargs; k++) {
        value[k] = text_of(p, yield->arg[k]);
        for (int j = 0; j < k; j++) {
            if (yield->arg[k] == kb_carried(loop, j)) {
                const char *name = arena_printf(p->arena, "%s_next", text_of(p, kb_carried(loop, k)));
                line(p, "const %s %s = %s;", c_type(p->h, yield->arg[k]->type), name, value[k]);
                value[k] = name;
                break;
            }
        }
    }
    for (int k = 0; k < yield->nargs; k++)
        if (yield->arg[k] != kb_carried(loop, k))
            line(p, "%s = %s;", text_of(p, kb_carried(loop, k)), value[k]);
}

static void print_for(Printer *p, const KInstr *i) {
    for (int k = 0; k < i->nresults; k++) {
        const KValue *v = kb_carried(i, k);
        const char *name = fresh_name(p, v);
        line(p, "%s %s = %s;", c_type(p->h, v->type), name, text_of(p, i->arg[2 + k]));
        set_text(p, v, name, true);
        set_text(p, i->result[k], name, true);
    }
    const char *iv = fresh_name(p, kb_iv(i)), *lo = text_of(p, i->arg[0]), *hi = atom(p, i->arg[1]);
    set_text(p, kb_iv(i), iv, true);
    if (i->step == 1)
        line(p, "for (ptrdiff_t %s = %s; %s < %s; %s++) {", iv, lo, iv, hi, iv);
    else
        line(p, "for (ptrdiff_t %s = %s; %s < %s; %s += %lld) {", iv, lo, iv, hi, iv, (long long)i->step);
    p->depth++;
    print_block(p, i->block[0]);
    assign_carried(p, i, i->block[0]->last);
    p->depth--;
    line(p, "}");
}

static void print_branch(Printer *p, const KInstr *i, const KBlock *b) {
    p->depth++;
    print_block(p, b);
    for (int k = 0; k < i->nresults; k++)
        line(p, "%s = %s;", text_of(p, i->result[k]), text_of(p, b->last->arg[k]));
    p->depth--;
}

static void print_if(Printer *p, const KInstr *i) {
    for (int k = 0; k < i->nresults; k++) {
        const char *name = fresh_name(p, i->result[k]);
        line(p, "%s %s;", c_type(p->h, i->result[k]->type), name);
        set_text(p, i->result[k], name, true);
    }
    line(p, "if (%s) {", text_of(p, i->arg[0]));
    print_branch(p, i, i->block[0]);
    if (i->block[1]->first && (i->block[1]->first->op != KOP_YIELD || i->nresults)) {
        line(p, "} else {");
        print_branch(p, i, i->block[1]);
    }
    line(p, "}");
}

static void print_store(Printer *p, const KInstr *i) {
    const KType t = i->arg[0]->type;
    const char *at = affine_text(p, i->mem.at), *y = i->mem.param->name, *x = text_of(p, i->arg[0]);
    if (t.lanes == 1)
        line(p, "%s[%s] = %s;", y, at, x);
    else if (i->mem.lane_stride == 1)
        line(p, "%s(&%s[%s], %s);", c_helper(p->h, "store", t, DT_NONE), y, at, x);
    else
        line(p, "%s(&%s[%s], %lld, %s);", c_helper(p->h, "scatter", t, DT_NONE), y, at, (long long)i->mem.lane_stride, x);
}

static void print_block(Printer *p, const KBlock *b) {
    for (const KInstr *i = b->first; i; i = i->next) {
        switch (i->op) {
        case KOP_FOR: print_for(p, i); break;
        case KOP_IF: print_if(p, i); break;
        case KOP_STORE: print_store(p, i); break;
        case KOP_YIELD: break;
        case KOP_CONST: {
            const char *s = const_text(p, i);
            bool plain = i->result[0]->type.lanes == 1;
            if (plain || p->uses[i->result[0]->id] == 1)
                set_text(p, i->result[0], s, true);
            else
                declare(p, i->result[0], s);
            break;
        }
        default: {
            bool read = i->op == KOP_BITCAST && i->arg[0]->def && is_word(p, i->arg[0]->def);
            const char *s = read ? text_of(p, i->arg[0]) : expression(p, i);
            if (is_word(p, i) || may_wait(p, i, s))
                set_text(p, i->result[0], s, false);
            else
                declare(p, i->result[0], s);
        }
        }
    }
}

static Printer printer_new(Helpers *h, StrBuf *out, const char *prefix, const KKernel *k) {
    Printer p = {.h = h, .out = out, .arena = h->arena, .prefix = prefix, .kernel = k, .depth = 1};
    p.text = ARENA_ARRAY(p.arena, const char *, k->next_id);
    p.is_atom = ARENA_ARRAY(p.arena, bool, k->next_id);
    p.uses = ARENA_ARRAY(p.arena, int, k->next_id);
    count_uses(&p, k->body);
    return p;
}

void c_print_comment_text(StrBuf *out, const char *s) {
    for (int column = 0; *s; s++, column++) {
        unsigned char c = (unsigned char)*s;
        if (column > 90 && c == ' ') {
            sb_puts(out, "\n * ");
            column = 0;
            continue;
        }
        sb_putc(out, c < 32 || c == 127 ? '?' : (char)c);
        if ((*s == '*' && s[1] == '/') || (*s == '/' && s[1] == '*') || (*s == '?' && s[1] == '?'))
            sb_putc(out, ' ');
    }
    if (out->len && out->data[out->len - 1] == '\\')
        sb_putc(out, ' ');
}

void c_print_kernel(Helpers *h, StrBuf *out, const char *prefix, const KKernel *k) {
    Printer p = printer_new(h, out, prefix, k);
    sb_puts(out, "/* ");
    c_print_comment_text(out, k->comment ? k->comment : k->name);
    sb_printf(out, " */\nstatic void %s_%s(", prefix, k->name);
    for (int i = 0; i < k->params.len; i++) {
        const KParam *a = k->params.data[i];
        sb_printf(out, "%s%s%s *%s%s", i ? ", " : "", a->written ? "" : "const ", dtype_c(a->dtype),
                  a->noalias ? "MLCC_RESTRICT " : "", a->name);
        strmap_put(p.arena, &p.taken, a->name, &p);
    }
    for (int i = 0; i < k->body->nargs; i++) {
        KValue *v = k->body->arg[i];
        set_text(&p, v, fresh_name(&p, v), true);
        sb_printf(out, "%s%s %s", k->params.len || i ? ", " : "", c_type(h, v->type), text_of(&p, v));
    }
    sb_puts(out, k->params.len || k->body->nargs ? ") {\n" : "void) {\n");
    print_block(&p, k->body);
    sb_puts(out, "}\n\n");
}

void c_print_func(Helpers *h, StrBuf *out, const char *prefix, const KFunc *f) {
    const KKernel *k = f->body;
    Printer p = printer_new(h, out, prefix, k);
    sb_printf(out, "static MLCC_INLINE %s %s_%s(", c_type(h, f->result), prefix, f->name);
    for (int i = 0; i < f->nargs; i++) {
        const char *name = fresh_name(&p, k->body->arg[i]);
        set_text(&p, k->body->arg[i], name, true);
        sb_printf(out, "%s%s %s", i ? ", " : "", c_type(h, k->body->arg[i]->type), name);
    }
    sb_puts(out, ") {\n");
    print_block(&p, k->body);
    line(&p, "return %s;", text_of(&p, k->body->last->arg[0]));
    sb_puts(out, "}\n\n");
}
