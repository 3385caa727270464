// Compiles a program in tile IR text for one instruction set and runs it on this machine: the CPU
// target without the rest of the compiler.
#pragma once

#include "compiler/passes/cpu/CpuPasses.h"
#include "compiler/targets/cpu/TileToVector.h"
#include "ir/pattern/PatternDialect.h"
#include "runtime/DType.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>

#include "CpuSupport.h"

namespace heddle::compiler::cpu {

/// A tensor of a run, dense or with given strides.
struct RunTensor {
  void *data = nullptr;
  std::vector<int64_t> strides; ///< in elements
};

class CpuKernel {
public:
  /// Throws with the compiler's message on any failure.
  CpuKernel(const std::string &text, const Isa &isa, Blocking blocking = {}) {
    using namespace mlir;
    MLIRContext context(MLIRContext::Threading::DISABLED);
    context.loadDialect<tile::TileDialect, pattern::PatternDialect, arith::ArithDialect,
                        math::MathDialect, scf::SCFDialect, func::FuncDialect,
                        vector::VectorDialect, LLVM::LLVMDialect>();
    std::string message;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      message += diagnostic.str() + "\n";
      return success();
    });
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
    if (!module)
      throw std::runtime_error("parse: " + message);
    PassManager passes(&context);
    CpuLayoutOptions options{isa.lanes(), isa.bf16Dot, 1 << 20, isa.amx};
    OpPassManager &kernels = passes.nest<tile::ProgramOp>().nest<tile::KernelOp>();
    kernels.addPass(createAssignLayoutsPass(options));
    kernels.addPass(createPlaceMemoryPass());
    kernels.addPass(createVerifyBudgetPass(options));
    if (failed(passes.run(*module)))
      throw std::runtime_error("layouts: " + message);
    tile::ProgramOp program = *module->getOps<tile::ProgramOp>().begin();
    describe(program);
    concrete = print(*module);
    Result<OwningOpRef<ModuleOp>> vectors =
        lowerTileToVector(program, artifact, isa, blocking, scratchBytes);
    if (!vectors.ok())
      throw std::runtime_error("vector: " + vectors.error().toString());
    vectorText = print(**vectors);
    if (getenv("HEDDLE_TEST_ASM")) {
      OwningOpRef<ModuleOp> copy(cast<ModuleOp>((*vectors)->clone()));
      std::ofstream(getenv("HEDDLE_TEST_ASM")) << *printNative(*copy, isa, NativeText::Assembly);
    }
    Result<std::vector<std::string>> objects = emitObjects(**vectors, isa);
    if (!objects.ok())
      throw std::runtime_error("native: " + objects.error().toString() + message);
    Result<std::string> linked = linkSharedObject(*objects);
    if (!linked.ok())
      throw std::runtime_error("link: " + linked.error().toString());
    image = std::make_unique<LoadedImage>(*linked);
    for (tile::KernelOp kernel : program.getBody().getOps<tile::KernelOp>()) {
      names.push_back(kernel.getSymName().str());
      std::vector<tile::FormulaAttr> grid;
      std::vector<Formula> formulas;
      for (Attribute formula : kernel.getGrid())
        formulas.push_back(convert(cast<tile::FormulaAttr>(formula)));
      grids.push_back(formulas);
    }
  }

  /// Runs all kernels in order over their whole grids. Workspace buffers are allocated here.
  void run(const std::map<std::string, double> &scalars,
           const std::map<std::string, RunTensor> &tensors) const {
    std::vector<int64_t> values;
    for (const ScalarInfo &info : artifact.scalars)
      values.push_back(scalars.count(info.name) ? scalars.at(info.name) : info.defaultValue);
    std::vector<char> block(artifact.blockBytes);
    std::vector<std::vector<char>> buffers;
    for (const Formula &bytes : artifact.workspaceBytes)
      buffers.emplace_back(*bytes.evaluate(values));
    for (const Argument &argument : artifact.arguments) {
      char *place = block.data() + argument.offset;
      auto put = [&](auto value) { std::memcpy(place, &value, 8); };
      if (argument.kind == Argument::ScalarValue) {
        const ScalarInfo &info = artifact.scalars[argument.index];
        if (info.kind == ScalarInfo::FloatParameter)
          put(scalars.count(info.name) ? scalars.at(info.name) : info.defaultValue);
        else
          put(values[argument.index]);
      } else if (argument.kind == Argument::WorkspacePointer) {
        put(buffers[argument.index].data());
      } else {
        const RunTensor &tensor = tensors.at(artifact.tensors[argument.index].name);
        if (argument.kind == Argument::TensorPointer)
          put(tensor.data);
        else
          put(tensor.strides[argument.dim]);
      }
    }
    for (size_t n = 0; n < names.size(); ++n) {
      int64_t points = 1;
      for (const Formula &extent : grids[n])
        points *= *extent.evaluate(values);
      std::unique_ptr<char, decltype(&free)> scratch(
          static_cast<char *>(aligned_alloc(64, (scratchBytes[n] + 4096) / 64 * 64)), &free);
      std::memset(scratch.get(), 0x41, scratchBytes[n]); // what was not written is seen
      image->symbol<void (*)(const void *, int64_t, int64_t, void *)>(names[n].c_str())(
          block.data(), 0, points, scratch.get());
    }
  }

  std::string concrete, vectorText; ///< stations, for looking at

private:
  template <typename Op> static std::string print(Op op) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    op->print(stream);
    return text;
  }

  Formula convert(tile::FormulaAttr formula) {
    Formula result;
    for (const tile::FormulaStep &step : formula.getSteps()) {
      Formula::Step out{static_cast<Formula::Op>(step.op), step.value};
      for (size_t n = 0; step.name && n < artifact.scalars.size(); ++n)
        if (artifact.scalars[n].name == step.name.getValue())
          out.value = n;
      result.steps.push_back(out);
    }
    return result;
  }

  /// Scalars, tensors, workspace and the argument table of a program.
  void describe(tile::ProgramOp program) {
    auto add = [&](Argument::Kind kind, int32_t index, int32_t dim) {
      artifact.arguments.push_back({kind, index, dim, artifact.blockBytes});
      artifact.blockBytes += 8;
    };
    for (mlir::Operation &op : program.getBody().front()) {
      if (auto extent = mlir::dyn_cast<tile::ExtentOp>(op))
        artifact.scalars.push_back({extent.getName().str(), ScalarInfo::Extent, 0});
      if (auto param = mlir::dyn_cast<tile::ParamOp>(op)) {
        auto number = mlir::dyn_cast<mlir::FloatAttr>(param.getValue());
        artifact.scalars.push_back(
            {param.getName().str(), number ? ScalarInfo::FloatParameter : ScalarInfo::IntParameter,
             number ? number.getValueAsDouble()
                    : mlir::cast<mlir::IntegerAttr>(param.getValue()).getInt()});
      }
    }
    for (size_t n = 0; n < artifact.scalars.size(); ++n)
      add(Argument::ScalarValue, n, 0);
    for (mlir::Operation &op : program.getBody().front()) {
      if (auto tensor = mlir::dyn_cast<tile::TensorOp>(op)) {
        int32_t index = artifact.tensors.size();
        TensorInfo info;
        info.name = tensor.getName().str();
        artifact.tensors.push_back(info);
        add(Argument::TensorPointer, index, 0);
        for (size_t dim = 0; dim < tensor.getShape().size(); ++dim)
          add(Argument::TensorStride, index, dim);
      }
      if (auto buffer = mlir::dyn_cast<tile::BufferOp>(op)) {
        Formula bytes = Formula::constant(buffer.getElementType().getIntOrFloatBitWidth() / 8);
        for (mlir::Attribute extent : buffer.getShape()) {
          Formula one = convert(mlir::cast<tile::FormulaAttr>(extent));
          bytes.steps.insert(bytes.steps.end(), one.steps.begin(), one.steps.end());
          bytes.steps.push_back({Formula::Mul});
        }
        add(Argument::WorkspacePointer, artifact.workspaceBytes.size(), 0);
        artifact.workspaceBytes.push_back(bytes);
      }
    }
  }

  Artifact artifact;
  std::unique_ptr<LoadedImage> image;
  std::vector<std::string> names;
  std::vector<std::vector<Formula>> grids;
  std::vector<int64_t> scratchBytes;
};

} // namespace heddle::compiler::cpu
