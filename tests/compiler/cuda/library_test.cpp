// The library's attention patterns become CUDA text for every architecture, deterministic and with
// nothing included; in the whole tier PTX as well. What has no CUDA spelling yet is refused with
// the reason.
#include "compiler/KernelFacts.h"
#include "compiler/targets/cuda/Nvrtc.h"
#include "runtime/CudaFiles.h"
#include "tests/compiler/cuda/PtxAttention.h"
#include "tests/compiler/cuda/ShadowedNames.h"

#include <cstdlib>

using namespace heddle;
using namespace heddle::test;

namespace {

constexpr const char *kArchitectures[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"};

constexpr const char *kPatterns[] = {
    "alibi",         "causal_softmax",    "dense_softmax",       "dilated",        "gqa",
    "learned_sink",  "local_chunk",       "learned_sink_window", "mla_expanded",   "prefix_lm",
    "softcap",       "sigmoid_attention", "sliding_window",      "softcap_window", "strided",
    "strided_fixed",
};

std::string textOf(const CudaProblem &problem) {
  Result<std::string> text = compiler::show(requestOf(problem), "cuda");
  INFO(problem.toString() << (text ? "" : "\n" + text.error().toString()));
  REQUIRE(text.ok());
  return *text;
}

} // namespace

TEST_CASE("attention patterns of the library are emitted for every architecture") {
  const char *tier = std::getenv("HEDDLE_TEST_TIER");
  const bool all = tier && std::string(tier) == "all";
  Result<compiler::cuda::Nvrtc> nvrtc = compiler::cuda::Nvrtc::load();
  const size_t count = std::size(kArchitectures);
  size_t turn = 0;
  for (const char *pattern : kPatterns)
    for (const auto &dims :
         {sizes(1, 4, 2, 777, 1537, 128, 128), sizes(2, 8, 2, 1, 1537, 72, 72)}) {
      const size_t mine = turn++ % count;
      for (size_t n = 0; n < count; ++n) {
        // In the quick tier one architecture a case, and no PTX: tests/patterns makes it of all.
        if (!all && n != mine)
          continue;
        CudaProblem problem{pattern, dims, DType::BF16, kArchitectures[n]};
        const std::string text = textOf(problem);
        CHECK(text.find("#include") == text.npos);
        CHECK(shadowedNames(text) == std::vector<std::string>());
        if (!nvrtc || !all)
          continue;
        auto code =
            nvrtc->compile(text, "kernel.cu", kArchitectures[n], compiler::cuda::Nvrtc::Ptx);
        INFO(problem.toString() << (code ? "" : "\n" + code.error().toString()));
        REQUIRE(code.ok());
      }
    }
}

TEST_CASE("default schedules neither spill nor use local memory") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  const int64_t features[] = {64, 72, 80, 96, 112, 128};
  const char *targets[] = {"sm_80", "sm_89", "sm_90", "sm_120"};
  const char *tier = std::getenv("HEDDLE_TEST_TIER");
  const bool all = tier && std::string(tier) == "all";
  for (size_t d = 0; d < std::size(features); ++d)
    for (size_t t = 0; t < std::size(targets); ++t) {
      if (!all && t != d % std::size(targets))
        continue;
      CudaProblem problem{"causal_softmax", sizes(1, 4, 2, 777, 1537, features[d], features[d]),
                          DType::BF16, targets[t]};
      INFO(problem.toString());
      Result<Artifact> artifact = compiler::compile(requestOf(problem));
      REQUIRE(artifact.ok());
      const Resources &taken = artifact->resources.at("attn");
      CHECK(taken.registers > 32);
      CHECK(taken.spillStoreBytes == 0);
      CHECK(taken.spillLoadBytes == 0);
      CHECK(taken.stackBytes == 0);
    }
}

TEST_CASE("steps that read codes of 8 bits do not spill") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  for (const char *pattern : {"kv_int8", "kv_fp8"}) {
    CudaProblem problem{pattern, sizes(1, 32, 8, 1, 1537, 128, 128)};
    INFO(problem.toString());
    const Result<Artifact> artifact = compiler::compile(requestOf(problem));
    REQUIRE(artifact.ok());
    for (const auto &[entry, taken] : artifact->resources)
      CHECK(taken.spillStoreBytes + taken.spillLoadBytes == 0);
  }
}

TEST_CASE("the main loop holds few issue slots beside the tensor core's") {
  if (!findNvrtc() || !findNvdisasm())
    HEDDLE_SKIP("NVRTC or nvdisasm is not installed");
  // FlashAttention-2's kernels take 3.66 and 2.65, with spills.
  for (const auto &[features, most] : {std::pair<int64_t, double>{64, 3.8}, {128, 2.9}}) {
    CudaProblem problem{"causal_softmax", sizes(1, 4, 2, 777, 1537, features, features)};
    INFO(problem.toString());
    const Request request = requestOf(problem);
    Result<Artifact> artifact = compiler::compile(request);
    REQUIRE(artifact.ok());
    Result<std::vector<compiler::KernelFacts>> facts =
        compiler::inspect(request, *artifact, /*sass=*/true);
    REQUIRE((facts.ok() && facts->size() == 1 && facts->front().mainLoop()));
    CHECK(facts->front().mainLoop()->otherPerMma > 1);
    CHECK(facts->front().mainLoop()->otherPerMma <= most);
  }
}

TEST_CASE("heads of 256 features fit, with a few bytes of spills at most") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  CudaProblem problem{"causal_softmax", sizes(1, 2, 2, 777, 1537, 256, 256)};
  Result<Artifact> artifact = compiler::compile(requestOf(problem));
  INFO((artifact ? "" : artifact.error().toString()));
  REQUIRE(artifact.ok());
  CHECK(artifact->resources.at("attn").spillStoreBytes <= 64);
}

TEST_CASE("the same request gives the same text") {
  CudaProblem problem{"softcap_window", sizes(1, 2, 2, 100, 100, 80, 80)};
  CHECK(textOf(problem) == textOf(problem));
}

TEST_CASE("what cannot be made is refused with the reason") {
  const auto refusal = [](const CudaProblem &problem) {
    Result<std::string> text = compiler::show(requestOf(problem), "cuda");
    INFO(problem.toString());
    REQUIRE(!text.ok());
    return text.error().toString();
  };
  using Catch::Matchers::Contains;
  const auto dims = sizes(1, 1, 1, 64, 64, 64, 64);
  CHECK_THAT(refusal({"causal_softmax", dims, DType::F32}), Contains("tf32 in three products"));
  CHECK_THAT(refusal({"causal_softmax", dims, DType::BF16, "sm_75"}), Contains("sm_75"));
  CHECK_THAT(refusal({"causal_softmax", dims, DType::BF16, "sm_89", {{"STAGES", 8}}}),
             Contains("BM=64, BN=128, STAGES=8 take 270336 bytes of shared memory") &&
                 Contains("168960 more than the 101376"));
  const CudaProblem wide{"causal_softmax", sizes(1, 1, 1, 64, 64, 4096, 64), DType::BF16, "sm_89"};
  CHECK_THAT(refusal(wide), Contains("bytes of shared memory") && Contains("more than the 101376"));
  CudaProblem tall{"causal_softmax", dims, DType::BF16, "sm_80", {{"WARPS", 1}, {"BM", 128}}};
  CHECK_THAT(refusal(tall), Contains("registers a thread") && Contains("more than 255"));
  CudaProblem spelling{"erf_score", dims};
  spelling.text = "pattern.def @erf_score(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, "
                  "%v: seq<Tk x Hk x Dv>) { %o, %lse = mix %q, %k, %v score (s) { erf(s) } "
                  "weight exp norm sum return %o, %lse }";
  CHECK_THAT(refusal(spelling), Contains("erf"));
  CHECK_THAT(refusal({"causal_softmax", dims, DType::BF16, "sm_89", {{"MQ", 2}}}), Contains("MQ"));
}
