#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Passes and transformations on text, before and after; rewrite.c says what a case looks like. After a change that is
# meant: ./testsuite/pass/rewrite --update FILE >FILE.new, and read the difference.
. "$(dirname "$0")/../lib.sh"
exec ./testsuite/pass/rewrite "$SRC"/testsuite/pass/*.txt
