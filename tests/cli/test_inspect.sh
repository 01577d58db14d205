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

# A file that gosset cannot run is shown all the same. A safetensors file: its header's
# length, the header, the data.
header='{"x.weight":{"dtype":"F16","shape":[3,4],"data_offsets":[0,24]}}      '
printf "\\$(printf %o ${#header})\0\0\0\0\0\0\0%s%s" "$header" 'twenty-four bytes of f16' \
    >bare.safetensors
expect 0 "$GOSSET" inspect bare.safetensors --tensors
grep -q '^runs  *no: ' out || fail "it cannot run"
grep -q '^F16  *4 x 3  *24  x.weight$' out || { cat out; fail "no tensor"; }
refused 1 'architecture' "$GOSSET" convert bare.safetensors -o bare.gguf
refused 1 'architecture' "$GOSSET" run bare.safetensors -p a
