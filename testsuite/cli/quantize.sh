#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mlcc quantize: the example's network in 8 bits, every form of data, and what goes wrong.
. "$(dirname "$0")/../lib.sh"
make_model=$PWD/testsuite/cli/make_model
top=$PWD
cd "$work" || exit 1
digits=$SRC/examples/digits
if ! have "$PYTHON"; then
    skip "quantize" "no Python to make data with"
    finish
fi
"$PYTHON" - "$digits/testset.bin" <<'END' || exit 1
import os, struct, sys, zipfile
raw = open(sys.argv[1], "rb").read()
rows = [raw[i:i + 64] for i in range(0, len(raw), 65)]
def npy(shape, data):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }" % "".join("%d, " % d for d in shape)
    header = header.ljust((len(header) + 11 + 63) // 64 * 64 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data
pixels = [struct.pack("<64f", *[p / 16 for p in row]) for row in rows]
images = npy([len(rows), 1, 8, 8], b"".join(pixels))
def write(name, data):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    open(name, "wb").write(data)
def archive(name, method, arrays):
    with zipfile.ZipFile(name, "w", method) as z:
        for k, data in arrays:
            z.writestr(k + ".npy", data)
write("images.npy", images)
for k in range(len(rows)):
    write("files/%03d.npy" % k, npy([1, 1, 8, 8], pixels[k]))
    write("sets/test_data_set_%d/input_0.npy" % k, npy([1, 1, 8, 8], pixels[k]))
labels = npy([len(rows)], struct.pack("<%df" % len(rows), *[raw[i] for i in range(64, len(raw), 65)]))
archive("stored.npz", zipfile.ZIP_STORED, [("labels", labels), ("image", images)])
archive("deflated.npz", zipfile.ZIP_DEFLATED, [("image", images), ("labels", labels)])
archive("numbered.npz", zipfile.ZIP_STORED, [("arr_0", images)])
archive("nameless.npz", zipfile.ZIP_STORED, [("a", labels), ("b", labels)])
archive("small.npz", zipfile.ZIP_DEFLATED, [("image", npy([2, 1, 8, 8], pixels[0] + pixels[1]))])
write("wrong.npy", npy([3, 1, 8, 9], bytes(4 * 216)))
write("nan.npy", npy([1, 1, 8, 8], struct.pack("<f", float("nan")) * 64))
write("one.npy", npy([1, 1, 8, 8], pixels[0]))
os.makedirs("empty", exist_ok=True)
END
model=$digits/model.onnx

# --- what comes out ---

# accuracy MODEL: images of 360 that the example's program then gets right.
accuracy() {
    "$MLCC" -q "$1" -o digits_net.c && $CC -O1 -I. -o digits "$digits/digits.c" digits_net.c &&
        ./digits "$digits/testset.bin" | sed -n 's/^accuracy \([0-9]*\) of 360.*/\1/p'
}
float=$(accuracy "$model")
for method in minmax percentile entropy mse; do
    case_ok "quantize, $method" "$MLCC" quantize "$model" --calibrate images.npy -o $method.onnx --method $method --verify-ir
    right=$(accuracy $method.onnx)
    [ -n "$float" ] && [ "${right:-0}" -ge $((float - 1)) ] && pass "$method loses at most 0.5 %" ||
        fail "$method loses at most 0.5 %" "$right right, were $float"
done
case_ok "quantize to int8 activations" "$MLCC" quantize "$model" --calibrate images.npy -o int8.onnx --activations int8
right=$(accuracy int8.onnx)
[ "${right:-0}" -ge $((float - 1)) ] && pass "int8 loses at most 0.5 %" || fail "int8 loses at most 0.5 %" "$right right"

"$MLCC" quantize "$model" --calibrate images.npy -o again.onnx >report
cmp -s minmax.onnx again.onnx && pass "the same file again" || fail "the same file again" "they differ"
for line in '^input .* image$' '^layer .* conv1 (Conv)$' '^layer .* dense (Gemm)$' '^output .* probabilities$' '^most is lost in .*"'; do
    grep -q "$line" report && pass "the report says $line" || fail "the report says $line" "$(cat report)"
done
sed -n 's/^360 samples; .*: \([0-9.]*\) times smaller$/\1/p' report | awk '$1 >= 3.5 && $1 <= 4 { ok = 1 } END { exit !ok }' &&
    pass "weights 3.5 to 4 times smaller" || fail "weights 3.5 to 4 times smaller" "$(tail -n 1 report)"
"$MLCC" check again.onnx | grep -q 'float' && fail "no operator stays float" "$("$MLCC" check again.onnx)" ||
    pass "no operator stays float"
for data in files sets stored.npz deflated.npz numbered.npz; do
    rm -f same.onnx
    case_ok "data from $data" "$MLCC" quantize "$model" --calibrate $data -o same.onnx
    cmp -s minmax.onnx same.onnx && pass "$data gives the same" || fail "$data gives the same" "another file, or none"
done
"$MLCC" quantize "$model" --calibrate images.npy -o few.onnx --samples 20 >out 2>err
grep -q '^20 samples' out && pass "--samples" || fail "--samples" "$(tail -n 1 out err)"

cp -r sets mixed && cp wrong.npy mixed/test_data_set_1/input_0.npy
"$MLCC" quantize "$model" --calibrate mixed -o few.onnx >out 2>err
grep -q '^359 samples' out && grep -q 'warning: .*1 of 360 data sets are for other shapes' err && pass "sets of other shapes" ||
    fail "sets of other shapes" "$(tail -n 1 out err)"

# The C of it gives what the process that compared it did.
mkdir -p case/test_data_set_0
cp minmax.onnx case/model.onnx
cp one.npy case/test_data_set_0/input_0.npy
"$MLCC" run -q --out case/test_data_set_0 minmax.onnx one.npy
case_ok "verify what was quantised" "$MLCC" verify case

# 16 bits for some values hold a floor that bytes miss; the weights stay bytes, and all is of integers.
"$MLCC" quantize -q "$model" --calibrate images.npy -o bytes.onnx --accuracy-floor 0.99998 >out 2>err && fail "bytes miss the floor" "$(cat out)" ||
    pass "bytes miss the floor"
case_ok "16 bits" "$MLCC" quantize "$model" --calibrate images.npy -o int16.onnx --mixed --accuracy-floor 0.99998 --verify-ir
cp out report
grep -q '^layer .* int16 ' report && grep -q '^layer .* int8 ' report && pass "layers of both" || fail "layers of both" "$(cat report)"
grep -q ' float ' report && fail "none stays float" "$(cat report)" || pass "none stays float"
awk '/times smaller$/ { small = $(NF - 2) > 3.5 } END { exit !small }' report && pass "as small" || fail "as small" "$(tail -n 1 report)"
"$MLCC" check int16.onnx | grep -q '^float' && fail "integers of 16 bits" "$("$MLCC" check int16.onnx)" || pass "integers of 16 bits"
right=$(accuracy int16.onnx)
[ "${right:-0}" -ge $((float - 1)) ] && pass "16 bits lose at most 0.5 %" || fail "16 bits lose at most 0.5 %" "$right right, were $float"

if "$PYTHON" -c 'import numpy, onnxruntime' 2>/dev/null; then
    "$PYTHON" - "$model" minmax.onnx int8.onnx int16.onnx images.npy >out 2>err <<'END'
import sys, numpy, onnxruntime
def run(path, x):
    s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return numpy.concatenate([s.run(None, {s.get_inputs()[0].name: x[i:i + 1]})[0] for i in range(len(x))])
x = numpy.load(sys.argv[5])
want = run(sys.argv[1], x)
for path in sys.argv[2:5]:
    got = run(path, x)
    cosine = (got * want).sum() / numpy.linalg.norm(got) / numpy.linalg.norm(want)
    assert cosine > 0.999, (path, cosine)
END
    [ $? -eq 0 ] && pass "ONNX Runtime agrees" || fail "ONNX Runtime agrees" "$(tail -n 2 err)"
else
    skip "ONNX Runtime agrees" "no onnxruntime for Python"
fi
if "$PYTHON" -c 'import onnx' 2>/dev/null; then
    case_ok "ONNX's own checker" "$PYTHON" -c \
        'import onnx, sys; onnx.checker.check_model(onnx.load(sys.argv[1]), full_check=True)' minmax.onnx
else
    skip "ONNX's own checker" "no onnx for Python"
fi

# --- what goes wrong: one error, nothing written ---

# rejects NAME PATTERN DATA [ARGUMENT...]
rejects() {
    name=$1 pattern=$2 data=$3
    shift 3
    rm -f x.onnx
    "$MLCC" quantize "${from:-$model}" --calibrate "$data" -o x.onnx "$@" >out 2>err </dev/null
    status=$?
    if [ $status -eq 1 ] && [ "$(grep -c 'error: ' err)" -eq 1 ] && grep -q "error: .*$pattern" err && [ ! -e x.onnx ]; then
        pass "$name"
    else
        fail "$name" "status $status: $(cat err) $(ls x.onnx 2>/dev/null)"
    fi
}
rejects "a floor that is missed" "\"probabilities\" has the cosine 0.99" images.npy --accuracy-floor 0.9999999
rejects "a floor that is out of reach" "nothing is left to quantise\|has the cosine" images.npy --accuracy-floor 1 --mixed
case_ok "layers that stay float" "$MLCC" quantize "$model" --calibrate images.npy -o met.onnx --mixed --accuracy-floor 0.999995 --verify-ir
grep -q '^layer .* float ' "$work/out" && grep -q '^layer .* int8 \|^layer .* int16 ' "$work/out" && pass "they are named" ||
    fail "they are named" "$(cat "$work/out")"
awk '/times smaller$/ { few = $(NF - 2) > 1.5 } END { exit !few }' "$work/out" && pass "they are few" || fail "they are few" "$(tail -n 1 "$work/out")"
case_ok "a floor that is met" "$MLCC" quantize "$model" --calibrate images.npy -o met.onnx --accuracy-floor 0.99
from=minmax.onnx rejects "a quantised model" "quantised already" images.npy
rejects "no such data" "nowhere.npy.*No such file" nowhere.npy
rejects "a folder without data" "holds no samples" empty
rejects "data of another shape" "is f32\[1x1x8x8\]; .* f32\[3x1x8x9\]" wrong.npy
rejects "no number" "no number" nan.npy
rejects "an archive without the input" "no array for input 0 (\"image\")" nameless.npz
rejects "no such archive" "nowhere.npz.*No such file" nowhere.npz
cp images.npy images.npz
rejects "an array for an archive" "not a .npz file" images.npz
"$make_model" unsupported unsupported.onnx
errors=$("$MLCC" quantize unsupported.onnx --calibrate images.npy -o x.onnx 2>&1 | grep -c NoSuchOperator)
[ "$errors" -ge 2 ] && [ ! -e x.onnx ] && pass "what is unsupported" || fail "what is unsupported" "$errors lines"
rejects "a folder that is not there" "missing/x.onnx" images.npy -o missing/x.onnx

# Bytes of an archive that are missing or wrong: read all the same, or one error.
bad=0
size=$(wc -c <small.npz)
at=0
while [ $at -lt "$size" ]; do
    head -c $at small.npz >cut.npz
    { head -c $at small.npz; printf '\377'; tail -c +$((at + 2)) small.npz; } >changed.npz
    for data in cut changed; do
        "$MLCC" quantize -q "$model" --calibrate $data.npz -o y.onnx >out 2>err
        status=$?
        [ $status -eq 0 ] || { [ $status -eq 1 ] && [ "$(grep -c 'error: ' err)" -eq 1 ]; } || bad=$((bad + 1))
    done
    at=$((at + 7))
done
[ $bad -eq 0 ] && pass "damaged archives" || fail "damaged archives" "$bad times no diagnostic"
cd "$top" || exit 1
finish
