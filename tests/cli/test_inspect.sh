# inspect: the table, the lists, JSON.
. "$HERE/lib.sh"
tiny llama model.gguf

expect 0 "$GOSSET" inspect model.gguf
grep -q '^arch  *llama$' out || fail "no arch"
grep -q '^runs  *yes$' out || fail "the model should run"
grep -q 'token_embd' out && fail "tensors without --tensors"
expect 0 "$GOSSET" inspect model.gguf --tensors --meta
grep -q ' token_embd.weight$' out || fail "no token_embd.weight"
grep -q '^general.architecture  *string  *llama$' out || fail "no metadata"

expect 0 "$GOSSET" inspect --json model.gguf
is "$(json arch)" llama
is "$(json runnable)" true
is "$(json tensors.0.name)" token_embd.weight
cols=$(json tensors.0.shape.0) rows=$(json tensors.0.shape.1)
is "$(json tensors.0.type)" F32
is "$(json tensors.0.bytes)" $((4 * cols * rows))
is "$(json n_vocab)" "$rows"
is "$(json bpw)" 32.0
is "$(json bytes)" $(($(json parameters) * 4))
expect 0 "$GOSSET" inspect --json --meta model.gguf
is "$(json meta.0.key)" general.architecture
is "$(json meta.0.value)" llama
