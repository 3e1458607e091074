/* SPDX-License-Identifier: Apache-2.0 */
/* Time for measuring. */
#ifndef MLCC_SUPPORT_CLOCK_H
#define MLCC_SUPPORT_CLOCK_H

/* Seconds since some moment; never set back. */
double clock_seconds(void);

#endif
