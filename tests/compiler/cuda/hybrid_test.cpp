// Heads of attention beside heads of retention in one program, on the PTX machine.
#include "tests/compiler/cuda/PtxAttention.h"
#include "tests/support/Paths.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <iterator>

using namespace heddle;
using namespace heddle::test;

TEST_CASE("a hybrid of attention and retention runs as CUDA in each form") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  std::ifstream file(fmt::format("{}/tests/patterns/hybrid/hymba.heddle", kSourceDir));
  CudaProblem problem{"hymba", sizes(1, 4, 2, 0, 0, 32, 40)};
  problem.dims.erase("Tq"), problem.dims.erase("Tk");
  problem.dims["N"] = 24;
  problem.text = std::string(std::istreambuf_iterator<char>(file), {});
  problem.params["W"] = 30;
  problem.inputs["g"] = [](double x) { return -0.1 * std::fabs(x); };
  for (const char *form : {"attention", "recurrent", "chunked"})
    for (int64_t T : {1, 77}) {
      problem.form = form;
      problem.dims["T"] = T;
      checkOnPtxMachine(problem);
    }
}
