# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += testsuite/unit/unit.h
UNIT_TESTS += testsuite/unit/test_support
