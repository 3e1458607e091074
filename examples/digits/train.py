#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the example's network on scikit-learn's bundled handwritten digits and write model.onnx and testset.bin.

    pip install numpy scikit-learn onnx
    python3 train.py

The network: 3x3 convolution to 8 channels, ReLU, 3x3 convolution to 16 channels, ReLU, 2x2 max pooling, one dense
layer, softmax. Plain NumPy with Adam and a fixed seed, so that a second run gives the same model. One fifth of the
1,797 images is held out and never seen in training: testset.bin, 65 bytes an image: 64 pixels (0 to 16), the label.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS, BATCH, RATE, SHIFTS = 60, 64, 2e-3, 1


def columns(x):
    """Patches of 3x3 with a border of zeros: [n, c, 8, 8] to [n, 8, 8, c * 9]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(x.shape[0], 8, 8, -1)


def columns_back(g, channels):
    """The gradient of columns()."""
    g = g.reshape(g.shape[0], 8, 8, channels, 3, 3)
    padded = np.zeros((g.shape[0], channels, 10, 10), g.dtype)
    for ky in range(3):
        for kx in range(3):
            padded[:, :, ky:ky + 8, kx:kx + 8] += g[:, :, :, :, ky, kx].transpose(0, 3, 1, 2)
    return padded[:, :, 1:9, 1:9]


def forward(p, x):
    c1 = columns(x)
    a1 = np.maximum(c1 @ p["w1"] + p["b1"], 0)
    c2 = columns(a1.transpose(0, 3, 1, 2))
    a2 = np.maximum(c2 @ p["w2"] + p["b2"], 0)
    blocks = a2.reshape(-1, 4, 2, 4, 2, 16).transpose(0, 5, 1, 3, 2, 4).reshape(-1, 16, 4, 4, 4)
    pooled = blocks.max(-1)
    flat = pooled.reshape(len(x), -1)
    logits = flat @ p["w3"] + p["b3"]
    return logits, (c1, a1, c2, a2, blocks, pooled, flat)


def gradients(p, x, y):
    logits, (c1, a1, c2, a2, blocks, pooled, flat) = forward(p, x)
    e = np.exp(logits - logits.max(1, keepdims=True))
    d = e / e.sum(1, keepdims=True)
    d[np.arange(len(y)), y] -= 1
    d /= len(y)
    g = {"w3": flat.T @ d, "b3": d.sum(0)}
    d = (d @ p["w3"].T).reshape(pooled.shape)
    first = np.eye(4, dtype=d.dtype)[blocks.argmax(-1)]
    d = (first * d[..., None]).reshape(-1, 16, 4, 4, 2, 2).transpose(0, 2, 4, 3, 5, 1).reshape(a2.shape)
    d = d * (a2 > 0)
    g["w2"], g["b2"] = c2.reshape(-1, 72).T @ d.reshape(-1, 16), d.sum((0, 1, 2))
    d = columns_back(d @ p["w2"].T, 8).transpose(0, 2, 3, 1) * (a1 > 0)
    g["w1"], g["b1"] = c1.reshape(-1, 9).T @ d.reshape(-1, 8), d.sum((0, 1, 2))
    return g


def train(x, y):
    rng = np.random.default_rng(1)

    def he(*shape):
        return (rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(np.float32)

    p = {"w1": he(9, 8), "b1": np.zeros(8, np.float32), "w2": he(72, 16), "b2": np.zeros(16, np.float32),
         "w3": he(256, 10), "b3": np.zeros(10, np.float32)}
    mean, square, step = {k: 0 * v for k, v in p.items()}, {k: 0 * v for k, v in p.items()}, 0
    for epoch in range(EPOCHS):
        order, rate = rng.permutation(len(x)), RATE * (1 - epoch / EPOCHS)
        for at in range(0, len(x), BATCH):
            pick = order[at:at + BATCH]
            shift = rng.integers(-SHIFTS, SHIFTS + 1, 2)
            g = gradients(p, np.roll(x[pick], shift, (2, 3)), y[pick])
            step += 1
            for k in p:
                mean[k] = 0.9 * mean[k] + 0.1 * g[k]
                square[k] = 0.999 * square[k] + 0.001 * g[k] ** 2
                p[k] -= (rate * (mean[k] / (1 - 0.9 ** step))
                         / (np.sqrt(square[k] / (1 - 0.999 ** step)) + 1e-8)).astype(np.float32)
    return p


def to_onnx(p):
    weights = {"conv1.weight": p["w1"].T.reshape(8, 1, 3, 3), "conv1.bias": p["b1"],
               "conv2.weight": p["w2"].T.reshape(16, 8, 3, 3), "conv2.bias": p["b2"],
               "dense.weight": p["w3"], "dense.bias": p["b3"]}
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("MaxPool", ["r2"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["m"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "dense.weight", "dense.bias"], ["logits"], "dense"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax"),
    ]
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), k) for k, v in weights.items()])
    model = helper.make_model(graph, producer_name="mlcc example", opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    images, labels = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=0.2, random_state=1, stratify=labels)
    p = train(x_train, y_train)
    right = int((forward(p, x_test)[0].argmax(1) == y_test).sum())
    print(f"held-out accuracy: {right} of {len(y_test)} ({100 * right / len(y_test):.1f} %)")
    onnx.save(to_onnx(p), "model.onnx")
    with open("testset.bin", "wb") as f:
        for image, label in zip(x_test, y_test):
            f.write(np.rint(image * 16).astype(np.uint8).tobytes() + bytes([label]))


if __name__ == "__main__":
    main()
