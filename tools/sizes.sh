#!/bin/sh
# Files of 150 to 600 lines, functions up to 60 lines (kernels 120): warns above, fails above
# 1000 and 150. Generated tables (*_table.c, *_table.h) are exempt.
cd "$(dirname "$0")/.." || exit 1
find include src cli server tests tools -name '*.[ch]' ! -name '*_table.[ch]' 2>/dev/null | sort |
    xargs awk '
function finish_file() {
    if (lines > 1000) { print "sizes: " name ": " lines " lines, the limit is 1000"; bad = 1 }
    else if (lines > 600) print "sizes: warning: " name ": " lines " lines, aim at 600"
}
FNR == 1 { if (name) finish_file(); name = FILENAME; start = 0 }
{ lines = FNR }
/^{/ { start = FNR }
/^}/ && start {
    n = FNR - start - 1; soft = name ~ /^src\/kernels\// ? 120 : 60
    if (n > 150) { print "sizes: " name ":" start ": function of " n " lines, the limit is 150"; bad = 1 }
    else if (n > soft) print "sizes: warning: " name ":" start ": function of " n " lines, aim at " soft
    start = 0
}
END { finish_file(); if (!bad) print "sizes: ok"; exit bad }'
