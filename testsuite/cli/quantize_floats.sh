#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mlcc quantize --floats: weights and activations of 16 bits, what stays float32, and in one step to C.
. "$(dirname "$0")/../lib.sh"
. "$SRC/testsuite/cli/agrees.sh"
top=$PWD
cd "$work" || exit 1
model=$SRC/examples/digits/model.onnx
needs_python "16-bit floats" numpy onnx
"$PYTHON" "$SRC/testsuite/cli/quantize_data.py" "$SRC/examples/digits/testset.bin" || exit 1
"$PYTHON" - <<'END' || exit 1
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

rng = np.random.default_rng(6)
node = helper.make_node


def model(name, shape, nodes, constants, samples):
    graph = helper.make_graph(nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                              [numpy_helper.from_array(np.asarray(c), k) for k, c in constants.items()])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), name + ".onnx")
    np.savez(name + ".npz", x=samples.astype(np.float32))
    np.save(name + ".npy", samples[0].astype(np.float32).reshape(shape))


f = np.float32
w = rng.standard_normal((16, 16)).astype(f)
# Sums beyond 65504, which come back, and numbers too small for float16.
model("large", [4, 16], [node("MatMul", ["x", "w"], ["a"]), node("Relu", ["a"], ["b"]), node("Div", ["b", "c"], ["d"]), node("MatMul", ["d", "v"], ["y"])],
      {"w": w * f(40), "c": f(1000), "v": w}, rng.standard_normal((8, 4, 16)) * 1000)
model("small", [4, 16], [node("MatMul", ["x", "w"], ["a"]), node("Mul", ["a", "c"], ["b"]), node("Mul", ["b", "b"], ["d"]), node("Mul", ["d", "e"], ["y"])],
      {"w": w, "c": f(1e-3), "e": f(1e6)}, rng.standard_normal((8, 4, 16)))
# A normalisation made of its parts, and a mask of what stands for infinity.
model("parts", [8, 16],
      [node("MatMul", ["x", "w"], ["h"]), node("ReduceMean", ["h"], ["m"], axes=[-1]), node("Sub", ["h", "m"], ["s"]), node("Pow", ["s", "two"], ["p"]),
       node("ReduceMean", ["p"], ["v"], axes=[-1]), node("Add", ["v", "eps"], ["e"]), node("Sqrt", ["e"], ["r"]), node("Div", ["s", "r"], ["n"]),
       node("Transpose", ["n"], ["t"], perm=[1, 0]), node("MatMul", ["n", "t"], ["q"]), node("Add", ["q", "mask"], ["k"]),
       node("Softmax", ["k"], ["z"]), node("MatMul", ["z", "h"], ["y"])],
      {"w": w, "two": f(2), "eps": f(1e-12), "mask": np.triu(np.full((8, 8), np.finfo(f).min, f), 1)}, rng.standard_normal((8, 8, 16)))
# What has no form of 16 bits, in the middle.
model("middle", [2, 8, 6, 6],
      [node("Conv", ["x", "w"], ["h"]), node("Celu", ["h"], ["c"]), node("Conv", ["c", "w"], ["y"])],
      {"w": rng.standard_normal((8, 8, 1, 1)).astype(f) * f(0.3)}, rng.standard_normal((4, 2, 8, 6, 6)))
model("none", [3], [node("Celu", ["x"], ["y"])], {}, rng.standard_normal((4, 3)))
END

# above NAME SMALLER LARGER
above() {
    if [ -n "$2" ] && [ -n "$3" ] && awk "BEGIN { exit !($3 > $2) }"; then
        pass "$1"
    else
        fail "$1" "more than $2 expected, is $3"
    fi
}

cosine() {
    grep '^output' out | tail -n 1 | sed -n 's/.*cosine *\([0-9.-]*\).*/\1/p'
}

# well_formed MODEL DATA: as agrees; but ONNX Runtime has few operators of bfloat16 on processors.
well_formed() {
    case $1 in
    *_b.onnx) agrees "$1" ;;
    *) agrees "$1" "$2" ;;
    esac
}

for type in float16 bfloat16; do
    tag=${type%float16}
    case_ok "quantize --floats $type" "$MLCC" quantize "$model" --floats $type --data digits.npz --verify-ir -o "digits_${tag:-h}.onnx"
    above "$type loses little" 97.2 "$(sed -n 's/^top-1 *\([0-9.]*\).*/\1/p' out)"
    above "$type is smaller" 1.99 "$(sed -n 's/.*: \([0-9.]*\) times smaller/\1/p' out)"
    grep -q 'stay float32' out && fail "$type: all of it" "$(grep 'stay float32' out)" || pass "$type: all of it"
    well_formed "digits_${tag:-h}.onnx" image.npy
    case_ok "quantize --floats $type without data" "$MLCC" quantize "$model" --floats $type -o same.onnx
    cmp -s "digits_${tag:-h}.onnx" same.onnx && pass "$type: the same file" || fail "$type: the same file" "another one"
    for from in biased:0.9999 uneven:0.9999 outliers:0.9999 sequence:0.9999 far:0.9999 large:0.9999 small:0.9999 parts:0.999 middle:0.9999; do
        least=${from#*:} from=${from%:*}
        [ $type = bfloat16 ] && least=0.99
        case_ok "$from, $type" "$MLCC" quantize $from.onnx --floats $type --calibrate $from.npz --verify-ir -o "${from}_${tag:-h}.onnx"
        above "$from, $type: cosine" $least "$(cosine)"
        cp out "$from.$type.report"
        well_formed "${from}_${tag:-h}.onnx" $from.npy
    done
done
# stays NAME FILE PATTERN
stays() {
    grep -q "$3" "$2" && pass "$1" || fail "$1" "$(grep stay "$2")"
}
stays "large sums stay float32" large.float16.report '^"b" stays float32: its numbers are within 0 .. '
stays "small numbers stay float32" small.float16.report 'stay float32: 2 Mul'
stays "parts of a normalisation stay float32" parts.float16.report 'stay float32: 1 Pow, 1 ReduceMean, 1 Add, 1 Sqrt$'
stays "an operator that has no such form" middle.float16.report 'stay float32: 1 Celu$'
grep -q stay large.bfloat16.report && fail "bfloat16 has large numbers" "$(cat large.bfloat16.report)" || pass "bfloat16 has large numbers"

# Scratch memory is half of what it was.
arena() {
    "$MLCC" check -q "$1" | sed -n 's/^arena *\([0-9]*\) bytes/\1/p'
}
above "nearly half the arena" "$(arena far_h.onnx | awk '{ print 1.7 * $1 }')" "$(arena far.onnx)"

# --- in one step ---

for type in float16 bfloat16; do
    case_ok "compile --quantize=all-$type" "$MLCC" "$model" --quantize=all-$type --calibrate digits.npz -o net.c --weights=bin
    grep -q 'weights 2.00 times smaller, cosine of "probabilities" \(0.99\|1.0\)' err && pass "all-$type says so" || fail "all-$type says so" "$(cat err)"
    mv net.weights.bin one.bin
    "$MLCC" quantize -q "$model" --floats=$type --calibrate digits.npz -o two.onnx >out
    "$MLCC" -q two.onnx -o net.c --weights=bin --half-weights
    cmp -s one.bin net.weights.bin && pass "all-$type in two steps" || fail "all-$type in two steps" "other weights"
    for target in generic native; do
        flags=
        [ $target = native ] && flags=-march=native
        "$MLCC" "$model" -q -t $target --quantize=all-$type --calibrate digits.npz -o digits_net.c
        right=$($CC -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -O2 $flags -c digits_net.c 2>err &&
            $CC -O2 -I. -o digits "$SRC/examples/digits/digits.c" digits_net.o && ./digits "$SRC/examples/digits/testset.bin" |
            sed -n 's/^accuracy \([0-9]*\) of.*/\1/p')
        above "all-$type runs, $target" 349 "$right"
    done
done

# --- floors and mistakes ---

case_ok "a floor that needs float32 layers" "$MLCC" quantize parts.onnx --floats bfloat16 --calibrate parts.npz -o x.onnx --mixed --accuracy-floor 0.99999
above "a floor that needs float32 layers: cosine" 0.99999 "$(cosine)"
stays "a floor that needs float32 layers: which" out 'MatMul'
rejects() {
    want=$1 name=$2 pattern=$3
    shift 3
    rm -f x.onnx x.c
    "$MLCC" "$@" >out 2>err </dev/null
    status=$?
    if [ $status -eq "$want" ] && [ "$(grep -c 'error: ' err)" -eq 1 ] && grep -q "error: .*$pattern" err && [ ! -e x.onnx ] && [ ! -e x.c ]; then
        pass "$name"
    else
        fail "$name" "status $status: $(cat err)"
    fi
}
rejects 2 "a type that is none" "floats does not take int8" quantize "$model" --floats int8 -o x.onnx
rejects 2 "a kind that is none" "quantize does not take all-int8" "$model" --quantize=all-int8 -o x.c
rejects 1 "nothing to do" "no float32 operator that takes 16 bits" quantize none.onnx --floats float16 -o x.onnx
all_agree --floats
cd "$top" || exit 1
finish
