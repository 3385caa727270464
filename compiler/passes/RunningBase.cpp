// Finds m, M and r in the body of an online softmax by how they are made, and keeps m:
//
//   M = max(m, ..) ; b = finite(M) ; r = exp2(m - b)    ->    M = max(m, ..) ; B = M > m + 8 ? M :
//   m yield M, ..                                               b = finite(B) ; r = exp2(m - b)
//                                                             yield B, ..
#include "compiler/passes/RunningBase.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace heddle::compiler {
namespace {

using tile::tileType;
using tile::TileType;

constexpr float kGrowth = 8; ///< in log2; 2^8 times any sum of weights stays far inside f32

/// exp2(m - b): the only op is the exponential of a difference with operand `m`.
bool isCorrection(tile::MapOp map, Value m) {
  if (map.getNumResults() != 1 || map.getInputs().size() != 2 || map.getInputs()[0] != m)
    return false;
  auto exponential = map.getYield().getValues()[0].getDefiningOp<math::Exp2Op>();
  auto difference =
      exponential ? exponential.getOperand().getDefiningOp<arith::SubFOp>() : arith::SubFOp();
  return difference && difference.getLhs() == map.getBody().front().getArgument(0);
}

} // namespace

std::optional<RunningBase> runningBase(tile::ForOp loop) {
  for (auto [n, m] : llvm::enumerate(loop.getIterArgs())) {
    TileType type = tileType(m);
    if (!type || type.getRank() != 1 || !type.getElementType().isF32())
      continue;
    for (Operation *user : m.getUsers())
      if (auto map = dyn_cast<tile::MapOp>(user); map && isCorrection(map, m))
        return RunningBase{m, loop.getYield().getValues()[n], map};
  }
  return std::nullopt;
}

Value keepBase(const RunningBase &base) {
  OpBuilder builder(base.correction);
  builder.setInsertionPointAfterValue(base.M);
  auto map = tile::MapOp::create(
      builder, base.M.getLoc(), TypeRange{base.M.getType()}, ValueRange{base.M, base.m},
      SmallVector<SmallVector<StringRef>>(2, {"i"}), ArrayRef<StringRef>{"i"},
      [](OpBuilder &b, Location at, ValueRange x) {
        Value growth = arith::ConstantOp::create(b, at, b.getF32FloatAttr(kGrowth));
        Value limit = arith::AddFOp::create(b, at, x[1], growth);
        Value above = arith::CmpFOp::create(b, at, arith::CmpFPredicate::OGT, x[0], limit);
        Value kept = arith::SelectOp::create(b, at, above, x[0], x[1]);
        tile::YieldOp::create(b, at, kept);
      });
  Value M = base.M;
  M.replaceAllUsesExcept(map.getResult(0), map);
  return map.getResult(0);
}

} // namespace heddle::compiler
