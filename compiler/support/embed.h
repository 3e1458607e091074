/* SPDX-License-Identifier: Apache-2.0 */
/* Text files of the source tree inside the program: runtime/ and targets/. */
#ifndef MLCC_SUPPORT_EMBED_H
#define MLCC_SUPPORT_EMBED_H

typedef struct EmbeddedFile {
    const char *name;        /* path in the source tree, "targets/generic.json" */
    const char *const *line; /* each with its newline; NULL ends */
} EmbeddedFile;

extern const EmbeddedFile embedded_files[]; /* name NULL ends */

const EmbeddedFile *embedded_find(const char *name); /* NULL where there is none */
/* The whole text, malloc'ed. */
char *embedded_text(const EmbeddedFile *f);

#endif
