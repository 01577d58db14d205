# stories260K: the greedy text that its documentation gives (test_stories.c checks its loss).
. "$HERE/lib.sh"
data=${GOSSET_DATA:-}/stories260K
[ -n "${GOSSET_DATA:-}" ] && [ -f "$data/stories260K.bin" ] || skip "needs GOSSET_DATA"
"$TOOLS/llama2c" "$data/stories260K.bin" "$data/tok512.bin" stories.gguf || fail llama2c

sed -n '/stories260K.bin -z/,/^```/p' "$data/stories260K.md" | sed '1d; /^```/,$d' >want
expect 0 "$GOSSET" run stories.gguf -p '' -n 256 --temp 0 --quiet
head -c $(($(wc -c <want) - 1)) out >got
head -c $(($(wc -c <want) - 1)) want >want.text
same want.text got "the greedy text"
