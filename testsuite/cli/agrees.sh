# SPDX-License-Identifier: Apache-2.0
# For scripts that write models: what others say of them. Sourced after lib.sh.
#
#     agrees MODEL [DATA...]      ONNX's checker takes it and, with data, ONNX Runtime computes what mlcc does
#     all_agree [--floats]        asks for all of them at once: Python's start takes longer than the answers. With --floats,
#                                 inputs and outputs must be float32
n_models=0
agrees() {
    n_models=$((n_models + 1))
    cp "$1" agrees_$n_models.onnx
    printf '%s %s' "$1" agrees_$n_models.onnx >>agrees.list
    shift
    for data in "$@"; do
        cp "$data" "agrees_$n_models.$data"
        printf ' %s' "agrees_$n_models.$data" >>agrees.list
    done
    echo >>agrees.list
}

all_agree() {
    "$PYTHON" "$SRC/testsuite/cli/quantize_agrees.py" "$MLCC" "$@" <agrees.list >agrees.out 2>err
    cat agrees.out
    n_passed=$((n_passed + $(grep -c ^ok agrees.out))) n_failed=$((n_failed + $(grep -c ^FAIL agrees.out)))
    n_skipped=$((n_skipped + $(grep -c ^SKIP agrees.out)))
    [ "$(grep -c "own checker" agrees.out)" -eq $n_models ] && pass "all were asked" || fail "all were asked" "$(tail -n 3 err)"
}
