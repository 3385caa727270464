#!/usr/bin/env bash
# Installs, by Debian package name, what Heddle needs to build and to run its tests.
# Says what it does; does nothing when everything is there.
#   tools/setup.sh           install what is missing
#   tools/setup.sh --check   only say what is missing; exit code 1 if anything is
set -euo pipefail

packages=(
  cmake ninja-build make git binutils python3 python3-numpy
  clang-22 clang-format-22 clang-tidy-22 lld-22 liblld-22-dev libclang-rt-22-dev
  llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools
  libfmt-dev catch2 libbenchmark-dev libcli11-dev nlohmann-json3-dev libtomlplusplus-dev
  libzstd-dev zlib1g-dev
)

installed() { [ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = "install ok installed" ]; }

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi

echo "setup: missing: ${missing[*]}"
[ "${1:-}" = "--check" ] && exit 1

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: installing packages needs root: run as root, or install sudo" >&2; exit 1; }
  as_root=(sudo)
fi
echo "setup: installing with apt-get (package lists first)"
"${as_root[@]}" apt-get update -qq
for package in "${missing[@]}"; do
  apt-cache show "$package" >/dev/null 2>&1 || {
    echo "setup: apt does not know '$package': Heddle needs Debian packages of LLVM/MLIR 22.1 (see README.md, Requirements)" >&2
    exit 1
  }
done
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
echo "setup: done"
