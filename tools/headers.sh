#!/bin/sh
# Compiles every header alone: it must name all that it needs. usage: headers.sh CC FLAGS
cd "$(dirname "$0")/.." || exit 1
bad=0
machine=$($1 -dumpmachine)
for h in include/*.h $(find src -name '*.h' | sort); do
    case $h in
        include/*) inc=${h#include/} ;;
        src/*) inc=${h#src/} ;;
    esac
    isa= only= # as in the Makefile; those of other processors are not compiled
    case $h in
        *_avx2.h) only=x86_64 isa="-mavx2 -mfma -mf16c -mbmi2" ;;
        *_avx512.h) only=x86_64 isa="-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl" ;;
        *_avx512vbmi.h) only=x86_64 isa="-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl \
            -mavx512vbmi -mavx512vbmi2 -mavx512vnni -mgfni" ;;
        *_neon.h) only=aarch64 ;;
        *_neondot.h) only=aarch64 isa="-march=armv8.2-a+dotprod" ;;
    esac
    case $machine in "$only"*) ;; *) continue ;; esac
    printf '#include "%s"\nextern int gs_header_test;\n' "$inc" |
        $1 -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror $2 $isa -fsyntax-only -x c - ||
        { echo "headers: $h does not compile alone"; bad=1; }
done
[ $bad = 0 ] && echo "headers: ok"
exit $bad
