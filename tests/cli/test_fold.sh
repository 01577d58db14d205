# --fold: the plan tells what each transform bought, the file runs, its bytes depend on neither
# threads nor interruptions; what is folded belongs to the work and to --requantize-changed.
. "$HERE/lib.sh"
i=0
while [ $i -lt 200 ]; do
    i=$((i + 1))
    echo "$i: a lazy dog sees the quick fox jump over it, $((i * 7 % 13)) times and then again."
done >text
quantize() { "$GOSSET" quantize "$@" --type q4_0 --calib text --tokens 512; }
tiny llama:untied model.gguf
tiny llama tied.gguf

expect 0 quantize model.gguf -o x.gguf --fold auto --dry-run
for slot in rotate-residual rotate-values scale-values scale-norms scale-ffn; do
    grep -q "^fold $slot: .*layer errors" out || fail "no word of $slot"
done
expect 0 quantize tied.gguf -o x.gguf --fold auto --dry-run
grep -q '^fold rotate-residual: off, the embedding is the head too' out || fail "no reason"
expect 0 quantize tied.gguf -o x.gguf --fold none --dry-run
[ -z "$(grep '^fold' out)" ] || fail "--fold none says something"
is "$(ls | tr '\n' ' ')" "err model.gguf out text tied.gguf " "files after dry runs"

all=rotate-residual,rotate-values,scale-values,scale-norms,scale-ffn
expect 0 quantize model.gguf -o small.gguf --fold $all --json --dry-run
planned=$(json file_bytes)
expect 0 quantize model.gguf -o small.gguf --fold $all --json
is "$(wc -c <small.gguf)" "$planned" "bytes of the file"
within "$(json eval.kld_mean)" 0 0.4
expect 0 "$GOSSET" inspect --meta small.gguf
grep -q 'gosset.fold .*rotate-residual,rotate-values' out || fail "the file does not say what is folded"
for options in '-t 1 --cpu scalar' '-t 3'; do
    expect 0 quantize model.gguf -o other.gguf --fold $all $options --overwrite
    same small.gguf other.gguf "the file depends on $options"
done
[ -z "$(ls | grep '\.fold')" ] || fail "a folded model was left behind"

rm other.gguf
killed other.gguf "$GOSSET" quantize model.gguf -o other.gguf --type q4_0 --calib text \
    --tokens 512 --fold $all -q -t 1
if [ ! -f other.gguf ]; then
    expect 1 quantize model.gguf -o other.gguf --fold rotate-values --resume
    grep -q 'another model' err || fail "work went on with other transforms"
    expect 0 quantize model.gguf -o other.gguf --fold $all --resume
fi
same small.gguf other.gguf "interrupted work came to other bytes"

expect 0 quantize model.gguf -o again.gguf --fold $all --requantize-changed small.gguf --no-eval
grep -q '16 of 16 matrices' err || fail "not all matrices were taken over"
for fold in none rotate-values; do
    expect 1 quantize model.gguf -o x.gguf --fold $fold --requantize-changed small.gguf --overwrite
    grep -q 'other transforms are folded' err || fail "matrices of other transforms were taken"
    rm -f x.gguf.work
done

# A head of its own: one matrix more, which costs bits a weight of the source.
expect 0 quantize tied.gguf -o plain.gguf --fold none --json --no-eval
bits=$(json bpw) parameters=$(json parameters)
expect 0 quantize tied.gguf -o untied.gguf --fold rotate-residual,untie --json --no-eval
is "$(json parameters)" "$parameters" "weights that bits are counted over"
within "$(json bpw)" "$bits" 100
[ "$(json bpw)" != "$bits" ] || fail "a second embedding costs nothing"
expect 0 "$GOSSET" inspect --tensors untied.gguf
grep -q ' output.weight' out || fail "no head"
expect 0 "$GOSSET" run untied.gguf -p 'Hello there' -n 4 --json
# With types by measurement.
expect 0 "$GOSSET" quantize model.gguf -o auto.gguf --type auto --bpw 5.2 --calib text \
    --tokens 512 --fold auto --json
within "$(json bpw)" 4.9 5.2

# Converted: the same function.
expect 0 "$GOSSET" convert tied.gguf -o turned.gguf --fold rotate-residual,untie,rotate-values
expect 0 "$GOSSET" eval --exact turned.gguf --ref tied.gguf --text text --ctx 64 --chunks 2 --json
within "$(json kld_mean)" -1e-5 1e-5
expect 0 "$GOSSET" convert tied.gguf -o half.gguf --fold rotate-values --type f16
refused 1 'calibration text' "$GOSSET" convert tied.gguf -o x.gguf --fold scale-ffn
refused 1 'is part of the model' "$GOSSET" convert tied.gguf -o tied.gguf --fold rotate-values --overwrite

refused 1 'embedding is the head too' quantize tied.gguf -o x.gguf --fold rotate-residual -q
refused 1 'there are untie' quantize tied.gguf -o x.gguf --fold residual -q
refused 1 'for block types' "$GOSSET" quantize tied.gguf -o x.gguf --bpw 3 --fold auto
refused 1 'calibration text' quantize tied.gguf -o x.gguf --fold auto --recipe rounder=nearest -q
