/* SPDX-License-Identifier: Apache-2.0 */
/* The same on a microcontroller: no libc, no operating system, no heap. PASS when at least 97 % are right. */
#include "board.h"
#include "digits_net.h"

enum { PIXELS = 64, CLASSES = 10, ROW = PIXELS + 1 };

__asm__(".section .rodata\n"
        ".global testset, testset_end\n"
        "testset: .incbin \"testset.bin\"\n"
        "testset_end:\n"
        ".previous\n");
extern const unsigned char testset[], testset_end[];

static void print_number(const char *before, uint64_t n, const char *after) {
    char text[24], *p = text + sizeof text;
    *--p = '\0';
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    board_print(before);
    board_print(p);
    board_print(after);
}

static int classify(const unsigned char *pixels) {
    float image[PIXELS], probability[CLASSES];
    for (int i = 0; i < PIXELS; i++)
        image[i] = (float)pixels[i] / 16;
    if (digits_net_run(image, probability))
        return -1;
    int best = 0;
    for (int i = 1; i < CLASSES; i++)
        if (probability[i] > probability[best])
            best = i;
    return best;
}

int main(void) {
    unsigned total = 0, right = 0;
    uint64_t start = board_instructions();
    for (const unsigned char *row = testset; row + ROW <= testset_end; row += ROW, total++)
        right += classify(row) == row[PIXELS];
    uint64_t instructions = board_instructions() - start;
    print_number("", right, "");
    print_number(" of ", total, " right\n");
    print_number("RAM ", board_ram_used(), " bytes (");
    print_number("arena ", DIGITS_NET_ARENA_SIZE, ")\n");
    print_number("flash ", board_flash_used(), " bytes\n");
    print_number("", total ? instructions / total : 0, " instructions an image\n");
    int pass = total && right * 100 >= total * 97;
    board_print(pass ? "PASS\n" : "FAIL\n");
    return !pass;
}
