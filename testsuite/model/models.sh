#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Whole models against stored outputs: the generated code builds under every compiler without a word, needs nothing, and
# answers right; so do the object and the JIT. MLCC_MODELS is a folder of ONNX test cases (MODEL/model.onnx,
# MODEL/test_data_set_<k>, MODEL/tolerance.txt); where it is absent the models are skipped.
#
#     models.sh [MODEL...]       by hand, in the build folder; without names: all below
#     MLCC_TEST_ALL=1            every model with every target, compiler and standard: most of an hour
. "$(dirname "$0")/../lib.sh"
MODELS=${MLCC_MODELS:-$SRC/../shared/models}
small="mnist_cnn ad_toycar kws_dscnn resnet8 dtln_1 tree_ensemble ad_toycar_int8 kws_dscnn_int8 resnet8_int8"
medium="vww_mobilenet vww_mobilenet_int8 genre_mlp yunet_n_320 slim_320 super_resolution"
large="mobilenet_v2 mobilenet_v2_int8 mobilenet_v3_small efficientnet_b0 yolov8n wav2vec2_small"
if [ ! -d "$MODELS" ]; then
    skip "models" "no folder $MODELS; MLCC_MODELS names another"
    finish
fi
MODELS=$(cd "$MODELS" && pwd)

# What mlcc verify calls in place of a compiler: build.sh COMPILER STANDARDS FLAGS -o net net_main.c net.c|net.o. The first
# standard is run; the others must only compile. A compiler for C++ takes net.h alone too.
cat >"$work/build.sh" <<'END'
set -e
compiler=$1 standards=$2 flags="$3 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
first=${standards%% *}
language=
case $compiler in *++*) language="-x c++" ;; esac
if [ "$7" = net.c ]; then
    optimize=-O2
    for standard in $standards; do
        $compiler $language -std=$standard $optimize $flags -c net.c -o $standard.o
        optimize=-O0
    done
    mv $first.o net.o
fi
if [ -n "$language" ]; then
    echo '#include "net.h"' >header.cc
    $compiler -std=$first $flags -fsyntax-only header.cc
fi
undefined=$(nm -u net.o | grep -v -w -e memcpy -e memset -e memmove -e _GLOBAL_OFFSET_TABLE_) || :
[ -z "$undefined" ] || { echo "net.o refers to $undefined"; exit 1; }
${CC:-cc} -std=c99 -O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -c net_main.c
${CC:-cc} -o net net_main.o net.o
END
export CC

# verify MODEL TARGET COMPILER STANDARDS
verify() {
    flags=
    case $2 in
    native) flags=-march=native ;;
    x86-64-*) flags=-march=$2 ;;
    esac
    case_ok "$1, $2, $3 $4" "$MLCC" verify -q --target "$2" --cc "sh '$work/build.sh' '$3' '$4' '$flags'" "$MODELS/$1"
}

# The form for compilers without the target's vectors, which shares the constants of the other.
verify_plain() {
    case_ok "$1, native, without vectors" "$MLCC" verify -q --target native --cc "sh '$work/build.sh' '$CC' c99 ''" "$MODELS/$1"
}

verify_object() {
    case_ok "$1, $2, object" "$MLCC" verify -q --target "$2" --via object --cc "sh '$work/build.sh' '' '' ''" "$MODELS/$1"
}

# Some of it is approximate, and within ten times the tolerance.
fast() {
    "$MLCC" check -q --math=fast --target native "$MODELS/$1/model.onnx" | grep -q "^approximate" &&
        pass "$1, --math=fast does something" || fail "$1, --math=fast does something" "nothing is approximate"
    for compiler in "$CC" "$CLANG"; do
        have "$compiler" && case_ok "$1, --math=fast, $compiler" "$MLCC" verify -q --math=fast --target native \
            --cc "sh '$work/build.sh' '$compiler' 'c99' '-march=native'" "$MODELS/$1"
    done
    case_ok "$1, --math=fast, object" "$MLCC" verify -q --math=fast --target native --via object \
        --cc "sh '$work/build.sh' '' '' ''" "$MODELS/$1"
}

# cross MODEL TARGET: as C and as an object under the target's emulator.
cross() {
    why=$(missing_for "$2")
    for via in c object; do
        if [ -n "$why" ]; then
            skip "$1, $2 by $via" "$why"
        else
            case_ok "$1, $2 by $via" "$MLCC" verify -q --target "$2" --via $via "$MODELS/$1"
        fi
    done
}

# Those for which not everything was tried above; these models fit into the memory of the emulated boards.
every_target() {
    for target in $(shipped_targets | grep -v -x -e generic -e native -e x86-64-v3); do
        cross "$1" "$target"
    done
}

# By a compiler that knows RISC-V's vectors.
riscv_vectors() {
    why=$(missing_for riscv64-v "$CLANG")
    options="--target=riscv64-linux-gnu -march=rv64gcv -mrvv-vector-bits=zvl -O2 -static"
    [ -n "$why" ] && skip "$1, riscv64-v by $CLANG" "$why" ||
        case_ok "$1, riscv64-v by $CLANG" "$MLCC" verify -q --target riscv64-v --cc "$CLANG $options" "$MODELS/$1"
}

# Two runs, of which one finds the model elsewhere.
same_twice() {
    mkdir -p "$work/one" "$work/two"
    ln -sf "$MODELS/$1/model.onnx" "$work/two/other.onnx"
    for form in c o; do
        "$MLCC" -q "$MODELS/$1/model.onnx" -o "$work/one/net.$form" --target native &&
            (cd "$work/two" && "$MLCC" -q other.onnx -o net.$form --target native) &&
            cmp -s "$work/one/net.$form" "$work/two/net.$form" && cmp -s "$work/one/net.h" "$work/two/net.h" &&
            pass "$1, the same .$form twice" || fail "$1, the same .$form twice" "they differ"
    done
}

everything() {
    for target in generic native x86-64-v3; do
        why=$(missing_for $target)
        if [ -n "$why" ]; then
            skip "$1, $target" "$why"
            continue
        fi
        verify "$1" $target "$CC" "c99 c11 c2x"
        have "$CLANG" && verify "$1" $target "$CLANG" "c99 c11 c2x"
        have g++ && verify "$1" $target g++ c++17
        have "$clangxx" && verify "$1" $target "$clangxx" c++17
        verify_object "$1" $target
    done
}

# measure COMMAND...: the variables seconds (of processor time) and megabytes (peak); false where the command fails.
measure() {
    "$PYTHON" -c '
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("%.2f %d" % (used.ru_utime + used.ru_stime, used.ru_maxrss // 1024))
sys.exit(status)' "$@" >"$work/measured" 2>"$work/err" && read -r seconds megabytes <"$work/measured"
}

# at_most NAME VALUE LIMIT
at_most() {
    awk "BEGIN { exit !($2 <= $3) }" && pass "$1" || fail "$1" "$2, and the limit is $3"
}

# What a model of 3.5 million parameters may cost.
limits() {
    if ! have "$PYTHON"; then
        skip "$1, limits" "no $PYTHON to measure with"
        return
    fi
    c=$work/cost/net.c
    mkdir -p "$work/cost"
    measure "$MLCC" -q "$MODELS/$1/model.onnx" -o "$c" --target native || seconds=99 megabytes=9999
    at_most "$1, seconds of mlcc" "$seconds" 3
    at_most "$1, megabytes of mlcc" "$megabytes" 300
    at_most "$1, bytes of C" "$(wc -c <"$c")" 60000000
    measure "$CC" -std=c99 -O2 -march=native -c "$c" -o "$work/cost/net.o" || seconds=99
    at_most "$1, seconds of $CC" "$seconds" 15
    measure sh -c "cd '$work/cost' && '$MLCC' -q '$MODELS/$1/model.onnx' -o net.c --target native --weights=incbin &&
        '$CC' -std=c99 -O2 -march=native -c net.c -o net.o" || seconds=99
    at_most "$1, seconds with --weights=incbin" "$seconds" 5
}

# Nothing of a quantised model computes with floating-point numbers between its input and its output.
integers_only() {
    "$MLCC" check -q "$MODELS/$1/model.onnx" >"$work/check.txt" && ! grep -q "^float" "$work/check.txt" &&
        pass "$1, integers only" || fail "$1, integers only" "$(grep -A1 "^float" "$work/check.txt")"
}

# Requantised by integers, as every target can; those that cannot otherwise do so by themselves.
fixed() {
    for target in generic native; do
        case_ok "$1, $target, --requant=fixed" "$MLCC" verify -q --requant=fixed --via jit --target $target "$MODELS/$1"
    done
    case_ok "$1, native, --requant=fixed, $CC" "$MLCC" verify -q --requant=fixed --target native \
        --cc "sh '$work/build.sh' '$CC' 'c99' '-march=native'" "$MODELS/$1"
    "$MLCC" -q --requant=fixed "$MODELS/$1/model.onnx" -o "$work/fixed.c" && grep -q mul_high "$work/fixed.c" &&
        pass "$1, --requant=fixed does something" || fail "$1, --requant=fixed does something" "there is no product in fixed point"
}

# Without the channels that do nothing, to the bit.
same_pruned() {
    set=$MODELS/$1/test_data_set_0
    mkdir -p "$work/bits" "$work/bits--no-prune-dead"
    for option in "" --no-prune-dead; do
        "$MLCC" run -q $option --target native "$MODELS/$1/model.onnx" "$set"/input_*.pb --out "$work/bits$option" || break
    done
    cmp -s "$work/bits/output_0.npy" "$work/bits--no-prune-dead/output_0.npy" && pass "$1, the same bits without pruning" ||
        fail "$1, the same bits without pruning" "they differ"
}

# dimensions MODEL SET DIM...: one data set with these dimensions, by the JIT.
dimensions() {
    one=$work/$1.$2
    mkdir -p "$one"
    ln -sf "$MODELS/$1/model.onnx" "$MODELS/$1/tolerance.txt" "$one"
    ln -sfn "$MODELS/$1/test_data_set_$2" "$one/test_data_set_0"
    name="$1, data set $2"
    shift 2
    case_ok "$name" "$MLCC" verify -q --via jit --target native "$@" "$one"
}

clangxx=$(echo "${CLANG:-clang}" | sed 's/clang/clang++/')
have "$CLANG" || skip "clang" "not found"
for model in ${*:-$small $medium $large}; do
    if [ ! -e "$MODELS/$model/model.onnx" ]; then
        skip "$model" "not in $MODELS"
        continue
    fi
    case_ok "$model, JIT" "$MLCC" verify -q --via jit "$MODELS/$model"
    same_twice $model
    if [ -n "${MLCC_TEST_ALL:-}" ]; then
        everything $model
    elif echo " $small " | grep -q " $model "; then
        verify $model generic "$CC" c99
        verify $model native "$CC" "c99 c11 c2x"
        have "$CLANG" && verify $model native "$CLANG" c99
        have g++ && verify $model native g++ c++17
        verify_object $model native
        verify_plain $model
        case_ok "$model, native, threads" "$MLCC" verify -q --target native --threads=2 "$MODELS/$model"
    elif echo " $medium " | grep -q " $model "; then
        verify $model native "$CC" c99
    fi
    case $model in
    mobilenet_v2) limits $model ;;
    resnet8 | super_resolution) fast $model ;;
    *_int8) integers_only $model && same_pruned $model && fixed $model ;;
    esac
    case $model in
    kws_dscnn | kws_dscnn_int8 | mnist_cnn | tree_ensemble) every_target $model && riscv_vectors $model ;;
    mobilenet_v2_int8) cross $model cortex-m55 ;; # more than its fast memory
    esac
done
dynamic=minilm_l6_v2_dynamic_int8
if [ -z "$*" ] && [ -e "$MODELS/$dynamic/model.onnx" ]; then
    dimensions $dynamic 0 --dim batch=1 --dim sequence=128
    dimensions $dynamic 1 --dim batch=2 --dim sequence=16
fi
finish
