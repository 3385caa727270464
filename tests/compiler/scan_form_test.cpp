// The chunked and the recurrent form by the plain walker = the interpreter, for every class of
// update, decay, read and norm, over lengths around the chunk; and what they refuse, with the
// clause.
#include "tests/compiler/FormSupport.h"

using namespace heddle;
using namespace heddle::test;

namespace {

double decay(double x) { return -0.4 * std::fabs(x); }
double gate(double x) { return 1 / (1 + std::exp(-x)); }
double small(double x) { return 0.3 * x; }
double positive(double x) { return std::fabs(x) + 0.1; }

struct ScanClass {
  const char *what, *arguments, *clauses, *results;
};

/// Operands q, k, v of H heads, then these arguments and clauses.
const ScanClass kClasses[] = {
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

std::string textOf(const ScanClass &c) {
  std::string results = c.results;
  return "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>" +
         std::string(c.arguments) + ") {\n  " + results + " = mix %q, %k, %v " + c.clauses +
         "\n  return " + results + "\n}\n";
}

FormCase caseOf(std::string text, std::map<std::string, int64_t> dims, const char *form,
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

} // namespace

TEST_CASE("scan classes: the recurrent form by the walker equals the interpreter") {
  for (const ScanClass &kind : kClasses)
    for (int64_t T : {0, 1, 7}) {
      INFO(kind.what << " T " << T);
      FormRun(
          caseOf(textOf(kind), {{"B", 2}, {"T", T}, {"H", 2}, {"K", 5}, {"V", 3}}, "recurrent", 1))
          .check(T == 7 ? Upto::SimplifyMaps : Upto::Form);
    }
}

TEST_CASE("scan classes: the chunked form by the walker equals the interpreter") {
  for (const ScanClass &kind : kClasses)
    for (auto [T, chunk] : {std::pair<int64_t, int64_t>{0, 8},
                            {1, 8},
                            {7, 1},
                            {21, 8},
                            {21, 7},
                            {16, 16},
                            {13, 100}}) {
      INFO(kind.what << " T " << T << " chunk " << chunk);
      FormRun(caseOf(textOf(kind), {{"B", 2}, {"T", T}, {"H", 2}, {"K", 5}, {"V", 3}}, "chunked",
                     chunk))
          .check(T == 21 ? Upto::SimplifyMaps : Upto::Form);
    }
}

TEST_CASE("grouped heads: several query heads read one state, several value heads use one key") {
  const char *grouped = "pattern.def @p(%q: seq<T x Hq x K>, %k: seq<T x Hk x K>, "
                        "%v: seq<T x Hk x V>, %g: seq<f32, T x Hk>) {\n"
                        "  %o, %s = mix %q, %k, %v decay scalar %g weight id norm none\n"
                        "  return %o, %s\n}\n";
  const char *values = "pattern.def @p(%q: seq<T x Hk x K>, %k: seq<T x Hk x K>, "
                       "%v: seq<T x Hv x V>, %g: seq<f32, T x Hv>, %beta: seq<T x Hv>) {\n"
                       "  %o, %s = mix %q, %k, %v features k [l2norm] decay scalar %g weight id "
                       "norm none update delta %beta\n  return %o, %s\n}\n";
  for (const char *form : {"recurrent", "chunked"}) {
    FormRun(
        caseOf(grouped, {{"B", 1}, {"T", 19}, {"Hq", 6}, {"Hk", 2}, {"K", 4}, {"V", 5}}, form, 8))
        .check(Upto::Form);
    FormRun(
        caseOf(values, {{"B", 1}, {"T", 19}, {"Hk", 2}, {"Hv", 6}, {"K", 4}, {"V", 5}}, form, 8))
        .check(Upto::Form);
  }
}

TEST_CASE("sub-tokens: several writes and reads a token, one decay") {
  const char *products = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x n x H x K>, "
                         "%v: seq<T x n x H x V>, %beta: seq<T x n x H>, %g: seq<f32, T x H>) {\n"
                         "  %o, %s = mix %q, %k, %v features k [l2norm] decay scalar %g weight id "
                         "norm none update delta %beta subtokens write n\n  return %o, %s\n}\n";
  FormCase c = caseOf(products, {{"B", 1}, {"T", 9}, {"H", 2}, {"K", 4}, {"V", 5}, {"n", 3}},
                      "recurrent", 8);
  c.fixed.push_back("n");
  FormRun(c).check(Upto::Form);
}

TEST_CASE("decays of every element of the state have the recurrent form") {
  const char *text = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>, "
                     "%g: seq<f32, T x H x K x V>) {\n  %o, %s = mix %q, %k, %v decay channel %g "
                     "weight id norm none\n  return %o, %s\n}\n";
  FormRun(caseOf(text, {{"B", 1}, {"T", 9}, {"H", 2}, {"K", 4}, {"V", 5}}, "recurrent", 8))
      .check(Upto::Form);
}

TEST_CASE("what a scan refuses names the clause") {
  auto refused = [&](const char *form, const std::string &clauses,
                     const std::string &arguments = "") {
    ScanClass kind{"", arguments.c_str(), clauses.c_str(), "%o"};
    FormRun run(caseOf(textOf(kind), {{"B", 1}, {"T", 4}, {"H", 1}, {"K", 4}, {"V", 4}}, form, 8));
    Result<compiler::FormChoice> choice = compiler::chooseForm(run.formRequest());
    REQUIRE_FALSE(choice.ok());
    CHECK(choice.error().code == ErrorCode::Unsupported);
    return choice.error().toString();
  };
  using Catch::Contains;
  for (const char *form : {"recurrent", "chunked"}) {
    CHECK_THAT(refused(form, "support { j <= i and i - j < 3 } weight exp norm sum gives o"),
               Contains("weight exp"));
    CHECK_THAT(refused(form, "support { j <= i and i - j < 3 } weight id norm none gives o"),
               Contains("support { j <= i and i - j < 3 }"));
    CHECK_THAT(refused(form, "score { s * s } weight id norm none gives o"), Contains("score"));
  }
  CHECK_THAT(refused("chunked", "decay channel %g weight id norm none gives o",
                     ", %g: seq<f32, T x H x K x V>"),
             Contains("decay channel"));
}
