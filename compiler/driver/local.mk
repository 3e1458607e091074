# SPDX-License-Identifier: Apache-2.0
libmlcc_a_SOURCES += \
	compiler/driver/bench.c \
	compiler/driver/build.c \
	compiler/driver/build.h \
	compiler/driver/calibration.c \
	compiler/driver/calibration.h \
	compiler/driver/check.c \
	compiler/driver/compile.c \
	compiler/driver/compile.h \
	compiler/driver/execute.c \
	compiler/driver/execute.h \
	compiler/driver/npz.c \
	compiler/driver/npz.h \
	compiler/driver/options.c \
	compiler/driver/options.h \
	compiler/driver/pipeline.c \
	compiler/driver/pipeline.h \
	compiler/driver/quantize.c \
	compiler/driver/quantize_run.c \
	compiler/driver/quantize_run.h \
	compiler/driver/run.c \
	compiler/driver/samples.c \
	compiler/driver/samples.h \
	compiler/driver/target.c \
	compiler/driver/target.h \
	compiler/driver/tensor_file.c \
	compiler/driver/tensor_file.h \
	compiler/driver/test_data.c \
	compiler/driver/test_data.h \
	compiler/driver/tune.c \
	compiler/driver/tune.h \
	compiler/driver/tune_here.c \
	compiler/driver/tune_run.c \
	compiler/driver/tuning.c \
	compiler/driver/tuning.h \
	compiler/driver/verify.c \
	compiler/driver/version.h
