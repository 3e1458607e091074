/* SPDX-License-Identifier: Apache-2.0 */
/* Printing kernels.
 *
 *     kernel @conv_1(x: f32[3072], w: f32[432], y: f32[16384] written) {  "conv1, relu1"
 *       for parallel %oy.3 = 0 to 32 step 1 {
 *         %7: f32 = load x[32*%oy.3 + 5]
 *         store y[%oy.3], %7
 *         yield
 *       }
 *       yield
 *     }
 */
#include <math.h>
#include <string.h>

#include "kernel/kernel.h"

static void print_value(StrBuf *out, const KValue *v) {
    if (v->name)
        sb_printf(out, "%%%s.%d", v->name, v->id);
    else
        sb_printf(out, "%%%d", v->id);
}

static void print_type(StrBuf *out, KType t) {
    sb_puts(out, dtype_name(t.dtype));
    if (t.lanes > 1)
        sb_printf(out, "x%d", t.lanes);
}

static void print_affine(StrBuf *out, KIndex x) {
    for (int i = 0; i < x->n; i++) {
        int64_t c = x->term[i].coef;
        sb_puts(out, i ? (c < 0 ? " - " : " + ") : c < 0 ? "-" : "");
        if (c != 1 && c != -1)
            sb_printf(out, "%llu*", (unsigned long long)(c < 0 ? 0 - (uint64_t)c : (uint64_t)c));
        print_value(out, x->term[i].var);
    }
    if (!x->n)
        sb_printf(out, "%lld", (long long)x->base);
    else if (x->base)
        sb_printf(out, " %c %llu", x->base < 0 ? '-' : '+',
                  (unsigned long long)(x->base < 0 ? 0 - (uint64_t)x->base : (uint64_t)x->base));
}

static void print_const(StrBuf *out, const KInstr *i) {
    if (!dtype_is_float(i->result[0]->type.dtype))
        sb_printf(out, "%lld", (long long)i->imm.i);
    else
        sb_printf(out, isfinite(i->imm.f) ? "%a" : isnan(i->imm.f) ? "nan" : i->imm.f < 0 ? "-inf" : "inf", i->imm.f);
}

static void print_list(StrBuf *out, int n, KValue *const *v) {
    for (int i = 0; i < n; i++) {
        sb_puts(out, i ? ", " : "");
        print_value(out, v[i]);
    }
}

static void indent(StrBuf *out, int depth) {
    for (int i = 0; i < depth; i++)
        sb_puts(out, "  ");
}

static void print_results(StrBuf *out, const KInstr *i) {
    for (int r = 0; r < i->nresults; r++) {
        sb_puts(out, r ? ", " : "");
        print_value(out, i->result[r]);
        sb_puts(out, ": ");
        print_type(out, i->result[r]->type);
    }
    if (i->nresults)
        sb_puts(out, " = ");
}

static void print_block(StrBuf *out, const KBlock *b, int depth);

static void print_for(StrBuf *out, const KInstr *i, int depth) {
    static const char *const kinds[] = {"serial", "parallel", "reduce"};
    sb_printf(out, "for %s ", kinds[i->loop]);
    print_value(out, kb_iv(i));
    sb_puts(out, " = ");
    print_value(out, i->arg[0]);
    sb_puts(out, " to ");
    print_value(out, i->arg[1]);
    sb_printf(out, " step %lld", (long long)i->step);
    for (int k = 0; k < i->nresults; k++) {
        sb_puts(out, k ? ", " : " carry ");
        print_value(out, kb_carried(i, k));
        sb_puts(out, " = ");
        print_value(out, i->arg[2 + k]);
    }
    sb_puts(out, " {\n");
    print_block(out, i->block[0], depth + 1);
    indent(out, depth);
    sb_puts(out, "}");
}

static void print_memory(StrBuf *out, const KInstr *i) {
    sb_printf(out, "%s[", i->mem.param->name);
    print_affine(out, i->mem.at);
    sb_puts(out, "]");
    if (i->mem.lane_stride != 1)
        sb_printf(out, " stride %lld", (long long)i->mem.lane_stride);
}

static void print_instr(StrBuf *out, const KInstr *i, int depth) {
    indent(out, depth);
    print_results(out, i);
    if (i->op == KOP_FOR) {
        print_for(out, i, depth);
        sb_putc(out, '\n');
        return;
    }
    sb_puts(out, kop_info[i->op].name);
    if (i->nargs || i->op == KOP_CONST || i->op == KOP_AFFINE || i->op == KOP_LOAD)
        sb_putc(out, ' ');
    switch (i->op) {
    case KOP_CONST:
        print_const(out, i);
        break;
    case KOP_AFFINE:
        print_affine(out, i->mem.at);
        break;
    case KOP_LOAD:
        print_memory(out, i);
        break;
    case KOP_STORE:
        print_memory(out, i);
        sb_puts(out, ", ");
        print_list(out, 1, i->arg);
        break;
    case KOP_RAMP:
    case KOP_EXTRACT:
        print_list(out, 1, i->arg);
        sb_printf(out, ", %lld", (long long)i->imm.i);
        break;
    case KOP_CALL:
        sb_printf(out, "@%s(", i->func->name);
        print_list(out, i->nargs, i->arg);
        sb_putc(out, ')');
        break;
    case KOP_IF:
        print_value(out, i->arg[0]);
        sb_puts(out, " {\n");
        print_block(out, i->block[0], depth + 1);
        indent(out, depth);
        sb_puts(out, "} else {\n");
        print_block(out, i->block[1], depth + 1);
        indent(out, depth);
        sb_putc(out, '}');
        break;
    default:
        print_list(out, i->nargs, i->arg);
    }
    sb_putc(out, '\n');
}

static void print_block(StrBuf *out, const KBlock *b, int depth) {
    for (const KInstr *i = b->first; i; i = i->next)
        print_instr(out, i, depth);
}

static void print_quoted(StrBuf *out, const char *s) {
    sb_putc(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            sb_putc(out, '\\');
        if ((unsigned char)*s < 32)
            sb_printf(out, "\\x%02x", (unsigned char)*s);
        else
            sb_putc(out, *s);
    }
    sb_putc(out, '"');
}

void kernel_print(StrBuf *out, const KKernel *k) {
    sb_printf(out, "kernel @%s(", k->name);
    for (int i = 0; i < k->params.len; i++) {
        const KParam *p = k->params.data[i];
        sb_printf(out, "%s%s: %s[%lld]%s%s align %d", i ? ", " : "", p->name, dtype_name(p->dtype), (long long)p->count,
                  p->written ? " written" : "", p->noalias ? " noalias" : "", p->align);
    }
    sb_puts(out, ") {");
    if (k->comment) {
        sb_puts(out, " # ");
        print_quoted(out, k->comment);
    }
    sb_putc(out, '\n');
    print_block(out, k->body, 1);
    sb_puts(out, "}\n");
}

static void print_func(StrBuf *out, const KFunc *f) {
    sb_printf(out, "func @%s(", f->name);
    for (int i = 0; i < f->nargs; i++) {
        sb_puts(out, i ? ", " : "");
        print_value(out, f->body->body->arg[i]);
        sb_puts(out, ": ");
        print_type(out, f->body->body->arg[i]->type);
    }
    sb_puts(out, ") -> ");
    print_type(out, f->result);
    sb_puts(out, " {\n");
    print_block(out, f->body->body, 1);
    sb_puts(out, "}\n");
}

void kernel_module_print(StrBuf *out, const KModule *m) {
    static const char *const kinds[] = {"input", "output", "const", "arena"};
    sb_printf(out, "module arena %lld align %d\n", (long long)m->arena_size, m->arena_align);
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        sb_printf(out, "buffer %d %s %s[%lld]", b->index, kinds[b->kind], dtype_name(b->dtype), (long long)b->count);
        if (b->kind == KBUF_ARENA)
            sb_printf(out, " at %lld", (long long)b->arena_offset);
        if (b->name)
            sb_printf(out, " %s", b->name);
        sb_putc(out, '\n');
    }
    for (int i = 0; i < m->funcs.len; i++)
        print_func(out, m->funcs.data[i]);
    for (int i = 0; i < m->kernels.len; i++)
        kernel_print(out, m->kernels.data[i]);
    for (int i = 0; i < m->calls.len; i++) {
        const KCall *c = &m->calls.data[i];
        sb_printf(out, "call @%s(", c->kernel->name);
        for (int k = 0; k < c->kernel->params.len; k++)
            sb_printf(out, "%s%d+%lld", k ? ", " : "", c->arg[k].buffer->index, (long long)c->arg[k].offset);
        sb_puts(out, ")\n");
    }
}
