/* SPDX-License-Identifier: Apache-2.0 */
/* How mlcc.MatMulBlocks has its weights, for passes that make it. */
#ifndef MLCC_OPS_QBLOCK_H
#define MLCC_OPS_QBLOCK_H

/* Columns that lie side by side, byte by byte: those that are left over make a narrower panel at the end. As many as a
 * tile of registers has, or a few times that. */
enum { PANEL = 128 };

#endif
