# Every architecture, with its options: loads, runs and is measured with the same result for
# any number of threads, any kernels and any batch; converted to f32 it is the same model.
. "$HERE/lib.sh"
for i in 1 2 3 4 5 6 7 8 9; do echo "$i: a lazy dog sees the fox jump over it, $i times."; done >text

for arch in $("$TOOLS/make_tiny" --list); do
    tiny "$arch" model.gguf
    expect 0 "$GOSSET" run model.gguf -p 'Hello there' -n 8 --json --threads 1
    [ "$(json tokens)" = 8 ] || is "$(json ended)" true "$arch"
    json text >text1
    expect 0 "$GOSSET" run model.gguf -p 'Hello there' -n 8 --json --threads 3 --batch 2 --cpu scalar
    json text >text2
    same text1 text2 "$arch: the text depends on threads, batch or kernels"
    expect 0 "$GOSSET" eval model.gguf --text text --ctx 32 --chunks 2 --json --threads 1
    cp out eval1
    expect 0 "$GOSSET" eval model.gguf --text text --ctx 32 --chunks 2 --json --threads 3 --batch 5 --cpu scalar
    same eval1 out "$arch: eval depends on threads, batch or kernels"
    case $arch in *:*) continue ;; esac
    expect 0 "$GOSSET" convert model.gguf -o wide.gguf --type f32 --overwrite
    expect 0 "$GOSSET" eval wide.gguf --text text --ctx 32 --chunks 2 --json --ref model.gguf
    is "$(json ppl)" "$(json ref_ppl)" "$arch: widened to f32"
done
