# eval: fields, self-consistency, independence of threads, kernels and batch.
. "$HERE/lib.sh"
tiny llama model.gguf
"$GOSSET" convert model.gguf -o q8.gguf --type q8_0 --quiet >/dev/null || fail convert
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo "Line $i: the quick brown fox jumps over the lazy dog, $i times in all."
done >text

expect 0 "$GOSSET" eval model.gguf --text text --ctx 64 --json
cp out want
within "$(json ppl)" 1 1e9
within "$(json ppl_sigma)" 0.0001 1e9
is "$(json kld_mean)" null
# 64 - 32 - 1 tokens are scored in each chunk.
is "$(json tokens)" $((31 * $(json chunks)))
for options in '-t 1' '-t 3' '--cpu scalar' '--batch 7' '--batch 64'; do
    expect 0 "$GOSSET" eval model.gguf --text text --ctx 64 --json $options
    same want out "eval depends on $options"
done
expect 0 "$GOSSET" eval model.gguf --text - --ctx 64 --json <text
same want out "eval depends on where the text comes from"
expect 0 "$GOSSET" eval model.gguf --text text --ctx 64 --chunks 1 --json
is "$(json chunks)" 1

# A model does not diverge from itself.
expect 0 "$GOSSET" eval model.gguf --text text --ctx 64 --ref model.gguf --json
for zero in kld_mean kld_sigma kld_median kld_p90 kld_p95 kld_p99 kld_p999 kld_max rms_dp \
    dp_mean ppl_ratio_ln; do
    within "$(json $zero)" -1e-9 1e-9
done
is "$(json top1)" 1.0
is "$(json ppl)" "$(json ref_ppl)"
expect 0 "$GOSSET" eval q8.gguf --text text --ctx 64 --ref model.gguf --json
within "$(json kld_mean)" 1e-12 0.1
within "$(json kld_max)" "$(json kld_p999)" 1
within "$(json top1)" 0.5 1
expect 0 "$GOSSET" eval q8.gguf --text text --ctx 64 --ref model.gguf
grep -q '^KL mean' out || fail "no KL in the table"

cat >items.jsonl <<'END'
{"question": "Which is a colour?", "choices": ["red", "seven"], "answer": 0}
END
"$GOSSET" eval model.gguf --task items.jsonl --json >out 2>err && {
    is "$(json items)" 1
    within "$(json accuracy)" 0 1
} || grep -q 'items.jsonl' err || fail "$(cat err)"
