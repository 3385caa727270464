#include "tools/heddle/Kernels.h"

#include <chrono>

namespace heddle::tool {

Result<double> Runnable::launch() const {
  auto start = std::chrono::steady_clock::now();
  HEDDLE_CHECK(kernel->launch(onDevice.views(), parameters, {workspace.data(), workspace.size()}));
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

Status Runnable::fetchResults() const {
  for (size_t n = 0; n < tensors.size(); ++n)
    if (kernel->artifact().tensors[n].isResult)
      HEDDLE_CHECK(onDevice.copyBack(n));
  return {};
}

Result<Runnable> prepare(const Problem &problem, std::map<std::string, HostTensor> inputs,
                         uint64_t seed) {
  Runnable runnable;
  HEDDLE_TRY(tensors, makeTensors(problem, std::move(inputs), seed));
  runnable.tensors = std::move(tensors);
  const std::vector<TensorView> views = viewsOf(runnable.tensors);
  runnable.parameters = problem.launchParameters();
  HEDDLE_TRY(kernel, problem.context->kernel(problem.request));
  runnable.kernel = std::move(kernel);
  HEDDLE_TRY(bytes, runnable.kernel->workspaceBytes(views, runnable.parameters));
  const std::shared_ptr<Device> device = problem.context->sharedDevice();
  if (!device->usesHostMemory()) // else the launch does
    HEDDLE_CHECK(runnable.kernel->checkValuesOf(views));
  HEDDLE_TRY(workspace, DeviceBuffer::allocate(device, bytes));
  HEDDLE_TRY(onDevice, DeviceTensors::make(device, views));
  runnable.workspace = std::move(workspace);
  runnable.onDevice = std::move(onDevice);
  return runnable;
}

WorkFigures workOf(const nlohmann::json &explained) {
  return {explained.value("pairs", 0.0), explained.value("flops", 0.0),
          explained.value("bytes", 0.0)};
}

Result<PeakRate> kernelPeak(const Problem &problem) {
  PeakOptions options;
  options.threads = problem.threads();
  if (problem.dtype == DType::BF16) {
    Result<PeakRate> dot = measurePeak(PeakKind::Bf16Dot, options);
    if (dot.ok())
      return dot;
  }
  return measurePeak(PeakKind::Fma32, options);
}

nlohmann::json describe(const Problem &problem, const Kernel &kernel) {
  const Artifact &artifact = kernel.artifact();
  const KernelOrigin &origin = kernel.origin();
  return {{"pattern", problem.pattern.name},
          {"device", problem.context->device().name()},
          {"shape", problem.extents},
          {"dtype", problem.dtypeName()},
          {"threads", problem.threads()},
          {"form", artifact.form},
          {"schedule", artifact.schedule},
          {"tuned", origin.tuned},
          {"jit_ms", origin.compileMs},
          {"load_ms", origin.loadMs},
          {"cached", origin.source != KernelOrigin::Compiled},
          {"key", origin.key}};
}

} // namespace heddle::tool
