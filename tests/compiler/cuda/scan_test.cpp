// Emitted kernels that carry a state, run as PTX on the PTX machine, equal the interpreter: every
// class of decay, update, read and norm in both forms, head sizes that are no powers of two, short
// and odd lengths.
#include "tests/compiler/ScanClasses.h"
#include "tests/compiler/cuda/PtxAttention.h"
#include "tests/support/Tier.h"

using namespace heddle;
using namespace heddle::test;

namespace {

struct Sizes {
  int64_t T, K, V;
};
constexpr Sizes kSizes[] = {{77, 64, 64}, {1, 32, 128}, {200, 128, 64}, {7, 72, 40}, {130, 16, 96}};

/// Low-rank updates that keep the state bounded.
double low(double x) { return 0.05 * x; }

CudaProblem problemOf(const ScanClass &c, const char *form, const Sizes &sizes, DType dtype,
                      const char *target) {
  CudaProblem problem{
      c.what, {{"B", 1}, {"H", 2}, {"T", sizes.T}, {"K", sizes.K}, {"V", sizes.V}}, dtype, target};
  problem.form = form;
  problem.text = textOf(c);
  problem.inputs = {{"g", decay}, {"beta", gate}, {"a", low}, {"y", low}, {"z0", positive}};
  return problem;
}

} // namespace

TEST_CASE("emitted scans equal the interpreter") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  constexpr const char *kForms[] = {"chunked", "recurrent"};
  constexpr DType kTypes[] = {DType::BF16, DType::F16};
  constexpr const char *kTargets[] = {"sm_80", "sm_89", "sm_90", "sm_120"};
  const char *only = std::getenv("HEDDLE_SCAN");
  for (const Point &p : testPoints({std::size(kScanClasses), 2, std::size(kSizes), 2, 4})) {
    CudaProblem problem =
        problemOf(kScanClasses[p[0]], kForms[p[1]], kSizes[p[2]], kTypes[p[3]], kTargets[p[4]]);
    if (only && problem.toString().find(only) == std::string::npos)
      continue;
    DYNAMIC_SECTION(problem.toString()) { checkOnPtxMachine(problem); }
  }
}
