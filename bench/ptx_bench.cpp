// How fast the PTX machine runs: causal attention whose products are mma.sync, with nothing
// checked, checked, and with faithful sums. The kernel's own tensor-core arithmetic counts, masked
// halves of edge tiles included.
#include "runtime/DeviceTensors.h"
#include "runtime/Jit.h"
#include "runtime/devices/ptx/DriverControl.h"
#include "tests/support/Paths.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <random>

namespace {

using namespace heddle;

/// Exits with the reason if a call failed.
template <class T> T must(Result<T> result) {
  if (!result.ok()) {
    fmt::print(stderr, "ptx_bench: {}\n", result.error().toString());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>)
    return std::move(*result);
}

/// Causal attention of 4 heads over 1024 tokens, D = 64, bf16.
struct Setting {
  std::shared_ptr<Context> context;
  std::shared_ptr<const Kernel> kernel;
  std::vector<AlignedBuffer> memory;
  DeviceTensors tensors;
  DeviceBuffer workspace;

  Setting() {
    ContextOptions options;
    options.device = "ptx:80";
    options.useStore = false;
    context = must(Context::create(options));
    std::ifstream file(std::string(test::kSourceDir) + "/patterns/causal_softmax.heddle");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const Signature signature = must(context->signature(text));
    const Extents extents =
        must(signature.completeExtents({{"B", 1}, {"T", 1024}, {"H", 4}, {"D", 64}}));
    Request request = must(signature.request(text, extents, DType::BF16));
    request.target.clear(); // what the device runs
    kernel = must(context->kernel(must(context->complete(request))));
    std::vector<TensorView> views;
    std::minstd_rand random;
    for (const Signature::Tensor &info : signature.tensors) {
      TensorView view;
      view.dtype = signature.dtypeOf(info, DType::BF16);
      const std::vector<int64_t> shape = must(signature.shapeOf(info, extents));
      view.rank = shape.size();
      int64_t elements = 1;
      for (size_t d = shape.size(); d-- > 0; elements *= shape[d]) {
        view.shape[d] = shape[d];
        view.strides[d] = elements;
      }
      memory.push_back(must(AlignedBuffer::allocate(elements * sizeOf(view.dtype))));
      view.data = memory.back().data();
      for (int64_t e = 0; e < elements; ++e)
        storeElement(view.dtype, view.data, e, static_cast<double>(random() % 2001) / 1000 - 1);
      views.push_back(view);
    }
    workspace = must(
        DeviceBuffer::allocate(context->sharedDevice(), must(kernel->workspaceBytes(views, {}))));
    tensors = must(DeviceTensors::make(context->sharedDevice(), views));
  }

  void launch() { must(kernel->launch(tensors.views(), {}, {workspace.data(), workspace.size()})); }
};

void run(benchmark::State &state, Setting &setting, ptx::LaunchOptions options) {
  options.counts = true;
  ptx::setDriverOptions(options);
  setting.launch();
  double flops = 0, instructions = 0;
  for (const ptx::LaunchRecord &record : ptx::takeLaunches()) {
    flops += static_cast<double>(record.report.traffic.tensorFlops);
    instructions += static_cast<double>(record.report.warpInstructions);
  }
  options.counts = options.check;
  ptx::setDriverOptions(options);
  for (auto _ : state)
    setting.launch();
  const auto rate = [&](double n) {
    return benchmark::Counter(n, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["flops"] = rate(flops);
  state.counters["warp_instructions"] = rate(instructions);
  (void)ptx::takeLaunches();
}

ptx::LaunchOptions optionsOf(int threads, bool check, ptx::Numbers numbers) {
  ptx::LaunchOptions options;
  options.threads = threads;
  options.check = check;
  options.numbers = numbers;
  return options;
}

} // namespace

int main(int argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv))
    return 1;
  Setting setting; // before the machine's own end, as its memory is the machine's
  const auto add = [&](const char *name, int threads, bool check, ptx::Numbers numbers) {
    benchmark::RegisterBenchmark(name,
                                 [&setting, options = optionsOf(threads, check, numbers)](
                                     benchmark::State &state) { run(state, setting, options); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  };
  add("fast/1", 1, false, ptx::Numbers::Fast);
  add("fast/2", 2, false, ptx::Numbers::Fast);
  add("checked/1", 1, true, ptx::Numbers::Fast);
  add("faithful/1", 1, false, ptx::Numbers::Faithful);
  benchmark::RunSpecifiedBenchmarks();
}
