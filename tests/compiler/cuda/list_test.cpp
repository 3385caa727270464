// Lists of keys as CUDA, on the PTX machine: chosen by warps, walked by attention; and LSEL, all of
// whose launches are linear in the tokens.
#include "tests/compiler/ListCases.h"
#include "tests/compiler/cuda/PtxAttention.h"
#include "tests/support/Tier.h"

using namespace heddle;
using namespace heddle::test;

TEST_CASE("lists of keys as CUDA equal the interpreter") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  size_t turn = 0;
  for (const ListCase &c : kListCases) {
    if (!wholeTier() && turn++ % 3 != 1)
      continue;
    CudaProblem problem{c.what, sizes(2, c.Hq, c.Hk, c.Tq, c.Tk, 16, 24)};
    problem.text = listPattern(c);
    problem.schedule = {{"WARPS", 1}, {"BM", 16}, {"BN", 16}};
    checkOnPtxMachine(problem);
  }
}

TEST_CASE("LSEL takes as many instructions for the next tokens as for those before") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  uint64_t counts[3];
  for (int n = 0; n < 3; ++n) {
    CudaProblem problem{"lsel", sizes(1, 2, 1, 128 * (n + 1), 128 * (n + 1), 16, 16)};
    problem.dims["R"] = 4;
    problem.dims["M"] = 2; // lists are full by then
    PtxRun run(problem);
    run.check();
    counts[n] = run.instructions;
  }
  INFO(counts[0] << " " << counts[1] << " " << counts[2]);
  CHECK(double(counts[2] - counts[1]) < 1.02 * double(counts[1] - counts[0]));
}
