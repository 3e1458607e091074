# SPDX-License-Identifier: Apache-2.0
"""Small quantised networks as exporters write them: each operator between DequantizeLinear and QuantizeLinear.

Expected outputs are those of ONNX's reference implementation, which computes with floats: at most one step away.
"""
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from shapes import OPSET, array, i64, info, quantised, rng

f = np.float32


def step_of(t, scale):
    """The scale with which elements of type t reach as far as bytes do with the one given."""
    return scale / 256 if np.dtype(t).itemsize == 2 else scale


class Network:
    def __init__(self, name):
        self.name, self.nodes, self.fixed, self.given = name, [], [], []

    def constant(self, x):
        name = f"c{len(self.fixed)}"
        self.fixed.append(numpy_helper.from_array(np.asarray(x), name))
        return name

    def node(self, op, *inputs, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def dequantised(self, x, scale, zero, **attributes):
        return self.node("DequantizeLinear", x, self.constant(np.asarray(scale, f)), self.constant(zero), **attributes)

    def input(self, x, scale):
        name = f"x{len(self.given)}"
        self.given.append((name, x))
        return self.dequantised(name, step_of(x.dtype, scale), quantised(x.dtype))

    def weights(self, shape, channels, axis=0, dead=(), zero=np.int8(0), dead_scale=None):
        scale = (0.01 * (1 + np.arange(channels) / 7)).astype(f)
        elements = quantised(zero.dtype, *shape)
        elements[list(dead)] = zero
        scale[list(dead)] = scale[list(dead)] if dead_scale is None else dead_scale
        return self.dequantised(self.constant(elements), scale, np.full(channels, zero), axis=axis)

    def small_weights(self, shape, channels, kind, axis=0):
        """Elements of kind INT4, UINT4 or UINT8 with zero points in the middle of their range."""
        bits, signed = int(kind[-1]), kind[0] == "I"
        low = -(1 << (bits - 1)) if signed else 0
        elements = rng.integers(low, low + (1 << bits), shape)
        zeros = np.full(channels, 0 if signed else 1 << (bits - 1))
        names = []
        for x in (elements, zeros):
            names.append(f"c{len(self.fixed)}")
            self.fixed.append(helper.make_tensor(names[-1], getattr(TensorProto, kind), x.shape, x.ravel().tolist()))
        scale = (0.16 / (1 << (bits - 4)) * (1 + np.arange(channels) / 7)).astype(f)
        return self.node("DequantizeLinear", names[0], self.constant(scale), names[1], axis=axis)

    def quantised(self, x, t, scale):
        return self.node("QuantizeLinear", x, self.constant(f(step_of(t, scale))), self.constant(quantised(t)))

    def step(self, x, t, scale):
        """Quantised and back."""
        y = self.quantised(x, t, scale)
        return self.node("DequantizeLinear", y, *self.nodes[-1].input[1:])

    def model(self, outputs):
        graph = helper.make_graph(self.nodes, self.name, [info(*g) for g in self.given], outputs, self.fixed)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def case(self, *results, steps=1):
        empty = [helper.make_empty_tensor_value_info(y) for y in results]
        want = [np.asarray(y) for y in ReferenceEvaluator(self.model(empty)).run(None, dict(self.given))]
        model = self.model([info(y, x) for y, x in zip(results, want)])
        return f"networks_{self.name}", model, [([x for _, x in self.given], want)], 0.0, float(steps)


def products(t, label):
    for i, (c, m, g, k, p) in enumerate([(3, 8, 1, 3, 1), (16, 16, 16, 3, 1), (32, 8, 1, 1, 0), (8, 4, 2, 3, 0)]):
        n = Network(f"conv_{i}_{label}")
        bias = n.constant(array(f, m))
        y = n.node("Conv", n.input(quantised(t, 1, c, 7, 6), 0.02), n.weights((m, c // g, k, k), m), bias, group=g, pads=[p] * 4)
        if i == 1:
            y = n.node("Relu", y)
        if i == 2:
            y = n.node("Clip", y, n.constant(f(0)), n.constant(f(6)))
        yield n.case(n.quantised(y, t, 0.1))
    for i, shape in enumerate([(5, 16), (2, 3, 16)]):
        for biased in (False, True):
            n = Network(f"matmul_{i}_{'biased' if biased else 'plain'}_{label}")
            y = n.node("MatMul", n.input(quantised(t, *shape), 0.02), n.weights((16, 9), 9, 1))
            yield n.case(n.quantised(n.node("Add", n.constant(array(f, 9)), y) if biased else y, t, 0.05))
    for kind in ("INT4", "UINT4", "UINT8"):
        n = Network(f"weights_{kind}_{label}")
        y = n.node("Conv", n.input(quantised(t, 1, 8, 5, 5), 0.02), n.small_weights((4, 8, 3, 3), 4, kind), pads=[1, 1, 1, 1])
        z = n.node("MatMul", n.input(quantised(t, 3, 16), 0.02), n.small_weights((16, 9), 9, kind, 1))
        yield n.case(n.quantised(y, t, 0.2), n.quantised(z, t, 0.1))
    n = Network(f"gemm_{label}")
    back = n.node("Transpose", n.weights((9, 16), 9), perm=[1, 0])
    x = n.input(quantised(t, 4, 16), 0.02)
    y = n.node("Gemm", x, n.weights((8, 16), 8), n.constant(array(f, 8)), transB=1)
    yield n.case(n.quantised(y, t, 0.05), n.quantised(n.node("MatMul", x, back), t, 0.05))
    n = Network(f"attention_{label}")
    right = n.node("Transpose", n.input(quantised(t, 2, 5, 8), 0.03), perm=[0, 2, 1])
    yield n.case(n.quantised(n.node("MatMul", n.input(quantised(t, 2, 5, 8), 0.02), right), t, 0.05))


def matrices(t, label):
    """Both computed, large enough to be brought into words."""
    for i, (left, right) in enumerate([((2, 9, 8), (2, 8, 10)), ((3, 1, 8, 12), (2, 12, 9)), ((16, 20), (20, 33)), ((8, 64), (2, 1, 64, 8))]):
        n = Network(f"matrices_{i}_{label}")
        x = n.input(quantised(t, *left), 0.02)
        y = n.node("MatMul", x, n.input(quantised(t, *right), 0.03))
        z = n.node("MatMul", x, n.input(quantised(np.uint8 if t == np.int8 else np.int8, *right), 0.03))
        yield n.case(n.quantised(y, t, 0.1), n.quantised(n.node("Tanh", z), t, 0.01))


def functions(t, label):
    for op in ("Add", "Mul"):
        n = Network(f"{op.lower()}_{label}")
        y = n.node(op, n.input(quantised(t, 2, 3, 4), 0.02), n.input(quantised(t, 3, 1), 0.03))
        yield n.case(n.quantised(n.node("Relu", y), t, 0.025))
    for op in ("Sigmoid", "Tanh", "HardSwish", "Relu", "LeakyRelu", "Gelu"):
        n = Network(f"{op.lower()}_{label}")
        yield n.case(n.quantised(n.node(op, n.input(quantised(t, 2, 50), 0.05)), t, 0.02))
    n = Network(f"swish_{label}")
    x = n.input(quantised(t, 3, 40), 0.05)
    yield n.case(n.quantised(n.node("Mul", x, n.node("Sigmoid", x)), t, 0.02))
    n = Network(f"softmax_{label}")
    yield n.case(n.quantised(n.node("Softmax", n.input(quantised(t, 3, 11), 0.1), axis=-1), t, 1 / 256))


def registers(t, label):
    """What has no form on integers is computed between bytes."""
    for op in ("Sub", "Div", "Min", "Max"):
        n = Network(f"{op.lower()}_{label}")
        x, y = n.input(quantised(t, 2, 3, 4), 0.02), n.input(quantised(t, 3, 1), 0.03)
        y = n.node("Add", n.node("Abs", y), n.constant(f(0.1))) if op == "Div" else y
        yield n.case(n.quantised(n.node(op, x, y), t, 0.1), n.quantised(n.node(op, y, x), t, 0.1) if op != "Div" else n.quantised(y, t, 0.1))
    n = Network(f"where_{label}")
    x, y = n.input(quantised(t, 2, 3, 4), 0.02), n.input(quantised(t, 2, 3, 4), 0.03)
    yes = n.constant(array(np.bool_, 3, 4))
    parts = [n.node("Where", yes, x, y), n.node("Where", yes, x, x), n.node("PRelu", x, n.constant(array(f, 3, 1)))]
    yield n.case(*(n.quantised(v, t, 0.03) for v in parts))
    n = Network(f"normal_{label}")
    x = n.input(quantised(t, 4, 4, 6, 5), 0.03)  # as many images as channels: the reference's LRN takes one for the other
    factor, offset = n.constant(array(f, 4)), n.constant(array(f, 4))
    parts = [n.node("LayerNormalization", x, n.constant(array(f, 5)), n.constant(array(f, 5))), n.node("InstanceNormalization", x, factor, offset),
             n.node("LogSoftmax", x, axis=1), n.node("LRN", x, size=3), n.node("GroupNormalization", x, factor, offset, num_groups=2),
             n.node("BatchNormalization", x, factor, offset, n.constant(array(f, 4)), n.constant(np.abs(array(f, 4)) + f(0.5)))]
    yield n.case(*(n.quantised(v, t, 0.05) for v in parts))
    n = Network(f"resize_{label}")
    x = n.input(quantised(t, 1, 4, 6, 5), 0.03)
    scales = n.constant(f([1, 1, 2, 1.5]))
    parts = [n.node("Resize", x, "", scales, mode="linear"), n.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="align_corners"),
             n.node("Resize", x, "", scales, mode="cubic")]
    yield n.case(*(n.quantised(v, t, 0.03) for v in parts))


def floats(t, label):
    """Products whose result nobody quantises at once: on integers up to the sum."""
    n = Network(f"normalised_{label}")
    x = n.input(quantised(t, 1, 8, 6, 5), 0.02)
    y = n.node("Conv", x, n.weights((12, 8, 3, 3), 12), n.constant(array(f, 12)), pads=[1, 1, 1, 1])
    numbers = [array(f, 12), array(f, 12), array(f, 12), np.abs(array(f, 12)) + f(0.5)]
    y = n.node("Relu", n.node("BatchNormalization", y, *map(n.constant, numbers)))
    z = n.node("Conv", x, n.weights((8, 1, 3, 3), 8), group=8, strides=[2, 2])
    z = n.node("Mul", n.node("Add", z, n.constant(array(f, 1, 8, 1, 1))), n.constant(array(f, 8, 1, 1)))
    yield n.case(n.quantised(y, t, 0.05), n.quantised(z, t, 0.02))
    n = Network(f"results_{label}")
    x = n.input(quantised(t, 3, 16), 0.02)
    parts = [n.node("Gelu", n.node("MatMul", x, n.weights((16, 9), 9, 1))), n.node("Gemm", x, n.weights((7, 16), 7), n.constant(array(f, 7)), transB=1, alpha=0.5),
             n.node("Gemm", x, n.small_weights((16, 5), 5, "UINT4", 1), n.constant(array(f, 3, 1)))]
    q, k = n.input(quantised(t, 2, 4, 8), 0.02), n.input(quantised(t, 2, 8, 6), 0.03)
    parts += [n.node("Softmax", n.node("MatMul", q, k)), n.node("Conv", q, n.weights((5, 4, 3), 5), n.dequantised(n.constant(np.arange(5, dtype=np.int32)), np.arange(5) + 1, np.zeros(5, np.int32), axis=0))]
    yield n.case(*parts, steps=1e-3)


def more(t, label):
    n = Network(f"convtranspose_{label}")
    x = n.input(quantised(t, 1, 6, 5, 4), 0.02)
    parts = [n.node("ConvTranspose", x, n.weights((6, 9, 3, 3), 9, 1), n.constant(array(f, 9)), strides=[2, 2], pads=[1, 1, 1, 1]),
             n.node("ConvTranspose", x, n.small_weights((6, 4, 2, 2), 4, "INT4", 1), strides=[2, 2])]
    one = n.dequantised(n.constant(quantised(np.int8, 6, 3, 3, 2)), 0.01, np.int8(0))
    parts.append(n.node("ConvTranspose", x, one, dilations=[2, 1], output_padding=[1, 1], strides=[2, 3]))
    yield n.case(*(n.quantised(n.node("Relu", v), t, 0.1) for v in parts))
    n = Network(f"means_{label}")
    x = n.input(quantised(t, 3, 4, 5, 6), 0.05)
    parts = [n.node("ReduceMean", x, n.constant(i64(3))), n.node("ReduceMean", x, n.constant(i64(-1, 1)), keepdims=0), n.node("ReduceMean", x),
             n.node("ReduceSum", x, n.constant(i64(0, 2)), keepdims=0)]
    yield n.case(*(n.quantised(v, t, 0.06) for v in parts))
    n = Network(f"order_{label}")
    x = n.input(rng.permutation(np.arange(256, dtype=np.uint8)).astype(t).reshape(4, 64), 0.05)
    n.nodes.append(helper.make_node("TopK", [x, n.constant(i64(5))], ["top", "places"]))
    yield n.case(n.quantised("top", t, 0.05), "places", n.node("ArgMax", x, axis=1), n.node("ArgMin", x, axis=0, keepdims=0))
    n = Network(f"repeats_{label}")
    x = n.input(quantised(t, 1, 3, 4, 5), 0.05)
    parts = [n.node("Tile", x, n.constant(i64(1, 2, 1, 3))), n.node("Expand", x, n.constant(i64(2, 3, 4, 5))),
             n.node("GatherND", x, n.constant(np.array([[0, 1, 2], [0, 2, 0]])))]
    yield n.case(*(n.quantised(v, t, 0.04) for v in parts))


def images(t, label):
    n = Network(f"pools_{label}")
    x = n.input(quantised(t, 1, 5, 9, 8), 0.05)
    parts = [n.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), n.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]),
             n.node("GlobalAveragePool", x), n.node("ReduceMean", x, n.constant(i64(2, 3)), keepdims=0)]
    yield n.case(*(n.quantised(y, t, 0.05) for y in parts))
    n = Network(f"movement_{label}")
    x = n.input(quantised(t, 1, 4, 5, 6), 0.05)
    cut = n.node("Slice", x, n.constant(i64(1)), n.constant(i64(3)), n.constant(i64(1)))
    parts = [n.node("Reshape", n.node("Transpose", x, perm=[0, 2, 3, 1]), n.constant(i64(5, 24))),
             n.node("Pad", cut, n.constant(i64(0, 0, 1, 2, 0, 0, 1, 0))),
             n.node("Resize", x, "", n.constant(f([1, 1, 2, 2])), mode="nearest", coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor"),
             n.node("Concat", x, n.input(quantised(t, 1, 2, 5, 6), 0.03), axis=1)]
    yield n.case(*(n.quantised(v, t, 0.04) for v in parts))
    n = Network(f"block_{label}")
    x = n.input(quantised(t, 1, 8, 6, 6), 0.02)
    wide = n.step(n.node("Relu", n.node("Conv", x, n.weights((16, 8, 1, 1), 16))), t, 0.05)
    narrow = n.step(n.node("Conv", wide, n.weights((8, 16, 1, 1), 8)), t, 0.5)
    yield n.case(n.quantised(n.node("Add", x, narrow), t, 0.6))


def dead(t, label):
    """Filters of zeros, with biases of their own, before a padded depthwise convolution, a residual and a classifier. The
    zeros may be zero points, and the scale so small that the bias in its steps needs nearly all of 32 bits."""
    for i, (shift, zero, tiny) in enumerate([(-1, np.int8(0), None), (0, np.int8(0), None), (1, np.int8(0), None), (0, np.uint8(77), None),
                                             (0, np.uint8(128), None), (0, np.int8(0), 1e-8)]):
        n = Network(f"dead_{i}_{label}")
        x = n.input(quantised(t, 1, 8, 6, 6), 0.02)
        bias = n.constant((array(f, 16) + f(shift)).astype(f))
        few = np.abs(array(f, 16)) / f(4) + f(1 / 4)
        none = n.constant(few * f(2**31 * 1e-8 * step_of(t, 0.02)) if tiny else numpy_helper.to_array(n.fixed[-1]))
        y = n.step(n.node("Relu", n.node("Conv", x, n.weights((16, 8, 1, 1), 16, 0, [1, 2, 5, 9, 15], zero, tiny), none)), t, 0.05)
        y = n.step(n.node("Relu", n.node("Conv", y, n.weights((16, 1, 3, 3), 16, dead=[0, 2]), bias, group=16, pads=[1] * 4)), t, 0.1)
        z = n.step(n.node("Conv", y, n.weights((16, 16, 1, 1), 16, 0, [2, 3], zero)), t, 0.8)
        y = n.step(n.node("Relu", n.node("Add", y, z)), t, 0.8)
        y = n.step(n.node("GlobalAveragePool", y), t, 0.8)
        y = n.node("MatMul", n.node("Reshape", y, n.constant(i64(1, 16))), n.weights((16, 4), 4, 1))
        yield n.case(n.quantised(y, t, 0.5), steps=4)  # what one step of the mean before makes of it


def cases():
    for t in (np.int8, np.uint8):
        for family in (products, matrices, functions, registers, floats, more, images, dead):
            yield from family(t, np.dtype(t).name)
    for t in (np.int16, np.uint16):
        for family in (products, functions, registers, floats, more, images, dead):
            yield from family(t, np.dtype(t).name)
