/* SPDX-License-Identifier: Apache-2.0 */
/* One hostile model through the compiler. */
#ifndef MLCC_TESTSUITE_FUZZ_ONE_H
#define MLCC_TESTSUITE_FUZZ_ONE_H

#include <stdbool.h>
#include <stddef.h>

/* Imports the bytes and compiles them to C and to LLVM IR as far as they are a model, with every invariant checked
 * after every step. False when the compiler broke its word, after a line that says how: a failure without a diagnostic,
 * two diagnostics of an import, a diagnostic without failure, or an IR that is not sound. */
bool fuzz_one(const void *bytes, size_t size);

#endif
