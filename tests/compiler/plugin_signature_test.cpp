// Signatures read off patterns: written ones in full, and every pattern of the library.
#include "compiler/PluginSignature.h"
#include "ir/pattern/Parse.h"
#include "tests/support/Files.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include <filesystem>

using namespace heddle;

namespace {

Result<Signature> signatureOfText(const std::string &text) {
  std::unique_ptr<mlir::MLIRContext> context = pattern::makePatternContext();
  pattern::Parsed parsed = pattern::parsePatterns(*context, text, "test.heddle");
  INFO(parsed.str());
  REQUIRE(parsed.ok());
  std::string why;
  pattern::DefOp def = pattern::findPattern(*parsed.module, "", why);
  REQUIRE(def);
  return compiler::signatureOf(def);
}

} // namespace

TEST_CASE("the signature of a windowed attention with a cap") {
  const Result<Signature> s = signatureOfText(R"(
pattern.def @local(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>,
                   %cu: tensor<i32, N>, W = 4096, scale: float, const cap = 50.0) {
  %o, %lse = mix %q, %k, %v
    support (i, j)    { j <= i and i - j < W }
    score   (s, i, j) { cap * tanh(s * scale / cap) }
    weight exp  norm sum
  return %o, %lse
})");
  REQUIRE(s.ok());
  CHECK(s->name == "local");
  const std::vector<Signature::Tensor> tensors = {
      {"q", false, false, DType::F32, {"B", "Tq", "Hq", "D"}},
      {"k", false, false, DType::F32, {"B", "Tk", "Hk", "D"}},
      {"v", false, false, DType::F32, {"B", "Tk", "Hk", "Dv"}},
      {"cu", false, true, DType::I32, {"N"}},
      {"o", true, false, DType::F32, {"B", "Tq", "Hq", "Dv"}},
      {"lse", true, true, DType::F32, {"B", "Tq", "Hq"}}};
  CHECK(s->tensors == tensors);
  const std::vector<Signature::Parameter> parameters = {{"W", true, false, false, 4096},
                                                        {"scale", false, false, true, 0},
                                                        {"cap", false, true, false, 50}};
  CHECK(s->parameters == parameters);
  CHECK(s->staticDims == std::vector<std::string>{"D", "Dv", "G"});
  CHECK(s->classDims == std::vector<std::string>{"Tk", "Tq"});
  CHECK(s->derived.empty());
}

TEST_CASE("conditions, states and weights of a pattern stand in its signature") {
  const Result<Signature> s = signatureOfText(R"(
pattern.def @scan(%x: seq<T x H x D>, %w: tensor<H x D x K>, %v: seq<T x H x V>, %table: tensor<H x K>,
                  %s0: seq<f32, H x K x V>, const n = 4) where D mod 8 == 0, n < K, 2 * H >= n, float(n) < 9.0 {
  %q = map (t, h, k) in (T, H, K) { sum[d < D] { w[h, d, k] * x[t, h, d] } + table[h, k] }
  %o, %s = mix %q, %q, %v weight id norm none initial state %s0
  return %o, %s
})");
  INFO((s.ok() ? "" : s.error().toString()));
  REQUIRE(s.ok());
  auto broken = [&](Extents extents, std::map<std::string, double> constants = {}) {
    extents.insert({{"B", 1}, {"T", 5}, {"V", 3}});
    const Status status = s->checkConditions(extents, constants);
    return status.ok() ? "" : status.error().message;
  };
  CHECK(broken({{"H", 2}, {"D", 16}, {"K", 5}}) == "");
  CHECK(broken({{"H", 2}, {"D", 12}, {"K", 5}}).find("D mod 8 == 0") != std::string::npos);
  CHECK(broken({{"H", 2}, {"D", 16}, {"K", 4}}).find("n < K") != std::string::npos);
  CHECK(broken({{"H", 2}, {"D", 16}, {"K", 4}}, {{"n", 3}}) == "");
  CHECK(broken({{"H", 1}, {"D", 16}, {"K", 5}}).find("2 * H >= n") != std::string::npos);
  CHECK_FALSE(
      s->request("", {{"B", 1}, {"T", 5}, {"V", 3}, {"H", 2}, {"D", 12}, {"K", 5}}, DType::F32)
          .ok());
  CHECK(s->tensors[4].next == 6); // s0 -> s
  CHECK(s->tensors[0].next == -1);
  std::vector<ValueRule> weights;
  for (const ValueRule &rule : s->valueRules)
    if (rule.kind == ValueRule::Weight)
      weights.push_back(rule);
  REQUIRE(weights.size() == 1);
  CHECK(weights[0].tensor == 1);
  CHECK(weights[0].limitDim == 1); // it sums over D
}

TEST_CASE("extents that are expressions become formulas") {
  const Result<Signature> s = signatureOfText(R"(
pattern.def @pool(%k: seq<T x H x D>, const c = 16) {
  %r = map (n, h, d) in (cdiv(T, c), H, D) { sum[x < c] { k[n * c + x, h, d] } / c }
  return %r
})");
  REQUIRE(s.ok());
  const Extents extents = *s->completeExtents({{"T", 100}, {"H", 2}, {"D", 8}});
  CHECK(*s->shapeOf(s->tensors[1], extents) == std::vector<int64_t>{1, 7, 2, 8});
  CHECK(*s->shapeOf(s->tensors[1], extents, {{"c", 50}}) == std::vector<int64_t>{1, 2, 2, 8});
}

TEST_CASE("every pattern of the library has a signature that survives its bytes") {
  int count = 0;
  for (const auto &entry :
       std::filesystem::directory_iterator(std::filesystem::path(test::kSourceDir) / "patterns")) {
    if (entry.path().extension() != ".heddle")
      continue;
    INFO(entry.path());
    const Result<Signature> signature = signatureOfText(test::readFile(entry.path()));
    INFO((signature.ok() ? "" : signature.error().toString()));
    REQUIRE(signature.ok());
    CHECK(signature->name == entry.path().stem());
    CHECK(signature->tensors.back().isResult);
    CHECK(*Signature::parse(signature->serialize()) == *signature);
    ++count;
  }
  CHECK(count >= 50);
}
