#!/bin/sh
# Every global symbol of the library starts with gs_, and the shared object exports exactly
# what gosset.h declares. usage: symbols.sh BUILD_DIR
cd "$(dirname "$0")/.." || exit 1
bad=0
foreign=$(nm -g --defined-only "$1/libgosset.a" 2>/dev/null |
    awk 'NF == 3 && $3 !~ /^gs_/ && $3 !~ /^__(asan|odr|tsan|ubsan)/ { print $3 }' | sort -u)
[ -z "$foreign" ] || { echo "symbols: without the prefix gs_: $foreign"; bad=1; }
mkdir -p build
nm -D --defined-only "$1/libgosset.so" | awk '$2 == "T" { print $3 }' | sort > build/exported.txt
tr '\n' ' ' < include/gosset.h | sed 's/GS_API/\nGS_API/g' |
    sed -n 's/^GS_API [^;(]*[ *]\(gs_[a-z0-9_]*\)(.*/\1/p' | sort > build/declared.txt
if ! diff build/declared.txt build/exported.txt; then
    echo "symbols: gosset.h (<) and libgosset.so (>) differ"
    bad=1
fi
[ $bad = 0 ] && echo "symbols: ok"
exit $bad
