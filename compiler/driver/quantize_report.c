/* SPDX-License-Identifier: Apache-2.0 */
/* What a quantised model loses, layer by layer and as a whole. */
#include <math.h>
#include <string.h>

#include "driver/quantize_job.h"
#include "passes/edit.h"

static void print_agreement(FILE *out, const char *what, const char *type, const char *name, const char *op, const Agreement *g) {
    double noise = agreement_noise(g);
    fprintf(out, "%-7s cosine %.6f  ", what, agreement_cosine(g));
    if (noise > 0)
        fprintf(out, "SNR %6.1f dB", -10 * log10(noise));
    else
        fprintf(out, "exact        ");
    fprintf(out, "  %-7s %s%s%s%s\n", type, name, op ? " (" : "", op ? op : "", op ? ")" : "");
}

static const Agreement *of_items(const QuantizeJob *j) { return j->agreement + j->c.graph->outputs.len; }

double quantize_own_noise(const QuantizeJob *j, int i) {
    const QuantizeItem *item = &j->plan.items.data[i];
    const Agreement *g = of_items(j);
    double taken = 0;
    for (int k = 0; k < item->from.len; k++)
        taken = fmax(taken, agreement_noise(&g[item->from.data[k]]));
    return agreement_noise(&g[i]) - taken;
}

static const char *type_of(const QuantizeJob *j, int i) {
    static const char *const names[] = {[PRECISION_8] = "int8", [PRECISION_16] = "int16", [PRECISION_FLOAT] = "float"};
    DType w = j->recipe.weights;
    QuantizePrecision p = j->float_weights[i] ? PRECISION_FLOAT : j->precision[i];
    if (p == PRECISION_FLOAT || (j->recipe.kind != QUANTIZE_WEIGHTS && j->recipe.kind != QUANTIZE_FLOATS))
        return names[p];
    return w == DT_I4 ? "int4" : w == DT_F16 ? "float16" : w == DT_BF16 ? "bfloat16" : "int8";
}

static void print_layers(const QuantizeJob *j, FILE *out) {
    const QuantizePlan *p = &j->plan;
    int worst = -1;
    for (int i = 0; i < p->items.len; i++) {
        const QuantizeItem *item = &p->items.data[i];
        if (item->like != i || (j->recipe.kind == QUANTIZE_FLOATS && (!item->layer || j->precision[i] == PRECISION_FLOAT)))
            continue;
        if (item->layer)
            print_agreement(out, "layer", type_of(j, i), item->layer->name, item->layer->op_type, &of_items(j)[i]);
        else
            print_agreement(out, "input", type_of(j, i), item->name, NULL, &of_items(j)[i]);
        if (worst < 0 || quantize_own_noise(j, i) > quantize_own_noise(j, worst))
            worst = i;
    }
    if (worst < 0)
        return;
    const QuantizeItem *item = &p->items.data[worst];
    fprintf(out, "most is lost in %s \"%s\"\n", item->layer ? item->layer->op_type : "the input", item->layer ? item->layer->name : item->name);
}

static int worst_of(int n, const Agreement *outputs) {
    int worst = 0;
    for (int i = 1; i < n; i++)
        worst = agreement_cosine(&outputs[i]) < agreement_cosine(&outputs[worst]) ? i : worst;
    return worst;
}

static int worst_output(const QuantizeJob *j) { return worst_of(j->c.graph->outputs.len, j->agreement); }

double quantize_quality_of(int n, const Agreement *outputs, const Scores *s) {
    if (!s->n)
        return agreement_cosine(&outputs[worst_of(n, outputs)]);
    return s->want.first ? (double)s->got.first / (double)s->want.first : 1;
}

double quantize_quality(const QuantizeJob *j) { return quantize_quality_of(j->c.graph->outputs.len, j->agreement, &j->scores); }

static double percent(int64_t n, const Scores *s) { return 100 * (double)n / (double)s->n; }

static void print_scores(const Scores *s, FILE *out) {
    fprintf(out, "top-1   %.2f %%, was %.2f %%\n", percent(s->got.first, s), percent(s->want.first, s));
    if (s->classes > 5)
        fprintf(out, "top-5   %.2f %%, was %.2f %%\n", percent(s->got.among_five, s), percent(s->want.among_five, s));
}

static bool computes_floats(const Node *n) {
    return n && n->out[0] && n->out[0]->dtype == DT_F32 && !edit_is(n, "Cast");
}

/* Operators that stay float32 where others have 16 bits: how many of each kind, and why where that depends on the numbers. */
static void print_floats(const QuantizeJob *j, FILE *out) {
    const Graph *g = j->c.graph;
    const char *comma = "stay float32: ";
    for (int i = 0; i < j->plan.items.len; i++) {
        const QuantizeItem *item = &j->plan.items.data[i];
        if (item->outside)
            fprintf(out, "\"%s\" stays float32: its numbers are within %g .. %g\n", item->name, item->lo, item->hi);
    }
    for (const Node *n = g->first; n; n = n->next) {
        int count = 0;
        const Node *m = g->first;
        while (m != n && !(computes_floats(m) && !strcmp(m->op_type, n->op_type)))
            m = m->next;
        if (m != n || !computes_floats(n))
            continue;
        for (; m; m = m->next)
            count += computes_floats(m) && !strcmp(m->op_type, n->op_type);
        fprintf(out, "%s%d %s", comma, count, n->op_type);
        comma = ", ";
    }
    if (*comma == ',')
        fputc('\n', out);
}

void quantize_report(const QuantizeJob *j, FILE *out) {
    const Graph *g = j->c.graph;
    if (j->data.list.len) {
        print_layers(j, out);
        for (int i = 0; i < g->outputs.len; i++)
            print_agreement(out, "output", "", g->outputs.data[i]->name, NULL, &j->agreement[i]);
    }
    if (j->recipe.kind == QUANTIZE_FLOATS)
        print_floats(j, out);
    if (j->scores.n)
        print_scores(&j->scores, out);
    if (j->data.list.len)
        fprintf(out, "%d samples; ", j->data.list.len);
    fprintf(out, "weights %zu bytes, were %zu: %.2f times smaller\n", j->weights_after, j->weights_before,
            (double)j->weights_before / (double)j->weights_after);
}

void quantize_note(const QuantizeJob *j) {
    double times = (double)j->weights_before / (double)j->weights_after;
    if (j->scores.n)
        diag_note(j->diag, NOWHERE, "quantised: weights %.2f times smaller, top-1 %.2f %%, was %.2f %%", times,
                  percent(j->scores.got.first, &j->scores), percent(j->scores.want.first, &j->scores));
    else if (j->data.list.len)
        diag_note(j->diag, NOWHERE, "quantised: weights %.2f times smaller, cosine of \"%s\" %.6f", times,
                  j->c.graph->outputs.data[worst_output(j)]->name, quantize_quality(j));
    else
        diag_note(j->diag, NOWHERE, "quantised: weights %.2f times smaller", times);
}

/* A float model has any accuracy, and is none of what was asked for. */
static bool is_float(const QuantizeJob *j) {
    for (int i = 0; i < j->plan.items.len; i++)
        if (j->plan.items.data[i].like == i && j->precision[i] != PRECISION_FLOAT)
            return false;
    diag_error(j->diag, NOWHERE, "nothing is left to quantise where an accuracy of %g is asked for", j->o->accuracy_floor);
    return true;
}

bool quantize_meets_floor(const QuantizeJob *j) {
    const Options *o = j->o;
    if (!(o->accuracy_floor > 0))
        return true;
    if (quantize_quality(j) >= o->accuracy_floor)
        return !is_float(j);
    if (j->scores.n)
        diag_error(j->diag, NOWHERE, "top-1 is %.2f %%, %.4f of the float model's %.2f %%; %g of it was asked for",
                   percent(j->scores.got.first, &j->scores), quantize_quality(j), percent(j->scores.want.first, &j->scores),
                   o->accuracy_floor);
    else
        diag_error(j->diag, NOWHERE, "output \"%s\" has the cosine %.6f to that of the float model; %g was asked for",
                   j->c.graph->outputs.data[worst_output(j)]->name, quantize_quality(j), o->accuracy_floor);
    return false;
}
