# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/support/arena.c \
	compiler/support/arena.h \
	compiler/support/clock.c \
	compiler/support/clock.h \
	compiler/support/diag.c \
	compiler/support/diag.h \
	compiler/support/dtype.c \
	compiler/support/dtype.def \
	compiler/support/dtype.h \
	compiler/support/embed.c \
	compiler/support/embed.h \
	compiler/support/file.c \
	compiler/support/file.h \
	compiler/support/ident.c \
	compiler/support/ident.h \
	compiler/support/ints.h \
	compiler/support/scan.c \
	compiler/support/scan.h \
	compiler/support/strbuf.c \
	compiler/support/strbuf.h \
	compiler/support/strmap.c \
	compiler/support/strmap.h
