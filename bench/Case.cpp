// The table of problems and their sizes.
//
//   causal, Tq = 3, Tk = 5: rows see 3 + 4 + 5 keys = 12 pairs of 15
#include "bench/Case.h"

#include <algorithm>

namespace heddle::bench {

namespace {

// clang-format off
constexpr Case kCases[] = {
    // name             pattern           visible           B  Hq  Hk  Tq    Tk    D    W     copies
    {"full_1024_d128",   "dense_softmax",  Visible::All,    1,  8,  8, 1024, 1024, 128, 0,    1, nullptr},
    {"full_1024_d64",    "dense_softmax",  Visible::All,    1,  8,  8, 1024, 1024,  64, 0,    1, nullptr},
    {"causal_1024_d128", "causal_softmax", Visible::Causal, 1,  8,  8, 1024, 1024, 128, 0,    1, "full_1024_d128"},
    {"causal_1024_d64",  "causal_softmax", Visible::Causal, 1,  8,  8, 1024, 1024,  64, 0,    1, "full_1024_d64"},
    {"causal_777_d96",   "causal_softmax", Visible::Causal, 2,  4,  4,  777,  777,  96, 0,    1, nullptr},
    {"causal_1000_d80",  "causal_softmax", Visible::Causal, 1,  8,  8, 1000, 1000,  80, 0,    1, nullptr},
    {"gqa_1537_d128",    "gqa",            Visible::Causal, 1, 16,  2, 1537, 1537, 128, 0,    1, nullptr},
    {"softcap_1024_d128","softcap",        Visible::Causal, 1,  8,  8, 1024, 1024, 128, 0,    1, "full_1024_d128"},
    {"window_8192_d128", "sliding_window", Visible::Window, 1,  8,  8, 8192, 8192, 128, 1024, 1, "full_1024_d128"},
    {"decode_4096_d128", "gqa",            Visible::Causal, 1, 32,  8,    1, 4096, 128, 0,    8, nullptr},
};
// clang-format on

} // namespace

std::span<const Case> cases() { return kCases; }

Extents Case::extents() const {
  return {{"B", B}, {"Hq", Hq}, {"Hk", Hk}, {"Tq", Tq}, {"Tk", Tk}, {"D", D}, {"Dv", D}};
}

std::map<std::string, double> Case::parameters() const {
  std::map<std::string, double> values;
  if (window > 0)
    values["W"] = static_cast<double>(window);
  return values;
}

int64_t countPairs(const Case &problem) {
  if (problem.visible == Visible::All)
    return problem.Tq * problem.Tk;
  int64_t pairs = 0;
  for (int64_t row = 0; row < problem.Tq; ++row) {
    int64_t seen = std::clamp<int64_t>(row + problem.Tk - problem.Tq + 1, 0, problem.Tk);
    pairs += problem.visible == Visible::Window ? std::min(seen, problem.window) : seen;
  }
  return pairs;
}

double usefulFlops(const Case &problem) {
  return 4.0 * static_cast<double>(problem.D) * static_cast<double>(countPairs(problem)) *
         static_cast<double>(problem.B * problem.Hq);
}

double leastBytes(const Case &problem, DType dtype) {
  double queries = static_cast<double>(problem.B * problem.Hq * problem.Tq);
  double keys = static_cast<double>(problem.B * problem.Hk * problem.Tk);
  double rows = 2 * queries + 2 * keys;
  return rows * static_cast<double>(problem.D * sizeOf(dtype)) + queries * 4;
}

} // namespace heddle::bench
