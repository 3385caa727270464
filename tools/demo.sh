#!/usr/bin/env bash
# The main job on problems a newcomer knows: pattern, form, sweep, winner, check, speed.
#   tools/demo.sh            Llama-3-8B prefill of 1537 tokens, then Gemma 2's local layer
set -euo pipefail
cd "$(dirname "$0")/.."
heddle=build/bin/heddle

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

problem() {
  say "$1: what it is, which form runs it and why"
  "$heddle" explain "${@:2}"
  say "$1: sweep (kept: a second run of this demo goes on from here)"
  "$heddle" tune "${@:2}" --budget 24
  say "$1: the winner, checked against the double-precision definition"
  "$heddle" run "${@:2}" --check
  say "$1: its speed"
  "$heddle" bench "${@:2}" --peak
}

say "the pattern"
"$heddle" patterns causal_softmax
problem "Llama-3-8B, prefill of 1537 tokens" --model llama-3-8b --shape T=1537
say "the pattern"
"$heddle" patterns softcap_window
problem "Gemma 2 9B, local layer, 1537 tokens, window 1024" --model gemma-2-9b --layer local --shape T=1537 --param W=1024

# The same problem for GPUs that need not be here: what the machine code takes, and what its main loop is made of.
gpu() {
  say "Llama-3-8B, prefill of 1537 tokens, on $1: registers, shared memory, occupancy, main loop"
  "$heddle" explain --model llama-3-8b --shape T=1537 --target "$2" --sass --quiet |
    grep -E '^(kernel|main loop|loop|note|schedule|   )' || true
}
gpu "an H100" sm_90
gpu "an RTX 4090" sm_89
