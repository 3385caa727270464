// The emitted text of six problems on two machines is what somebody has read line by line. Where a
// change is meant: HEDDLE_UPDATE_GOLDEN=1 build/bin/test_compiler_cuda "golden*", then read the
// difference.
#include "tests/compiler/cuda/PtxAttention.h"
#include "tests/compiler/cuda/ShadowedNames.h"
#include "tests/support/Files.h"

#include <cstdlib>

using namespace heddle;
using namespace heddle::test;

namespace {

const CudaProblem kGolden[] = {
    {"causal_softmax", sizes(1, 8, 2, 777, 777, 128, 128)},
    {"dense_softmax", sizes(1, 8, 8, 777, 1537, 64, 64), DType::F16},
    {"softcap_window", sizes(1, 4, 4, 777, 777, 96, 96)},
    {"alibi", sizes(1, 4, 2, 777, 777, 72, 72)},
    {"gqa", sizes(2, 8, 2, 1, 1537, 128, 128)},
    {"kv_int8", sizes(1, 4, 2, 777, 777, 64, 64)},
};
constexpr const char *kTargets[] = {"sm_80", "sm_89"};

/// The first line that differs, from both texts.
std::string firstDifference(const std::string &found, const std::string &expected) {
  std::istringstream a(found), b(expected);
  std::string x, y;
  for (int line = 1; a || b; ++line) {
    const bool moreA = bool(std::getline(a, x)), moreB = bool(std::getline(b, y));
    if (moreA != moreB || x != y)
      return fmt::format("line {}\n  found     {}\n  expected  {}", line, moreA ? x : "(the end)",
                         moreB ? y : "(the end)");
  }
  return "none";
}

} // namespace

TEST_CASE("golden texts: emitted kernels are those that were read") {
  for (CudaProblem problem : kGolden)
    for (const char *target : kTargets) {
      problem.target = target;
      Result<std::string> text = compiler::show(requestOf(problem), "cuda");
      INFO(problem.toString() << (text ? "" : "\n" + text.error().toString()));
      REQUIRE(text.ok());
      CHECK(shadowedNames(*text) == std::vector<std::string>());
      const std::string path = fmt::format("{}/tests/compiler/cuda/golden/{}.{}.cu", kSourceDir,
                                           problem.pattern, target);
      if (std::getenv("HEDDLE_UPDATE_GOLDEN")) {
        writeFile(path, *text);
        continue;
      }
      const std::string expected = readFile(path);
      INFO(path << "\n"
                << firstDifference(*text, expected)
                << "\nif the change is meant: HEDDLE_UPDATE_GOLDEN=1, and read the difference");
      CHECK((*text == expected));
    }
}
