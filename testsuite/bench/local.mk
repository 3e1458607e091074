# SPDX-License-Identifier: Apache-2.0
# Not tests: how fast is the code? make bench. Which schedules are faster than the cost rules'? make tuning
EXTRA_DIST += testsuite/bench/conv.sh testsuite/bench/tuning.sh testsuite/bench/networks.py testsuite/bench/quantize.py
bench: mlcc$(EXEEXT) testsuite/cli/make_model$(EXEEXT)
	@$(CHECK_ENVIRONMENT) sh $(srcdir)/testsuite/bench/conv.sh
tuning: mlcc$(EXEEXT)
	@$(CHECK_ENVIRONMENT) sh $(srcdir)/testsuite/bench/tuning.sh
.PHONY: bench tuning
