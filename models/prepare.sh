#!/bin/sh
# Cuts a sample of TinyStories into what gosset-stories is trained on and the last 5 % of the
# stories, which it never sees.
#
#   sh models/prepare.sh SAMPLE.txt FOLDER     writes FOLDER/train.txt and FOLDER/heldout.txt
#
# SAMPLE.txt holds stories with lines "<|endoftext|>" between them. Typographic quotes and
# dashes become ASCII, the line ends around the separator go, and a last story without a
# separator after it is left out, since it is cut short.
set -e
sample=${1:?usage: prepare.sh SAMPLE.txt FOLDER}
folder=${2:?usage: prepare.sh SAMPLE.txt FOLDER}
mkdir -p "$folder"
n=$(grep -c '^<|endoftext|>' "$sample")
LC_ALL=C sed 's/\xe2\x80\x9c/"/g; s/\xe2\x80\x9d/"/g; s/\xe2\x80\x98/'"'"'/g
              s/\xe2\x80\x99/'"'"'/g; s/\xe2\x80\x93/-/g; s/\xe2\x80\x94/-/g
              s/\xe2\x80\xa6/.../g; s/  */ /g; s/^ //; s/ $//' "$sample" |
LC_ALL=C awk -v n="$n" -v train="$folder/train.txt" -v heldout="$folder/heldout.txt" '
    BEGIN { printf "" >train; printf "" >heldout; keep = int(n * 0.95) }
    /^<\|endoftext\|>/ {
        if (story != "") printf "%s<|endoftext|>", story >(stories < keep ? train : heldout)
        stories++
        story = ""
        next
    }
    /./ { story = story == "" ? $0 : story "\n" $0 }'
