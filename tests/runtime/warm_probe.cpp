// Gets one attention kernel through a store and prints, one a line: where it came from (compiled or
// store), and the LLVM libraries in this process. Run twice by warm_test.py.
//   heddle_warm_probe STORE PATTERN.heddle
#include "runtime/Jit.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

using namespace heddle;

static Status probe(const std::string &store, const std::string &file) {
  std::ifstream stream(file);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  ContextOptions options;
  options.cacheDir = store;
  options.threads = 1;
  HEDDLE_TRY(context, Context::create(options));
  HEDDLE_TRY(signature, context->signature(text));
  HEDDLE_TRY(extents, signature.completeExtents({{"T", 100}, {"H", 2}, {"D", 32}}));
  HEDDLE_TRY(request, signature.request(text, extents, DType::F32));
  HEDDLE_TRY(kernel, context->kernel(request));
  fmt::print("{}\n", kernel->origin().source == KernelOrigin::Store ? "store" : "compiled");

  std::vector<AlignedBuffer> memory;
  std::vector<TensorView> tensors;
  for (const Signature::Tensor &tensor : signature.tensors) {
    HEDDLE_TRY(shape, signature.shapeOf(tensor, extents));
    TensorView view;
    view.dtype = signature.dtypeOf(tensor, DType::F32);
    view.rank = static_cast<int>(shape.size());
    int64_t elements = 1;
    for (int d = view.rank - 1; d >= 0; --d) {
      view.shape[d] = shape[d];
      view.strides[d] = elements;
      elements *= shape[d];
    }
    HEDDLE_TRY(buffer, AlignedBuffer::allocate(elements * sizeOf(view.dtype)));
    view.data = buffer.data();
    memory.push_back(std::move(buffer));
    tensors.push_back(view);
  }
  HEDDLE_TRY(bytes, kernel->workspaceBytes(tensors, {}));
  HEDDLE_TRY(workspace, AlignedBuffer::allocate(bytes));
  HEDDLE_CHECK(kernel->launch(tensors, {}, workspace.workspace()));
  fmt::print("launched\n");
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find("libLLVM") != line.npos || line.find("libMLIR") != line.npos ||
        line.find("heddle-compiler") != line.npos)
      fmt::print("loaded {}\n", line.substr(line.rfind('/') + 1));
  return {};
}

int main(int argc, char **argv) {
  if (argc != 3)
    return 2;
  const Status status = probe(argv[1], argv[2]);
  if (!status.ok())
    fmt::print("{}\n", status.error().toString());
  return status.ok() ? 0 : 1;
}
