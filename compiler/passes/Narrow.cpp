// Tiles of 16 bits and of f32: what products for CPUs and GPUs read in place of a tile of f32.
#include "compiler/passes/Passes.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace heddle::compiler {

using tile::tileType;

Value unwidened(Value value, Type type) {
  auto map = value.getDefiningOp<tile::MapOp>();
  if (!map || map.getNumResults() != 1 || map.getInputs().size() != 1 ||
      cast<ArrayAttr>(map.getInputDims()[0]) != map.getDims() ||
      tileType(map.getInputs()[0]).getElementType() != type)
    return {};
  auto wide = map.getYield().getValues()[0].getDefiningOp<arith::ExtFOp>();
  return wide && isa<BlockArgument>(wide.getOperand()) ? map.getInputs()[0] : Value();
}

Value narrowed(Value value, Type type) {
  OpBuilder builder(value.getContext());
  builder.setInsertionPointAfterValue(value);
  SmallVector<StringRef> names{"r", "c"};
  names.resize(tileType(value).getRank());
  return tile::MapOp::create(builder, value.getLoc(),
                             TypeRange{tileType(value).withElementType(type)}, ValueRange{value},
                             ArrayRef<SmallVector<StringRef>>{names}, names,
                             [&](OpBuilder &b, Location at, ValueRange x) {
                               Value y = arith::TruncFOp::create(b, at, type, x[0]);
                               tile::YieldOp::create(b, at, y);
                             })
      .getResult(0);
}

} // namespace heddle::compiler
