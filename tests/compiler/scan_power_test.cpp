// Power features and Taylor features as states: both forms by the walker equal the interpreter,
// over degrees, odd widths around the block of features, groups, decays, states on entry and at the
// end.
#include "tests/compiler/ScanClasses.h"

using namespace heddle;
using namespace heddle::test;

namespace {

std::string power(const std::string &features, const std::string &clauses,
                  const std::string &arguments = "", const std::string &results = "%o",
                  const std::string &K = "K") {
  return "pattern.def @p(%q: seq<T x Hq x " + K + ">, %k: seq<T x Hk x " + K +
         ">, %v: seq<T x Hk x V>" + arguments + ") {\n  " + results +
         " = mix %q, %k, %v features q [" + features + "] features k [" + features +
         "] weight id " + clauses + "\n  return " + results + "\n}\n";
}

FormCase powerCase(std::string text, int64_t T, int64_t K, int64_t V, const char *form,
                   int64_t chunk, int64_t Hq = 2, int64_t Hk = 2) {
  return scanCase(std::move(text), {{"B", 1}, {"T", T}, {"Hq", Hq}, {"Hk", Hk}, {"K", K}, {"V", V}},
                  form, chunk);
}

const char *const kForms[] = {"recurrent", "chunked"};

} // namespace

TEST_CASE("powers of two, three and four: states equal the interpreter") {
  for (const char *form : kForms)
    for (auto [p, K] : {std::pair{2, 1},
                        {2, 5},
                        {2, 16},
                        {2, 19},
                        {2, 33},
                        {3, 4},
                        {4, 1},
                        {4, 3},
                        {4, 6},
                        {4, 18}}) {
      INFO(form << " p " << p << " K " << K);
      std::string spow = "spow(p = " + std::to_string(p) + ")";
      FormRun(powerCase(power(spow, "score { s / K } decay scalar %g norm none gives o",
                              ", %g: seq<f32, T x Hk>"),
                        K > 16 ? 5 : 11, K, 3, form, 4))
          .check(Upto::SimplifyMaps);
    }
}

TEST_CASE("powers with a norm, a group of heads and states on entry and at the end") {
  std::string arguments = ", %g: seq<f32, T x Hk>, %s0: seq<f32, Hk x 28 x V>, "
                          "%z0: seq<f32, Hk x 28>"; // 7 features
  std::string text =
      power("spow(p = 2)",
            "score { s / 7 } decay scalar %g norm sum initial state %s0, z %z0 gives o, state, z",
            arguments, "%o, %s, %z", "7");
  for (const char *form : kForms)
    for (auto [T, chunk] : {std::pair{0, 4}, {1, 4}, {13, 4}, {8, 8}, {7, 100}}) {
      INFO(form << " T " << T << " chunk " << chunk);
      FormRun(powerCase(text, T, 7, 5, form, chunk, 6, 2)).check(Upto::Form);
    }
}

TEST_CASE("Taylor features: a constant, linear and quadratic part of the state") {
  std::string taylor = "taylor2(scale = 0.7)";
  std::string whole = ", %s0: seq<f32, Hk x 31 x V>";
  for (const char *form : kForms) {
    FormRun(powerCase(power(taylor, "score { s } norm sum { 1.0e-6 } gives o"), 11, 5, 3, form, 4))
        .check(Upto::SimplifyMaps);
    FormRun(powerCase(power(taylor, "score { s } norm none initial state %s0 gives o, state", whole,
                            "%o, %s", "5"),
                      11, 5, 3, form, 4))
        .check(Upto::Form);
  }
}

TEST_CASE("maps before a power, and constant decays") {
  for (const char *form : kForms)
    FormRun(powerCase(power("l2norm, spow(p = 2)",
                            "decay constant { log(1 - exp2(-2 - h)) } norm sum gives o"),
                      9, 6, 4, form, 4))
        .check(Upto::Form);
}

TEST_CASE("a state of fourth powers that is too large is refused with its size") {
  FormRun run(
      powerCase(power("spow(p = 4)", "score { s } norm none gives o"), 4, 33, 4, "chunked", 4));
  Result<compiler::FormChoice> choice = compiler::chooseForm(run.formRequest());
  REQUIRE_FALSE(choice.ok());
  CHECK_THAT(choice.error().toString(), Catch::Contains("58905 rows"));
}
