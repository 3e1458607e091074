/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MLCC_DRIVER_VERSION_H
#define MLCC_DRIVER_VERSION_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#define MLCC_VERSION PACKAGE_VERSION
#else
#define MLCC_VERSION "0.1.0"
#endif

#endif
