# tokenize: ids, pieces, JSON, text from all sources.
. "$HERE/lib.sh"
tiny llama model.gguf

expect 0 "$GOSSET" tokenize model.gguf --text 'Hello world' --ids
cp out ids
grep -q '^[0-9][0-9 ]*$' ids || fail "not a line of numbers"
printf 'Hello world' >text
expect 0 "$GOSSET" tokenize model.gguf --file text --ids
same out ids
expect 0 "$GOSSET" tokenize model.gguf --file - --ids <text
same out ids
expect 0 "$GOSSET" tokenize model.gguf --text 'Hello world' --json
is "$(json ids | tr -d '[]' | sed 's/,/ /g; s/  */ /g')" "$(cat ids)"
is "$(json texts | tr -cd '"' | wc -c)" $((2 * $(wc -w <ids)))

# The newline before the separator belongs to it; pieces may be empty.
printf 'Hello world\n---\n---\n\n---\nHello world\n---x\n---\nHello world' >pieces
expect 0 "$GOSSET" tokenize model.gguf --file pieces --split --- --ids
is "$(wc -l <out)" 5
is "$(sed -n 1p out)" "$(cat ids)"
is "$(sed -n 2p out)" ""
is "$(sed -n 5p out)" "$(cat ids)"
"$GOSSET" tokenize model.gguf --text '
' --ids >newline
is "$(sed -n 3p out)" "" "a newline and its separator"
expect 0 "$GOSSET" tokenize model.gguf --text 'Hello world' --bos --ids
is "$(wc -w <out)" $(($(wc -w <ids) + 1)) "with the token that begins a text"
# Whatever the bytes, tokens come out and JSON stays valid.
head -c 2000 model.gguf >bytes
expect 0 "$GOSSET" tokenize model.gguf --file bytes --json
json ids >/dev/null
