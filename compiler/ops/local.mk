# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/ops/attention.c \
	compiler/ops/conv.c \
	compiler/ops/cumulate.c \
	compiler/ops/elementwise.c \
	compiler/ops/expand.c \
	compiler/ops/expand.h \
	compiler/ops/families.h \
	compiler/ops/functions.c \
	compiler/ops/generate.c \
	compiler/ops/infer.c \
	compiler/ops/lower.c \
	compiler/ops/lower.h \
	compiler/ops/lower_graph.c \
	compiler/ops/lower_state.h \
	compiler/ops/matmul.c \
	compiler/ops/ml.c \
	compiler/ops/movement.c \
	compiler/ops/normalize.c \
	compiler/ops/op.c \
	compiler/ops/op.h \
	compiler/ops/ops.def \
	compiler/ops/pool.c \
	compiler/ops/qconv.c \
	compiler/ops/qlinear.c \
	compiler/ops/qmatmul.c \
	compiler/ops/quant.c \
	compiler/ops/quant.h \
	compiler/ops/quantize.c \
	compiler/ops/reduce.c \
	compiler/ops/resize.c \
	compiler/ops/rnn.c \
	compiler/ops/rules.h \
	compiler/ops/window.c \
	compiler/ops/window.h
