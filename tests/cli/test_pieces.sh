# One file, many sizes: --bits and --memory, what falls with them, slices of the file that give
# the same, what is refused.
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

# A slice holds what --bits loads, to every digit of what is measured, and can be cut again.
# slice FILE BITS
slice() {
    expect 0 "$GOSSET" convert "$1" -o "$1.$2" --bits "$2"
    [ "$(wc -c <"$1.$2")" -lt "$(wc -c <"$1")" ] || fail "a slice of $2 bits is no smaller"
    expect 0 "$GOSSET" eval "$1" --bits "$2" --text "$text" -c 128 --chunks 1 -t 1 --json
    cp out want
    expect 0 "$GOSSET" eval "$1.$2" --text "$text" -c 128 --chunks 1 -t 1 --json
    same want out "$1: $2 bits and a slice of them"
}
make terms.gguf rex
slice nested.gguf 4
slice nested.gguf 2
slice rounded.gguf 3
slice terms.gguf 2
expect 0 "$GOSSET" convert nested.gguf -o three.gguf --bits 3
expect 0 "$GOSSET" convert nested.gguf.4 -o again.gguf --bits 3
same three.gguf again.gguf "a slice of a slice"
expect 0 "$GOSSET" convert nested.gguf -o all.gguf --bits 8
same nested.gguf all.gguf "a slice of all bits"
expect 0 "$GOSSET" inspect nested.gguf --meta
grep -q 'gosset.round.errors' out || fail "errors of rounding are not told"
expect 0 "$GOSSET" inspect three.gguf --meta
grep -q -e 'gosset\.round\.' -e 'gosset\.eval\.' out && fail "a slice tells of the whole file"
refused 1 'three.gguf: 4 bits: the file serves 2, 3$' "$GOSSET" run three.gguf --bits 4 -p a -n 1
refused 1 'nested.gguf: 5 bits: the file serves 2, 3, 4, 8$' \
    "$GOSSET" convert nested.gguf -o x.gguf --bits 5
refused 1 'gosset-stories.gguf: 4 bits: the file has one precision' \
    "$GOSSET" convert "$stories" -o x.gguf --bits 4
refused 1 'gosset-stories.gguf: the file is not in pieces' \
    "$GOSSET" convert "$stories" -o x.gguf --memory 1GiB
refused 1 'two.gguf: the file is not in pieces' "$GOSSET" convert two.gguf -o x.gguf --memory 1GiB
refused 1 'nested.gguf: folded matrices are of one precision' \
    "$GOSSET" convert nested.gguf -o x.gguf --bits 4 --fold rotate-values
[ ! -e x.gguf ] || fail "a refused slice left a file"

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

# What a slice was made for is what goes into that memory.
expect 0 "$GOSSET" run stack.gguf --memory 2500KiB -c 64 -t 1 -p 'Once' -n 4 --temp 0
cp out want
grep -o '^[0-9]* of [0-9]* pieces' err >pieces
read -r some of all rest <pieces
[ "$some" -gt 0 ] && [ "$some" -lt "$all" ] || fail "$some of $all pieces went into the memory"
expect 0 "$GOSSET" convert stack.gguf -o small.gguf --memory 2500KiB -c 64 -t 1
grep -o '^[0-9]* of [0-9]* pieces' err >kept
same pieces kept "pieces loaded, pieces kept"
expect 0 "$GOSSET" run small.gguf --memory 1GiB -c 64 -t 1 -p 'Once' -n 4 --temp 0
same want out "text of a slice"
grep -q "^$some of $some pieces" err ||
    fail "a slice has not the pieces that it was made of"
refused 1 'of memory are too few' "$GOSSET" convert stack.gguf -o x.gguf --memory 1MB

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
