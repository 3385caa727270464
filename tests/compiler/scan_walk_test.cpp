// Scans that are not walked once forwards with one state, by the walker against the interpreter:
// segments with a bank, levels, taps, sub-tokens in chunks, both directions, a static state, trees,
// packed sequences.
#include "tests/compiler/ScanClasses.h"

using namespace heddle;
using namespace heddle::test;

namespace {

const char *const kWalkedForms[] = {"recurrent", "chunked"};

std::string withClauses(const std::string &arguments, const std::string &clauses,
                        const std::string &results = "%o") {
  ScanClass kind{"", arguments.c_str(), clauses.c_str(), results.c_str()};
  return textOf(kind);
}

void check(const std::string &text, int64_t T, const char *form, int64_t chunk,
           std::map<std::string, int64_t> more = {}, Upto upto = Upto::Form) {
  std::map<std::string, int64_t> dims{{"B", 2}, {"T", T}, {"H", 2}, {"K", 5}, {"V", 3}};
  dims.insert(more.begin(), more.end());
  FormCase c = scanCase(text, dims, form, chunk);
  c.fixed.insert(c.fixed.end(), {"n", "R"});
  INFO(form << " T " << T << " chunk " << chunk);
  FormRun(c).check(upto);
}

} // namespace

TEST_CASE("segments of constant length: frozen and running banks, every gate") {
  const char *gates[] = {"gate ones",
                         "gate given %lambda",
                         "gate softmax %u pool mean_k",
                         "gate softmax pool sum_k",
                         "gate top(1) %u pool mean_k renorm selected",
                         "gate top(1) %u pool mean_k renorm all"};
  for (const char *gate : gates)
    for (const char *bank :
         {"bank frozen reset yes", "bank frozen reset no", "bank running reset yes"}) {
      std::string text =
          withClauses(", %g: seq<f32, T x H>, %u: seq<T x H x K>, %lambda: seq<T x H x L>",
                      std::string("decay scalar %g weight id norm none segments constant { 4 } ") +
                          gate + " " + bank + " gives o");
      INFO(gate << " " << bank);
      check(text, 11, "chunked", 3, {{"L", 2}});
      check(text, 9, "recurrent", 1, {{"L", 5}}, Upto::SimplifyMaps);
    }
}

TEST_CASE("segments with a norm, a state and delta updates; lengths around the segment") {
  for (const char *form : kWalkedForms)
    for (int64_t T : {0, 1, 4, 5, 8}) {
      check(withClauses(", %g: seq<f32, T x H>, %s0: seq<f32, H x K x V>, %z0: seq<f32, H x K>",
                        "features q [elu1] features k [elu1] decay scalar %g weight id norm sum "
                        "segments constant { 4 } gate ones bank frozen reset no initial state %s0, "
                        "z %z0 gives o, state, z",
                        "%o, %s, %z"),
            T, form, 16);
      check(withClauses(", %beta: seq<T x H>",
                        "features k [l2norm] weight id norm none update delta %beta "
                        "segments constant { 4 } gate softmax pool mean_k bank frozen reset yes "
                        "gives o"),
            T, form, 3);
    }
}

TEST_CASE("logarithmic segments: the set bits of the length") {
  for (const char *form : kWalkedForms)
    for (int64_t T : {1, 2, 7, 8, 13, 21})
      check(withClauses(", %g: seq<f32, T x H>",
                        "decay scalar %g weight id norm none segments logarithmic gate softmax "
                        "pool mean_k bank frozen reset yes gives o"),
            T, form, 4);
}

TEST_CASE("levels of log-linear attention, sums and delta") {
  for (const char *form : kWalkedForms)
    for (int64_t T : {0, 1, 2, 7, 16, 29})
      for (bool delta : {false, true}) {
        std::string text = withClauses(
            ", %g: seq<f32, T x H>, %beta: seq<T x H>, %lambda: seq<T x H x L>",
            std::string("features k [l2norm] score { s } decay scalar %g weight id norm none ") +
                (delta ? "update delta %beta " : "") +
                "segments fenwick gate given %lambda bank running gives o");
        check(text, T, form, T == 29 ? 2 : 6, {{"L", 7}},
              T == 29 ? Upto::SimplifyMaps : Upto::Form);
      }
}

TEST_CASE("levels of log-linear attention go on where a run ended") {
  constexpr int64_t kLevels = 7, kState = 2 * 5 * 3; // heads, K, V
  const std::vector<int64_t> positions[] = {{0, 1}, {5, 8}, {12, 3}};
  for (const char *form : kWalkedForms)
    for (int64_t T : {0, 1, 2, 11, 29})
      for (bool delta : {false, true})
        for (const std::vector<int64_t> &position : positions) {
          std::string text = withClauses(
              ", %g: seq<f32, T x H>, %beta: seq<T x H>, %lambda: seq<T x H x L>, "
              "%bank0: seq<f32, N x H x K x V>, %at: seq<i32>",
              std::string("features k [l2norm] score { s } decay scalar %g weight id norm none ") +
                  (delta ? "update delta %beta " : "") +
                  "segments fenwick gate given %lambda bank running initial bank %bank0, position "
                  "%at gives o, bank, position",
              "%o, %bank1, %at1");
          FormCase c = scanCase(
              text,
              {{"B", 2}, {"T", T}, {"H", 2}, {"K", 5}, {"V", 3}, {"L", kLevels}, {"N", kLevels}},
              form, 6);
          // After n tokens level 0 has the last, and level l + 1 is there if n - 1 has bit l.
          std::vector<double> &bank = c.given["bank0"];
          for (int64_t n : position)
            for (int64_t level = 0; level < kLevels; ++level)
              for (int64_t e = 0; e < kState; ++e) {
                bool isThere = n > 0 && (level == 0 || ((n - 1) >> (level - 1)) & 1);
                bank.push_back(isThere ? std::sin(double(bank.size())) : 0);
              }
          c.given["at"] = {double(position[0]), double(position[1])};
          INFO(form << " T " << T << " after " << position[0] << " and " << position[1]);
          FormRun(c).check(T == 11 ? Upto::SimplifyMaps : Upto::Form);
        }
}

TEST_CASE("segments go on where a run ended, in the middle of one and at its end") {
  const std::vector<int64_t> positions[] = {{0, 3}, {8, 1}, {10, 4}};
  const char *gates[] = {"gate ones", "gate given %lambda", "gate softmax %u pool mean_k",
                         "gate top(1) %u pool sum_k renorm selected"};
  int64_t turn = 0;
  for (const char *gate : gates)
    for (const char *bank : {"frozen reset yes", "frozen reset no", "running reset yes"})
      for (int64_t T : {0, 1, 3, 11}) {
        const std::vector<int64_t> &position = positions[turn % 3];
        const char *form = kWalkedForms[turn++ / 3 % 2];
        const bool router = std::string(gate).find("pool") != std::string::npos;
        std::string text = withClauses(
            ", %g: seq<f32, T x H>, %u: seq<T x H x K>, %lambda: seq<T x H x L>, "
            "%s0: seq<f32, H x K x V>, %bank0: seq<f32, N x H x K x V>, %at: seq<i32>, "
            "%pool0: seq<f32, N x H x K>, %run0: seq<f32, H x K>",
            std::string("decay scalar %g weight id norm none segments constant { 4 } ") + gate +
                " bank " + bank + " initial state %s0, bank %bank0, position %at" +
                (router ? ", pool %pool0, run_pool %run0" : "") +
                " gives o, state, bank, position" + (router ? ", pool, run_pool" : ""),
            router ? "%o, %s, %bank1, %at1, %pool1, %run1" : "%o, %s, %bank1, %at1");
        FormCase c = scanCase(
            text, {{"B", 2}, {"T", T}, {"H", 2}, {"K", 5}, {"V", 3}, {"L", 6}, {"N", 5}}, form, 3);
        c.given["at"] = {double(position[0]), double(position[1])};
        INFO(gate << " " << bank << " " << form << " T " << T << " after " << position[0] << " and "
                  << position[1]);
        FormRun(c).check(T == 11 ? Upto::SimplifyMaps : Upto::Form);
      }
}

TEST_CASE("two taps: the token before is written again, also across runs") {
  std::string text = withClauses(
      ", %g: seq<f32, T x H>, %prev: seq<T x H>, %here: seq<T x H>, %s0: seq<f32, H x K x V>, "
      "%k0: seq<f32, H x K>, %x0: seq<f32, H x V>",
      "features k [silu] decay scalar %g weight id norm none taps %prev, %here "
      "initial state %s0, k_last %k0, v_last %x0 gives o, state, k_last, v_last",
      "%o, %s, %k1, %x1");
  for (const char *form : kWalkedForms)
    for (int64_t T : {0, 1, 2, 13})
      check(text, T, form, 4);
}

TEST_CASE("sub-tokens in chunks: writes side by side, several reads") {
  const char *delta = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x n x H x K>, "
                      "%v: seq<T x n x H x V>, %beta: seq<T x n x H>, %g: seq<f32, T x H>) {\n"
                      "  %o, %s = mix %q, %k, %v features k [l2norm] decay scalar %g weight id "
                      "norm none update delta %beta subtokens write n\n  return %o, %s\n}\n";
  const char *mimo =
      "pattern.def @p(%q: seq<T x R x H x K>, %k: seq<T x n x H x K>, %v: seq<T x n x H x V>, "
      "%prev: seq<T x H>, %here: seq<T x H>, %k0: seq<f32, n x H x K>, %x0: seq<f32, n x H x V>) "
      "{\n  %o, %s, %k1, %x1 = mix %q, %k, %v decay constant { log(1 - exp2(-2 - h)) } weight id "
      "norm none subtokens write n read R taps %prev, %here initial k_last %k0, v_last %x0 "
      "gives o, state, k_last, v_last\n  return %o, %s, %k1, %x1\n}\n";
  const char *rank = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x n x H x K>, "
                     "%v: seq<T x n x H x V>, %a: seq<T x n x H x K>, %y: seq<T x n x H x K>, "
                     "%g: seq<f32, T x H x K>) {\n  %o, %s = mix %q, %k, %v decay diag %g "
                     "weight id norm none update dplr %a, %y subtokens write n\n"
                     "  return %o, %s\n}\n";
  for (const char *form : kWalkedForms)
    for (int64_t T : {1, 11}) {
      check(delta, T, form, 4, {{"n", 3}});
      check(mimo, T, form, 4, {{"n", 2}, {"R", 3}});
      check(rank, T, form, 4, {{"n", 2}});
    }
}

TEST_CASE("both directions: decays by distance, with and without a norm") {
  for (const char *form : kWalkedForms)
    for (int64_t T : {0, 1, 4, 13}) {
      check(withClauses(", %g: seq<f32, T x H>",
                        "support { true } decay scalar symmetric %g weight id norm none gives o"),
            T, form, 4);
      check(withClauses("", "support { true } features q [exp] features k [exp] "
                            "decay constant symmetric { log(1 - exp2(-2 - h)) } weight id norm sum "
                            "gives o"),
            T, form, 4);
    }
}

TEST_CASE("a static state: all keys, then all queries of another number") {
  const char *text = "pattern.def @p(%q: seq<Tq x Hq x K>, %k: seq<Tk x Hk x K>, "
                     "%v: seq<Tk x Hk x V>, %s0: seq<f32, Hk x K x V>, %z0: seq<f32, Hk x K>) {\n"
                     "  %o, %s, %z = mix %q, %k, %v support { true } features q [elu1] "
                     "features k [elu1] score { s } weight id norm sum initial state %s0, z %z0 "
                     "gives o, state, z\n  return %o, %s, %z\n}\n";
  for (auto [Tq, Tk] : {std::pair{5, 70}, {66, 70}, {1, 1}})
    FormRun(scanCase(text,
                     {{"B", 2}, {"Tq", Tq}, {"Tk", Tk}, {"Hq", 4}, {"Hk", 2}, {"K", 5}, {"V", 3}},
                     "recurrent", 8))
        .check(Upto::Form);
  // The last query stands at the last key, or the first at the first.
  for (const char *align : {"bottom_right", "top_left"}) {
    FormCase c =
        scanCase("pattern.def @p(%q: seq<Tq x H x K>, %k: seq<Tk x H x K>, "
                 "%v: seq<Tk x H x V>) {\n  %o = mix %q, %k, %v align " +
                     std::string(align) +
                     " support { true } features q [rope] features k [rope] "
                     "score { s / sqrt(float(i + 1)) } weight id norm none gives o\n"
                     "  return %o\n}\n",
                 {{"B", 2}, {"Tq", 5}, {"Tk", 13}, {"H", 2}, {"K", 6}, {"V", 3}}, "recurrent", 8);
    FormRun(c).check(Upto::Form);
  }
}

TEST_CASE("a tree: each node goes on from its parent's state") {
  std::string text = withClauses(
      ", %g: seq<f32, T x H>, %beta: seq<T x H>, %parent: seq<i32, T>, %s0: seq<f32, H x K x V>",
      "tree %parent support (row, j) { ancestor(row, j) } features k [l2norm] decay scalar %g "
      "weight id norm none update delta %beta initial state %s0 gives o");
  FormCase c = scanCase(text, {{"B", 2}, {"T", 7}, {"H", 2}, {"K", 5}, {"V", 3}}, "recurrent", 1);
  c.given["parent"] = {-1, 0, 0, 1, 3, -1, 5, -1, -1, 1, 2, 2, 4, 4};
  FormRun(c).check(Upto::Form);
}

TEST_CASE("packed sequences: a state each, also for empty ones") {
  const char *text = "pattern.def @p(%q: tensor<N x H x K>, %k: tensor<N x H x K>, "
                     "%v: tensor<N x H x V>, %g: tensor<f32, N x H>, %beta: tensor<N x H>, "
                     "%cu: tensor<i32, 6>, %s0: tensor<f32, 5 x H x K x V>) {\n"
                     "  %o, %s = mix %q, %k, %v layout varlen %cu, %cu features k [l2norm] "
                     "decay scalar %g weight id norm none update delta %beta initial state %s0\n"
                     "  return %o, %s\n}\n";
  for (const char *form : kWalkedForms) {
    FormCase c = scanCase(text, {{"N", 17}, {"H", 2}, {"K", 5}, {"V", 3}}, form, 4);
    c.given["cu"] = {0, 4, 4, 5, 15, 17};
    FormRun(c).check(Upto::Form);
  }
}

TEST_CASE("a score's factor may depend on the position") {
  for (const char *form : kWalkedForms)
    check(withClauses("", "score { s / sqrt(float(i + h + 1)) } weight id norm none gives o"), 11,
          form, 4);
}
