# Sourced by the tests: . "$HERE/lib.sh"
set -u

fail() {
    echo "FAILED: $*"
    exit 1
}

# Shows a command, its output and its exit code, for tests with a .exact file.
show() {
    echo "\$ $*"
    case $1 in gosset) shift && set -- "$GOSSET" "$@" ;; esac
    "$@" && code=0 || code=$?
    echo "[$code]"
}

# expect CODE COMMAND...: runs it, output to the files out and err.
expect() {
    want=$1
    shift
    "$@" >out 2>err && code=0 || code=$?
    [ "$code" = "$want" ] || { cat out err; fail "exit code $code, not $want: $*"; }
}

# refused CODE PATTERN COMMAND...: fails with the code, one line on stderr that begins with
# "gosset" and matches the (grep) pattern, nothing on stdout.
refused() {
    want=$1 pattern=$2
    shift 2
    expect "$want" "$@"
    [ ! -s out ] || fail "output on stdout: $*"
    [ "$(grep -c . err)" = 1 ] || { cat err; fail "not one line on stderr: $*"; }
    grep -q '^gosset: ' err || { cat err; fail "the line does not begin with 'gosset: ': $*"; }
    grep -q -e "$pattern" err || { cat err; fail "no '$pattern' in the message: $*"; }
}

# killed FILE COMMAND...: runs it and kills it as soon as its work beside FILE has grown; it may
# have been faster, then FILE is there.
killed() {
    file=$1
    shift
    "$@" >log 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        if [ -f "$file.work" ] && [ "$(wc -c <"$file.work")" -gt 600 ]; then
            kill -9 $pid
            break
        fi
    done
    wait $pid 2>/dev/null
    return 0
}

same() {
    cmp "$1" "$2" || fail "${3:-$1 and $2 differ}"
}

# A member of the JSON in the file out: json ppl, json tensors.0.name
json() {
    "$TOOLS/json_get" "$1" <out || fail "no $1 in the JSON"
}

is() {
    [ "$1" = "$2" ] || fail "'$1' is not '$2'${3:+: $3}"
}

# within VALUE LOW HIGH
within() {
    awk -v v="$1" -v lo="$2" -v hi="$3" 'BEGIN { exit !(v + 0 == v && v >= lo && v <= hi) }' ||
        fail "$1 is not within $2 to $3"
}

tiny() {
    "$TOOLS/make_tiny" "$1" "$2" || fail "make_tiny $1"
}

skip() {
    echo "$*"
    exit 77
}
