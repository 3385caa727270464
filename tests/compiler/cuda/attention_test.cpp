// Emitted kernels, run as PTX on the PTX machine, equal the interpreter: supports, scores, head
// sizes that are no powers of two, odd lengths, grouped heads, decode with its merge, every knob.
#include "tests/compiler/cuda/PtxAttention.h"

using namespace heddle;
using namespace heddle::test;

namespace {

bool hasNvrtc() { return findNvrtc().ok(); }

#define NEEDS_NVRTC                                                                                \
  if (!hasNvrtc())                                                                                 \
  HEDDLE_SKIP("NVRTC is not installed")

} // namespace

TEST_CASE("emitted attention equals the interpreter") {
  NEEDS_NVRTC;
  for (const CudaProblem &problem : {
           CudaProblem{"causal_softmax", sizes(1, 2, 1, 77, 141, 64, 64)},
           CudaProblem{"dense_softmax", sizes(1, 1, 1, 7, 300, 128, 128), DType::F16},
           CudaProblem{"sliding_window",
                       sizes(1, 1, 1, 200, 200, 64, 64),
                       DType::BF16,
                       "sm_89",
                       {},
                       {{"W", 33}}},
           CudaProblem{"softcap", sizes(2, 1, 1, 65, 65, 80, 80)},
           CudaProblem{"alibi", sizes(1, 2, 2, 70, 90, 32, 32)},
           CudaProblem{"mla_expanded", sizes(1, 1, 1, 40, 70, 192, 128)},
       })
    checkOnPtxMachine(problem);
}
