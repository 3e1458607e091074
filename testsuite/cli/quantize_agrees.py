# SPDX-License-Identifier: Apache-2.0
"""ONNX's checker on quantised models, and ONNX Runtime's outputs of them against mlcc's.

    quantize_agrees.py MLCC [--floats] <LIST     "NAME MODEL [INPUT.npy...]" a line; prints lines as testsuite/lib.sh does
"""
import subprocess
import sys
import tempfile

import numpy as np
import onnx

try:
    import onnxruntime
except ImportError:
    onnxruntime = None


def check(model, floats):
    m = onnx.load(model)
    onnx.checker.check_model(m, full_check=True)
    assert not floats or all(v.type.tensor_type.elem_type == 1 for v in [*m.graph.input, *m.graph.output])


def agree(mlcc, model, data):
    options = onnxruntime.SessionOptions()
    # What the file says: fused products would quantise float activations too.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    want = session.run(None, {i.name: np.load(path) for i, path in zip(session.get_inputs(), data)})
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([mlcc, "run", "-q", "--out", out, model, *data], check=True, stdin=subprocess.DEVNULL)
        for i, y in enumerate(want):
            got = np.load(f"{out}/output_{i}.npy")
            noise, signal = np.linalg.norm(got - y), np.linalg.norm(y)
            assert got.shape == y.shape and noise <= 0.02 * signal, (i, got.shape, y.shape, noise, signal)


def report(name, test, *arguments):
    try:
        test(*arguments)
        print(f"ok   {name}")
    except Exception as e:
        print(f"FAIL {name}: {' '.join(repr(e).split())}")


for line in sys.stdin:
    name, model, *data = line.split()
    report(f"ONNX's own checker, {name}", check, model, "--floats" in sys.argv)
    if data and onnxruntime:
        report(f"ONNX Runtime agrees, {name}", agree, sys.argv[1], model, data)
    elif data:
        print(f"SKIP ONNX Runtime agrees, {name}: no onnxruntime for Python")
