# The help texts, exactly.
. "$HERE/lib.sh"
show gosset --version
show gosset --help
for command in inspect convert quantize run chat eval tokenize bench train imatrix delta recipes pack unpack compare; do
    show gosset $command --help
done
"$GOSSET" help eval >a && "$GOSSET" eval -h >b && same a b "help eval and eval -h differ"
