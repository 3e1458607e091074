/* SPDX-License-Identifier: Apache-2.0 */
/* Writing what one compilation gives: code, header, weights, program, make rule; all of it or nothing. */
#ifndef MLCC_DRIVER_COMPILE_H
#define MLCC_DRIVER_COMPILE_H

#include "driver/pipeline.h"

/* output's suffix (.c .o .s .ll) chooses the form; the others are written beside it. *module, where it is not NULL, receives
 * what was written. False after a diagnostic. */
bool compile_write(Compilation *c, const Options *o, const char *model_path, const char *output, const KModule **module);

#endif
