#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mlcc verify on every shipped target, as C and as an object, under the target's emulator; and users' target files.
. "$(dirname "$0")/../lib.sh"
top=$PWD
cd "$work" || exit 1

# A case with the outputs of the C that any compiler takes: what other targets compute must agree.
npy() {
    printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1), }"
}
cp "$SRC/examples/digits/model.onnx" .
mkdir -p case/test_data_set_0 plain
cp model.onnx case/
{
    npy '1, 1, 8, 8'
    # 64 floats between 0.5 and 2, from the first image's pixels.
    head -c 64 "$SRC/examples/digits/testset.bin" | tr '\000-\020' '0-@' | sed 's/./&&&?/g'
} >case/test_data_set_0/input_0.npy
"$MLCC" model.onnx -o plain/net.c --main >err 2>&1 && (cd plain && "$CC" net.c net_main.c -o net) >err 2>&1 &&
    plain/net --out case/test_data_set_0 case/test_data_set_0/input_0.npy >err 2>&1
[ -s case/test_data_set_0/output_0.npy ] && pass "the case" || fail "the case" "$(head -n 3 err)"
echo '1e-4 1e-6' >case/tolerance.txt

verify() {
    why=$(missing_for "$1")
    for via in c object; do
        if [ -n "$why" ]; then
            skip "verify --target $1 --via $via" "$why"
        else
            case_ok "verify --target $1 --via $via" timeout 300 "$MLCC" verify --target "$1" --via $via case
        fi
    done
}
for target in $(shipped_targets); do
    verify "$target"
done

# A firmware that computes something else does not pass.
if [ -z "$(missing_for cortex-m4)" ]; then
    cp -r case wrong
    # The exponent of one output.
    {
        head -c 147 case/test_data_set_0/output_0.npy
        printf '\100'
        tail -c +149 case/test_data_set_0/output_0.npy
    } >wrong/test_data_set_0/output_0.npy
    "$MLCC" verify --target cortex-m4 wrong >out 2>&1
    status=$?
    [ $status -eq 1 ] && grep -q 'FAIL: 1 sets' out && pass "firmware with wrong outputs" ||
        fail "firmware with wrong outputs" "status $status: $(cat out)"

    # Weights that fill one memory go to the next; what fits nowhere is an error before anything runs.
    board() {
        echo "{\"base\": \"cortex-m4\", \"memory\": \"$1\"}" >board.json
        "$MLCC" verify --target ./board.json case >out 2>&1
    }
    board "0+64K 0x20000000+32K 0x21000000+8K" && pass "weights in two memories" || fail "weights in two memories" "$(cat out)"
    for memory in "0+12K 0x20000000+16K 0x21000000+1K" "0+1M 0x20000000+4K 0x21000000+1M" "0+2K 0x20000000+16K 0x21000000+64K"; do
        board "$memory"
        status=$?
        [ $status -eq 1 ] && grep -q -e 'fit the board of target "board": .* the board has' -e 'memory0. overflowed' out &&
            pass "a board of $memory is too small" || fail "a board of $memory is too small" "status $status: $(cat out)"
    done
fi

# --- a user's target file ---

echo '{"base": "generic", "cc": "cc", "cflags": "-O1"}' >mine.json
case_ok "verify with a user's target" "$MLCC" verify --target mine.json case
"$MLCC" model.onnx -o mine.c --target ./mine.json -MD >err 2>&1
grep -q -- '--target mine ' mine.c && pass "the code names it" || fail "the code names it" "$(head -n 3 mine.c)"
grep -q './mine.json' mine.d && pass "-MD names it" || fail "-MD names it" "$(cat mine.d)"
echo '{"base": "generic", "l1": "big"}' >mine.json
"$MLCC" model.onnx -o other.c --target mine.json >out 2>err
status=$?
[ $status -eq 2 ] && [ ! -e other.c ] && grep -q 'mine.json: error: key "l1"' err && pass "a mistake in it" ||
    fail "a mistake in it" "status $status: $(cat err)"
"$MLCC" model.onnx -o other.c --target pdp11 >out 2>err
status=$?
[ $status -eq 2 ] && grep -q cortex-m4 err && pass "an unknown target" || fail "an unknown target" "status $status: $(cat err)"
cd "$top" || exit 1
finish
