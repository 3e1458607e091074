# SPDX-License-Identifier: Apache-2.0
CHECKS += testsuite/cli/usage.sh testsuite/cli/bad_input.sh testsuite/cli/generated.sh
TEST_HELPERS += testsuite/cli/make_model
EXTRA_DIST += testsuite/cli/usage.sh testsuite/cli/bad_input.sh testsuite/cli/generated.sh
