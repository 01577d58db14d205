# Every command and every option of --help is in docs/cli.md.
. "$HERE/lib.sh"
docs=$HERE/../../docs/cli.md
for command in $("$GOSSET" --help | sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    grep -q "^## gosset $command" "$docs" || fail "docs/cli.md has no section for $command"
    # The options that the section itself or the shared ones after the commands name.
    { sed -n "/^## gosset $command/,/^## /p" "$docs"; sed -n '/^## Shared/,$p' "$docs"; } >section
    for option in $("$GOSSET" $command --help | sed -n 's/^  ....--\([a-z0-9-]*\).*/\1/p'); do
        grep -q -e "\`--$option" -e "--$option" section || fail "docs/cli.md: $command --$option"
    done
done
