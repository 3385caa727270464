// The chunked and the recurrent form by the plain walker = the interpreter, for every class of
// update, decay, read and norm, over lengths around the chunk; and what they refuse, with the
// clause.
#include "tests/compiler/ScanClasses.h"

using namespace heddle;
using namespace heddle::test;

TEST_CASE("scan classes: the recurrent form by the walker equals the interpreter") {
  for (const ScanClass &kind : kScanClasses)
    for (int64_t T : {0, 1, 7}) {
      INFO(kind.what << " T " << T);
      FormRun(scanCase(textOf(kind), {{"B", 2}, {"T", T}, {"H", 2}, {"K", 5}, {"V", 3}},
                       "recurrent", 1))
          .check(T == 7 ? Upto::SimplifyMaps : Upto::Form);
    }
}

TEST_CASE("scan classes: the chunked form by the walker equals the interpreter") {
  for (const ScanClass &kind : kScanClasses)
    for (auto [T, chunk] : {std::pair<int64_t, int64_t>{0, 8},
                            {1, 8},
                            {7, 1},
                            {21, 8},
                            {21, 7},
                            {16, 16},
                            {13, 100}}) {
      INFO(kind.what << " T " << T << " chunk " << chunk);
      FormRun(scanCase(textOf(kind), {{"B", 2}, {"T", T}, {"H", 2}, {"K", 5}, {"V", 3}}, "chunked",
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
  const char *apart = "pattern.def @p(%q: seq<T x Hq x K>, %k: seq<T x Hk x K>, "
                      "%v: seq<T x Hk x V>) {\n  %o = mix %q, %k, %v decay constant "
                      "{ log(1 - exp2(-2 - h)) } weight id norm none gives o\n  return %o\n}\n";
  for (const char *form : {"recurrent", "chunked"}) {
    FormRun(
        scanCase(apart, {{"B", 1}, {"T", 19}, {"Hq", 6}, {"Hk", 2}, {"K", 4}, {"V", 5}}, form, 8))
        .check(Upto::Form);
    FormRun(
        scanCase(grouped, {{"B", 1}, {"T", 19}, {"Hq", 6}, {"Hk", 2}, {"K", 4}, {"V", 5}}, form, 8))
        .check(Upto::Form);
    FormRun(
        scanCase(values, {{"B", 1}, {"T", 19}, {"Hk", 2}, {"Hv", 6}, {"K", 4}, {"V", 5}}, form, 8))
        .check(Upto::Form);
  }
}

TEST_CASE("sub-tokens: several writes and reads a token, one decay") {
  const char *products = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x n x H x K>, "
                         "%v: seq<T x n x H x V>, %beta: seq<T x n x H>, %g: seq<f32, T x H>) {\n"
                         "  %o, %s = mix %q, %k, %v features k [l2norm] decay scalar %g weight id "
                         "norm none update delta %beta subtokens write n\n  return %o, %s\n}\n";
  FormCase c = scanCase(products, {{"B", 1}, {"T", 9}, {"H", 2}, {"K", 4}, {"V", 5}, {"n", 3}},
                        "recurrent", 8);
  c.fixed.push_back("n");
  FormRun(c).check(Upto::Form);
}

TEST_CASE("decays of every element of the state have the recurrent form") {
  const char *text = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>, "
                     "%g: seq<f32, T x H x K x V>) {\n  %o, %s = mix %q, %k, %v decay channel %g "
                     "weight id norm none\n  return %o, %s\n}\n";
  FormRun(scanCase(text, {{"B", 1}, {"T", 9}, {"H", 2}, {"K", 4}, {"V", 5}}, "recurrent", 8))
      .check(Upto::Form);
}

TEST_CASE("what a scan refuses names the clause") {
  auto refused = [&](const char *form, const std::string &clauses,
                     const std::string &arguments = "") {
    ScanClass kind{"", arguments.c_str(), clauses.c_str(), "%o"};
    FormRun run(
        scanCase(textOf(kind), {{"B", 1}, {"T", 4}, {"H", 1}, {"K", 4}, {"V", 4}}, form, 8));
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
  for (const char *position : {"features q [rope]", "score { s / float(i + 1) }"})
    CHECK_THAT(refused("recurrent",
                       std::string("tree %parent support (row, j) { ancestor(row, j) } ") +
                           position + " weight id norm none gives o",
                       ", %parent: seq<i32, T>"),
               Contains("depth"));
  CHECK_THAT(refused("chunked", "decay channel %g weight id norm none gives o",
                     ", %g: seq<f32, T x H x K x V>"),
             Contains("decay channel"));
}
