# chat: standard input that is no terminal; history, commands, the end.
. "$HERE/lib.sh"
tiny llama model.gguf
set -- "$GOSSET" chat model.gguf -n 8 --temp 0 --json

printf 'Hello\nAnd then?' | "$@" >out 2>err || fail "$(cat err)"
is "$(wc -l <out)" 2 "a line is a turn, the last one without a newline too"
json content >both
is "$(json role | sort -u)" assistant
# The second turn feeds only what is new.
first=$(json prompt_tokens | sed -n 1p) second=$(json prompt_tokens | sed -n 2p)
[ "$second" -lt $((2 * first)) ] || fail "the history was computed again: $first, $second"

printf 'Hello\n/reset\nHello\n' | "$@" >out 2>err || fail "$(cat err)"
json content >reset
is "$(sed -n 1p reset)" "$(sed -n 2p reset)" "after /reset the same answer"
is "$(sed -n 1p reset)" "$(sed -n 1p both)"
printf '\n\nHello\n/help\n/bye\nNot read\n' | "$@" >out 2>err || fail "$(cat err)"
is "$(wc -l <out)" 1 "/bye ends, empty lines are no turns"
grep -q '/reset' err || fail "/help tells nothing"
printf 'Hello \\\nthere\n' | "$@" >out 2>err || fail "$(cat err)"
is "$(wc -l <out)" 1 "a backslash continues a turn"
: | "$@" >out 2>err || fail "$(cat err)"
[ ! -s out ] || fail "an answer to nothing"

# Text and JSON agree; a system prompt changes the answer.
printf 'Hello\n' | "$GOSSET" chat model.gguf -n 8 --temp 0 >out 2>err || fail "$(cat err)"
is "$(cat out)" "$(sed -n 1p both)"
# Too long a conversation is an error that names both numbers.
i=0
while [ $i -lt 40 ]; do echo 'Tell me more, please.'; i=$((i + 1)); done >turns
expect 1 "$@" -c 128 <turns
grep -q '^gosset: the prompt has [0-9]* tokens, the context 128' err || fail "$(cat err)"
