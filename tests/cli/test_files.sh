# Inputs that are missing, damaged or of another kind: one line, exit code 1, no crash.
. "$HERE/lib.sh"
tiny llama model.gguf

refused 1 'gone.gguf: No such file' "$GOSSET" inspect gone.gguf
mkdir empty
refused 1 'empty' "$GOSSET" inspect empty
mkdir half && cp model.gguf half/model.safetensors
refused 1 'half' "$GOSSET" inspect half
echo '{"architectures": ["LlamaForCausalLM"]}' >half/config.json
refused 1 'half' "$GOSSET" inspect half
rm half/config.json
: >zero.gguf
refused 1 'zero.gguf: .*empty' "$GOSSET" inspect zero.gguf
echo 'hello' >text.gguf
refused 1 'text.gguf' "$GOSSET" inspect text.gguf
printf 'GGUF\003\0\0\0' >stub.gguf
refused 1 'stub.gguf' "$GOSSET" inspect stub.gguf
bytes=$(wc -c <model.gguf)
for part in 10 100 1000 $((bytes / 2)) $((bytes - 1)); do
    head -c $part model.gguf >short.gguf
    refused 1 'short.gguf' "$GOSSET" inspect short.gguf
done
refused 1 'short.gguf' "$GOSSET" run short.gguf -p a -n 1
refused 1 'short.gguf' "$GOSSET" eval short.gguf --text text.gguf
refused 1 'short.gguf' "$GOSSET" tokenize short.gguf --text a
refused 1 'short.gguf' "$GOSSET" convert short.gguf -o out.gguf
[ ! -e out.gguf ] || fail "a failed conversion left a file"

refused 1 'gone.txt: No such file' "$GOSSET" eval model.gguf --text gone.txt
refused 1 'gone.txt: No such file' "$GOSSET" run model.gguf --file gone.txt
refused 1 'gone.txt: No such file' "$GOSSET" tokenize model.gguf --file gone.txt
refused 1 'gone.jsonl: No such file' "$GOSSET" eval model.gguf --task gone.jsonl
refused 1 'gone.gguf: No such file' "$GOSSET" eval model.gguf --text text.gguf --ref gone.gguf
echo 'not json' >bad.jsonl
refused 1 'bad.jsonl' "$GOSSET" eval model.gguf --task bad.jsonl
refused 1 'empty' "$GOSSET" eval model.gguf --text empty
: >none.txt
refused 1 'token' "$GOSSET" eval model.gguf --text none.txt
