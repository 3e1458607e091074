/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as text: 64-bit words, the form that C compilers read fastest. */
#ifndef MLCC_BACKEND_C_WORDS_H
#define MLCC_BACKEND_C_WORDS_H

#include <stdint.h>
#include <stdio.h>

typedef struct Words {
    FILE *f;
    int column;
    uint64_t word;
    int bytes; /* of the word so far */
} Words;

Words words_begin(FILE *f);
void words_put(void *words, const void *data, size_t n);
/* Fills up the last word; writes one where there is none. */
void words_end(Words *w);
/* Words that hold so many bytes, at least one. */
int64_t words_count(int64_t bytes);

#endif
