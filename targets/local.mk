# SPDX-License-Identifier: Apache-2.0
TARGET_FILES = \
	targets/generic.json \
	targets/x86-64-v3.json \
	targets/x86-64-v4.json \
	targets/rpi4.json \
	targets/cortex-a76.json \
	targets/neoverse-n2.json \
	targets/riscv64-v.json \
	targets/wasm32.json \
	targets/cortex-m3.json \
	targets/cortex-m4.json \
	targets/cortex-m55.json
EMBEDDED_FILES += $(TARGET_FILES)
EXTRA_DIST += $(TARGET_FILES) \
	targets/boards/mps3-an547/link.ld targets/boards/mps3-an547/startup.c targets/boards/mps3-an547/board.h
