// A kernel ready to run on a problem's tensors: what run, bench and tune share.
#pragma once

#include "runtime/DeviceTensors.h"
#include "runtime/devices/cpu/Peak.h"
#include "tools/heddle/Problem.h"

#include <memory>
#include <string>
#include <vector>

namespace heddle::tool {

/// A loaded kernel, its tensors and its workspace.
struct Runnable {
  std::shared_ptr<const Kernel> kernel;
  std::vector<HostTensor> tensors;
  DeviceTensors onDevice;                 ///< the same where the kernel can reach them
  std::vector<ParameterValue> parameters; ///< views into the problem
  DeviceBuffer workspace;

  /// One launch, to its end; milliseconds it took, copies between host and device apart.
  Result<double> launch() const;
  /// Brings the results of the last launch to `tensors`.
  Status fetchResults() const;
};

/// Compiles or finds the kernel of the problem's request and makes its tensors. The problem must
/// outlive the result.
Result<Runnable> prepare(const Problem &problem, std::map<std::string, HostTensor> inputs,
                         uint64_t seed);

/// Useful work of the problem, as the compiler counts it.
struct WorkFigures {
  double pairs = 0, flops = 0, bytes = 0;
};
/// `explained` is the JSON object of CompilerPlugin::explain.
WorkFigures workOf(const nlohmann::json &explained);

/// The measured peak that the problem's arithmetic could reach here: bf16 dot products where inputs
/// are bf16 and the processor has them, else f32 multiply-adds; with the problem's threads.
Result<PeakRate> kernelPeak(const Problem &problem);

/// The fields that run, bench and tune all print: pattern, device, shape, dtype, threads, form,
/// schedule, jit_ms, cached.
nlohmann::json describe(const Problem &problem, const Kernel &kernel);

} // namespace heddle::tool
