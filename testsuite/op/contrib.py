# SPDX-License-Identifier: Apache-2.0
"""Operators of com.microsoft on quantised elements, of which ONNX has no reference: numpy says what they give."""
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from shapes import OPSET, array, info, quantised, rng

f = np.float32


def case(name, op, inputs, want, constants=(), atol=0.0, **attributes):
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    tensors = [(x if isinstance(x, TensorProto) else numpy_helper.from_array(np.asarray(x), names[i])) if x is not None and i in constants else None for i, x in enumerate(inputs)]
    fixed = [x for x in tensors if x is not None]
    want = [np.asarray(y) for y in (want if isinstance(want, list) else [want])]
    outputs = [info(f"y{i}", y) for i, y in enumerate(want)]
    given = [(n, np.asarray(x)) for i, (n, x) in enumerate(zip(names, inputs)) if n and i not in constants]
    node = helper.make_node(op, names, [y.name for y in outputs], domain="com.microsoft", **attributes)
    graph = helper.make_graph([node], name, [info(*g) for g in given], outputs, fixed)
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    return f"contrib_{name}", model, [([x for _, x in given], want)], 0.0 if atol else 1e-5, atol


def real(x, scale, zero):
    return (x.astype(f) - f(zero)) * f(scale)


def steps(y, scale, zero):
    i = np.iinfo(zero.dtype)
    return np.clip(np.rint(y / f(scale)) + zero.astype(f), i.min, i.max).astype(zero.dtype)


def elements(t):
    label = np.dtype(t).name
    x, y, zero = quantised(t, 2, 3, 7), quantised(t, 3, 1), [quantised(t) for _ in range(3)]
    a, b = real(x, 0.02, zero[0]), real(y, 0.03, zero[1])
    binary = [x, f(0.02), zero[0], y, f(0.03), zero[1], f(0.05), zero[2]]
    yield case(f"add_{label}", "QLinearAdd", binary, steps(a + b, 0.05, zero[2]), [1, 2, 4, 5, 6, 7], 1)
    yield case(f"mul_{label}", "QLinearMul", binary, steps(a * b, 0.05, zero[2]), [1, 2, 4, 5, 6, 7], 1)
    yield case(f"add_{label}_fed", "QLinearAdd", binary, steps(a + b, 0.05, zero[2]), [], 1)
    wide, fixed = quantised(t, 1, 20000), quantised(t, 2, 20000)  # reading more than its bytes would leave the file
    shifted = steps(real(wide, 0.02, zero[0]) + real(fixed, 0.03, zero[1]), 0.05, zero[2])
    yield case(f"add_{label}_constant", "QLinearAdd", [wide, f(0.02), zero[0], fixed, *binary[4:]], shifted, range(1, 8), 1)
    unary = [x, f(0.02), zero[0], f(0.01), zero[2]]
    yield case(f"sigmoid_{label}", "QLinearSigmoid", unary, steps(1 / (1 + np.exp(-a)), 0.01, zero[2]), [1, 2, 3, 4], 1)
    long = quantised(t, 2, 150)
    far = steps(1 / (1 + np.exp(-real(long, 0.02, zero[0]))), 0.01, zero[2])
    yield case(f"sigmoid_{label}_long", "QLinearSigmoid", [long, *unary[1:]], far, [1, 2, 3, 4], 1)
    leaky = steps(np.where(a < 0, a * f(0.1), a), 0.01, zero[2])
    yield case(f"leakyrelu_{label}", "QLinearLeakyRelu", unary, leaky, [1, 2, 3, 4], 1, alpha=0.1)
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    soft = steps(e / e.sum(axis=-1, keepdims=True), 0.01, zero[2])
    yield case(f"softmax_{label}", "QLinearSoftmax", unary, soft, [1, 2, 3, 4], 1, axis=-1, opset=13)
    z = quantised(t, 2, 4, 7)
    joined = steps(np.concatenate([a, real(z, 0.03, zero[1])], 1), 0.025, zero[2])
    yield case(f"concat_{label}", "QLinearConcat", [f(0.025), zero[2], x, f(0.02), zero[0], z, f(0.03), zero[1]], joined, [0, 1, 3, 4, 6, 7], 1, axis=1)
    image = quantised(t, 1, 6, 5, 4)
    pooled = real(image, 0.02, zero[0]).reshape(1, 3, 2, 5, 4)[:, :, :, :4].reshape(1, 3, 2, 2, 2, 4).mean(axis=(2, 4))
    yield case(f"averagepool_{label}", "QLinearAveragePool", [image, *unary[1:]], steps(pooled, 0.01, zero[2]), [1, 2, 3, 4], 1, kernel_shape=[2, 2],
               strides=[2, 2], channels_last=1)
    whole = real(image, 0.02, zero[0]).mean(axis=(2, 3), keepdims=True)
    yield case(f"globalaveragepool_{label}", "QLinearGlobalAveragePool", [image, *unary[1:]], steps(whole, 0.01, zero[2]), [1, 2, 3, 4], 1)


    mean = steps(real(image, 0.02, zero[0]).mean(axis=(1, 3)), 0.01, zero[2])
    yield case(f"reducemean_{label}", "QLinearReduceMean", [image, *unary[1:]], mean, [1, 2, 3, 4], 1, axes=[1, -1], keepdims=0)
    yes = array(np.bool_, 1, 3, 7)
    either = np.where(yes, steps(a, 0.05, zero[2]), steps(b, 0.05, zero[2]))
    yield case(f"where_{label}", "QLinearWhere", [yes, *binary], either, [2, 3, 5, 6, 7, 8], 1)
    yield case(f"where_{label}_fed", "QLinearWhere", [yes, *binary], either, [], 1)


def products(t):
    label = np.dtype(t).name
    x, w = quantised(t, 5, 16), quantised(np.int8, 16, 9)
    zero, wzero, yzero = quantised(t), quantised(np.int8), quantised(t)
    scale = (0.01 + 0.001 * np.arange(9)).astype(f)
    c = rng.integers(-1000, 1000, 9).astype(np.int32)
    total = (x.astype(np.int32) - np.int32(zero)) @ (w.astype(np.int32) - np.int32(wzero))
    y = (total + c).astype(f) * (f(0.02) * scale)
    inputs = [x, f(0.02), zero, w, scale, np.full(9, wzero), c, f(0.5), yzero]
    yield case(f"qgemm_{label}", "QGemm", inputs, steps(y, 0.5, yzero), range(1, 9), 1)
    yield case(f"qgemm_{label}_fed", "QGemm", inputs, steps(y, 0.5, yzero), [], 1)
    turned = [x.T.copy(), f(0.02), zero, w.T.copy(), scale, np.full(9, wzero), c]
    yield case(f"qgemm_{label}_float", "QGemm", turned, y * f(0.5), range(1, 7), alpha=0.5, transA=1, transB=1)
    bias = array(f, 9)
    yield case(f"tofloat_{label}", "MatMulIntegerToFloat", [x, w, f(0.02), scale, zero, np.full(9, wzero), bias], (total.astype(f) * (f(0.02) * scale) + bias).astype(f),
               [1, 3, 5, 6])
    a = array(f, 3, 16)
    low, high = min(a.min(), f(0)), max(a.max(), f(0))
    step = (high - low) / f(255)
    z = np.rint(-low / step)
    q = np.clip(np.rint(a / step) + z, 0, 255).astype(np.int32) - np.int32(z)
    y = (q @ (w.astype(np.int32) - np.int32(wzero))).astype(f) * (step * scale) + bias
    yield case(f"dynamic_{label}", "DynamicQuantizeMatMul", [a, w, scale, np.full(9, wzero), bias], y, [1, 2, 3, 4])


def pack(x, bits):
    """The last axis into bytes, the first in the lowest bits."""
    each = 8 // bits
    x = np.concatenate([x, np.zeros((*x.shape[:-1], -x.shape[-1] % each), x.dtype)], -1).reshape(*x.shape[:-1], -1, each)
    return (x.astype(np.uint32) << (np.arange(each) * bits)).sum(-1).astype(np.uint8)


def blocks():
    for bits, k, n, size, zeros in [(4, 64, 5, 16, None), (4, 40, 7, 16, "packed"), (8, 32, 3, 32, "packed"), (2, 48, 4, 16, "numbers"),
                                    (4, 33, 6, 32, None), (4, 32, 261, 16, "packed"), (8, 48, 130, 16, None), (4, 96, 20, 32, "packed"), (2, 64, 17, 64, "packed")]:
        count = -(-k // size)
        w = rng.integers(0, 1 << bits, (n, count, size))
        zero = rng.integers(0, 1 << bits, (n, count)) if zeros else np.full((n, count), 1 << (bits - 1))
        scales, a, bias = np.abs(array(f, n, count)) + f(0.1), array(f, *((2, 3) if n < 17 or n > 260 else (1, 2)), k), array(f, n)
        real_weights = ((w - zero[..., None]) * scales[..., None]).reshape(n, -1)[:, :k]
        want = (a.astype(np.float64) @ real_weights.T + bias).astype(f)
        given = pack(zero, bits).ravel() if zeros == "packed" else zero.astype(f) if zeros else None
        yield case(f"matmulnbits_{bits}_{k}_{n}", "MatMulNBits", [a, pack(w, bits), scales.ravel(), given, None, bias], want, [1, 2, 3, 5], atol=1e-6 * float(np.abs(want).max()), bits=bits,
                   block_size=size, K=k, N=n)
    for bits, k, n, size, rows in [(4, 96, 20, 32, 1), (8, 300, 133, 256, 2), (2, 64, 17, 64, 3), (4, 45, 6, 32, 5)]:
        count = -(-k // size)
        w, zero = rng.integers(0, 1 << bits, (n, count, size)), rng.integers(0, 1 << bits, (n, count))
        scales, a = np.abs(array(f, n, count)) + f(0.1), array(f, rows, k)
        want = (a.astype(np.float64) @ ((w - zero[..., None]) * scales[..., None]).reshape(n, -1)[:, :k].T).astype(f)
        for name, given in (("", pack(zero, bits).ravel()), ("_middle", None)):
            if given is None:
                want = (a.astype(np.float64) @ ((w - (1 << bits - 1)) * scales[..., None]).reshape(n, -1)[:, :k].T).astype(f)
            for kind, level, least in (("inexact", 2, 1e-6), ("bytes", 4, 2e-4)):
                yield case(f"matmulnbits_{kind}_{bits}_{k}_{n}{name}", "MatMulNBits", [a, pack(w, bits), scales.ravel(), given], want, [1, 2, 3], atol=least * float(np.abs(want).max()),
                           bits=bits, block_size=size, K=k, N=n, accuracy_level=level)
    w, order = rng.integers(0, 16, (6, 2, 16)), rng.permutation(np.arange(32) // 16).astype(np.int32)
    scales, a = np.abs(array(f, 6, 2)) + f(0.1), array(f, 3, 32)
    want = (a.astype(np.float64) @ ((w.reshape(6, 32) - 8) * scales[:, order]).T).astype(f)
    yield case("matmulnbits_order", "MatMulNBits", [a, pack(w, 4), scales, None, order], want, [1, 2, 4], atol=1e-4, bits=4, block_size=16, K=32, N=6)


def attention():
    for t, masked, past in [(np.uint8, None, 0), (np.int8, "lengths", 0), (np.uint8, "flags", 3), (np.uint8, "pairs", 0)]:
        batch, places, heads, size, hidden = 2, 5, 2, 4, 6
        x, w, bias = quantised(t, batch, places, hidden), quantised(np.int8, hidden, 3 * heads * size), array(f, 3 * heads * size)
        scale, zeros = (0.002 * (1 + rng.random(3 * heads * size))).astype(f), [quantised(t), np.zeros(3 * heads * size, np.int8)]
        total = (x.astype(np.int32) - np.int32(zeros[0])) @ w.astype(np.int32)
        parts = (total.astype(f) * (f(0.02) * scale) + bias).reshape(batch, places, 3, heads, size).transpose(2, 0, 3, 1, 4)
        before = array(f, 2, batch, heads, past, size)
        k, v = (np.concatenate([b, part], 2) for b, part in zip(before, parts[1:]))
        score, allowed = parts[0] @ k.swapaxes(-1, -2) / f(np.sqrt(size)), np.ones((batch, 1, places, past + places), bool)
        mask = {"lengths": np.array([5, 2]), "flags": rng.integers(0, 2, (batch, past + places)), "pairs": rng.integers(0, 2, (batch, places, places))}.get(masked)
        if masked == "lengths":
            allowed &= np.arange(places) < mask[:, None, None, None]
        elif masked:
            mask[..., 0] = 1
            allowed &= mask.reshape(batch, 1, -1, past + places) > 0
        if past:
            allowed &= np.tri(places, past + places, past, dtype=bool)
        score = np.where(allowed, score, score - f(10000))
        e = np.exp(score - score.max(-1, keepdims=True))
        y = (e / e.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(batch, places, -1)
        inputs = [x, w, bias, f(0.02), scale, None if mask is None else mask.astype(np.int32), zeros[0], zeros[1], before if past else None]
        yield case(f"qattention_{np.dtype(t).name}_{masked}", "QAttention", inputs, [y, np.stack([k, v])] if past else y, [1, 2, 3, 4, 6, 7],
                   atol=1e-4, num_heads=heads, unidirectional=int(past > 0))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dynamic(x):
    """What is left of numbers as bytes with a scale of their own."""
    low, high = min(x.min(), f(0)), max(x.max(), f(0))
    step = (high - low) / f(255) or f(1)
    zero = np.rint(-low / step)
    return (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step


def recurrent():
    for t, channels in [(np.uint8, False), (np.int8, True)]:
        steps_, size, hidden = 4, 5, 6
        x, w, r, b = array(f, steps_, 1, size), quantised(t, 1, size, 4 * hidden), quantised(t, 1, hidden, 4 * hidden), array(f, 1, 8 * hidden)
        few = (1, 4 * hidden) if channels else (1,)
        params = []
        for _ in range(2):
            params += [(0.01 * (1 + rng.random(few))).astype(f), np.zeros(few, t) if channels else quantised(t, 1)]
        ww, rr = ((m[0].astype(f) - z.astype(f)) * s for m, s, z in ((w, *params[:2]), (r, *params[2:])))
        h, c, ys = np.zeros(hidden, f), np.zeros(hidden, f), []
        moved = dynamic(x)[:, 0] @ ww
        for i in range(steps_):
            gates = moved[i] + dynamic(h) @ rr + b[0, : 4 * hidden] + b[0, 4 * hidden:]
            gi, go, gf, gc = np.split(gates, 4)
            c = sigmoid(gf) * c + sigmoid(gi) * np.tanh(gc)
            h = (sigmoid(go) * np.tanh(c)).astype(f)
            ys.append(h)
        want = [np.array(ys, f).reshape(steps_, 1, 1, hidden), h.reshape(1, 1, hidden), c.astype(f).reshape(1, 1, hidden)]
        inputs = [x, w, r, b, None, None, None, None, *params]
        yield case(f"lstm_{np.dtype(t).name}", "DynamicQuantizeLSTM", inputs, want, [1, 2, 3, 8, 9, 10, 11], atol=1e-5, hidden_size=hidden)


def gathers():
    for kind in ("INT4", "UINT4"):
        low = -8 if kind == "INT4" else 0
        data, zero = rng.integers(low, low + 16, (7, 24)), rng.integers(low, low + 16, (7, 2))
        scale, places = np.abs(array(f, 7, 2)) + f(0.1), rng.integers(0, 7, (2, 3))
        want = ((data - np.repeat(zero, 16, 1)[:, :24]).astype(f) * np.repeat(scale, 16, 1)[:, :24])[places]
        tensors = [helper.make_tensor(n, getattr(TensorProto, kind), x.shape, x.ravel().tolist()) for n, x in (("x0", data), ("x3", zero))]
        yield case(f"gather_{kind}", "GatherBlockQuantized", [tensors[0], places, scale, tensors[1]], want, [0, 2, 3], block_size=16, gather_axis=0, quantize_axis=1)


def cases():
    for t in (np.int8, np.uint8):
        yield from elements(t)
        yield from products(t)
    yield from blocks()
    yield from attention()
    yield from recurrent()
    yield from gathers()


def runtime():
    """onnxruntime, or None: most people have none."""
    try:
        import onnxruntime  # pylint: disable=import-outside-toplevel
    except ImportError:
        return None
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


def against_runtime(ort, rows):
    """name -> what differs between the expected outputs and those of onnxruntime, None where nothing does."""
    results = {}
    for name, model, ((inputs, want),), rtol, atol in rows:
        names = [i.name for i in model.graph.input]
        if "matmulnbits_bytes" in name:
            results[name] = ""  # it rounds more
            continue
        try:
            session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            got = session.run(None, dict(zip(names, inputs)))
        except Exception as e:  # pylint: disable=broad-exception-caught
            results[name] = "" if "NOT_IMPLEMENTED" in str(e) else str(e).splitlines()[0][:200]
            continue
        far = [i for i, (x, y) in enumerate(zip(got, want)) if not np.allclose(x.astype(np.float64), y.astype(np.float64), max(rtol, 1e-5), max(atol, 1e-5))]
        results[name] = f"onnxruntime gives another output {far[0]}" if far else None
    return results


if __name__ == "__main__":
    for case_name, why in against_runtime(runtime(), cases()).items():
        print(case_name, "same" if why is None else why or "not in onnxruntime")
