// From pattern text to GPU code, in CPU time of the whole process: text (our part alone), ptx (with
// NVRTC's front half) and cubin (everything). No GPU is needed; what NVRTC lacks is told.
//
//   compile_bench [--benchmark_filter=cubin]      the column CPU counts
#include "runtime/Jit.h"
#include "tests/support/Paths.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <fstream>
#include <iterator>

namespace heddle::bench {
namespace {

struct CompileCase {
  const char *pattern;
  int64_t D;
  const char *target;
};

constexpr CompileCase kCases[] = {
    {"causal_softmax", 64, "sm_80"}, {"causal_softmax", 128, "sm_80"},
    {"causal_softmax", 64, "sm_90"}, {"causal_softmax", 128, "sm_90"},
    {"softcap", 128, "sm_89"},       {"dense_softmax", 128, "sm_120"},
};
constexpr const char *kOutputs[] = {"text", "ptx", "cubin"};

Result<Request> requestOf(Context &context, const CompileCase &given) {
  std::ifstream file(fmt::format("{}/patterns/{}.heddle", test::kSourceDir, given.pattern));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  HEDDLE_TRY(signature, context.signature(text));
  const Extents some = {{"B", 1},     {"Hq", 16},     {"Hk", 16},     {"Tq", 4096},
                        {"Tk", 4096}, {"D", given.D}, {"Dv", given.D}};
  HEDDLE_TRY(extents, signature.completeExtents(some));
  HEDDLE_TRY(request, signature.request(text, extents, DType::BF16, {}));
  request.target = given.target;
  return context.complete(std::move(request));
}

/// One compile; the bytes it gave.
Result<size_t> compileOnce(Context &context, Request request, std::string_view output) {
  if (output == "text") {
    HEDDLE_TRY(text, context.compiler().show(request, "cuda"));
    return text.size();
  }
  if (output == "ptx")
    request.flags = "ptx-only";
  HEDDLE_TRY(artifact, context.compiler().compile(request));
  return output == "ptx" ? artifact.sources["ptx"].size() : artifact.image.size();
}

void run(benchmark::State &state, Context &context, const CompileCase &given, const char *output) {
  Result<Request> request = requestOf(context, given);
  if (!request.ok())
    return state.SkipWithError(request.error().toString().c_str());
  Result<size_t> bytes = compileOnce(context, *request, output); // loads what is loaded once
  for (auto _ : state)
    if (bytes.ok())
      bytes = compileOnce(context, *request, output);
  if (!bytes.ok())
    return state.SkipWithError(bytes.error().toString().c_str());
  state.counters["bytes"] = static_cast<double>(*bytes);
}

} // namespace
} // namespace heddle::bench

int main(int count, char **arguments) {
  using namespace heddle;
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments))
    return 1;
  ContextOptions options;
  options.useStore = false;
  Result<std::shared_ptr<Context>> context = Context::create(options);
  if (!context.ok()) {
    fmt::print(stderr, "compile_bench: {}\n", context.error().toString());
    return 1;
  }
  for (const bench::CompileCase &given : bench::kCases)
    for (const char *output : bench::kOutputs)
      benchmark::RegisterBenchmark(
          fmt::format("{}/d{}/{}/{}", given.pattern, given.D, given.target, output).c_str(),
          [&, output](benchmark::State &state) { bench::run(state, **context, given, output); })
          ->MeasureProcessCPUTime()
          ->Unit(benchmark::kMillisecond)
          ->MinTime(0.5);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
