#!/bin/sh
# Installs what is missing to build and test gosset. On Debian and Ubuntu through apt-get;
# elsewhere prints what is needed.
required="gcc make pkg-config libjansson-dev libpcre2-dev libutf8proc-dev libcmocka-dev libglpk-dev"
if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    cat <<'EOF'
This is not Debian or Ubuntu; install these with your package manager, then run make:
  a C11 compiler (gcc or clang), GNU make, pkg-config
  jansson, PCRE2 (8 bit), utf8proc      libraries with their headers
  cmocka                                for the tests
  GLPK                                  optional: the best types under a budget
EOF
    exit 0
fi
missing=
for p in $required; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' ||
        missing="$missing $p"
done
# Any C compiler and any pkg-config will do.
command -v cc >/dev/null 2>&1 && missing=$(echo " $missing " | sed 's/ gcc / /')
command -v pkg-config >/dev/null 2>&1 && missing=$(echo " $missing " | sed 's/ pkg-config / /')
missing=$(echo $missing)
[ -z "$missing" ] && { echo "deps: all there"; exit 0; }
echo "deps: installing $missing"
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $missing
