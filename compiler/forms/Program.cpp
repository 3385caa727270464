// Declares the scalars and tensors of a pattern in a tile.program, in the order of the call.
//
//   seq<Tq x Hq x D>, D = 128  ->  tile.tensor "q" : bf16[B, Tq, Hq, 128]
#include "compiler/forms/Program.h"

namespace heddle::compiler {

using namespace mlir;

ProgramWriter::ProgramWriter(const MixProblem &problem)
    : module(ModuleOp::create(UnknownLoc::get(problem.context))), builder(problem.context),
      location(UnknownLoc::get(problem.context)) {
  builder.setInsertionPointToEnd(module->getBody());
  pattern::MixOp mix = problem.mix;
  auto def = mix->getParentOfType<pattern::DefOp>();
  auto program = tile::ProgramOp::create(builder, location, def.getSymName());
  if (program.getBody().empty())
    program.getBody().emplaceBlock();
  builder.setInsertionPointToEnd(&program.getBody().front());
  declareScalars(problem);
  declareTensors(problem);
}

void ProgramWriter::declareScalars(const MixProblem &problem) {
  // Query heads come in groups, so that a tile of one group lies inside.
  for (const std::string &name : problem.extents) {
    bool grouped = name == problem.Hq.name && problem.G > 1;
    IntegerAttr multiple = grouped ? builder.getI64IntegerAttr(problem.G) : IntegerAttr();
    tile::ExtentOp::create(builder, location, builder.getStringAttr(name), multiple);
  }
  for (const ProblemParam &param : problem.params) {
    TypedAttr value = builder.getI64IntegerAttr(int64_t(param.value));
    if (!param.integer)
      value = builder.getF64FloatAttr(param.value);
    tile::ParamOp::create(builder, location, builder.getStringAttr(param.name), value);
  }
}

void ProgramWriter::declareTensors(const MixProblem &problem) {
  for (const ProblemTensor &tensor : problem.tensors) {
    llvm::SmallVector<Attribute> shape;
    for (const Extent &extent : tensor.shape)
      shape.push_back(formula(extent));
    tile::TensorOp::create(builder, location, builder.getStringAttr(tensor.name),
                           tensor.isResult ? builder.getUnitAttr() : UnitAttr(),
                           TypeAttr::get(tensor.element), builder.getArrayAttr(shape));
  }
}

tile::FormulaAttr ProgramWriter::formula(const Extent &extent) {
  MLIRContext *context = builder.getContext();
  return extent.fixed ? tile::FormulaAttr::constant(context, *extent.fixed)
                      : tile::FormulaAttr::scalar(context, extent.name);
}

tile::FormulaAttr ProgramWriter::ratio(const Extent &extent, int64_t divisor) {
  return tile::FormulaAttr::binary(tile::FormulaOp::CeilDiv, formula(extent),
                                   tile::FormulaAttr::constant(builder.getContext(), divisor));
}

void ProgramWriter::buffer(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> shape) {
  llvm::SmallVector<Attribute> extents(shape.begin(), shape.end());
  tile::BufferOp::create(builder, location, builder.getStringAttr(name),
                         TypeAttr::get(builder.getF32Type()), builder.getArrayAttr(extents));
}

tile::KernelOp ProgramWriter::kernel(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> grid,
                                     llvm::ArrayRef<bool> descending) {
  return tile::KernelOp::create(builder, location, name, grid, descending);
}

} // namespace heddle::compiler
