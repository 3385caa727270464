// Tiles of 16 bits and of f32: what products for CPUs and GPUs read in place of a tile of f32.
#include "compiler/passes/Passes.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace heddle::compiler {

using tile::tileType;

/// Whether the map is of one tile, element by element, and nothing but that cast.
template <typename Cast> static bool onlyCasts(tile::MapOp map) {
  if (!map || map.getNumResults() != 1 || map.getInputs().size() != 1 ||
      cast<ArrayAttr>(map.getInputDims()[0]) != map.getDims())
    return false;
  auto made = map.getYield().getValues()[0].getDefiningOp<Cast>();
  return made && isa<BlockArgument>(made.getOperand());
}

Value unwidened(Value value, Type type) {
  auto map = value.getDefiningOp<tile::MapOp>();
  bool widens =
      onlyCasts<arith::ExtFOp>(map) && tileType(map.getInputs()[0]).getElementType() == type;
  return widens ? map.getInputs()[0] : Value();
}

bool isNarrowing(Operation *op) { return onlyCasts<arith::TruncFOp>(dyn_cast<tile::MapOp>(op)); }

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
