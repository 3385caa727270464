#!/usr/bin/env bash
# Installs, by Debian package name, what Heddle needs to build and to run its tests. NVRTC and
# nvdisasm (CUDA targets need them; everything else works without) come from PyPI into .cache/nvidia where none is found.
# Says what it does; does nothing when everything is there.
#   tools/setup.sh           install what is missing
#   tools/setup.sh --check   only say what is missing; exit code 1 if anything is
set -euo pipefail

packages=(
  cmake ninja-build make git binutils python3 python3-numpy python3-pip python3-dev python3-venv pkgconf
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

# Whether one of the usual places of runtime/CudaFiles.h has a file of NVIDIA's: lib64/libnvrtc.so, bin/nvdisasm.
has_nvidia() {
  compgen -G "/usr/local/cuda*/$1*" >/dev/null || compgen -G "${CUDA_HOME:-/nowhere}/$1*" >/dev/null ||
    compgen -G "/usr/lib/*/$(basename "$1")*" >/dev/null || compgen -G ".cache/nvidia/nvidia/*/${1/lib64/lib}*" >/dev/null ||
    command -v "$(basename "$1")" >/dev/null ||
    python3 -c 'import glob, site, sys
sys.exit(not any(glob.glob(f"{s}/nvidia/*/{sys.argv[1]}*") for s in site.getsitepackages() + [site.getusersitepackages()]))' "${1/lib64/lib}" 2>/dev/null
}

# Optional: what lacks is told, and is not a failure of the set-up.
nvidia() {
  local wanted=()
  [ -n "${HEDDLE_NVRTC:-}" ] || has_nvidia lib64/libnvrtc.so || wanted+=(nvidia-cuda-nvrtc)
  [ -n "${HEDDLE_NVDISASM:-}" ] || has_nvidia bin/nvdisasm || wanted+=(nvidia-cuda-nvdisasm)
  [ ${#wanted[@]} -eq 0 ] && return
  if [ "${1:-}" = "--check" ]; then
    echo "setup: missing, optional, for CUDA targets: ${wanted[*]}"
    return
  fi
  echo "setup: installing PyPI's ${wanted[*]} into .cache/nvidia (for CUDA targets; no GPU is needed)"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .cache/nvidia "${wanted[@]}" ||
    echo "setup: that failed: CUDA targets will say what lacks, everything else works" >&2
}

# Optional, for the tests of the Python package, which are skipped without: no packages of Debian 12.
python_environment() {
  [ -e .cache/python-env/complete ] && return
  if [ "${1:-}" = "--check" ]; then
    echo "setup: missing, optional, for tests of the Python package: nanobind scikit-build-core"
    return
  fi
  echo "setup: installing PyPI's nanobind, scikit-build-core and numpy into .cache/python-env"
  if /usr/bin/python3 -m venv .cache/python-env && .cache/python-env/bin/pip install --quiet --disable-pip-version-check \
    --timeout 15 --retries 1 'nanobind>=2.0' 'scikit-build-core>=0.10' numpy; then
    touch .cache/python-env/complete
  else
    echo "setup: that failed: the tests of the Python package will be skipped" >&2
  fi
}

cd "$(dirname "$0")/.."
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all ${#packages[@]} packages are installed"
  nvidia "$@"
  python_environment "$@"
  exit 0
fi

echo "setup: missing: ${missing[*]}"
if [ "${1:-}" = "--check" ]; then
  nvidia --check
  python_environment --check
  exit 1
fi

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
nvidia "$@"
python_environment "$@"
echo "setup: done"
