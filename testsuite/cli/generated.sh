#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The contract of the generated code: warnings, symbols, determinism, and every option that changes its form.
. "$(dirname "$0")/../lib.sh"
top=$PWD
make_model=$top/testsuite/cli/make_model
digits=$SRC/examples/digits/model.onnx
cd "$work" || exit 1
"$make_model" conv conv.onnx || exit 1
strict="-O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"

# --- compilers and standards ---

# builds NAME COMMAND...: the command compiles without a word, and its object has no outside symbol but memory functions
# and, where the processor has no floating point, the compiler's own arithmetic.
builds() {
    name=$1
    shift
    if ! "$@" -c net.c -o net.o >err 2>&1; then
        fail "$name" "$(grep -m 1 -e error -e warning err)"
    elif [ -s err ]; then
        fail "$name" "$(head -n 1 err)"
    elif "${NM:-nm}" -u net.o | grep -v -w -e memcpy -e memset -e memmove -e _GLOBAL_OFFSET_TABLE_ -e '__aeabi_[a-z0-9]*' |
        grep -q .; then
        fail "$name" "outside symbols: $("${NM:-nm}" -u net.o)"
    else
        pass "$name"
    fi
}

for model in conv digits; do
    onnx=conv.onnx
    [ $model = conv ] || onnx=$digits
    for target in generic native x86-64-v3; do
        flags=
        [ $target != native ] || flags=-march=native
        [ $target != x86-64-v3 ] || flags=-march=x86-64-v3
        if [ $target = x86-64-v3 ] && [ "$(uname -m)" != x86_64 ]; then
            skip "$model, $target" "not an x86-64 machine"
            continue
        fi
        case_ok "compile $model, $target" "$MLCC" "$onnx" -o net.c --target $target
        for std in c99 c11 gnu2x; do
            [ $std = c99 ] && level= || level=-O1 # what optimisers find is the same in all
            builds "$model, $target, gcc $std" "$CC" -std=$std $strict $level $flags
            have "$CLANG" && builds "$model, $target, clang $std" "$CLANG" -std=$std $strict $level $flags
        done
        have g++ && builds "$model, $target, g++ c++17" g++ -x c++ -std=c++17 $strict -O1 $flags
        # Code for vectors must also build where they are not.
        [ -z "$flags" ] || builds "$model, $target, plain gcc" "$CC" -std=c99 $strict
    done
    if have arm-none-eabi-gcc; then
        case_ok "compile $model, cortex-m55" "$MLCC" "$onnx" -o net.c --target cortex-m55
        NM=arm-none-eabi-nm
        builds "$model, cortex-m55, arm-none-eabi-gcc" arm-none-eabi-gcc -std=c99 $strict -mcpu=cortex-m55 -mfloat-abi=hard
        builds "$model, cortex-m55, for a cortex-m0" arm-none-eabi-gcc -std=c99 $strict -mcpu=cortex-m0 -mthumb
        NM=nm
    else
        skip "$model, cortex-m55" "no arm-none-eabi-gcc"
    fi
    case_ok "compile $model to .o" "$MLCC" "$onnx" -o net.o --target native
    undefined=$(nm -u net.o | grep -v -w -e memcpy -e memset -e memmove -e _GLOBAL_OFFSET_TABLE_)
    [ -z "$undefined" ] && pass "$model.o needs nothing" || fail "$model.o needs nothing" "$undefined"
done
have "$CLANG" || skip "clang" "not found"

# --- names ---

"$MLCC" conv.onnx -o net.c --prefix kws && "$CC" -c net.c -o net.o
others=$(nm -g --defined-only net.o | awk '$3 !~ /^kws_/')
[ -z "$others" ] && grep -q 'int kws_run(' net.h && grep -q KWS_ARENA_SIZE net.h && pass "--prefix" || fail "--prefix" "$others"

"$MLCC" conv.onnx -o one.c && "$MLCC" "$digits" -o two.c && "$MLCC" conv.onnx -o three.o --target native &&
    cat >both.c <<'END'
#include "one.h"
#include "two.h"
#include "three.h"
#include <stdio.h>
int main(void) { return printf("%s %s %s\n", one_model.name, two_model.name, three_model.name) < 0; }
END
case_ok "three models in one program" "$CC" -std=c99 $strict both.c one.c two.c three.o -o both
case_ok "which runs" ./both

# --- the same bytes ---

mkdir -p here there/deeper
for form in c o s ll; do
    for options in "" "--target native" "--weights=bin"; do
        (cd here && "$MLCC" "$digits" -o net.$form $options)
        cp "$digits" there/deeper/copy.onnx
        (cd there && "$MLCC" deeper/copy.onnx -o ./net.$form $options)
        if cmp -s here/net.$form there/net.$form && cmp -s here/net.h there/net.h; then
            pass "same .$form twice, $options"
        else
            fail "same .$form twice, $options" "$(cmp here/net.$form there/net.$form)"
        fi
    done
done
grep -q -e "$work" -e "$HOME/" here/net.c && fail "no path in the code" "$(grep -m 1 "$work" here/net.c)" || pass "no path in the code"

# --- forms of the interface, each through the program of --main ---

npy_header() {
    printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1), }"
}
{
    npy_header '1, 1, 8, 8'
    head -c 64 "$SRC/examples/digits/testset.bin" | tr '\000-\020' '0-@' | sed 's/./&&&?/g'
} >image.npy

# answers NAME WANT OPTIONS...: compiles with the options, builds, runs on the image; WANT is the file of the outputs.
answers() {
    name=$1 want=$2
    shift 2
    rm -rf run && mkdir run
    if ! "$MLCC" "$digits" -o run/net.c --main "$@" >err 2>&1; then
        fail "$name" "$(cat err)"
    elif ! (cd run && "$CC" -std=c99 $strict -D_POSIX_C_SOURCE=200809L net.c net_main.c -o net) >err 2>&1; then
        fail "$name" "$(grep -m 1 -e error -e warning err)"
    elif ! (cd run && ./net --out . ../image.npy) >err 2>&1; then
        fail "$name" "$(cat err)"
    elif [ ! -e "$want" ]; then
        cp run/output_0.npy "$want" && pass "$name"
    elif cmp -s run/output_0.npy "$want"; then
        pass "$name"
    else
        fail "$name" "other outputs"
    fi
}

answers "--main" want.npy
answers "--weights=incbin" want.npy --weights=incbin
answers "--weights=bin" want.npy --weights=bin
answers "--static-arena" want.npy --static-arena
answers "--weights-section" want.npy --weights-section .rodata.model
answers "--static-arena --weights=bin" want.npy --static-arena --weights=bin
answers "--prefix with --main" want.npy --prefix other
size=$(wc -c <run/net.c)
"$MLCC" "$digits" -o run/net.c --weights=incbin
[ "$(wc -c <run/net.c)" -lt "$size" ] && pass "incbin makes the text smaller" || fail "incbin makes the text smaller" "$size"

rm -rf run && mkdir run
"$MLCC" "$digits" -o run/net.o --weights=incbin && [ ! -e run/net.weights.bin ] && pass "an object includes its weights" ||
    fail "an object includes its weights" "$(ls run)"

rm -rf run && mkdir run
"$MLCC" "$digits" -o run/net.c --main && (cd run && "$CC" -O2 -D_POSIX_C_SOURCE=200809L net.c net_main.c -o net)
case_ok "--bench" ./run/net --bench 0.05 image.npy
grep -q '"median_us"' out && grep -q '"p99_us"' out && pass "--bench prints its line" || fail "--bench prints its line" "$(cat out)"
./run/net >out 2>&1 && fail "the program without its input" "status 0" || pass "the program without its input"
./run/net none.npy >out 2>&1 && fail "the program with a missing file" "status 0" || pass "the program with a missing file"
npy_header '1, 1, 8, 9' >wrong.npy
head -c 288 /dev/zero >>wrong.npy
./run/net wrong.npy >out 2>&1 && fail "the program with a wrong shape" "status 0" || pass "the program with a wrong shape"

# --- run and verify ---

case_ok "mlcc run" "$MLCC" run "$digits" image.npy --out jit
mkdir -p good/test_data_set_0 bad/test_data_set_0
for kind in good bad; do
    cp "$digits" $kind/model.onnx
    cp image.npy $kind/test_data_set_0/input_0.npy
    cp jit/output_0.npy $kind/test_data_set_0/output_0.npy
    echo '1e-4 1e-6' >$kind/tolerance.txt
done
# A wrong exponent in the middle of the outputs.
{
    head -c 147 jit/output_0.npy
    printf '\100'
    tail -c +149 jit/output_0.npy
} >bad/test_data_set_0/output_0.npy
for via in c object jit; do
    case_ok "verify --via $via" "$MLCC" verify --via $via --target native good
    "$MLCC" verify --via $via --target native bad >out 2>&1 && fail "verify --via $via of wrong outputs" "passed" ||
        pass "verify --via $via of wrong outputs"
done
for kind in good bad; do
    rm -rf run && mkdir run
    case_ok "--main=embedded, $kind outputs" "$MLCC" "$digits" -o run/net.c --main=embedded --test-data $kind
    (cd run && "$CC" -O2 net.c net_main.c -o net && ./net) >out 2>&1
    word=PASS
    [ $kind = good ] || word=FAIL
    grep -q $word out && pass "it prints $word" || fail "it prints $word" "$(head -n 3 out)"
done
rm -rf run && mkdir run
"$MLCC" "$digits" -o run/net.c --main=embedded --test-data good --weights-section=model_data
(cd run && "$CC" -O2 -c net.c net_main.c && "$CC" net.o net_main.o -o net && ./net && objdump -h net.o net_main.o) >out 2>&1
[ "$(grep -c ' model_data ' out)" -eq 2 ] && grep -q PASS out && pass "weights and vectors in a section" ||
    fail "weights and vectors in a section" "$(cat out)"
"$MLCC" "$digits" -o run/net.c --weights-section='.data.*.w'
"$CC" -c run/net.c -o run/net.o && objdump -h run/net.o >out 2>&1
[ "$(grep -c ' \.data\.[a-zA-Z0-9_]*\.w ' out)" -eq "$(grep -c MLCC_SECTION...data run/net.c)" ] &&
    [ "$(grep -c MLCC_SECTION run/net.c)" -gt 3 ] && pass "a section for each constant" ||
    fail "a section for each constant" "$(cat out)"
cd "$top" || exit 1
finish
