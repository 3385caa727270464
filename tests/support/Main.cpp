// The main of every Catch2 program. A listener counts test cases and, at the end, prints one line
// that tools/run_tests.py reads:  heddle-test: N passed, N failed, N skipped
#define CATCH_CONFIG_MAIN
#include "tests/support/Test.h"

#include <fmt/format.h>

namespace {

bool currentSkipped = false;

class CountingListener : public Catch::TestEventListenerBase {
public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo &) override { currentSkipped = false; }

  void testCaseEnded(const Catch::TestCaseStats &stats) override {
    if (!stats.totals.assertions.allOk())
      ++failed;
    else if (currentSkipped)
      ++skipped;
    else
      ++passed;
  }

  void testRunEnded(const Catch::TestRunStats &) override {
    fmt::print("heddle-test: {} passed, {} failed, {} skipped\n", passed, failed, skipped);
  }

private:
  int passed = 0, failed = 0, skipped = 0;
};

} // namespace

CATCH_REGISTER_LISTENER(CountingListener)

void heddle::test::noteSkip(const std::string &reason) {
  currentSkipped = true;
  fmt::print("skipped: {}: {}\n", Catch::getResultCapture().getCurrentTestName(), reason);
}
