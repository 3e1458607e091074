# SPDX-License-Identifier: Apache-2.0
"""Quantised networks with what each exporter puts between QuantizeLinear and DequantizeLinear, from floats to floats.

Expected outputs are those of ONNX's reference implementation. A number on the edge between two elements may become either
in the middle of a network: the tolerances are what one step there makes of the output.
"""
import numpy as np

from networks import Network
from shapes import array, i64, rng

f = np.float32


class Exported(Network):
    def floats(self, x):
        name = f"x{len(self.given)}"
        self.given.append((name, x))
        return name

    def both(self, x, t, scale, zero=0, axis=None, clip=None):
        """Quantised and back; PyTorch clips between, where it leaves the highest bit alone."""
        shared = [self.constant(np.asarray(scale, f)), self.constant(np.full(np.shape(scale), zero, t))]
        more = {} if axis is None else {"axis": axis}
        y = self.node("QuantizeLinear", x, *shared, **more)
        if clip:
            y = self.node("Clip", y, *(self.constant(t(c)) for c in clip))
        return self.node("DequantizeLinear", y, *shared, **more)

    def float_weights(self, *shape):
        """Exporters leave their quantisation to whoever reads the model."""
        return self.both(self.constant(array(f, *shape)), np.int8, np.full(shape[0], 0.03, f), axis=0)

    def numbers(self, *shape):
        return self.constant(array(f, *shape))


def pytorch():
    """torch.ao: uint8 with 7 bits, a clip on integers, pairs round every operator."""
    n = Exported("pytorch")
    seven = dict(clip=(0, 127))
    v = n.both(n.floats(array(f, 1, 3, 16, 16)), np.uint8, 0.04, 60, **seven)
    v = n.both(n.node("Relu", n.node("Conv", v, n.float_weights(8, 3, 3, 3), n.numbers(8), pads=[1] * 4)), np.uint8, 0.08, **seven)
    v = n.both(n.node("MaxPool", v, kernel_shape=[2, 2], strides=[2, 2]), np.uint8, 0.08, **seven)
    y = n.both(n.node("Conv", v, n.float_weights(8, 1, 3, 3), n.numbers(8), pads=[1] * 4, group=8), np.uint8, 0.1, 64, **seven)
    v = n.both(n.node("Relu", n.node("Add", y, v)), np.uint8, 0.1, **seven)
    v = n.node("Flatten", n.both(n.node("GlobalAveragePool", v), np.uint8, 0.05, **seven))
    return n.case(n.both(n.node("Gemm", v, n.float_weights(10, 8), n.numbers(10), transB=1), np.uint8, 0.1, 64, **seven), steps=0.11)


def tensorflow():
    """tf2onnx: channels last with a Transpose at each turn, padding apart, ReLU6 as Min and Max, biases as Add."""
    n = Exported("tensorflow")
    v = n.node("Transpose", n.both(n.floats(array(f, 1, 16, 16, 3)), np.int8, 0.03, -3), perm=[0, 3, 1, 2])
    v = n.node("Pad", v, n.constant(i64(0, 0, 0, 0, 0, 0, 1, 1)))
    v = n.node("Conv", v, n.float_weights(8, 3, 3, 3), n.numbers(8), strides=[2, 2])
    v = n.node("Min", n.node("Max", v, n.constant(f(0))), n.constant(f(6)))
    v = n.both(n.node("Transpose", v, perm=[0, 2, 3, 1]), np.int8, 6 / 255, -128)
    v = n.node("Conv", n.node("Transpose", v, perm=[0, 3, 1, 2]), n.float_weights(8, 1, 3, 3), pads=[1] * 4, group=8)
    v = n.node("Clip", n.node("Add", v, n.numbers(1, 8, 1, 1)), n.constant(f(0)), n.constant(f(6)))
    v = n.both(n.node("ReduceMean", n.both(v, np.int8, 6 / 255, -128), n.constant(i64(2, 3)), keepdims=0), np.int8, 6 / 255, -128)
    v = n.node("Add", n.node("MatMul", v, n.node("Transpose", n.float_weights(10, 8), perm=[1, 0])), n.numbers(10))
    return n.case(n.both(n.node("Softmax", n.both(v, np.int8, 0.1, 3)), np.int8, 1 / 256, -128), steps=1.1 / 256)


def inputs_only():
    """Tools that quantise what products take, and leave their results: normalisation and activation are floats."""
    n = Exported("inputs_only")
    x = n.floats(array(f, 1, 8, 16, 16))

    def conv(v, k, **attributes):
        y = n.node("Conv", n.both(v, np.int8, 0.03), n.float_weights(8, 8, k, k), **attributes)
        return n.node("BatchNormalization", y, n.numbers(8), n.numbers(8), n.numbers(8), n.constant(np.abs(array(f, 8)) + f(0.5)))

    v = n.node("MaxPool", n.node("Relu", conv(x, 3, pads=[1] * 4)), kernel_shape=[2, 2], strides=[2, 2])
    w = n.node("Concat", conv(v, 3, pads=[1] * 4), conv(v, 1), axis=1)
    w = n.node("Conv", n.both(w, np.int8, 0.05), n.float_weights(8, 16, 1, 1))
    v = n.node("Relu", n.node("Add", w, v))
    v = n.node("Flatten", n.node("GlobalAveragePool", n.both(v, np.int8, 0.03)))
    return n.case(n.node("Gemm", n.both(v, np.int8, 0.03), n.float_weights(10, 8), n.numbers(10), transB=1), steps=0.05)


def transformer():
    n = Exported("transformer")
    x = n.floats(array(f, 1, 12, 32))

    def linear(v, rows, columns):
        return n.node("Add", n.node("MatMul", v, n.node("Transpose", n.float_weights(rows, columns), perm=[1, 0])), n.numbers(rows))

    def heads(v):
        return n.node("Transpose", n.node("Reshape", v, n.constant(i64(0, 0, 4, 8))), perm=[0, 2, 1, 3])

    h = n.both(x, np.int8, 0.03)
    q, k, v = (heads(linear(h, 32, 32)) for _ in range(3))
    s = n.node("MatMul", n.both(q, np.int8, 0.1), n.node("Transpose", n.both(k, np.int8, 0.1), perm=[0, 1, 3, 2]))
    s = n.node("Softmax", n.node("Div", s, n.constant(f(8**0.5))), axis=-1)
    y = n.node("MatMul", n.both(s, np.int8, 1 / 127), n.both(v, np.int8, 0.1))
    y = n.node("Reshape", n.node("Transpose", y, perm=[0, 2, 1, 3]), n.constant(i64(0, 0, 32)))
    y = n.node("LayerNormalization", n.node("Add", linear(n.both(y, np.int8, 0.05), 32, 32), x), n.numbers(32), n.numbers(32))
    z = linear(n.both(n.node("Gelu", linear(n.both(y, np.int8, 0.03), 64, 32)), np.int8, 0.05), 32, 64)
    return n.case(n.node("LayerNormalization", n.node("Add", z, y), n.numbers(32), n.numbers(32)), steps=0.05)


def cases():
    # Numbers that no other case moves: biases are rounded to steps of their products, by which an element near a tie comes out as its
    # neighbour, and a transformer makes much of that.
    rng.bit_generator.state = np.random.default_rng(1).bit_generator.state
    for network in (pytorch, tensorflow, inputs_only, transformer):
        name, *rest = network()
        yield name.replace("networks", "exporters"), *rest
