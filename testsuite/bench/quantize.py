#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mlcc quantize beside onnxruntime.quantization on the same data: what is lost, and how large the files are.

    quantize.py MLCC MODEL.onnx CALIBRATION.npz TEST.npz [--dim NAME=N]... [--methods] [--only WORD]

The archives hold an array for each input by its name, a sample at a time along the first axis, and perhaps labels. All
files run in ONNX Runtime with the optimisations that keep to what the file says.
"""
import argparse
import logging
import os
import subprocess
import tempfile

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime as ort
from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_dynamic,
                                      quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

OURS = [("static", []), ("static, equalize", ["--equalize"]), ("dynamic", ["--dynamic"]),
        ("int8 weights", ["--weights-only=int8"]), ("int4 weights", ["--weights-only=int4"]), ("float16", ["--floats=float16"])]
METHODS = [("minmax", CalibrationMethod.MinMax), ("percentile", CalibrationMethod.Percentile),
           ("entropy", CalibrationMethod.Entropy), ("mse", None)]


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(s, archive):
    inputs = s.get_inputs()
    for k in range(len(archive[inputs[0].name])):
        arrays = {i.name: archive[i.name][k] for i in inputs}
        yield {i.name: arrays[i.name][None] if arrays[i.name].ndim < len(i.shape) else arrays[i.name] for i in inputs}


class Reader(CalibrationDataReader):
    def __init__(self, s, archive):
        self.left = feeds(s, archive)

    def get_next(self):
        return next(self.left, None)


class Bench:
    def __init__(self, a, folder):
        self.a, self.folder = a, folder
        self.float = session(a.model)
        self.samples, self.test = np.load(a.calibration), np.load(a.test)
        self.want = self.run(self.float)
        self.size = os.path.getsize(a.model)
        print(f"{a.model}: {self.size} bytes{self.right(self.want)}")

    def run(self, s):
        runs = [s.run(None, f) for f in feeds(s, self.test)]
        return [np.stack([r[i] for r in runs]) for i in range(len(runs[0]))]

    def right(self, y):
        if "labels" not in self.test:
            return ""
        answers = y[0].reshape(len(self.test["labels"]), -1).argmax(1)
        return f"  top-1 {100 * np.mean(answers == self.test['labels']):.2f} %"

    def report(self, what, path):
        got = self.run(session(path))
        cosine = []
        for x, y in zip(self.want, got):
            x, y = x.ravel().astype(float), y.ravel().astype(float)
            cosine.append(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
        size = os.path.getsize(path)
        print(f"  {what:28} cosine {min(cosine):.6f} mean {np.mean(cosine):.6f}  {size:9} bytes {self.size / size:5.2f}"
              f"{self.right(got)}", flush=True)

    def attempt(self, what, make):
        path = os.path.join(self.folder, "q.onnx")
        if self.a.only and self.a.only not in what:
            return
        try:
            make(path)
            self.report(what, path)
        except Exception as e:  # whatever the peer raises
            print(f"  {what:28} failed: {str(e)[-200:]}")

    def ours(self, options, samples=True):
        def make(path):
            dims = [w for d in self.a.dim for w in ("--dim", d)]
            data = ["--calibrate", self.a.calibration] if samples else []
            command = [self.a.mlcc, "quantize", "-q", self.a.model, *data, "-o", path, *dims, *options]
            r = subprocess.run(command, capture_output=True, text=True)
            if r.returncode:
                raise RuntimeError(r.stderr)
        return make

    def theirs_static(self, pre, **more):
        return lambda path: quantize_static(pre, path, Reader(self.float, self.samples), quant_format=QuantFormat.QDQ,
                                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **more)

    def theirs_float16(self, path):
        onnx.save(convert_float_to_float16(onnx.load(self.a.model), keep_io_types=True), path)

    def theirs_int4(self, pre):
        def make(path):
            from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # wants onnx_ir
            model = onnx.version_converter.convert_version(onnx.load(pre), 21)
            q = MatMulNBitsQuantizer(model, bits=4, block_size=32, is_symmetric=True, op_types_to_quantize=("MatMul", "Gather"))
            q.process()
            onnx.save(q.model.model, path)
        return make

    def prepare(self):
        """The model as its quantiser wants it: axes of DequantizeLinear need opset 13."""
        pre = os.path.join(self.folder, "pre.onnx")
        model = onnx.load(self.a.model)
        if next(o.version for o in model.opset_import if not o.domain) < 13:
            onnx.save(onnx.version_converter.convert_version(model, 13), pre)
        else:
            onnx.save(model, pre)
        try:
            quant_pre_process(pre, pre, skip_symbolic_shape=True)
        except Exception:
            pass
        return pre

    def compare(self):
        pre = self.prepare()
        for name, method in METHODS if self.a.methods else METHODS[:1]:
            if method is not None:
                for channels in (True, False):
                    self.attempt(f"ORT static {name}{'' if channels else ' one scale'}",
                                 self.theirs_static(pre, per_channel=channels, calibrate_method=method))
            if self.a.methods:
                self.attempt(f"mlcc static {name}", self.ours(["--method", name]))
        for channels in (True, False):
            self.attempt(f"ORT dynamic{'' if channels else ' one scale'}",
                         lambda path: quantize_dynamic(pre, path, per_channel=channels, weight_type=QuantType.QInt8))
        self.attempt("ORT float16", self.theirs_float16)
        self.attempt("ORT int4 weights", self.theirs_int4(pre))
        for what, options in OURS:
            self.attempt(f"mlcc {what}", self.ours(options))
        for what, options in OURS[2:]:
            self.attempt(f"mlcc {what}, no samples", self.ours(options, False))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("mlcc", "model", "calibration", "test"):
        p.add_argument(name)
    p.add_argument("--dim", action="append", default=[])
    p.add_argument("--methods", action="store_true", help="all methods of calibration")
    p.add_argument("--only", help="rows with this in their name")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        Bench(p.parse_args(), folder).compare()


if __name__ == "__main__":
    main()
