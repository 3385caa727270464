// Reads scalars, tensors, buffers and kernels of a tile.program into an Artifact.
//
//   tile.kernel @attn grid(%qt = ceildiv(Tq, 64) desc, ..)  ->  launch attn, grid Tq 64 ceildiv, ..
#include "compiler/ArtifactFrame.h"

#include "compiler/ElementTypes.h"

#include <cassert>

namespace heddle::compiler {

using namespace mlir;

namespace {

Formula::Op opOf(tile::FormulaOp op) {
  switch (op) {
  case tile::FormulaOp::Constant:
    return Formula::Constant;
  case tile::FormulaOp::Scalar:
    return Formula::Scalar;
  case tile::FormulaOp::Add:
    return Formula::Add;
  case tile::FormulaOp::Sub:
    return Formula::Sub;
  case tile::FormulaOp::Mul:
    return Formula::Mul;
  case tile::FormulaOp::CeilDiv:
    return Formula::CeilDiv;
  case tile::FormulaOp::FloorDiv:
    return Formula::FloorDiv;
  case tile::FormulaOp::Min:
    return Formula::Min;
  case tile::FormulaOp::Max:
    return Formula::Max;
  }
  return Formula::Constant;
}

class FrameWriter {
public:
  explicit FrameWriter(tile::ProgramOp program) : program(program) {}

  Artifact run() {
    artifact.name = program.getSymName().str();
    Block &body = program.getBody().front();
    for (Operation &op : body)
      addScalar(op);
    for (auto tensor : body.getOps<tile::TensorOp>())
      addTensor(tensor);
    for (auto buffer : body.getOps<tile::BufferOp>())
      addBuffer(buffer);
    for (auto kernel : body.getOps<tile::KernelOp>())
      addLaunch(kernel);
    addArguments();
    return std::move(artifact);
  }

private:
  void addScalar(Operation &op) {
    if (auto extent = dyn_cast<tile::ExtentOp>(op)) {
      artifact.scalars.push_back({extent.getName().str(), ScalarInfo::Extent, 0});
    } else if (auto param = dyn_cast<tile::ParamOp>(op)) {
      bool integer = isa<IntegerAttr>(param.getValue());
      double value = integer ? double(cast<IntegerAttr>(param.getValue()).getInt())
                             : cast<FloatAttr>(param.getValue()).getValueAsDouble();
      artifact.scalars.push_back({param.getName().str(),
                                  integer ? ScalarInfo::IntParameter : ScalarInfo::FloatParameter,
                                  value});
    }
  }

  void addTensor(tile::TensorOp tensor) {
    TensorInfo info;
    info.name = tensor.getName().str();
    std::optional<DType> dtype = dtypeOf(tensor.getElementType());
    assert(dtype && "the verifier of tile.tensor knows the element types");
    info.dtype = *dtype;
    info.isResult = tensor.getResult();
    for (auto extent : tensor.getShape().getAsRange<tile::FormulaAttr>()) {
      std::optional<int64_t> fixed = extent.asConstant();
      info.shape.push_back(fixed ? std::to_string(*fixed) : extent.asScalar()->str());
    }
    artifact.tensors.push_back(std::move(info));
  }

  void addBuffer(tile::BufferOp buffer) {
    Formula bytes = Formula::constant(buffer.getElementType().getIntOrFloatBitWidth() / 8);
    for (auto extent : buffer.getShape().getAsRange<tile::FormulaAttr>()) {
      Formula factor = formula(extent);
      bytes.steps.insert(bytes.steps.end(), factor.steps.begin(), factor.steps.end());
      bytes.steps.push_back({Formula::Mul, 0});
    }
    artifact.workspaceBytes.push_back(std::move(bytes));
  }

  void addLaunch(tile::KernelOp kernel) {
    Launch launch;
    launch.entry = kernel.getSymName().str();
    for (Formula &extent : launch.grid)
      extent = Formula::constant(1);
    for (auto [n, extent] : llvm::enumerate(kernel.getGrid().getAsRange<tile::FormulaAttr>()))
      launch.grid[n] = formula(extent);
    launch.longestFirst = kernel.getDescending()[0];
    if (kernel.getRepeat())
      launch.repeat = formula(*kernel.getRepeat());
    launch.sharedBytes = Formula::constant(0);
    artifact.launches.push_back(std::move(launch));
  }

  Formula formula(tile::FormulaAttr attr) {
    Formula result;
    for (const tile::FormulaStep &step : attr.getSteps()) {
      int64_t value = step.value;
      if (step.op == tile::FormulaOp::Scalar)
        value = scalarIndex(step.name.getValue());
      result.steps.push_back({opOf(step.op), value});
    }
    return result;
  }

  int64_t scalarIndex(llvm::StringRef name) {
    auto found =
        llvm::find_if(artifact.scalars, [&](const ScalarInfo &s) { return name == s.name; });
    assert(found != artifact.scalars.end() && "a verified program declares its scalars");
    return found - artifact.scalars.begin();
  }

  void addArguments() {
    auto add = [&](Argument::Kind kind, int64_t index, int64_t dim = 0) {
      artifact.arguments.push_back({kind, int32_t(index), int32_t(dim), artifact.blockBytes});
      artifact.blockBytes += 8;
    };
    for (size_t n = 0; n < artifact.scalars.size(); ++n)
      add(Argument::ScalarValue, n);
    for (size_t n = 0; n < artifact.tensors.size(); ++n) {
      add(Argument::TensorPointer, n);
      for (size_t dim = 0; dim + 1 < artifact.tensors[n].shape.size(); ++dim)
        add(Argument::TensorStride, n, dim);
    }
    for (size_t n = 0; n < artifact.workspaceBytes.size(); ++n)
      add(Argument::WorkspacePointer, n);
  }

  tile::ProgramOp program;
  Artifact artifact;
};

} // namespace

Artifact frameOf(tile::ProgramOp program) { return FrameWriter(program).run(); }

} // namespace heddle::compiler
