// A file of the library compiled for a target, run on a device and compared with the interpreter.
#pragma once

#include "compiler/Compiler.h"
#include "compiler/Oracle.h"
#include "compiler/PluginSignature.h"
#include "compiler/targets/cuda/Build.h"
#include "ir/pattern/Parse.h"
#include "runtime/CudaFiles.h"
#include "runtime/DeviceTensors.h"
#include "runtime/Jit.h"
#include "tests/patterns/FormErrors.h"
#include "tests/patterns/Library.h"
#include "tests/support/Files.h"
#include "tests/support/Test.h"

#include <cstring>

namespace heddle::test {

struct Variant {
  const char *what;
  int64_t length;
  DType dtype;
  bool oneQuery = false;
  const char *form = "";                        ///< empty: the compiler's choice
  std::map<std::string, int64_t> dims = {};     ///< in place of the case's
  double slack = 1;                             ///< times the tolerance
  std::map<std::string, int64_t> schedule = {}; ///< one that does not fit is passed by
  bool matrixUnit = true;                       ///< false: code as for a processor that has none
};

/// A device's facts less the features of a matrix unit.
inline std::string withoutMatrixUnit(std::string facts) {
  for (const char *feature : {" amx_tile", " amx_bf16"})
    if (size_t at = facts.find(feature); at != std::string::npos)
      facts.erase(at, std::strlen(feature));
  return facts;
}

/// A pattern's text, parsed.
struct File {
  /// A pattern of the library.
  explicit File(const std::string &name) : File(name, libraryText(name)) {}
  File(const std::string &name, std::string given)
      : text(std::move(given)), context(pattern::makePatternContext()),
        parsed(pattern::parsePatterns(*context, text, name)) {
    std::string why;
    INFO(text << "\n" << parsed.str());
    REQUIRE(parsed.ok());
    def = pattern::findPattern(*parsed.module, name, why);
    REQUIRE(def);
    Result<Signature> read = compiler::signatureOf(def);
    INFO((read ? "" : read.error().toString()));
    REQUIRE(read.ok());
    signature = *read;
  }
  std::string text;
  std::unique_ptr<mlir::MLIRContext> context;
  pattern::Parsed parsed;
  pattern::DefOp def;
  Signature signature;
};

inline Request requestOf(const File &file, const Extents &extents,
                         const std::map<std::string, double> &params, DType dtype,
                         const Device &device, const std::string &target = "cpu") {
  Result<Request> request = file.signature.request(file.text, extents, dtype, params);
  INFO((request ? "" : request.error().toString()));
  REQUIRE(request.ok());
  request->target = target;
  if (target == "cpu") {
    request->machine = "host";
  } else if (Result<std::string> nvrtc = findNvrtc()) {
    request->nvrtc = *fileIdentity(*nvrtc);
    request->flags = compiler::cuda::kPtxOnly; // the PTX machine needs no cubin
  }
  request->deviceFacts = device.facts();
  return *request;
}

inline Request requestOf(const File &file, const Bound &bound, DType dtype, const Device &device,
                         const std::string &target = "cpu") {
  Extents extents(bound.bindings.dims.begin(), bound.bindings.dims.end());
  if (bound.problem.dims.contains("B"))
    extents["B"] = bound.problem.dim("B");
  return requestOf(file, extents, bound.problem.params, dtype, device, target);
}

/// Memory of the results, filled with NaN, by name.
inline std::map<std::string, std::vector<double>>
resultMemory(const File &file, const Bound &bound, std::vector<TensorView> &views, DType dtype) {
  std::map<std::string, std::vector<double>> memory;
  Extents extents(bound.problem.dims.begin(), bound.problem.dims.end());
  for (const Signature::Tensor &tensor : file.signature.tensors) {
    if (!tensor.isResult) {
      views.push_back(bound.bindings.tensors.at(tensor.name));
      continue;
    }
    auto shape = file.signature.shapeOf(tensor, extents, bound.problem.params);
    REQUIRE(shape.ok());
    TensorView view;
    view.dtype = file.signature.dtypeOf(tensor, dtype);
    view.rank = int(shape->size());
    int64_t elements = 1;
    for (int d = view.rank; d-- > 0;) {
      view.shape[d] = (*shape)[d];
      view.strides[d] = elements;
      elements *= (*shape)[d];
    }
    std::vector<double> &bytes = memory[tensor.name];
    bytes.assign(size_t(elements) + 1, std::nan(""));
    view.data = bytes.data();
    for (int64_t n = 0; n < elements; ++n)
      storeElement(view.dtype, view.data, n, std::nan(""));
    views.push_back(view);
  }
  return memory;
}

/// Compiles the file for `target`, runs it on the device and compares with the interpreter.
/// A form that the pattern has not is passed by. `errors`, if given, notes either.
inline void runVariant(const File &file, const Case &check, const Variant &variant,
                       const std::shared_ptr<Device> &device, const std::string &target = "cpu",
                       FormErrors *errors = nullptr) {
  INFO(target << ", " << variant.what << ", length " << variant.length);
  Bound bound;
  bindCase(bound, check, file.def, variant.length, variant.dtype, [&](Problem &problem) {
    if (variant.oneQuery)
      problem.dims["Tq"] = 1;
    for (const auto &[name, extent] : variant.dims)
      problem.dims[name] = extent;
  });
  Request request = requestOf(file, bound, variant.dtype, *device, target);
  request.form = variant.form;
  request.schedule = variant.schedule;
  if (!variant.matrixUnit)
    request.deviceFacts = withoutMatrixUnit(request.deviceFacts);
  Result<compiler::Choice> choice = compiler::choose(request);
  if (*variant.form && choice && choice->form.empty()) { // the pattern has no such form
    if (errors)
      errors->refused(check.pattern, variant.form,
                      choice->refused.empty() ? "" : choice->refused.front());
    return;
  }
  if (!variant.schedule.empty() && !choice) {
    request.schedule.clear();
    REQUIRE(compiler::choose(request).ok()); // it is the schedule alone that does not fit
    return;
  }
  Result<Artifact> artifact = compiler::compile(request);
  INFO((artifact ? "" : artifact.error().toString()));
  REQUIRE(artifact.ok());
  auto kernel = Kernel::load(*artifact, {}, device);
  INFO((kernel ? "" : kernel.error().toString()));
  REQUIRE(kernel.ok());
  std::vector<TensorView> views;
  auto memory = resultMemory(file, bound, views, variant.dtype);
  std::vector<ParameterValue> parameters;
  for (const Signature::Parameter &parameter : file.signature.parameters)
    if (auto value = bound.problem.params.find(parameter.name);
        value != bound.problem.params.end() && !parameter.isConstant)
      parameters.push_back({parameter.name, value->second});
  Result<int64_t> bytes = (*kernel)->workspaceBytes(views, parameters);
  INFO((bytes ? "" : bytes.error().toString()));
  REQUIRE(bytes.ok());
  Result<DeviceBuffer> workspace = DeviceBuffer::allocate(device, *bytes);
  Result<DeviceTensors> tensors = DeviceTensors::make(device, views);
  REQUIRE(workspace.ok());
  REQUIRE(tensors.ok());
  Status status =
      (*kernel)->launch(tensors->views(), parameters, {workspace->data(), workspace->size()});
  INFO((status ? "" : status.error().toString()));
  REQUIRE(status.ok());
  for (size_t n = 0; n < views.size(); ++n)
    if (file.signature.tensors[n].isResult)
      REQUIRE(tensors->copyBack(n).ok());

  compiler::OracleJob job;
  job.patternText = file.text;
  job.bindings = bound.bindings;
  job.dtype = variant.dtype;
  job.budget = 1e9; // results of maps cannot be sampled
  job.mostRows = 48;
  Result<compiler::Oracle> oracle = compiler::Oracle::make(job);
  INFO((oracle ? "" : oracle.error().toString()));
  REQUIRE(oracle.ok());
  std::map<std::string, TensorView> found;
  for (size_t n = 0; n < views.size(); ++n)
    if (file.signature.tensors[n].isResult)
      found[file.signature.tensors[n].name] = views[n];
  Result<compiler::OracleReport> report = oracle->compare(found);
  INFO((report ? report->toString() : report.error().toString()));
  REQUIRE(report.ok());
  if (variant.slack == 1)
    CHECK(report->passed);
  for (const compiler::OracleResult &result : report->results)
    CHECK(result.comparison.rms <= variant.slack * result.limit);
  if (errors && choice)
    for (const compiler::OracleResult &result : report->results)
      errors->found(check.pattern, choice->form, result.comparison.rms, result.limit);
}

} // namespace heddle::test
