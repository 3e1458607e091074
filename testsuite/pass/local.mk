# SPDX-License-Identifier: Apache-2.0
PASS_CASES = testsuite/pass/attention.txt testsuite/pass/canonicalize.txt testsuite/pass/fold.txt testsuite/pass/cse.txt \
	testsuite/pass/fuse_conv.txt testsuite/pass/gelu.txt testsuite/pass/group.txt testsuite/pass/means.txt testsuite/pass/qdq.txt testsuite/pass/prune.txt \
	testsuite/pass/weights.txt testsuite/pass/storage.txt testsuite/pass/signs.txt testsuite/pass/swish.txt \
	testsuite/pass/weight_zeros.txt testsuite/pass/window_rows.txt testsuite/pass/kernel.txt
TEST_HELPERS += testsuite/pass/rewrite
CHECKS += testsuite/pass/pass.sh testsuite/pass/layers.sh
EXTRA_DIST += testsuite/pass/pass.sh testsuite/pass/layers.sh $(PASS_CASES)
