# SPDX-License-Identifier: Apache-2.0
CHECKS += testsuite/cli/quantize.sh testsuite/cli/generated.sh testsuite/cli/quantize_kinds.sh testsuite/cli/threads.sh \
	testsuite/cli/tune.sh testsuite/cli/targets.sh testsuite/cli/quantize_floats.sh testsuite/cli/bad_input.sh \
	testsuite/cli/usage.sh testsuite/cli/examples.sh
TEST_HELPERS += testsuite/cli/make_model
testsuite_cli_make_model_SOURCES = \
	testsuite/cli/make_model.c testsuite/unit/onnx_build.c testsuite/unit/onnx_build.h
EXTRA_DIST += testsuite/cli/usage.sh testsuite/cli/bad_input.sh testsuite/cli/generated.sh \
	testsuite/cli/quantize.sh testsuite/cli/quantize_kinds.sh testsuite/cli/quantize_floats.sh testsuite/cli/targets.sh testsuite/cli/threads.sh \
	testsuite/cli/tune.sh testsuite/cli/examples.sh
EXTRA_DIST += testsuite/cli/agrees.sh testsuite/cli/quantize_data.py testsuite/cli/quantize_agrees.py
