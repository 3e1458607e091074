# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/backend/emit.h \
	compiler/backend/interface.c \
	compiler/backend/interface.h \
	compiler/backend/c/dot.c \
	compiler/backend/c/interleave.c \
	compiler/backend/c/nibble.c \
	compiler/backend/c/rounding.c \
	compiler/backend/c/function.c \
	compiler/backend/c/halves.c \
	compiler/backend/c/helpers.c \
	compiler/backend/c/print.h \
	compiler/backend/c/programs.c \
	compiler/backend/c/riscv.c \
	compiler/backend/c/unit.c \
	compiler/backend/c/words.c \
	compiler/backend/c/words.h \
	compiler/backend/llvm/arithmetic.c \
	compiler/backend/llvm/convert.c \
	compiler/backend/llvm/dot.c \
	compiler/backend/llvm/function.c \
	compiler/backend/llvm/llvm.h \
	compiler/backend/llvm/shape.c \
	compiler/backend/llvm/sqrt.c \
	compiler/backend/llvm/target.c \
	compiler/backend/llvm/types.c \
	compiler/backend/llvm/unit.c
