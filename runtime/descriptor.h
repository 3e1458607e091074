#ifndef MLCC_DESCRIPTOR
#define MLCC_DESCRIPTOR 2
/* Runs task(context, part) for part = 0 .. parts - 1, in any order and at once where it can; returns when all are done.
 * pool is what came with the function. */
typedef void mlcc_parallel_for(void *pool, void (*task)(void *context, int part), void *context, int parts);
/* What generic tools need to know of a model. Element types are numbered as in ONNX's TensorProto.DataType. */
struct mlcc_tensor {
    const char *name; /* as in the ONNX model */
    int type;
    int rank;
    const int64_t *dim;
    size_t size; /* bytes */
};
struct mlcc_model {
    const char *name;
    const char *generator;
    int inputs, outputs;
    const struct mlcc_tensor *input, *output;
    size_t arena_size, arena_align;
    size_t state_size;   /* bytes that must live from one run to the next; 0: none */
    size_t weights_size; /* bytes of the file to pass as weights; 0: the weights are inside */
    /* Runs the model on one pointer a tensor; returns what the model's own run function returns. */
    int (*run)(const void *const *input, void *const *output, const void *weights, void *arena);
    /* The same with the caller's threads; NULL where the model was compiled without --threads. Without parallel_for the
     * calling thread does all. */
    int (*run_parallel)(const void *const *input, void *const *output, const void *weights, void *arena,
                        mlcc_parallel_for *parallel_for, void *pool);
    int threads; /* how many it can use; 1 without --threads */
};
#endif
