// Keys: every input of a kernel, changed one by one, is another key.
#include "runtime/Key.h"
#include "tests/runtime/Samples.h"
#include "tests/support/Test.h"

#include <set>

using namespace heddle;
using test::kRequestChanges;

TEST_CASE("every input changed one by one gives another request key") {
  std::set<std::string> keys = {requestKey(test::sampleRequest())};
  for (const auto &change : kRequestChanges) {
    Request request = test::sampleRequest();
    change(request);
    INFO("change " << &change - kRequestChanges);
    CHECK(keys.insert(requestKey(request)).second);
  }
  for (const auto &[knob, value] : {std::pair<const char *, int64_t>{"BM", 32}, {"MQ", 4}}) {
    Request request = test::sampleRequest();
    request.schedule[knob] = value;
    CHECK(keys.insert(requestKey(request)).second);
  }
  CHECK(requestKey(test::sampleRequest()).size() == 64);
}

TEST_CASE("the winner's key depends on everything but the schedule") {
  std::set<std::string> keys = {winnerKey(test::sampleRequest())};
  for (const auto &change : kRequestChanges) {
    Request request = test::sampleRequest();
    change(request);
    CHECK(keys.insert(winnerKey(request)).second);
  }
  Request request = test::sampleRequest();
  request.schedule = {{"BM", 1}};
  CHECK(winnerKey(request) == winnerKey(test::sampleRequest()));
  request.schedule.clear();
  CHECK(winnerKey(request) != requestKey(request));
}

TEST_CASE("lengths choose a winner, never code") {
  Request request = test::sampleRequest();
  Request longer = request;
  longer.buckets["Tq"] = 2 * request.buckets["Tq"] + 2;
  CHECK(requestKey(longer) == requestKey(request));
  CHECK(winnerKey(longer) != winnerKey(request));
  CHECK(classWinnerKey(longer) == classWinnerKey(request));
  CHECK(classWinnerKey(request) != winnerKey(longer));
  const std::pair<int64_t, int64_t> buckets[] = {{0, 0},      {1, 1},       {2, 2},      {3, 4},
                                                 {777, 1024}, {1024, 1024}, {1025, 2048}};
  for (const auto &[extent, bucket] : buckets)
    CHECK(lengthBucket(extent) == bucket);
}

TEST_CASE("a signature's key tells text and name apart") {
  CHECK(signatureKey("ab", "c") != signatureKey("a", "bc"));
  CHECK(signatureKey("a", "") != signatureKey("a", "a"));
  CHECK(signatureKey("a", "b") == signatureKey("a", "b"));
}

TEST_CASE("schedules survive their text") {
  const std::map<std::string, int64_t> schedule = {{"BM", 64}, {"SPLIT", -1}};
  CHECK(scheduleText(schedule) == "BM=64,SPLIT=-1");
  CHECK(*parseScheduleText(scheduleText(schedule)) == schedule);
  CHECK(parseScheduleText("")->empty());
  CHECK(!parseScheduleText("BM=64,").ok());
}
