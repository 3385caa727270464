// A context with a store of its own and the fake compiler, a request for its kernel, and a call
// that checks what the kernel computes.
#pragma once

#include "runtime/Jit.h"
#include "tests/runtime/Scratch.h"
#include "tests/runtime/plugin/ScaleArtifact.h"
#include "tests/support/Test.h"

#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <vector>

namespace heddle::test {

inline std::string library(const char *name) {
  return std::string(kBinaryDir) + "/lib/lib" + name + ".so";
}

/// A context with a store of its own and the fake compiler, whose calls are counted.
struct Setting {
  ScratchFolder folder;
  std::mutex mutex; ///< guards the log
  std::vector<std::string> log;
  ContextOptions options;

  Setting() {
    ::setenv("HEDDLE_FAKE_LOG", (folder / "calls").c_str(), 1);
    options.threads = 2;
    options.cacheDir = folder / "store";
    options.compilerPath = library("heddle-fake-compiler");
    options.log = [this](LogLevel, std::string_view line) {
      const std::lock_guard lock(mutex);
      log.emplace_back(line);
    };
  }
  ~Setting() {
    ::unsetenv("HEDDLE_FAKE_LOG");
    ::unsetenv("HEDDLE_FAKE_DELAY");
  }
  /// Every compile takes at least this long from now on.
  static void delay(int milliseconds) {
    ::setenv("HEDDLE_FAKE_DELAY", std::to_string(milliseconds).c_str(), 1);
  }

  std::shared_ptr<Context> open() const {
    Result<std::shared_ptr<Context>> context = Context::create(options);
    REQUIRE(context.ok());
    return *context;
  }
  int calls(const std::string &name) const {
    std::ifstream file(folder / "calls");
    int count = 0;
    for (std::string line; std::getline(file, line);)
      count += line == name;
    return count;
  }
};

inline Request scaleRequest(Context &context, int64_t columns = 10, int64_t rows = 7) {
  const Result<Signature> signature = context.signature("scale");
  REQUIRE(signature.ok());
  const Result<Request> request =
      signature->request("scale", {{"T", rows}, {"D", columns}}, DType::F32);
  REQUIRE(request.ok());
  return *request;
}

/// Runs y = factor * x on rows x columns and compares; s is what the launches leave there.
struct ScaleCall {
  std::vector<float> x, y;
  float s = -1;
  std::vector<TensorView> tensors;

  ScaleCall(int64_t rows, int64_t columns) : x(rows * columns), y(rows * columns) {
    for (size_t n = 0; n < x.size(); ++n)
      x[n] = static_cast<float>(n % 17) - 8;
    const auto view = [&](float *data, std::initializer_list<int64_t> shape) {
      TensorView v;
      v.data = data;
      v.rank = static_cast<int>(shape.size());
      std::copy(shape.begin(), shape.end(), v.shape.begin());
      v.strides[v.rank - 1] = 1;
      if (v.rank == 2)
        v.strides[0] = columns;
      return v;
    };
    tensors = {view(x.data(), {rows, columns}), view(y.data(), {rows, columns}), view(&s, {1})};
  }

  Status run(const Kernel &kernel, std::vector<ParameterValue> parameters = {}) {
    HEDDLE_TRY(bytes, kernel.workspaceBytes(tensors, parameters));
    HEDDLE_TRY(memory, AlignedBuffer::allocate(bytes));
    return kernel.launch(tensors, parameters, memory.workspace());
  }
  bool isRight(float factor) const {
    double sum = 0;
    for (size_t n = 0; n < x.size(); ++n) {
      if (y[n] != factor * x[n])
        return false;
      sum += y[n];
    }
    return s == static_cast<float>(sum) + 3; // 0 + 1 + 2 from the repetitions
  }
};

} // namespace heddle::test
