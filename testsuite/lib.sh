# SPDX-License-Identifier: Apache-2.0
# For test scripts: counting, and where things are. Sourced with $0 in testsuite/KIND/.
#
#     . "$(dirname "$0")/../lib.sh"
#     case_ok NAME COMMAND...         COMMAND exits 0
#     pass NAME / fail NAME WHY / skip NAME WHY
#     shipped_targets                 prints those for which mlcc verify runs programs
#     missing_for TARGET COMMAND...   prints what keeps this machine from running programs for a target
#     needs_python NAME MODULE...     skips the whole script where Python lacks one of them
#     finish                          prints the counts and exits
#
# make check sets MLCC (the compiler), SRC (the source folder), CC, CLANG and PYTHON; a script run by hand takes ./mlcc
# and its own place. $work is a folder of the script's own, in the build folder and empty at the start.
LC_ALL=C
export LC_ALL
SRC=${SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
MLCC=${MLCC:-$PWD/mlcc}
CC=${CC:-gcc}
PYTHON=${PYTHON:-python3}
work=$PWD/testsuite/work/$(basename "$(dirname "$0")")-$(basename "$0" .sh)
rm -rf "$work"
mkdir -p "$work"
n_passed=0 n_failed=0 n_skipped=0

pass() {
    n_passed=$((n_passed + 1))
    echo "ok   $1"
}

fail() {
    n_failed=$((n_failed + 1))
    echo "FAIL $1: $2" | tr '\n' ' '
    echo
}

skip() {
    n_skipped=$((n_skipped + 1))
    echo "SKIP $1: $2"
}

case_ok() {
    name=$1
    shift
    if "$@" >"$work/out" 2>"$work/err" </dev/null; then
        pass "$name"
    else
        fail "$name" "status $?: $(tail -n 3 "$work/err")"
    fi
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# All but wasm32, which needs a program around it.
shipped_targets() {
    echo native
    ls "$SRC/targets" | sed -n 's/\.json$//p' | grep -v -x wasm32
}

tools_for() {
    case $1 in
    generic) echo cc ;;
    native | x86-64-*) echo gcc ;;
    rpi4 | cortex-a* | neoverse-*) echo aarch64-linux-gnu-gcc qemu-aarch64 ;;
    riscv64-*) echo riscv64-linux-gnu-gcc qemu-riscv64 ;;
    cortex-m*) echo arm-none-eabi-gcc qemu-system-arm ;;
    esac
}

# missing_for TARGET COMMAND...: what is not here of the target's tools and the commands, or why this machine runs no programs
# for the target.
missing_for() {
    for_target=$1
    shift
    for command in $(tools_for "$for_target") "$@"; do
        have "$command" || { echo "no $command"; return; }
    done
    case $for_target in
    x86-64-v3) level='avx2 .*bmi2|bmi2 .*avx2' ;;
    x86-64-v4) level='avx512dq .*avx512vl|avx512vl .*avx512dq' ;;
    cortex-m*)
        arm-none-eabi-gcc --specs=picolibc.specs -E -x c /dev/null >/dev/null 2>&1 || echo "no picolibc for arm-none-eabi"
        return
        ;;
    *) return ;;
    esac
    grep -E -q "^flags.* ($level)" /proc/cpuinfo 2>/dev/null || echo "the processor is none"
}

needs_python() {
    skipped=$1
    shift
    modules=$(echo "$*" | tr ' ' ,)
    if ! "$PYTHON" -c "import $modules" 2>/dev/null; then
        skip "$skipped" "$PYTHON lacks one of $modules (pip install $*)"
        finish
    fi
}

finish() {
    [ $n_failed -ne 0 ] || rm -rf "$work"
    echo "$(basename "$0" .sh): $n_passed passed, $n_failed failed, $n_skipped skipped"
    [ $n_failed -eq 0 ]
    exit
}
