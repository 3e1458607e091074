/* SPDX-License-Identifier: Apache-2.0 */
/* The linker script of firmware: which of a board's memories each constant goes to. */
#ifndef MLCC_DRIVER_FIRMWARE_H
#define MLCC_DRIVER_FIRMWARE_H

#include "driver/test_data.h"

/* The memories of a target's board: first that of the code, second that of data and stack, then what others there are. */
enum { MOST_MEMORIES = 8 };
typedef struct Memory {
    int64_t origin, size;
} Memory;

/* Reads "0+512K 0x20000000+4M": the number of memories; 0 where the text is wrong. */
int firmware_memories(const char *text, Memory memory[MOST_MEMORIES]);

/* The linker section of a firmware's weights and test data, by which cflags may place them. Where a target names its board's
 * memories each constant has one of its own. */
#define FIRMWARE_SECTION ".model"
#define FIRMWARE_SECTIONS FIRMWARE_SECTION ".*"

/* Writes the script for a program of --main=embedded with FIRMWARE_SECTIONS. False after a diagnostic: something does not fit. */
bool firmware_script(Diag *d, const Target *t, const KModule *m, const TestData *data, const char *path);

#endif
