# SPDX-License-Identifier: Apache-2.0
"""Operators at shapes that the official cases leave out: odd sizes, size 1, no elements, negative axes, every type.

Expected outputs are those of ONNX's reference implementation. The seed is fixed: the cases are always the same.
"""
import warnings

import numpy as np
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 21
FLOATS = [np.float32, np.float64, np.float16]
INTS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
rng = np.random.default_rng(11)
without_reference = []  # names of cases at which the reference implementation fails itself


def array(t, *shape):
    t = np.dtype(t)
    if t.kind == "b":
        return rng.integers(0, 2, shape).astype(t)
    if t.kind in "iu":
        return rng.integers(0 if t.kind == "u" else -20, 21, shape).astype(t)
    return rng.standard_normal(shape).astype(t)


def info(name, x):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)


def case(name, op, inputs, constants=(), outputs=1, rtol=1e-3, atol=1e-5, **attributes):
    """inputs are arrays, those whose numbers are in `constants` initializers; None where one is left out."""
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    ys = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, ys, **attributes)
    fixed = [numpy_helper.from_array(inputs[i], names[i]) for i in constants if inputs[i] is not None]
    given = [(n, x) for i, (n, x) in enumerate(zip(names, inputs)) if n and i not in constants]
    graph = helper.make_graph([node], name, [info(*g) for g in given], [helper.make_empty_tensor_value_info(y) for y in ys], fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            want = [np.asarray(y) for y in ReferenceEvaluator(model).run(None, dict(given))]
        except Exception:  # pylint: disable=broad-exception-caught
            without_reference.append(name)
            return None
    del graph.output[:]
    graph.output.extend(info(y, x) for y, x in zip(ys, want))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    if any(x.dtype == np.float16 for x in want):
        rtol, atol = 4e-3, 2e-3
    # A sum near zero is as uncertain as its terms are large.
    atol *= max([1.0] + [float(np.abs(x).max()) for x in want if x.size and x.dtype.kind == "f" and np.isfinite(x).all()])
    return f"shapes_{name}", model, [([x for _, x in given], want)], rtol, atol


def i64(*values):
    return np.array(values, np.int64)


def convolutions():
    # N, C, H, W, outputs, groups, kernel, strides, pads, dilations
    rows = [(1, 3, 7, 9, 5, 1, 3, 1, 1, 1), (2, 16, 13, 17, 32, 1, 3, 2, 1, 1), (1, 1, 1, 1, 1, 1, 1, 1, 0, 1),
            (1, 17, 11, 5, 33, 1, 1, 1, 0, 1), (1, 24, 9, 9, 24, 24, 3, 1, 1, 1), (1, 24, 10, 31, 24, 24, 5, 2, 2, 1),
            (2, 6, 8, 8, 9, 3, 3, 1, 0, 2), (1, 64, 14, 14, 64, 1, 3, 1, 1, 1), (1, 8, 1, 20, 16, 1, 1, 1, 0, 1),
            (1, 4, 5, 6, 8, 4, 3, 1, 2, 1), (1, 32, 7, 7, 65, 1, 1, 1, 0, 1), (3, 3, 4, 4, 2, 1, 4, 3, 3, 1)]
    for i, (n, c, h, w, m, g, k, s, p, d) in enumerate(rows):
        both = dict(strides=[s, s], pads=[p] * 4, dilations=[d, d], group=g)
        x = array(np.float32, n, c, h, w)
        weights = array(np.float32, m, c // g, k, k)
        yield case(f"conv_{i}", "Conv", [x, weights, array(np.float32, m)], [1, 2], **both)
        yield case(f"conv_{i}_fed", "Conv", [x, weights], **both)
        back = array(np.float32, c, m // g, k, k)
        yield case(f"convtranspose_{i}", "ConvTranspose", [x, back], [1], **both)
    # Transposed: kernels that strides divide and do not, larger and smaller ones, dilations, 1-D, 3-D, every kind of group.
    rows = [((1, 16, 7, 9), 32, 1, (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0)), ((1, 32, 8, 6), 16, 1, (4, 4), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0)),
            ((2, 5, 4, 5), 7, 1, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1)), ((1, 8, 3, 4), 8, 8, (4, 4), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0)),
            ((1, 6, 5, 5), 9, 3, (3, 5), (3, 1), (0, 1, 2, 3), (1, 2), (2, 0)), ((1, 3, 4, 4), 4, 1, (2, 3), (4, 5), (0, 1, 0, 0), (1, 1), (1, 2)),
            ((1, 4, 5, 3), 5, 1, (3, 3), (2, 4), (0, 0, 0, 0), (2, 3), (0, 1)), ((1, 4, 5, 3), 5, 1, (3, 2), (2, 4), (1, 0, 2, 1), (2, 2), (0, 0)),
            ((1, 3, 1, 1), 17, 1, (5, 5), (7, 2), (1, 0, 1, 2), (1, 1), (3, 1)), ((1, 20, 33), 24, 1, (16,), (8,), (4, 4), (1,), (0,)),
            ((1, 4, 9), 2, 2, (5,), (3,), (2, 0), (1,), (2,)), ((1, 3, 3, 4, 2), 5, 1, (2, 3, 2), (2, 2, 1), (0, 1, 0, 1, 1, 0), (1, 1, 1), (0, 0, 0))]
    for i, (shape, m, g, k, s, p, d, extra) in enumerate(rows):
        some = dict(strides=s, pads=p, dilations=d, group=g, output_padding=extra)
        weights = array(np.float32, shape[1], m // g, *k)
        if g == 1:  # the reference repeats a bias for each group
            yield case(f"transposed_{i}", "ConvTranspose", [array(np.float32, *shape), weights, array(np.float32, m)], [1, 2], **some)
        yield case(f"transposed_{i}_fed", "ConvTranspose", [array(np.float32, *shape), weights], **some)
    # Large enough for --math=fast: every remainder of tiles, no padding, uneven padding, two images, remainders of channels.
    rows = [(1, 64, 20, 20, 64, (1, 1, 1, 1)), (1, 64, 17, 22, 64, (1, 1, 1, 1)), (2, 64, 39, 39, 48, (0, 0, 0, 0)),
            (1, 67, 15, 33, 83, (2, 0, 1, 2)), (1, 128, 8, 8, 128, (1, 1, 1, 1)), (1, 64, 40, 18, 128, (0, 1, 2, 1))]
    for i, (n, c, h, w, m, pads) in enumerate(rows):
        constants = [array(np.float32, m, c, 3, 3), array(np.float32, m)]
        yield case(f"winograd_{i}", "Conv", [array(np.float32, n, c, h, w), *constants[:1 + i % 2]], [1, 2][:1 + i % 2], pads=pads)
    yield case("conv_1d", "Conv", [array(np.float32, 2, 5, 33), array(np.float32, 7, 5, 4)], [1], pads=[3, 0], strides=[3])
    yield case("conv_3d", "Conv", [array(np.float32, 1, 3, 5, 6, 7), array(np.float32, 4, 3, 2, 3, 2)], [1], pads=[1, 0, 1, 0, 1, 0])
    yield case("conv_uneven", "Conv", [array(np.float32, 1, 3, 9, 8), array(np.float32, 4, 3, 3, 2)], [1], pads=[0, 1, 2, 0],
               strides=[1, 2])


def pools():
    for i, (shape, k, s, p) in enumerate([((1, 3, 7, 9), 3, 2, 1), ((2, 17, 5, 5), 2, 1, 0), ((1, 1, 1, 1), 1, 1, 0),
                                          ((1, 32, 13, 11), 5, 3, 2), ((1, 16, 8, 8), 8, 8, 0)]):
        x = array(np.float32, *shape)
        some = dict(kernel_shape=[k, k], strides=[s, s], pads=[p] * 4)
        yield case(f"maxpool_{i}", "MaxPool", [x], **some)
        yield case(f"averagepool_{i}", "AveragePool", [x], **some)
        yield case(f"averagepool_{i}_padding", "AveragePool", [x], count_include_pad=1, **some)
        yield case(f"globalaveragepool_{i}", "GlobalAveragePool", [x])
        yield case(f"globalmaxpool_{i}", "GlobalMaxPool", [x])


def products():
    for i, (a, b) in enumerate([((1, 1), (1, 1)), ((5, 7), (7, 3)), ((17, 33), (33, 65)), ((64, 64), (64, 64)), ((1, 100), (100, 31)),
                                ((3, 5, 7), (3, 7, 4)), ((2, 1, 5, 8), (3, 8, 9)), ((7,), (7, 5)), ((5, 7), (7,)), ((9,), (9,)),
                                ((2, 0), (0, 3)), ((0, 4), (4, 3)), ((50, 19), (19, 1)), ((4, 3, 16), (16, 16))]):
        for t in [np.float32, np.float64, np.float16, np.int32, np.uint64]:
            if i > 3 and t != np.float32:
                continue
            x, y = array(t, *a), array(t, *b)
            yield case(f"matmul_{i}_{np.dtype(t)}", "MatMul", [x, y])
        yield case(f"matmul_{i}_fixed", "MatMul", [array(np.float32, *a), array(np.float32, *b)], [1])
    for i, (m, k, n) in enumerate([(1, 1, 1), (5, 7, 3), (17, 40, 33), (1, 128, 10), (6, 1, 64), (3, 0, 4)]):
        for ta in (0, 1):
            for tb in (0, 1):
                a, b = array(np.float32, *((k, m) if ta else (m, k))), array(np.float32, *((n, k) if tb else (k, n)))
                for j, c in enumerate([None, array(np.float32, n), array(np.float32, m, 1), array(np.float32)]):
                    inputs = [a, b] + ([c] if c is not None else [])
                    yield case(f"gemm_{i}_{ta}{tb}_{j}", "Gemm", inputs, [1] if j % 2 else [], transA=ta, transB=tb,
                               **(dict(alpha=0.5, beta=2.0) if j == 2 else {}))


def reductions():
    for i, (shape, axes) in enumerate([((3, 5, 7), [0]), ((3, 5, 7), [-1]), ((3, 5, 7), [0, 2]), ((1, 1), [0]), ((2, 70), [1]),
                                       ((40, 33), [0]), ((2, 3, 4, 5), [1, -1]), ((6, 5), []), ((2, 16, 7, 7), [2, 3])]):
        for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                   "ReduceLogSumExp"]:
            keep = i % 2
            x = array(np.float32, *shape)
            yield case(f"{op.lower()}_{i}", op, [x, i64(*axes)], [1], keepdims=keep)
        axis = axes[0] if axes else 0
        x = array(np.float32, *shape)
        yield case(f"softmax_{i}", "Softmax", [x], axis=axis)
        yield case(f"logsoftmax_{i}", "LogSoftmax", [x], axis=axis)
        yield case(f"argmax_{i}", "ArgMax", [x], axis=axis, keepdims=i % 2)
        yield case(f"argmin_{i}", "ArgMin", [np.round(x)], axis=axis, keepdims=i % 2)
        yield case(f"cumsum_{i}", "CumSum", [x, np.array(axis)], [1])
    for t in INTS:
        if np.dtype(t).itemsize >= 4:
            yield case(f"reducesum_{np.dtype(t)}", "ReduceSum", [array(t, 3, 37), i64(1)], [1])
            yield case(f"reducemax_{np.dtype(t)}", "ReduceMax", [array(t, 3, 37), i64(1)], [1])


def broadcasts():
    pairs = [((3, 5, 7), (7,)), ((3, 1, 7), (5, 1)), ((), (2, 3)), ((1,), (1, 1)), ((4, 0), (1,)), ((2, 3, 4, 5), (3, 1, 1)), ((67,), (67,)),
             ((33, 16), (33, 1)), ((1, 17), (9, 1))]
    for i, (a, b) in enumerate(pairs):
        for op in ["Add", "Sub", "Mul", "Div", "Less", "Equal"]:
            yield case(f"{op.lower()}_{i}", op, [array(np.float32, *a), array(np.float32, *b) + np.float32(3)])
        yield case(f"where_{i}", "Where", [array(bool, *a), array(np.float32, *b), array(np.float32, *a)])
        yield case(f"max_{i}", "Max", [array(np.float32, *a), array(np.float32, *b), array(np.float32)])
    for t in INTS:
        a, b = array(t, 5, 19), array(t, 19) // 2 * 2 + t(1)
        for op in ["Add", "Sub", "Mul", "Max", "Mod", "BitwiseAnd", "Greater"]:
            yield case(f"{op.lower()}_{np.dtype(t)}", op, [a, b])
        for to in [*FLOATS, *INTS, np.bool_]:
            yield case(f"cast_{np.dtype(t)}_{np.dtype(to)}", "Cast", [a], to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))
    for t in FLOATS:
        for op in ["Exp", "Tanh", "Sigmoid", "Erf", "Sin", "Relu", "Floor", "Abs", "Neg", "Softplus"]:
            for size in (1, 3, 16, 37):
                yield case(f"{op.lower()}_{np.dtype(t)}_{size}", op, [array(t, size)])


def movements():
    x = array(np.float32, 3, 5, 7, 2)
    for perm in [(0, 1, 2, 3), (3, 2, 1, 0), (0, 2, 3, 1), (0, 3, 1, 2), (1, 0, 3, 2)]:
        yield case("transpose_" + "".join(map(str, perm)), "Transpose", [x], perm=perm)
    for t in [*FLOATS, *INTS, np.bool_]:
        yield case(f"transpose_{np.dtype(t)}", "Transpose", [array(t, 17, 19)], perm=[1, 0])
    for axis in (0, 1, -1, -3):
        parts = [array(np.float32, *(n if d == axis % 4 else 3 for d in range(4))) for n in (1, 4, 0, 2)]
        yield case(f"concat_{axis}".replace("-", "m"), "Concat", parts, axis=axis)
    for sizes in [(2, 3), (5,), (1, 0, 4), (1, 1, 1, 1, 1)]:
        yield case("split_" + "_".join(map(str, sizes)), "Split", [x, i64(*sizes)], [1], outputs=len(sizes), axis=1)
    yield case("split_uneven", "Split", [x], outputs=3, axis=-2, num_outputs=3)
    slices = [([1], [3], [1], [1]), ([-1], [-100], [2], [-2]), ([0, 4], [99, 0], [0, 1], [2, -1]), ([3], [1], [1], [1]),
              ([-3, 0], [-1, 1], [-2, -1], [1, 1])]
    for i, (starts, ends, axes, steps) in enumerate(slices):
        yield case(f"slice_{i}", "Slice", [x, i64(*starts), i64(*ends), i64(*axes), i64(*steps)], [1, 2, 3, 4])
    for mode in ["constant", "edge", "reflect", "wrap"]:
        for i, pads in enumerate([(0, 1, 2, 0, 0, 3, 1, 0), (0, 0, 0, 0, 0, 0, 0, 0), (0, 2, 4, 1, 0, 4, 3, 1)]):
            yield case(f"pad_{mode}_{i}", "Pad", [x, i64(*pads)], [1], mode=mode)
    yield case("pad_crop", "Pad", [x, i64(0, -1, 2, 0, 0, -2, -1, 0), np.float32(4)], [1])
    for axis in (0, 1, -1):
        size = x.shape[axis]
        for shape in [(), (1,), (4,), (2, 3), (0,)]:
            at = rng.integers(-size, size, shape).astype(np.int64)
            yield case(f"gather_{axis}_{len(shape)}_{at.size}".replace("-", "m"), "Gather", [x, at], axis=axis)
            yield case(f"gather_{axis}_{len(shape)}_{at.size}_fixed".replace("-", "m"), "Gather", [x, at], [1], axis=axis)
        at = rng.integers(-size, size, x.shape).astype(np.int32)
        yield case(f"gatherelements_{axis}".replace("-", "m"), "GatherElements", [x, at], axis=axis)
    yield case("expand", "Expand", [array(np.float32, 3, 1, 1), i64(2, 1, 5, 1)], [1])
    yield case("tile", "Tile", [array(np.float32, 3, 2), i64(2, 3)], [1])
    for i, (shape, sizes) in enumerate([((1, 2, 3, 5), (1, 2, 7, 4)), ((1, 1, 1, 1), (1, 1, 3, 3)), ((2, 3, 8, 8), (2, 3, 16, 16))]):
        for mode in ["nearest", "linear", "cubic"]:
            for how in ["half_pixel", "asymmetric", "align_corners"]:
                yield case(f"resize_{i}_{mode}_{how}", "Resize", [array(np.float32, *shape), None, None, i64(*sizes)], [3], mode=mode,
                           coordinate_transformation_mode=how)


def normals():
    for i, shape in enumerate([(2, 6, 5), (1, 4, 3, 7), (2, 4), (3, 2, 2, 3, 2), (0, 4, 3), (1, 12, 1, 1)]):
        x, c = array(np.float32, *shape), shape[1]
        scale, bias, mean, variance = (array(np.float32, c) for _ in range(4))
        for groups in (1, 2):
            yield case(f"groupnorm_{i}_{groups}", "GroupNormalization", [x, scale, bias], num_groups=groups)
        yield case(f"lpnorm_{i}", "LpNormalization", [x], axis=-1 if i % 2 else 1, p=2)
        yield case(f"batchnorm_{i}_training", "BatchNormalization", [x, scale, bias, mean, variance ** 2], outputs=3, training_mode=1,
                   momentum=0.75)
        if len(shape) == 4:
            for size in (1, 2, 3, 40):  # the reference implementation needs as many images as channels
                yield case(f"lrn_{i}_{size}", "LRN", [array(np.float32, c, *shape[1:])], size=size, alpha=0.5, beta=0.6 + size / 40)


def losses():
    for t in (np.float32, np.float64):
        for shape in [(3, 5), (2, 4, 3), (2, 3, 2, 5)] if t == np.float32 else [(2, 4, 3)]:
            target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
            for how in ("none", "mean", "sum"):
                for weight in (None, np.abs(array(t, shape[1]))):
                    name = f"{np.dtype(t)}_{len(shape)}_{how}_{weight is None}"
                    yield case("nll_" + name, "NegativeLogLikelihoodLoss", [array(t, *shape), target, weight], reduction=how)
                    yield case("sce_" + name, "SoftmaxCrossEntropyLoss", [array(t, *shape), target.astype(np.int32), weight], outputs=2,
                               reduction=how, ignore_index=1)


def places():
    for i, (shape, axis) in enumerate([((17,), 0), ((3, 40), 1), ((5, 1, 4), 0), ((2, 33, 3), -2), ((1, 64), -1)]):
        for k in {1, 3, shape[axis]}:
            if k > shape[axis]:
                continue
            for t in (np.float32, np.int32, np.uint8, np.float16):
                x = np.round(array(t, *shape))
                yield case(f"topk_{i}_{k}_{np.dtype(t)}", "TopK", [x, i64(k)], [1], outputs=2, axis=axis, largest=k % 2)
    x = array(np.float32, 4, 5, 6)
    for how in ("none", "add", "mul", "max", "min"):
        for t in (np.float32, np.int64, np.float16):
            at = np.array([[[3, 1, 4], [0, 2, 5]]])
            yield case(f"scatterelements_{how}_{np.dtype(t)}", "ScatterElements", [x.astype(t), at, array(t, *at.shape)], axis=2,
                       reduction=how)
            at = np.array([[[1, -1], [2, 0]], [[0, 0], [3, 4]]])
            yield case(f"scatternd_{how}_{np.dtype(t)}", "ScatterND", [x.astype(t), at, array(t, 2, 2, 6)], reduction=how)
    yield case("scatternd_bool", "ScatterND", [x > 0, np.array([[1], [2]]), array(bool, 2, 5, 6)])
    yield case("reversesequence", "ReverseSequence", [x, i64(1, 5, 0, 3)], batch_axis=0, time_axis=1)
    for size in [(4, 5, 6), (2, 8, 6), (7, 1, 3), (0, 5, 9)]:
        yield case("centercroppad_" + "_".join(map(str, size)), "CenterCropPad", [x, i64(*size)], [1])
    yield case("centercroppad_axes", "CenterCropPad", [x > 0, i64(9, 3)], [1], axes=[-1, 0])


def sums():
    # numpy knows more than the reference implementation asks of it
    f = np.float32
    for i, (equation, *shapes) in enumerate([("ij,jk->ik", (5, 7), (7, 9)), ("bhqd,bhkd->bhqk", (2, 3, 5, 8), (2, 3, 7, 8)), ("ii->i", (6, 6)),
                                             ("ij->", (3, 4)), ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)), ("i,j", (3,), (4,)),
                                             ("ba,cb", (3, 4), (2, 3)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), (" i j -> j i ", (2, 3)),
                                             ("...,...", (3,), (1,)), ("i...->...", (4, 2, 3)), ("Aa,a->A", (2, 3), (3,)), ("ij,ij->i", (2, 0), (2, 0))]):
        yield case(f"einsum_{i}", "Einsum", [array(f, *s) for s in shapes], equation=equation)
    for mode in ("linear", "nearest", "cubic"):
        for padding in ("zeros", "border", "reflection"):
            for corners in (0, 1):
                some = dict(mode=mode, padding_mode=padding, align_corners=corners)
                name = f"gridsample_{mode}_{padding}_{corners}"
                yield case(name + "_2d", "GridSample", [array(f, 2, 3, 4, 5), array(f, 2, 3, 2, 2) * f(1.5)], **some)
                yield case(name + "_3d", "GridSample", [array(f, 1, 2, 3, 2, 4), array(f, 1, 2, 2, 2, 3)], **some)
        yield case(f"gridsample_{mode}_f64", "GridSample", [array(np.float64, 1, 1, 3, 3), array(np.float64, 1, 2, 3, 2)], mode=mode)
    for mode in ("avg", "max"):
        rois = np.array([[0, 0, 7, 5], [1.5, 2.25, 3, 9], [-3, -2, 4, 4], [2, 2, 2, 2]], f)
        for ratio in (0, 2):
            for how in ("half_pixel", "output_half_pixel"):
                yield case(f"roialign_{mode}_{ratio}_{how}", "RoiAlign", [array(f, 2, 3, 7, 8), rois, i64(0, 1, 1, 0)], mode=mode,
                           sampling_ratio=ratio, coordinate_transformation_mode=how, output_height=2, output_width=3, spatial_scale=0.75)
    for sizes in [(2, 3, 4, 5), (1, 1, 2, 3, 4)]:
        axes = len(sizes) - 2
        for corners in (0, 1):
            yield case(f"affinegrid_{axes}_{corners}", "AffineGrid", [array(f, sizes[0], axes, axes + 1), i64(*sizes)], [1],
                       align_corners=corners)


def quantised(t, *shape):
    i = np.iinfo(t)
    return rng.integers(i.min, i.max + 1, shape).astype(t)


def integers():
    f, zero = np.float32, lambda t, *n: quantised(t, *n)
    # N, C, H, W, outputs, groups, kernel, strides, pads, dilations; types of x and w; zero points of w, for each output
    rows = [(1, 3, 7, 9, 5, 1, 3, 1, 1, 1, np.uint8, np.int8, False), (1, 16, 13, 17, 32, 1, 3, 2, 1, 1, np.int8, np.int8, False),
            (2, 8, 6, 5, 8, 8, 3, 1, 1, 1, np.int8, np.int8, False), (1, 33, 5, 5, 7, 1, 1, 1, 0, 1, np.uint8, np.uint8, True),
            (1, 16, 4, 4, 4, 1, 3, 1, 3, 1, np.uint8, np.int8, False), (1, 12, 9, 9, 6, 2, 3, 2, 2, 2, np.int8, np.uint8, True),
            (1, 8, 20, 6, 3, 1, 5, 3, 2, 1, np.int8, np.int8, False), (2, 16, 7, 6, 12, 1, 3, 2, 1, 1, np.uint8, np.uint8, "one"),
            (1, 20, 9, 5, 9, 1, 3, 1, 2, 2, np.int8, np.int8, "one"), (1, 32, 4, 5, 8, 1, 1, 2, 0, 1, np.uint8, np.uint8, "one"),
            (1, 16, 3, 3, 16, 1, 3, 1, 1, 1, np.uint8, np.uint8, True)]
    for i, (n, c, h, w, m, g, k, s, p, d, tx, tw, asymmetric) in enumerate(rows):
        both = dict(strides=[s, s], pads=[p] * 4, dilations=[d, d], group=g)
        x, weights = quantised(tx, n, c, h, w), quantised(tw, m, c // g, k, k)
        w_zero = zero(tw) if asymmetric == "one" else zero(tw, m) if asymmetric else np.zeros(m, tw)
        bias = rng.integers(-5000, 5000, m).astype(np.int32)
        inputs = [x, f(0.02), zero(tx), weights, (array(f, m) ** 2 * 0.01 + 1e-3).astype(f), w_zero, f(0.9), zero(tx), bias]
        yield case(f"qlinearconv_{i}", "QLinearConv", inputs, range(1, 9), **both)
        yield case(f"qlinearconv_{i}_fed", "QLinearConv", inputs, **both)
        whole = [x, weights, zero(tx), w_zero.ravel()[0]]
        yield case(f"convinteger_{i}", "ConvInteger", whole, [1, 2, 3], **both)
        yield case(f"convinteger_{i}_zero", "ConvInteger", whole, [1, 3], **both)
        yield case(f"convinteger_{i}_dynamic", "ConvInteger", whole, [1], **both)
    for i, (a, b, tx, tw) in enumerate([((5, 7), (7, 3), np.uint8, np.int8), ((3, 4, 33), (33, 65), np.int8, np.int8),
                                        ((2, 5, 8), (2, 8, 9), np.uint8, np.uint8), ((1, 64), (64, 10), np.int8, np.uint8),
                                        ((6, 48), (48, 9), np.uint8, np.uint8), ((2, 3, 21), (21, 8), np.uint8, np.uint8)]):
        x, y, zeros = quantised(tx, *a), quantised(tw, *b), [zero(tx), zero(tw) if i % 2 or i > 3 else tw(0)]
        yield case(f"matmulinteger_{i}", "MatMulInteger", [x, y, *zeros], [1, 2, 3])
        yield case(f"matmulinteger_{i}_dynamic", "MatMulInteger", [x, y, *zeros], [1, 3])
        yield case(f"matmulinteger_{i}_fed", "MatMulInteger", [x, y])
        inputs = [x, f(0.02), zeros[0], y, f(0.003), zeros[1], f(0.9), zero(tx)]
        yield case(f"qlinearmatmul_{i}", "QLinearMatMul", inputs, range(1, 8))
        yield case(f"qlinearmatmul_{i}_fed", "QLinearMatMul", inputs)
    for i, x in enumerate([array(f, 3, 40), np.zeros((2, 5), f), np.abs(array(f, 9)) + f(1), -np.abs(array(f, 2, 2))]):
        yield case(f"dynamicquantizelinear_{i}", "DynamicQuantizeLinear", [x], outputs=3)


def forest(name, trees, depth, targets, rows, aggregate):
    """Complete random trees; all leaves vote for all targets. Small ones become code, others walk through tables."""
    features, inner = 5, 2 ** depth - 1
    nodes = 2 * inner + 1
    feature = rng.integers(0, features, (trees, nodes))
    threshold = rng.standard_normal((trees, nodes)).astype(np.float32)
    weight = rng.standard_normal((trees, inner + 1, targets)).astype(np.float32)
    x = array(np.float32, rows, features)
    x[0, 0] = np.nan
    votes = np.zeros((trees, rows, targets), np.float32)
    for t in range(trees):
        for r in range(rows):
            node = 0
            while node < inner:
                node = 2 * node + (1 if x[r, feature[t, node]] <= threshold[t, node] else 2)
            votes[t, r] = weight[t, node - inner]
    want = {"SUM": np.sum, "AVERAGE": np.mean, "MIN": np.min, "MAX": np.max}[aggregate](votes, axis=0)
    ids = list(range(nodes))
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x0"], ["y0"], domain="ai.onnx.ml", n_targets=targets, aggregate_function=aggregate,
        nodes_treeids=[t for t in range(trees) for _ in ids], nodes_nodeids=ids * trees, nodes_featureids=feature.ravel().tolist(),
        nodes_modes=["BRANCH_LEQ" if i < inner else "LEAF" for i in ids] * trees, nodes_values=threshold.ravel().tolist(),
        nodes_truenodeids=[2 * i + 1 if i < inner else 0 for i in ids] * trees,
        nodes_falsenodeids=[2 * i + 2 if i < inner else 0 for i in ids] * trees,
        target_treeids=[t for t in range(trees) for _ in range((inner + 1) * targets)],
        target_nodeids=[inner + leaf for leaf in range(inner + 1) for _ in range(targets)] * trees,
        target_ids=list(range(targets)) * (inner + 1) * trees, target_weights=weight.ravel().tolist())
    graph = helper.make_graph([node], name, [info("x0", x)], [info("y0", want)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 3)], ir_version=10)
    return f"shapes_{name}", model, [([x], [want])], 1e-4, 1e-5


def forests():
    for i, (trees, depth, targets, rows, aggregate) in enumerate(
            [(7, 3, 1, 4, "SUM"), (3, 0, 1, 2, "AVERAGE"), (5, 4, 3, 3, "MAX"), (5, 4, 6, 3, "SUM"), (40, 6, 1, 3, "MIN"),
             (40, 6, 2, 3, "AVERAGE")]):
        yield forest(f"forest_{i}", trees, depth, targets, rows, aggregate)


def chain(name, x, *steps):
    """Layers over an image large enough to be computed in strips. A step is (input, outputs, kernel, stride, groups,
    added, relu): values are counted from 0, the input; added is the number of one to add, or None."""
    nodes, fixed, channels, values = [], [], [x.shape[1]], ["x0"]
    for k, (source, outputs, kernel, stride, groups, added, relu) in enumerate(steps):
        w = array(np.float32, outputs, channels[source] // groups, kernel, kernel) / np.float32(kernel * channels[source] ** 0.5)
        fixed += [numpy_helper.from_array(w, f"w{k}"), numpy_helper.from_array(array(np.float32, outputs), f"b{k}")]
        nodes.append(helper.make_node("Conv", [values[source], f"w{k}", f"b{k}"], [f"c{k}"], strides=[stride] * 2,
                                      pads=[kernel // 2] * 4, group=groups))
        last = f"c{k}"
        if added is not None:
            nodes.append(helper.make_node("Add", [last, values[added]], [f"a{k}"]))
            last = f"a{k}"
        if relu:
            nodes.append(helper.make_node("Relu", [last], [f"r{k}"]))
            last = f"r{k}"
        values.append(last)
        channels.append(outputs)
    nodes.append(helper.make_node("MaxPool", [values[-1]], ["y0"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    graph = helper.make_graph(nodes, name, [info("x0", x)], [helper.make_empty_tensor_value_info("y0")], fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    want = ReferenceEvaluator(model).run(None, {"x0": x})[0]
    del graph.output[:]
    graph.output.append(info("y0", want))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return f"shapes_{name}", model, [([x], [want])], 1e-3, 1e-4


def chains():
    x = array(np.float32, 1, 8, 47, 35)
    yield chain("chain_expand", x, (0, 32, 1, 1, 1, None, True), (1, 32, 3, 1, 32, None, True), (2, 8, 1, 1, 1, 0, False),
                (3, 24, 3, 2, 1, None, True))
    yield chain("chain_residual", x, (0, 16, 3, 1, 1, None, True), (1, 16, 3, 1, 1, None, True), (2, 16, 3, 1, 1, 1, True),
                (3, 16, 5, 1, 16, None, False), (4, 16, 1, 1, 1, 3, True))
    yield chain("chain_shortcut", x, (0, 16, 3, 2, 1, None, True), (1, 32, 3, 1, 1, None, True), (1, 32, 1, 1, 1, 2, True),
                (3, 32, 3, 1, 1, 3, True))


def cases():
    for family in (chains, forests, integers, convolutions, pools, products, reductions, broadcasts, movements, normals, losses,
                   places, sums):
        yield from filter(None, family())
