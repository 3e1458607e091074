/* SPDX-License-Identifier: Apache-2.0 */
/* Every unit test is one program of Check suites, which ends with the line that testsuite/collect reads:
 *
 *     int main(void) { return unit_run("kernel", kernel_suite()); }
 */
#ifndef MLCC_TESTSUITE_UNIT_H
#define MLCC_TESTSUITE_UNIT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static inline int unit_run(const char *name, Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner), run = srunner_ntests_run(runner);
    TestResult **results = srunner_failures(runner);
    for (int i = 0; i < failed; i++)
        printf("FAIL %s, line %d: %s\n", tr_tcname(results[i]), tr_lno(results[i]), tr_msg(results[i]));
    free(results);
    srunner_free(runner);
    printf("%s: %d passed, %d failed, 0 skipped\n", name, run - failed, failed);
    return failed != 0;
}

#endif
