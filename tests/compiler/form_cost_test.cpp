// The form that is chosen when none is named: the cheapest by estimate for the class of lengths,
// always one that can; and where one takes over from another.
#include "compiler/FormEstimates.h"
#include "compiler/forms/FormCost.h"
#include "tests/compiler/ScanClasses.h"

using namespace heddle;
using namespace heddle::test;

namespace {

FormCase linear(int64_t T, const char *clauses = "weight id norm none gives o") {
  std::string text = std::string("pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, "
                                 "%v: seq<T x H x V>) {\n  %o = mix %q, %k, %v ") +
                     clauses + "\n  return %o\n}\n";
  return scanCase(text, {{"B", 1}, {"T", T}, {"H", 2}, {"K", 64}, {"V", 64}}, "", 0);
}

std::string chosen(const FormCase &c) {
  FormRun run(c);
  Result<compiler::FormChoice> choice = compiler::chooseForm(run.formRequest());
  INFO((choice ? "" : choice.error().toString()));
  REQUIRE(choice.ok());
  CHECK(compiler::ableForms(run.formRequest()).size() + choice->refusals.size() ==
        compiler::formTable().size());
  return choice->form->name;
}

compiler::MixSizes sizes(int64_t features) {
  compiler::MixSizes m;
  m.key = m.value = 64;
  m.features = m.pairFeatures = features;
  return m;
}

} // namespace

TEST_CASE("forms are chosen by what they are expected to take") {
  CHECK(chosen(linear(1)) != "chunked");
  CHECK(chosen(linear(16)) == "attention");
  CHECK(chosen(linear(5000)) == "chunked");
  CHECK(chosen(linear(5000, "update add decay constant { -0.1 } weight id norm none gives o")) ==
        "chunked");
  FormCase named = linear(5000);
  named.form = "attention";
  CHECK(FormRun(named).build(Upto::Form));
}

TEST_CASE("a wide state is chosen for long sequences alone") {
  constexpr const char *kPower =
      "features q [spow(p = 2)] features k [spow(p = 2)] weight id norm none gives o";
  for (int64_t length : {65, 2048, 4096})
    CHECK(chosen(linear(length, kPower)) == "attention");
  for (int64_t length : {4097, 65536})
    CHECK(chosen(linear(length, kPower)) == "chunked");
}

TEST_CASE("a matrix unit makes pairs cheap beside powers of wide states") {
  compiler::MixSizes power = sizes(528), plain = sizes(64);
  power.key = power.value = power.pairFeatures = 32;
  auto pairsWin = [](const compiler::MixSizes &m) {
    return *compiler::estimatedUnits("attention", {m}, 2048) <
           *compiler::estimatedUnits("chunked", {m}, 2048);
  };
  CHECK(!pairsWin(plain));
  CHECK(compiler::bestChunk(plain, 2048) == 32);
  double before = *compiler::estimatedUnits("chunked", {plain}, 2048);
  plain.unit = power.unit = true;
  CHECK(pairsWin(power));
  CHECK(!pairsWin(plain));
  CHECK(compiler::bestChunk(plain, 2048) == 64);
  CHECK(*compiler::estimatedUnits("chunked", {plain}, 2048) < before / 2);
}

TEST_CASE("one token on a state is a step") {
  std::string text = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>, "
                     "%s0: seq<f32, H x K x V>) {\n  %o, %s = mix %q, %k, %v weight id norm none "
                     "initial state %s0 gives o, state\n  return %o, %s\n}\n";
  for (int64_t width : {64, 128})
    CHECK(chosen(scanCase(text, {{"B", 1}, {"T", 1}, {"H", 2}, {"K", width}, {"V", width}}, "",
                          0)) == "recurrent");
}

TEST_CASE("estimates: pairs grow with the square of the length, states with the length") {
  std::vector<compiler::MixSizes> mixes = {sizes(64)};
  auto units = [&](const char *form, int64_t length) {
    return *compiler::estimatedUnits(form, mixes, length);
  };
  CHECK(units("attention", 1 << 16) > 3.9 * units("attention", 1 << 15));
  for (const char *form : {"recurrent", "chunked"})
    CHECK(units(form, 1 << 16) == Approx(2 * units(form, 1 << 15)));
  CHECK(units("attention", 64) < units("chunked", 64));
  CHECK(units("attention", 4096) > units("chunked", 4096));
  CHECK(units("recurrent", 4096) > units("chunked", 4096));
  CHECK(!compiler::estimatedUnits("no such form", mixes, 1));
}

TEST_CASE("estimates of a hybrid: its pairs cost the same whatever form its states have") {
  const std::string head = "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, "
                           "%v: seq<T x H x V>) {\n  %o = mix %q, %k, %v weight id norm none\n";
  const std::string pairs = "  %a = mix %q, %k, %v weight exp norm sum gives o\n"
                            "  %y = merge sum %o, %a\n  return %y\n}\n";
  std::map<std::string, int64_t> dims = {{"B", 1}, {"T", 100}, {"H", 2}, {"K", 64}, {"V", 64}};
  FormRun alone(scanCase(head + "  return %o\n}\n", dims, "", 0));
  FormRun both(scanCase(head + pairs, dims, "", 0));
  auto one = compiler::mixSizes(alone.formRequest()), two = compiler::mixSizes(both.formRequest());
  REQUIRE(one.ok());
  REQUIRE(two.ok());
  REQUIRE(two->size() == one->size() + 1);
  auto more = [&](const char *form) {
    return *compiler::estimatedUnits(form, *two, 4096) -
           *compiler::estimatedUnits(form, *one, 4096);
  };
  CHECK(more("chunked") > 1e6);
  CHECK(more("chunked") == Approx(more("recurrent")));
  CHECK(more("chunked") == Approx(more("attention")));
}

TEST_CASE("a wide state takes over from pairs later than a narrow one") {
  auto takesOver = [](int64_t features) {
    for (int64_t length = 16;; length *= 2)
      if (*compiler::estimatedUnits("chunked", {sizes(features)}, length) <
          *compiler::estimatedUnits("attention", {sizes(features)}, length))
        return length;
  };
  CHECK(takesOver(64) < takesOver(2304));
  CHECK(takesOver(2304) > 2048); // power retention, p = 2
}

TEST_CASE("chunks are short where features decay apart, or the sequence is short") {
  compiler::MixSizes apart = sizes(64);
  apart.decay = compiler::StateDecay::Feature, apart.decays = true;
  CHECK(compiler::bestChunk(apart, 2048) == 16);
  CHECK(compiler::bestChunk(sizes(64), 2048) == 32);
  CHECK(compiler::bestChunk(sizes(64), 10) == 16);
}

TEST_CASE("where a form takes over is told from one token on, in rising lengths") {
  FormCase c = linear(100);
  Request request;
  request.patternText = c.text;
  request.dims = {{"K", 64}, {"V", 64}};
  for (const char *extent : {"B", "T", "H"})
    request.extents[extent] = {};
  request.target = "cpu";
  request.deviceFacts = "model any; features avx avx2 bmi1 bmi2 f16c fma";
  Result<compiler::FormEstimates> estimates = compiler::estimateForms(request);
  INFO((estimates ? "" : estimates.error().toString()));
  REQUIRE(estimates.ok());
  CHECK(estimates->forms.size() == 3);
  REQUIRE(estimates->best.size() >= 2);
  CHECK(estimates->best.front().first == 1);
  CHECK(estimates->best.back().second == "chunked");
  for (size_t n = 1; n < estimates->best.size(); ++n)
    CHECK(estimates->best[n].first > estimates->best[n - 1].first);
  request.form = "chunked";
  CHECK(compiler::estimateForms(request)->forms.empty());
}
