# delta: taking and applying, what belongs together, what is refused.
. "$HERE/lib.sh"
tiny llama base.gguf
"$TOOLS/make_tiny" llama tuned.gguf 2 || fail make_tiny
answer() {
    expect 0 "$GOSSET" run "$@" -p 'a b' -n 12 --temp 0 --json
    json text
}

# Factors of full rank are the difference itself; one plane takes a third of it at one bit.
expect 0 "$GOSSET" delta base.gguf tuned.gguf -o full.gguf --rank 999 --json
within "$(json error)" 0 0.001
is "$(answer base.gguf --delta full.gguf)" "$(answer tuned.gguf)" "a full delta is the model"
expect 0 "$GOSSET" delta base.gguf tuned.gguf -o one.gguf --json
within "$(json bpw)" 1 1.01
is "$(json matrices)" 14
one=$(json error)
within "$one" 0.3 0.4
expect 0 "$GOSSET" delta base.gguf tuned.gguf -o two.gguf --planes 2 --per-row --json
within "$(json error)" 0.05 "$one"
two=$(json error)
expect 0 "$GOSSET" delta base.gguf tuned.gguf -o low.gguf --planes 2 --per-row --rank 4 --factors int8 --all --json
within "$(json error)" 0.01 "$two"
is "$(json matrices)" 15

# What is written is what runs; nothing depends on the threads.
for name in one two low; do
    expect 0 "$GOSSET" delta --apply base.gguf $name.gguf -o applied.gguf --overwrite
    is "$(answer applied.gguf)" "$(answer base.gguf --delta $name.gguf)"
done
expect 0 "$GOSSET" eval applied.gguf --text "$HERE/../golden/text.txt" -c 32 --chunks 2 --json
ppl=$(json ppl)
expect 0 "$GOSSET" eval base.gguf --delta low.gguf --text "$HERE/../golden/text.txt" -c 32 --chunks 2 --json
is "$(json ppl)" "$ppl"
for n in 1 3; do
    expect 0 "$GOSSET" delta base.gguf tuned.gguf -o threads.gguf --planes 2 --per-row --rank 4 \
        --factors int8 --all -t $n --overwrite
    same low.gguf threads.gguf "the delta depends on the threads"
done

# Nothing changed: nothing but a few keys. Types may differ, metadata is carried.
expect 0 "$GOSSET" delta base.gguf base.gguf -o none.gguf --json
is "$(json matrices)$(json whole)" 00
expect 0 "$GOSSET" delta --apply base.gguf none.gguf -o again.gguf
expect 0 "$GOSSET" convert base.gguf -o copy.gguf
same again.gguf copy.gguf
expect 0 "$GOSSET" convert base.gguf -o base16.gguf --type f16
expect 0 "$GOSSET" delta base16.gguf tuned.gguf -o mixed.gguf
expect 0 "$GOSSET" delta --apply base16.gguf mixed.gguf -o mixed-out.gguf --type q8_0
expect 0 "$GOSSET" inspect mixed-out.gguf --json
is "$(json tensors.0.type)" Q8_0

# Not a pair.
tiny qwen2 qwen2.gguf
tiny llama:untied untied.gguf
tiny llama:mha mha.gguf
refused 1 "architecture is 'qwen2'" "$GOSSET" delta base.gguf qwen2.gguf -o x.gguf
refused 1 'lacks' "$GOSSET" delta base.gguf untied.gguf -o x.gguf
refused 1 'tensor blk.0.attn_k.weight is 64 × 64' "$GOSSET" delta untied.gguf mha.gguf -o x.gguf
refused 1 'another base' "$GOSSET" delta --apply tuned.gguf one.gguf -o x.gguf
refused 1 'another base' "$GOSSET" run tuned.gguf --delta one.gguf -p a
refused 1 'is no delta' "$GOSSET" delta --apply base.gguf tuned.gguf -o x.gguf
refused 1 'not a model and its base' "$GOSSET" delta base.gguf one.gguf -o x.gguf
expect 0 "$GOSSET" quantize base.gguf -o native.gguf --bpw 6 --no-eval --tokens 256
refused 1 "format of gosset's own" "$GOSSET" delta native.gguf tuned.gguf -o x.gguf
refused 1 "format of gosset's own" "$GOSSET" delta --apply native.gguf one.gguf -o x.gguf
refused 1 'exists' "$GOSSET" delta base.gguf tuned.gguf -o one.gguf
refused 1 'part of the model' "$GOSSET" delta base.gguf tuned.gguf -o tuned.gguf --overwrite
refused 1 'part of the model' "$GOSSET" delta --apply base.gguf one.gguf -o one.gguf --overwrite
refused 1 'f16, int8 or sign' "$GOSSET" delta base.gguf tuned.gguf -o x.gguf --rank 2 --factors f12
expect 2 "$GOSSET" delta base.gguf tuned.gguf
expect 2 "$GOSSET" delta base.gguf tuned.gguf -o x.gguf --factors int8
expect 2 "$GOSSET" delta --apply base.gguf one.gguf -o x.gguf --rank 2
expect 2 "$GOSSET" delta base.gguf tuned.gguf -o x.gguf --type f16
ls | grep -q part && fail "an unfinished file is left"
[ ! -e x.gguf ] || fail "a refused command left a file"
