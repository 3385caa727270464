// Step 4 of AssignLayouts: what ops start from lies as what they write, and what loops carry stays
// in one place.
#include "compiler/passes/cpu/Layouts.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace heddle::compiler {

using tile::tileType;
using tile::TileType;

namespace {

/// Whether an op that reads `read` needs one point of it for a point of what it makes.
bool readsPoints(Operation *op, Value read) {
  if (auto mma = dyn_cast<tile::MmaOp>(op))
    return mma.getA() != read && mma.getB() != read;
  auto map = dyn_cast<tile::MapOp>(op);
  for (unsigned n = 0; map && n < map.getInputs().size(); ++n) {
    SmallVector<int64_t> positions = map.getInputPositions(n);
    if (map.getInputs()[n] == read &&
        (positions.size() != map.getExtents().size() ||
         !llvm::equal(positions, llvm::seq<int64_t>(0, positions.size()))))
      return false;
  }
  return bool(map);
}

/// Whether `user` has read `read` before `op` writes over it, or point by point with it. What is
/// made in registers is made where that is read.
bool readsInTime(Operation *user, Value read, Operation *op, bool points = true) {
  points = points && readsPoints(user, read);
  if (user == op)
    return points;
  Operation *around = op->getBlock()->findAncestorOpInBlock(*user); // a loop over queries, say
  if (!around || !around->isBeforeInBlock(op))
    return false;
  return llvm::all_of(user->getResults(), [&](Value result) {
    TileType type = tileType(result);
    bool streamed = type && type.getSpace() == Space::Reg && isa<tile::MapOp, tile::MmaOp>(user);
    return !streamed || llvm::all_of(result.getUsers(), [&](Operation *next) {
      return readsInTime(next, result, op, points);
    });
  });
}

/// Whether a loop carries the value on in one place only, whatever reads it beside.
bool isYieldedOnce(Value value) {
  return llvm::count_if(value.getUses(),
                        [](OpOperand &use) { return isa<tile::YieldOp>(use.getOwner()); }) == 1;
}

/// Whether `value`, yielded for iter argument `carried`, may be written where `carried` lies: its
/// op is the last reader of the old value and reads it point by point.
bool madeInPlace(Value value, Value carried) {
  Operation *op = value.getDefiningOp();
  return op && op->getBlock() == carried.getParentBlock() && tileType(value) == tileType(carried) &&
         isYieldedOnce(value) && isa<tile::MmaOp, tile::MapOp>(op) &&
         llvm::all_of(carried.getUsers(),
                      [&](Operation *user) { return readsInTime(user, carried, op); });
}

/// Makes the operand of that type.
void match(OpOperand &operand, Type type) {
  Operation *op = operand.getOwner();
  if (operand.get().getType() == type)
    return;
  OpBuilder builder(op);
  if (auto fill = operand.get().getDefiningOp<tile::FillOp>()) // made where it is read
    operand.set(tile::FillOp::create(builder, op->getLoc(), cast<TileType>(type),
                                     fill.getValue().convertToDouble()));
  else
    operand.set(tile::ConvertOp::create(builder, op->getLoc(), type, operand.get(), UnitAttr()));
}

/// Products, running sums, sums and triangular systems have one type for what they start from and
/// what they write.
void matchOperands(tile::KernelOp kernel) {
  OpBuilder builder(kernel.getContext());
  kernel.walk([&](Operation *op) {
    if (auto loop = dyn_cast<tile::ForOp>(op)) {
      // What is made where it is read starts a loop in any layout.
      for (auto [init, result] : llvm::zip(loop.getInitsMutable(), loop.getResults()))
        if (auto fill = init.get().getDefiningOp<tile::FillOp>();
            fill && tileType(result).getSpace() == Space::Reg &&
            result.getType() != fill.getType()) {
          builder.setInsertionPoint(op);
          init.set(tile::FillOp::create(builder, op->getLoc(), tileType(result),
                                        fill.getValue().convertToDouble()));
        }
      return;
    }
    if (auto mma = dyn_cast<tile::MmaOp>(op)) {
      TileType type = tileType(mma.getResult());
      if (mma.getInit().getDefiningOp<tile::FillOp>())
        match(mma.getInitMutable(), type.withPlace(type.getLayout(), Space::Reg));
    } else if (auto topk = dyn_cast<tile::TopkOp>(op)) {
      match(topk.getBestScoreMutable(), topk.getResultScore().getType());
      match(topk.getBestIdMutable(), topk.getResultId().getType());
    } else if (isa<tile::ScanOp, tile::SolveUnitLowerOp, tile::ReduceOp>(op)) {
      match(op->getOpOperand(isa<tile::ScanOp>(op) ? 0 : 1), op->getResult(0).getType());
    }
  });
}

} // namespace

void carryInPlace(tile::KernelOp kernel) {
  matchOperands(kernel);
  OpBuilder builder(kernel.getContext());
  SmallVector<tile::ForOp> loops;
  kernel.walk([&](tile::ForOp loop) { loops.push_back(loop); });
  for (tile::ForOp loop : loops)
    for (auto [n, result] : llvm::enumerate(loop.getResults())) {
      TileType type = tileType(result);
      if (!type || type.getSpace() != Space::Local)
        continue;
      Value init = loop.getInits()[n];
      bool ofItsOwn = isa_and_nonnull<tile::ForOp>(init.getDefiningOp()) ||
                      (init.getDefiningOp<tile::MapOp>() && isa<tile::PairsAttr>(type.getLayout()));
      if (!ofItsOwn || !init.hasOneUse()) {
        builder.setInsertionPoint(loop);
        loop.getInitsMutable()[n].set(
            tile::ConvertOp::create(builder, loop.getLoc(), type, init, UnitAttr()));
      }
      tile::YieldOp yield = loop.getYield();
      Value next = yield.getValues()[n];
      if (next != loop.getIterArgs()[n] && !madeInPlace(next, loop.getIterArgs()[n])) {
        builder.setInsertionPoint(yield);
        yield->setOperand(n,
                          tile::ConvertOp::create(builder, loop.getLoc(), type, next, UnitAttr()));
      }
    }
}

} // namespace heddle::compiler
