# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/graph/graph.c \
	compiler/graph/graph.h \
	compiler/graph/parse.c \
	compiler/graph/text.c \
	compiler/graph/text.h \
	compiler/graph/verify.c
