/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up of the board: vectors, memory, floating point and vector unit, then main; exit through semihosting. */
#include "board.h"

#include <stdint.h>
#include <string.h>

extern uint32_t stack_top[], data_start[], data_end[], data_image[], bss_start[], bss_end[];
extern char flash_used[], ram_used[];
extern int main(void);
void reset(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)

enum { TICKS = 1 << 24, FILL = 0xA5 };

static volatile uint32_t wraps;

static void tick(void) { wraps++; }

static void fault(void) {
    board_print("FAULT\n");
    board_exit(1);
}

typedef void (*Handler)(void);
__attribute__((section(".vectors"), used)) static const Handler vectors[16] = {
    (Handler)stack_top, reset, fault, fault, fault, fault, fault, fault, 0, 0, 0, fault, fault, 0, fault, tick,
};

static int semihost(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_print(const char *text) { semihost(0x04, text); }

void board_exit(int status) {
    const uint32_t block[2] = {0x20026, (uint32_t)status};
    semihost(0x20, block);
    for (;;) {
    }
}

/* QEMU's -icount shift=6 advances the clock by 64 ns an instruction; SysTick counts at 32 MHz, 31.25 ns a tick. */
uint64_t board_instructions(void) {
    uint32_t before, now;
    do {
        before = wraps;
        now = SYST_CVR;
    } while (before != wraps);
    return ((uint64_t)before * TICKS + (TICKS - 1 - now)) * 125 / 256;
}

unsigned board_flash_used(void) { return (unsigned)(uintptr_t)flash_used; }

unsigned board_ram_used(void) {
    const unsigned char *p = (const unsigned char *)bss_end;
    while (*p == FILL)
        p++;
    return (unsigned)(uintptr_t)ram_used + (unsigned)((const unsigned char *)stack_top - p);
}

__attribute__((noreturn)) void reset(void) {
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb");
    memcpy(data_start, data_image, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    unsigned char *here = __builtin_frame_address(0);
    for (unsigned char *p = (unsigned char *)bss_end; p < here - 64; p++)
        *p = FILL;
    SYST_RVR = TICKS - 1;
    SYST_CVR = 0;
    SYST_CSR = 7;
    board_exit(main());
    for (;;) {
    }
}
