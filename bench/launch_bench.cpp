// What a launch and the search for its kernel cost beside the kernel's own work, through the C
// interface as an engine uses it. Zero query rows leave nothing to do: the time of such a launch is
// all overhead. One token against 16 keys is the smallest real call; bench/peers/dispatch.py has
// torch's dispatch of the same problem.
#include "runtime/heddle.h"
#include "tests/runtime/Scratch.h"
#include "tests/support/Paths.h"

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

constexpr int64_t kHeads = 8, kKeys = 16, kWidth = 64;

/// Exits with the message if a call failed.
void must(heddle_status status, heddle_error *error) {
  if (status == HEDDLE_OK)
    return;
  std::fprintf(stderr, "launch_bench: %s\n", heddle_error_message(error));
  std::exit(1);
}

heddle_tensor dense(std::vector<float> &memory, std::vector<int64_t> shape) {
  heddle_tensor tensor = {};
  tensor.data = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) / 4 % 16;
  tensor.dtype = HEDDLE_F32;
  tensor.rank = static_cast<int32_t>(shape.size());
  int64_t stride = 1;
  for (int32_t d = tensor.rank - 1; d >= 0; --d) {
    tensor.shape[d] = shape[d];
    tensor.strides[d] = stride;
    stride *= shape[d];
  }
  return tensor;
}

/// Attention of `rows` query rows over kKeys keys, with its kernel and workspace.
struct Setting {
  heddle_context *context = nullptr;
  heddle_pattern *pattern = nullptr;
  heddle_kernel *kernel = nullptr;
  std::vector<std::vector<float>> memory;
  std::vector<heddle_tensor> tensors;
  heddle_call call = {};
  void *workspace = nullptr;

  explicit Setting(int64_t rows, int64_t batch = 1) {
    std::ifstream file(std::string(heddle::test::kSourceDir) + "/patterns/causal_softmax.heddle");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    heddle_context_options options = {};
    options.size = sizeof options;
    options.threads = 1;
    options.flags = HEDDLE_NO_STORE;
    heddle_error *error = nullptr;
    must(heddle_context_create(&options, &context, &error), error);
    must(heddle_pattern_create(context, text.c_str(), nullptr, &pattern, &error), error);
    const std::vector<std::vector<int64_t>> shapes = {{batch, rows, kHeads, kWidth},
                                                      {batch, kKeys, kHeads, kWidth},
                                                      {batch, kKeys, kHeads, kWidth},
                                                      {batch, rows, kHeads, kWidth},
                                                      {batch, rows, kHeads}};
    for (const std::vector<int64_t> &shape : shapes) {
      memory.emplace_back(batch * kKeys * kHeads * kWidth + 16, 0.25F);
      tensors.push_back(dense(memory.back(), shape));
    }
    find();
    call.size = sizeof call;
    call.tensors = tensors.data();
    call.tensor_count = tensors.size();
    must(heddle_kernel_workspace(kernel, &call, &call.workspace_bytes, &error), error);
    workspace = std::aligned_alloc(64, (call.workspace_bytes + 127) / 64 * 64);
    call.workspace = workspace;
  }
  ~Setting() {
    std::free(workspace);
    heddle_kernel_release(kernel);
    heddle_pattern_destroy(pattern);
    heddle_context_destroy(context);
  }

  void find() {
    heddle_request request = {};
    request.size = sizeof request;
    request.tensors = tensors.data();
    request.tensor_count = tensors.size();
    heddle_error *error = nullptr;
    must(heddle_kernel_get(pattern, &request, &kernel, &error), error);
  }
  void launch() const {
    heddle_error *error = nullptr;
    must(heddle_kernel_launch(kernel, &call, &error), error);
  }
};

void launchNothing(benchmark::State &state) {
  const Setting setting(0);
  for (auto _ : state)
    setting.launch();
}
BENCHMARK(launchNothing)->Name("launch/zero_rows");

void launchToken(benchmark::State &state) {
  const Setting setting(1);
  for (auto _ : state)
    setting.launch();
}
BENCHMARK(launchToken)->Name("launch/one_token");

/// Nine times the work of one token: the difference over eight is the work, the rest overhead.
void launchNineTokens(benchmark::State &state) {
  const Setting setting(1, 9);
  for (auto _ : state)
    setting.launch();
}
BENCHMARK(launchNineTokens)->Name("launch/nine_tokens");

void sizeWorkspace(benchmark::State &state) {
  Setting setting(1);
  for (auto _ : state)
    must(heddle_kernel_workspace(setting.kernel, &setting.call, &setting.call.workspace_bytes,
                                 nullptr),
         nullptr);
}
BENCHMARK(sizeWorkspace)->Name("workspace/one_token");

void findByTensors(benchmark::State &state) {
  Setting setting(1);
  for (auto _ : state) {
    heddle_kernel_release(setting.kernel);
    setting.find();
  }
}
BENCHMARK(findByTensors)->Name("find/by_tensors");

void findByExtents(benchmark::State &state) {
  Setting setting(1);
  const heddle_extent extents[] = {{"Tq", 1}, {"Tk", kKeys}, {"H", kHeads}, {"D", kWidth}};
  heddle_request request = {};
  request.size = sizeof request;
  request.extents = extents;
  request.extent_count = 4;
  request.dtype = HEDDLE_F32;
  for (auto _ : state) {
    heddle_kernel_release(setting.kernel);
    must(heddle_kernel_get(setting.pattern, &request, &setting.kernel, nullptr), nullptr);
  }
}
BENCHMARK(findByExtents)->Name("find/by_extents");

void findAndLaunch(benchmark::State &state) {
  Setting setting(1);
  for (auto _ : state) {
    heddle_kernel_release(setting.kernel);
    setting.find();
    must(heddle_kernel_workspace(setting.kernel, &setting.call, &setting.call.workspace_bytes,
                                 nullptr),
         nullptr);
    setting.launch();
  }
}
BENCHMARK(findAndLaunch)->Name("call/one_token");

/// A process of its own, from its start to its end: it opens the store, takes a kernel from there
/// and launches it. The first one fills the store.
void startProcess(benchmark::State &state) {
  const std::string program = std::string(heddle::test::kBinaryDir) + "/tests/heddle_warm_probe";
  const std::string pattern =
      std::string(heddle::test::kSourceDir) + "/patterns/causal_softmax.heddle";
  const heddle::test::ScratchFolder store;
  const char *const arguments[] = {program.c_str(), store.path().c_str(), pattern.c_str(), nullptr};
  const auto run = [&] {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    pid_t child = 0;
    int status = -1;
    const bool started = posix_spawn(&child, program.c_str(), &actions, nullptr,
                                     const_cast<char *const *>(arguments), environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return started && ::waitpid(child, &status, 0) == child && status == 0;
  };
  bool good = run();
  for (auto _ : state)
    good &= run();
  if (!good)
    state.SkipWithError("heddle_warm_probe failed; build it");
}
BENCHMARK(startProcess)->Name("process/first_result")->Unit(benchmark::kMillisecond)->UseRealTime();

} // namespace

BENCHMARK_MAIN();
