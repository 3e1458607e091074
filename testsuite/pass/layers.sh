#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The layers: what each may include, that kernels and backends know of no operator, and that files stay short.
. "$(dirname "$0")/../lib.sh"
cd "$SRC" || exit 2

# only LAYER FOLDERS: the sources of the layer include headers of these folders alone
only() {
    bad=$(grep -rnE '^#include "' "compiler/$1" --include='*.[ch]' | grep -vE "#include \"($2)/" | grep -v 'onnx.pb-c.h\|config.h')
    if [ -z "$bad" ]; then pass "what $1 includes"; else fail "what $1 includes" "$bad"; fi
}
only support 'support'
only graph 'support|graph|ops'
only kernel 'support|kernel'
only ops 'support|graph|kernel|ops'
only frontend 'support|graph|ops|frontend'
only passes 'support|graph|kernel|ops|passes|jit'
only backend 'support|kernel|backend'
only jit 'support|kernel|backend|jit'

# Names that are plain words, too, in comments and in C.
words='Floor|Identity|Log|Tile|Where'
operators=$(sed -n 's/^OP("[^"]*", \([A-Za-z0-9]*\),.*/\1/p' compiler/ops/ops.def | sort -u | grep -vxE "$words" | paste -s -d '|' -)
named=$(grep -rnwE "$operators" compiler/kernel compiler/backend)
if [ -z "$operators" ]; then
    fail "no operators below ops/" "no names found in ops.def"
elif [ -z "$named" ]; then
    pass "no operators below ops/"
else
    fail "no operators below ops/" "$named"
fi

long=$(find compiler runtime testsuite -name '*.[ch]' -exec awk 'END { if (NR > 800) print FILENAME ": " NR " lines" }' {} \;)
if [ -z "$long" ]; then pass "short files"; else fail "short files" "$long"; fi
finish
