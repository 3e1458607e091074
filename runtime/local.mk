# SPDX-License-Identifier: Apache-2.0
# Text that generated code may include, and the shipped targets: embedded into the compiler.
EMBEDDED_FILES = \
	runtime/descriptor.h \
	runtime/embedded.c \
	runtime/firmware.ld \
	runtime/main.c \
	runtime/mlcc_threads.c \
	runtime/mlcc_threads.h
EXTRA_DIST += $(EMBEDDED_FILES)
include compiler/support/embed.mk
