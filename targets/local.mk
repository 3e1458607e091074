# SPDX-License-Identifier: Apache-2.0
TARGET_FILES =
EMBEDDED_FILES += $(TARGET_FILES)
EXTRA_DIST += $(TARGET_FILES) \
	targets/boards/mps3-an547/link.ld targets/boards/mps3-an547/startup.c targets/boards/mps3-an547/board.h
