#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The examples, each built and run as its README says.
. "$(dirname "$0")/../lib.sh"
cd "$work" || exit 1

# says NAME PATTERN: the last command printed a line like that. QEMU's console is its standard error.
says() {
    grep -q "$2" "$work/out" "$work/err" && pass "$1" || fail "$1" "$(tail -n 3 "$work/out" "$work/err")"
}

digits=$SRC/examples/digits/Makefile
for form in c o; do
    mkdir $form && cd $form || exit 1
    case_ok "digits, host program, .$form" make -f "$digits" MLCC="$MLCC" CC="$CC" FORM=$form run
    says "it prints the accuracy" '^accuracy 3[5-6][0-9] of 360'
    if ! have arm-none-eabi-gcc; then
        skip "digits, firmware" "no arm-none-eabi-gcc"
    elif ! have qemu-system-arm; then
        skip "digits, firmware" "no qemu-system-arm"
    else
        case_ok "digits, firmware, .$form" timeout 120 make -f "$digits" MLCC="$MLCC" FORM=$form firmware
        says "it prints PASS" '^PASS$'
        says "it prints its RAM" '^RAM [1-9][0-9]* bytes (arena [0-9]*)'
        says "it prints its flash" '^flash [1-9][0-9]* bytes'
        says "it counts instructions" '^[1-9][0-9]* instructions an image'
    fi
    cd .. || exit 1
done
cd "$work/../../.." || exit 1
finish
