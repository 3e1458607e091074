# SPDX-License-Identifier: Apache-2.0
CHECKS += testsuite/model/models.sh
EXTRA_DIST += testsuite/model/models.sh
