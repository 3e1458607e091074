/* SPDX-License-Identifier: Apache-2.0 */
/* Upgrade rules that put several nodes in the place of one (upgrade_rules.c); the table is in upgrade.c. */
#ifndef MLCC_FRONTEND_UPGRADE_H
#define MLCC_FRONTEND_UPGRADE_H

#include "graph/graph.h"

/* Each brings n, written for an opset version of the row that names it, to the newest form; false after a diagnostic. */
typedef bool UpgradeRule(Node *n);

UpgradeRule upgrade_axis_broadcast, upgrade_prelu, upgrade_batch_normalization, upgrade_flat_softmax, upgrade_tile,
    upgrade_group_normalization, upgrade_dropout_mask;

#endif
