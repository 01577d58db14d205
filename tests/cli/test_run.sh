# run: text, JSON, limits; the same text for any number of threads and any kernels.
. "$HERE/lib.sh"
tiny llama model.gguf
P='Once upon a time'

expect 0 "$GOSSET" run model.gguf -p "$P" -n 20 --json --seed 7
is "$(json tokens)" 20
[ "$(json prompt_tokens)" -gt 1 ] || fail "no prompt tokens"
within "$(json prompt_per_second)" 0.0001 1e12
within "$(json predicted_per_second)" 0.0001 1e12
json text >want
[ -s err ] && grep -q '%' err && fail "progress on a file"

for threads in 1 2 3; do
    for cpu in scalar avx2 avx512; do
        "$GOSSET" run model.gguf -p "$P" -n 20 --json --seed 7 -t $threads --cpu $cpu >out 2>err ||
            { grep -q "$cpu" err && continue; fail "$cpu: $(cat err)"; }
        json text >got
        same want got "the text depends on $threads threads or $cpu"
    done
done
expect 0 "$GOSSET" run model.gguf -p "$P" -n 20 --json --seed 7 --batch 1
json text >got
same want got "the text depends on the batch"
expect 0 "$GOSSET" run model.gguf -p "$P" -n 20 --seed 7 --quiet
same want out "text and JSON differ"
[ ! -s err ] || fail "--quiet is not quiet"
printf %s "$P" >prompt
expect 0 "$GOSSET" run model.gguf -f prompt -n 20 --seed 7
same want out "--file and --prompt differ"
expect 0 "$GOSSET" run model.gguf -f - -n 20 --seed 7 <prompt
same want out "standard input and --prompt differ"
expect 0 "$GOSSET" run model.gguf -p "$P" -n 20 --seed 7 --echo
{ printf %s "$P"; cat want; } >got
same got out "--echo"
expect 0 "$GOSSET" run model.gguf -p "$P" -n 20 --seed 8
cmp -s want out && fail "another seed, the same text"
expect 0 "$GOSSET" run model.gguf -p "$P" -n 20 --temp 0 --seed 1
cp out greedy
expect 0 "$GOSSET" run model.gguf -p "$P" -n 20 --temp 0 --seed 2
same greedy out "greedy text depends on the seed"
expect 0 "$GOSSET" run model.gguf -p "$P" -n 0 --json
is "$(json tokens)" 0
expect 0 "$GOSSET" run model.gguf -p "$P" --chat -s 'Be brief.' -n 5 --json
is "$(json tokens)" 5

# The context is a limit that is told, not a knife.
expect 0 "$GOSSET" run model.gguf -p "$P" -c 32 --json --temp 0
[ $(($(json tokens) + $(json prompt_tokens))) -le 32 ] || fail "more than the context"
for i in 1 2 3 4 5 6 7 8; do cat prompt; done >long
refused 1 'the prompt has [0-9]* tokens, the context 32' "$GOSSET" run model.gguf -f long -c 32
: >nothing
"$GOSSET" run model.gguf -f nothing -n 1 >out 2>err || grep -q 'empty' err || fail "empty prompt"
