# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's outputs of a quantised model against mlcc's: quantize_agrees.py MLCC MODEL INPUT.npy..."""
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

mlcc, model, *data = sys.argv[1:]
options = onnxruntime.SessionOptions()
# What the file says: fused products would quantise float activations too.
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
want = session.run(None, {i.name: np.load(path) for i, path in zip(session.get_inputs(), data)})
with tempfile.TemporaryDirectory() as out:
    subprocess.run([mlcc, "run", "-q", "--out", out, model, *data], check=True)
    for i, y in enumerate(want):
        got = np.load(f"{out}/output_{i}.npy")
        noise, signal = np.linalg.norm(got - y), np.linalg.norm(y)
        assert got.shape == y.shape and noise <= 0.02 * signal, (i, got.shape, y.shape, noise, signal)
