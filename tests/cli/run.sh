#!/bin/sh
# Runs the tests of the program: every tests/cli/test_*.sh, each in an empty folder of its
# own. A test passes if it exits with 0 and, where a .exact file stands beside it, prints
# exactly that (both streams). It skips itself by exiting with 77.
#
# usage: sh tests/cli/run.sh BUILD_DIR [NAME...]    NAME: help, usage …
#        UPDATE=1 rewrites the .exact files for review
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: run.sh BUILD_DIR [NAME...]}" && pwd) || exit 1
shift
[ $# -gt 0 ] || set -- $(cd "$here" && ls test_*.sh | sed 's/^test_//; s/\.sh$//')
# A relative data folder would be lost in the tests' own folders.
[ -z "$GOSSET_DATA" ] || GOSSET_DATA=$(cd "$GOSSET_DATA" 2>/dev/null && pwd)
export GOSSET_DATA LC_ALL=C GOSSET=$build/gosset TOOLS=$build/tests/tools HERE=$here
unset GOSSET_CPU
export GOSSET_ALLOC_GUARD=1

passed=0 failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
for name; do
    mkdir "$work/$name"
    (cd "$work/$name" && exec sh "$here/test_$name.sh") >"$work/$name.out" 2>&1
    code=$?
    exact=$here/test_$name.exact
    [ -z "$UPDATE" ] || [ ! -f "$exact" ] || cp "$work/$name.out" "$exact"
    if [ $code = 77 ]; then
        echo "-- $name skipped: $(tail -n 1 "$work/$name.out")"
    elif [ $code != 0 ]; then
        echo "== $name failed with exit code $code"
        cat "$work/$name.out"
        failed=$((failed + 1))
    elif [ -f "$exact" ] && ! diff -u "$exact" "$work/$name.out"; then
        echo "== $name printed something else (< expected, > printed)"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
    rm -rf "${work:?}/$name"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
