// The classes of scans as patterns of one mix: decays, updates, reads, norms and features; shared
// by the tests of their forms.
#pragma once

#include "tests/compiler/FormSupport.h"

#include <algorithm>
#include <string_view>

namespace heddle::test {

inline double decay(double x) { return -0.4 * std::fabs(x); }
inline double gate(double x) { return 1 / (1 + std::exp(-x)); }
inline double small(double x) { return 0.3 * x; }
inline double positive(double x) { return std::fabs(x) + 0.1; }

struct ScanClass {
  const char *what, *arguments, *clauses, *results;
};

/// Operands q, k, v of H heads, then these arguments and clauses.
inline const ScanClass kScanClasses[] = {
    {"sum of keys and values", "", "weight id norm none gives o", "%o"},
    {"state in and out", ", %s0: seq<f32, H x K x V>",
     "weight id norm none initial state %s0 gives o, state", "%o, %s"},
    {"constant decay", ", %s0: seq<f32, H x K x V>",
     "decay constant { log(1 - exp2(-2 - h)) } weight id norm none initial state %s0 gives o, "
     "state",
     "%o, %s"},
    {"scalar decay", ", %g: seq<f32, T x H>, %s0: seq<f32, H x K x V>",
     "decay scalar %g weight id norm none initial state %s0 gives o, state", "%o, %s"},
    {"diagonal decay", ", %g: seq<f32, T x H x K>, %s0: seq<f32, H x K x V>",
     "score { s } decay diag %g weight id norm none initial state %s0 gives o, state", "%o, %s"},
    {"features and norm", ", %s0: seq<f32, H x K x V>, %z0: seq<f32, H x K>",
     "features q [elu1] features k [elu1] weight id norm sum initial state %s0, z %z0 "
     "gives o, state, z",
     "%o, %s, %z"},
    {"norm with a decay and an epsilon", ", %g: seq<f32, T x H>",
     "features q [exp] features k [exp] decay scalar %g weight id norm sum { 1.0e-6 } gives o, z",
     "%o, %z"},
    {"norm with a floor a row", "",
     "decay constant { log(1 - exp2(-2 - h)) } weight id norm max_abs { sqrt(float(i + h + 1)) } "
     "gives o",
     "%o"},
    {"read before the write, with a bonus", ", %g: seq<f32, T x H x K>, %u: tensor<H x K>",
     "decay diag %g read bonus %u weight id norm none gives o, state", "%o, %s"},
    {"bonus without a decay", ", %u: tensor<H x K>", "read bonus %u weight id norm none gives o",
     "%o"},
    {"delta", ", %beta: seq<T x H>, %s0: seq<f32, H x K x V>",
     "features q [silu, l2norm] features k [silu, l2norm] weight id norm none update delta %beta "
     "initial state %s0 gives o, state",
     "%o, %s"},
    {"gated delta", ", %g: seq<f32, T x H>, %beta: seq<T x H>",
     "features q [l2norm] features k [l2norm] decay scalar %g weight id norm none "
     "update delta %beta gives o, state",
     "%o, %s"},
    {"delta with a diagonal decay", ", %g: seq<f32, T x H x K>, %beta: seq<T x H>",
     "features q [l2norm] features k [l2norm] decay diag %g weight id norm none "
     "update delta %beta gives o, state",
     "%o, %s"},
    {"delta with a bias", ", %beta: seq<T x H>",
     "features q [scale(by = rsqrt(K)), append] features k [l2norm, append(value = 0.5)] "
     "score { s } weight id norm none update delta %beta gives o, state",
     "%o, %s"},
    {"diagonal plus low rank", ", %g: seq<f32, T x H x K>, %a: seq<T x H x K>, %y: seq<T x H x K>",
     "score { s } decay diag %g weight id norm none update dplr %a, %y gives o, state", "%o, %s"},
    {"low rank with a scalar decay",
     ", %g: seq<f32, T x H>, %a: seq<T x H x K>, %y: seq<T x H x K>",
     "decay scalar %g weight id norm none update dplr %a, %y gives o, state", "%o, %s"},
    {"low rank without a decay", ", %a: seq<T x H x K>, %y: seq<T x H x K>",
     "weight id norm none update dplr %a, %y gives o", "%o"},
};

/// What a run leaves and the next begins with, by name.
inline constexpr std::pair<const char *, const char *> kCarried[] = {
    {"s0", "s"},        {"z0", "z"},      {"bank0", "bank1"},
    {"pool0", "pool1"}, {"run0", "run1"}, {"at", "at1"}};

#define HEDDLE_BANK ", %bank0: seq<f32, N x H x K x V>, %at: seq<i32>"

/// Scans with a bank of states that a run goes on with: N levels or segments of 20 tokens.
inline constexpr ScanClass kBankClasses[] = {
    {"levels", ", %g: seq<f32, T x H>, %lambda: seq<T x H x L>" HEDDLE_BANK,
     "score { s } decay scalar %g weight id norm none segments fenwick gate given %lambda bank "
     "running initial bank %bank0, position %at gives o, bank, position",
     "%o, %bank1, %at1"},
    {"levels of the delta rule",
     ", %g: seq<f32, T x H>, %beta: seq<T x H>, %lambda: seq<T x H x L>" HEDDLE_BANK,
     "features k [l2norm] decay scalar %g weight id norm none update delta %beta segments fenwick "
     "gate given %lambda bank running initial bank %bank0, position %at gives o, bank, position",
     "%o, %bank1, %at1"},
    {"segments that go on", ", %g: seq<f32, T x H>, %s0: seq<f32, H x K x V>" HEDDLE_BANK,
     "decay scalar %g weight id norm none segments constant { 20 } gate ones bank frozen reset no "
     "initial state %s0, bank %bank0, position %at gives o, state, bank, position",
     "%o, %s, %bank1, %at1"},
    {"segments weighed by a router",
     ", %g: seq<f32, T x H>, %u: seq<T x H x K>, %s0: seq<f32, H x K x V>, "
     "%pool0: seq<f32, N x H x K>, %run0: seq<f32, H x K>" HEDDLE_BANK,
     "decay scalar %g weight id norm none segments constant { 20 } gate softmax %u pool mean_k "
     "bank frozen reset yes initial state %s0, bank %bank0, pool %pool0, position %at, run_pool "
     "%run0 gives o, state, bank, pool, position, run_pool",
     "%o, %s, %bank1, %pool1, %at1, %run1"},
    {"the best segments, which decay on",
     ", %g: seq<f32, T x H>, %u: seq<T x H x K>, %s0: seq<f32, H x K x V>, "
     "%pool0: seq<f32, N x H x K>, %run0: seq<f32, H x K>" HEDDLE_BANK,
     "decay scalar %g weight id norm none segments constant { 20 } gate top(1) %u pool mean_k "
     "renorm selected bank running reset yes initial state %s0, bank %bank0, pool %pool0, position "
     "%at, run_pool %run0 gives o, state, bank, pool, position, run_pool",
     "%o, %s, %bank1, %pool1, %at1, %run1"}};

#undef HEDDLE_BANK

/// The class of that name.
inline const ScanClass &scanClass(std::string_view what) {
  return *std::find_if(std::begin(kScanClasses), std::end(kScanClasses),
                       [&](const ScanClass &c) { return what == c.what; });
}

inline std::string textOf(const ScanClass &c) {
  std::string results = c.results;
  return "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>" +
         std::string(c.arguments) + ") {\n  " + results + " = mix %q, %k, %v " + c.clauses +
         "\n  return " + results + "\n}\n";
}

inline FormCase scanCase(std::string text, std::map<std::string, int64_t> dims, const char *form,
                         int64_t chunk) {
  FormCase c;
  c.text = std::move(text);
  c.dims = std::move(dims);
  c.fixed = {"K", "V"};
  c.form = form;
  c.CHUNK = chunk;
  c.made = {{"g", decay}, {"beta", gate}, {"a", small}, {"y", small}, {"z0", positive}};
  return c;
}

} // namespace heddle::test
