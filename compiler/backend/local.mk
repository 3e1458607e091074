# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/backend/emit.h \
	compiler/backend/interface.c \
	compiler/backend/interface.h \
	compiler/backend/c/function.c \
	compiler/backend/c/helpers.c \
	compiler/backend/c/print.h \
	compiler/backend/c/unit.c
