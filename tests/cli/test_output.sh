# Results that cannot be written, interrupts.
. "$HERE/lib.sh"
tiny llama model.gguf

[ -c /dev/full ] && {
    "$GOSSET" inspect model.gguf --tensors >/dev/full 2>err && fail "a full disk is no success"
    grep -q '^gosset: cannot write to standard output: No space' err || fail "$(cat err)"
    "$GOSSET" run model.gguf -p a -n 3 >/dev/full 2>err && fail "a full disk is no success"
    grep -q '^gosset: cannot write to standard output' err || fail "$(cat err)"
}
{ "$GOSSET" run model.gguf -p a --temp 2 -c 4096 2>err; echo $? >code; } | :
is "$(cat code)" 1 "a closed pipe"
grep -q '^gosset: cannot write to standard output: Broken pipe' err || fail "$(cat err)"

i=0
while [ $i -lt 5000 ]; do echo "line $i of a text that is too long to be read in a moment"
    i=$((i + 1)); done >text
timeout --preserve-status -s INT 0.5 "$GOSSET" eval model.gguf --text text --ctx 64 --cpu scalar -t 1 \
    >out 2>err && code=0 || code=$?
is $code 130 "interrupted"
is "$(cat err)" "gosset: interrupted"
[ ! -s out ] || fail "a result after an interrupt"
