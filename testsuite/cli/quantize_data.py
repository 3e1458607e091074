# SPDX-License-Identifier: Apache-2.0
"""Labelled digits in several forms, and models with what each way to lose less is for: quantize_data.py TESTSET."""
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

rng = np.random.default_rng(5)
raw = np.frombuffer(open(sys.argv[1], "rb").read(), np.uint8).reshape(-1, 65)
images = (raw[:, :64] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
labels = raw[:, 64].astype(np.int64)
np.savez("digits.npz", image=images, labels=labels)
np.savez("images.npz", image=images[:100])
np.save("image.npy", images[:1])
wrong = labels.copy()
wrong[3] = -1
np.savez("negative.npz", image=images, labels=wrong)
wrong[3] = 10
np.savez("beyond.npz", image=images, labels=wrong)
np.savez("few.npz", image=images, labels=labels[:-1])


def model(name, shape, nodes, constants, samples):
    graph = helper.make_graph(
        nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(c, np.float32), k) for k, c in constants.items()])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), name + ".onnx")
    np.savez(name + ".npz", x=samples.astype(np.float32))
    np.save(name + ".npy", samples[0].astype(np.float32).reshape(shape))


node = helper.make_node
normal = rng.standard_normal

# Inputs far from 0 on average: errors of the weights add up. A large weight makes the steps of the others coarse.
w = normal((64, 32)) * 0.05
w[0] = 4
model("biased", [1, 64], [node("Gemm", ["x", "w", "b"], ["y"])], {"w": w, "b": normal(32)},
      3 + 0.1 * normal((40, 1, 64)) * np.r_[0, np.ones(63)] - 3 * np.r_[1, np.zeros(63)])

# Two convolutions, the channels between them from very small to very large.
scale = 10.0 ** np.linspace(-2, 1, 16)
first, second = normal((16, 3, 3, 3)) * 0.2 * scale[:, None, None, None], normal((8, 16, 3, 3)) * 0.1 / scale[:, None, None]
model("uneven", [1, 3, 16, 16],
      [node("Conv", ["x", "w1", "b1"], ["h"], pads=[1] * 4), node("Relu", ["h"], ["r"]), node("Conv", ["r", "w2"], ["y"], pads=[1] * 4)],
      {"w1": first, "b1": normal(16) * 0.1 * scale, "w2": second}, normal((20, 1, 3, 16, 16)))

# A normalisation with some large channels, as transformers have them, before products.
gain = np.where(np.arange(64) % 16 == 3, 40, 1.0)
model("outliers", [1, 12, 64],
      [node("LayerNormalization", ["x", "g", "b"], ["n"]), node("MatMul", ["n", "w1"], ["h"]), node("MatMul", ["n", "w2"], ["k"]),
       node("Concat", ["h", "k"], ["y"], axis=2)],
      {"g": gain, "b": normal(64) * 0.1, "w1": normal((64, 32)) * 0.1 / gain[:, None] ** 0.5, "w2": normal((64, 16)) * 0.1 / gain[:, None] ** 0.5},
      normal((20, 1, 12, 64)))

# Words whose normalised rows have some large channels; columns of the table are as different.
rows = normal((300, 64)) * gain**0.5
ids = rng.integers(0, 300, (20, 2, 40))
words = helper.make_graph(
    [node("Gather", ["table", "ids"], ["e"]), node("LayerNormalization", ["e", "g"], ["n"]), node("MatMul", ["n", "w"], ["h"]),
     node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT), node("Mul", ["h", "m"], ["y"])], "words",
    [helper.make_tensor_value_info("ids", TensorProto.INT64, [2, 40]), helper.make_tensor_value_info("mask", TensorProto.INT32, [2, 40, 1])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    [numpy_helper.from_array(np.asarray(c, np.float32), k)
     for k, c in {"table": rows, "g": gain, "w": normal((64, 32)) * 0.1 / gain[:, None] ** 0.5}.items()])
save(helper.make_model(words, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "words.onnx")
np.savez("words.npz", ids=ids, mask=np.ones((20, 2, 40, 1), np.int32))
np.save("ids.npy", ids[0])
np.save("mask.npy", np.ones((2, 40, 1), np.int32))

# The last state alone is taken: the first output of LSTM is absent.
model("sequence", [6, 1, 24],
      [node("LSTM", ["x", "w", "r", "b"], ["", "h"], hidden_size=16), node("MatMul", ["h", "m"], ["y"])],
      {"w": normal((1, 64, 24)) * 0.2, "r": normal((1, 64, 16)) * 0.2, "b": normal((1, 128)) * 0.1, "m": normal((16, 5))},
      normal((20, 6, 1, 24)))

# Few channels are far from zero, all others close to it.
far = np.where(np.arange(64) % 16 == 3, 5, 0.05)
model("far", [1, 64, 8, 8], [node("Conv", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("Conv", ["r", "m"], ["y"])],
      {"w": np.diag(far)[:, :, None, None], "m": normal((16, 64, 1, 1)) * 0.2}, abs(normal((30, 1, 64, 8, 8))))

# Neighbours alike, in groups, with steps and borders: what filters see is far from independent.
smooth = np.cumsum(np.cumsum(normal((20, 2, 8, 14, 14)), axis=3), axis=4) / 8
model("alike", [2, 8, 14, 14],
      [node("Conv", ["x", "w", "b"], ["y"], group=4, strides=[2, 1], pads=[1, 0, 1, 2], dilations=[1, 2])],
      {"w": normal((16, 2, 3, 3)) * 0.2, "b": normal(16) * 0.1}, smooth)

model("relu", [2, 3], [node("Relu", ["x"], ["y"])], {}, normal((2, 2, 3)))
