# SPDX-License-Identifier: Apache-2.0
"""The official ONNX test cases of single operators, as folders that `mlcc verify` reads.

Cases come from the installed onnx package. mlcc fixes shapes at compile time, so an input that a shape depends on (the
second of Reshape, say) becomes a constant of the model, and input shapes are those of the data.
"""
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

# Which inputs decide the shape of an output, or otherwise must be known when compiling.
SHAPE_INPUTS = {
    "BlackmanWindow": [0], "CenterCropPad": [1], "Col2Im": [1, 2], "Compress": [1],
    "ConstantOfShape": [0], "DFT": [1, 2], "Dropout": [2],
    "Expand": [1], "HammingWindow": [0], "HannWindow": [0], "MaxUnpool": [2], "MelWeightMatrix": [0, 1, 2, 3, 4],
    "NonMaxSuppression": [2], "OneHot": [1], "Pad": [1, 3], "Range": [0, 1, 2], "ReduceL1": [1],
    "ReduceL2": [1], "ReduceLogSum": [1], "ReduceLogSumExp": [1], "ReduceMax": [1], "ReduceMean": [1], "ReduceMin": [1],
    "ReduceProd": [1], "ReduceSum": [1], "ReduceSumSquare": [1], "Reshape": [1], "Resize": [1, 2, 3],
    "STFT": [1, 3], "Slice": [1, 2, 3, 4], "Split": [1], "Squeeze": [1], "Tile": [1], "TopK": [1],
    "Unsqueeze": [1], "Upsample": [1], "AffineGrid": [1], "CumProd": [1], "CumSum": [1], "Trilu": [1],
}

# What the frontend turns into others before it looks for operators.
REWRITTEN = {"ai.onnx:Constant", "ai.onnx:Scatter", "ai.onnx:Upsample", "com.microsoft:QuantizeLinear", "com.microsoft:DequantizeLinear"}
# The element types that mlcc has. Cases with others are counted, not run.
TYPES = {"FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
         "INT4", "UINT4", "INT2", "UINT2"}


def element_type(value_info):
    return value_info.type.tensor_type.elem_type


def is_function(node):
    """Whether ONNX defines the operator by others."""
    if node.domain or not onnx.defs.has(node.op_type):
        return False
    schema = onnx.defs.get_schema(node.op_type)
    return schema.has_function or schema.has_context_dependent_function


class Case:
    """name, model, inputs and outputs (one array each, None where it is no tensor), rtol, atol; folder once written."""

    def __init__(self, name, model, data_sets, rtol, atol):
        self.name, self.model, self.data_sets, self.rtol, self.atol = name, model, data_sets, rtol, atol
        self.folder = None
        # Between nodes mlcc keeps float32 where ONNX's reference rounds each result to a half: up to two steps apart.
        halves = {element_type(i) for i in model.graph.output} & {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
        if halves and (len(model.graph.node) > 1 or any(map(is_function, model.graph.node))):
            self.rtol = max(rtol, 2**-6 if onnx.TensorProto.BFLOAT16 in halves else 2**-9)


def subgraphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node:
                    yield from subgraphs(inner)


def operators(model):
    """domain:Name of every node, model functions seen through."""
    functions = {(f.domain, f.name) for f in model.functions}
    nodes = [n for g in subgraphs(model.graph) for n in g.node] + [n for f in model.functions for n in f.node]
    return {f"{n.domain or 'ai.onnx'}:{n.op_type}" for n in nodes if (n.domain, n.op_type) not in functions}


def other_type(model):
    """The first element type of an input, output or constant that mlcc does not have, or None."""
    types = [i.type.tensor_type.elem_type for i in [*model.graph.input, *model.graph.output] if is_tensor(i)]
    types += [t.data_type for t in model.graph.initializer]
    types += [a.t.data_type for g in subgraphs(model.graph) for n in g.node for a in n.attribute if a.HasField("t")]
    names = [onnx.TensorProto.DataType.Name(t) for t in types]
    return next((name for name in names if name not in TYPES), None)


def array_of(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def is_tensor(info):
    return info.type.HasField("tensor_type")


def constant_names(model, inputs):
    """Inputs that decide shapes, also through nodes that only compute with such inputs."""
    inner = [f.node for f in model.functions]
    needed = set()
    wanted = {n.input[i] for n in model.graph.node for i in SHAPE_INPUTS.get(n.op_type, []) if i < len(n.input)}
    if inner:
        # A function's body may use any input for a shape; integers of one axis are the candidates.
        wanted |= {i.name for i, x in zip(model.graph.input, inputs) if x.dtype == np.int64 and x.ndim <= 1}
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input) if node.op_type != "Shape" else set()
    for info in model.graph.input:
        if info.name in wanted:
            needed.add(info.name)
    return needed


def freeze(case):
    """Gives input shapes and constants their values; the data sets lose those inputs. False where sets differ in them."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    first = case.data_sets[0][0]
    constant = constant_names(model, first)
    keep = []
    for i, info in enumerate(model.graph.input):
        if any(s[0][i].shape != first[i].shape for s in case.data_sets):
            return False
        if info.name in constant:
            if any(not np.array_equal(s[0][i], first[i]) for s in case.data_sets):
                return False
            model.graph.initializer.append(numpy_helper.from_array(first[i], info.name))
            continue
        keep.append(i)
        shape = info.type.tensor_type.shape
        del shape.dim[:]
        for size in first[i].shape:
            shape.dim.add().dim_value = size
        info.type.tensor_type.shape.SetInParent()
    infos = [model.graph.input[i] for i in keep]
    infos = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in infos]
    del model.graph.input[:]
    model.graph.input.extend(infos)
    case.model = model
    case.data_sets = [([inputs[i] for i in keep], outputs) for inputs, outputs in case.data_sets]
    return True


def node_cases():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in collect_testcases(None):
            yield case.name, case.model, case.data_sets, case.rtol, case.atol


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


def folder_cases(root):
    """Those of a folder of ONNX test cases."""
    for name in sorted(os.listdir(root)):
        folder = os.path.join(root, name)
        if not os.path.isfile(f"{folder}/model.onnx"):
            continue
        model = onnx.load(f"{folder}/model.onnx")
        sets = []
        while os.path.isdir(f"{folder}/test_data_set_{len(sets)}"):
            data = f"{folder}/test_data_set_{len(sets)}"
            sets.append(tuple([read_file(f"{data}/{kind}_{j}.pb") for j in range(len(infos))
                               if os.path.exists(f"{data}/{kind}_{j}.pb")]
                              for kind, infos in (("input", model.graph.input), ("output", model.graph.output))))
        yield name, model, sets, 1e-3, 1e-7


def shipped_cases():
    root = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        yield from folder_cases(os.path.join(root, kind))


def old_opset_cases(work):
    """Our own, for the versions of operators that the package no longer has cases of."""
    root = os.path.join(work, "old")
    subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "old_opsets.py"), root], check=True,
                   stdout=subprocess.DEVNULL)
    yield from folder_cases(root)


def decode(value):
    if isinstance(value, bytes):
        value = onnx.TensorProto.FromString(value)
    return array_of(value)


def official(work):
    for source in (node_cases(), shipped_cases(), old_opset_cases(work)):
        yield from source


def load(supported, source):
    """The cases of supported operators and element types; (name, why) of those left out; and how many cases each other
    operator, or set of them, has."""
    cases, left_out, others = [], [], {}
    for name, model, data_sets, rtol, atol in source:
        missing = operators(model) - supported - REWRITTEN
        if missing:
            key = "+".join(sorted(m.replace("ai.onnx:", "") for m in missing))
            others[key] = others.get(key, 0) + 1
            continue
        graph = model.graph
        initialized = {i.name for i in graph.initializer}
        inputs = [i for i in graph.input if i.name not in initialized]
        del graph.input[:]
        graph.input.extend(inputs)
        if not all(map(is_tensor, [*graph.input, *graph.output])):
            left_out.append((name, "sequences and optional values"))
            continue
        if other_type(model):
            left_out.append((name, f"element type {other_type(model)}"))
            continue
        sets = [([decode(v) for v in i], [decode(v) for v in o]) for i, o in data_sets]
        case = Case(name, model, sets, rtol, atol)
        if any(len(i) != len(inputs) for i, _ in sets) or not freeze(case):
            left_out.append((name, "data sets of several shapes"))
            continue
        cases.append(case)
    return cases, left_out, others


def write(case, root):
    case.folder = os.path.join(root, case.name)
    shutil.rmtree(case.folder, ignore_errors=True)
    os.makedirs(case.folder)
    onnx.save(case.model, f"{case.folder}/model.onnx")
    with open(f"{case.folder}/tolerance.txt", "w") as f:
        f.write(f"{case.rtol} {case.atol}\n")
    for k, (inputs, outputs) in enumerate(case.data_sets):
        data = f"{case.folder}/test_data_set_{k}"
        os.makedirs(data)
        for kind, arrays in (("input", inputs), ("output", outputs)):
            for j, array in enumerate(arrays):
                onnx.save_tensor(numpy_helper.from_array(array), f"{data}/{kind}_{j}.pb")
