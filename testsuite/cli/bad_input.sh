#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Bad models and bad places: one diagnostic that names the place, exit status 1, nothing left behind.
. "$(dirname "$0")/../lib.sh"
top=$PWD
make_model=$top/testsuite/cli/make_model
cd "$work" || exit 1
mkdir in
"$make_model" small in/small.onnx || exit 1

# rejects NAME PATTERN MODEL [ARGUMENT...]: in an empty folder, which is empty afterwards too.
rejects() {
    name=$1 pattern=$2 model=$3
    shift 3
    rm -rf out && mkdir out
    (cd out && "$MLCC" "$model" -o net.c "$@") >stdout 2>err </dev/null
    status=$?
    if [ $status -ne 1 ]; then
        fail "$name" "status $status: $(tail -n 2 err)"
    elif ! grep -q "error: .*$pattern" err; then
        fail "$name" "no error that says \"$pattern\": $(head -n 3 err)"
    elif [ "$(grep -c 'error: ' err)" -ne "${errors:-1}" ]; then
        fail "$name" "$(grep -c 'error: ' err) errors: $(head -n 3 err)"
    elif [ -s stdout ] || [ -n "$(ls -A out)" ]; then
        fail "$name" "left behind: $(ls -A out)$(head -c 100 stdout)"
    else
        pass "$name"
    fi
}

# made NAME PATTERN: one of make_model's.
made() {
    "$make_model" "$1" "in/$1.onnx" || exit 1
    rejects "$1" "$2" "../in/$1.onnx"
}

rejects "no such file" "in/none.onnx.*No such file" ../in/none.onnx
rejects "a folder" "not a regular file\|Is a directory" ../in
: >in/empty.onnx
rejects "an empty file" "" ../in/empty.onnx
echo 'int main(void) { return 0; }' >in/text.onnx
rejects "a text file" "not an ONNX file" ../in/text.onnx
head -c 3000 /dev/zero >in/zeros.onnx
rejects "zeros" "" ../in/zeros.onnx
head -c 100000 /dev/zero | tr '\0' '\377' >in/ones.onnx
rejects "ones" "" ../in/ones.onnx
cp "$MLCC" in/program.onnx
rejects "a program" "" ../in/program.onnx
head -c 9000 "$SRC/examples/digits/model.onnx" >in/half.onnx
rejects "half a file" "" ../in/half.onnx
mkfifo in/pipe.onnx && rejects "a pipe" "" ../in/pipe.onnx

made no_graph ""
made no_opset ""
made future "9999"
made no_outputs ""
made cyclic "node_of_"
made self_cycle "node_of_y"
made undefined_input "nowhere"
made undefined_output "nowhere"
made defined_twice "\"y\""
made arity "node_of_y.*(Add)"
made broadcast "node_of_y.*(Add)"
made conv_group "node_of_y.*(Conv).*group"
made conv_group_0 "node_of_y.*(Conv).*group"
made huge "\"x\""
made product "\"x\""
made negative "\"x\""
made rank_100 "\"x\""
made short_weights "\"w\""
made no_weights "\"w\""
made huge_weights "\"w\""
made external_missing "nowhere.bin"
made external_outside "passwd"
made external_absolute "passwd"

# Few bytes that would take all memory, or hours.
made doubled_size "too large"
made dear_shape "node_of_i.*operations"
for name in doubled_constant huge_constant; do
    "$make_model" $name in/$name.onnx || exit 1
    timeout 20 "$MLCC" -q in/$name.onnx -o $name.c 2>err && pass $name || fail $name "status $?: $(head -n 3 err)"
done

# Every byte missing from the end on, for a small model. The fuzz test does the same for larger ones.
size=$(wc -c <in/small.onnx)
bad=0 n=0
while [ $n -lt "$size" ]; do
    head -c $n in/small.onnx >in/cut.onnx
    "$MLCC" in/cut.onnx -o cut.c >stdout 2>err </dev/null
    status=$?
    # A cut between two fields may leave a whole model.
    if [ $status -ne 1 ] || ! grep -q 'error: ' err || [ -e cut.c ]; then
        [ $status -eq 0 ] && [ ! -s err ] && rm -f cut.c cut.h || bad=$((bad + 1))
    fi
    n=$((n + 1))
done
[ $bad -eq 0 ] && pass "cut at each of $size bytes" || fail "cut at each of $size bytes" "$bad times no diagnostic"

# Places that cannot be written, in every form.
for form in c o s ll; do
    rejects "a folder that is not there: .$form" "missing/net.$form" ../in/small.onnx -o missing/net.$form
done
if [ "$(id -u)" -ne 0 ]; then
    mkdir -p locked && chmod 555 locked
    for form in c o s ll; do
        rejects "a folder without permission: .$form" "Permission" ../in/small.onnx -o ../locked/net.$form
    done
    chmod 755 locked
else
    skip "a folder without permission" "run as root"
fi
if [ -d /proc/self ]; then # where even root cannot make a file
    for form in c o s ll; do
        rejects "a folder that takes no files: .$form" "cannot write" ../in/small.onnx -o /proc/net.$form
    done
fi
# full NAME FILE ARGUMENT...: FILE cannot be written, and none of the others stays.
full() {
    name=$1 file=$2
    shift 2
    ln -s /dev/full "in/$file"
    rejects "$name" "$file.*No space left" ../in/conv.onnx "$@"
    rm "in/$file"
    [ -z "$(ls in | grep '^net')" ] && pass "$name leaves nothing" || fail "$name leaves nothing" "$(ls in)"
}
"$make_model" conv in/conv.onnx || exit 1
if [ -w /dev/full ]; then
    for form in c o s ll; do
        full "a full disk for .$form" net.$form -o ../in/net.$form
    done
    full "a full disk for the header" net.h -o ../in/net.c
    full "a full disk for an object's header" net.h -o ../in/net.o
    full "a full disk for the weights" net.weights.bin -o ../in/net.c --weights=bin
    full "a full disk for an object's weights" net.weights.bin -o ../in/net.o --weights=bin
    full "a full disk for the program" net_main.c -o ../in/net.c --main
    full "a full disk for the make rule" net.d -o ../in/net.c -MD
else
    skip "a full disk" "no /dev/full"
fi
(ulimit -f 4 && rejects "a limit of file sizes" "net.*too large" ../in/conv.onnx -o net.c) >limit
cat limit
grep -q '^ok' limit && n_passed=$((n_passed + 1)) || n_failed=$((n_failed + 1))
mkdir in/folder.c
rejects "a folder as output" "folder.c" ../in/small.onnx -o ../in/folder.c
# The name of an output that is taken by a folder is found out last, when other outputs are complete.
mkdir in/late.h
rejects "a folder as header" "late.h" ../in/small.onnx -o ../in/late.c
[ -e in/late.c ] && fail "no code without its header" "it is there" || pass "no code without its header"

# Targets of one's own.
echo '{"name": "x", ' >in/broken.json
(cd in && "$MLCC" small.onnx -o net.c --target ./broken.json) >stdout 2>err
[ $? -eq 2 ] && grep -q 'broken.json' err && pass "a target file with a syntax error" ||
    fail "a target file with a syntax error" "$(cat err)"
(cd in && "$MLCC" small.onnx -o net.c --target ./none.json) >stdout 2>err
[ $? -eq 2 ] && grep -q 'none.json' err && pass "a target file that is not there" ||
    fail "a target file that is not there" "$(cat err)"
cd "$top" || exit 1
finish
