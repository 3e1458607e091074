# SPDX-License-Identifier: Apache-2.0
"""Operators on float16 and bfloat16 at odd sizes: sums are of float32 at least, and what is stored is rounded once.

Expected outputs are those of ONNX's reference implementation on doubles, rounded to the type: results are at most one step away.
"""
import ml_dtypes
import numpy as np
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 22  # Conv and others have bfloat16
rng = np.random.default_rng(16)
STEPS = {np.dtype(np.float16): 2.0**-10, np.dtype(ml_dtypes.bfloat16): 2.0**-7}


def array(t, *shape):
    return rng.standard_normal(shape).astype(t)


def info(name, x):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)


def is_half(x):
    return x.dtype in STEPS


def model_of(name, nodes, given, fixed, outputs):
    graph = helper.make_graph(nodes, name, [info(*g) for g in given], outputs, [numpy_helper.from_array(x, n) for n, x in fixed])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def network(name, t, nodes, given, fixed, result):
    """given and fixed are lists of (name, array)."""
    def double(pairs):
        return [(n, x.astype(np.float64) if is_half(x) else x) for n, x in pairs]

    exact = model_of(name, nodes, double(given), double(fixed), [helper.make_empty_tensor_value_info(result)])
    want = np.asarray(ReferenceEvaluator(exact).run(None, dict(double(given)))[0]).astype(t)
    model = model_of(name, nodes, given, fixed, [info(result, want)])
    label = "bfloat16" if t == ml_dtypes.bfloat16 else "float16"
    # Sums near zero are as uncertain as their terms are large, and what lies between nodes may be rounded too.
    step = STEPS[np.dtype(t)]
    atol = (2e-6 if len(nodes) == 1 else 2 * step) * max(1.0, float(np.abs(want.astype(np.float64)).max()))
    return f"halves_{name}_{label}", model, [([x for _, x in given], [want])], step, atol


def case(name, t, op, inputs, constants=(), **attributes):
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    pairs = [(n, x) for n, x in zip(names, inputs) if n]
    outputs = attributes.pop("outputs", ["y"])
    node = helper.make_node(op, names, outputs, **attributes)
    fixed = [(n, x) for n, x in pairs if int(n[1:]) in constants]
    return network(name, t, [node], [p for p in pairs if int(p[0][1:]) not in constants], fixed, outputs[-1])


def convolutions(t):
    # N, C, H, W, outputs, groups, kernel, strides, pads
    rows = [(1, 3, 9, 11, 16, 1, 3, 1, 1), (2, 17, 7, 13, 33, 1, 1, 1, 0), (1, 16, 12, 15, 24, 1, 3, 2, 1), (1, 37, 9, 10, 37, 37, 3, 1, 1),
            (1, 24, 11, 9, 24, 24, 5, 2, 2), (1, 12, 6, 7, 18, 3, 3, 1, 0), (1, 1, 5, 40, 1, 1, 3, 1, 1), (1, 64, 7, 7, 65, 1, 1, 1, 0)]
    for i, (n, c, h, w, m, g, k, s, p) in enumerate(rows):
        both = dict(strides=[s, s], pads=[p] * 4, group=g)
        x, weights = array(t, n, c, h, w), array(t, m, c // g, k, k)
        yield case(f"conv_{i}", t, "Conv", [x, weights, array(t, m)], [1, 2], **both)
        yield case(f"conv_{i}_fed", t, "Conv", [x, weights], **both)
        if g == 1:
            yield case(f"convtranspose_{i}", t, "ConvTranspose", [x, array(t, c, m, k, k), array(t, m)], [1, 2], **both)
    yield case("conv_1d", t, "Conv", [array(t, 2, 5, 33), array(t, 7, 5, 4)], [1], pads=[3, 0], strides=[3])


def products(t):
    for i, (a, b) in enumerate([((1, 1), (1, 1)), ((5, 7), (7, 3)), ((17, 33), (33, 65)), ((1, 100), (100, 31)), ((3, 5, 7), (3, 7, 4)),
                                ((2, 1, 5, 8), (3, 8, 9)), ((9,), (9,)), ((50, 19), (19, 1)), ((13, 129), (129, 48))]):
        yield case(f"matmul_{i}", t, "MatMul", [array(t, *a), array(t, *b)])
        yield case(f"matmul_{i}_fixed", t, "MatMul", [array(t, *a), array(t, *b)], [1])
    for i, (m, k, n) in enumerate([(5, 7, 3), (17, 40, 33), (1, 128, 10), (6, 1, 64)]):
        for turned in (0, 1):
            b = array(t, *((n, k) if turned else (k, n)))
            yield case(f"gemm_{i}_{turned}", t, "Gemm", [array(t, m, k), b, array(t, n)], [1, 2], transB=turned, alpha=0.5)


def others(t):
    for i, (shape, k, s, p) in enumerate([((1, 3, 7, 9), 3, 2, 1), ((2, 17, 5, 5), 2, 1, 0), ((1, 32, 13, 11), 5, 3, 2)]):
        some = dict(kernel_shape=[k, k], strides=[s, s], pads=[p] * 4)
        x = array(t, *shape)
        yield case(f"maxpool_{i}", t, "MaxPool", [x], **some)
        yield case(f"averagepool_{i}", t, "AveragePool", [x], **some)
        yield case(f"globalaveragepool_{i}", t, "GlobalAveragePool", [x])
        yield case(f"reducemean_{i}", t, "ReduceMean", [x, np.array([-1, 1])], [1])
        yield case(f"reducesum_{i}", t, "ReduceSum", [x, np.array([2])], [1], keepdims=0)
    for i, shape in enumerate([(1, 1), (5, 7), (3, 33), (2, 3, 129), (4, 1000)]):
        x = array(t, *shape)
        yield case(f"softmax_{i}", t, "Softmax", [x])
        yield case(f"softmax_{i}_first", t, "Softmax", [x], axis=0)
        yield case(f"layernormalization_{i}", t, "LayerNormalization", [x, array(t, shape[-1]), array(t, shape[-1])], [1, 2])
        yield case(f"mul_{i}", t, "Mul", [x, array(t, *shape[-1:])])
        yield case(f"sigmoid_{i}", t, "Sigmoid", [x])
        yield case(f"erf_{i}", t, "Erf", [x])
        yield case(f"transpose_{i}", t, "Transpose", [x], perm=list(reversed(range(len(shape)))))
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        w, r, b = array(t, 1, gates * 9, 5), array(t, 1, gates * 9, 9), array(t, 1, 2 * gates * 9)
        yield case(op.lower(), t, op, [array(t, 7, 2, 5), w, r, b], [1, 2, 3], hidden_size=9, outputs=["", "y"])


def chains(t):
    """A block with a shortcut, and attention."""
    fixed = [("w0", array(t, 24, 16, 1, 1)), ("w1", array(t, 24, 1, 3, 3)), ("w2", array(t, 16, 24, 1, 1) / t(5)), ("b", array(t, 16))]
    nodes = [helper.make_node("Conv", ["x", "w0"], ["c0"]), helper.make_node("Relu", ["c0"], ["r0"]),
             helper.make_node("Conv", ["r0", "w1"], ["c1"], group=24, pads=[1] * 4), helper.make_node("Sigmoid", ["c1"], ["s"]),
             helper.make_node("Mul", ["c1", "s"], ["m"]), helper.make_node("Conv", ["m", "w2", "b"], ["c2"]),
             helper.make_node("Add", ["c2", "x"], ["y"])]
    yield network("block", t, nodes, [("x", array(t, 1, 16, 13, 19))], fixed, "y")
    nodes = [helper.make_node("MatMul", ["q", "k"], ["s"]), helper.make_node("Mul", ["s", "f"], ["m"]), helper.make_node("Softmax", ["m"], ["p"]),
             helper.make_node("MatMul", ["p", "v"], ["y"])]
    given = [("q", array(t, 2, 37, 16)), ("k", array(t, 2, 16, 51)), ("v", array(t, 2, 51, 16))]
    yield network("attention", t, nodes, given, [("f", np.array(0.25, t))], "y")


def cases():
    for t in (np.float16, ml_dtypes.bfloat16):
        for family in (convolutions, products, others, chains):
            yield from family(t)
