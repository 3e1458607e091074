#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measures schedules on networks of common shapes and writes the tables of tuning/: on a quiet machine, ${SECONDS_EACH:-60}
# seconds for each network and target.
. "$(dirname "$0")/../lib.sh"
cd "$work" || exit 1
PYTHONDONTWRITEBYTECODE=1 "$PYTHON" "$SRC/testsuite/bench/networks.py" . || exit 1
for target in x86-64-v3 x86-64-v4; do
    tuning=none
    for network in *.onnx; do
        echo "$target, $network:"
        "$MLCC" tune $network -o table.json -t $target --tuning $tuning --seconds "${SECONDS_EACH:-60}" | tail -n 2 || exit 1
        tuning=table.json
    done
    cp table.json "$SRC/tuning/$target.json"
done
