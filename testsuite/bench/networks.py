# SPDX-License-Identifier: Apache-2.0
"""Networks of published shapes with random weights, for measuring: networks.py FOLDER writes one ONNX file each."""
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

rng = np.random.default_rng(1)


class Network:
    def __init__(self, *shape):
        self.nodes, self.fixed, self.shape, self.x = [], [], shape, "x"

    def constant(self, *shape):
        x = rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
        self.fixed.append(numpy_helper.from_array(x.astype(np.float32), f"c{len(self.fixed)}"))
        return self.fixed[-1].name

    def number(self, x):
        self.fixed.append(numpy_helper.from_array(np.asarray(x), f"c{len(self.fixed)}"))
        return self.fixed[-1].name

    def node(self, op, *inputs, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def conv(self, x, inputs, outputs, k=1, s=1, group=1, activation=None):
        pad = (k - 1) // 2
        x = self.node("Conv", x, self.constant(outputs, inputs // group, k, k), self.constant(outputs), strides=[s, s],
                      pads=[pad] * 4, group=group, kernel_shape=[k, k])
        if activation == "Clip":
            return self.node("Clip", x, self.number(np.float32(0)), self.number(np.float32(6)))
        if activation == "Swish":
            return self.node("Mul", x, self.node("Sigmoid", x))
        return self.node(activation, x) if activation else x

    def classify(self, x, channels):
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        return self.node("Gemm", x, self.constant(1000, channels), self.constant(1000), transB=1)

    def save(self, path, y):
        graph = helper.make_graph(self.nodes, "network", [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
                                  [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)], self.fixed)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def resnet(path, layers, wide):
    """He et al. 2015, tables 1: basic blocks, or bottlenecks where wide."""
    n = Network(1, 3, 224, 224)
    x = n.node("MaxPool", n.conv("x", 3, 64, 7, 2, activation="Relu"), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    c = 64
    for stage, blocks in enumerate(layers):
        inner = 64 << stage
        out = inner * 4 if wide else inner
        for block in range(blocks):
            s = 2 if stage and not block else 1
            short = x if c == out and s == 1 else n.conv(x, c, out, 1, s)
            if wide:
                y = n.conv(n.conv(x, c, inner, activation="Relu"), inner, inner, 3, s, activation="Relu")
                y = n.conv(y, inner, out)
            else:
                y = n.conv(n.conv(x, c, inner, 3, s, activation="Relu"), inner, inner, 3)
            x, c = n.node("Relu", n.node("Add", y, short)), out
    n.save(path, n.classify(x, c))


def mobilenet_v2(path):
    """Sandler et al. 2018, table 2."""
    n = Network(1, 3, 224, 224)
    x, c = n.conv("x", 3, 32, 3, 2, activation="Clip"), 32
    for t, out, repeats, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for i in range(repeats):
            s = stride if i == 0 else 1
            y = n.conv(x, c, c * t, activation="Clip") if t > 1 else x
            y = n.conv(n.conv(y, c * t, c * t, 3, s, c * t, "Clip"), c * t, out)
            x, c = n.node("Add", x, y) if s == 1 and c == out else y, out
    n.save(path, n.classify(n.conv(x, c, 1280, activation="Clip"), 1280))


def encoder(path, tokens=128, width=384, layers=2):
    """The products of a transformer's encoder (Vaswani et al. 2017), of the width of small sentence encoders."""
    n = Network(tokens, width)
    x = "x"
    for _ in range(layers):
        for _ in range(4):
            x = n.node("Add", n.node("MatMul", x, n.constant(width, width)), n.constant(width))
        y = n.node("Add", n.node("MatMul", x, n.constant(width, 4 * width)), n.constant(4 * width))
        y = n.node("Add", n.node("MatMul", n.node("Gelu", y), n.constant(4 * width, width)), n.constant(width))
        x = n.node("Add", x, y)
    n.save(path, x)


if __name__ == "__main__":
    folder = sys.argv[1]
    resnet(f"{folder}/resnet18.onnx", [2, 2, 2, 2], False)
    resnet(f"{folder}/resnet50.onnx", [3, 4, 6, 3], True)
    mobilenet_v2(f"{folder}/mobilenet_v2.onnx")
    encoder(f"{folder}/encoder.onnx")
