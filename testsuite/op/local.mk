# SPDX-License-Identifier: Apache-2.0
CHECKS += testsuite/op/op.sh testsuite/op/bytes.sh
TEST_HELPERS += testsuite/op/many
EXTRA_DIST += testsuite/op/op.sh testsuite/op/bytes.sh testsuite/op/bytes.py testsuite/op/wasm.py testsuite/op/wasm.js testsuite/op/run.py testsuite/op/cases.py \
	testsuite/op/old_opsets.py testsuite/op/shapes.py testsuite/op/networks.py testsuite/op/attentions.py testsuite/op/packed.py testsuite/op/exporters.py testsuite/op/halves.py testsuite/op/contrib.py testsuite/op/harness.c testsuite/op/exceptions.txt
