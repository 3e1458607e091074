/* SPDX-License-Identifier: Apache-2.0 */
/* What the boards' start-up code offers to a program. */
#ifndef MLCC_BOARD_H
#define MLCC_BOARD_H

#include <stdint.h>

void board_print(const char *text);              /* on the emulator's console */
__attribute__((noreturn)) void board_exit(int status);
uint64_t board_instructions(void);               /* since reset; exact under qemu -icount shift=6 */
unsigned board_flash_used(void);                 /* bytes of code, constants and initial data */
unsigned board_ram_used(void);                   /* bytes of data, and of stack at its deepest so far */

#endif
