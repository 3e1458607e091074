# SPDX-License-Identifier: Apache-2.0
"""Prints a module for node that runs an ONNX test case in WebAssembly and compares: wasm.py FOLDER"""
import base64
import glob
import json
import sys

import onnx
from onnx import numpy_helper


def tensors(kind):
    paths = sorted(glob.glob(f"{sys.argv[1]}/test_data_set_0/{kind}_*.pb"), key=lambda p: int(p.split("_")[-1][:-3]))
    for path in paths:
        t = onnx.TensorProto()
        with open(path, "rb") as f:
            t.ParseFromString(f.read())
        yield base64.b64encode(numpy_helper.to_array(t).tobytes()).decode()


print("exports.input = %s;\nexports.output = %s;" % (json.dumps(list(tensors("input"))), json.dumps(list(tensors("output")))))
