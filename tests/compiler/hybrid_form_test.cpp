// Hybrids: mixes of two kinds in one pattern. What is a state is carried along, what is none stays
// weights of pairs, in one program.
#include "compiler/Compiler.h"
#include "compiler/PluginSignature.h"
#include "tests/compiler/FormSupport.h"
#include "tests/support/Files.h"
#include "tests/support/Paths.h"

#include <fmt/format.h>

using namespace heddle;
using namespace heddle::test;

namespace {

std::string hymba() {
  return readFile(std::string(kSourceDir) + "/tests/patterns/hybrid/hymba.heddle");
}

/// Attention beside a retention of `clauses`, summed.
std::string beside(const char *clauses) {
  return fmt::format("pattern.def @p(%q: seq<T x H x D>, %k: seq<T x H x D>, %v: seq<T x H x Dv>, "
                     "%g: seq<f32, T x H>, %beta: seq<T x H>) {{\n"
                     "  %r = mix %q, %k, %v {} gives o\n"
                     "  %a = mix %q, %k, %v support (i, j) {{ j <= i and i - j < 9 }}\n"
                     "    weight exp norm sum gives o\n"
                     "  %y = merge sum %r, %a\n  return %y\n}}\n",
                     clauses);
}

FormCase sized(std::string text, const char *form, int64_t T) {
  FormCase c;
  c.text = std::move(text);
  c.dims = {{"B", 2}, {"T", T}, {"H", 3}, {"D", 8}, {"Dv", 5}};
  c.made["g"] = [](double x) { return -0.1 * std::abs(x); };
  c.made["beta"] = [](double x) { return 1 / (1 + std::exp(-x)); };
  c.form = form;
  c.CHUNK = 8;
  return c;
}

/// The launches of the form, or why it is refused.
std::vector<std::string> launchesOf(const std::string &text, const char *form) {
  Request request;
  request.patternText = text;
  request.dims = {{"D", 8}, {"Dv", 8}, {"N", 8}, {"G", 2}};
  for (const char *extent : {"B", "T", "H", "Hr", "Hq", "Hk"})
    request.extents[extent] = ExtentClass::of(1000);
  request.dtypes["*"] = DType::F32;
  request.form = form;
  request.machine = "x86-avx2";
  Result<compiler::Choice> choice = compiler::choose(request);
  INFO((choice ? "" : choice.error().toString()));
  REQUIRE(choice.ok());
  if (choice->form.empty())
    return choice->refused;
  std::vector<std::string> kernels;
  for (const auto &[kernel, why] : choice->launches) {
    CHECK(!why.empty());
    if (kernel == "attn_a" && std::string(form) != "attention")
      CHECK(why.find("weight exp") != std::string::npos);
    kernels.push_back(kernel);
  }
  return kernels;
}

} // namespace

TEST_CASE("a hybrid of attention and retention is one program in each form") {
  using Names = std::vector<std::string>;
  CHECK(launchesOf(hymba(), "chunked") == Names{"attn_a", "chunks", "map_ra", "map_y"});
  CHECK(launchesOf(hymba(), "recurrent") == Names{"attn_a", "steps", "map_ra", "map_y"});
  for (const char *form : {"attention", "recurrent", "chunked"})
    for (int64_t T : {1, 21}) {
      FormCase c = sized(hymba(), form, T);
      c.dims = {{"B", 2}, {"T", T}, {"Hq", 4}, {"Hk", 2}, {"D", 8}, {"Dv", 5}, {"N", 7}};
      c.fixed = {"D", "Dv", "N"};
      c.params["W"] = 9;
      FormRun(c).check(Upto::Form);
      FormRun(c).check(Upto::SimplifyMaps);
    }
}

TEST_CASE("heads of attention and heads of retention side by side, both counts fixed") {
  const std::string text =
      "pattern.def @p(%q: seq<T x H x D>, %k: seq<T x H x D>, %v: seq<T x H x Dv>, "
      "%qr: seq<T x Hr x D>, %kr: seq<T x Hr x D>, %vr: seq<T x Hr x Dv>) {\n"
      "  %r = mix %qr, %kr, %vr weight id norm none gives o\n"
      "  %a = mix %q, %k, %v support (i, j) { j <= i } weight exp norm sum gives o\n"
      "  %y = map (t, h, e) in (T, H + Hr, Dv) { select(h < H, a[t, h, e], r[t, h - H, e]) }\n"
      "  return %y\n}\n";
  for (const char *form : {"attention", "recurrent", "chunked"}) {
    FormCase c = sized(text, form, 19);
    c.dims["Hr"] = 2;
    c.fixed = {"D", "Dv", "H", "Hr"};
    FormRun(c).check(Upto::SimplifyMaps);
  }
  auto context = pattern::makePatternContext();
  pattern::Parsed parsed = pattern::parsePatterns(*context, text, "p");
  std::string why;
  Result<Signature> signature =
      compiler::signatureOf(pattern::findPattern(*parsed.module, "", why));
  REQUIRE(signature.ok());
  for (const char *heads : {"H", "Hr"})
    CHECK(std::count(signature->staticDims.begin(), signature->staticDims.end(), heads) == 1);
  // A request that leaves them to run time is told what the obstacle is.
  std::vector<std::string> refused = launchesOf(text, "chunked");
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].find("H + Hr") != std::string::npos);
}

TEST_CASE("beside attention, every update is a state") {
  for (const char *form : {"recurrent", "chunked"})
    for (const char *clauses :
         {"decay scalar %g weight id norm none",
          "weight id norm sum features q [silu] features k "
          "[silu]",
          "features k [l2norm] decay scalar %g weight id norm none update delta %beta"})
      FormRun(sized(beside(clauses), form, 19)).check(Upto::SimplifyMaps);
}

TEST_CASE("a hybrid whose attention form has none says which mix forbids it") {
  std::string delta = beside("weight id norm none update delta %beta");
  std::vector<std::string> refused = launchesOf(delta, "attention");
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].find("update delta") != std::string::npos);
  // Two mixes without a state keep the clause of the first.
  std::string none = beside("support (i, j) { j <= i and i - j < 4 } weight id norm none");
  refused = launchesOf(none, "chunked");
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].find("j <= i and nothing else") != std::string::npos);
}
