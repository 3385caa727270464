// Formulas, and artifacts as bytes that may have been damaged on the way.
#include "runtime/Artifact.h"
#include "runtime/Sha256.h"
#include "tests/runtime/Mutate.h"
#include "tests/runtime/Samples.h"
#include "tests/support/Test.h"

#include <cmath>
#include <functional>

using namespace heddle;

static Formula binary(int64_t a, Formula::Op op, int64_t b) {
  return Formula::constant(a).combine(op, Formula::constant(b));
}

static int64_t value(const Formula &formula) {
  const Result<int64_t> result = formula.evaluate({});
  REQUIRE(result.ok());
  return *result;
}

TEST_CASE("formulas compute what their operators say") {
  for (int64_t a = -9; a <= 9; ++a)
    for (int64_t b = -9; b <= 9; ++b) {
      CHECK(value(binary(a, Formula::Add, b)) == a + b);
      CHECK(value(binary(a, Formula::Sub, b)) == a - b);
      CHECK(value(binary(a, Formula::Mul, b)) == a * b);
      CHECK(value(binary(a, Formula::Min, b)) == std::min(a, b));
      CHECK(value(binary(a, Formula::Max, b)) == std::max(a, b));
      if (b == 0)
        continue;
      const double quotient = static_cast<double>(a) / static_cast<double>(b);
      CHECK(value(binary(a, Formula::FloorDiv, b)) == std::floor(quotient));
      CHECK(value(binary(a, Formula::CeilDiv, b)) == std::ceil(quotient));
    }
}

TEST_CASE("formulas refuse overflow and division by zero") {
  const int64_t max = INT64_MAX, min = INT64_MIN;
  for (const Formula &formula :
       {binary(max, Formula::Add, 1), binary(min, Formula::Sub, 1), binary(max, Formula::Mul, 2),
        binary(1, Formula::CeilDiv, 0), binary(1, Formula::FloorDiv, 0),
        binary(min, Formula::FloorDiv, -1), binary(min, Formula::CeilDiv, -1)}) {
    const Result<int64_t> result = formula.evaluate({});
    REQUIRE(!result.ok());
    CHECK(result.error().code == ErrorCode::InvalidArgument);
  }
  CHECK(value(binary(max, Formula::CeilDiv, 2)) == max / 2 + 1);
}

TEST_CASE("formulas refuse steps that do not add up") {
  const int64_t scalars[] = {5};
  Formula deep;
  for (int n = 0; n <= Formula::kMaxDepth; ++n)
    deep.steps.push_back({Formula::Constant, 1});
  for (int n = 0; n < Formula::kMaxDepth; ++n)
    deep.steps.push_back({Formula::Add, 0});
  for (const Formula &formula :
       {Formula{}, Formula::scalar(1), Formula::scalar(-1), Formula{{{Formula::Add, 0}}},
        Formula{{{Formula::Constant, 1}, {Formula::Constant, 2}}}, deep,
        Formula::constant(1).combine(static_cast<Formula::Op>(77), Formula::constant(2))}) {
    const Result<int64_t> result = formula.evaluate(scalars);
    REQUIRE(!result.ok());
    CHECK(result.error().code == ErrorCode::CorruptData);
  }
  CHECK(*Formula::scalar(0).evaluate(scalars) == 5);
}

TEST_CASE("formulas print as one writes them") {
  const std::string names[] = {"Tq", "Hq", "B"};
  const Formula t = Formula::scalar(0), h = Formula::scalar(1), b = Formula::scalar(2);
  const Formula tiles = t.combine(Formula::CeilDiv, Formula::constant(64));
  CHECK(tiles.combine(Formula::Mul, h).toString(names) == "ceildiv(Tq, 64) * Hq");
  CHECK(t.combine(Formula::Add, h).combine(Formula::Mul, b).toString(names) == "(Tq + Hq) * B");
  CHECK(t.combine(Formula::Sub, h.combine(Formula::Sub, b)).toString(names) == "Tq - (Hq - B)");
  CHECK(Formula::scalar(9).toString(names) == "malformed");
}

TEST_CASE("an artifact survives its bytes") {
  const Artifact artifact = test::sampleArtifact();
  REQUIRE(artifact.validate().ok());
  const Result<Artifact> back = Artifact::parse(artifact.serialize());
  REQUIRE(back.ok());
  CHECK(*back == artifact);
}

TEST_CASE("artifacts that are cut short, changed or of another version are refused") {
  const std::string bytes = test::sampleArtifact().serialize();
  for (size_t n = 0; n < bytes.size(); ++n)
    REQUIRE(!Artifact::parse(std::string_view(bytes).substr(0, n)).ok());
  for (size_t n = 0; n < bytes.size(); ++n) {
    std::string changed = bytes;
    changed[n] ^= 0x10;
    REQUIRE(Artifact::parse(changed).error().code == ErrorCode::CorruptData);
  }
  std::string newer = bytes;
  ++newer[4];
  CHECK(Artifact::parse(newer).error().message.find("an artifact of version 5") == 6);
  CHECK(!Artifact::parse(bytes + "x").ok());
}

TEST_CASE("no bytes whatever make the artifact reader crash") {
  // With the checksum made right again, so that damage reaches the fields.
  const std::string bytes = test::sampleArtifact().serialize();
  int accepted = 0;
  test::forEachMutation(bytes.substr(40), 20000, [&](const std::string &body) {
    const Result<Artifact> parsed = Artifact::parse(bytes.substr(0, 8) + sha256(body) + body);
    if (!parsed.ok())
      return;
    ++accepted;
    REQUIRE(parsed->validate().ok());
    const std::vector<int64_t> scalars(parsed->scalars.size(), 3);
    for (const Launch &launch : parsed->launches)
      (void)launch.grid[0].evaluate(scalars).ok();
  });
  CHECK(accepted > 0); // names and texts may change freely
}

TEST_CASE("an artifact whose parts do not fit is refused") {
  const std::function<void(Artifact &)> mistakes[] = {
      [](Artifact &a) { a.arguments[0].index = 2; },
      [](Artifact &a) { a.arguments[0].index = -1; },
      [](Artifact &a) { a.arguments[2].dim = 2; },
      [](Artifact &a) { a.arguments[3].offset = 40; },
      [](Artifact &a) { a.arguments[3].offset = -8; },
      [](Artifact &a) { a.arguments[3].offset = 4; },
      [](Artifact &a) { a.arguments[3].index = 2; },
      [](Artifact &a) { a.arguments[4].index = 1; },
      [](Artifact &a) { a.blockBytes = 1 << 20; },
      [](Artifact &a) { a.blockBytes = -1; },
      [](Artifact &a) { a.launches.clear(); },
      [](Artifact &a) { a.launches[0].grid[1] = {}; },
      [](Artifact &a) { a.launches[0].repeat = Formula::scalar(1); }, // a float parameter
      [](Artifact &a) { a.workspaceBytes[0] = Formula::scalar(7); },
      [](Artifact &a) { a.constraints[0].left = {}; },
      [](Artifact &a) { a.tensors[0].shape.assign(9, "T"); },
      [](Artifact &a) { a.tensors[0].shape.clear(); },
      [](Artifact &a) { a.tensors[0].isResult = true, a.tensors[1].isResult = false; },
      [](Artifact &a) { a.tensors[0].dtype = static_cast<DType>(99); },
      [](Artifact &a) { a.scalars[0].kind = static_cast<ScalarInfo::Kind>(9); },
      [](Artifact &a) { a.tensorMaps = {{.tensor = 2, .dims = {{.box = 8}}}}; },
      [](Artifact &a) { a.tensorMaps = {{.tensor = 0, .dims = {}}}; },
      [](Artifact &a) { a.tensorMaps = {{.tensor = 0, .dims = {{.box = 257}}}}; },
      [](Artifact &a) { a.tensorMaps = {{.tensor = 0, .dims = {{.box = 1}}}}; },
      [](Artifact &a) { a.tensorMaps = {{.tensor = 0, .dims = {{.dim = 7, .box = 8}}}}; },
      [](Artifact &a) { a.tensorMaps = {{.tensor = 0, .dims = {{.box = 8}}, .swizzleBytes = 48}}; },
      [](Artifact &a) { a.arguments[0] = {Argument::TensorMap, 0, 0, 0}; },
  };
  for (const auto &mistake : mistakes) {
    Artifact artifact = test::sampleArtifact();
    mistake(artifact);
    INFO("mistake " << &mistake - mistakes);
    CHECK(!artifact.validate().ok());
    CHECK(!Artifact::parse(artifact.serialize()).ok());
  }
}

TEST_CASE("an extent class that does not exist is refused") {
  Artifact artifact = test::sampleArtifact();
  artifact.predicates = {{"unmistakable", {ExtentClass::UpTo64, false}}};
  const std::string bytes = artifact.serialize();
  std::string body = bytes.substr(40);
  const size_t bound = body.find("unmistakable") + 12;
  REQUIRE(body[bound] == ExtentClass::UpTo64);
  CHECK(Artifact::parse(bytes.substr(0, 8) + sha256(body) + body).ok());
  body[bound] = 9;
  CHECK(!Artifact::parse(bytes.substr(0, 8) + sha256(body) + body).ok());
}

TEST_CASE("SHA-256 gives the published digests") {
  // FIPS 180-4 examples, and the million letters a.
  CHECK(sha256Hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256Hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256Hex(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
