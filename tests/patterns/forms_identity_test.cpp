// Two evaluators, one meaning: every mix that may run by pairs and as a scan gives the same rows
// and the same final state, over sizes that fit nothing; and a run cut in two with the carried
// state is the run in one piece.
#include "tests/support/PatternInputs.h"

using namespace heddle;
using namespace heddle::test;

namespace {

struct FormCase {
  const char *name;
  std::string arguments, clauses, results;
  std::string types = "";
};

const std::string kState = ", %s0: seq<f32, H x K x V>";
const std::string kEntry = " initial state %s0";
const std::string kPlain = "score (s) { s * rsqrt(K) } weight id norm none ";

/// Mixes that are legal both ways. H is the head count of the state.
std::vector<FormCase> bothForms() {
  return {
      {"linear", kState, kPlain + kEntry, "o state"},
      {"constant decay", kState, kPlain + "decay constant { -0.1 * (h + 1) }" + kEntry, "o state"},
      {"scalar decay", kState + ", %g: seq<T x H>", kPlain + "decay scalar %g" + kEntry, "o state"},
      {"diagonal decay", kState + ", %g: seq<T x H x K>", kPlain + "decay diag %g" + kEntry,
       "o state"},
      {"channel decay", kState + ", %g: seq<T x H x K x V>", kPlain + "decay channel %g" + kEntry,
       "o state"},
      {"norm sum, z", kState + ", %z0: seq<f32, H x K>",
       "features q [elu1] features k [elu1] score (s) { s } weight id norm sum initial state %s0, "
       "z %z0",
       "o state z"},
      {"norm sum with epsilon", ", %g: seq<T x H>",
       "features q [exp] features k [exp] score (s) { s } weight id norm sum { 0.01 } decay scalar "
       "%g",
       "o state z"},
      {"norm max_abs", "", kPlain.substr(0, kPlain.find("norm")) + "norm max_abs { 1.0 + 0.1 * i }",
       "o"},
      {"bonus", kState + ", %g: seq<T x H x K>, %u: tensor<H x K>",
       kPlain + "decay diag %g read bonus %u" + kEntry, "o state"},
      {"taps",
       kState + ", %g: seq<T x H>, %prev: seq<T x H>, %here: seq<T x H>, "
                "%k0: seq<f32, H x K>, %v0: seq<f32, H x V>",
       kPlain + "decay scalar %g taps %prev, %here initial state %s0, k_last %k0, v_last %v0",
       "o state k_last v_last"},
      {"symmetric power", ", %g: seq<T x H>",
       "features q [spow(p = 2)] features k [spow(p = 2)] score (s) { s / K } weight id norm sum "
       "decay scalar %g",
       "o"},
      {"symmetric power 3", "",
       "features q [spow(p = 3)] features k [spow(p = 3)] score (s) { s } weight id norm none",
       "o"},
      {"segments, ones, carried", ", %g: seq<T x H>",
       kPlain + "decay scalar %g segments constant { 3 } gate ones bank frozen reset no",
       "o state"},
      {"segments, running bank", ", %g: seq<T x H>, %lambda: seq<T x H x 9>",
       kPlain + "decay scalar %g segments constant { 3 } gate given %lambda bank running",
       "o state"},
      {"segments, diagonal decay, frozen", ", %g: seq<T x H x K>, %u: seq<T x H x K>",
       kPlain + "decay diag %g segments constant { 4 } gate softmax %u pool mean_k", "o state"},
      {"segments, carried, router", ", %g: seq<T x H>, %u: seq<T x H x K>",
       kPlain + "decay scalar %g segments constant { 4 } gate softmax %u pool sum_k reset no",
       "o state"},
      {"segments, best two", ", %g: seq<T x H>, %u: seq<T x H x K>",
       kPlain + "decay scalar %g segments constant { 2 } gate top(2) %u pool mean_k", "o"},
      {"segments, best two of all", ", %g: seq<T x H>, %u: seq<T x H x K>, %x: seq<T x H x K>",
       kPlain + "decay scalar %g segments constant { 2 } gate top(2) %u pool mean_x %x renorm "
                "all",
       "o"},
      {"segments, logarithmic", ", %u: seq<T x H x K>",
       kPlain + "segments logarithmic gate softmax %u pool mean_k", "o"},
      {"segments by an expression", "", kPlain + "segments by { j div 5 } gate ones reset no", "o"},
      {"segments, state, carried", kState + ", %g: seq<T x H>",
       kPlain + "decay scalar %g segments constant { 3 } gate ones reset no" + kEntry, "o state"},
      {"segments, state, fresh", kState + ", %g: seq<T x H>, %u: seq<T x H x K>",
       kPlain + "decay scalar %g segments constant { 3 } gate softmax %u pool mean_k" + kEntry,
       "o state"},
      {"Fenwick levels", ", %g: seq<T x H>, %lambda: seq<T x H x 6>",
       kPlain + "decay scalar %g segments fenwick gate given %lambda bank running", "o"},
      {"two-way", ", %g: seq<T x H>", kPlain + "support { true } decay scalar symmetric %g", "o"},
      {"all keys", "",
       "support { true } features q [elu1] features k [elu1] score (s) { s } "
       "weight id norm sum",
       "o"},
      {"documents", ", %doc: seq<T>",
       kPlain + "support (i, j) { j <= i and floor(doc[j] * 2) == floor(doc[i] * 2) }", "o"},
      {"local chunks", "", kPlain + "support (i, j) { j <= i and j div 4 == i div 4 }", "o"},
      {"tree", kState + ", %g: seq<T x H>, %parent: seq<i32, T>",
       kPlain + "decay scalar %g tree %parent support (row, j) { ancestor(row, j) }" + kEntry, "o"},
      {"sub-tokens", ", %g: seq<T x H>", kPlain + "decay scalar %g subtokens write 3 read 2", "o",
       "%q: seq<T x 2 x H x K>, %k: seq<T x 3 x H x K>, %v: seq<T x 3 x H x V>"},
      {"sub-tokens and taps", ", %g: seq<T x H>, %prev: seq<T x H>, %here: seq<T x H>",
       kPlain + "decay scalar %g subtokens write 2 read 2 taps %prev, %here", "o state",
       "%q: seq<T x 2 x H x K>, %k: seq<T x 2 x H x K>, %v: seq<T x 2 x H x V>"},
  };
}

/// Documents must ascend; random numbers in [0, 1) that ascend make some.
void sortDocuments(Inputs &inputs) {
  auto doc = inputs.find("doc");
  if (doc == inputs.end())
    return;
  int64_t length = doc->second.shape[1];
  for (int64_t n = 0; n < doc->second.elements(); ++n)
    doc->second.data[n] = double(n % length) / double(length);
}

} // namespace

TEST_CASE("pairs and scan agree in double", "[identity]") {
  for (const FormCase &form : bothForms())
    for (int64_t length : {1, 2, 7, 17}) {
      std::string text = mixPattern(form.arguments, form.clauses, form.results, form.types);
      INFO(form.name << ", T = " << length);
      PatternRun run = PatternRun::text(text);
      Inputs inputs = randomInputs(run, {{"B", 2}, {"T", length}, {"H", 2}, {"K", 3}, {"V", 4}},
                                   100 + uint64_t(length));
      sortDocuments(inputs);
      auto pairs = run(inputs, {}, Evaluator::Pair), scan = run(inputs, {}, Evaluator::Scan);
      REQUIRE(pairs.size() == scan.size());
      for (auto &[name, tensor] : pairs) {
        INFO(name);
        requireSame(scan.at(name), tensor);
      }
    }
}

TEST_CASE("pairs and scan agree with shared heads", "[identity]") {
  struct Heads {
    const char *q, *k, *v, *state;
    Dims dims;
  };
  // Grouped queries, grouped values, one key and query head for all values.
  for (const Heads &heads : {Heads{"Hq", "Hk", "Hk", "Hk", {{"Hq", 4}, {"Hk", 2}}},
                             Heads{"Hk", "Hk", "Hv", "Hv", {{"Hk", 2}, {"Hv", 4}}},
                             Heads{"1", "1", "Hv", "Hv", {{"Hv", 3}}}}) {
    auto operand = [](const char *name, const std::string &count, const char *width) {
      return std::string("%") + name + ": seq<T x " + count + " x " + width + ">";
    };
    std::string state = heads.state;
    PatternRun run = PatternRun::text(
        mixPattern(", %g: seq<T x " + state + ">, %s0: seq<f32, " + state + " x K x V>",
                   kPlain + "decay scalar %g initial state %s0", "o state",
                   operand("q", heads.q, "K") + ", " + operand("k", heads.k, "K") + ", " +
                       operand("v", heads.v, "V")));
    Dims dims = {{"B", 1}, {"T", 9}, {"K", 3}, {"V", 2}};
    dims.insert(heads.dims.begin(), heads.dims.end());
    Inputs inputs = randomInputs(run, dims, 7);
    auto pairs = run(inputs, {}, Evaluator::Pair), scan = run(inputs, {}, Evaluator::Scan);
    for (auto &[name, tensor] : pairs)
      requireSame(scan.at(name), tensor);
  }
}

TEST_CASE("fewer queries than keys read the scan where they stand", "[identity]") {
  PatternRun run =
      PatternRun::text(mixPattern("", kPlain + "decay constant { -0.2 }", "o",
                                  "%q: seq<Tq x H x K>, %k: seq<Tk x H x K>, %v: seq<Tk x H x V>"));
  for (int64_t queries : {1, 4, 9, 12}) {
    Inputs inputs =
        randomInputs(run, {{"B", 1}, {"Tq", queries}, {"Tk", 9}, {"H", 2}, {"K", 3}, {"V", 2}}, 3);
    requireSame(run(inputs, {}, Evaluator::Scan).at("r_o"),
                run(inputs, {}, Evaluator::Pair).at("r_o"));
  }
}

TEST_CASE("a run cut in two with the carried state is one run", "[identity]") {
  const std::string state = ", %s0: seq<f32, H x K x V>, %g: seq<T x H>";
  const std::string delta = state + ", %beta: seq<T x H>";
  const std::string types = "%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>";
  const FormCase cases[] = {
      {"scalar decay", state, kPlain + "decay scalar %g" + kEntry, "o state"},
      {"gated delta", delta,
       kPlain + "features k [l2norm] decay scalar %g update delta %beta" + kEntry, "o state"},
      {"dplr", state + ", %a: seq<T x H x K>, %y: seq<T x H x K>",
       kPlain + "decay scalar %g update dplr %a, %y" + kEntry, "o state"},
      {"norm sum", state + ", %z0: seq<f32, H x K>",
       "features q [exp] features k [exp] score (s) { s } weight id norm sum decay scalar %g "
       "initial state %s0, z %z0",
       "o state z"},
      {"taps",
       state + ", %prev: seq<T x H>, %here: seq<T x H>, %k_last0: seq<f32, H x K>, "
               "%v_last0: seq<f32, H x V>",
       kPlain + "decay scalar %g taps %prev, %here initial state %s0, k_last %k_last0, v_last "
                "%v_last0",
       "o state k_last v_last"},
  };
  for (const FormCase &form : cases) {
    PatternRun run =
        PatternRun::text(mixPattern(form.arguments, form.clauses, form.results, types));
    const int64_t length = 11;
    Inputs whole = randomInputs(run, {{"B", 2}, {"T", length}, {"H", 2}, {"K", 3}, {"V", 2}}, 21);
    auto expected = run(whole);
    for (int64_t cut : {0, 1, 5, 10, 11}) {
      INFO(form.name << ", cut at " << cut);
      Inputs first = whole, second = whole;
      for (auto &[name, tensor] : whole)
        if (tensor.shape[1] == length) {
          first[name] = slice(tensor, 1, 0, cut);
          second[name] = slice(tensor, 1, cut, length);
        }
      auto head = run(first);
      second["s0"] = head.at("r_state");
      for (const char *role : {"z", "k_last", "v_last"})
        if (head.count(std::string("r_") + role))
          second[std::string(role) + "0"] = head.at(std::string("r_") + role);
      auto tail = run(second);
      requireSame(tail.at("r_state"), expected.at("r_state"));
      requireSame(head.at("r_o"), slice(expected.at("r_o"), 1, 0, cut));
      requireSame(tail.at("r_o"), slice(expected.at("r_o"), 1, cut, length));
    }
  }
}

TEST_CASE("memory caching goes on with its bank, pools and position", "[identity]") {
  const std::string entry = ", %g: seq<T x H>, %s0: seq<f32, H x K x V>, "
                            "%bank0: seq<f32, N x H x K x V>, %position0: seq<i32>";
  const std::string pools = ", %u: seq<T x H x K>, %pool0: seq<f32, N x H x K>, "
                            "%run_pool0: seq<f32, H x K>";
  for (const char *reset : {"yes", "no"})
    for (const char *gate : {"softmax %u pool mean_k", "top(2) %u pool sum_k"}) {
      PatternRun run = PatternRun::text(mixPattern(
          entry + pools,
          kPlain + "decay scalar %g segments constant { 3 } gate " + gate + " reset " + reset +
              " initial state %s0, bank %bank0, pool %pool0, position %position0, run_pool "
              "%run_pool0",
          "o state bank pool position run_pool"));
      const int64_t length = 11;
      Inputs whole =
          randomInputs(run, {{"B", 2}, {"T", length}, {"H", 2}, {"K", 3}, {"V", 2}, {"N", 4}}, 33);
      for (const char *zero : {"s0", "position0", "run_pool0"})
        whole[zero] = Tensor(whole[zero].shape);
      auto expected = run(whole);
      for (int64_t cut : {0, 1, 3, 4, 6, 8, 9, 11}) {
        INFO(gate << ", reset " << reset << ", cut at " << cut);
        Inputs first = whole, second = whole;
        for (const char *name : {"q", "k", "v", "g", "u"}) {
          first[name] = slice(whole[name], 1, 0, cut);
          second[name] = slice(whole[name], 1, cut, length);
        }
        auto head = run(first);
        CHECK(head.at("r_position").data[0] == double(cut));
        for (const char *part : {"state", "bank", "pool", "position", "run_pool"})
          second[part == std::string("state") ? "s0" : std::string(part) + "0"] =
              head.at(std::string("r_") + part);
        auto tail = run(second);
        requireSame(tail.at("r_o"), slice(expected.at("r_o"), 1, cut, length));
        for (const char *part : {"r_state", "r_bank", "r_pool", "r_run_pool"})
          requireSame(tail.at(part), expected.at(part));
      }
    }
}

TEST_CASE("log-linear attention goes on with its levels and its time", "[identity]") {
  for (const char *update : {"", " update delta %beta"}) {
    PatternRun run = PatternRun::text(mixPattern(
        ", %g: seq<T x H>, %beta: seq<T x H>, %lambda: seq<T x H x 6>, "
        "%bank0: seq<f32, N x H x K x V>, %position0: seq<i32>",
        kPlain +
            "decay scalar %g segments fenwick gate given %lambda bank running initial bank "
            "%bank0, position %position0" +
            update,
        "o bank position"));
    const int64_t length = 14;
    Inputs whole =
        randomInputs(run, {{"B", 2}, {"T", length}, {"H", 2}, {"K", 3}, {"V", 2}, {"N", 5}}, 34);
    for (const char *zero : {"position0", "bank0"})
      whole[zero] = Tensor(whole[zero].shape);
    auto expected = run(whole);
    for (int64_t cut : {0, 1, 4, 5, 13, 14}) {
      INFO(update << " cut at " << cut);
      Inputs first = whole, second = whole;
      for (const char *name : {"q", "k", "v", "g", "beta", "lambda"}) {
        first[name] = slice(whole[name], 1, 0, cut);
        second[name] = slice(whole[name], 1, cut, length);
      }
      auto head = run(first);
      second["bank0"] = head.at("r_bank");
      second["position0"] = head.at("r_position");
      auto tail = run(second);
      requireSame(tail.at("r_o"), slice(expected.at("r_o"), 1, cut, length));
      requireSame(tail.at("r_bank"), expected.at("r_bank"));
      CHECK(tail.at("r_position").data[0] == double(length));
    }
  }
}
