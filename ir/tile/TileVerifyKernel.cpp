// Rules of tile.kernel: what its stage may hold, and prefix sums that are masked before they are
// exponentiated. The entry at the end lists all rules of a kernel.
#include "ir/tile/TileVerify.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace heddle::tile {
namespace {

LogicalResult verifyStageOf(Operation *op, bool concrete) {
  if (!concrete && isa<RingOp, PutOp, TakeOp, ReleaseOp, RolesOp, WaitOp, BarrierOp, CommitOp,
                       WaitCopiesOp, VoteOp, ConvertOp>(op))
    return op->emitOpError()
           << "is not allowed in an abstract kernel: no ring, role, token, barrier "
              "or convert before layouts";
  if (MmaOp mma = dyn_cast<MmaOp>(op); mma && !concrete && mma.isAsync())
    return op->emitOpError() << "is async in an abstract kernel, which has no tokens";
  // The analyses below find a view's and a ring's definition; control flow would hide it.
  if (isa<ForOp, scf::IfOp>(op))
    for (Type type : op->getResultTypes())
      if (isa<ViewType, RingType>(type))
        return op->emitOpError() << "gives a " << type
                                 << ", expected tiles, scalars or tokens; name views and rings "
                                    "where they are used";
  auto fits = [&](Type type) {
    if (TileType tile = dyn_cast<TileType>(type))
      return tile.isConcrete() == concrete;
    if (RingType ring = dyn_cast<RingType>(type))
      return ring.getSlot().isConcrete() == concrete;
    return true;
  };
  for (Type type : llvm::concat<const Type>(SmallVector<Type>(op->getResultTypes()),
                                            SmallVector<Type>(op->getOperandTypes())))
    if (!fits(type))
      return op->emitOpError() << "has " << type << " in "
                               << (concrete
                                       ? "a concrete kernel, expected a layout and a space"
                                       : "an abstract kernel, expected neither layout nor space");
  return success();
}

LogicalResult verifyStage(KernelOp kernel) {
  bool concrete = kernel.getStage() == Stage::Concrete;
  WalkResult result = kernel.getBody().walk([&](Operation *op) {
    bool allowed =
        isa<TileDialect>(op->getDialect()) || isScalarOp(op) || isa<scf::IfOp, scf::YieldOp>(op);
    if (!allowed || isa<ProgramOp, KernelOp>(op)) {
      op->emitOpError() << "is not allowed in a tile kernel, expected tile ops, arith and math on "
                           "scalars, scf.if";
      return WalkResult::interrupt();
    }
    return failed(verifyStageOf(op, concrete)) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

/// The scan that a map's region argument carries elements of, or null.
ScanOp scanBehind(MapOp map, Value scalar) {
  BlockArgument argument = dyn_cast<BlockArgument>(scalar);
  if (!argument || argument.getOwner() != &map.getBody().front())
    return {};
  Value tile = map.getInputs()[argument.getArgNumber()];
  while (Operation *op = tile.getDefiningOp()) {
    if (ScanOp scan = dyn_cast<ScanOp>(op))
      return scan;
    if (!isa<SliceOp, ReshapeOp, ConvertOp>(op))
      return {};
    tile = op->getOperand(0);
  }
  return {};
}

/// Whether the powers reach nothing but selects, by products.
bool isMaskedAfter(Value power) {
  return llvm::all_of(power.getUses(), [](OpOperand &use) {
    if (isa<arith::MulFOp>(use.getOwner()))
      return isMaskedAfter(use.getOwner()->getResult(0));
    return isa<arith::SelectOp>(use.getOwner()) && use.getOperandNumber() > 0;
  });
}

LogicalResult verifyExponent(MapOp map, Operation *exponential) {
  arith::SubFOp difference = exponential->getOperand(0).getDefiningOp<arith::SubFOp>();
  if (!difference || isMaskedAfter(exponential->getResult(0)))
    return success();
  ScanOp left = scanBehind(map, difference.getLhs()), right = scanBehind(map, difference.getRhs());
  if (!left || left != right)
    return success();
  unsigned a = cast<BlockArgument>(difference.getLhs()).getArgNumber();
  unsigned b = cast<BlockArgument>(difference.getRhs()).getArgNumber();
  if (map.getInputDims()[a] == map.getInputDims()[b])
    return success();
  return exponential->emitOpError()
         << "takes the difference of two prefix sums, which overflows above the diagonal: mask it "
            "with arith.select before the exponential, or what is made of it after";
}

LogicalResult verifyExponents(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](MapOp map) {
    for (Operation &op : map.getBody().front())
      if (isa<math::Exp2Op, math::ExpOp>(op) && failed(verifyExponent(map, &op)))
        return WalkResult::interrupt();
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

} // namespace

bool isScalarOp(Operation *op) {
  StringRef dialect = op->getName().getDialectNamespace();
  return dialect == "arith" || dialect == "math";
}

LogicalResult KernelOp::verifyRegions() {
  size_t dims = getGrid().size();
  if (dims < 1 || dims > 3)
    return emitOpError() << "has " << dims << " grid dimensions, expected one to three";
  if (getDescending().size() != dims)
    return emitOpError() << "has " << getDescending().size() << " visiting orders for " << dims
                         << " grid dimensions";
  size_t expected = dims + (getRepeatAttr() ? 1 : 0);
  Block &block = getBody().front();
  if (block.getNumArguments() != expected ||
      !llvm::all_of(block.getArgumentTypes(), [](Type type) { return type.isIndex(); }))
    return emitOpError() << "has a body with other arguments than its " << expected
                         << " grid indices";
  if (failed(verifyStage(*this)) || failed(verifyRoles(*this)) || failed(verifyExponents(*this)) ||
      failed(verifyStores(*this)))
    return failure();
  for (RingOp ring : block.getOps<RingOp>())
    if (failed(verifyRing(ring)))
      return failure();
  return success();
}

} // namespace heddle::tile
