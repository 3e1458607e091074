/* SPDX-License-Identifier: Apache-2.0 */
/* Printing kernels.
 *
 *     module "mnist" arena 4096 align 64
 *     buffer 0 input f32[3072] @image onnx "image:0" shape [1,3,32,32]
 *     buffer 1 const f32[2] @w = {0.5, -1.0}
 *     kernel @conv_1(x: f32[3072] align 4, y: f32[32] written noalias align 64) { # "conv1, relu1"
 *       %0: index = const 0
 *       %1: index = const 32
 *       for parallel %oy.3 = %0 to %1 step 1 {
 *         %7: f32 = load x[32*%oy.3 + 5]
 *         store y[%oy.3], %7
 *         yield
 *       }
 *       yield
 *     }
 *     call @conv_1(0+0, 2+16) macs 1024 # "conv1, relu1"
 */
#include <math.h>
#include <string.h>

#include "kernel/text.h"

const char *const kernel_loop_kinds[] = {"serial", "parallel", "reduce"};
const char *const kernel_buffer_kinds[] = {"input", "output", "const", "arena"};

KConst kernel_data_element(const KData *d, DType t, int64_t i) {
    int64_t at = 0, row = 1, rows = 1, width = 1;
    for (int k = 0; d->panel && k < d->rank; k++)
        *(k < d->panel_axis ? &rows : &row) *= d->dim[k];
    if (d->panel) { /* the same element by its row and column */
        width = row / d->dim[d->panel_axis] * d->panel;
        int64_t first = i / (rows * width) * width, within = i - rows * first, here = row - first < width ? row - first : width;
        i = within / here * row + first + within % here;
    }
    for (int k = d->rank - 1; k >= 0; k--) {
        at += i % d->dim[k] * d->stride[k];
        i /= d->dim[k];
    }
    const char *p = (const char *)d->bytes + at * dtype_size(t);
    uint64_t bits = 0; /* little endian, as the data */
    uint32_t word;
    float f;
    double x;
    memcpy(&bits, p, (size_t)dtype_size(t));
    switch (t) {
    case DT_F16: return (KConst){.f = (double)half_to_float((uint16_t)bits)};
    case DT_BF16: return (KConst){.f = (double)bfloat_to_float((uint16_t)bits)};
    case DT_F32:
        word = (uint32_t)bits;
        memcpy(&f, &word, sizeof f);
        return (KConst){.f = (double)f};
    case DT_F64:
        memcpy(&x, &bits, sizeof x);
        return (KConst){.f = x};
    default: return (KConst){.i = kernel_wrap(t, (int64_t)bits)};
    }
}

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
    sb_printf(out, "for %s ", kernel_loop_kinds[i->loop]);
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
    sb_indent(out, depth);
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
    sb_indent(out, depth);
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
    case KOP_WORDS:
        sb_printf(out, "%lld, ", (long long)i->imm.i);
        print_list(out, i->nargs, i->arg);
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
        sb_indent(out, depth);
        sb_puts(out, "} else {\n");
        print_block(out, i->block[1], depth + 1);
        sb_indent(out, depth);
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

void kernel_print(StrBuf *out, const KKernel *k) {
    sb_printf(out, "kernel @%s(", k->name);
    for (int i = 0; i < k->params.len; i++) {
        const KParam *p = k->params.data[i];
        sb_printf(out, "%s%s: %s[%lld]%s%s align %d", i ? ", " : "", p->name, dtype_name(p->dtype), (long long)p->count,
                  p->written ? " written" : "", p->noalias ? " noalias" : "", p->align);
    }
    sb_putc(out, ')');
    for (int i = 0; i < k->body->nargs; i++) {
        sb_puts(out, i ? ", " : " at ");
        print_value(out, k->body->arg[i]);
    }
    sb_puts(out, k->unordered ? " unordered {" : " {");
    if (k->comment) {
        sb_puts(out, " # ");
        sb_quote(out, k->comment, strlen(k->comment));
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

static void print_text(StrBuf *out, const char *before, const char *s) {
    if (!s)
        return;
    sb_puts(out, before);
    sb_quote(out, s, strlen(s));
}

/* Elements in the order of writing; constants that are long show their size only. */
static void print_data(StrBuf *out, const KBuffer *b) {
    int size = dtype_size(b->dtype);
    if (b->count > KERNEL_TEXT_ELEMENTS) {
        sb_printf(out, " = <%lld bytes>", (long long)b->count * size);
        return;
    }
    sb_puts(out, " = {");
    for (int64_t i = 0; i < b->count; i++) {
        KConst c = kernel_data_element(&b->data, b->dtype, i);
        sb_puts(out, i ? ", " : "");
        if (dtype_is_float(b->dtype))
            sb_float(out, c.f, b->dtype != DT_F64);
        else
            sb_printf(out, "%lld", (long long)c.i);
    }
    sb_putc(out, '}');
}

static void print_buffer(StrBuf *out, const KBuffer *b) {
    sb_printf(out, "buffer %d %s %s[%lld]", b->index, kernel_buffer_kinds[b->kind], dtype_name(b->dtype),
              (long long)b->count);
    if (b->kind == KBUF_ARENA)
        sb_printf(out, " at %lld", (long long)b->arena_offset);
    if (b->name)
        sb_printf(out, " @%s", b->name);
    print_text(out, " onnx ", b->onnx_name);
    if (b->kind <= KBUF_OUTPUT) {
        sb_puts(out, " shape [");
        for (int d = 0; d < b->rank; d++)
            sb_printf(out, "%s%lld", d ? "," : "", (long long)b->dim[d]);
        sb_putc(out, ']');
    }
    if (b->kind == KBUF_CONST)
        print_data(out, b);
    sb_putc(out, '\n');
}

static void print_call(StrBuf *out, const KCall *c) {
    sb_printf(out, "call @%s(", c->kernel->name);
    for (int k = 0; k < c->kernel->params.len; k++)
        sb_printf(out, "%s%d+%lld", k ? ", " : "", c->arg[k].buffer->index, (long long)c->arg[k].offset);
    sb_putc(out, ')');
    for (int k = 0; k < c->kernel->body->nargs; k++)
        sb_printf(out, "%s%lld", k ? ", " : " at ", (long long)c->index[k]);
    if (c->parts)
        sb_printf(out, " parts %d", c->parts);
    if (c->macs)
        sb_printf(out, " macs %lld", (long long)c->macs);
    print_text(out, " # ", c->comment);
    sb_putc(out, '\n');
}

void kernel_module_print(StrBuf *out, const KModule *m) {
    sb_puts(out, "module");
    print_text(out, " ", m->model_name);
    sb_printf(out, " arena %lld align %d\n", (long long)m->arena_size, m->arena_align);
    for (int i = 0; i < m->buffers.len; i++)
        print_buffer(out, m->buffers.data[i]);
    for (int i = 0; i < m->funcs.len; i++)
        print_func(out, m->funcs.data[i]);
    for (int i = 0; i < m->kernels.len; i++)
        kernel_print(out, m->kernels.data[i]);
    for (int i = 0; i < m->calls.len; i++)
        print_call(out, &m->calls.data[i]);
}
