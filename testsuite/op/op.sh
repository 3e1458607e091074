#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Operators against the official ONNX cases. By hand, in the build folder: .../testsuite/op/op.sh [OPERATOR or PART OF A CASE'S NAME...]
. "$(dirname "$0")/../lib.sh"
needs_python "operators" onnx numpy
PYTHONDONTWRITEBYTECODE=1 "$PYTHON" "$SRC/testsuite/op/run.py" "$MLCC" "$CC" "$SRC" "$work" "$@" || exit 1
rm -rf "$work"
