# Wrong command lines: exit code 2, what is wrong, and what may have been meant.
. "$HERE/lib.sh"
show gosset
show gosset inspekt
show gosset frobnicate
show gosset --jason
show gosset inspect
show gosset inspect a b
show gosset inspect --tensor m.gguf
show gosset inspect --verbose-everything m.gguf
show gosset inspect --json=1 m.gguf
show gosset inspect -x m.gguf
show gosset convert m.gguf
show gosset convert m.gguf -o
show gosset run m.gguf
show gosset run m.gguf -p a -f b
show gosset run m.gguf -p a -n many
show gosset run m.gguf -p a -n -2
show gosset run m.gguf -p a -n 1.5
show gosset run m.gguf -p a -c 99999999999999999999
show gosset run m.gguf -p a --temp hot
show gosset run m.gguf -p a --temp=nan
show gosset run m.gguf -p a --top-p 2
show gosset run m.gguf -p a --seed -1
show gosset run m.gguf -p a --threads=-3
show gosset run m.gguf -p a -s b
show gosset run m.gguf -p a --cpu fast
show gosset eval m.gguf
show gosset eval m.gguf --text a --task b
show gosset eval m.gguf --task b --ref c
show gosset eval m.gguf --text a --limit 3
show gosset tokenize m.gguf
show gosset tokenize m.gguf --text a --file b
show gosset tokenize m.gguf --text a --split b
