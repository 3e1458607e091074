#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a user types: options, verbs, exit statuses, and where messages go.
. "$(dirname "$0")/../lib.sh"
cd "$work" || exit 1
make_model=$OLDPWD/testsuite/cli/make_model
for name in small symbolic conv unsupported; do
    "$make_model" $name $name.onnx || exit 1
done

# says NAME STATUS STDOUT STDERR ARGUMENT...: mlcc's exit status, and a pattern that stdout and stderr hold; an empty one: they are empty.
says() {
    name=$1 want=$2 out=$3 err=$4
    shift 4
    "$MLCC" "$@" >out 2>err </dev/null
    status=$?
    if [ $status -ne "$want" ]; then
        fail "$name" "status $status, not $want: $(head -n 2 err)"
    elif ! matches out "$out"; then
        fail "$name" "stdout does not say \"$out\": $(head -n 3 out)"
    elif ! matches err "$err"; then
        fail "$name" "stderr does not say \"$err\": $(head -n 3 err)"
    else
        pass "$name"
    fi
}

matches() {
    if [ -z "$2" ]; then
        [ ! -s "$1" ]
    else
        grep -q -e "$2" "$1"
    fi
}

version=$(sed -n 's/^AC_INIT(\[mlcc\], \[\(.*\)\])$/\1/p' "$SRC/configure.ac")
says "--version" 0 "^mlcc $version\$" "" --version
says "--help" 0 "^Usage: mlcc .*MODEL.onnx" "" --help
says "-h" 0 "^Usage: mlcc" "" -h
for verb in bench check quantize run tune verify; do
    says "$verb --help" 0 "^Usage: mlcc $verb " "" $verb --help
done
for verb in "" bench check quantize run tune verify; do
    lines=$("$MLCC" $verb --help | wc -l)
    if [ "$lines" -le 40 ] && [ "$("$MLCC" $verb --help | awk 'length > 120' | wc -l)" -eq 0 ]; then
        pass "mlcc $verb --help fits a screen"
    else
        fail "mlcc $verb --help fits a screen" "$lines lines"
    fi
done

says "no arguments" 2 "" "error: no model given"
says "unknown option" 2 "" "error: .*nonsense" --nonsense small.onnx -o x.c
says "unknown letter" 2 "" "error: .*-Z" -Z small.onnx -o x.c
says "option without its argument" 2 "" "error: .*-o" small.onnx -o
says "long option without its argument" 2 "" "error: .*--target" small.onnx -o x.c --target
says "option with an argument too many" 2 "" "error: .*--verify-ir=3" small.onnx -o x.c --verify-ir=3
says "two models" 2 "" "error: .*conv.onnx" small.onnx conv.onnx -o x.c
says "a verb behind an option" 2 "" "error: .*before the options.*check" -q check small.onnx
says "no output" 2 "" "error: .*-o" small.onnx
says "unknown suffix" 2 "" "error: .*x.exe" small.onnx -o x.exe
says "no suffix" 2 "" "error: .*suffix" small.onnx -o out_of_nothing
says "unknown target" 2 "" "error: .*generic" small.onnx -o x.c --target pdp11
says "--weights=nonsense" 2 "" "error: .*nonsense" small.onnx -o x.c --weights=nonsense
says "--main=nonsense" 2 "" "error: .*nonsense" small.onnx -o x.c --main=nonsense
says "--main=embedded alone" 2 "" "error: .*--test-data" small.onnx -o x.c --main=embedded
says "--threads=0" 2 "" "error: .*0" small.onnx -o x.c --threads=0
says "--threads of a word" 2 "" "error: .*many" small.onnx -o x.c --threads=many
says "--math of another word" 2 "" "error: .*exact" small.onnx -o x.c --math=exact
says "--requant of another word" 2 "" "error: .*double" small.onnx -o x.c --requant=double
says "--dim without a size" 2 "" "error: .*batch" symbolic.onnx -o x.c --dim batch
says "--dim of a word" 2 "" "error: .*batch=x" symbolic.onnx -o x.c --dim batch=x
says "--dim, negative" 2 "" "error: .*batch=-1" symbolic.onnx -o x.c --dim batch=-1
says "--prefix, not an identifier" 2 "" "error: .*identifier" small.onnx -o x.c --prefix 1x
says "--via=nonsense" 2 "" "error: .*nonsense" verify --via nonsense small.onnx
says "output over the model" 2 "" "error: .*overwrite" small.onnx -o ./small.onnx
says "quantize without output" 2 "" "error: no output" quantize small.onnx --calibrate x.npy
says "quantize without inputs" 2 "" "error: no inputs given" quantize small.onnx -o x.onnx
says "quantize over the model" 2 "" "error: .*overwrite" quantize small.onnx -o ./small.onnx --calibrate x.npy
says "--method=nonsense" 2 "" "error: .*nonsense" quantize small.onnx -o x.onnx --calibrate x.npy --method nonsense
says "--activations=float" 2 "" "error: .*float" quantize small.onnx -o x.onnx --calibrate x.npy --activations float
says "--samples=0" 2 "" "error: .*0" quantize small.onnx -o x.onnx --calibrate x.npy --samples 0
says "--accuracy-floor above 1" 2 "" "error: .*1.5" quantize small.onnx -o x.onnx --calibrate x.npy --accuracy-floor 1.5
says "--mixed without a floor" 2 "" "error: .*--accuracy-floor" quantize small.onnx -o x.onnx --calibrate x.npy --mixed
says "check without a model" 2 "" "error: no model given" check
says "verify without a case" 2 "" "error: no test case given" verify
if [ -n "$(ls x.* 2>/dev/null)" ]; then
    fail "usage errors write nothing" "$(ls x.*)"
else
    pass "usage errors write nothing"
fi

says "compile" 0 "" "" small.onnx -o a.c
[ -s a.c ] && [ -s a.h ] && pass "a.c and a.h are there" || fail "a.c and a.h are there" "$(ls)"
says "options after the model, = forms" 0 "" "" small.onnx --output=b.c --target=generic
says "a note for a free dimension" 0 "" "note: .*batch" symbolic.onnx -o s.c
says "no note with --quiet" 0 "" "" symbolic.onnx -q -o s.c
says "--dim" 0 "" "" symbolic.onnx --dim batch=5 -o s.c
grep -q '\[5\*3\]' s.h && pass "--dim is in the header" || fail "--dim is in the header" "$(cat s.h)"
says "--dim of no dimension" 0 "" "warning: .*nonsense" symbolic.onnx --dim nonsense=5 --dim batch=2 -o t.c
says "-MD" 0 "" "" small.onnx -o d.c -MD
grep -q '^d\.c: .*small\.onnx' d.d && pass "the make rule" || fail "the make rule" "$(cat d.d)"
says "-MF, -MT" 0 "" "" small.onnx -o d.c -MD -MF other.d -MT 'build/d.c'
grep -q '^build/d\.c: ' other.d && pass "-MF and -MT" || fail "-MF and -MT" "$(cat other.d)"
says "-o /dev/stdout is no form" 2 "" "suffix" small.onnx -o /dev/stdout

says "check" 0 "supported *yes" "" check small.onnx
says "check of a Conv counts MACs" 0 "MACs *648" "" check conv.onnx
says "check of parameters by type" 0 "parameters .* bytes: [0-9]* f32\$" "" check conv.onnx
says "check --json of parameters by type" 0 '"f32":' "" check --json conv.onnx
says "check --json" 0 '"supported":	*true' "" check --json conv.onnx
says "check of what is unsupported" 1 "NoSuchOperator" "node_of_y" check unsupported.onnx
says "check --json of what is unsupported" 1 '"supported":	*false' "node_of_b" check --json -q unsupported.onnx
says "check --list-operators" 0 "^ai.onnx:Conv\$" "" check --list-operators
says "compile what is unsupported" 1 "" "node_of_b" unsupported.onnx -o u.c
count=$(grep -c -e 'node_of_a' -e 'node_of_b' -e 'node_of_y' err)
[ "$count" -ge 1 ] && grep -q node_of_a err && grep -q node_of_y err && pass "one report of all that is unsupported" ||
    fail "one report of all that is unsupported" "$(cat err)"
says "--dump-after all" 0 "Relu" "" small.onnx --dump-after all
says "--dump-after of no pass" 2 "" "error: .*nonsense" small.onnx --dump-after nonsense
says "--dump-kernels" 0 "." "" conv.onnx --dump-kernels
says "--verify-ir" 0 "" "" conv.onnx --verify-ir -o v.c

says "run without inputs" 1 "" "error: " run small.onnx
says "run with a missing input" 1 "" "error: .*none.npy" run small.onnx none.npy
says "verify of a folder without a model" 1 "failed" "error: " verify .

# A full pipe and a full disk are failures, not silence.
if [ -w /dev/full ]; then
    "$MLCC" --version >/dev/full 2>/dev/null && fail "stdout on a full disk" "status 0" || pass "stdout on a full disk"
    "$MLCC" check --list-operators >/dev/full 2>/dev/null && fail "a list on a full disk" "status 0" ||
        pass "a list on a full disk"
fi
cd "$OLDPWD" || exit 1
finish
