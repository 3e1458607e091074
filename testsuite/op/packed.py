# SPDX-License-Identifier: Apache-2.0
"""Float networks whose weights have 2 to 8 bits: mlcc keeps them so, and computes numbers where they are used.

Expected outputs are those of ONNX's reference implementation, which dequantises first.
"""
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from shapes import array, info, rng

f = np.float32
OPSET = 25  # the first that has elements of 2 bits


class Packed:
    def __init__(self, name, *inputs):
        self.name, self.nodes, self.fixed = name, [], []
        self.given = [(f"x{i}", x) for i, x in enumerate(inputs)]

    def constant(self, x, kind=None):
        name = f"c{len(self.fixed)}"
        self.fixed.append(helper.make_tensor(name, getattr(TensorProto, kind), x.shape, x.ravel().tolist()) if kind else numpy_helper.from_array(np.asarray(x), name))
        return name

    def node(self, op, *inputs, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def weights(self, kind, shape, axis=None, block=0, zeros=True):
        bits, signed = int(kind.lstrip("UINT")), kind[0] == "I"
        low = -(1 << (bits - 1)) if signed else 0
        few = () if axis is None else tuple(-(-d // block) if i == axis else d for i, d in enumerate(shape)) if block else (shape[axis],)
        scale = (np.abs(array(f, *few)) + f(0.1)).astype(f) / f(1 << (bits - 2))
        names = [self.constant(rng.integers(low, low + (1 << bits), shape), kind), self.constant(scale)]
        if zeros:
            names.append(self.constant(rng.integers(low, low + (1 << bits), few), kind))
        more = {} if axis is None else {"axis": axis}
        return self.node("DequantizeLinear", *names, **more, **({"block_size": block} if block else {}))

    def case(self, *results):
        def model(outputs):
            graph = helper.make_graph(self.nodes, self.name, [info(*g) for g in self.given], outputs, self.fixed)
            return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=13)

        empty = [helper.make_empty_tensor_value_info(y) for y in results]
        want = [np.asarray(y) for y in ReferenceEvaluator(model(empty)).run(None, dict(self.given))]
        done = model([info(y, x) for y, x in zip(results, want)])
        return f"packed_{self.name}", done, [([x for _, x in self.given], want)], 1e-5, 1e-5 * max(1.0, *(float(np.abs(y).max()) for y in want))


def products(kind):
    x = array(f, 3, 37)
    for name, axis, block in [("one", None, 0), ("channels", 1, 0), ("rows", 0, 0), ("blocks", 0, 16), ("across", 1, 8)]:
        p = Packed(f"matmul_{name}_{kind}", x)
        yield p.case(p.node("MatMul", "x0", p.weights(kind, (37, 24), axis, block)))
    for columns in (128, 129, 300):
        p = Packed(f"matmul_panels_{columns}_{kind}", array(f, 7, 33))
        yield p.case(p.node("Add", p.node("MatMul", "x0", p.weights(kind, (33, columns), 0, 16)), p.constant(array(f, columns))))
    for rows, depth, columns, axis, block, zeros in [(1, 37, 24, 1, 0, True), (2, 35, 129, 1, 0, False), (1, 80, 300, 0, 16, True), (2, 64, 5, 0, 32, False), (1, 48, 16, None, 0, False)]:
        p = Packed(f"matmul_few_rows_{depth}_{columns}_{kind}", array(f, rows, depth))
        yield p.case(p.node("MatMul", "x0", p.weights(kind, (depth, columns), axis, block, zeros)))
    p = Packed(f"gemm_{kind}", x)
    turned = p.node("Transpose", p.weights(kind, (18, 37), 1, 32, zeros=False), perm=[1, 0])
    yield p.case(p.node("Gemm", "x0", p.weights(kind, (20, 37), 0), p.constant(array(f, 20)), transB=1),
                 p.node("Gemm", "x0", p.weights(kind, (37, 5), 1), p.constant(array(f, 1, 5)), alpha=0.5),
                 p.node("MatMul", "x0", turned), p.node("MatMul", p.weights(kind, (4, 3), 0), "x0"),
                 p.node("MatMul", "x0", p.weights(kind, (2, 37, 6), 0)))


def others(kind):
    image = array(f, 1, 7, 9, 8)
    p = Packed(f"conv_{kind}", image)
    yield p.case(p.node("Conv", "x0", p.weights(kind, (9, 7, 3, 3), 0), p.constant(array(f, 9)), pads=[1, 1, 1, 1]),
                 p.node("Conv", "x0", p.weights(kind, (7, 1, 3, 3), zeros=False), group=7, pads=[1, 1, 1, 1], strides=[2, 2]),
                 p.node("Conv", "x0", p.weights(kind, (8, 7, 1, 1), 1, 4)),
                 p.node("ConvTranspose", "x0", p.weights(kind, (7, 5, 3, 3), 1), strides=[2, 2]))
    p = Packed(f"recurrent_{kind}", array(f, 6, 2, 5))
    w, r = p.weights(kind, (1, 32, 5), 1), p.weights(kind, (1, 32, 8), zeros=False)
    yield p.case(p.node("LSTM", "x0", w, r, hidden_size=8), p.node("GRU", "x0", p.weights(kind, (1, 21, 5)), p.weights(kind, (1, 21, 7), 2), hidden_size=7))
    p = Packed(f"gather_{kind}", rng.integers(0, 11, (2, 3)))
    table = p.weights(kind, (11, 24), 1, 8)
    yield p.case(p.node("Gather", table, "x0"), p.node("Gather", p.weights(kind, (11, 6), 0), "x0"),
                 p.node("MatMul", p.node("Gather", table, "x0"), p.node("Transpose", table, perm=[1, 0])))


def cases():
    for kind in ("INT2", "UINT2", "INT4", "UINT4", "INT8", "UINT8"):
        yield from products(kind)
        yield from others(kind)
