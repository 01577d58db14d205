# quantize: every architecture runs afterwards; the bytes depend on nothing but the input;
# interrupted work goes on; what it refuses.
. "$HERE/lib.sh"
i=0
while [ $i -lt 400 ]; do
    i=$((i + 1))
    echo "$i: a lazy dog sees the quick fox jump over it, $((i * 7 % 13)) times and then again."
done >text
quantize() { "$GOSSET" quantize "$@"; }

for arch in $("$TOOLS/make_tiny" --list); do
    tiny "$arch" model.gguf
    expect 0 quantize model.gguf -o small.gguf --bpw 9 --calib text --tokens 256 --no-eval \
        --overwrite --allow-requantize --json
    within "$(json bpw)" 4 9
    expect 0 "$GOSSET" inspect --json small.gguf
    is "$(json runnable)" true "$arch"
    within "$(json bpw)" 4 9
    expect 0 "$GOSSET" run small.gguf -p 'Hello there' -n 4 --json --threads 1
    json text >text1
    expect 0 "$GOSSET" run small.gguf -p 'Hello there' -n 4 --json --threads 3 --batch 2 --cpu scalar
    json text >text2
    same text1 text2 "$arch: the text depends on threads, batch or kernels"
done

# The plan is exact, and nothing is written for it.
tiny llama model.gguf
rm -f small.gguf
expect 0 quantize model.gguf -o small.gguf --bpw 2.25 --calib text --tokens 1024 --dry-run --json
planned=$(json file_bytes) bpw=$(json bpw)
within "$bpw" 2 2.25
[ -z "$(ls | grep small)" ] || fail "--dry-run wrote a file"
expect 0 quantize model.gguf -o small.gguf --bpw 2.25 --calib text --tokens 1024 --json
is "$(json file_bytes)" "$planned" "bytes of the plan"
is "$(wc -c <small.gguf)" "$planned" "bytes of the file"
is "$(json bpw)" "$bpw"
within "$(json eval.kld_mean)" 0 20
[ -z "$(ls | grep -e work -e draft -e part)" ] || fail "something is left"
expect 0 "$GOSSET" inspect --meta small.gguf
for key in gosset.recipe gosset.source.hash gosset.calibration.hash gosset.eval.kld_mean; do
    grep -q "^$key " out || fail "no $key in the file"
done

# Same bytes for any threads and kernels.
for options in '-t 1 --cpu scalar' '-t 3' '-t 2 --cpu avx2'; do
    case $options in *avx2) "$GOSSET" tokenize model.gguf -p x --cpu avx2 >/dev/null 2>&1 || continue ;; esac
    expect 0 quantize model.gguf -o other.gguf --bpw 2.25 --calib text --tokens 1024 $options --overwrite
    same small.gguf other.gguf "the file depends on $options"
done

# Killed in the middle, with a torn record at the end of the work: the same bytes.
rm other.gguf
killed other.gguf "$GOSSET" quantize model.gguf -o other.gguf --bpw 2.25 --calib text \
    --tokens 1024 -q -t 1 --cpu scalar
if [ ! -f other.gguf ]; then
    printf 'torn' >>other.gguf.work
    refused 1 'resume' quantize model.gguf -o other.gguf --bpw 2.25 --calib text --tokens 1024 -q
    refused 1 'another model' quantize model.gguf -o other.gguf --bpw 2.5 --calib text --tokens 1024 --resume -q
    expect 0 quantize model.gguf -o other.gguf --bpw 2.25 --calib text --tokens 1024 --resume
fi
same small.gguf other.gguf "resumed work gives other bytes"
[ ! -f other.gguf.work ] || fail "the work is left"

# Without data; recipes as pairs and as files.
expect 0 quantize model.gguf -o self.gguf --bpw 3 --tokens 256 --calib self
expect 0 quantize model.gguf -o r.gguf --bpw 3 --calib text --tokens 256 --no-eval --recipe grid=trellis12,seed=5
"$GOSSET" recipes --json >names
for recipe in default rtn spqr quip-sharp lorc-whitened; do
    grep -q "\"name\":\"$recipe\"" names || fail "recipes does not list $recipe"
    case $recipe in default) bits='--bpw 4.5' ;; *) bits= ;; esac
    expect 0 quantize model.gguf -o r.gguf $bits --calib text --tokens 256 --no-eval --overwrite --recipe $recipe
    expect 0 "$GOSSET" inspect --json r.gguf
    is "$(json runnable)" true "$recipe"
    expect 0 "$GOSSET" eval r.gguf --text text --ctx 64 --chunks 1
done
expect 0 quantize model.gguf -o r.gguf --bpw 4.5 --calib text --tokens 256 --no-eval --overwrite --recipe "$HERE/../../recipes/gptq.recipe"
refused 1 "nearest name is 'gptq'" quantize model.gguf -o x.gguf --calib text -q --recipe gptqq
refused 1 "the least" quantize model.gguf -o x.gguf --bpw 1 --calib text -q --recipe gptq-group
# A bias that corrects outputs is added to the source's own and read back by whoever opens the file.
tiny gpt2 biased.gguf
for recipe in rtn bias-correction; do
    expect 0 quantize biased.gguf -o $recipe.gguf --calib text --tokens 256 --no-eval --recipe $recipe
    expect 0 "$GOSSET" eval $recipe.gguf --ref biased.gguf --text text --ctx 64 --chunks 2 --exact --json
    json kld_mean
done >divergences
sort -g divergences >sorted
is "$(sed -n 1p sorted)" "$(sed -n 2p divergences)" "the bias helps"
refused 1 'means of inputs' quantize biased.gguf -o x.gguf --recipe bias-correction --imatrix none -q
# The plan of a codebook is exact; its file is no source.
expect 0 quantize model.gguf -o p.gguf --calib text --tokens 256 --no-eval --recipe gptq-group --json
planned=$(json bytes)
expect 0 quantize model.gguf -o q.gguf --calib text --tokens 256 --no-eval --recipe gptq-group --dry-run --json
is "$(json bytes)" "$planned" "bytes of the plan"
refused 1 'native' quantize p.gguf -o x.gguf --bpw 3 --calib text -q

printf '{"text": "some words"}\n\n{"text": "and more words, enough of them for a short sequence"}\n' >lines.jsonl
expect 0 quantize model.gguf -o j.gguf --bpw 3 --calib lines.jsonl --calib text --tokens 256 --no-eval

# Refused, before any work.
rm -f x.gguf
expect 0 "$GOSSET" convert model.gguf -o q8.gguf --type q8_0
refused 1 'allow-requantize' quantize q8.gguf -o x.gguf --bpw 3 --calib text -q
refused 1 'the least' quantize model.gguf -o x.gguf --bpw 0.9 --calib text -q
refused 1 'native' quantize small.gguf -o x.gguf --bpw 3 --calib text -q
refused 1 'exists' quantize model.gguf -o small.gguf --bpw 3 --calib text -q
refused 1 'nowhere' quantize model.gguf -o nowhere/x.gguf --bpw 3 --calib text -q
refused 1 'part of the model' quantize model.gguf -o model.gguf --bpw 3 --overwrite -q
: >empty
refused 1 'at least 16 tokens' quantize model.gguf -o x.gguf --bpw 3 --calib empty -q
echo '{"words": 1}' >bad.jsonl
refused 1 'bad.jsonl:1' quantize model.gguf -o x.gguf --bpw 3 --calib bad.jsonl -q
refused 1 "no key" quantize model.gguf -o x.gguf --bpw 3 --recipe girth=1 -q
refused 1 'grid' quantize model.gguf -o x.gguf --bpw 3 --recipe grid=none -q
refused 1 'rescale' quantize model.gguf -o x.gguf --bpw 3 --recipe transform_in=none -q
expect 2 quantize model.gguf -o x.gguf
expect 2 quantize model.gguf --bpw 2
[ ! -e x.gguf ] || fail "a refused run left a file"
[ ! -e x.gguf.work ] || fail "a refused run left work"
