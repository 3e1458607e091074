# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/kernel/affine.c \
	compiler/kernel/borders.c \
	compiler/kernel/build.c \
	compiler/kernel/choice.c \
	compiler/kernel/count.c \
	compiler/kernel/dot.c \
	compiler/kernel/fold.c \
	compiler/kernel/fold.h \
	compiler/kernel/groups.c \
	compiler/kernel/kernel.h \
	compiler/kernel/kops.def \
	compiler/kernel/math.c \
	compiler/kernel/narrow.c \
	compiler/kernel/saturate.c \
	compiler/kernel/words.c \
	compiler/kernel/order.c \
	compiler/kernel/pairs.c \
	compiler/kernel/panels.c \
	compiler/kernel/parse.c \
	compiler/kernel/parts.c \
	compiler/kernel/rewrite.c \
	compiler/kernel/rewrite.h \
	compiler/kernel/schedule.c \
	compiler/kernel/schedule.h \
	compiler/kernel/simplify.c \
	compiler/kernel/steps.c \
	compiler/kernel/target.h \
	compiler/kernel/text.c \
	compiler/kernel/text.h \
	compiler/kernel/transform.c \
	compiler/kernel/transform.h \
	compiler/kernel/vectorize.c \
	compiler/kernel/verify.c \
	compiler/kernel/verify_module.c
