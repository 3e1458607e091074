#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mlcc quantize beyond static ranges: dynamic, weights only, labelled data; what each option is for; and in one step to C.
. "$(dirname "$0")/../lib.sh"
. "$SRC/testsuite/cli/agrees.sh"
top=$PWD
cd "$work" || exit 1
model=$SRC/examples/digits/model.onnx
needs_python "kinds of quantisation" numpy onnx
"$PYTHON" "$SRC/testsuite/cli/quantize_data.py" "$SRC/examples/digits/testset.bin" || exit 1

# number WORD FILE: the number behind the first such word, like "cosine" or "SNR", in the last line that starts with output.
number() {
    grep '^output' "$2" | tail -n 1 | sed -n "s/.*$1 *\([0-9.-]*\).*/\1/p"
}

# above NAME SMALLER LARGER
above() {
    if [ -n "$2" ] && [ -n "$3" ] && awk "BEGIN { exit !($3 > $2) }"; then
        pass "$1"
    else
        fail "$1" "$2 before, $3 now"
    fi
}

# --- kinds ---

for kind in --dynamic --weights-only=int8 --weights-only=int4 --weights-only=float16 --weights-only=bfloat16; do
    made=$(echo "$kind" | tr -d -).onnx
    case_ok "quantize $kind" "$MLCC" quantize "$model" --data digits.npz --verify-ir -o "$made" $kind
    cp out "$made.report"
    above "$kind loses little" 96.9 "$(sed -n 's/^top-1 *\([0-9.]*\).*/\1/p' out)"
    above "$kind: cosine" 0.998 "$(number cosine out)"
    agrees "$made" image.npy
    case_ok "quantize $kind without data" "$MLCC" quantize "$model" -o same.onnx $kind
    cmp -s "$made" same.onnx && pass "$kind: the same file" || fail "$kind: the same file" "another one"
done
for smaller in dynamic:3.5 weightsonly=int8:3.5 weightsonly=int4:4.9 weightsonly=float16:1.9; do
    above "${smaller%:*} is smaller" "${smaller#*:}" "$(sed -n 's/.*: \([0-9.]*\) times smaller/\1/p' "${smaller%:*}.onnx.report")"
done

# --- what makes it better ---

before=$(number SNR weightsonly=int4.onnx.report)
case_ok "rounding by samples" "$MLCC" quantize "$model" --weights-only=int4 --calibrate digits.npz -o errors.onnx
above "errors that make up for each other" "$before" "$(number SNR out)"
case_ok "rounding to nearest" "$MLCC" quantize "$model" --weights-only=int4 --calibrate digits.npz --rounding=nearest --no-correct-bias -o near.onnx
cmp -s near.onnx weightsonly=int4.onnx && pass "--rounding=nearest" || fail "--rounding=nearest" "another file"
case_ok "larger blocks" "$MLCC" quantize "$model" --weights-only=int4 --data digits.npz --block 64 -o block.onnx
agrees block.onnx image.npy

for kind in --dynamic --method=minmax; do
    "$MLCC" quantize -q "$model" --calibrate digits.npz --rounding=nearest -o near.onnx $kind >without
    case_ok "rounding by samples, $kind" "$MLCC" quantize "$model" --calibrate digits.npz -o errors.onnx $kind --verify-ir
    above "rounding by samples, $kind" "$(number SNR without)" "$(number SNR out)"
    above "rounding by samples, $kind: accuracy" 97.2 "$("$MLCC" quantize -q "$model" --calibrate digits.npz --data digits.npz -o errors.onnx $kind |
        sed -n 's/^top-1 *\([0-9.]*\).*/\1/p')"
    agrees errors.onnx image.npy
done

"$MLCC" quantize -q alike.onnx --calibrate alike.npz --weights-only=int8 --rounding=nearest -o near.onnx >without
case_ok "rounding what groups of filters see alike" "$MLCC" quantize alike.onnx --calibrate alike.npz --weights-only=int8 -o errors.onnx
above "rounding what groups of filters see alike: 3 dB" "$(number SNR without | awk '{ print $1 + 3 }')" "$(number SNR out)"

# helps NAME MODEL OPTION KIND...: less noise with the option than without.
helps() {
    helped=$1 from=$2 option=$3
    shift 3
    "$MLCC" quantize -q "$from.onnx" --calibrate "$from.npz" -o without.onnx "$@" >without 2>err
    case_ok "quantize $option" "$MLCC" quantize "$from.onnx" --calibrate "$from.npz" -o with.onnx --verify-ir "$@" "$option"
    above "$helped" "$(number SNR without)" "$(number SNR out)"
    agrees with.onnx "$from.npy"
}
"$MLCC" quantize -q biased.onnx --calibrate biased.npz --no-correct-bias -o without.onnx >without 2>err
case_ok "quantize, biases corrected" "$MLCC" quantize biased.onnx --calibrate biased.npz --verify-ir -o with.onnx
above "bias correction" "$(number SNR without)" "$(number SNR out)"
agrees with.onnx biased.npy
helps "equalised channels" uneven --equalize
helps "smoothed activations" outliers --smooth --no-smooth
helps "smoothed activations, dynamic" outliers --smooth --dynamic --no-smooth
"$MLCC" quantize -q outliers.onnx --calibrate outliers.npz --no-smooth -o without.onnx >without 2>err
case_ok "quantize, uneven channels" "$MLCC" quantize outliers.onnx --calibrate outliers.npz -o with.onnx
above "very uneven channels are smoothed" "$(number SNR without)" "$(number SNR out)"

# What picks rows of a table has samples of its own: any rows. Columns of the table have scales of their own.
"$MLCC" quantize -q words.onnx --dynamic --data words.npz --no-smooth -o without.onnx >without
case_ok "quantize, rows picked at random" "$MLCC" quantize words.onnx --dynamic --data words.npz --verify-ir -o with.onnx
above "rows picked at random: 3 dB" "$(number SNR without | awk '{ print $1 + 3 }')" "$(number SNR out)"
above "a scale for each column" 40 "$(sed -n 's/.*SNR *\([0-9.]*\) dB.*(Gather)/\1/p' out)"
agrees with.onnx ids.npy mask.npy
case_ok "quantize a table, static" "$MLCC" quantize words.onnx --calibrate words.npz --verify-ir -o with.onnx
above "a table, static: cosine" 0.9995 "$(number cosine out)"
agrees with.onnx ids.npy mask.npy

for method in percentile entropy mse; do
    case_ok "ranges of values far apart, $method" "$MLCC" quantize far.onnx --calibrate far.npz --method $method -o far_q.onnx
    above "ranges of values far apart, $method: cosine" 0.999 "$(number cosine out)"
done

for kind in --samples=20 --dynamic --weights-only=int8 --weights-only=int4 --weights-only=bfloat16; do
    case_ok "a sequence, $kind" "$MLCC" quantize sequence.onnx --calibrate sequence.npz --verify-ir -o sequence_q.onnx $kind
    above "a sequence, $kind: cosine" 0.99 "$(number cosine out)"
    above "a sequence, $kind: smaller" 1.8 "$(sed -n 's/.*: \([0-9.]*\) times smaller/\1/p' out)"
    agrees sequence_q.onnx sequence.npy
done

# Long names and attributes that say what holds without them do not swell the file; nodes keep their names.
"$PYTHON" - "$model" long.onnx <<'END' || exit 1
import sys
import onnx
m = onnx.load(sys.argv[1])
for n in m.graph.node:
    n.name = "a/long/name/of/the/node/" + n.name
    n.input[:] = ["a/long/name/of/" * 4 + v if v[1:].isdigit() else v for v in n.input]
    n.output[:] = ["a/long/name/of/" * 4 + v if v[1:].isdigit() else v for v in n.output]
    if n.op_type == "Conv":
        n.attribute.extend([onnx.helper.make_attribute("dilations", [1, 1]), onnx.helper.make_attribute("group", 1)])
onnx.save(m, sys.argv[2])
END
for kind in --samples=100 --dynamic; do
    "$MLCC" quantize -q "$model" --calibrate digits.npz $kind -o short_q.onnx >out
    case_ok "long names, $kind" "$MLCC" quantize long.onnx --calibrate digits.npz --verify-ir $kind -o long_q.onnx
    grep -q 'a/long/name/of/the/node/conv2 (Conv)' out && pass "long names, $kind: nodes" || fail "long names, $kind: nodes" "$(cat out)"
    above "long names, $kind: size" "$(wc -c <long_q.onnx)" "$(($(wc -c <short_q.onnx) + 500))"
    agrees long_q.onnx image.npy
done

# --- in one step to C: the same as in two, and the weights stay small ---

weights() {
    wc -c <net.weights.bin
}
"$MLCC" -q "$model" -o net.c --weights=bin
whole=$(weights)
for kind in static:3.1 dynamic:3.1 int8:3.2 int4:4.2 float16:1.7 bfloat16:1.7; do
    smaller=${kind#*:} kind=${kind%:*}
    case_ok "compile --quantize=$kind" "$MLCC" "$model" --quantize=$kind --calibrate digits.npz -o net.c --weights=bin
    above "--quantize=$kind keeps weights packed" "$smaller" "$(awk "BEGIN { print $whole / $(weights) }")"
    grep -q 'weights [0-9.]* times smaller, cosine of "probabilities" 0.99\|1.0' err && pass "--quantize=$kind says so" || fail "--quantize=$kind says so" "$(cat err)"
    case $kind in
    static) option= ;;
    dynamic) option=--dynamic ;;
    *) option=--weights-only=$kind ;;
    esac
    case $kind in
    *float16) half=--half-weights ;;
    *) half= ;;
    esac
    "$MLCC" quantize -q "$model" $option --calibrate digits.npz -o two.onnx >out 2>err
    mv net.weights.bin one.bin
    "$MLCC" -q two.onnx -o net.c --weights=bin $half
    cmp -s one.bin net.weights.bin && pass "--quantize=$kind in two steps" || fail "--quantize=$kind in two steps" "other weights"
    "$MLCC" "$model" -q --quantize=$kind --calibrate digits.npz -o digits_net.c
    right=$($CC -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -O1 -c digits_net.c 2>err &&
        $CC -O2 -I. -o digits "$SRC/examples/digits/digits.c" digits_net.o && ./digits "$SRC/examples/digits/testset.bin" | sed -n 's/^accuracy \([0-9]*\) of.*/\1/p')
    above "--quantize=$kind runs" 348 "$right"
done
"$MLCC" "$model" -q --quantize=static --calibrate digits.npz -MD -o net.c
grep -q digits.npz net.d && pass "the make rule names the data" || fail "the make rule names the data" "$(cat net.d)"

# Halves in vectors of the target, as the JIT computes them.
"$MLCC" quantize -q outliers.onnx --weights-only=float16 -o f16.onnx >out
"$MLCC" quantize -q outliers.onnx --weights-only=bfloat16 -o bf16.onnx >out
for type in f16 bf16; do
    mkdir -p case_$type/test_data_set_0
    cp $type.onnx case_$type/model.onnx
    cp outliers.npy case_$type/test_data_set_0/input_0.npy
    "$MLCC" run -q --out case_$type/test_data_set_0 $type.onnx outliers.npy
    for target in generic native; do
        case_ok "--half-weights, $type, $target" "$MLCC" verify --half-weights --target $target case_$type
    done
    case_ok "--half-weights, $type, object" "$MLCC" verify --half-weights --via object --target native case_$type
done

# --- labels and floors ---

case_ok "labelled data" "$MLCC" quantize "$model" --calibrate images.npz --data digits.npz -o q.onnx --accuracy-floor 0.99
grep -q '^top-1 .*, was 97.50 %$' out && grep -q '^top-5 ' out && pass "top-1 and top-5" || fail "top-1 and top-5" "$(tail -n 4 out)"

# rejects STATUS NAME PATTERN ARGUMENT...: one error, nothing written.
rejects() {
    want=$1 name=$2 pattern=$3
    shift 3
    rm -f x.onnx x.c x.h
    "$MLCC" "$@" >out 2>err </dev/null
    status=$?
    if [ $status -eq "$want" ] && [ "$(grep -c 'error: ' err)" -eq 1 ] && grep -q "error: .*$pattern" err && [ ! -e x.onnx ] && [ ! -e x.c ]; then
        pass "$name"
    else
        fail "$name" "status $status: $(cat err) $(ls x.onnx x.c 2>/dev/null)"
    fi
}
rejects 1 "labels: a floor that is missed" "top-1 is 9.*; 1 of it was asked for" quantize "$model" --data digits.npz --dynamic -o x.onnx --accuracy-floor 1
rejects 1 "a label that is no number of a class" "element 3, -1, is no class number" quantize "$model" --data negative.npz --dynamic -o x.onnx
rejects 1 "a label beyond the classes" "a label that is no class" quantize "$model" --data beyond.npz --dynamic -o x.onnx
rejects 1 "too few labels" "359 labels for 360 samples" quantize "$model" --data few.npz --dynamic -o x.onnx
rejects 1 "no such data" "nowhere.npz" quantize "$model" --data nowhere.npz --dynamic -o x.onnx
rejects 2 "a floor without data" "accuracy-floor needs" quantize "$model" --dynamic -o x.onnx --accuracy-floor 0.9
rejects 2 "a type that is none" "weights-only does not take int3" quantize "$model" --weights-only=int3 -o x.onnx
rejects 2 "a block of no power of 2" "block does not take 48" quantize "$model" --weights-only=int4 --block 48 -o x.onnx
rejects 2 "equalisation without samples" "equalize needs" quantize "$model" --dynamic --equalize -o x.onnx
rejects 2 "smoothing without samples" "smooth needs" quantize "$model" --dynamic --smooth -o x.onnx
rejects 2 "options of another verb's" "only with --quantize: calibrate" "$model" --calibrate digits.npz -o x.c
rejects 2 "static without samples" "calibrate PATH" "$model" --quantize=static -o x.c
rejects 2 "a kind that is none" "quantize does not take int3" "$model" --quantize=int3 -o x.c
rejects 1 "compiling below the floor" "top-1 is 9" "$model" --quantize=dynamic --data digits.npz --accuracy-floor 1 -o x.c
rejects 1 "nothing to quantise" "no product with constant" quantize relu.onnx --dynamic -o x.onnx
all_agree
cd "$top" || exit 1
finish
