# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += \
	examples/digits/README.md examples/digits/Makefile examples/digits/train.py examples/digits/model.onnx \
	examples/digits/testset.bin examples/digits/digits.c examples/digits/firmware.c
