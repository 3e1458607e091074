#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mlcc tune writes a file; --tuning changes the code, never the result; and every file that is wrong.
. "$(dirname "$0")/../lib.sh"
make_model=$PWD/testsuite/cli/make_model
cd "$work" || exit 1
mkdir -p case/test_data_set_0
"$make_model" conv_3x3 case/model.onnx || exit 1
# Numbers between 0 and 4.
{
    printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 64, 56, 56), }"
    awk 'BEGIN { for (i = 0; i < 200704; i++) printf "%c%c%c%c", 32 + i * 7 % 89, 65 + i % 29, 32 + i % 31, i % 3 ? 63 : 64 }'
} >case/test_data_set_0/input_0.npy
"$MLCC" run -q --out case/test_data_set_0 case/model.onnx case/test_data_set_0/input_0.npy || exit 1

# --- tuning ---

case_ok "tune in this process" "$MLCC" tune case/model.onnx -o here.json --seconds 2
grep -q '"target":.*"native"' here.json && grep -q '"[0-9a-f]\{16\}":' here.json &&
    pass "tune writes entries" || fail "tune writes entries" "$(cat here.json)"
case_ok "verify what was tuned" "$MLCC" verify --target native --tuning here.json case
case_ok "tune goes on from a file" "$MLCC" tune case/model.onnx -o more.json --seconds 0.5 --tuning here.json
[ "$(grep -c '"[0-9a-f]\{16\}":' more.json)" -ge "$(grep -c '"[0-9a-f]\{16\}":' here.json)" ] &&
    pass "its entries stay" || fail "its entries stay" "$(cat more.json)"
"$make_model" conv small.onnx
case_ok "tune by a command" "$MLCC" tune small.onnx -o there.json --seconds 2 --target native --run env
grep -q '"[0-9a-f]\{16\}":' there.json && pass "tune by a command writes entries" ||
    fail "tune by a command writes entries" "$(cat there.json)"

# expect_error NAME STATUS PATTERN ARGUMENT...: exactly one line on stderr that holds the pattern.
expect_error() {
    name=$1 want=$2 pattern=$3
    shift 3
    "$MLCC" "$@" >out 2>err </dev/null
    status=$?
    if [ $status -eq "$want" ] && [ "$(grep -c . err)" -eq 1 ] && grep -q -e "$pattern" err; then
        pass "$name"
    else
        fail "$name" "status $status: $(cat err)"
    fi
}

expect_error "tune without output" 2 "no output" tune case/model.onnx
expect_error "tune by a command that fails" 1 "the command failed" tune case/model.onnx -o x.json --target native --run false
expect_error "tune by a command that measures nothing" 1 "did not print" tune case/model.onnx -o x.json --target native --run true
expect_error "tune for a machine without a system" 1 "no system" tune case/model.onnx -o x.json --target cortex-m55 --run env
[ ! -e x.json ] && pass "failed tuning writes nothing" || fail "failed tuning writes nothing" "$(cat x.json)"

# --- compiling ---

case_ok "tune for another target" "$MLCC" tune case/model.onnx -o v3.json --seconds 0.2 --target x86-64-v3

# choose TARGET ENTRY: every kernel scheduled as the entry says.
choose() {
    sed -n 's/.*"\([0-9a-f]\{16\}\)".*/\1/p' v3.json |
        awk -v target="$1" -v entry="$2" 'BEGIN { printf "{\"mlcc\": \"0\", \"target\": %s, \"kernels\": {", target }
            { printf "%s\"%s\": {%s}", (NR > 1 ? ", " : ""), $1, entry } END { print "}}" }'
}
v3='"x86-64-v3", "cpu": "x86-64-v3"'
"$MLCC" case/model.onnx -o plain.c --target x86-64-v3
sed 's/compiled by.*//; s/plain\.//' plain.c >plain.txt
for entry in '"rows": 3, "vectors": 1' '"lanes": 4, "blocks_inside": 1' '"row_loop": 1, "rows": 5, "together": 3, "unroll": 1'; do
    choose "$v3" "$entry" >tuned.json
    "$MLCC" case/model.onnx -o tuned.c --target x86-64-v3 --tuning tuned.json 2>err
    cp tuned.c again.c
    "$MLCC" case/model.onnx -o tuned.c --target x86-64-v3 --tuning "$PWD/tuned.json"
    cmp -s tuned.c again.c && [ ! -s err ] && pass "the same code again: $entry" || fail "the same code again: $entry" "$(cat err)"
    sed 's/compiled by.*//; s/tuned\.//' tuned.c | cmp -s - plain.txt &&
        fail "other code: $entry" "the same" || pass "other code: $entry"
    for via in c object jit; do
        missing=$(missing_for x86-64-v3)
        if [ -n "$missing" ]; then
            skip "verify via $via: $entry" "$missing"
        else
            case_ok "verify via $via: $entry" "$MLCC" verify --via $via --target x86-64-v3 --tuning tuned.json case
        fi
    done
done
case_ok "a make rule" "$MLCC" case/model.onnx -o tuned.c --target x86-64-v3 --tuning tuned.json -MD
grep -q tuned.json tuned.d && pass "the make rule names the tuning file" || fail "the make rule names the tuning file" "$(cat tuned.d)"

# --- the table that comes with mlcc ---

if "$PYTHON" -c 'import onnx, numpy' 2>/dev/null; then
    mkdir -p common && PYTHONDONTWRITEBYTECODE=1 "$PYTHON" "$SRC/testsuite/bench/networks.py" common
    for target in x86-64-v3 x86-64-v4; do
        for tuning in "" "--tuning none"; do
            "$MLCC" -q common/mobilenet_v2.onnx -o common.c -t $target --weights=bin $tuning
            sed 's/ --tuning none//' common.c >"common$tuning.txt"
        done
        cmp -s common.txt "common--tuning none.txt" && fail "$target: schedules of common networks" "none is in the table" ||
            pass "$target: schedules of common networks"
    done
else
    skip "schedules of common networks" "$PYTHON has no onnx package"
fi

# --- files that are wrong ---

# wrong NAME PATTERN TEXT / ignored NAME PATTERN TEXT
wrong() {
    printf '%s' "$3" >wrong.json
    expect_error "$1" 1 "wrong.json: error: .*$2" case/model.onnx -o x.c --target x86-64-v3 --tuning wrong.json
    [ ! -e x.c ] || fail "$1" "it wrote x.c"
}
ignored() {
    printf '%s' "$3" >ignored.json
    "$MLCC" case/model.onnx -o plain.c --target x86-64-v3 --tuning ignored.json 2>err
    status=$?
    if [ $status -eq 0 ] && grep -q "warning: .*$2" err && sed 's/compiled by.*//; s/plain\.//' plain.c | cmp -s - plain.txt; then
        pass "$1"
    else
        fail "$1" "status $status: $(cat err)"
    fi
}
tuned=$(cat tuned.json)
none="{\"mlcc\": \"0\", \"target\": $v3, \"kernels\": "
ignored "a file for another target" "tuned for target native" "$(cat here.json)"
ignored "a file for another processor" "tuned for target x86-64-v3 (other)" "$(echo "$tuned" | sed 's/"cpu": "[^"]*"/"cpu": "other"/')"
ignored "a file for other kernels" "no kernel of this model" "$none {\"0123456789abcdef\": {\"rows\": 2}}}"
ignored "a choice that is unknown" "\"colour\" is unknown" "$(choose "$v3" '"colour": 3')"
wrong "a tuning file that is not JSON" "line 1: this is not JSON" "tuned"
wrong "an empty tuning file" "not JSON" ""
wrong "a truncated tuning file" "not JSON" "$(echo "$tuned" | cut -c 1-100)"
wrong "a tuning file with more after it" "not JSON" "$tuned x"
wrong "a list" "one JSON object" "[]"
wrong "no kernels" "\"kernels\": is missing" '{"mlcc": "0", "target": "x86-64-v3", "cpu": ""}'
wrong "no target" "\"target\": is missing" '{"mlcc": "0", "cpu": "", "kernels": {}}'
wrong "a target that is a number" "must be a string" '{"mlcc": "0", "target": 3, "cpu": "", "kernels": {}}'
wrong "kernels in a list" "must be an object" "$none []}"
wrong "a kernel's name" "16 digits" "$none {\"conv\": {}}}"
wrong "a kernel twice" "twice" "$none {\"0123456789abcdef\": {}, \"0123456789abcdef\": {}}}"
wrong "a kernel that is a number" "must be an object" "$none {\"0123456789abcdef\": 3}}"
for choice in '"rows": 0' '"rows": 1e9' '"rows": 2.5' '"rows": -3' '"rows": "2"' '"rows": null' '"lanes": 3' '"chains": 1e300'; do
    wrong "the choice $choice" "must be a" "$none {\"0123456789abcdef\": {$choice}}}"
done
expect_error "no such file" 1 "nowhere.json" case/model.onnx -o x.c --tuning nowhere.json
finish
