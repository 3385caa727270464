// The C++ header over the C interface, and what becomes of handles that were given back: an error
// each time, never a crash.
#include "runtime/heddle.hpp"
#include "tests/runtime/Scratch.h"
#include "tests/runtime/plugin/TargetArtifact.h"
#include "tests/support/Test.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <new>

using namespace heddle::api;

// Every allocation of this process that C++ makes, libheddle's included, is counted.
static std::atomic<int64_t> allocations = 0;
void *operator new(size_t bytes) {
  ++allocations;
  if (void *memory = std::malloc(bytes ? bytes : 1))
    return memory;
  throw std::bad_alloc();
}
void *operator new(size_t bytes, const std::nothrow_t &) noexcept {
  ++allocations;
  return std::malloc(bytes ? bytes : 1);
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, size_t) noexcept { std::free(memory); }

namespace {

struct Opened {
  heddle::test::ScratchFolder folder;
  std::string store = folder / "store";
  ContextOptions options;

  Opened() {
    options.threads = 1;
    options.store_directory = store.c_str();
    options.compiler = FAKE_COMPILER;
  }
  Context context() const {
    Result<Context> made = Context::create(options);
    REQUIRE(made.ok());
    return std::move(*made);
  }
};

struct Numbers {
  float x[70], y[70] = {}, s = 0;
  std::vector<heddle_tensor> tensors = {dense(x, HEDDLE_F32, {7, 10}),
                                        dense(y, HEDDLE_F32, {7, 10}), dense(&s, HEDDLE_F32, {1})};
  Numbers() {
    for (int n = 0; n < 70; ++n)
      x[n] = static_cast<float>(n % 9);
  }
  bool isRight(float factor) const {
    double sum = 0;
    for (int n = 0; n < 70; ++n) {
      sum += y[n];
      if (y[n] != factor * x[n])
        return false;
    }
    return s == static_cast<float>(sum) + 3;
  }
};

bool has(const std::string &text, const char *part) { return text.find(part) != text.npos; }

} // namespace

TEST_CASE("from a pattern's text to a result in C++") {
  const Opened opened;
  Result<Pattern> pattern = opened.context().pattern("scale"); // keeps its context alive
  REQUIRE(pattern.ok());
  CHECK(pattern->name() == "scale");
  CHECK(pattern->tensors().size() == 3);
  CHECK(pattern->parameters()[0].default_value == 2.0);
  Numbers numbers;
  const std::span<const heddle_tensor> input = std::span(numbers.tensors).first(1);
  CHECK(pattern->shape(1, input)->strides[0] == 10);
  Result<Kernel> kernel = pattern->kernel(input);
  REQUIRE(kernel.ok());
  CHECK(kernel->info()->source == HEDDLE_COMPILED);
  Workspace workspace;
  REQUIRE(kernel->launch(numbers.tensors, {}, workspace).ok());
  CHECK(numbers.isRight(2));
  const heddle_parameter factor[] = {{"factor", -1.5}};
  REQUIRE(kernel->launch(numbers.tensors, factor, workspace.data(), workspace.bytes()).ok());
  CHECK(numbers.isRight(-1.5F));

  Result<Kernel> again = opened.context().kernel(kernel->artifact());
  REQUIRE(again.ok());
  REQUIRE(again->launch(numbers.tensors, {}, workspace).ok());
  CHECK(numbers.isRight(2));
  CHECK(opened.context().pattern("scale")->kernel(input)->info()->source == HEDDLE_FROM_STORE);
}

TEST_CASE("failures arrive as errors with status, message and notes") {
  const Opened opened;
  const Context context = opened.context();
  const Result<Pattern> refused = context.pattern("refuse");
  REQUIRE(!refused.ok());
  CHECK(refused.error().status() == HEDDLE_INVALID_PATTERN);
  CHECK(has(refused.error().message(), "p.heddle:1:1"));
  Numbers numbers;
  const Result<Kernel> absent = context.pattern("scale")->kernel(
      std::span(numbers.tensors).first(1), {}, {.onMiss = HEDDLE_MISS_REFUSE});
  REQUIRE(!absent.ok());
  CHECK(absent.error().notes().size() == 1);
  CHECK_THROWS_AS(context.pattern("refuse").value(), std::runtime_error);
  ContextOptions wrong;
  wrong.device = "abacus";
  CHECK(Context::create(wrong).error().status() == HEDDLE_NOT_FOUND);
}

TEST_CASE("wrong calls are refused in C++ too, and life goes on") {
  const Opened opened;
  const Context context = opened.context();
  const Result<Pattern> pattern = context.pattern("scale");
  Numbers numbers;
  const Result<Kernel> kernel = pattern->kernel(std::span(numbers.tensors).first(1));
  REQUIRE(kernel.ok());
  Workspace workspace;
  const auto refuses = [&](const char *part, const std::function<void(heddle_tensor *)> &change) {
    std::vector<heddle_tensor> tensors = numbers.tensors;
    change(tensors.data());
    const Status done = kernel->launch(tensors, {}, workspace);
    REQUIRE(!done.ok());
    CHECK(done.error().status() == HEDDLE_INVALID_ARGUMENT);
    INFO(done.error().message());
    CHECK(has(done.error().message(), part));
  };
  refuses("found a null pointer for x", [](heddle_tensor *t) { t[0].data = nullptr; });
  refuses("of type bf16, expected f32", [](heddle_tensor *t) { t[1].dtype = HEDDLE_BF16; });
  refuses("found T = 8 in y", [](heddle_tensor *t) { t[1].shape[0] = 8; });
  refuses("found stride 2 in the innermost", [](heddle_tensor *t) { t[0].strides[1] = 2; });
  refuses("in memory that x lies in", [](heddle_tensor *t) { t[1].data = t[0].data; });
  CHECK(has(kernel->launch(numbers.tensors, {}, nullptr, 0).error().message(), "a null pointer"));
  CHECK(has(kernel->launch({}, {}, workspace).error().message(), "found 0 tensors"));
  const heddle_parameter nan[] = {{"factor", std::nan("")}};
  CHECK(has(kernel->launch(numbers.tensors, nan, workspace).error().message(), "finite"));
  CHECK(has(pattern->shape(7, numbers.tensors).error().message(), "tensor 7"));
  CHECK(has(context.kernel("no artifact").error().message(), "no artifact"));
  REQUIRE(kernel->launch(numbers.tensors, {}, workspace).ok());
  CHECK(numbers.isRight(2));
}

TEST_CASE("a launch allocates nothing") {
  const Opened opened;
  const Result<Pattern> pattern = opened.context().pattern("scale");
  Numbers numbers;
  const Result<Kernel> kernel = pattern->kernel(numbers.tensors);
  REQUIRE(kernel.ok());
  CHECK(allocations > 100); // they are counted
  const heddle_parameter factor[] = {{"factor", 3}};
  heddle_call call = {};
  call.size = sizeof call;
  call.tensors = numbers.tensors.data();
  call.tensor_count = numbers.tensors.size();
  call.parameters = factor;
  call.parameter_count = 1;
  alignas(64) char memory[4096];
  call.workspace = memory;
  const int64_t before = allocations;
  const bool sized =
      heddle_kernel_workspace(kernel->handle(), &call, &call.workspace_bytes, nullptr) == HEDDLE_OK;
  const bool done = heddle_kernel_launch(kernel->handle(), &call, nullptr) == HEDDLE_OK;
  CHECK(allocations == before);
  CHECK((sized && done && call.workspace_bytes <= int64_t(sizeof memory)));
  CHECK(numbers.isRight(3));
}

TEST_CASE("tensors of the host are refused by a kernel on a GPU") {
  Opened opened;
  opened.options.device = "ptx:80";
  const Context context = opened.context();
  const heddle::Artifact artifact = heddle::test::scaleArtifactFor("sm_80", 10);
  const Result<Kernel> kernel = context.kernel(artifact.serialize());
  REQUIRE(kernel.ok());
  Numbers numbers;
  Workspace workspace;
  const Status done = kernel->launch(numbers.tensors, {}, workspace);
  REQUIRE(!done.ok());
  CHECK(has(done.error().message(), "found x in memory that ptx:80 cannot reach"));
}

TEST_CASE("a handle that was given back is an error wherever it is used") {
  const Opened opened;
  heddle_context *context = nullptr;
  heddle_pattern *pattern = nullptr;
  heddle_kernel *kernel = nullptr;
  Numbers numbers;
  heddle_request request = {};
  request.size = sizeof request;
  request.tensors = numbers.tensors.data();
  request.tensor_count = 3;
  heddle_call call = {};
  call.size = sizeof call;
  REQUIRE(heddle_context_create(&opened.options, &context, nullptr) == HEDDLE_OK);
  REQUIRE(heddle_pattern_create(context, "scale", nullptr, &pattern, nullptr) == HEDDLE_OK);
  REQUIRE(heddle_kernel_get(pattern, &request, &kernel, nullptr) == HEDDLE_OK);
  heddle_kernel_release(kernel);
  heddle_pattern_destroy(pattern);
  heddle_context_destroy(context);
  const auto refuses = [](auto function) {
    heddle_error *error = nullptr;
    CHECK(function(&error) == HEDDLE_INVALID_ARGUMENT);
    CHECK(has(heddle_error_message(error), "that was given back already"));
    heddle_error_destroy(error);
  };
  heddle_kernel_info info = {};
  info.size = sizeof info;
  int64_t bytes = 0;
  for (int twice = 0; twice < 2; ++twice) {
    refuses([&](heddle_error **e) { return heddle_kernel_launch(kernel, &call, e); });
    refuses([&](heddle_error **e) { return heddle_kernel_workspace(kernel, &call, &bytes, e); });
    refuses([&](heddle_error **e) { return heddle_kernel_describe(kernel, &info, e); });
    refuses([&](heddle_error **e) { return heddle_kernel_get(pattern, &request, &kernel, e); });
    refuses([&](heddle_error **e) {
      return heddle_pattern_create(context, "scale", nullptr, &pattern, e);
    });
    refuses([&](heddle_error **e) { return heddle_store_put(context, "winner", "k", "", 0, e); });
    CHECK(heddle_kernel_tensor_count(kernel) == 0);
    CHECK(std::string(heddle_pattern_name(pattern)).empty());
    heddle_kernel_release(kernel); // given back twice: nothing happens
    heddle_pattern_destroy(pattern);
    heddle_context_destroy(context);
  }
}
