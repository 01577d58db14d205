#!/bin/sh
# Runs every unit test program of a build folder; prints the output of those that fail.
# usage: sh tests/run_unit.sh BUILD_DIR
build=${1:?usage: run_unit.sh BUILD_DIR}
passed=0 failed=0
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
for source in "$(dirname "$0")"/unit/test_*.c; do
    name=$(basename "$source" .c)
    program=$build/tests/unit/$name
    if "$program" >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        code=$?
        failed=$((failed + 1))
        echo "== $name failed with exit code $code"
        cat "$log"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
