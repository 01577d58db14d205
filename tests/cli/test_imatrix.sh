# imatrix: a file that quantize takes, the same for any threads; and what it refuses.
. "$HERE/lib.sh"
i=0
while [ $i -lt 300 ]; do
    i=$((i + 1))
    echo "$i: a lazy dog sees the quick fox jump over it, $((i * 7 % 13)) times and then again."
done >text
for arch in llama gpt2 phi3; do
    tiny $arch model.gguf
    expect 0 "$GOSSET" imatrix model.gguf -o a.gguf --calib text --tokens 1024 -c 128 --json --overwrite
    is "$(json tokens)" 1024
    is "$(json bytes)" "$(wc -c <a.gguf)"
    expect 0 "$GOSSET" inspect --meta --tensors a.gguf
    grep -q 'general.type .*imatrix' out || fail "no general.type"
    grep -q 'imatrix.chunk_size .*128' out || fail "no chunk size"
    grep -q 'blk.0.ffn_down.weight.in_sum2' out || fail "no entry of ffn_down"
    expect 0 "$GOSSET" imatrix model.gguf -o b.gguf --calib text --tokens 1024 -c 128 -t 1 \
        --cpu scalar --overwrite
    same a.gguf b.gguf "$arch: the file depends on threads or kernels"
    expect 0 "$GOSSET" quantize model.gguf -o q.gguf --type Q4_0 --imatrix a.gguf --no-eval --overwrite
    expect 0 "$GOSSET" run q.gguf -p 'Hello there' -n 4 --json
done
expect 2 "$GOSSET" imatrix model.gguf --calib text
refused 1 'exists already' "$GOSSET" imatrix model.gguf -o a.gguf --calib text --tokens 256
refused 1 'give 16 to' "$GOSSET" imatrix model.gguf -o c.gguf --calib text -c 3
refused 1 'missing' "$GOSSET" imatrix model.gguf -o c.gguf --calib missing
refused 1 'a.gguf' "$GOSSET" imatrix a.gguf -o c.gguf --calib text
[ ! -e c.gguf ] || fail "a refused call left a file"
