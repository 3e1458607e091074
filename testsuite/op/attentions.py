# SPDX-License-Identifier: Apache-2.0
"""Attention as exporters write it, of product, scale, mask, softmax and product, at odd sizes and with odd masks.

Expected outputs are those of ONNX's reference implementation.
"""
import warnings

import numpy as np
from onnx import helper
from onnx.reference import ReferenceEvaluator

from networks import Network
from shapes import array, i64, info

f = np.float32
NEVER = f(-np.inf)


class Attention(Network):
    """Of x0, x1 and x2, which are (batch, places, heads * size)."""

    def __init__(self, name, queries, keys, heads=2, features=8, size=8, batch=1):
        super().__init__(f"attention_{name}")
        self.shape = (batch, heads, queries, keys)
        self.heads, self.width = heads, heads * size
        self.q = self.by_head(array(f, batch, queries, heads * features), 0, 2, 1, 3)
        self.k = self.by_head(array(f, batch, keys, heads * features), 0, 2, 3, 1)
        self.v = self.by_head(array(f, batch, keys, heads * size), 0, 2, 1, 3)
        self.scores = self.node("Mul", self.node("MatMul", self.q, self.k), self.constant(f(0.5)))

    def plain(self, x):
        name = f"x{len(self.given)}"
        self.given.append((name, x))
        return name

    def by_head(self, x, *perm):
        parts = self.constant(i64(x.shape[0], x.shape[1], self.heads, -1))
        return self.node("Transpose", self.node("Reshape", self.plain(x), parts), perm=perm)

    def weights(self, scores):
        return self.node("Softmax", scores, axis=-1)

    def mixed(self, scores):
        return self.node("MatMul", self.weights(scores), self.v)

    def joined(self, y):
        shape = self.constant(i64(self.shape[0], -1, self.width))
        return self.node("Reshape", self.node("Transpose", y, perm=[0, 2, 1, 3]), shape)

    def case(self, *results, steps=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows without any key
            name, model, data, _, _ = super().case(*results)
        return name, model, data, 1e-3, 1e-5


def sizes():
    for queries, keys, features, size in [(1, 1, 8, 8), (1, 9, 8, 8), (9, 1, 8, 8), (17, 17, 8, 8), (4, 17, 5, 3), (49, 50, 32, 33),
                                          (130, 128, 16, 16), (13, 1100, 4, 4), (5, 14001, 3, 2), (2, 14001, 3, 2), (3, 33, 1, 1)]:
        n = Attention(f"{queries}x{keys}_{features}_{size}", queries, keys, features=features, size=size)
        yield n.case(n.joined(n.mixed(n.scores)))
    n = Attention("batch", 19, 23, heads=3, batch=4)
    yield n.case(n.joined(n.mixed(n.scores)))
    n = Attention("many", 24, 24, heads=16, features=64, size=64)
    yield n.case(n.joined(n.mixed(n.scores)))


def some(*shape):
    """A mask to add, in which about a third is never allowed."""
    x = array(f, *shape)
    return np.where(x < f(-0.4), NEVER, x).astype(f)


def masks():
    for label, shape in [("keys", (1, 1, 1, 21)), ("queries", (1, 1, 18, 21)), ("each", (2, 3, 18, 21)), ("one", (1,)), ("row", (18, 1))]:
        n = Attention(f"mask_{label}", 18, 21, heads=3, batch=2)
        mask = n.plain(array(f, *shape) if label in ("one", "row") else some(*shape))
        yield n.case(n.joined(n.mixed(n.node("Add", mask, n.scores))))
    n = Attention("where", 18, 21)
    yield n.case(n.mixed(n.node("Where", n.plain(array(bool, 18, 21)), n.scores, n.constant(f(-1e9)))))
    n = Attention("softcap", 18, 21)
    capped = n.node("Mul", n.node("Tanh", n.node("Div", n.scores, n.constant(f(2)))), n.constant(f(2)))
    yield n.case(n.mixed(n.node("Add", capped, n.plain(some(18, 21)))))
    n = Attention("where_full", 18, 18, size=18)  # the mask has the result's shape, and nobody reads it afterwards
    mask = n.node("Mul", n.plain(array(f, *n.shape)), n.constant(f(3)))
    y = n.mixed(n.node("Add", n.scores, mask))
    yield n.case(n.node("Add", y, n.plain(array(f, *n.shape))))
    n = Attention("both", 18, 21)  # scores from two products
    second = n.node("MatMul", n.q, n.node("Neg", n.k))
    yield n.case(n.mixed(n.node("Add", n.scores, n.node("Tanh", second))))


def never():
    """Rows, or all keys but the last, that are masked out."""
    for keys in (21, 14001):
        n = Attention(f"never_{keys}", 6, keys, features=3, size=2)
        mask = np.zeros((6, keys), f)
        mask[1], mask[2, :keys // 2], mask[3, 1:], mask[4, :-1] = NEVER, NEVER, NEVER, NEVER
        yield n.case(n.mixed(n.node("Add", n.scores, n.plain(mask))))
        n = Attention(f"blind_{keys}", 6, keys, features=3, size=2)
        weights = n.weights(n.node("Add", n.scores, n.plain(mask)))
        blind = n.plain(np.isneginf(mask).all(axis=1, keepdims=True))
        yield n.case(n.node("MatMul", n.node("Where", blind, n.constant(f(0)), weights), n.v))


def others():
    """What looks like attention, and is none or not all of it."""
    n = Attention("seen", 11, 13)  # the weights are an output
    weights = n.weights(n.scores)
    yield n.case(weights, n.node("MatMul", weights, n.v))
    n = Attention("read", 11, 13)  # the scores are read elsewhere
    yield n.case(n.mixed(n.scores), n.node("Relu", n.scores))
    n = Attention("across", 13, 13)
    weights = n.node("Softmax", n.scores, axis=2)
    yield n.case(n.node("MatMul", weights, n.v))
    n = Attention("right", 13, 13)  # the weights stand on the right
    v = n.node("Transpose", n.v, perm=[0, 1, 3, 2])
    yield n.case(n.node("MatMul", v, n.weights(n.scores)))
    n = Attention("spread", 7, 8)  # one matrix of weights for all values
    q, k = n.plain(array(f, 7, 4)), n.plain(array(f, 4, 8))
    yield n.case(n.node("MatMul", n.weights(n.node("MatMul", q, k)), n.v))
    n = Attention("lone", 7, 8)  # one matrix of keys and values for all queries
    k, v = n.plain(array(f, 8, 9)), n.plain(array(f, 9, 8))
    yield n.case(n.node("MatMul", n.weights(n.node("MatMul", n.q, k)), v))


def cases():
    for family in (sizes, masks, never, others):
        yield from family()
