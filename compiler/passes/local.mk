# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/passes/attention.c \
	compiler/passes/canonicalize.c \
	compiler/passes/cse.c \
	compiler/passes/dead.c \
	compiler/passes/edit.c \
	compiler/passes/edit.h \
	compiler/passes/equalize.c \
	compiler/passes/fold.c \
	compiler/passes/fold.h \
	compiler/passes/fuse_conv.c \
	compiler/passes/group.c \
	compiler/passes/infer.c \
	compiler/passes/layout.c \
	compiler/passes/passes.h \
	compiler/passes/pad_channels.c \
	compiler/passes/plan.c \
	compiler/passes/prune.c \
	compiler/passes/qdq.c \
	compiler/passes/quantised.c \
	compiler/passes/quantised.h \
	compiler/passes/quantize.c \
	compiler/passes/quantize.h \
	compiler/passes/quantize_dynamic.c \
	compiler/passes/quantize_edit.c \
	compiler/passes/quantize_edit.h \
	compiler/passes/quantize_round.c \
	compiler/passes/quantize_static.c \
	compiler/passes/quantize_storage.c \
	compiler/passes/quantize_weights.c \
	compiler/passes/quantize_weights.h \
	compiler/passes/run.c \
	compiler/passes/sink.c \
	compiler/passes/storage.c \
	compiler/passes/strips.c \
	compiler/passes/weights.c \
	compiler/passes/winograd.c
