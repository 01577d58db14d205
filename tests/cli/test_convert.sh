# convert: types, what it refuses, atomic output.
. "$HERE/lib.sh"
tiny llama model.gguf
cp model.gguf before.gguf

for type in f32 f16 BF16 q8_0; do
    expect 0 "$GOSSET" convert model.gguf -o "$type.gguf" --type $type
    expect 0 "$GOSSET" inspect --json "$type.gguf"
    is "$(json arch)" llama
    is "$(json runnable)" true
    is "$(json tensors.0.type)" $(echo $type | tr a-z A-Z)
done
# From f16 on, widening and back changes nothing; as stored copies.
expect 0 "$GOSSET" convert f16.gguf -o wide.gguf --type f32
expect 0 "$GOSSET" convert wide.gguf -o back.gguf --type f16 --json
is "$(json tensors)" "$("$GOSSET" inspect --json f16.gguf >out && json tensors | tr '{' '\n' | grep -c '"name"')"
same f16.gguf back.gguf
expect 0 "$GOSSET" convert q8_0.gguf -o again.gguf
same q8_0.gguf again.gguf
for n in 1 2 5; do
    expect 0 "$GOSSET" convert model.gguf -o threads.gguf --type q8_0 -t $n --overwrite
    same q8_0.gguf threads.gguf "the file depends on the threads"
done

refused 1 'exists' "$GOSSET" convert model.gguf -o f16.gguf
same f16.gguf back.gguf "a refused conversion changed the file"
refused 1 'part of the model' "$GOSSET" convert model.gguf -o model.gguf --overwrite
ln -s model.gguf link.gguf
refused 1 'part of the model' "$GOSSET" convert model.gguf -o link.gguf --overwrite
ln model.gguf hard.gguf
refused 1 'part of the model' "$GOSSET" convert model.gguf -o ./hard.gguf --overwrite
same model.gguf before.gguf "the input was changed"
echo notes >notes.txt
refused 1 'no GGUF file' "$GOSSET" convert model.gguf -o notes.txt --overwrite
is "$(cat notes.txt)" notes
refused 1 'q4_k' "$GOSSET" convert model.gguf -o x.gguf --type q4_k
refused 1 'nowhere' "$GOSSET" convert model.gguf -o nowhere/x.gguf
mkdir folder
refused 1 'folder' "$GOSSET" convert model.gguf -o folder
ls | grep -q part && fail "an unfinished file is left"
[ ! -e x.gguf ] || fail "a refused conversion left a file"
