#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A 3x3 convolution, 64 to 64 channels, 56x56, from both backends, against the multiply-adds that the core reaches with
# vectors of the same width.
. "$(dirname "$0")/../lib.sh"
make_model=$PWD/testsuite/cli/make_model
cd "$work" || exit 1
"$make_model" conv_3x3 conv.onnx || exit 1

field() { # NAME in one line of JSON or one a line
    tr '\t' ' ' | sed -n 's/.*"'"$1"'": *\([0-9.e+-]*\).*/\1/p' | tail -n 1
}

# The input's 64 channels by npy, made once.
"$PYTHON" - <<'END' || exit 1
import struct
n = 64 * 56 * 56
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 64, 56, 56), }"
head += " " * (63 - (10 + len(head)) % 64) + "\n"
with open("x.npy", "wb") as f:
    f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
    f.write(b"".join(struct.pack("<f", (i * 31 % 97 - 48) / 32) for i in range(n)))
END

report() { # WHO MICROSECONDS
    echo "$1 $2 $macs $peak" | awk '{ g = 2 * $3 / $2 / 1e3; printf "  %-10s %8.1f us  %6.1f GFLOP/s  %5.1f %% of peak\n", $1, $2, g, 100 * g / $4 }'
}

for target in x86-64-v3 x86-64-v4; do
    if ! "$MLCC" bench -t $target --json conv.onnx x.npy >llvm.json 2>err; then
        echo "$target: $(head -n 1 err)"
        continue
    fi
    macs=$(field macs <llvm.json) peak=$(field peak_gflops <llvm.json)
    echo "$target: peak $peak GFLOP/s"
    report LLVM "$(field median_us <llvm.json)"
    "$MLCC" conv.onnx -o net.c --main -t $target || exit 1
    for cc in gcc "$CLANG"; do
        have "$cc" || continue
        $cc -O3 -march=$target -o net net.c net_main.c && report "$cc" "$(./net --bench 1 x.npy | field median_us)"
    done
done
