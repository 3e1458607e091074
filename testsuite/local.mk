# SPDX-License-Identifier: Apache-2.0
# make check runs every program and script of CHECKS and ends with the sum "N passed, N failed, N skipped".
#
# A new test is one line: a Check program testsuite/unit/test_x.c is "UNIT_TESTS += testsuite/unit/test_x"; a script is
# "CHECKS += testsuite/kind/script.sh"; a program that scripts use is "TEST_HELPERS += testsuite/kind/program".
# make check CHECKS=... runs only those named.
UNIT_TESTS =
CHECKS =
TEST_HELPERS =
LDADD = libmlcc.a libonnxpb.a $(MLCC_LIBS) $(CHECK_LIBS)

# CHECKS begins with what takes longest: the processors then end at about the same time.
include testsuite/unit/local.mk
include testsuite/op/local.mk
include testsuite/cli/local.mk
include testsuite/pass/local.mk
include testsuite/fuzz/local.mk
include testsuite/bench/local.mk
include testsuite/model/local.mk

check_PROGRAMS = $(TEST_HELPERS)
if HAVE_CHECK
check_PROGRAMS += $(UNIT_TESTS)
CHECKS += $(UNIT_TESTS)
endif

EXTRA_DIST += testsuite/collect testsuite/lib.sh testsuite/op/old_opsets.py

CHECK_ENVIRONMENT = SRC='$(abs_srcdir)' MLCC='$(abs_builddir)/mlcc$(EXEEXT)' CC='$(CC)' CLANG='$(CLANG)' \
    PYTHON='$(PYTHON)' CK_DEFAULT_TIMEOUT=60

check-local: mlcc$(EXEEXT)
	@$(CHECK_ENVIRONMENT) sh $(srcdir)/testsuite/collect $(abs_srcdir) $(CHECKS)

# All that make check builds, without running it. One after the other: `all` is a make of its own, which would build the
# libraries at the same time.
check-build:
	$(MAKE) $(AM_MAKEFLAGS) all
	$(MAKE) $(AM_MAKEFLAGS) $(check_PROGRAMS)
.PHONY: check-build

# What reads foreign files: .ci/run runs these under sanitizers too.
SANITIZED_CHECKS = $(UNIT_TESTS) testsuite/fuzz/fuzz_model testsuite/cli/bad_input.sh testsuite/cli/usage.sh
print-sanitized-checks:
	@echo $(SANITIZED_CHECKS)
.PHONY: print-sanitized-checks

clean-local:
	-rm -rf testsuite/log testsuite/work
