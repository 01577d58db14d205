# compare: the table, the page, its JSON; what fails is a row; what is refused leaves nothing.
. "$HERE/lib.sh"
models=$HERE/../../models
compare() {
    "$GOSSET" compare "$models/gosset-stories.gguf" --tokens 4096 -c 64 --chunks 4 "$@"
}
text="--text $models/evaluation.txt --calib $models/calibration.txt"

# Three recipes that work, one that does not, and names that must not become markup.
expect 0 compare --recipes 'rtn,gptq,damping=0.02,stock:Q4_0,<script>"&,best,seed=x' $text --report page.html
grep -q '^rtn  *[0-9.]* ' out || fail "no row for rtn"
grep -q '^gptq,damping=0.02 ' out || fail "no row for gptq with pairs"
grep -q '^stock:Q4_0 ' out || fail "no row for a stock type"
grep -q '^best,seed=x.*seed: .x. is not a number' out || fail "no reason for best,seed=x"
"$TOOLS/well_formed" <page.html || fail "page.html"
grep -q '&lt;script&gt;&quot;&amp;' page.html || fail "a name is not escaped"
grep -q 'src=\|href=\|url(\|@import' page.html && fail "the page needs something from elsewhere"
[ "$(grep -o '<svg' page.html | wc -l)" = 6 ] || fail "not two plots, a legend and three maps"
[ "$(ls)" = "err
out
page.html
page.json" ] || fail "something is left: $(ls)"

cp page.json out
is "$(json rows_planned)" 5
is "$(json rows.3.failure | grep -c 'neither a recipe nor a file')" 1
is "$(json rows.1.recipe)" gptq,damping=0.02
is "$(json rows.0.passes)$(json rows.1.passes)" 02
within "$(json activations_lost.crosswise.3)" 0.0001 "$(json activations_lost.by_token.3)"
within "$(json activations_lost.by_token.14)" 0 1
rtn=$(json rows.0.kld_mean) gptq=$(json rows.1.kld_mean)
within "$gptq" 0.0001 "$rtn"
within "$(json rows.1.layer_error)" 0.0001 "$(json rows.0.layer_error)"
within "$(json rows.0.matrix_bpw)" 4 "$(json rows.0.file_bpw)"
ppl=$(json rows.1.ppl) kld=$(json rows.1.kld_mean) bpw=$(json rows.1.bpw)

# The same figures as quantize and eval give.
expect 0 "$GOSSET" quantize "$models/gosset-stories.gguf" -o gptq.gguf --recipe gptq,damping=0.02 \
    --calib "$models/calibration.txt" --tokens 4096 --no-eval --json
is "$(printf %.8g "$(json bpw)")" "$(printf %.8g "$bpw")"
expect 0 "$GOSSET" eval gptq.gguf --ref "$models/gosset-stories.gguf" --text "$models/evaluation.txt" \
    -c 64 --chunks 4 --json
is "$(printf %.6g "$(json kld_mean)")" "$(printf %.6g "$kld")"
is "$(printf %.6g "$(json ppl)")" "$(printf %.6g "$ppl")"

# Budgets; one text is cut; files are kept; nothing depends on the threads.
mkdir files
for n in 1 2; do
    expect 0 compare --recipes rtn,quip --bpw 3.5,5 --text "$models/evaluation.txt" -t $n \
        --report cut$n.html --keep-files files --overwrite --json
    [ "$(wc -l <out)" = 1 ] || fail "not one line of JSON"
    same out cut$n.json
    is "$(json calibration.how)" 'its end, which is not measured on'
    json rows.3.kld_mean >kld$n
    json rows.2.matrix_errors.3 >>kld$n
done
same kld1 kld2 "figures depend on the threads"
is "$(echo $(ls files))" "quip-3.500.gguf quip-5.000.gguf rtn-3.500.gguf rtn-5.000.gguf"
expect 0 "$GOSSET" inspect files/quip-5.000.gguf
expect 1 compare --recipes rtn --bpw 3.5 --text "$models/evaluation.txt" --report x.html --keep-files files
grep -q 'files/rtn-3.500.gguf: exists' x.html || fail "no reason for a file that is there"
rm x.html x.json
# Bits that a recipe has not, and a file that would be made again.
expect 0 compare --recipes mxfp4 --bpw 3,4.5,4.6 $text --report x.html
grep -q '^mxfp4 3 .*too few' out || fail "3 bits of mxfp4"
grep -q '^mxfp4 4.5  *4.2[67][0-9]* ' out || fail "4.5 bits of mxfp4"
grep -q '^mxfp4 4.6 .*the same file as for 4.5 bits' out || fail "4.6 bits of mxfp4"
rm x.html x.json

# Refused before any work, and nothing is left.
cp "$models/evaluation.txt" copy.txt
refused 1 'calibrating on what is measured on' compare --recipes rtn --text copy.txt --calib "$models/evaluation.txt" --report x.html --json
refused 1 'page.html: exists' compare --recipes rtn $text --report page.html --json
refused 1 'no such folder' compare --recipes rtn $text --report x.html --keep-files nowhere --json
refused 1 'too short' compare --recipes rtn $text --report x.html -c 100000 --json
refused 1 'nowhere.txt' compare --recipes rtn --text nowhere.txt --report x.html --json
expect 2 compare --recipes rtn $text
expect 2 compare --recipes , $text --report x.html
expect 2 compare --recipes rtn --bpw 2,lots $text --report x.html
ls | grep -q '^x\|work' && fail "a refused command left something: $(ls)"
exit 0
