#!/bin/sh
# Replays tests/fuzz/corpus/TARGET/* through each fuzz target. usage: replay.sh BUILD_DIR
# The last line is "N passed, M failed".
cd "$(dirname "$0")/../.." || exit 1
passed=0
failed=0
for source in tests/fuzz/fuzz_*.c; do
    target=${source#tests/fuzz/fuzz_}
    target=${target%.c}
    set -- "$1" tests/fuzz/corpus/"$target"/*
    if [ ! -e "$2" ]; then
        echo "fuzz $target: no corpus"
        failed=$((failed + 1))
        continue
    fi
    build=$1
    shift
    output=$("$build/tests/fuzz/replay_$target" "$@")
    echo "$output" | sed '$d'
    summary=$(echo "$output" | tail -n 1)
    echo "fuzz $target: $summary"
    case $summary in
        *" passed, "*" failed")
            passed=$((passed + ${summary%% *}))
            rest=${summary#*, }
            failed=$((failed + ${rest%% *})) ;;
        *) failed=$((failed + 1)) ;;
    esac
    set -- "$build"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
