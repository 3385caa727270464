// Rule of extents: a tile that may pass the end of its view says how much of it is valid.
//   tile.load %k[%j, 0] : !tile.view<?x128xf32> -> !tile.tile<64x128xf32>
// is right in a full loop, or where the extent is declared a multiple of 64, and refused elsewhere.
#include "ir/tile/TilePadding.h"
#include "ir/tile/TileVerify.h"

#include <numeric>

using namespace mlir;

namespace heddle::tile {
namespace {

/// A number that divides the formula's value whatever the scalars are.
int64_t provenDivisor(ProgramOp program, FormulaAttr formula) {
  SmallVector<int64_t> stack;
  for (const FormulaStep &step : formula.getSteps()) {
    if (step.op == FormulaOp::Constant) {
      stack.push_back(std::abs(step.value));
    } else if (step.op == FormulaOp::Scalar) {
      ExtentOp extent = dyn_cast_or_null<ExtentOp>(program.findScalar(step.name.getValue()));
      stack.push_back(extent ? extent.getMultiple().value_or(1) : 1);
    } else {
      int64_t right = stack.pop_back_val(), left = stack.pop_back_val();
      bool linear = step.op == FormulaOp::Add || step.op == FormulaOp::Sub ||
                    step.op == FormulaOp::Min || step.op == FormulaOp::Max;
      stack.push_back(step.op == FormulaOp::Mul ? left * right
                      : linear                  ? std::gcd(left, right)
                                                : 1);
    }
  }
  return std::max<int64_t>(stack.front(), 1);
}

/// True if tiles of `extent` elements at multiples of `extent` never pass the end of `dim`.
bool isClosedUnder(ViewOp view, unsigned dim, int64_t extent) {
  if (extent == 1)
    return true;
  if (view.getType().getAccess() != Access::Dense)
    return false;
  ProgramOp program = view->getParentOfType<ProgramOp>();
  SmallVector<FormulaAttr> kept;
  for (auto [formula, keeps] :
       llvm::zip(declarationOf(program.findTensor(view.getName())).second.getAsRange<FormulaAttr>(),
                 view.getKept()))
    if (keeps)
      kept.push_back(formula);
  return provenDivisor(program, kept[dim]) % extent == 0;
}

bool insideFullLoop(Operation *op) {
  for (ForOp loop = op->getParentOfType<ForOp>(); loop; loop = loop->getParentOfType<ForOp>())
    if (loop.getKind() == LoopKind::Full)
      return true;
  return false;
}

/// A dimension with a run-time extent needs a valid count, unless a full loop or a declared
/// multiple proves that the tile lies inside.
LogicalResult verifyValid(Operation *op, Value view, TileType tile, ValueRange valid) {
  ViewOp source = view.getDefiningOp<ViewOp>();
  if (!source || insideFullLoop(op))
    return success();
  for (int64_t dim = valid.size(); dim < tile.getRank(); ++dim)
    if (ViewType::isDynamic(source.getType().getShape()[dim]) &&
        !isClosedUnder(source, dim, tile.getDim(dim)))
      return op->emitOpError() << "moves " << tile.getDim(dim) << " elements of dimension " << dim
                               << " of '" << source.getName()
                               << "', whose extent is a run-time value: give valid(..), or declare "
                                  "the extent a multiple of "
                               << tile.getDim(dim);
  return success();
}

} // namespace

LogicalResult verifyExtents(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](Operation *op) {
    LogicalResult fine = success();
    if (LoadOp load = dyn_cast<LoadOp>(op))
      fine = verifyValid(op, load.getView(), load.getType(), load.getValid());
    else if (StoreOp store = dyn_cast<StoreOp>(op))
      fine = verifyValid(op, store.getView(), store.getTile().getType(), store.getValid());
    else if (PutOp put = dyn_cast<PutOp>(op); put && isa<ViewType>(put.getSource().getType()))
      fine = verifyValid(op, put.getSource(), put.getRing().getType().getSlot(), put.getValid());
    else if (MmaOp mma = dyn_cast<MmaOp>(op))
      fine = verifyPadding(mma);
    else if (ReduceOp reduce = dyn_cast<ReduceOp>(op))
      fine = verifyPadding(reduce);
    return failed(fine) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

} // namespace heddle::tile
