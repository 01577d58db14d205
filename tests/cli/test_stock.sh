# quantize --type: files of block types run, with the bytes of the plan, whatever the threads;
# feedback is nearer to the source than nearest rounding; substitutes are said aloud.
. "$HERE/lib.sh"
i=0
while [ $i -lt 400 ]; do
    i=$((i + 1))
    echo "$i: a lazy dog sees the quick fox jump over it, $((i * 7 % 13)) times and then again."
done >text
quantize() { "$GOSSET" quantize "$@"; }
tiny llama model.gguf

expect 0 quantize model.gguf -o small.gguf --type q4_0 --calib text --tokens 1024 --dry-run --json
planned=$(json file_bytes)
[ ! -e small.gguf ] || fail "--dry-run wrote a file"
expect 0 quantize model.gguf -o small.gguf --type q4_0 --dry-run
! grep -q 'sampled tokens\|fold ' out err || fail "--dry-run sampled or folded"
expect 0 quantize model.gguf -o small.gguf --type q4_0 --calib text --tokens 1024 --json
grep -q 'fold scale-ffn' err || fail "nothing was folded"
is "$(json file_bytes)" "$planned" "bytes of the plan"
is "$(wc -c <small.gguf)" "$planned" "bytes of the file"
feedback=$(json eval.kld_mean) bytes=$(json bytes)
expect 0 "$GOSSET" run small.gguf -p 'Hello there' -n 4 --json
expect 0 "$GOSSET" inspect --meta --tensors small.gguf
grep -q 'general.file_type *u32 *2' out || fail "no file type"
grep -q '^Q4_0 .*blk.0.attn_q.weight' out || fail "attn_q is not Q4_0"
[ -z "$(grep gosset.version out)" ] || fail "a stock file says that it is a native one"

expect 0 quantize model.gguf -o nearest.gguf --type q4_0 --calib text --tokens 1024 --json \
    --recipe rounder=nearest
is "$(json bytes)" "$bytes" "bytes of all tensors"
within "$feedback" 0 "$(json eval.kld_mean)"

for options in '-t 1 --cpu scalar' '-t 3'; do
    expect 0 quantize model.gguf -o other.gguf --type q4_0 --calib text --tokens 1024 $options \
        --overwrite
    same small.gguf other.gguf "the file depends on $options"
done

# Work that was stopped in the middle goes on to the same bytes.
rm other.gguf
killed other.gguf "$GOSSET" quantize model.gguf -o other.gguf --type q4_0 --calib text \
    --tokens 1024 -q -t 1
[ -f other.gguf ] || expect 0 quantize model.gguf -o other.gguf --type q4_0 --calib text \
    --tokens 1024 --resume
same small.gguf other.gguf "interrupted work came to other bytes"

# Rows of 64 are no blocks of 256: said, one line a tensor.
expect 0 quantize model.gguf -o small.gguf --type Q4_K_M --pure --calib text --tokens 256 \
    --no-eval --overwrite --keep 'attn_v=Q8_0' --keep '^token_embd=F16'
grep -q 'blk.0.attn_q.weight becomes Q5_0: its rows of 64 weights are no whole blocks of 256, as Q4_K' err ||
    fail "no word of the substitute"
expect 0 "$GOSSET" inspect --tensors small.gguf
grep -q '^Q8_0 .*blk.1.attn_v.weight' out || fail "--keep was not heeded"
grep -q '^F16 .*token_embd.weight' out || fail "--keep was not heeded"

refused 1 'no such block type' quantize model.gguf -o x.gguf --type Q4
refused 1 'give one of them' quantize model.gguf -o x.gguf --type Q4_0 --bpw 3
refused 1 'REGEX=TYPE' quantize model.gguf -o x.gguf --type Q4_0 --keep Q8_0
refused 1 'matches no matrix' quantize model.gguf -o x.gguf --type Q8_0 --keep blah=Q8_0
refused 1 'quantized already' quantize small.gguf -o x.gguf --type Q8_0 --calib text

# Types by measurement under a budget: met from below, the same for any threads.
expect 0 quantize model.gguf -o auto.gguf --type auto --bpw 5.2 --calib text --tokens 1024 --json \
    --keep 'blk.0.attn_v=Q8_0'
within "$(json bpw)" 4.9 5.2
bytes=$(json file_bytes)
expect 0 "$GOSSET" run auto.gguf -p 'Hello there' -n 4 --json
expect 0 "$GOSSET" inspect --tensors auto.gguf
grep -q '^Q8_0 .*blk.0.attn_v.weight' out || fail "--keep was not heeded"
expect 0 quantize model.gguf -o other.gguf --type auto --bpw 5.2 --calib text --tokens 1024 \
    --keep 'blk.0.attn_v=Q8_0' --overwrite -t 1 --cpu scalar
same auto.gguf other.gguf "the types depend on threads or kernels"
expect 0 quantize model.gguf -o auto.gguf --type auto --size $bytes --calib text --tokens 1024 \
    --no-eval --overwrite
within "$(wc -c <auto.gguf)" $((bytes * 9 / 10)) "$bytes"
expect 0 quantize model.gguf -o native.gguf --size 60KB --calib text --tokens 256 --no-eval
within "$(wc -c <native.gguf)" 57000 60000
refused 1 'too few' quantize model.gguf -o x.gguf --type auto --bpw 1 --calib text --tokens 256
refused 1 'give one of them' quantize model.gguf -o x.gguf --type Q8_0 --size 1MiB
refused 1 'give one of them' quantize model.gguf -o x.gguf --bpw 3 --size 1MiB
refused 1 'second moments' quantize model.gguf -o x.gguf --type auto --bpw 5 --calib text \
    --recipe rounder=nearest
expect 2 quantize model.gguf -o x.gguf --size 3lb

# Only what changed is done again: all else has the bytes of before.
expect 0 quantize model.gguf -o first.gguf --type Q4_0 --calib text --tokens 512 --no-eval --fold none
expect 0 quantize model.gguf -o again.gguf --type Q4_0 --calib text --tokens 512 --no-eval \
    --requantize-changed first.gguf
grep -q '15 of 15 matrices' err || fail "not all matrices were taken over"
same first.gguf again.gguf
expect 0 quantize model.gguf -o changed.gguf --type Q4_0 --calib text --tokens 512 --no-eval \
    --requantize-changed first.gguf --keep 'blk.1.ffn_down=Q8_0'
grep -q '14 of 15 matrices' err || fail "not one matrix changed"
expect 0 "$GOSSET" run changed.gguf -p 'Hello there' -n 4 --json
# What is taken over belongs to the work: another file does not go on with it.
killed again2.gguf "$GOSSET" quantize model.gguf -o again2.gguf --type Q4_0 --calib text \
    --tokens 512 --no-eval --requantize-changed first.gguf -q -t 1
if [ ! -f again2.gguf ]; then
    expect 1 quantize model.gguf -o again2.gguf --type Q4_0 --calib text --tokens 512 --no-eval \
        --requantize-changed changed.gguf --resume
    grep -q 'another model' err || fail "work went on with another file to take matrices from"
fi
rm -f again2.gguf again2.gguf.work
tiny gpt2 other_model.gguf
refused 1 'not made from this model' quantize other_model.gguf -o x.gguf --type Q8_0 --calib text \
    --tokens 256 -q --requantize-changed first.gguf
refused 1 'in part' quantize model.gguf -o x.gguf --bpw 3 --requantize-changed first.gguf

# --tune: the same bytes, the file says it, any reader's blocks; the same for any threads.
expect 0 quantize model.gguf -o tuned.gguf --type Q4_0 --calib text --tokens 512 --no-eval --tune e2e
grep -q 'divergence on sequences set apart' err || fail "no word of what tuning brought"
expect 0 quantize model.gguf -o plain.gguf --type Q4_0 --calib text --tokens 512 --no-eval
expect 0 "$GOSSET" inspect --tensors tuned.gguf
cp out tensors
expect 0 "$GOSSET" inspect --tensors plain.gguf
same out tensors "tuning changed tensors"
expect 0 "$GOSSET" inspect --meta tuned.gguf
grep -q 'gosset.tune .*e2e' out || fail "the file does not say that it is tuned"
expect 0 quantize model.gguf -o other.gguf --type Q4_0 --calib text --tokens 512 --no-eval --tune e2e \
    --overwrite -t 1 --cpu scalar
same tuned.gguf other.gguf "tuning depends on threads or kernels"
refused 1 'give block, e2e or both' quantize model.gguf -o x.gguf --type Q4_0 --tune whole
