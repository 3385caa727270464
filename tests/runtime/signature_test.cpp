// Signatures: extents by name, unification, the request that follows, bytes.
#include "runtime/Signature.h"
#include "tests/runtime/Mutate.h"
#include "tests/support/Test.h"

#include <cmath>

using namespace heddle;

static Signature gqa() {
  Signature s;
  s.name = "gqa";
  s.tensors = {{"q", false, false, DType::F32, {"B", "Tq", "Hq", "D"}},
               {"k", false, false, DType::F32, {"B", "Tk", "Hk", "D"}},
               {"v", false, false, DType::F32, {"B", "Tk", "Hk", "Dv"}},
               {"o", true, false, DType::F32, {"B", "Tq", "Hq", "Dv"}},
               {"lse", true, true, DType::F32, {"B", "Tq", "Hq"}},
               {"pooled", true, true, DType::F32, {"B", "cdiv(Tk, c)"}}};
  s.parameters = {{"W", true, false, false, 4096},
                  {"cap", false, true, false, 50},
                  {"c", true, false, true, 0}};
  s.staticDims = {"D", "Dv", "G"};
  s.classDims = {"Tq", "Tk"};
  s.derivedNames = {"Tk", "c"};
  s.derived["cdiv(Tk, c)"] = Formula::scalar(0).combine(Formula::CeilDiv, Formula::scalar(1));
  return s;
}

static std::string mistake(const Extents &given) {
  const Result<Extents> extents = gqa().completeExtents(given);
  return extents.ok() ? "" : extents.error().message;
}

TEST_CASE("T and H stand for all lengths and head counts, B, Hk and Dv have defaults") {
  const Extents all = {{"B", 1},  {"Tq", 100}, {"Tk", 100}, {"Hq", 8},
                       {"Hk", 8}, {"D", 64},   {"Dv", 64}};
  CHECK(*gqa().completeExtents({{"T", 100}, {"H", 8}, {"D", 64}}) == all);
  CHECK(*gqa().completeExtents({{"T", 100}, {"Hq", 8}, {"D", 64}}) == all);
  Extents decode = all;
  decode["Tq"] = 1;
  CHECK(*gqa().completeExtents({{"T", 100}, {"Tq", 1}, {"H", 8}, {"D", 64}}) == decode);
  CHECK(mistake({{"T", 1}, {"H", 1}, {"D", 1}, {"X", 3}}).find("'X'") != std::string::npos);
  CHECK(mistake({{"T", -1}, {"H", 1}, {"D", 1}}).find("T = -1") != std::string::npos);
  CHECK(mistake({{"T", 1}, {"H", 1}}).find("no extent for D") != std::string::npos);
  CHECK(mistake({{"T", 1}, {"Hq", 9}, {"Hk", 2}, {"D", 1}}).find("multiple") != std::string::npos);
}

TEST_CASE("an extent alone beside == follows from the others, by the parameters given") {
  Signature s = gqa();
  s.tensors.push_back({"blocks", false, true, DType::I32, {"NQ", "NK"}});
  s.derivedNames = {"Tk", "c", "NK", "NQ", "Tq"};
  const auto scalar = [](int64_t index) { return Formula::scalar(index); };
  const Formula perBlock = scalar(0).combine(Formula::CeilDiv, scalar(1));
  const Formula both = scalar(2).combine(Formula::Add, scalar(4));
  s.conditions = {{Constraint::Equal, scalar(3), both, "NQ == NK + Tq"},
                  {Constraint::Equal, perBlock, scalar(2), "cdiv(Tk, c) == NK"}};
  const Extents given = {{"T", 100}, {"H", 8}, {"D", 64}};
  const Result<Extents> extents = s.completeExtents(given, {{"c", 16}});
  REQUIRE(extents.ok());
  CHECK(extents->at("NK") == 7);
  CHECK(extents->at("NQ") == 107);
  Extents contradicting = given;
  contradicting["NK"] = 3; // what is given stays, and the condition is then refused
  REQUIRE(s.completeExtents(contradicting, {{"c", 16}}).ok());
  CHECK(s.completeExtents(contradicting, {{"c", 16}})->at("NK") == 3);
  CHECK(!s.checkConditions(*s.completeExtents(contradicting, {{"c", 16}}), {{"c", 16}}).ok());
  CHECK(!s.completeExtents(given).ok());             // c has no default
  CHECK(!s.completeExtents(given, {{"c", 0}}).ok()); // no extent at all
  s.conditions[0].left.steps[0].value = 99;
  CHECK(!s.completeExtents(given, {{"c", 16}}).ok());
}

TEST_CASE("extents are unified over the tensors of a call") {
  Signature s = gqa();
  s.tensors.resize(4);
  const auto view = [](std::initializer_list<int64_t> shape) {
    TensorView v;
    v.rank = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), v.shape.begin());
    return v;
  };
  std::vector<TensorView> tensors = {view({2, 5, 8, 16}), view({2, 7, 4, 16}), view({2, 7, 4, 32}),
                                     view({2, 5, 8, 32})};
  const Result<Extents> extents = s.extentsOf(tensors);
  REQUIRE(extents.ok());
  CHECK(extents->at("Tk") == 7);
  CHECK(extents->at("Dv") == 32);
  CHECK(*s.extentsOf(std::span(tensors).first(3)) == *extents); // the inputs alone
  tensors[2].shape[1] = 6;
  CHECK(s.extentsOf(tensors).error().message.find("Tk = 7 in k but Tk = 6 in v") !=
        std::string::npos);
  tensors[2].shape[1] = 7;
  tensors[1].rank = 3;
  CHECK(s.extentsOf(tensors).error().message.find("k with 3 dimensions, expected 4") !=
        std::string::npos);
  tensors.resize(2);
  CHECK(s.extentsOf(tensors).error().message.find("2 tensors, expected the 4") !=
        std::string::npos);
}

TEST_CASE("shapes follow from extents and parameters") {
  const Signature s = gqa();
  const Extents extents = *s.completeExtents({{"T", 100}, {"H", 8}, {"D", 64}});
  CHECK(*s.shapeOf(s.tensors[0], extents) == std::vector<int64_t>{1, 100, 8, 64});
  CHECK(*s.shapeOf(s.tensors[5], extents, {{"c", 16}}) == std::vector<int64_t>{1, 7});
  CHECK(!s.shapeOf(s.tensors[5], extents).ok()); // division by zero: c has no default
}

TEST_CASE("a request holds static dims, classes and constants") {
  const Signature s = gqa();
  const Extents extents =
      *s.completeExtents({{"Tq", 1}, {"Tk", 160}, {"Hq", 8}, {"Hk", 2}, {"D", 64}});
  const Result<Request> request =
      s.request("text", extents, DType::BF16, {{"cap", 30}, {"c", 4}, {"W", 7}});
  REQUIRE(request.ok());
  CHECK(request->dims == std::map<std::string, int64_t>{{"D", 64}, {"Dv", 64}, {"G", 4}});
  CHECK(request->extents.at("Tq").bound == ExtentClass::One);
  CHECK(request->extents.at("Tk") == ExtentClass{ExtentClass::UpTo4096, true});
  CHECK(request->extents.at("Hq") == ExtentClass{}); // heads choose no code
  CHECK(request->constants == std::map<std::string, double>{{"cap", 30}});
  CHECK(request->dtypes.at("*") == DType::BF16);
  CHECK(s.request("text", extents, DType::F32, {{"cap", 50}, {"c", 4}})->constants.empty());

  const auto refused = [&](const std::map<std::string, double> &parameters) {
    const Result<Request> request = s.request("text", extents, DType::F32, parameters);
    return request.ok() ? "" : request.error().message;
  };
  CHECK(refused({{"c", 4}, {"x", 1}}).find("'x'") != std::string::npos);
  CHECK(refused({{"c", 4}, {"cap", std::nan("")}}).find("finite") != std::string::npos);
  CHECK(refused({{"c", 4.5}}).find("integer") != std::string::npos);
  CHECK(refused({}).find("no value for c") != std::string::npos);
}

TEST_CASE("a signature survives its bytes, and no bytes make its reader crash") {
  const std::string bytes = gqa().serialize();
  CHECK(*Signature::parse(bytes) == gqa());
  for (size_t n = 0; n < bytes.size(); ++n)
    REQUIRE(!Signature::parse(std::string_view(bytes).substr(0, n)).ok());
  test::forEachMutation(bytes, 5000, [&](const std::string &mutated) {
    REQUIRE((mutated == bytes || !Signature::parse(mutated).ok()));
  });
}
