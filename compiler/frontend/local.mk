# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/frontend/attrs.c \
	compiler/frontend/export.c \
	compiler/frontend/external.c \
	compiler/frontend/frontend.h \
	compiler/frontend/function.c \
	compiler/frontend/import.c \
	compiler/frontend/import.h \
	compiler/frontend/nodes.c \
	compiler/frontend/order.c \
	compiler/frontend/rewrite.c \
	compiler/frontend/rewrite.h \
	compiler/frontend/tensor.c \
	compiler/frontend/upgrade.c \
	compiler/frontend/upgrade.h \
	compiler/frontend/upgrade_rules.c \
	compiler/frontend/wire.c \
	compiler/frontend/wire.h

# The wire format, generated; its code is not held to our warnings.
ONNX_PB = compiler/frontend/onnx.pb-c.c compiler/frontend/onnx.pb-c.h
BUILT_SOURCES += $(ONNX_PB)
CLEANFILES += $(ONNX_PB)
EXTRA_DIST += compiler/frontend/onnx.proto
nodist_libonnxpb_a_SOURCES = $(ONNX_PB)
libonnxpb_a_CFLAGS = -std=c11 -w $(SANITIZE)

compiler/frontend/onnx.pb-c.h: compiler/frontend/onnx.pb-c.c
compiler/frontend/onnx.pb-c.c: $(srcdir)/compiler/frontend/onnx.proto
	@mkdir -p compiler/frontend
	$(AM_V_GEN)$(PROTOC_C) --c_out=compiler/frontend --proto_path=$(srcdir)/compiler/frontend $<
