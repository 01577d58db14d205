#!/bin/sh
# Compiles every header alone: it must name all that it needs. usage: headers.sh CC FLAGS
cd "$(dirname "$0")/.." || exit 1
bad=0
for h in include/*.h $(find src -name '*.h' | sort); do
    case $h in
        include/*) inc=${h#include/} ;;
        src/*) inc=${h#src/} ;;
    esac
    isa=
    case $h in # as in the Makefile; on other processors these files are not compiled
        *_avx2.h) isa="-mavx2 -mfma -mf16c -mbmi2" ;;
        *_avx512.h) isa="-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl" ;;
    esac
    case $isa,$(uname -m) in ?*,x86_64 | ?*,amd64 | ,*) ;; *) continue ;; esac
    printf '#include "%s"\nextern int gs_header_test;\n' "$inc" |
        $1 -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror $2 $isa -fsyntax-only -x c - ||
        { echo "headers: $h does not compile alone"; bad=1; }
done
[ $bad = 0 ] && echo "headers: ok"
exit $bad
