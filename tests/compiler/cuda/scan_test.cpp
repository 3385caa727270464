// Emitted kernels that carry a state, run as PTX on the PTX machine, equal the interpreter: every
// class of decay, update, read and norm in both forms, head sizes that are no powers of two, short
// and odd lengths.
#include "compiler/targets/cuda/Sass.h"
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

double zero(double) { return 0; }

CudaProblem problemOf(const ScanClass &c, const char *form, const Sizes &sizes, DType dtype,
                      const char *target) {
  CudaProblem problem{
      c.what, {{"B", 1}, {"H", 2}, {"T", sizes.T}, {"K", sizes.K}, {"V", sizes.V}}, dtype, target};
  problem.form = form;
  problem.text = textOf(c);
  problem.inputs = {{"g", decay}, {"beta", gate},  {"a", low},      {"y", low},
                    {"at", zero}, {"bank0", zero}, {"z0", positive}};
  return problem;
}

/// What `tensor` has of tokens first, first + 1, ..: B = 1, so that they lie side by side.
std::vector<unsigned char> tokensOf(const CudaTensor &whole, size_t first, size_t bytes) {
  REQUIRE(first + bytes <= whole.bytes.size());
  return {whole.bytes.begin() + first, whole.bytes.begin() + first + bytes};
}

/// Runs tokens [0, cut) in one form and the rest in another, whose state on entry is what the first
/// left.
void checkContinued(const ScanClass &c, const char *before, const char *after) {
  const Sizes whole{45, 48, 40};
  const int64_t cut = 28;
  const auto part = [&](const char *form, int64_t tokens) {
    CudaProblem problem = problemOf(c, form, {tokens, whole.K, whole.V}, DType::BF16, "sm_80");
    if (std::string(c.arguments).find("%bank0") != std::string::npos)
      problem.dims["N"] = 7;
    if (std::string(c.arguments).find("%lambda") != std::string::npos)
      problem.dims["L"] = 7;
    return problem;
  };
  const CudaProblem all = part(after, whole.T), head = part(before, cut),
                    tail = part(after, whole.T - cut);
  PtxRun one(all), first(head), second(tail);
  for (PtxRun *run : {&one, &first, &second})
    run->prepare();
  for (const CudaTensor &tensor : one.tensors) {
    const std::string &name = tensor.info.name;
    CudaTensor &early = first.tensor(name), &late = second.tensor(name);
    if (tensor.info.isResult)
      continue;
    early.bytes = tokensOf(tensor, 0, early.bytes.size());
    late.bytes = tokensOf(tensor, tensor.bytes.size() - late.bytes.size(), late.bytes.size());
  }
  first.launch();
  for (auto [start, left] : kCarried)
    if ((std::string(c.results) + ",").find(std::string("%") + left + ",") != std::string::npos)
      second.tensor(start).bytes = first.tensor(left).bytes;
  second.launch();
  const compiler::Outputs expected = one.interpret();
  for (CudaTensor &tensor : second.tensors) {
    if (!tensor.info.isResult)
      continue;
    const std::vector<double> &values = expected.find(tensor.info.name)->values;
    const size_t count = size_t(tensor.elements());
    std::vector<double> found(count);
    for (size_t n = 0; n < count; ++n)
      found[n] = loadElement(tensor.info.dtype, tensor.bytes.data(), int64_t(n));
    compiler::Comparison result =
        compiler::compareValues(found.data(), values.data() + values.size() - count, int64_t(count),
                                compiler::rmsLimit(compiler::arithmeticOf(DType::BF16)));
    INFO("result " << tensor.info.name << " rms " << result.rms);
    CHECK(result.pass);
  }
}

/// CUDA has no room for the problem, and says for which tile.
void checkRefused(const CudaProblem &problem, const std::string &tile) {
  Result<Artifact> artifact = compiler::compile(requestOf(problem));
  REQUIRE(!artifact.ok());
  CHECK(artifact.error().code == ErrorCode::Unsupported);
  CHECK(artifact.error().message.find("registers") != std::string::npos);
  CHECK(artifact.error().message.find(tile) != std::string::npos);
}

/// Issue slots of the chunks' loop other than tensor-core ones, per m16n8k16; nothing spilled.
void checkSlots(const CudaProblem &problem, double most) {
  INFO(problem.toString());
  Result<Artifact> artifact = compiler::compile(requestOf(problem));
  INFO((artifact ? "" : artifact.error().toString()));
  REQUIRE(artifact.ok());
  const Resources &taken = artifact->resources.at("chunks");
  CHECK(taken.spillStoreBytes + taken.spillLoadBytes + taken.stackBytes == 0);
  Result<std::string> text = compiler::cuda::disassemble(artifact->image);
  if (!text)
    HEDDLE_SKIP(text.error().message);
  for (const compiler::cuda::SassKernel &kernel : compiler::cuda::parseSass(*text)) {
    if (kernel.name != "chunks")
      continue;
    const compiler::cuda::SassFacts facts = compiler::cuda::factsOf(kernel);
    REQUIRE(facts.mainLoop());
    CHECK(facts.mainLoop()->mix.otherPerMma() > 0);
    CHECK(facts.mainLoop()->mix.otherPerMma() <= most);
  }
}

} // namespace

TEST_CASE("a state that one form leaves goes on in another") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  std::vector<ScanClass> classes;
  for (const ScanClass &c : kScanClasses)
    if (std::string(c.arguments).find("%s0") != std::string::npos)
      classes.push_back(c);
  for (const ScanClass &c : kBankClasses)
    classes.push_back(c);
  size_t turn = 0;
  for (const ScanClass &c : classes) {
    const bool chunksFirst = ++turn % 2 == 0;
    DYNAMIC_SECTION(c.what) {
      if (chunksFirst || wholeTier())
        checkContinued(c, "chunked", "recurrent");
      if (!chunksFirst || wholeTier())
        checkContinued(c, "recurrent", "chunked");
    }
  }
}

TEST_CASE("chunks spend few issue slots beside products") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  for (const char *what : {"state in and out", "constant decay"}) {
    checkSlots(problemOf(scanClass(what), "chunked", {4096, 128, 128}, DType::BF16, "sm_80"), 3.5);
  }
}

TEST_CASE("scans of the library neither spill nor spend many issue slots") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  // sm_89 and sm_120 have shared memory for chunks of 32 tokens, which share less work.
  constexpr const char *kTargets[] = {"sm_80", "sm_89", "sm_90", "sm_120"};
  struct Mark {
    const char *pattern;
    double most[4]; ///< by target
  };
  constexpr Mark kMarks[] = {{"linear_attention", {3.5, 4.6, 3.5, 4.6}},
                             {"retnet", {3.5, 5.8, 3.6, 5.8}},
                             {"gated_deltanet", {5, 8.3, 5.2, 8.3}}};
  size_t turn = 0;
  for (const Mark &mark : kMarks) {
    ++turn;
    for (size_t t = 0; t < std::size(kTargets); ++t) {
      if (!wholeTier() && t != 0 && t != turn)
        continue;
      CudaProblem problem{mark.pattern,
                          {{"B", 1}, {"H", 2}, {"T", 4096}, {"K", 128}, {"V", 128}},
                          DType::BF16,
                          kTargets[t]};
      problem.form = "chunked";
      checkSlots(problem, mark.most[t]);
    }
  }
}

TEST_CASE("keys that a launch widens before the walk meet queries that the walk widens") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  checkOnPtxMachine(
      problemOf(scanClass("delta with a bias"), "chunked", {77, 24, 40}, DType::F16, "sm_80"));
}

TEST_CASE("states that are kept with their sums, and values in pairs of rows") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  // Widths that need no padding: sums of kept states are added to as they lie.
  const ScanClass kept{"segments with a norm", "",
                       "features q [elu1] features k [elu1] weight id norm sum { 0.01 } "
                       "segments constant { 5 } gate ones bank frozen reset yes gives o",
                       "%o"};
  for (const char *form : {"chunked", "recurrent"})
    checkOnPtxMachine(problemOf(kept, form, {33, 16, 8}, DType::BF16, "sm_80"));
  // Eight values: two a thread, whose rows the other lanes have.
  const ScanClass tree{"delta along a tree", ", %parent: seq<i32, T>, %beta: seq<T x H>",
                       "tree %parent support (row, j) { ancestor(row, j) } features k [l2norm] "
                       "score { s } weight id norm none update delta %beta gives o",
                       "%o"};
  CudaProblem problem = problemOf(tree, "recurrent", {7, 8, 8}, DType::BF16, "sm_80");
  problem.inputs["parent"] = [](double) { return -1.0; };
  checkOnPtxMachine(problem);
}

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
    // A row more than keys have features: 73 are no multiple of what lanes and warps share.
    const bool refused = problem.pattern == "delta with a bias" && problem.form == "recurrent" &&
                         kSizes[p[2]].K == 72;
    DYNAMIC_SECTION(problem.toString()) {
      if (refused)
        checkRefused(problem, "<73x40xf32");
      else
        checkOnPtxMachine(problem);
    }
  }
}
