/* SPDX-License-Identifier: Apache-2.0 */
/* Classifies the held-out handwritten digits and prints the accuracy. Usage: digits testset.bin */
#include <stdio.h>

#include "digits_net.h"

enum { PIXELS = 64, CLASSES = 10 };

static _Alignas(DIGITS_NET_ARENA_ALIGN) unsigned char arena[DIGITS_NET_ARENA_SIZE + 1];

static int classify(const unsigned char *pixels) {
    float image[PIXELS], probability[CLASSES];
    for (int i = 0; i < PIXELS; i++)
        image[i] = (float)pixels[i] / 16;
    if (digits_net_run(image, probability, arena))
        return -1;
    int best = 0;
    for (int i = 1; i < CLASSES; i++)
        if (probability[i] > probability[best])
            best = i;
    return best;
}

static void draw(const unsigned char *pixels) {
    for (int i = 0; i < PIXELS; i++)
        printf("%c%s", " .:-=+*#@"[pixels[i] / 2], i % 8 == 7 ? "\n" : "");
}

int main(int argc, char **argv) {
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!f) {
        fprintf(stderr, "usage: digits testset.bin\n");
        return 2;
    }
    unsigned char row[PIXELS + 1];
    int total = 0, right = 0;
    while (fread(row, sizeof row, 1, f) == 1) {
        int answer = classify(row);
        if (total == 0) {
            draw(row);
            printf("is a %d; the network says %d\n", row[PIXELS], answer);
        }
        right += answer == row[PIXELS];
        total++;
    }
    fclose(f);
    if (!total) {
        fprintf(stderr, "%s holds no images\n", argv[1]);
        return 1;
    }
    printf("accuracy %d of %d (%.1f %%)\n", right, total, 100.0 * right / total);
    return right * 100 >= total * 97 ? 0 : 1;
}
