# From text to a model that runs; a run that was stopped ends in the same file.
. "$HERE/lib.sh"

i=0
while [ $i -lt 60 ]; do
    echo "Once upon a time a small fox lived near the river and it was very happy. Number $i."
    echo "The old dog said to the small fox: come with me to the river, we will find $i stones."
    i=$((i + 1))
done >text
SIZES=n_embd=32,n_layer=2,n_head=4,n_head_kv=2,n_ff=64,n_ctx=64,n_vocab=290
train() { "$GOSSET" train --text text --ctx 32 --batch 4 --steps 12 --lr 3e-3 --checkpoint 5 "$@"; }

expect 0 train --config $SIZES --valid text --seed 3 -o a.gguf --json
is "$(json steps)" 12
is "$(json tokens)" 1536
within "$(json loss)" 1 6
within "$(json valid_loss)" 1 6
[ "$(grep -c '"loss"' a.gguf.jsonl)" = 12 ] || fail "not a line a step in the log"
[ "$(grep -c '"valid_loss"' a.gguf.jsonl)" = 3 ] || fail "not three validations in the log"
[ ! -e a.gguf.ckpt ] || fail "the checkpoint is left behind"

# Other threads and another level: the same file.
expect 0 train --config $SIZES --valid text --seed 3 -o b.gguf --threads 3 --cpu scalar -q
same a.gguf b.gguf
# The configuration as a file.
printf '# sizes\nn_embd = 32\nn_layer=2\n n_head = 4\nn_head_kv = 2\nn_ff = 64\nn_ctx = 64\nn_vocab = 290\n' >sizes
expect 0 train --config sizes --seed 3 -o b.gguf -q --overwrite
same a.gguf b.gguf

expect 0 "$GOSSET" run a.gguf -p "Once upon" -n 5 --temp 0
expect 0 "$GOSSET" eval a.gguf --text text --ctx 32 --json
within "$(json ppl)" 2 300

# Continuing; the vocabulary of a model for a new one.
expect 0 train --init a.gguf -o c.gguf --optimizer adamw8 --json
within "$(json loss)" 1 5
expect 0 train --tokenizer a.gguf --config n_embd=32,n_layer=1,n_head=2,n_ff=32 -o d.gguf -q
expect 0 "$GOSSET" inspect d.gguf

refused 1 'exists already' train --init a.gguf -o c.gguf
refused 1 'c.gguf.ckpt' train --init a.gguf -o c.gguf --resume
refused 1 "line 1: unknown key 'n_heads'" train --config n_heads=3 -o e.gguf
refused 1 'too few for a context' "$GOSSET" train --init a.gguf --text text --ctx 100000 --steps 1 -o e.gguf
refused 1 'no optimizer' train --init a.gguf --optimizer lion -o e.gguf
[ ! -e e.gguf ] || fail "something was written"
expect 2 train --init a.gguf
expect 2 train -o e.gguf
expect 2 train --init a.gguf --tokenizer a.gguf -o e.gguf

# Tuning what was quantized: the file comes nearer to its source, and grows by a table for each of 15
# matrices where the budget allows it.
quantize() { expect 0 "$GOSSET" quantize a.gguf --recipe head_bits=0 --calib text --tokens 1024 --json "$@"; }
quantize -o q.gguf --bpw 4.5
before=$(json eval.kld_mean)
quantize -o t.gguf --bpw 4.5 --tune both
within "$(json eval.kld_mean)" 0 "$before"
quantize -o q.gguf --bpw 10 --overwrite
bytes=$(json file_bytes)
quantize -o t.gguf --bpw 10 --tune both --overwrite
within "$(json file_bytes)" $((bytes + 15 * 64)) $((bytes + 15 * 128 + 64))
is "$(wc -c <t.gguf)" "$(json file_bytes)"
expect 0 "$GOSSET" run t.gguf -p "Once upon" -n 5 --temp 0
[ -z "$(ls | grep -e work -e draft -e tuned -e part)" ] || fail "something is left"
refused 1 'give block, e2e or both' "$GOSSET" quantize a.gguf -o e.gguf --bpw 10 --calib text --tune all
