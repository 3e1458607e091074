# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/jit/jit.h
