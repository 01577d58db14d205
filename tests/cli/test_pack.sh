# pack and unpack: the same bytes again, for models of every kind; what is damaged is refused.
. "$HERE/lib.sh"
for kind in llama llama:f16 llama:bf16 llama:q8_0 gpt2; do
    tiny $kind model.gguf
    expect 0 "$GOSSET" pack model.gguf --overwrite --json
    within "$(json ratio)" 0.2 1
    [ "$(json bytes)" = "$(wc -c <model.gguf.pack)" ] || fail "bytes is not the size"
    expect 0 "$GOSSET" unpack model.gguf.pack -o again.gguf --overwrite --json
    same model.gguf again.gguf
    rm model.gguf model.gguf.pack
done
tiny llama:f16 model.gguf
expect 0 "$GOSSET" quantize model.gguf -o native.gguf --bpw 6 --no-eval --tokens 256
expect 0 "$GOSSET" pack native.gguf
expect 0 "$GOSSET" unpack native.gguf.pack -o native2.gguf
same native.gguf native2.gguf
for n in 1 3; do
    expect 0 "$GOSSET" pack model.gguf -o t$n.pack -t $n
done
same t1.pack t3.pack "the pack depends on the threads"

# Names: FILE.pack, and back.
expect 0 "$GOSSET" pack model.gguf
mv model.gguf before.gguf
expect 0 "$GOSSET" unpack model.gguf.pack
same model.gguf before.gguf
refused 1 'exists' "$GOSSET" unpack model.gguf.pack
expect 2 "$GOSSET" unpack before.gguf

refused 1 'is no pack' "$GOSSET" unpack before.gguf -o x.gguf
refused 1 'being read' "$GOSSET" pack model.gguf -o model.gguf --overwrite
refused 1 'not replaced' "$GOSSET" pack model.gguf -o before.gguf --overwrite
refused 1 'missing.gguf' "$GOSSET" pack missing.gguf
size=$(wc -c <t1.pack)
for n in 0 3 23 24 40 1000 $((size - 1)); do
    head -c $n t1.pack >cut.pack
    refused 1 'cut.pack' "$GOSSET" unpack cut.pack -o x.gguf
done
{ cat t1.pack; echo more; } >long.pack
refused 1 'long.pack' "$GOSSET" unpack long.pack -o x.gguf
{ head -c 40000 t1.pack; printf 'QQQQQQQQ'; tail -c +40009 t1.pack; } >changed.pack
refused 1 'changed.pack.*chunk [0-9]* at byte [0-9]*.* is damaged' "$GOSSET" unpack changed.pack -o x.gguf
ls | grep -q part && fail "an unfinished file is left"
[ ! -e x.gguf ] || fail "a refused command left a file"
