# SPDX-License-Identifier: Apache-2.0
# Not tests: how fast is the code? make bench
EXTRA_DIST += testsuite/bench/conv.sh
bench: mlcc$(EXEEXT) testsuite/cli/make_model$(EXEEXT)
	@$(CHECK_ENVIRONMENT) sh $(srcdir)/testsuite/bench/conv.sh
.PHONY: bench
