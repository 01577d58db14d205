# One file, many sizes: --bits and --memory, what falls with them, what is refused.
. "$HERE/lib.sh"
stories=$HERE/../../models/gosset-stories.gguf
text=$HERE/../../models/evaluation.txt
make() {
    expect 0 "$GOSSET" quantize "$stories" -o "$1" --recipe "$2" --no-eval --tokens 1024 \
        --calib "$HERE/../../models/calibration.txt" --quiet
}
# divergence FILE OPTIONS...
divergence() {
    expect 0 "$GOSSET" eval "$@" --ref "$stories" --text "$text" -c 128 --chunks 2 -t 1 --json
    json kld_mean
}
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 < b + 0) }' || fail "$1 is not below $2: $3"; }

# Slices of one file, against files that are rounded to as many bits by their range.
make nested.gguf matryoshka
four=$(divergence nested.gguf --bits 4)
grep -q 'matrices of 4\.1.. bits' err || fail "what was loaded is not told"
three=$(divergence nested.gguf --bits 3)
two=$(divergence nested.gguf --bits 2)
below "$(divergence nested.gguf --bits 8)" "$four" "8 bits, 4 bits"
below "$four" "$three" "4 bits, 3 bits"
below "$three" "$two" "3 bits, 2 bits"
make two.gguf rtn-group,codebook=uniform:bits=2,zero=0,fit=0,head_bits=0
below "$two" "$(divergence two.gguf)" "a slice of 2 bits, codes of 2 bits"
make rounded.gguf double-rounding
below "$(divergence rounded.gguf --bits 3)" "$(divergence rounded.gguf --bits 2)" "3 bits, 2 bits"
refused 1 '5 bits: the file serves 2, 3, 4, 8' "$GOSSET" run nested.gguf --bits 5 -p a -n 1
refused 1 '4 bits: the file has one precision' "$GOSSET" run "$stories" --bits 4 -p a -n 1
refused 1 '4 bits: the file has one precision' "$GOSSET" run two.gguf --bits 4 -p a -n 1

# More memory, less divergence; too little is refused with what is needed.
make stack.gguf bitstack,low_rank=4,blocks=4
last=1000
for size in 3300KiB 3600KiB 4MiB 5MiB; do
    now=$(divergence stack.gguf --batch 128 --memory $size)
    below "$now" "$last" "$size"
    last=$now
done
below "$last" 1 "5 MiB"
is "$(divergence stack.gguf)" "$(divergence stack.gguf --memory 1GiB)" "all that there is"
refused 1 'of memory are too few: weights need .* MiB at least, context and buffers .* MiB$' \
    "$GOSSET" run stack.gguf --memory 1MB -p a -n 1
refused 1 'of memory are too few' "$GOSSET" chat "$stories" --memory 1MB

# The same text whatever the threads, for as many pieces.
expect 0 "$GOSSET" run stack.gguf -p 'Once upon a time' -n 8 --temp 0 -t 1 --json
one=$(json text)
expect 0 "$GOSSET" run stack.gguf -p 'Once upon a time' -n 8 --temp 0 -t 3 --json
is "$(json text)" "$one" "text by threads"

# A recipe that does not go together.
refused 1 'blocks go with low_rank' "$GOSSET" quantize "$stories" -o x.gguf \
    --recipe bitstack,low_rank=0
refused 1 "blocks are of codebook = binary" "$GOSSET" quantize "$stories" -o x.gguf \
    --recipe bitstack,codebook=uniform
