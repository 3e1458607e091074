# SPDX-License-Identifier: Apache-2.0
"""Writes an ONNX test case of exact products of bytes, of every sign and with the extremes among them: bytes.py FOLDER"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

random = np.random.default_rng(11)
nodes, given, constants, results = [], [], [], []


def extremes(t, shape, least=None):
    """Many of the elements are the least or the largest."""
    info = np.iinfo(t)
    lo = info.min if least is None else least
    x = random.integers(lo, info.max + 1, shape)
    kind = random.integers(0, 4, shape)
    return np.where(kind == 0, lo, np.where(kind == 1, info.max, x)).astype(t)


def tensor(name, x):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)


def constant(x):
    name = f"c{len(constants)}"
    constants.append(numpy_helper.from_array(np.asarray(x), name))
    return name


def add(op, x, w, zero, order=None, **attributes):
    name = f"x{len(given)}"
    given.append((name, x))
    if order:
        nodes.append(helper.make_node("Transpose", [name], [name + "_turned"], perm=order))
        name += "_turned"
    result = f"y{len(results)}"
    results.append(result)
    nodes.append(helper.make_node(op, [name, constant(w), constant(np.array(zero, x.dtype))], [result], **attributes))


def products(t, zero, least):
    """Depths that are multiples of four or not; outputs that fill vectors or do not."""
    for rows, depth, columns in ((9, 24, 32), (1, 16, 40), (5, 8, 7), (6, 10, 16), (3, 48, 11), (2, 16, 6), (1, 160, 232), (5, 164, 250)):
        add("MatMulInteger", extremes(t, (rows, depth)), extremes(np.int8, (depth, columns), least), zero)
    for channels, outputs, kernel, group in ((8, 16, 3, 1), (3, 12, 3, 1), (16, 36, 1, 1), (1, 8, 3, 1), (24, 24, 3, 24), (16, 16, 5, 16)):
        shape = (outputs, channels // group, kernel, kernel)
        add("ConvInteger", extremes(t, (1, channels, 9, 7)), extremes(np.int8, shape, least), zero,
            group=group, pads=[kernel // 2] * 4, strides=[2, 1] if outputs == 12 else [1, 1])


def first_convolutions(t, zero):
    """Few channels, as planes or side by side; windows that end where the image does, or beyond it."""
    for shape, weights, attributes in (
            ((1, 1, 49, 10), (20, 1, 10, 4), dict(pads=[4, 1, 5, 1], strides=[2, 2])),
            ((2, 3, 11, 12), (16, 3, 3, 3), dict(pads=[0, 0, 1, 1], strides=[2, 2])),
            ((1, 2, 7, 9), (5, 2, 2, 5), dict(dilations=[2, 1])),
            ((1, 3, 8, 8), (8, 3, 4, 4), dict(strides=[4, 4])),
            ((1, 3, 6, 9), (8, 3, 1, 1), dict(strides=[1, 3])),
            ((1, 3, 9, 9), (8, 3, 3, 3), dict(dilations=[1, 2])),
            ((1, 2, 30), (8, 2, 7), dict(pads=[3, 3])),
            ((1, 5, 6, 5, 7), (4, 5, 3, 1, 2), dict(pads=[1, 0, 1, 1, 0, 0]))):
        add("ConvInteger", extremes(t, shape), extremes(np.int8, weights, -127), zero, **attributes)
        last = list(range(len(shape)))
        last = last[:1] + last[2:] + last[1:2]
        back = [0, len(shape) - 1] + list(range(1, len(shape) - 1))
        add("ConvInteger", extremes(t, shape).transpose(last), extremes(np.int8, weights, -127), zero, order=back, **attributes)


def depthwise(t, zero):
    """Columns of two to eight rows; borders on each side, on both at once, or on none; images of few rows and columns."""
    for shape, kernel, attributes in (
            ((1, 64, 9, 11), (3, 3), dict(pads=[1, 1, 1, 1])),
            ((2, 40, 9, 11), (3, 3), dict(pads=[0, 0, 1, 1], strides=[2, 2])),
            ((1, 16, 2, 3), (3, 3), dict(pads=[1, 1, 1, 1])),
            ((1, 96, 1, 1), (3, 3), dict(pads=[1, 1, 1, 1])),
            ((1, 72, 9, 9), (5, 5), dict(pads=[2, 2, 2, 2])),
            ((1, 33, 12, 30), (2, 1), dict(strides=[1, 3])),
            ((1, 48, 14, 9), (4, 3), dict(dilations=[3, 2], pads=[4, 2, 5, 2])),
            ((1, 32, 20, 6), (8, 2), dict(pads=[7, 0, 0, 1], strides=[3, 1])),
            ((1, 32, 5, 6), (3, 3), dict(pads=[4, 4, 5, 5], strides=[3, 3])),
            ((1, 32, 20, 6), (7, 3), dict())):
        add("ConvInteger", extremes(t, shape), extremes(np.int8, (shape[1], 1, *kernel)), zero, group=shape[1], **attributes)


def model(outputs):
    inputs = [tensor(*g) for g in given]
    graph = helper.make_graph(nodes, "bytes", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def main(folder):
    products(np.int8, 0, -127)
    products(np.uint8, 3, -127)
    products(np.int8, -5, -128)
    products(np.uint8, 128, -128)
    first_convolutions(np.int8, -7)
    first_convolutions(np.uint8, 0)
    depthwise(np.int8, 9)
    depthwise(np.uint8, 0)
    depthwise(np.uint8, 200)
    anything = [helper.make_tensor_value_info(y, TensorProto.INT32, None) for y in results]
    want = ReferenceEvaluator(model(anything)).run(None, dict(given))
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data)
    onnx.save(model([tensor(y, x) for y, x in zip(results, want)]), os.path.join(folder, "model.onnx"))
    for kind, tensors in (("input", [x for _, x in given]), ("output", want)):
        for i, x in enumerate(tensors):
            with open(os.path.join(data, f"{kind}_{i}.pb"), "wb") as f:
                f.write(numpy_helper.from_array(x).SerializeToString())
    with open(os.path.join(folder, "tolerance.txt"), "w") as f:
        f.write("0 0\n")


main(sys.argv[1])
