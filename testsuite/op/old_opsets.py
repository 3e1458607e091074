#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes cases for the upgrades of old opset versions: old_opsets.py DIR

One folder a case, as ONNX's own test cases: model.onnx, test_data_set_0/{input,output}_K.pb. The expected outputs are
computed here with numpy from the text of the old operator versions, as no other tool still runs all of them.
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F32 = np.float32
rng = np.random.default_rng(7)


def f32(*shape):
    return rng.standard_normal(shape).astype(F32)


cases = []


def case(name, opset, nodes, inputs, outputs, initializers=(), ir=3):
    """inputs, outputs, initializers: lists of (name, array)."""
    def info(pairs):
        return [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in pairs]

    consts = [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in initializers]
    graph = helper.make_graph(nodes, name, info(list(inputs) + (list(initializers) if ir < 4 else [])), info(outputs),
                              consts)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    cases.append((name, model, [a for _, a in inputs], [a for _, a in outputs]))


def node(op, ins, outs, **attrs):
    return helper.make_node(op, ins.split(), outs.split(), name=op.lower(), **attrs)


# The output of this node has a rank that only inference knows.
def hidden(x, name="x"):
    eye = np.eye(x.shape[-1], dtype=F32)
    return node("MatMul", f"{name}0 eye", name), (f"{name}0", x), ("eye", eye)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


x = f32(2, 3, 4, 5)

# --- broadcasting by axis ---
numpy_op = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
for op, f in numpy_op.items():
    b = f32(3, 4) + 3
    case(f"broadcast_{op.lower()}_6_axis", 6, [node(op, "x b", "y", broadcast=1, axis=1)], [("x", x), ("b", b)],
         [("y", f(x, b[..., None]))])
case("broadcast_add_1_negative_axis", 1, [node("Add", "x b", "y", broadcast=1, axis=-3, consumed_inputs=[0, 0])],
     [("x", x)], [("y", x + np.arange(3, dtype=F32)[:, None, None])], [("b", np.arange(3, dtype=F32))])
case("broadcast_add_6_suffix", 6, [node("Add", "x b", "y", broadcast=1)], [("x", x)], [("y", x + x[0, 0])],
     [("b", x[0, 0])])
n, xin, eye = hidden(x)
for axis in (0, 1, 2, -3):
    b = f32(*x.shape[axis:][:2])
    at = axis % 4
    case(f"broadcast_mul_6_hidden_{axis}".replace("-", "m"), 6, [n, node("Mul", "x b", "y", broadcast=1, axis=axis)],
         [xin], [("y", x * b.reshape(b.shape + (1,) * (4 - at - 2)))], [eye, ("b", b)])
b = (f32(4) > 0)
case("broadcast_and_6", 6, [node("And", "x b", "y", broadcast=1, axis=2)], [("x", x > 0), ("b", b)],
     [("y", (x > 0) & b[:, None])])
case("broadcast_greater_6", 6, [node("Greater", "x b", "y", broadcast=1, axis=1)], [("x", x), ("b", f32(3) * 0)],
     [("y", x > 0)])
slope = np.array([0.1, 0.2, 0.3], F32)
case("prelu_6_channels", 6, [node("PRelu", "x s", "y")], [("x", x)],
     [("y", np.where(x < 0, x * slope[:, None, None], x))], [("s", slope)])
case("prelu_6_hidden", 6, [n, node("PRelu", "x s", "y")], [xin], [("y", np.where(x < 0, x * slope[:, None, None], x))],
     [eye, ("s", slope)])
case("prelu_6_one", 6, [node("PRelu", "x s", "y")], [("x", x)], [("y", np.where(x < 0, x * slope[:1], x))],
     [("s", slope[:1])])

# --- softmax and its like on a matrix ---
for axis in (0, 1, 2, 3, -1, -2):
    at = axis % 4
    m = x.reshape(int(np.prod(x.shape[:at])), -1)
    tag = f"{axis}".replace("-", "m")
    hard = np.zeros_like(m)
    hard[np.arange(len(m)), m.argmax(1)] = 1
    case(f"softmax_11_hidden_{tag}", 11, [n, node("Softmax", "x", "y", axis=axis)], [xin],
         [("y", softmax(m).reshape(x.shape))], [eye], 4)
    case(f"logsoftmax_11_{tag}", 11, [node("LogSoftmax", "x", "y", axis=axis)], [("x", x)],
         [("y", np.log(softmax(m)).reshape(x.shape))])
    case(f"hardmax_11_{tag}", 11, [node("Hardmax", "x", "y", axis=axis)], [("x", x)], [("y", hard.reshape(x.shape))])
case("softmax_1_default", 1, [node("Softmax", "x", "y")], [("x", x)],
     [("y", softmax(x.reshape(2, -1)).reshape(x.shape))])

# --- attributes that became inputs ---
case("clip_6", 6, [node("Clip", "x", "y", min=-0.5, max=0.25)], [("x", x)], [("y", x.clip(-0.5, 0.25))])
case("clip_6_hidden", 6, [n, node("Clip", "x", "y", max=0.25)], [xin], [("y", x.clip(None, 0.25))], [eye])
case("clip_1", 1, [node("Clip", "x", "y", min=-0.5)], [("x", x)], [("y", x.clip(-0.5, None))])
case("clip_6_double", 6, [node("Clip", "x", "y", min=-0.5)], [("x", x.astype(np.float64))],
     [("y", x.astype(np.float64).clip(-0.5, None))])
case("reshape_1", 1, [node("Reshape", "x", "y", shape=[0, -1])], [("x", x)], [("y", x.reshape(2, -1))])
case("slice_1", 1, [node("Slice", "x", "y", starts=[1, -3], ends=[9, -1], axes=[1, 3])], [("x", x)],
     [("y", x[:, 1:, :, -3:-1])])
case("slice_1_all_axes", 1, [node("Slice", "x", "y", starts=[0, 1], ends=[1, 3])], [("x", x)], [("y", x[:1, 1:3])])
case("pad_2", 2, [node("Pad", "x", "y", pads=[0, 0, 1, 2, 0, 0, 3, 4], value=1.5)], [("x", x)],
     [("y", np.pad(x, [(0, 0), (0, 0), (1, 3), (2, 4)], constant_values=1.5))])
case("pad_1_reflect", 1, [node("Pad", "x", "y", paddings=[0, 0, 1, 2, 0, 0, 3, 1], mode="reflect")], [("x", x)],
     [("y", np.pad(x, [(0, 0), (0, 0), (1, 3), (2, 1)], mode="reflect"))])
case("split_2", 2, [node("Split", "x", "a b", axis=3, split=[2, 3])], [("x", x)], [("a", x[..., :2]), ("b", x[..., 2:])])
case("split_2_equal", 2, [node("Split", "x", "a b", axis=2)], [("x", x)], [("a", x[:, :, :2]), ("b", x[:, :, 2:])])
case("split_13_equal", 13, [node("Split", "x", "a b", axis=2)], [("x", x)],
     [("a", x[:, :, :2]), ("b", x[:, :, 2:])], ir=7)
case("squeeze_1", 1, [node("Squeeze", "x", "y", axes=[0, 2])], [("x", x[:1, :, :1])], [("y", x[0, :, 0])])
case("squeeze_1_all", 1, [node("Squeeze", "x", "y")], [("x", x[:1, :, :1])], [("y", x[0, :, 0])])
case("unsqueeze_1", 1, [node("Unsqueeze", "x", "y", axes=[0, 4])], [("x", x[0])], [("y", x[0][None, :, :, :, None])])
order = np.argsort(-x, axis=-1, kind="stable")[..., :2]
case("topk_1", 1, [node("TopK", "x", "v i", k=2)], [("x", x)],
     [("v", np.take_along_axis(x, order, -1)), ("i", order.astype(np.int64))])
reductions = {
    "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod,
    "ReduceL1": lambda v, **k: np.abs(v).sum(**k), "ReduceL2": lambda v, **k: np.sqrt((v * v).sum(**k)),
    "ReduceSumSquare": lambda v, **k: (v * v).sum(**k), "ReduceLogSumExp": lambda v, **k: np.log(np.exp(v).sum(**k)),
}
for op, f in reductions.items():
    case(f"{op.lower()}_11", 11, [node(op, "x", "y", axes=[1, -1], keepdims=0)], [("x", x)],
         [("y", f(x, axis=(1, 3)).astype(F32))], ir=4)
    case(f"{op.lower()}_1_all", 1, [node(op, "x", "y")], [("x", x)], [("y", f(x, axis=None, keepdims=True).astype(F32))])
case("tile_1", 1, [node("Tile", "x t a", "y")], [("x", x)], [("y", np.tile(x, (1, 1, 3, 1)))],
     [("t", np.array(3, F32)), ("a", np.array(2, F32))])

# --- attributes that went away, defaults and types that changed ---
case("cast_1", 1, [node("Cast", "x", "y", to="INT32")], [("x", x * 10)], [("y", (x * 10).astype(np.int32))])
case("concat_1_default", 1, [node("Concat", "x z", "y")], [("x", x), ("z", x)], [("y", np.concatenate([x, x], 1))])
case("selu_1", 1, [node("Selu", "x", "y")], [("x", x)],
     [("y", (F32(1.0507) * np.where(x > 0, x, F32(1.6732) * (np.exp(x) - 1))).astype(F32))])
case("dropout_7_mask", 7, [node("Dropout", "x", "y m", ratio=0.3), node("Add", "y m", "z")], [("x", x)],
     [("y", x), ("z", x + 1)])
case("dropout_1", 1, [node("Dropout", "x", "y", ratio=0.3, is_test=1)], [("x", x)], [("y", x)])
a, b, c = f32(3, 4), f32(4, 5), f32(5)
case("gemm_6", 6, [node("Gemm", "a b c", "y", broadcast=1, alpha=0.5, beta=2.0)], [("a", a)],
     [("y", (0.5 * (a @ b) + 2 * c).astype(F32))], [("b", b), ("c", c)])
s, o, m, v = f32(3), f32(3), f32(3), np.abs(f32(3)) + 0.5
col = lambda t: t[:, None, None]
case("batchnorm_1_test", 1, [node("BatchNormalization", "x s o m v", "y", is_test=1, consumed_inputs=[0] * 5)],
     [("x", x)], [("y", ((x - col(m)) / np.sqrt(col(v) + F32(1e-5)) * col(s) + col(o)).astype(F32))],
     [("s", s), ("o", o), ("m", m), ("v", v)])
s, o, m, v = f32(3, 4, 5), f32(3, 4, 5), f32(3, 4, 5), np.abs(f32(3, 4, 5)) + 0.5
case("batchnorm_7_elements", 7, [node("BatchNormalization", "x s o m v", "y", spatial=0, epsilon=1e-3)], [("x", x)],
     [("y", ((x - m) / np.sqrt(v + F32(1e-3)) * s + o).astype(F32))], [("s", s), ("o", o), ("m", m), ("v", v)])
g = f32(2, 6, 4, 4)
s, o = f32(2), f32(2)
flat = g.reshape(2, 2, -1)
unit = (flat - flat.mean(-1, keepdims=True)) / np.sqrt(flat.var(-1, keepdims=True) + F32(1e-5))
case("groupnorm_18", 18, [node("GroupNormalization", "x s o", "y", num_groups=2)], [("x", g)],
     [("y", (unit * s[:, None] + o[:, None]).reshape(g.shape).astype(F32))], [("s", s), ("o", o)], 8)

# --- resizing ---
up = x.repeat(2, 2).repeat(3, 3)
case("upsample_1", 1, [node("Upsample", "x", "y", height_scale=2.0, width_scale=3.0)], [("x", x)], [("y", up)])
case("upsample_7", 7, [node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0])], [("x", x)], [("y", up)])
scales = ("k", np.array([1, 1, 2, 3], F32))
case("upsample_9", 9, [node("Upsample", "x k", "y")], [("x", x)], [("y", up)], [scales])
case("resize_10", 10, [node("Resize", "x k", "y")], [("x", x)], [("y", up)], [scales], 5)
case("resize_10_half", 10, [node("Resize", "x k", "y")], [("x", x)], [("y", x[:, :, ::2])],
     [("k", np.array([1, 1, 0.5, 1], F32))], 5)
at = np.minimum(np.arange(8) / 2, 3)
low = np.floor(at).astype(int)
part = (at - low).astype(F32)[:, None]
linear = x[:, :, low] * (1 - part) + x[:, :, np.minimum(low + 1, 3)] * part
case("upsample_9_linear", 9, [node("Upsample", "x k", "y", mode="linear")], [("x", x)], [("y", linear)],
     [("k", np.array([1, 1, 2, 1], F32))])
case("resize_11_sizes", 11, [node("Resize", "x r k s", "y", nearest_mode="floor",
                                  coordinate_transformation_mode="asymmetric")], [("x", x)], [("y", up)],
     [("r", np.zeros(0, F32)), ("k", np.zeros(0, F32)), ("s", np.array(up.shape, np.int64))], 6)
case("scatter_9", 9, [node("Scatter", "d i u", "y", axis=0)], [("d", np.zeros((3, 2), F32))],
     [("y", np.array([[1, 0], [0, 4], [0, 2]], F32))],
     [("i", np.array([[0, 2], [1, 1]], np.int64)), ("u", np.array([[1, 2], [0, 4]], F32))])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, model, ins, outs in cases:
        folder = os.path.join(sys.argv[1], "old_" + name)
        data = os.path.join(folder, "test_data_set_0")
        os.makedirs(data, exist_ok=True)
        onnx.save(model, os.path.join(folder, "model.onnx"))
        for kind, arrays in (("input", ins), ("output", outs)):
            for i, a in enumerate(arrays):
                with open(os.path.join(data, f"{kind}_{i}.pb"), "wb") as f:
                    f.write(numpy_helper.from_array(np.ascontiguousarray(a)).SerializeToString())


main()
