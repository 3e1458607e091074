#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Products of bytes are exact on every target, whatever instructions it has for them, by C and as machine code.
. "$(dirname "$0")/../lib.sh"
needs_python "products of bytes" onnx numpy
PYTHONDONTWRITEBYTECODE=1 "$PYTHON" "$SRC/testsuite/op/bytes.py" "$work/case" || fail "the case" "bytes.py failed"

CLANG=${CLANG:-clang-19}
RISCV="$CLANG --target=riscv64-linux-gnu -march=rv64gcv -std=c99 -D_POSIX_C_SOURCE=200112L -O1 -static -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
# quick TARGET: a target file in which compilers do less; how far they go is no matter of this test.
quick() {
    mkdir -p "$work/quick"
    if [ "$1" = native ]; then
        echo '{"base": "native", "cflags": "-O1 -march=native"}' >"$work/quick/native.json"
    else
        sed '/"cflags"/s/-O[23]/-O1/' "$SRC/targets/$1.json" >"$work/quick/$1.json"
    fi
    echo "$work/quick/$1.json"
}

verify() {
    why=$(missing_for "$@")
    case $1 in
    */*) built=$1 ;;
    *) built=$(quick "$1") ;;
    esac
    for via in c object; do
        if [ -n "$why" ]; then
            skip "products of bytes, $1 by $via" "$why"
        else
            case_ok "products of bytes, $1 by $via" timeout 300 "$MLCC" verify -q --target "$built" --via $via "$work/case"
        fi
    done
}
for target in $(shipped_targets); do
    verify "$target"
done
# RISC-V's vectors as GNU C's, and, where their length is known, as its own types.
for length in "" -mrvv-vector-bits=zvl; do
    name="products of bytes, riscv64-v by $CLANG ${length:-without a length}"
    why=$(missing_for riscv64-v "$CLANG")
    [ -n "$why" ] && skip "$name" "$why" || case_ok "$name" "$MLCC" verify -q --target riscv64-v --cc "$RISCV $length" "$work/case"
done
# Here, where instructions of other machines are several.
for target in neoverse-n2 cortex-a76 cortex-m55; do
    case_ok "products of bytes, $target by jit" "$MLCC" verify -q --via jit --target $target "$work/case"
done
# The form for compilers without the target's vectors shares the constants' order.
for target in native x86-64-v3; do
    case_ok "products of bytes, $target without vectors" "$MLCC" verify -q --target $target --cc "$CC -O1" "$work/case"
done
why=$(missing_for neoverse-n2)
[ -n "$why" ] && skip "products of bytes, neoverse-n2 without its products" "$why" ||
    case_ok "products of bytes, neoverse-n2 without its products" "$MLCC" verify -q --target neoverse-n2 --cc "aarch64-linux-gnu-gcc -O1 -static" "$work/case"
# Four bytes times four, both signs, on a 64-bit Arm that has both.
echo '{"base": "cortex-a76", "cpu": "generic", "features": "+dotprod,+i8mm", "dot": "u8s8+s8s8", "emulator": "qemu-aarch64 -cpu max",
    "cflags": "-O1 -march=armv8.2-a+dotprod+i8mm -static"}' >"$work/both.json"
verify "$work/both.json" aarch64-linux-gnu-gcc qemu-aarch64

# wasm FORM: the same in WebAssembly.
wasm() {
    name="products of bytes, wasm32 by $1"
    why=$(missing_for wasm32 "$CLANG" "$WASM_LD" node)
    if [ -n "$why" ]; then
        skip "$name" "$why"
        return
    fi
    mkdir -p "$work/wasm/include"
    # All that the generated code asks of a C library.
    echo '#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memset(void *, int, size_t);' >"$work/wasm/include/string.h"
    cd "$work/wasm" && "$MLCC" -q ../case/model.onnx -o net.$1 --target wasm32 || fail "$name" "mlcc failed"
    [ "$1" = o ] || "$CLANG" -O1 --target=wasm32-unknown-unknown -msimd128 -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror \
        -Iinclude -c net.c -o net.o || fail "$name" "$CLANG failed"
    size=$(sed -n 's/#define NET_ARENA_SIZE \([0-9]*\).*/\1/p' net.h)
    "$PYTHON" "$SRC/testsuite/op/wasm.py" ../case >case.js
    case_ok "$name" sh -c "$WASM_LD --no-entry --export=net_run --export=__heap_base --allow-undefined net.o -o net.wasm &&
        node '$SRC/testsuite/op/wasm.js' net.wasm case.js ${size:-0}"
    cd "$top" || exit 1
}
top=$PWD
WASM_LD=wasm-ld${CLANG#clang}
wasm c
wasm o
finish
