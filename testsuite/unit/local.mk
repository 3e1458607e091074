# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += testsuite/unit/unit.h
UNIT_TESTS += testsuite/unit/test_support
UNIT_TESTS += testsuite/unit/test_kernel
UNIT_TESTS += testsuite/unit/test_frontend
testsuite_unit_test_frontend_SOURCES = \
	testsuite/unit/test_frontend.c testsuite/unit/onnx_build.c testsuite/unit/onnx_build.h
UNIT_TESTS += testsuite/unit/test_target
