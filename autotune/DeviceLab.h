// The lab of a real device: compiles candidates, runs them through the C interface on the caller's
// tensors, and compares each with the definition before it may be timed.
#pragma once

#include "autotune/Tuner.h"
#include "compiler/Oracle.h"
#include "runtime/Request.h"
#include "runtime/Tensor.h"
#include "runtime/heddle.h"

#include <map>
#include <memory>
#include <string>

namespace heddle::autotune {

/// The problem a sweep works on. Views are borrowed for the life of the lab; results are
/// overwritten.
struct DeviceProblem {
  Request request;                           ///< complete but for its schedule
  std::map<std::string, TensorView> tensors; ///< inputs and results by name
  std::map<std::string, double> parameters;
  compiler::OracleJob oracle; ///< how candidates are checked, on the same inputs
  int threads = 0;
};

class DeviceLab : public Lab {
public:
  /// Evaluates the definition once. Fails if it cannot be evaluated or the device does not open.
  static Result<std::unique_ptr<DeviceLab>> open(DeviceProblem problem);
  ~DeviceLab() override;

  Result<Subject> prepare(const Schedule &schedule) override;

private:
  explicit DeviceLab(DeviceProblem problem, compiler::Oracle oracle);
  Result<std::vector<heddle_tensor>> tensorsOf(const heddle_kernel *kernel) const;

  DeviceProblem problem;
  compiler::Oracle oracle;
  std::vector<heddle_parameter> parameters; ///< run-time ones, views into problem
  heddle_context *context = nullptr;
};

/// Records in the device's store, under the hash of their key. Without a directory nothing is kept.
class StoreRecords : public Records {
public:
  explicit StoreRecords(const std::string &directory);
  ~StoreRecords() override;

  std::optional<std::string> get(const std::string &key) override;
  void put(const std::string &key, const std::string &value) override;

private:
  heddle_context *context = nullptr; ///< null: no store
};

} // namespace heddle::autotune
