#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# --threads: the same bits whoever computes which part, and a pool without races.
. "$(dirname "$0")/../lib.sh"
top=$PWD
cd "$work" || exit 1
"$top/testsuite/cli/make_model" conv_3x3 conv.onnx || exit 1
"$top/testsuite/cli/make_model" attention attention.onnx || exit 1
strict="-O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
# Numbers between 0 and 4.
{
    printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 64, 56, 56), }"
    awk 'BEGIN { for (i = 0; i < 200704; i++) printf "%c%c%c%c", 32 + i * 7 % 89, 65 + i % 29, 32 + i % 31, i % 3 ? 63 : 64 }'
} >image.npy

# --- results ---

# answers NAME MODEL FORM OPTIONS...: the program of --main; its output is the same to the bit, however many threads run it.
answers() {
    name="$2 $1" model=$2 form=$3
    shift 3
    case " $* " in
    *" --math=fast "*) want=want_fast_$model.$form.npy ;;
    *) want=want_$model.$form.npy ;;
    esac
    rm -rf run && mkdir run
    if ! "$MLCC" $model.onnx -o run/net.$form --main "$@" >err 2>&1; then
        fail "$name" "$(cat err)"
        return
    fi
    pool=
    [ ! -e run/mlcc_threads.c ] || pool="mlcc_threads.c -pthread"
    if ! (cd run && "$CC" -std=c99 $strict -O1 -march=native net.$form net_main.c $pool -o net) >err 2>&1; then
        fail "$name" "$(grep -m 1 -e error -e warning err)"
        return
    fi
    for threads in '' '--threads 1' '--threads 2' '--threads 7'; do
        [ -n "$pool" ] || [ -z "$threads" ] || continue
        if ! (cd run && ./net $threads --out . ../image.npy) >err 2>&1; then
            fail "$name $threads" "$(cat err)"
        elif [ ! -e $want ]; then
            cp run/output_0.npy $want && pass "$name"
        elif cmp -s run/output_0.npy $want; then
            pass "$name $threads"
        else
            fail "$name $threads" "other outputs"
        fi
    done
}

for form in c o; do
    for parts in 1 2 3 5; do
        answers ".$form for $parts" conv $form --target native --threads=$parts
        answers ".$form for $parts" attention $form --target native --threads=$parts
        answers ".$form for $parts, --math=fast" conv $form --target native --threads=$parts --math=fast
    done
    answers ".$form with its weights apart" conv $form --target native --threads=3 --weights=bin
    answers ".$form with its arena" attention $form --target native --threads=2 --static-arena
done
"$MLCC" attention.onnx -o cut.c --target native --threads=2
case_ok "attention is cut" grep -q cut_attention_part_ cut.c

# --- forms ---

"$MLCC" conv.onnx -o net.c --target x86-64-v3 --threads=2 --main
for std in c99 c11 gnu2x; do
    [ $std = c99 ] && level= || level=-O1
    for file in net.c mlcc_threads.c; do
        case_ok "gcc $std, $file" "$CC" -std=$std $strict $level -c $file -o $file.o
        have "$CLANG" && case_ok "clang $std, $file" "$CLANG" -std=$std $strict $level -c $file -o $file.o
    done
done
if have g++; then
    case_ok "g++, net.c" g++ -x c++ -std=c++17 $strict -O1 -c net.c -o net.c.o
    printf '#include "net.h"\n#include "mlcc_threads.h"\nmlcc_parallel_for *const f = mlcc_threads_run;\n' >header.cc
    case_ok "g++, the headers" g++ -std=c++17 $strict -c header.cc -o header.o
fi
undefined=$(nm -u net.c.o | grep -v -w -e memcpy -e memset -e memmove -e _GLOBAL_OFFSET_TABLE_)
[ -z "$undefined" ] && pass "no outside symbols" || fail "no outside symbols" "$undefined"
mkdir -p again && "$MLCC" conv.onnx -o again/net.c --target x86-64-v3 --threads=2 --main
cmp -s net.c again/net.c && cmp -s mlcc_threads.c again/mlcc_threads.c && pass "the same bytes" || fail "the same bytes" "they differ"

# --- two models, one pool ---

cat >both.c <<'END'
#include "mlcc_threads.h"
#include "one.h"
#include "two.h"
#include <stdlib.h>
#include <string.h>
enum { COUNT = 64 * 56 * 56 };
static float x[COUNT], want[COUNT], y[COUNT];
static int rounds;

static void backwards(void *pool, void (*task)(void *context, int part), void *context, int parts) {
    ++*(int *)pool;
    while (parts-- > 0)
        task(context, parts);
}

static void check(int status, int where) {
    if (status || memcmp(y, want, sizeof y))
        exit(where);
    memset(y, 1, sizeof y);
}

static void add(void *context, int part) { __atomic_add_fetch((int *)context + part % 3, part + 1, __ATOMIC_RELAXED); }

static void stress(struct mlcc_threads *pool) {
    for (int i = 0; i < 4000; i++) {
        int sum[3] = {0, 0, 0}, parts = i % 70;
        mlcc_threads_run(pool, add, sum, parts);
        if (sum[0] + sum[1] + sum[2] != parts * (parts + 1) / 2)
            exit(9);
    }
}

int main(void) {
    unsigned char *one = (unsigned char *)malloc(ONE_ARENA_SIZE + 64), *two = (unsigned char *)malloc(TWO_ARENA_SIZE + 64);
    struct mlcc_threads *pool = mlcc_threads_new(3);
    const void *in[] = {x};
    void *out[] = {y};
    one += 64 - (size_t)one % 64;
    two += 64 - (size_t)two % 64;
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)(i * 37 % 1001 - 500) / 256;
    if (one_run(x, want, one, NULL, NULL))
        return 1;
    check(one_run(x, y, one, mlcc_threads_run, pool), 2);
    check(one_run(x, y, one, mlcc_threads_run, NULL), 3);
    check(one_run(x, y, one, backwards, &rounds), 4);
    check(one_model.run(in, out, NULL, one), 5);
    check(one_model.run_parallel(in, out, NULL, one, mlcc_threads_run, pool), 6);
    if (!rounds || one_model.threads != 2 || two_model.threads != 5)
        return 7;
    stress(pool);
    if (two_run(x, want, two, NULL, NULL))
        return 8;
    for (int i = 0; i < 3; i++)
        check(two_run(x, y, two, mlcc_threads_run, pool), 10);
    mlcc_threads_free(pool);
    mlcc_threads_free(NULL);
    return 0;
}
END
"$MLCC" conv.onnx -o one.c --threads=2 && "$MLCC" conv.onnx -o two.o --target native --threads=5
case_ok "two models in one program" "$CC" -std=c99 $strict both.c one.c two.o mlcc_threads.c -pthread -o both
case_ok "which run in any order" ./both
"$MLCC" conv.onnx -o two.c --threads=5
if "$CC" -O1 -g -fsanitize=thread both.c one.c two.c mlcc_threads.c -pthread -o races >err 2>&1; then
    # Its shadow memory wants addresses as they are without randomisation, where that is allowed.
    setarch=
    setarch -R true 2>/dev/null && setarch="setarch -R"
    case_ok "no races" $setarch ./races
else
    skip "no races" "$(tail -n 1 err)"
fi
cd "$top" || exit 1
finish
