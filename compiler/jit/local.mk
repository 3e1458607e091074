# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/jit/jit.c \
	compiler/jit/jit.h \
	compiler/jit/native.c \
	compiler/jit/probe.c
