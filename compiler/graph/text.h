/* SPDX-License-Identifier: Apache-2.0 */
/* What printing and parsing graphs agree on. */
#ifndef MLCC_GRAPH_TEXT_H
#define MLCC_GRAPH_TEXT_H

/* What a name may hold besides letters, digits and '_' without quotes. */
#define GRAPH_NAME_MORE "./-"

enum { GRAPH_TEXT_ELEMENTS = 64 }; /* longer constants print as their size */

#endif
