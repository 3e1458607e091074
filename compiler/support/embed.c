/* SPDX-License-Identifier: Apache-2.0 */
/* Embedded text files. */
#include "support/embed.h"

#include <stddef.h>
#include <string.h>

#include "support/strbuf.h"

const EmbeddedFile *embedded_find(const char *name) {
    for (const EmbeddedFile *f = embedded_files; f->name; f++)
        if (!strcmp(f->name, name))
            return f;
    return NULL;
}

char *embedded_text(const EmbeddedFile *f) {
    StrBuf b = {0};
    sb_puts(&b, "");
    for (const char *const *line = f->line; *line; line++)
        sb_puts(&b, *line);
    return b.data;
}
