# SPDX-License-Identifier: Apache-2.0
TEST_HELPERS += testsuite/fuzz/fuzz_model
CHECKS += testsuite/fuzz/fuzz_model
fuzz_sources = \
	testsuite/fuzz/one.c testsuite/fuzz/one.h
testsuite_fuzz_fuzz_model_SOURCES = $(fuzz_sources) \
	testsuite/fuzz/mutate.c testsuite/fuzz/samples.c testsuite/fuzz/samples.h \
	testsuite/unit/onnx_build.c testsuite/unit/onnx_build.h

# Coverage-guided, for as long as one likes: testsuite/fuzz/libfuzzer CORPUS_FOLDER
EXTRA_PROGRAMS = testsuite/fuzz/libfuzzer
testsuite_fuzz_libfuzzer_SOURCES = $(fuzz_sources) testsuite/fuzz/libfuzzer.c
testsuite_fuzz_libfuzzer_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
if LIBFUZZER
TEST_HELPERS += testsuite/fuzz/libfuzzer
endif
