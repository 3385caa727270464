// Lists of named values on the command line.
#include "tests/support/Test.h"
#include "tools/heddle/Assignments.h"
#include "tools/heddle/Library.h"

using namespace heddle;
using namespace heddle::tool;

TEST_CASE("named numbers are read and what is no number is refused with its piece") {
  auto shape = parseIntegers("--shape", "B=1,Hq=32,T=1537", 0);
  REQUIRE(shape.ok());
  CHECK(shape->at("T") == 1537);
  CHECK(parseIntegers("--shape", "", 0)->empty());
  for (const char *text :
       {"B", "=1", "B=", "B=1,B=2", "B=1.5", "B=-1", "B=x", "B=1,,C=2", "B=99999999999999999999"})
    CHECK(!parseIntegers("--shape", text, 0).ok());
  CHECK(parseIntegers("--shape", "B=-1", 0).error().message ==
        "--shape: found 'B=-1', expected a number of at least 0");
}

TEST_CASE("NaN and infinity are refused") {
  CHECK(parseNumbers("--param", "cap=50.5")->at("cap") == 50.5);
  for (const char *text : {"cap=nan", "cap=inf", "cap=-inf", "cap=1e999", "cap=1.5x"})
    CHECK(!parseNumbers("--param", text).ok());
}

TEST_CASE("a misspelt pattern brings the nearest names") {
  std::vector<std::string> known = {"causal_softmax", "dense_softmax", "gla", "gated_deltanet"};
  CHECK(nearestNames("causal_sofmax", known).front() == "causal_softmax");
  CHECK(nearestNames("deltanet", known).front() == "gated_deltanet");
  CHECK(nearestNames("zzzzzzzzzzzz", known).empty());
}
