/* SPDX-License-Identifier: Apache-2.0 */
/* The one printer of diagnostics. */
#include "support/diag.h"

#include <stdarg.h>
#include <stddef.h>

/* Names come from the model: anything but printable bytes is shown as an octal escape, and long ones are cut. */
static void print_name(FILE *f, const char *s) {
    for (int n = 0; *s; s++, n++) {
        if (n == 1000) {
            fputs("...", f);
            return;
        }
        unsigned char c = (unsigned char)*s;
        if (c < 32 || c == 127)
            fprintf(f, "\\%03o", c);
        else
            fputc(c, f);
    }
}

static void print(Diag *d, const char *kind, Place at, const char *format, va_list ap) {
    FILE *f = d->stream;
    if (!f)
        return;
    fprintf(f, "%s: %s: ", d->file ? d->file : "mlcc", kind);
    if (at.node) {
        fputs("node \"", f);
        print_name(f, at.node);
        fputs("\"", f);
        if (at.op)
            fputs(" (", f), print_name(f, at.op), fputs(")", f);
        fputs(": ", f);
    } else if (at.op) {
        print_name(f, at.op);
        fputs(": ", f);
    }
    char text[1024];
    vsnprintf(text, sizeof text, format, ap);
    print_name(f, text);
    fputc('\n', f);
}

void diag_error(Diag *d, Place at, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    print(d, "error", at, format, ap);
    va_end(ap);
    d->errors++;
}

void diag_warning(Diag *d, Place at, const char *format, ...) {
    d->warnings++;
    if (d->quiet)
        return;
    va_list ap;
    va_start(ap, format);
    print(d, "warning", at, format, ap);
    va_end(ap);
}

void diag_note(Diag *d, Place at, const char *format, ...) {
    if (d->quiet)
        return;
    va_list ap;
    va_start(ap, format);
    print(d, "note", at, format, ap);
    va_end(ap);
}
