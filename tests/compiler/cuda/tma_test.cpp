// Kernels that load by TMA (knob TMA) on the PTX machine: numbers, waits, panels, refusals.
#include "tests/compiler/cuda/PtxAttention.h"
#include "tests/support/Tier.h"

using namespace heddle;
using namespace heddle::test;
using Catch::Matchers::Contains;

namespace {

using Schedule = std::map<std::string, int64_t>;

#define NEEDS_NVRTC                                                                                \
  if (!findNvrtc().ok())                                                                           \
  HEDDLE_SKIP("NVRTC is not installed")

/// Small tiles, so that short lengths make several of them.
CudaProblem problemOf(const char *pattern, std::map<std::string, int64_t> dims,
                      const char *target = "sm_90", Schedule schedule = {}) {
  schedule.insert({{"TMA", 1}, {"WARPS", 2}, {"BM", 32}, {"BN", 32}});
  return {pattern, std::move(dims), DType::BF16, target, std::move(schedule)};
}

/// Copies that land at once, as late as they may, and at random moments.
void checkAtAllTimes(const CudaProblem &problem) {
  INFO(problem.toString());
  PtxRun run(problem);
  run.prepare();
  CHECK(!run.artifact.tensorMaps.empty());
  const compiler::Outputs expected = run.interpret();
  for (auto copies : {ptx::CopyTime::Early, ptx::CopyTime::Late, ptx::CopyTime::Random}) {
    run.copies = copies;
    run.launch();
    run.compare(expected);
  }
}

std::string textOf(const CudaProblem &problem) {
  Result<std::string> text = compiler::show(requestOf(problem), "cuda");
  INFO((text ? "" : text.error().toString()));
  REQUIRE(text.ok());
  return *text;
}

std::string refusalOf(const CudaProblem &problem) {
  Result<std::string> text = compiler::show(requestOf(problem), "cuda");
  return text.ok() ? "" : text.error().toString();
}

} // namespace

TEST_CASE("tiles by TMA: every head size has its panels, and numbers are right") {
  NEEDS_NVRTC;
  for (int64_t D : {64, 72, 80, 96, 112, 128})
    checkAtAllTimes(problemOf("causal_softmax", sizes(1, 2, 1, 77, 77, D, D)));
}

TEST_CASE("tiles by TMA: lengths, supports, grouped heads, both architectures") {
  NEEDS_NVRTC;
  for (int64_t T : {1, 7, 65})
    checkAtAllTimes(problemOf("causal_softmax", sizes(2, 4, 2, T, T, 64, 64), "sm_120",
                              {{"WARPS", 1}, {"BM", T == 1 ? 16 : 32}}));
  for (CudaProblem problem : {
           problemOf("dense_softmax", sizes(2, 2, 2, 40, 77, 64, 128)),
           problemOf("sliding_window", sizes(1, 2, 1, 130, 130, 80, 80), "sm_120"),
           problemOf("gqa", sizes(2, 8, 2, 1, 777, 96, 96), "sm_90",
                     {{"WARPS", 1}, {"BM", 16}, {"SPLIT", 256}}),
       }) {
    if (problem.pattern == "sliding_window")
      problem.params = {{"W", 33}};
    checkOnPtxMachine(problem);
  }
}

TEST_CASE("tiles by TMA: two intervals of keys, the first ending inside a tile") {
  NEEDS_NVRTC;
  CudaProblem problem = problemOf("sinks", sizes(1, 2, 1, 150, 150, 64, 64));
  problem.text = R"(pattern.def @sinks(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>,
    %v: seq<Tk x Hk x Dv>) {
  %o, %lse = mix %q, %k, %v
    support (i, j) { j <= i and (i - j < 33 or j < 5) }
    weight exp  norm sum
  return %o, %lse
})";
  checkAtAllTimes(problem);
}

TEST_CASE("tiles by TMA: rings of any depth, queries in registers or not") {
  NEEDS_NVRTC;
  for (const Schedule &schedule : {
           Schedule{{"STAGES", 1}, {"QREG", 0}},
           Schedule{{"STAGES", 1}, {"BN", 64}},
           Schedule{{"STAGES", 3}, {"QREG", 0}},
           Schedule{{"STAGES", 4}, {"BN", 48}, {"RESCALE", 1}},
       })
    checkAtAllTimes(
        problemOf("causal_softmax", sizes(1, 2, 1, 50, 177, 80, 80), "sm_90", schedule));
}

TEST_CASE("tiles by TMA: values of more than a launch's columns") {
  NEEDS_NVRTC;
  checkOnPtxMachine(
      problemOf("causal_softmax", sizes(1, 2, 1, 40, 70, 64, 160), "sm_90", {{"VCOLS", 64}}));
}

TEST_CASE("tiles by TMA: a wait that does not wait is found, and a barrier that frees a slot") {
  NEEDS_NVRTC;
  const CudaProblem problem = problemOf("causal_softmax", sizes(1, 1, 1, 40, 130, 64, 64));
  PtxRun run(problem);
  run.prepare();
  const std::string whole = run.artifact.sources.at("ptx");
  REQUIRE(run.run().ok());
  size_t dropped = 0;
  for (const std::string line : {"bra again", "bar.sync"})
    for (size_t at = whole.find(line); at != whole.npos; at = whole.find(line, at + 1)) {
      // The barriers of loops: copies into what was read follow them.
      const size_t next = std::min(whole.find("bar.sync", at + 1), whole.size());
      const std::string after = whole.substr(at, next - at);
      if (line == "bar.sync" && (at == whole.find(line) || after.find("bulk.tensor") == after.npos))
        continue;
      const size_t begin = whole.rfind('\n', at) + 1, end = whole.find('\n', at);
      std::string text = whole;
      std::string rest = line == "bra again" ? " }" : ""; // the asm statement ends there
      text.replace(begin, end - begin, rest);
      run.artifact.sources["ptx"] = text;
      const Status ran = run.run();
      INFO(whole.substr(begin, end - begin) << " at " << begin);
      CHECK(!ran.ok());
      ++dropped;
    }
  CHECK(dropped == 7); // waits for q, and for k and v in each loop; a barrier in each
}

TEST_CASE("tiles by TMA: the text says what the maps are, and holds no other copies") {
  const std::string text =
      textOf(problemOf("causal_softmax", sizes(1, 2, 1, 77, 77, 80, 80), "sm_90"));
  CHECK_THAT(text, Contains("k_map: tensor map (cuTensorMapEncodeTiled) of k in boxes of 16 x 32 x "
                            "5 x 1 x 1 out of 16 x Tk x 5 x Hk x B, swizzle of 32 bytes"));
  CHECK_THAT(text,
             Contains("TensorMap k_map;") && Contains("copy_tile(") && Contains("wait_tile("));
  CHECK(text.find("copy_16") == text.npos);
  CHECK(text.find("cp.async.commit_group") == text.npos);
}

TEST_CASE("tiles by TMA: one barrier a tile frees the slots of keys and values") {
  const std::string text =
      textOf(problemOf("causal_softmax", sizes(1, 2, 1, 77, 77, 64, 64), "sm_90"));
  const std::string loop = text.substr(text.find("// Tiles wholly inside the support."));
  const std::string body = loop.substr(0, loop.find("\n  }\n"));
  size_t barriers = 0;
  for (size_t at = body.find("__syncthreads"); at != body.npos;
       at = body.find("__syncthreads", at + 1))
    ++barriers;
  CHECK(barriers == 1);
}

TEST_CASE("tiles by TMA: what TMA cannot copy is refused, with what to do") {
  const auto refuses = [](CudaProblem problem, const std::string &why) {
    INFO(problem.toString());
    const std::string reason = refusalOf(problem);
    CHECK_THAT(reason, Contains(why) && Contains("TMA=0"));
  };
  refuses(problemOf("causal_softmax", sizes(1, 2, 1, 77, 77, 64, 64), "sm_89"),
          "has no TMA, which comes with sm_90");
  refuses(problemOf("causal_softmax", sizes(1, 2, 1, 77, 77, 36, 36)),
          "rows are no multiples of 16 bytes");
  refuses(problemOf("kv_int8", sizes(1, 2, 1, 77, 77, 64, 64)), "it is computed");
  refuses(problemOf("documents", sizes(1, 2, 1, 90, 90, 64, 64)),
          "where its rows end stands in a tensor");
  const std::map<std::string, int64_t> packed = {{"Hq", 2}, {"Hk", 1}, {"Nq", 90}, {"Nk", 90},
                                                 {"N1", 3}, {"D", 64}, {"Dv", 64}};
  refuses(problemOf("varlen", packed), "where its rows end stands in a tensor");
  CudaProblem paged = problemOf("paged_kv", {{"B", 1},
                                             {"Hq", 2},
                                             {"Hk", 1},
                                             {"Tq", 7},
                                             {"NP", 8},
                                             {"page", 16},
                                             {"M", 4},
                                             {"D", 64},
                                             {"Dv", 64}});
  paged.text = libraryText("paged_kv");
  while (paged.text.find("page ") != paged.text.npos)
    paged.text.replace(paged.text.find("page "), 5, "16 ");
  refuses(paged, "lie in pages");
}
