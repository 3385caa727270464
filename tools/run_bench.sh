#!/usr/bin/env bash
# Runs the benchmark programs of a build folder; tables go to the terminal, JSON to <build>/bench/.
#
#   tools/run_bench.sh [build [options for every program, e.g. --benchmark_filter=full]]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
shift || true
programs=("$build"/bin/*_bench)
if [ ! -x "${programs[0]}" ]; then
  echo "run_bench.sh: no benchmark programs in $build/bin, expected a build: run 'make build'" >&2
  exit 1
fi
mkdir -p "$build/bench"
failed=0
for program in "${programs[@]}"; do
  name=$(basename "$program")
  echo "$name -> $build/bench/$name.json"
  "$program" --benchmark_counters_tabular=true --benchmark_out_format=json \
    --benchmark_out="$build/bench/$name.json" "$@" || failed=1
done
exit $failed
