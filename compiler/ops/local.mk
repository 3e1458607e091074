# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/ops/elementwise.c \
	compiler/ops/families.h \
	compiler/ops/infer.c \
	compiler/ops/lower.c \
	compiler/ops/lower.h \
	compiler/ops/lower_graph.c \
	compiler/ops/lower_state.h \
	compiler/ops/op.c \
	compiler/ops/op.h \
	compiler/ops/ops.def \
	compiler/ops/rules.h
