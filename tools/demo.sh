#!/bin/sh
# The demonstration of `make demo`: quantizes the bundled model at 8, 4, 3 and 2 bits, measures
# each file against the original and lets the 3-bit one write.
#
#   sh tools/demo.sh BUILD_DIR [MODEL]     files are left in BUILD_DIR/demo
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:?usage: demo.sh BUILD_DIR [MODEL]}" && pwd)
model=${2:-$root/models/gosset-stories.gguf}
text=$root/models/evaluation.txt
calibration=$root/models/calibration.txt
gosset=$build/gosset
out=$build/demo
export LC_ALL=C
mkdir -p "$out"

# member NAME JSON: the number of that name.
member() {
    printf '%s\n' "$2" | sed -n 's/.*"'"$1"'":\([-+.0-9e]*\).*/\1/p'
}

# Tokens a second while writing: the best of three runs, as others may use the machine.
speed() { # FILE
    for seed in 1 2 3; do
        member predicted_per_second "$("$gosset" run "$1" -p "Once upon a time" -n 256 --temp 0.8 \
            --seed $seed --json --quiet)"
    done | sort -g | tail -n 1
}

# A line of the table: name, bits, what eval says, speed.
row() { # FILE BITS EVAL-ARGUMENTS...
    file=$1 bits=$2
    shift 2
    measured=$("$gosset" eval "$file" --text "$text" --ctx 256 "$@" --json --quiet)
    divergence=$(member kld_mean "$measured")
    printf '%-24s %10d %7.3f %11.3f %9.5f %11.0f\n' "$(basename "$file")" "$(wc -c <"$file")" \
        "$bits" "$(member ppl "$measured")" "${divergence:-0}" \
        "$(speed "$file")" >>"$out/table"
}

printf '%-24s %10s %7s %11s %9s %11s\n' file bytes bpw perplexity 'mean KL' 'tokens/s' >"$out/table"
echo "== The model: models/README.md says what it is and how it was made"
"$gosset" inspect "$model" | sed -n 1,12p
row "$model" "$(member bpw "$("$gosset" inspect "$model" --json)")"
for bits in 8 4 3 2; do
    how="--bpw $bits --recipe grid=trellis12"
    [ $bits = 8 ] && how="--type q8_0" # a trellis ends at 5 bits
    echo "== $bits bits: gosset quantize $how"
    file=$out/stories-$bits.gguf
    # shellcheck disable=SC2086 -- options and their values
    said=$("$gosset" quantize "$model" -o "$file" $how --calib "$calibration" --overwrite \
               --no-eval --json)
    row "$file" "$(member bpw "$said")" --ref "$model"
done
echo
echo "== Measured on models/evaluation.txt, which no model here has seen"
cat "$out/table"
echo
echo "== The 3-bit model writes"
"$gosset" run "$out/stories-3.gguf" --echo --quiet --temp 0.7 --seed 3 -n 160 \
    -p "Once upon a time, there was a little girl named Lily. She had a red ball."
