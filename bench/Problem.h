// A case made ready to run: kernel, tensors with random values, workspace.
#pragma once

#include "bench/Case.h"
#include "runtime/Jit.h"

#include <memory>
#include <vector>

namespace heddle::bench {

/// One set of tensors in calling order and the memory behind them.
struct TensorSet {
  std::vector<AlignedBuffer> memory;
  std::vector<TensorView> views;
};

class Problem {
public:
  /// Compiles or finds the kernel and fills the inputs with values of [-1, 1), the same each time.
  /// Fails with the compiler's reason if no form can do the pattern, or without memory.
  static Result<Problem> make(Context &context, const Case &problem, DType dtype,
                              const std::map<std::string, int64_t> &schedule);

  /// One launch on the next set of tensors.
  Status launch();
  /// Compares sampled rows of the last launch's results with the interpreter.
  /// CheckFailed, naming tensor and distance, if one is beyond the tolerance table.
  Status check(Context &context) const;

  const Kernel &kernel() const { return *loaded; }

private:
  Status allocateSet();
  Status checkResult(size_t index, const TensorView &expected, const RowList &rows) const;

  const Case *what = nullptr;
  DType dtype = DType::F32;
  Signature signature;
  Extents extents;
  Request request;
  std::map<std::string, double> parameters;
  std::vector<ParameterValue> parameterValues;
  std::shared_ptr<const Kernel> loaded;
  std::vector<TensorSet> sets;
  AlignedBuffer workspace;
  size_t current = 0;
};

} // namespace heddle::bench
