// Runs a CUDA artifact on the PTX machine: the very PTX that NVRTC made, launched as the artifact
// says, compared with the interpreter.
#pragma once

#include "compiler/Compiler.h"
#include "compiler/Interpreter.h"
#include "compiler/Tolerance.h"
#include "compiler/targets/cuda/Build.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "runtime/Artifact.h"
#include "runtime/CudaFiles.h"
#include "runtime/devices/ptx/Machine.h"
#include "runtime/devices/ptx/TensorMap.h"
#include "tests/support/Files.h"
#include "tests/support/Test.h"

#include <fmt/format.h>

#include <cstring>
#include <random>

namespace heddle::test {

struct CudaProblem {
  std::string pattern; ///< file stem in patterns/
  std::map<std::string, int64_t> dims;
  DType dtype = DType::BF16;
  std::string target = "sm_80";
  std::map<std::string, int64_t> schedule = {};
  std::map<std::string, double> params = {};
  std::string form = "auto";
  std::string text = "";                                 ///< in place of the library's file
  std::map<std::string, double (*)(double)> inputs = {}; ///< of normal random numbers, by tensor

  std::string toString() const {
    std::string text = fmt::format("{} {} {} {}", pattern, form, heddle::toString(dtype), target);
    for (const auto &[name, value] : dims)
      text += fmt::format(" {}={}", name, value);
    for (const auto &[name, value] : schedule)
      text += fmt::format(" {}:{}", name, value);
    return text;
  }
};

/// "B=1,Tq=7,.." in one call; G follows from the heads.
inline std::map<std::string, int64_t> sizes(int64_t B, int64_t Hq, int64_t Hk, int64_t Tq,
                                            int64_t Tk, int64_t D, int64_t Dv) {
  return {{"B", B}, {"Hq", Hq}, {"Hk", Hk}, {"Tq", Tq}, {"Tk", Tk}, {"D", D}, {"Dv", Dv}};
}

inline Request requestOf(const CudaProblem &problem) {
  Request request;
  request.patternText = problem.text.empty() ? libraryText(problem.pattern) : problem.text;
  request.form = problem.form;
  for (const auto &[name, extent] : problem.dims)
    if (name == "D" || name == "Dv" || name == "K" || name == "V" || name == "N" || name == "R")
      request.dims[name] = extent;
    else
      request.extents[name] = ExtentClass::of(extent);
  if (problem.dims.contains("Hq") && problem.dims.contains("Hk"))
    request.dims["G"] = problem.dims.at("Hq") / problem.dims.at("Hk");
  request.dtypes["*"] = problem.dtype;
  request.schedule = problem.schedule;
  request.target = problem.target;
  if (Result<std::string> nvrtc = findNvrtc())
    if (Result<std::string> identity = fileIdentity(*nvrtc))
      request.nvrtc = *identity;
  return request;
}

/// One tensor on the host and on the machine.
struct CudaTensor {
  TensorInfo info;
  std::vector<int64_t> shape;
  std::vector<unsigned char> bytes;
  uint64_t address = 0;

  int64_t elements() const {
    int64_t product = 1;
    for (int64_t extent : shape)
      product *= extent;
    return product;
  }
  int64_t stride(int64_t dim) const {
    int64_t product = 1;
    for (size_t d = dim + 1; d < shape.size(); ++d)
      product *= shape[d];
    return product;
  }
  TensorView view() {
    TensorView view;
    view.data = bytes.data();
    view.dtype = info.dtype;
    view.rank = shape.size();
    for (size_t d = 0; d < shape.size(); ++d) {
      view.shape[d] = shape[d];
      view.strides[d] = stride(d);
    }
    return view;
  }
};

class PtxRun {
public:
  explicit PtxRun(const CudaProblem &problem) : problem(problem) {}

  /// Compiles, runs and compares; a mistake fails the running test with its message.
  void check() {
    INFO(problem.toString());
    prepare();
    launch();
    compare(interpret());
  }

  // The same in steps, so that a test may change tensors in between.

  void prepare() {
    Request request = requestOf(problem);
    request.flags = compiler::cuda::kPtxOnly; // the machine needs no cubin
    Result<Artifact> compiled = compiler::compile(request);
    INFO((compiled ? "" : compiled.error().toString()));
    REQUIRE(compiled.ok());
    artifact = *compiled;
    makeTensors();
  }
  void launch() {
    Status ran = run();
    INFO((ran ? "" : ran.error().toString()));
    REQUIRE(ran.ok());
  }
  /// What the interpreter makes of the inputs.
  compiler::Outputs interpret() {
    auto context = pattern::makePatternContext();
    pattern::Parsed parsed = pattern::parsePatterns(*context, requestOf(problem).patternText, "");
    std::string why;
    pattern::DefOp def = pattern::findPattern(*parsed.module, "", why);
    compiler::Bindings bindings;
    for (CudaTensor &tensor : tensors)
      if (!tensor.info.isResult)
        bindings.tensors[tensor.info.name] = tensor.view();
    bindings.params = problem.params;
    Result<compiler::Outputs> expected = compiler::interpret(def, bindings);
    INFO((expected ? "" : expected.error().toString()));
    REQUIRE(expected.ok());
    return *expected;
  }
  CudaTensor &tensor(const std::string &name) {
    for (CudaTensor &tensor : tensors)
      if (tensor.info.name == name)
        return tensor;
    FAIL("found no tensor " << name);
    return tensors.front();
  }
  std::vector<CudaTensor> tensors;
  uint64_t instructions = 0;                  ///< that the warps of all launches executed
  ptx::CopyTime copies = ptx::CopyTime::Late; ///< when asynchronous copies take effect
  uint64_t seed = 1;                          ///< of CopyTime::Random
  Artifact artifact;

private:
  double scalarValue(const ScalarInfo &info) {
    if (auto found = problem.dims.find(info.name); found != problem.dims.end())
      return double(found->second);
    auto found = problem.params.find(info.name);
    return found == problem.params.end() ? info.defaultValue : found->second;
  }

  void makeTensors() {
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    for (const TensorInfo &info : artifact.tensors) {
      CudaTensor tensor{info, {}, {}, 0};
      for (const std::string &dim : info.shape)
        tensor.shape.push_back(problem.dims.contains(dim) ? problem.dims.at(dim) : std::stoll(dim));
      tensor.bytes.resize(std::max<int64_t>(tensor.elements(), 1) * sizeOf(info.dtype));
      const auto found = problem.inputs.find(info.name);
      for (int64_t n = 0; n < tensor.elements() && !info.isResult; ++n) {
        const double x = normal(random);
        storeElement(info.dtype, tensor.bytes.data(), n,
                     found == problem.inputs.end() ? x : found->second(x));
      }
      tensors.push_back(std::move(tensor));
    }
  }

  Result<ptx::TensorMapImage> imageOf(const TensorMapInfo &info) {
    const CudaTensor &tensor = tensors[info.tensor];
    if (tensor.elements() == 0)
      return ptx::TensorMapImage{};
    ptx::TensorMap map;
    map.type = tensor.info.dtype == DType::F16 ? 6 : 9;
    map.rank = info.dims.size();
    map.address = tensor.address;
    while (int64_t(16) << int(map.swizzle) < info.swizzleBytes)
      map.swizzle = ptx::Swizzle(int(map.swizzle) + 1);
    for (size_t d = 0; d < info.dims.size(); ++d) {
      const TensorMapInfo::Dim &dim = info.dims[d];
      map.dims[d] = dim.dim < 0 ? dim.extent : tensor.shape[dim.dim];
      map.strides[d] = 2 * (dim.dim < 0 ? dim.stride : tensor.stride(dim.dim));
      map.box[d] = dim.box;
    }
    return ptx::encodeTensorMap(map);
  }

public:
  /// As launch, but hands on what went wrong.
  Status run() {
    ptx::Machine machine;
    HEDDLE_TRY(module, machine.load(artifact.sources.at("ptx"), "kernel.ptx"));
    std::vector<int64_t> scalars;
    for (const ScalarInfo &info : artifact.scalars)
      scalars.push_back(int64_t(scalarValue(info)));
    for (CudaTensor &tensor : tensors) {
      HEDDLE_TRY(buffer, machine.memory.allocate(tensor.bytes.size(), tensor.info.name));
      tensor.address = buffer->address;
      HEDDLE_CHECK(machine.memory.write(tensor.address, std::as_bytes(std::span(tensor.bytes))));
    }
    std::vector<uint64_t> workspace;
    for (const Formula &bytes : artifact.workspaceBytes) {
      HEDDLE_TRY(size, bytes.evaluate(scalars));
      HEDDLE_TRY(buffer, machine.memory.allocate(std::max<int64_t>(size, 1), "workspace"));
      workspace.push_back(buffer->address);
    }
    std::vector<std::byte> block(artifact.blockBytes);
    for (const Argument &argument : artifact.arguments) {
      const auto put = [&](auto value) { std::memcpy(block.data() + argument.offset, &value, 8); };
      if (argument.kind == Argument::ScalarValue) {
        const ScalarInfo &info = artifact.scalars[argument.index];
        if (info.kind == ScalarInfo::FloatParameter)
          put(scalarValue(info));
        else
          put(scalars[argument.index]);
      } else if (argument.kind == Argument::TensorPointer) {
        put(tensors[argument.index].address);
      } else if (argument.kind == Argument::TensorStride) {
        put(tensors[argument.index].stride(argument.dim));
      } else if (argument.kind == Argument::TensorMap) {
        HEDDLE_TRY(image, imageOf(artifact.tensorMaps[argument.index]));
        std::memcpy(block.data() + argument.offset, image.data(), image.size());
      } else {
        put(workspace[argument.index]);
      }
    }
    for (const Launch &launch : artifact.launches) {
      HEDDLE_TRY(program, module->kernel(launch.entry));
      ptx::LaunchConfig config;
      for (int axis = 0; axis < 3; ++axis) {
        HEDDLE_TRY(extent, launch.grid[axis].evaluate(scalars));
        config.grid[axis] = extent;
        config.block[axis] = launch.block[axis];
      }
      HEDDLE_TRY(shared, launch.sharedBytes.evaluate(scalars));
      config.sharedBytes = shared;
      config.params = block;
      if (config.grid[0] == 0)
        continue;
      ptx::LaunchOptions options;
      options.copies = copies;
      options.seed = seed;
      options.check = true;
      HEDDLE_TRY(report, machine.launch(*program, config, options));
      instructions += report.warpInstructions;
      if (std::string verdict = report.verdict(); verdict != "clean")
        return Error{ErrorCode::CheckFailed,
                     fmt::format("{}: {}", verdict,
                                 report.findings.empty() ? report.unmodelled[0]
                                                         : report.findings[0].toString())};
    }
    for (CudaTensor &tensor : tensors)
      if (tensor.info.isResult)
        HEDDLE_CHECK(
            machine.memory.read(tensor.address, std::as_writable_bytes(std::span(tensor.bytes))));
    return {};
  }

  void compare(const compiler::Outputs &expected) {
    compiler::Arithmetic arithmetic = compiler::arithmeticOf(problem.dtype);
    for (CudaTensor &tensor : tensors) {
      if (!tensor.info.isResult)
        continue;
      const compiler::Output *output = expected.find(tensor.info.name);
      std::vector<double> found(output->values.size());
      for (size_t e = 0; e < found.size(); ++e)
        found[e] = loadElement(tensor.info.dtype, tensor.bytes.data(), int64_t(e));
      compiler::Comparison result =
          output->name == "lse"
              ? compiler::compareLse(found.data(), output->values.data(), int64_t(found.size()),
                                     compiler::lseLimit(arithmetic))
              : compiler::compareValues(found.data(), output->values.data(), int64_t(found.size()),
                                        compiler::rmsLimit(arithmetic));
      INFO("result " << output->name << " maxAbs " << result.maxAbs << " rms " << result.rms
                     << " worst " << result.worst);
      REQUIRE(result.pass);
    }
  }

private:
  const CudaProblem &problem;
};

inline void checkOnPtxMachine(const CudaProblem &problem) { PtxRun(problem).check(); }

} // namespace heddle::test
