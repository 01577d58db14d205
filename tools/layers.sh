#!/bin/sh
# Refuses an include that src/LAYERS does not allow, any "../", and cli/ or server/ reaching
# into src/.
cd "$(dirname "$0")/.." || exit 1
awk '
FILENAME == "src/LAYERS" {
    if ($0 ~ /^#/ || $0 !~ /:/) next
    split($0, part, ":"); folder = part[1]; known[folder] = 1
    n = split(part[2], names, " ")
    for (i = 1; i <= n; i++) {
        if (!(names[i] in known)) { print "src/LAYERS: " folder " names " names[i] ", which is not below it"; bad = 1 }
        allowed[folder, names[i]] = 1
    }
    allowed[folder, folder] = 1
    next
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, q, "\""); target = q[2]
    if (target ~ /\.\.\//) { print FILENAME ":" FNR ": include climbs with ../"; bad = 1; next }
    split(FILENAME, path, "/")
    m = split(target, t, "/")
    if (path[1] != "src") {
        if (m > 1) { print FILENAME ":" FNR ": " path[1] " may include only gosset.h and its own headers"; bad = 1 }
        next
    }
    if (target == "gosset.h") next
    if (m != 2) { print FILENAME ":" FNR ": include \"" target "\" is not folder/file.h"; bad = 1; next }
    if (!(path[2] in known)) { print FILENAME ":" FNR ": folder " path[2] " is not in src/LAYERS"; bad = 1; next }
    if (!((path[2], t[1]) in allowed)) { print FILENAME ":" FNR ": " path[2] " may not include " target; bad = 1 }
}
END { exit bad }' src/LAYERS $(find src cli server -name '*.[ch]' -o -name '*.def' 2>/dev/null | sort) &&
    echo "layers: ok"
