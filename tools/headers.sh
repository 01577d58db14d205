#!/bin/sh
# Compiles every header alone: it must name all that it needs. usage: headers.sh CC FLAGS
cd "$(dirname "$0")/.." || exit 1
bad=0
for h in include/*.h $(find src -name '*.h' | sort); do
    case $h in
        include/*) inc=${h#include/} ;;
        src/*) inc=${h#src/} ;;
    esac
    printf '#include "%s"\nextern int gs_header_test;\n' "$inc" |
        $1 -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror $2 -fsyntax-only -x c - ||
        { echo "headers: $h does not compile alone"; bad=1; }
done
[ $bad = 0 ] && echo "headers: ok"
exit $bad
