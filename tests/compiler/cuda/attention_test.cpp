// Emitted kernels, run as PTX on the PTX machine, equal the interpreter: supports, scores, head
// sizes that are no powers of two, odd lengths, grouped heads, decode with its merge, every knob.
#include "tests/compiler/cuda/PtxAttention.h"

#include <algorithm>
#include <cmath>

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
           CudaProblem{
               "prefix_lm", sizes(1, 1, 1, 130, 130, 64, 64), DType::F16, "sm_86", {}, {{"P", 50}}},
           CudaProblem{"local_chunk",
                       sizes(1, 1, 1, 100, 100, 96, 96),
                       DType::BF16,
                       "sm_90",
                       {},
                       {{"c", 24}}},
           CudaProblem{"learned_sink", sizes(1, 2, 2, 33, 70, 112, 112), DType::BF16, "sm_120"},
           CudaProblem{"sigmoid_attention", sizes(1, 2, 1, 40, 90, 72, 72), DType::BF16, "sm_100"},
           CudaProblem{"mla_expanded", sizes(1, 1, 1, 40, 70, 192, 128)},
       })
    checkOnPtxMachine(problem);
}

TEST_CASE("emitted decode with packed heads and its merge equals the interpreter") {
  NEEDS_NVRTC;
  for (const CudaProblem &problem : {
           CudaProblem{"gqa", sizes(2, 8, 2, 1, 1537, 64, 64)},
           CudaProblem{"gqa", sizes(1, 8, 1, 1, 777, 72, 72), DType::F16, "sm_89"},
           CudaProblem{"gqa", sizes(1, 64, 1, 1, 100, 64, 64)}, // four tiles of 16 heads
           CudaProblem{"gqa", sizes(1, 40, 2, 1, 600, 32, 40)}, // two tiles of 10 in each group
           CudaProblem{"causal_softmax", sizes(1, 1, 1, 1, 7, 128, 128)},
           CudaProblem{"learned_sink", sizes(1, 4, 2, 1, 600, 96, 96)},
           CudaProblem{"alibi", sizes(1, 4, 2, 1, 70, 32, 32)},
       })
    checkOnPtxMachine(problem);
}

TEST_CASE("every knob gives the same function") {
  NEEDS_NVRTC;
  using Schedule = std::map<std::string, int64_t>;
  for (const Schedule &schedule : {
           Schedule{{"WARPS", 4}, {"BM", 64}, {"BN", 32}, {"STAGES", 1}, {"QREG", 0}},
           Schedule{{"WARPS", 2}, {"BM", 64}, {"BN", 64}, {"STAGES", 3}, {"QREG", 1}},
           Schedule{{"WARPS", 4}, {"BM", 128}, {"BN", 96}, {"STAGES", 2}, {"QREG", 0}},
           Schedule{{"RESCALE", 1}},
       })
    checkOnPtxMachine(
        {"causal_softmax", sizes(1, 1, 1, 150, 333, 64, 64), DType::BF16, "sm_80", schedule});
}

TEST_CASE("rows that take one pass of all threads and a part of another") {
  NEEDS_NVRTC;
  using Schedule = std::map<std::string, int64_t>;
  const Schedule schedule{{"WARPS", 8}, {"BM", 128}, {"BN", 64}}; // 51 rows of 40 columns a pass
  checkOnPtxMachine(
      {"causal_softmax", sizes(1, 1, 1, 60, 130, 40, 40), DType::BF16, "sm_80", schedule});
}

TEST_CASE("values wider than a launch's columns are summed in several") {
  NEEDS_NVRTC;
  using Schedule = std::map<std::string, int64_t>;
  const Schedule columns{{"VCOLS", 64}};
  checkOnPtxMachine(
      {"causal_softmax", sizes(1, 2, 1, 40, 70, 64, 160), DType::BF16, "sm_80", columns});
  checkOnPtxMachine({"gqa", sizes(1, 4, 2, 1, 600, 32, 80), DType::F16, "sm_80", columns});
}

TEST_CASE("lengths around tiles") {
  NEEDS_NVRTC;
  for (int64_t Tk : {1, 127, 129})
    checkOnPtxMachine({"causal_softmax", sizes(1, 1, 1, 17, Tk, 32, 40)});
}

TEST_CASE(
    "scales of codes are not rounded with the codes: scores in the hundreds keep their sums") {
  NEEDS_NVRTC;
  const auto code = [](double x) { return std::round(std::clamp(40 * x, -127.0, 127.0)); };
  const auto scale = [](double x) { return 0.1 + std::fabs(x); };
  CudaProblem problem{"kv_int8", sizes(1, 2, 1, 40, 150, 64, 64)};
  problem.inputs = {{"k", code}, {"v", code}, {"k_scale", scale}, {"v_scale", scale}};
  checkOnPtxMachine(problem);
  problem.dtype = DType::F16;
  problem.inputs["v_scale"] = [](double x) { return 1e-3 * (0.1 + std::fabs(x)); };
  checkOnPtxMachine(problem);
}

TEST_CASE("decays along a tree of drafts, from what lies before them") {
  NEEDS_NVRTC;
  CudaProblem problem{"tree_decay",
                      {{"B", 2}, {"H", 3}, {"Tq", 21}, {"Tk", 77}, {"K", 32}, {"V", 24}}};
  problem.text = R"(pattern.def @tree_decay(%q: seq<Tq x H x K>, %k: seq<Tk x H x K>,
    %v: seq<Tk x H x V>, %g: seq<f32, Tk x H>, %parent: seq<i32, Tq>) {
  %o = mix %q, %k, %v tree %parent
    support (row, j) { j < Tk - Tq or ancestor(row, j - (Tk - Tq)) }
    decay scalar %g  weight id  norm none
  return %o
})";
  problem.inputs["g"] = [](double x) { return -0.1 * std::fabs(x); };
  problem.inputs["parent"] = [](double x) { return std::floor(4 + 3 * x); };
  checkOnPtxMachine(problem);
}
