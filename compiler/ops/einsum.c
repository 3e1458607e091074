/* SPDX-License-Identifier: Apache-2.0 */
/* Einsum: products of the operands, summed over the labels that the result lacks. */
#include <string.h>

#include "ops/rules.h"

enum { LETTERS = 52, LABELS = LETTERS + GRAPH_MAX_RANK, MAX_TERMS = 16 };

/* Labels are letters, a-z after A-Z, then the axes of the ellipsis, aligned at its end. */
typedef struct Einsum {
    int terms, rank[MAX_TERMS + 1];
    int label[MAX_TERMS + 1][GRAPH_MAX_RANK]; /* the last row is the result's */
    int64_t size[LABELS];                     /* -1: not met */
    int ellipsis;                             /* axes that it stands for at most */
} Einsum;

static int letter(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1; }

/* One term up to its end; `dots` axes for an ellipsis. Where it ended, or NULL after a report. */
static const char *read_term(const Node *n, Einsum *e, int term, const char *s, int dots) {
    int rank = 0;
    bool seen = false;
    for (; *s && *s != ',' && *s != '-'; s++) {
        int count = 1, first = letter(*s);
        if (*s == ' ')
            continue;
        if (!strncmp(s, "...", 3) && !seen) {
            s += 2;
            seen = true;
            count = dots;
            first = LABELS - dots;
        }
        if (first < 0 || rank + count > GRAPH_MAX_RANK) {
            infer_error(n, "attribute \"equation\": a term cannot be read at \"%.20s\"", s);
            return NULL;
        }
        for (int i = 0; i < count; i++)
            e->label[term][rank++] = first + i;
    }
    e->rank[term] = rank;
    return s;
}

/* Letters of a term: the axes that are not the ellipsis's. */
static int letters_in(const char *s) {
    int count = 0;
    for (; *s && *s != ',' && *s != '-'; s++)
        count += letter(*s) >= 0;
    return count;
}

static bool has_ellipsis(const char *s) {
    const char *end = s + strcspn(s, ",-"), *dots = strstr(s, "...");
    return dots && dots < end;
}

static bool read_operand(const Node *n, Einsum *e, int term) {
    const Value *x = n->in[term];
    if (e->rank[term] != x->rank)
        return infer_error(n, "input %d has rank %d; the equation has %d labels for it", term, x->rank, e->rank[term]);
    for (int d = 0; d < x->rank; d++) {
        int64_t *size = &e->size[e->label[term][d]];
        if (*size > 1 && x->dim[d] != 1 && x->dim[d] != *size)
            return infer_error(n, "a label stands for the sizes %lld and %lld", (long long)*size, (long long)x->dim[d]);
        if (*size < 0 || *size == 1)
            *size = x->dim[d];
    }
    return true;
}

/* The ellipsis, then in order the letters that occur once. */
static void implied_result(Einsum *e) {
    int count[LABELS] = {0}, rank = 0, *out = e->label[e->terms];
    for (int t = 0; t < e->terms; t++)
        for (int d = 0; d < e->rank[t]; d++)
            count[e->label[t][d]]++;
    for (int i = LABELS - e->ellipsis; i < LABELS; i++)
        out[rank++] = i;
    for (int i = 0; i < LETTERS && rank < GRAPH_MAX_RANK; i++)
        if (count[i] == 1)
            out[rank++] = i;
    e->rank[e->terms] = rank;
}

static bool read_result(const Node *n, Einsum *e, const char *s) {
    bool used[LABELS] = {false};
    if (*s != '-') {
        implied_result(e);
        return true;
    }
    s = s[1] == '>' ? read_term(n, e, e->terms, s + 2, e->ellipsis) : s;
    if (!s)
        return false;
    if (*s)
        return infer_error(n, "attribute \"equation\" does not end after its result");
    for (int d = 0; d < e->rank[e->terms]; d++) {
        int i = e->label[e->terms][d];
        if (used[i] || e->size[i] < 0)
            return infer_error(n, "attribute \"equation\": a label of the result is %s", used[i] ? "there twice" : "in no input");
        used[i] = true;
    }
    return true;
}

static bool einsum_read(const Node *n, Einsum *e) {
    const char *s = attr_string(n, "equation", "");
    *e = (Einsum){.terms = n->nin};
    if (n->nin > MAX_TERMS)
        return infer_error(n, "%d inputs; mlcc supports up to %d", n->nin, MAX_TERMS);
    for (int i = 0; i < LABELS; i++)
        e->size[i] = -1;
    for (int t = 0; t < n->nin; t++) {
        int dots = has_ellipsis(s) ? n->in[t]->rank - letters_in(s) : 0;
        if (dots < 0)
            return infer_error(n, "input %d has rank %d, fewer than its labels", t, n->in[t]->rank);
        e->ellipsis = dots > e->ellipsis ? dots : e->ellipsis;
        s = read_term(n, e, t, s, dots);
        if (!s || !read_operand(n, e, t))
            return false;
        if ((*s == ',') != (t + 1 < n->nin))
            return infer_error(n, "attribute \"equation\" has %s terms than inputs", *s == ',' ? "more" : "fewer");
        s += *s == ',';
    }
    return read_result(n, e, s);
}

INFER(infer_einsum) {
    Einsum e;
    int64_t dim[GRAPH_MAX_RANK];
    for (int i = 0; i < n->nin; i++)
        if (!infer_present(n, i))
            return false;
    if (!infer_numeric(n, 0) || !infer_one_type(n) || !einsum_read(n, &e))
        return false;
    for (int d = 0; d < e.rank[e.terms]; d++)
        dim[d] = e.size[e.label[e.terms][d]];
    return infer_set(n, 0, n->in[0]->dtype, e.rank[e.terms], dim);
}

static KValue *operand(Lower *l, const Node *n, const Einsum *e, int term, const KIndex *at) {
    KIndex idx[GRAPH_MAX_RANK];
    for (int d = 0; d < e->rank[term]; d++)
        idx[d] = n->in[term]->dim[d] == 1 ? kx_const(l->arena, 0) : at[e->label[term][d]];
    return lower_load(l, n, term, idx);
}

ELEMENT(element_einsum) {
    Einsum e;
    KBuilder *b = &l->b;
    KIndex at[LABELS] = {0};
    KInstr *loop[LABELS];
    int loops = 0;
    einsum_read(n, &e);
    for (int d = 0; d < e.rank[e.terms]; d++)
        at[e.label[e.terms][d]] = idx[d];
    KValue *sum = kb_int(b, lower_compute_type(n->in[0]->dtype), 0);
    for (int i = 0; i < LABELS; i++) {
        if (at[i] || e.size[i] < 0)
            continue;
        loop[loops] = lower_for(l, KLOOP_REDUCE, "k", 0, e.size[i], 1, &sum);
        at[i] = lower_iv(l, loop[loops]);
        sum = kb_carried(loop[loops++], 0);
    }
    KValue *last = operand(l, n, &e, e.terms - 1, at), *next;
    if (e.terms == 1) {
        next = loops ? kb_binary(b, KOP_ADD, last, sum) : last;
    } else {
        KValue *product = operand(l, n, &e, 0, at);
        for (int t = 1; t < e.terms - 1; t++)
            product = kb_binary(b, KOP_MUL, product, operand(l, n, &e, t, at));
        next = loops ? kb_fma(b, product, last, sum) : kb_binary(b, KOP_MUL, product, last);
    }
    while (loops) {
        kb_end_for(b, loop[--loops], &next);
        next = kb_result(loop[loops], 0);
    }
    return next;
}

MACS(macs_einsum) {
    Einsum e;
    double macs = n->nin - 1;
    einsum_read(n, &e);
    for (int i = 0; i < LABELS; i++)
        macs *= e.size[i] >= 0 ? (double)e.size[i] : 1;
    return macs;
}
