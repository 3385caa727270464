// The attention form by the plain walker = the interpreter, before and after each tile pass, on
// irregular shapes; and what the form refuses, with the reason.
#include "tests/compiler/FormSupport.h"

using namespace heddle;
using namespace heddle::test;

namespace {

constexpr const char *kHead =
    "pattern.def @p(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>";

std::string patternText(const std::string &arguments, const std::string &clauses,
                        const std::string &results = "%o, %lse") {
  std::string returned = results;
  return std::string(kHead) + arguments + ") {\n  " + results + " = mix %q, %k, %v\n" + clauses +
         "\n  return " + returned + "\n}\n";
}

FormCase caseOf(std::string text, int64_t B, int64_t Hq, int64_t Hk, int64_t Tq, int64_t Tk,
                int64_t D, int64_t Dv) {
  FormCase c;
  c.text = std::move(text);
  c.dims = {{"B", B}, {"Hq", Hq}, {"Hk", Hk}, {"Tq", Tq}, {"Tk", Tk}, {"D", D}, {"Dv", Dv}};
  return c;
}

void checkAll(const FormCase &c) {
  for (Upto upto : {Upto::Form, Upto::TileLoops, Upto::SplitEdges, Upto::SimplifyMaps})
    FormRun(c).check(upto);
}

const std::string kSoftmax = "weight exp norm sum";

} // namespace

TEST_CASE("supports: walker equals interpreter before and after each pass") {
  struct {
    const char *arguments, *support;
    std::map<std::string, double> params;
  } supports[] = {
      {"", "support { true }", {}},
      {"", "support { j <= i }", {}},
      {", W = 5", "support { j <= i and i - j < W }", {}},
      {", W = 5", "support { j <= i and i - j < W }", {{"W", 0}}},
      {", W = 5, n = 3", "support { j <= i and (i - j < W or j < n) }", {{"W", 11}}},
      {", P = 4", "support { j <= i or j < P }", {{"P", 23}}},
      {", c = 7", "support { j div c == i div c and j <= i }", {}},
      {"", "support { j <= i and (i - j) mod 3 == 0 }", {}},
      {"", "support { abs(i - j) <= 4 or i < 2 or j < 2 }", {}},
      {"", "support { i * j < 90 and j <= row + 20 }", {}},
      {"", "align top_left support { j <= i }", {}},
      {"", "support { false }", {}},
      {"", "support { h < 2 or j <= i }", {}},
  };
  for (auto &support : supports) {
    FormCase c = caseOf(patternText(support.arguments, support.support + (" " + kSoftmax)), 2, 4, 2,
                        21, 53, 12, 20);
    c.params = support.params;
    checkAll(c);
    std::swap(c.dims["Tq"], c.dims["Tk"]);
    checkAll(c);
  }
}

TEST_CASE("scores, weights and norms: walker equals interpreter") {
  struct {
    const char *arguments, *clauses;
    bool lse = true;
  } mixes[] = {
      {"", "score { 30 * tanh(s * rsqrt(D) / 30) } weight exp norm sum"},
      {", %slopes: tensor<f32, Hq>",
       "score { s * rsqrt(D) - abs(slopes[h]) * abs(i - j) } weight exp norm sum"},
      {", %bias: seq<f32, Hq x Tq x Tk>",
       "score { s * rsqrt(D) + bias[h, row, j] } weight exp norm sum"},
      {", %sinks: tensor<f32, Hq>", "sink { sinks[h] } weight exp norm sum"},
      {", t = 1.5", "score { s * t / sqrt(float(D)) } weight exp norm sum"},
      {"", "score { 2 * log(abs(s)) } weight exp norm sum"},
      {"", "decay constant { -0.1 * (h + 1) } weight exp norm sum"},
      {"", "score { s * rsqrt(D) - log(Tk) } weight sigmoid norm none gives o", false},
      {"", "weight relu(2) norm sum gives o", false},
      {"", "decay constant { log(1 - exp2(-5 - h)) } weight id norm none gives o", false},
      {"", "weight id norm max_abs { 1.0 } gives o", false},
      {", %doc: seq<i32, Tk>", "support { j <= i and doc[j] < 2 } weight exp norm sum"},
      {", %len: seq<i32>", "support { j < len[b] * 9 } weight exp norm sum"},
  };
  for (auto &mix : mixes) {
    FormCase c = caseOf(patternText(mix.arguments, mix.clauses, mix.lse ? "%o, %lse" : "%o"), 2, 6,
                        3, 19, 37, 8, 12);
    checkAll(c);
  }
}

TEST_CASE("one query row: split and merge equal the interpreter") {
  for (const char *support : {"support { true }", "support { j <= i }", "support { i - j < 40 }",
                              "support { h < 2 or j < 50 }", "support { false }"})
    for (int64_t Tk : {0, 1, 31, 32, 100})
      checkAll(caseOf(patternText("", support + (" " + kSoftmax)), 2, 6, 2, 1, Tk, 12, 20));
  FormCase c = caseOf(patternText(", %sinks: tensor<f32, Hq>, %slopes: tensor<f32, Hq>",
                                  "score { s - abs(slopes[h]) * (i - j) } sink { sinks[h] } "
                                  "weight exp norm sum"),
                      1, 4, 2, 1, 77, 8, 8);
  checkAll(c);
  c = caseOf(patternText("", "weight sigmoid norm none gives o", "%o"), 1, 4, 4, 1, 77, 8, 8);
  checkAll(c);
}

TEST_CASE("lengths around tiles, heads and sizes") {
  std::string text = patternText("", "support { j <= i } " + kSoftmax);
  for (int64_t Tq : {2, 7, 8, 9, 16, 33})
    for (int64_t Tk : {1, 16, 17, 40})
      checkAll(caseOf(text, 1, 1, 1, Tq, Tk, 4, 4));
  checkAll(caseOf(text, 3, 8, 1, 11, 11, 5, 7));
  FormCase odd = caseOf(text, 1, 2, 2, 23, 29, 6, 3);
  odd.BM = 5, odd.BN = 3;
  checkAll(odd);
}

TEST_CASE("a full tile through the edge body gives the same numbers") {
  // After TileLoops full loops still have the whole body; after SplitEdges they do not.
  FormCase c = caseOf(patternText("", "support { j <= i } " + kSoftmax), 1, 2, 1, 40, 64, 8, 8);
  FormRun run(c);
  CHECK(run.walk(Upto::TileLoops) == run.walk(Upto::SplitEdges));
}

TEST_CASE("what attention refuses has a reason that names the obstacle") {
  auto reasonOf = [](const FormCase &c) {
    FormRun run(c);
    Result<compiler::FormChoice> choice = compiler::chooseForm(run.formRequest());
    REQUIRE_FALSE(choice.ok());
    CHECK(choice.error().code == ErrorCode::Unsupported);
    return choice.error().toString();
  };
  auto refused = [&](const std::string &arguments, const std::string &clauses) {
    return reasonOf(caseOf(patternText(arguments, clauses), 1, 2, 2, 8, 8, 4, 4));
  };
  using Catch::Contains;
  CHECK_THAT(refused("", "features q [taylor2(scale = 1.0), relu] features k [taylor2(scale = "
                         "1.0)] score { s } weight exp norm sum"),
             Contains("feature map taylor2"));
  CHECK_THAT(refused("", "score { erf(s) } weight exp norm sum"), Contains("function erf"));
}

TEST_CASE("features, computed reads and scalar decays: walker equals interpreter") {
  struct {
    const char *arguments, *clauses, *results;
  } mixes[] = {
      {"", "features q [silu, l2norm] features k [elu1] weight exp norm sum", "%o, %lse"},
      {"", "features q [rope(base = 100.0)] features k [rope(base = 100.0)] weight exp norm sum",
       "%o, %lse"},
      {"", "features q [rope(dims = 2, first = 1, pairing = interleaved)] weight exp norm sum",
       "%o, %lse"},
      {"",
       "features q [spow(p = 2)] features k [spow(p = 2)] score { s } weight id norm sum gives o",
       "%o"},
      {", %t: tensor<f32, Hq x 9>", "score { s + t[h, clamp(j - i, 0, 8)] } weight exp norm sum",
       "%o, %lse"},
      {", %t: seq<f32, Tk>", "score { s + t[i] } weight exp norm sum", "%o, %lse"},
      {", %t: seq<i32, 3>", "support { j in t[] or j < 2 } weight exp norm sum", "%o, %lse"},
      {", %g: seq<f32, Tk x Hq>", "decay scalar %g weight exp norm sum", "%o, %lse"},
      {", %g: seq<f32, Tk x Hk>", "decay scalar symmetric %g score { s } weight id gives o", "%o"},
  };
  for (auto &mix : mixes)
    for (auto [Tq, Tk] : {std::pair(9, 21), std::pair(20, 11)}) {
      std::string text = patternText(mix.arguments, mix.clauses, mix.results);
      FormCase c = caseOf(text, 2, 4, 2, Tq, Tk, 4, 3);
      if (std::string(mix.arguments).starts_with(", %g")) { // log-decays
        std::vector<double> g;
        for (int64_t n = 0; n < 2 * Tk * 4; ++n)
          g.push_back(-0.01 * double(n % 7));
        c.given["g"] = g;
      }
      checkAll(c);
    }
}

TEST_CASE("decays run along the paths of drafts, from what lies before them") {
  const char *tree =
      "tree %parent support (row, j) { j < Tk - Tq or ancestor(row, j - (Tk - Tq)) } "
      "score { s } weight id norm none gives o ";
  const std::string parents = ", %parent: seq<i32, Tq>";
  for (auto [Tq, Tk] : {std::pair(9, 9), std::pair(9, 12), std::pair(1, 5)}) {
    FormCase c = caseOf(patternText(parents + ", %g: seq<f32, Tk x Hq>",
                                    std::string(tree) + "decay scalar %g", "%o"),
                        2, 4, 2, Tq, Tk, 4, 3);
    c.given["parent"] = {-1, 0, 0, 1, 7, 4, 1, 6, 6, -1, 0, 1, 2, -1, 4, 5, 5, 3};
    c.given["parent"].resize(2 * Tq);
    c.made["g"] = [](double x) { return -0.1 * x * x; };
    checkAll(c);
    c.text = patternText(parents + ", %g: seq<f32, Tk x Hk x D>",
                         std::string(tree) + "decay diag %g", "%o");
    checkAll(c);
  }
}
