#!/bin/sh
# Measures tiny models of every architecture, converted types, tasks, the bundled model and,
# where GOSSET_DATA has it, stories260K, and compares with results.csv: one line
# "case,measure,value" each. Results are deterministic, so the lines must be the same to the
# last printed digit; a change shows in the diff and is to be argued.
#
# usage: sh tests/golden/run.sh BUILD_DIR [--write]    --write rewrites results.csv
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: run.sh BUILD_DIR [--write]}" && pwd) || exit 1
want=$here/results.csv
gosset=$build/gosset tools=$build/tests/tools
data=${GOSSET_DATA:+$(cd "$GOSSET_DATA" 2>/dev/null && pwd)}
export LC_ALL=C
unset GOSSET_CPU
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
have=$work/have.csv
: >"$have"

# measure CASE "FIELD..." EVAL-ARGUMENTS...: appends a line a field.
measure() {
    case=$1 fields=$2
    shift 2
    if ! "$gosset" eval "$@" --exact --json --quiet >"$work/json" 2>"$work/err"; then
        echo "$case,failed,$(head -n 1 "$work/err")" >>"$have"
        return
    fi
    for field in $fields; do
        # Floats to 6 digits: rounding differences of libm's last bit stay out.
        "$tools/json_get" "$field" <"$work/json" | awk -v row="$case,$field" \
            '{ print row "," ($1 ~ /^-?[0-9]+$/ ? $1 : sprintf("%.6g", $1)) }' >>"$have"
    done
}

divergence="ppl ppl_ratio_ln kld_mean kld_median kld_p99 kld_max rms_dp top1"
text=$here/text.txt

for variant in $("$tools/make_tiny" --list); do
    "$tools/make_tiny" "$variant" "$work/$variant.gguf"
    measure "$variant" "tokens ppl ppl_sigma" "$work/$variant.gguf" --text "$text" --ctx 128
done
for arch in llama gemma3 gpt2; do
    for type in f16 bf16 q8_0; do
        "$gosset" convert "$work/$arch.gguf" -o "$work/$arch-$type.gguf" --type $type --quiet >/dev/null
        measure "$arch-$type" "$divergence" "$work/$arch-$type.gguf" --ref "$work/$arch.gguf" \
            --text "$text" --ctx 128
    done
done
for type in q4_0 q5_1 mxfp4; do
    "$gosset" quantize "$work/llama.gguf" -o "$work/stock.gguf" --type $type --fold none \
        --calib "$text" --tokens 1024 --no-eval --quiet --overwrite >/dev/null 2>&1
    measure "llama-stock-$type" "$divergence" "$work/stock.gguf" --ref "$work/llama.gguf" \
        --text "$text" --ctx 128
done
for recipe in default best gptq quip rtn; do
    "$gosset" quantize "$work/llama.gguf" -o "$work/$recipe.gguf" --bpw 4.5 --calib "$text" \
        --tokens 1024 --recipe "$recipe" --no-eval --quiet >/dev/null
    measure "llama-$recipe" "$divergence" "$work/$recipe.gguf" --ref "$work/llama.gguf" \
        --text "$text" --ctx 128
done
for task in choices words schemas; do
    measure "llama-$task" "items accuracy accuracy_norm ppl" "$work/llama.gguf" \
        --task "$here/$task.jsonl"
done
models=$here/../../models
measure gosset-stories "tokens ppl ppl_sigma" "$models/gosset-stories.gguf" \
    --text "$models/evaluation.txt" --ctx 256
# Recipes: divergence and bits, and which one is to be better than which. Two processes take turns,
# because so small a model keeps one processor busy; lines come in the order of the list.
measure_recipe() { # CASE "RECIPE [EVAL-OPTIONS]"
    set -- "$1" "${2%% *}" "${2#"${2%% *}"}"
    if ! "$gosset" quantize "$models/gosset-stories.gguf" -o "$work/recipe.gguf" --quiet --json \
        --calib "$models/calibration.txt" --tokens 8192 --recipe "$2" --no-eval --overwrite \
        --threads 1 >"$work/json" 2>"$work/err"; then
        echo "recipe-$1,failed,$(head -n 1 "$work/err")" >>"$have"
        return
    fi
    bits=$("$tools/json_get" bpw <"$work/json" | awk '{ printf "%.4f", $1 }')
    echo "recipe-$1,bpw,$bits" >>"$have"
    measure "recipe-$1" kld_mean "$work/recipe.gguf" --ref "$models/gosset-stories.gguf" \
        --text "$models/evaluation.txt" --ctx 256 --chunks 4 --threads 1 $3
}
measure_recipes() { # every second one, from the TURN-th on
    work=$work/turn$1 n=0
    mkdir "$work"
    while read -r case recipe; do
        case $case$recipe in ''|'#'*|*'<'*) continue ;; esac
        n=$((n + 1))
        have=$work/../recipe-$(printf %03d $n).csv
        [ $((n % 2)) != "$1" ] || measure_recipe "$case" "$recipe"
    done <"$here/recipes.txt"
}
(measure_recipes 0) &
(measure_recipes 1)
wait
cat "$work"/recipe-*.csv >>"$have"
while read -r case relation than; do
    [ "$relation" = '<' ] || continue
    awk -F, -v a="recipe-$case" -v b="recipe-$than" '$2 == "kld_mean" { of[$1] = $3 }
        END { print a " below " b ",holds," (a in of && of[a] + 0 < of[b] + 0) }' "$have" \
        >>"$work/order"
done <"$here/recipes.txt"
cat "$work/order" >>"$have"
stories=$data/stories260K
if [ -n "$data" ] && [ -f "$stories/stories260K.bin" ]; then
    "$tools/llama2c" "$stories/stories260K.bin" "$stories/tok512.bin" "$work/stories.gguf"
    # The separators between stories are no words that it has seen.
    head -c 100000 "$data/text/tinystories_sample_2MiB.txt" | grep -v '^<|endoftext|>$' \
        >"$work/tinystories"
    measure stories260K "tokens ppl ppl_sigma" "$work/stories.gguf" --text "$work/tinystories"
    "$gosset" convert "$work/stories.gguf" -o "$work/stories-f16.gguf" --type f16 --quiet >/dev/null
    measure stories260K-f16 "$divergence" "$work/stories-f16.gguf" --ref "$work/stories.gguf" \
        --text "$work/tinystories"
else
    echo "-- stories260K skipped: needs GOSSET_DATA"
    [ ! -f "$want" ] || grep '^stories260K' "$want" >>"$have"
fi

if [ "$2" = --write ]; then
    { echo case,measure,value && cat "$have"; } >"$want"
    echo "wrote $want"
fi
sed 1d "$want" >"$work/want.csv"
diff "$work/want.csv" "$have"
failed=$(grep -Fxvc -f "$work/want.csv" "$have")
missing=$(grep -Fxvc -f "$have" "$work/want.csv")
passed=$(grep -Fxc -f "$work/want.csv" "$have")
[ "$failed" -ge "$missing" ] || failed=$missing
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
