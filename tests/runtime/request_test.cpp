// The canonical text of requests, and the classes of extents.
#include "runtime/Request.h"
#include "tests/runtime/Mutate.h"
#include "tests/runtime/Samples.h"
#include "tests/support/Test.h"

#include <cmath>

using namespace heddle;

TEST_CASE("a request survives its canonical text") {
  Request request = test::sampleRequest();
  CHECK(*Request::parse(request.serialize()) == request);
  CHECK(*Request::parse(Request().serialize()) == Request());
}

TEST_CASE("the canonical text holds any name and any number") {
  Request request;
  request.patternText = std::string("a\0b\nform 3\nxyz\n", 16);
  request.dims["odd name=1\n%"] = -5;
  request.constants = {{"tiny", 5e-324}, {"third", 1.0 / 3}, {"down", -HUGE_VAL}, {"zero", -0.0}};
  const Result<Request> back = Request::parse(request.serialize());
  REQUIRE(back.ok());
  CHECK(*back == request);
  CHECK(std::signbit(back->constants.at("zero")));
  request.constants["zero"] = 0.0;
  CHECK(request.serialize() != back->serialize());
}

TEST_CASE("NaN constants have one text") {
  Request request;
  request.constants["c"] = std::nan("");
  const Result<Request> back = Request::parse(request.serialize());
  REQUIRE(back.ok());
  CHECK(back->serialize() == request.serialize());
}

TEST_CASE("texts that no request writes are refused") {
  const std::string text = test::sampleRequest().serialize();
  for (size_t n = 0; n < text.size(); ++n)
    REQUIRE(!Request::parse(text.substr(0, n)).ok());
  CHECK(!Request::parse(text + "x").ok());
  test::forEachMutation(text, 3000, [&](const std::string &mutated) {
    const Result<Request> parsed = Request::parse(mutated);
    if (parsed.ok())
      REQUIRE(parsed->serialize() == mutated);
    else
      REQUIRE(parsed.error().code == ErrorCode::CorruptData);
  });
}

TEST_CASE("extent classes admit their members and nothing else") {
  for (int64_t n = 0; n < 200; ++n) {
    CHECK(ExtentClass::of(n).admits(n));
    CHECK(ExtentClass{}.admits(n));
    CHECK(ExtentClass{ExtentClass::One, false}.admits(n) == (n == 1));
    CHECK(ExtentClass{ExtentClass::UpTo16, false}.admits(n) == (n <= 16));
    CHECK(ExtentClass{ExtentClass::UpTo64, true}.admits(n) == (n <= 64 && n % 16 == 0));
  }
  CHECK(ExtentClass::of(1) == ExtentClass{ExtentClass::One, false});
  CHECK(ExtentClass::of(48) == ExtentClass{ExtentClass::UpTo64, true});
  CHECK(ExtentClass::of(1537) == ExtentClass{ExtentClass::UpTo4096, false});
  CHECK(ExtentClass::of(4096) == ExtentClass{ExtentClass::UpTo4096, true});
  CHECK(ExtentClass::of(4097) == ExtentClass{ExtentClass::Any, false});
  CHECK(!ExtentClass{}.admits(-1));
  CHECK(toString(ExtentClass::of(32)) == "at most 64 and a multiple of 16");
}

TEST_CASE("an error survives the boundary between the libraries") {
  const Error error{ErrorCode::InvalidPattern, "found x", "file:1:2", {"one", "two"}};
  CHECK(Error::parse(error.serialize()).toString() == error.toString());
  const std::string bytes = error.serialize();
  for (size_t n = 0; n < bytes.size(); ++n)
    CHECK(Error::parse(std::string_view(bytes).substr(0, n)).code == ErrorCode::Internal);
}
