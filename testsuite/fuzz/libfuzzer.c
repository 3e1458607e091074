/* SPDX-License-Identifier: Apache-2.0 */
/* The entry point of libFuzzer: ./configure CC=clang-19 --enable-fuzzer; make testsuite/fuzz/libfuzzer. */
#include <stdint.h>
#include <stdlib.h>

#include "one.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (!fuzz_one(bytes, size))
        abort();
    return 0;
}
