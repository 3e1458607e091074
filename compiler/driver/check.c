/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc check: is everything supported, and what will it cost. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/pipeline.h"
#include "driver/target.h"
#include "ops/op.h"

typedef struct OpCount {
    const char *domain, *name;
    int nodes;
    bool supported;
} OpCount;

typedef VEC(OpCount) OpCounts;

typedef struct Summary {
    int nodes;
    OpCounts ops;
    VEC(const Node *) unsupported;
    bool ok; /* the passes ran to the end; the rest is known only then */
    int64_t parameters, weight_bytes, bytes_of[DT_COUNT], macs, arena;
    int kernels, calls;
} Summary;

static void count_nodes(Arena *a, const Graph *g, Summary *s) {
    for (const Node *n = g->first; n; n = n->next) {
        s->nodes++;
        int i = 0;
        while (i < s->ops.len && (strcmp(s->ops.data[i].name, n->op_type) || strcmp(s->ops.data[i].domain, n->domain)))
            i++;
        if (i == s->ops.len)
            VEC_PUSH(a, &s->ops, ((OpCount){n->domain, n->op_type, 0, n->op != NULL}));
        s->ops.data[i].nodes++;
        if (!n->op)
            VEC_PUSH(a, &s->unsupported, n);
        for (int k = 0; k < n->nattrs; k++)
            if (n->attr[k].kind == ATTR_GRAPH)
                count_nodes(a, n->attr[k].graph, s);
    }
}

static void count_costs(const KModule *m, Summary *s) {
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind == KBUF_CONST) {
            s->parameters += b->count;
            s->weight_bytes += kbuffer_bytes(b);
            s->bytes_of[b->dtype] += kbuffer_bytes(b);
        }
    }
    for (int i = 0; i < m->calls.len; i++)
        s->macs += m->calls.data[i].macs;
    s->arena = m->arena_size;
    s->kernels = m->kernels.len;
    s->calls = m->calls.len;
}

static int by_nodes(const void *x, const void *y) {
    const OpCount *a = x, *b = y;
    return a->nodes != b->nodes ? b->nodes - a->nodes : strcmp(a->name, b->name);
}

static void print_interface(const char *what, int n, Value *const *values) {
    for (int i = 0; i < n; i++) {
        const Value *v = values[i];
        printf("%-12s %s %s[", i ? "" : what, v->name, dtype_name(v->dtype));
        for (int d = 0; d < v->rank; d++)
            printf("%s%lld", d ? "," : "", (long long)v->dim[d]);
        puts("]");
    }
}

static void print_notes(const char *what, const NodeNotes *notes) {
    for (int i = 0; i < notes->len; i++) {
        const NodeNote *n = &notes->data[i];
        printf("%-12s %s (%s): %s\n", i ? "" : what, n->node, n->op_type, n->text);
    }
}

static void print_table(const Compilation *c, const Summary *s) {
    print_interface("inputs", c->graph->inputs.len, c->graph->inputs.data);
    print_interface("outputs", c->graph->outputs.len, c->graph->outputs.data);
    printf("%-12s %d in opset %lld\n", "nodes", s->nodes, (long long)c->model->opset);
    for (int i = 0; i < s->ops.len; i++) {
        const OpCount *o = &s->ops.data[i];
        printf("%-12s %5d  %s%s%s%s\n", i ? "" : "operators", o->nodes, o->domain, *o->domain ? ":" : "", o->name,
               o->supported ? "" : "   not supported");
    }
    if (!s->ok)
        return;
    printf("%-12s %d in %d kernels\n", "calls", s->calls, s->kernels);
    printf("%-12s %lld\n", "MACs", (long long)s->macs);
    printf("%-12s %lld, %lld bytes", "parameters", (long long)s->parameters, (long long)s->weight_bytes);
    const char *before = ": ";
    for (int t = 0; t < DT_COUNT; t++) {
        if (s->bytes_of[t])
            printf("%s%lld %s", before, (long long)s->bytes_of[t], dtype_name((DType)t));
        before = s->bytes_of[t] ? ", " : before;
    }
    putchar('\n');
    printf("%-12s %lld bytes\n", "arena", (long long)s->arena);
    print_notes("float", &c->graph->floats);
    print_notes("approximate", &c->graph->approximations);
    puts("supported    yes");
}

static cJSON *interface_json(int n, Value *const *values) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        cJSON *item = cJSON_CreateObject(), *shape = cJSON_AddArrayToObject(item, "shape");
        cJSON_AddStringToObject(item, "name", values[i]->name);
        cJSON_AddStringToObject(item, "type", dtype_name(values[i]->dtype));
        for (int d = 0; d < values[i]->rank; d++)
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)values[i]->dim[d]));
        cJSON_AddItemToArray(list, item);
    }
    return list;
}

static cJSON *notes_json(const NodeNotes *notes, const char *key) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < notes->len; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "node", notes->data[i].node);
        cJSON_AddStringToObject(item, "operator", notes->data[i].op_type);
        cJSON_AddStringToObject(item, key, notes->data[i].text);
        cJSON_AddItemToArray(list, item);
    }
    return list;
}

static void print_json(const Compilation *c, const Summary *s, const char *path) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "model", path);
    cJSON_AddBoolToObject(j, "supported", s->ok);
    cJSON_AddNumberToObject(j, "nodes", s->nodes);
    cJSON *ops = cJSON_AddObjectToObject(j, "operators");
    for (int i = 0; i < s->ops.len; i++) {
        const OpCount *o = &s->ops.data[i];
        char name[300];
        snprintf(name, sizeof name, "%s%s%s", o->domain, *o->domain ? ":" : "", o->name);
        cJSON_AddNumberToObject(ops, name, o->nodes);
    }
    cJSON *list = cJSON_AddArrayToObject(j, "unsupported");
    for (int i = 0; i < s->unsupported.len; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "node", s->unsupported.data[i]->name);
        cJSON_AddStringToObject(item, "domain", s->unsupported.data[i]->domain);
        cJSON_AddStringToObject(item, "operator", s->unsupported.data[i]->op_type);
        cJSON_AddItemToArray(list, item);
    }
    if (c->model) {
        cJSON_AddNumberToObject(j, "opset", (double)c->model->opset);
        cJSON_AddItemToObject(j, "inputs", interface_json(c->graph->inputs.len, c->graph->inputs.data));
    }
    if (s->ok) {
        cJSON_AddItemToObject(j, "outputs", interface_json(c->graph->outputs.len, c->graph->outputs.data));
        cJSON_AddNumberToObject(j, "macs", (double)s->macs);
        cJSON_AddNumberToObject(j, "parameters", (double)s->parameters);
        cJSON_AddNumberToObject(j, "weight_bytes", (double)s->weight_bytes);
        cJSON *types = cJSON_AddObjectToObject(j, "weight_bytes_by_type");
        for (int t = 0; t < DT_COUNT; t++)
            if (s->bytes_of[t])
                cJSON_AddNumberToObject(types, dtype_name((DType)t), (double)s->bytes_of[t]);
        cJSON_AddNumberToObject(j, "arena_bytes", (double)s->arena);
        cJSON_AddNumberToObject(j, "kernels", s->kernels);
        cJSON_AddNumberToObject(j, "calls", s->calls);
        cJSON_AddItemToObject(j, "float", notes_json(&c->graph->floats, "why"));
        cJSON_AddItemToObject(j, "approximate", notes_json(&c->graph->approximations, "how"));
    }
    char *text = cJSON_Print(j);
    puts(text ? text : "{}");
    free(text);
    cJSON_Delete(j);
}

static int list_operators(void) {
    const Op *op = NULL;
    for (int i = 0; (op = op_at(i)); i++)
        printf("%s:%s\n", *op->domain ? op->domain : "ai.onnx", op->name);
    return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
}

int verb_check(const Options *o) {
    if (o->list_operators)
        return list_operators();
    const char *path = o->operand[0];
    Diag d = {.stream = stderr, .file = path, .quiet = o->quiet};
    Arena *a = arena_new();
    Compilation c = {0};
    Summary s = {0};
    const Target *target = target_load(a, &d, o->target);
    if (!target) {
        arena_free(a);
        return EXIT_USAGE;
    }
    bool imported = pipeline_import(&c, &d, o, path, target);
    if (imported) {
        count_nodes(a, c.graph, &s);
        qsort(s.ops.data, (size_t)s.ops.len, sizeof *s.ops.data, by_nodes);
        KModule *m = pipeline_optimize(&c, o) ? pipeline_lower(&c, target) : NULL;
        s.ok = m != NULL;
        if (m)
            count_costs(m, &s);
    }
    if (o->json)
        print_json(&c, &s, path);
    else if (imported)
        print_table(&c, &s);
    pipeline_close(&c);
    arena_free(a);
    return fflush(stdout) || !s.ok ? EXIT_FAILED : EXIT_DONE;
}
