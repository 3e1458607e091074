# SPDX-License-Identifier: Apache-2.0
# Schedules that were faster than the cost rules' on networks of common shapes; make tuning measures them anew.
TUNING_FILES = tuning/x86-64-v3.json tuning/x86-64-v4.json
EMBEDDED_FILES += $(TUNING_FILES)
EXTRA_DIST += $(TUNING_FILES)
