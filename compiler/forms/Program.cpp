// Declares the scalars and tensors of a pattern in a tile.program, in the order of the call.
//
//   seq<Tq x Hq x D>, D = 128  ->  tile.tensor "q" : bf16[B, Tq, Hq, 128]
#include "compiler/forms/Program.h"

#include <fmt/format.h>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

namespace {

std::optional<tile::FormulaOp> formulaOp(Expr expr) {
  switch (expr.getKind()) {
  case ExprKind::Add:
    return tile::FormulaOp::Add;
  case ExprKind::Sub:
    return tile::FormulaOp::Sub;
  case ExprKind::Mul:
    return tile::FormulaOp::Mul;
  case ExprKind::FloorDiv:
    return tile::FormulaOp::FloorDiv;
  case ExprKind::Call:
    if (expr.size() != 2)
      return std::nullopt;
    if (expr.getName() == "cdiv")
      return tile::FormulaOp::CeilDiv;
    if (expr.getName() == "min")
      return tile::FormulaOp::Min;
    if (expr.getName() == "max")
      return tile::FormulaOp::Max;
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

/// Null where the expression is more than a formula of integer scalars.
tile::FormulaAttr formulaOf(Expr expr) {
  if (expr.is(ExprKind::Integer))
    return tile::FormulaAttr::constant(expr.getContext(), expr.integer());
  if (expr.is(ExprKind::Dim) || expr.is(ExprKind::Param))
    return tile::FormulaAttr::scalar(expr.getContext(), expr.getName());
  std::optional<tile::FormulaOp> op = formulaOp(expr);
  if (!op)
    return {};
  tile::FormulaAttr left = formulaOf(expr[0]), right = formulaOf(expr[1]);
  return left && right ? tile::FormulaAttr::binary(*op, left, right) : tile::FormulaAttr();
}

} // namespace

std::string refuseExtent(const PatternProblem &problem, const Extent &extent) {
  Expr length = problem.lengthExpr(extent);
  if (formulaOf(length))
    return "";
  return fmt::format("extent {} of a workspace tensor uses more than + - * div cdiv min max",
                     length.str());
}

ProgramWriter::ProgramWriter(const PatternProblem &problem, llvm::StringRef name,
                             llvm::StringRef groupedHeads, int64_t group)
    : module(ModuleOp::create(UnknownLoc::get(problem.context))), builder(problem.context),
      location(UnknownLoc::get(problem.context)) {
  builder.setInsertionPointToEnd(module->getBody());
  auto program = tile::ProgramOp::create(builder, location, name);
  if (program.getBody().empty())
    program.getBody().emplaceBlock();
  builder.setInsertionPointToEnd(&program.getBody().front());
  // Query heads come in groups, so that a tile of one group lies inside.
  for (const std::string &extent : problem.extents) {
    bool grouped = extent == groupedHeads && group > 1;
    IntegerAttr multiple = grouped ? builder.getI64IntegerAttr(group) : IntegerAttr();
    tile::ExtentOp::create(builder, location, builder.getStringAttr(extent), multiple);
  }
  for (const ProblemParam &param : problem.params) {
    TypedAttr value = builder.getI64IntegerAttr(int64_t(param.value));
    if (!param.integer)
      value = builder.getF64FloatAttr(param.value);
    tile::ParamOp::create(builder, location, builder.getStringAttr(param.name), value);
  }
  declareTensors(problem);
}

void ProgramWriter::declareTensors(const PatternProblem &problem) {
  for (const ProblemTensor &tensor : problem.tensors) {
    llvm::SmallVector<Attribute> shape;
    for (const Extent &extent : tensor.shape)
      shape.push_back(formula(extent));
    auto name = builder.getStringAttr(tensor.name);
    if (tensor.isBuffer)
      tile::BufferOp::create(builder, location, name, TypeAttr::get(tensor.element),
                             builder.getArrayAttr(shape));
    else
      tile::TensorOp::create(builder, location, name,
                             tensor.isResult ? builder.getUnitAttr() : UnitAttr(),
                             TypeAttr::get(tensor.element), builder.getArrayAttr(shape));
  }
}

tile::FormulaAttr ProgramWriter::formula(const Extent &extent) {
  MLIRContext *context = builder.getContext();
  if (extent.formula)
    return formulaOf(extent.formula);
  return extent.fixed ? tile::FormulaAttr::constant(context, *extent.fixed)
                      : tile::FormulaAttr::scalar(context, extent.name);
}

tile::FormulaAttr ProgramWriter::ratio(const Extent &extent, int64_t divisor) {
  return tile::FormulaAttr::binary(tile::FormulaOp::CeilDiv, formula(extent),
                                   tile::FormulaAttr::constant(builder.getContext(), divisor));
}

tile::FormulaAttr ProgramWriter::product(tile::FormulaAttr x, tile::FormulaAttr y) {
  return tile::FormulaAttr::binary(tile::FormulaOp::Mul, x, y);
}

tile::FormulaAttr ProgramWriter::atLeast(const Extent &extent, int64_t limit) {
  auto constant = [&](int64_t value) {
    return tile::FormulaAttr::constant(builder.getContext(), value);
  };
  tile::FormulaAttr times =
      tile::FormulaAttr::binary(tile::FormulaOp::FloorDiv, formula(extent), constant(limit));
  return tile::FormulaAttr::binary(tile::FormulaOp::Min, constant(1), times);
}

tile::FormulaAttr ProgramWriter::negated(tile::FormulaAttr flag) {
  return tile::FormulaAttr::binary(tile::FormulaOp::Sub,
                                   tile::FormulaAttr::constant(builder.getContext(), 1), flag);
}

void ProgramWriter::buffer(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> shape) {
  llvm::SmallVector<Attribute> extents(shape.begin(), shape.end());
  tile::BufferOp::create(builder, location, builder.getStringAttr(name),
                         TypeAttr::get(builder.getF32Type()), builder.getArrayAttr(extents));
}

tile::KernelOp ProgramWriter::kernel(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> grid,
                                     llvm::ArrayRef<bool> descending, llvm::StringRef why) {
  auto kernel = tile::KernelOp::create(builder, location, name, grid, descending);
  kernel->setAttr("why", builder.getStringAttr(why));
  return kernel;
}

} // namespace heddle::compiler
