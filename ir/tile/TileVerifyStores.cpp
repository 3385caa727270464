// Rule of stores: along each grid dimension some index of the store moves far enough.
//   offset 16 * %i of a tile of 16 rows: disjoint      of 32 rows: overlaps      %h / 4: neighbours
//   meet
// What the analysis cannot follow it lets pass; the walker checks every element it runs.
#include "ir/tile/TileVerify.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace heddle::tile {
namespace {

/// How an index depends on one grid index.
struct Dependence {
  enum Kind {
    None,    ///< not at all
    Linear,  ///< step * grid index + something that does not depend on it
    Divided, ///< only through a quotient by a constant: neighbours give the same value
    Other    ///< in a way this analysis does not follow; taken to be injective
  };
  Kind kind = None;
  int64_t step = 0;
};

std::optional<int64_t> constantOf(Value value) {
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  return std::nullopt;
}

Dependence dependenceOn(Value value, BlockArgument grid) {
  if (value == grid)
    return {Dependence::Linear, 1};
  Operation *op = value.getDefiningOp();
  if (!op) {
    // A loop index starts at its bounds.
    BlockArgument argument = cast<BlockArgument>(value);
    ForOp loop = dyn_cast_or_null<ForOp>(argument.getOwner()->getParentOp());
    if (!loop || argument.getArgNumber() != 0)
      return {};
    for (Value bound : loop.getBounds())
      if (dependenceOn(bound, grid).kind != Dependence::None)
        return {Dependence::Other};
    return {};
  }
  if (op->getNumOperands() != 2 || !isScalarOp(op)) {
    for (Value operand : op->getOperands())
      if (dependenceOn(operand, grid).kind != Dependence::None)
        return {Dependence::Other};
    return {};
  }
  Dependence a = dependenceOn(op->getOperand(0), grid), b = dependenceOn(op->getOperand(1), grid);
  if (a.kind == Dependence::None && b.kind == Dependence::None)
    return {};
  if (isa<arith::AddIOp, arith::SubIOp>(op)) {
    if (b.kind == Dependence::None)
      return a;
    if (a.kind == Dependence::None)
      return b.kind == Dependence::Linear ? Dependence{b.kind, std::abs(b.step)} : b;
  }
  std::optional<int64_t> constant = constantOf(op->getOperand(b.kind == Dependence::None ? 1 : 0));
  bool product = isa<arith::MulIOp>(op);
  Dependence inner = b.kind == Dependence::None ? a : b;
  bool single = a.kind == Dependence::None || b.kind == Dependence::None;
  if (product && single && constant && inner.kind == Dependence::Linear)
    return {Dependence::Linear, std::abs(inner.step * *constant)};
  if (product && single && constant && inner.kind == Dependence::Divided)
    return inner;
  if (isa<arith::DivUIOp, arith::DivSIOp, arith::FloorDivSIOp>(op) && single && constant &&
      *constant > 1 && inner.kind == Dependence::Linear && inner.step % *constant != 0)
    return {Dependence::Divided};
  return {Dependence::Other};
}

bool isOne(FormulaAttr formula) { return formula.asConstant() == 1; }

/// Looks for one index of the store that tells grid points apart along grid dimension `dim`.
LogicalResult verifyDisjoint(KernelOp kernel, StoreOp store, unsigned dim) {
  BlockArgument grid = kernel.getGridIndex(dim);
  ViewOp view = store.getView().getDefiningOp<ViewOp>();
  if (!view)
    return success();
  bool overlaps = false, divided = false;
  for (Value index : view.getIndices()) {
    Dependence found = dependenceOn(index, grid);
    if (found.kind == Dependence::Linear || found.kind == Dependence::Other)
      return success();
    divided |= found.kind == Dependence::Divided;
  }
  for (auto [axis, offset] : llvm::enumerate(store.getMixedOffsets())) {
    Value value = dyn_cast<Value>(offset);
    Dependence found = value ? dependenceOn(value, grid) : Dependence();
    if (found.kind == Dependence::Other)
      return success();
    if (found.kind == Dependence::Linear) {
      // valid(..) may restrict a tile that is larger than the step.
      int64_t extent = store.getTile().getType().getDim(axis);
      if (axis < store.getValid().size())
        extent = std::min(extent, constantOf(store.getValid()[axis]).value_or(extent));
      if (found.step >= extent)
        return success();
      overlaps = true;
    }
    divided |= found.kind == Dependence::Divided;
  }
  InFlightDiagnostic error = store.emitOpError() << "of different grid points overlaps: ";
  if (overlaps)
    return error << "its offset moves by less than the tile's extent along grid dimension " << dim;
  if (divided)
    return error << "neighbours along grid dimension " << dim << " have the same quotient";
  return error << "no index depends on grid dimension " << dim;
}

} // namespace

LogicalResult verifyStores(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](StoreOp store) {
    for (auto [dim, formula] : llvm::enumerate(kernel.getGrid().getAsRange<FormulaAttr>()))
      if (!isOne(formula) && failed(verifyDisjoint(kernel, store, dim)))
        return WalkResult::interrupt();
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

} // namespace heddle::tile
