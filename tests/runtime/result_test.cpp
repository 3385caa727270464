// Result and Error: what callers rely on.
#include "runtime/Result.h"
#include "tests/support/Test.h"

using namespace heddle;

static Result<int> half(int n) {
  if (n % 2)
    return Error{ErrorCode::InvalidArgument,
                 "found an odd number, expected an even one",
                 "here:1:2",
                 {"halve even numbers"}};
  return n / 2;
}

static Result<int> quarter(int n) {
  HEDDLE_TRY(first, half(n));
  HEDDLE_TRY(second, half(first));
  return second;
}

TEST_CASE("a Result holds its value or the first error on the way") {
  REQUIRE(quarter(12).ok());
  CHECK(*quarter(12) == 3);
  REQUIRE(!quarter(6).ok());
  CHECK(quarter(6).error().toString() ==
        "here:1:2: invalid argument: found an odd number, expected an even one\n"
        "  note: halve even numbers");
}
