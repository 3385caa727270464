// Recursion over the ops that make a tile, one vector at a time; see Evaluator.h. Index tiles are
// base + iota along the lanes, fills are constants, maps evaluate their operands at the permuted
// point and then their region.
#include "compiler/targets/cpu/Evaluator.h"

#include "compiler/targets/cpu/MapLowering.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

Value Evaluator::reportUnsupported(Operation *op, const char *reason) {
  if (!failed)
    op->emitError("the CPU target cannot lower this: ") << reason;
  failed = true;
  return e.splat(0);
}

Evaluator::Key Evaluator::keyOf(Value tile, ArrayRef<Coord> point) {
  std::vector<int64_t> tags;
  for (const Coord &coord : point)
    tags.push_back(coord.tag);
  return {tile.getAsOpaquePointer(), tags};
}

Value Evaluator::find(const Key &key) {
  for (auto &scope : llvm::reverse(scopes)) {
    auto found = scope.find(key);
    if (found != scope.end())
      return found->second;
  }
  return {};
}

Value Evaluator::at(Value tile, ArrayRef<Coord> point) {
  Key key = keyOf(tile, point);
  if (Value known = find(key))
    return known;
  Value vector = read(tile, point);
  if (!vector)
    vector = make(tile, point);
  scopes.back()[key] = vector;
  return vector;
}

Value Evaluator::compute(Value tile, ArrayRef<Coord> point) {
  Key key = keyOf(tile, point);
  if (Value known = find(key))
    return known;
  Value vector = make(tile, point);
  scopes.back()[key] = vector;
  return vector;
}

/// From the tile's place; null if it has none.
Value Evaluator::read(Value tile, ArrayRef<Coord> point) {
  if (auto found = rows.find(tile); found != rows.end()) {
    if (point.empty())
      return found->second.vectors[0];
    int64_t number = point[0].number;
    if (point[0].lanes && found->second.memory && (number < 0 || found->second.vectors.empty()))
      return loadRow(e, found->second.memory, point[0].index, typeOf(tile).getElementType());
    if (RowsPlace &place = found->second; number < 0 && !point[0].lanes && place.replicated &&
                                          !place.vectors.empty() && putInMemory(place)) {
      auto type = cast<VectorType>(place.vectors[0].getType());
      return e.load(type, e.address(place.memory, type, point[0].index));
    }
    if (number < 0 || point[0].lanes == found->second.replicated)
      return reportUnsupported(tile.getParentBlock()->getParentOp(),
                               "a row vector is read along another dimension than its lanes");
    return found->second.vectors[number];
  }
  if (auto found = locals.find(tile); found != locals.end()) {
    if (found->second.pairs && llvm::any_of(point, [](const Coord &c) { return c.lanes; }))
      return reportUnsupported(tile.getParentBlock()->getParentOp(),
                               "a tile of pairs is read by lanes");
    return loadLocal(e, found->second, point);
  }
  if (auto found = globals.find(tile); found != globals.end())
    return loadGlobal(e, found->second, point, typeOf(tile).getShape());
  return {};
}

/// Whether the vectors of a tile are on the stack as well, for loops over them.
bool Evaluator::putInMemory(RowsPlace &place) {
  auto type = cast<VectorType>(place.vectors[0].getType());
  if (type.getElementTypeBitWidth() != 32)
    return false;
  if (place.memory)
    return true;
  place.memory = e.stackArray(type, place.vectors.size());
  // Where they are made, not here: this may be in a loop that does not run.
  OpBuilder::InsertionGuard guard(e.builder);
  for (auto [n, vector] : llvm::enumerate(place.vectors)) {
    e.builder.setInsertionPointAfterValue(vector);
    e.store(vector, e.address(place.memory, type, e.integer(n)));
  }
  return true;
}

bool Evaluator::keepInMemory(Value tile, bool splatsToo) {
  if (auto found = rows.find(tile); found != rows.end()) {
    RowsPlace &place = found->second;
    if (place.replicated)
      return splatsToo;
    if (place.vectors.empty())
      return true;
    return putInMemory(place);
  }
  Operation *op = tile.getDefiningOp();
  if (!isa_and_nonnull<tile::MapOp, tile::MmaOp>(op) || locals.count(tile) || globals.count(tile))
    return true;
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    return !isa<TileType>(operand.getType()) || keepInMemory(operand, splatsToo);
  });
}

Value Evaluator::constant(tile::FillOp fill) {
  Type element = typeOf(fill.getResult()).getElementType();
  VectorType type = VectorType::get({e.lanes()}, element);
  double value = fill.getValue().convertToDouble();
  Attribute attribute = e.builder.getIntegerAttr(e.builder.getI64Type(), 0);
  if (isa<FloatType>(element))
    attribute = e.builder.getFloatAttr(element, value);
  else
    attribute = e.builder.getIntegerAttr(element, static_cast<int64_t>(value));
  return arith::ConstantOp::create(e.builder, e.loc, DenseElementsAttr::get(type, attribute));
}

Value Evaluator::make(Value tile, ArrayRef<Coord> point) {
  Operation *op = tile.getDefiningOp();
  if (auto map = dyn_cast_or_null<tile::MapOp>(op))
    return makeMap(map, tile, point);
  if (auto fill = dyn_cast_or_null<tile::FillOp>(op))
    return constant(fill);
  if (auto index = dyn_cast_or_null<tile::IndexOp>(op)) {
    Value first = e.broadcast(e.plus(scalars.lookup(index.getBase()), point[0].index));
    return point[0].lanes ? e.addInt(first, e.iota()) : first;
  }
  if (auto mma = dyn_cast_or_null<tile::MmaOp>(op)) {
    makeProduct(mma);
    Value made = find(keyOf(tile, point));
    return made ? made
                : reportUnsupported(op,
                                    "a product is read outside the register block that makes it");
  }
  if (auto convert = dyn_cast_or_null<tile::ConvertOp>(op))
    return at(convert.getTile(), point);
  return reportUnsupported(op ? op : tile.getParentBlock()->getParentOp(),
                           "a tile of this op has no place");
}

Value Evaluator::makeMap(tile::MapOp map, Value tile, ArrayRef<Coord> point) {
  Values operands;
  for (auto [n, input] : llvm::enumerate(map.getInputs())) {
    Point inner;
    for (int64_t position : map.getInputPositions(n))
      inner.push_back(point[position]);
    operands.push_back(at(input, inner));
  }
  auto gather = [&](tile::GatherOp op, ValueRange indices) {
    return gatherLanes(e, views.lookup(op.getView()), indices);
  };
  Values results = lowerMapBody(e, map, operands, scalars, gather);
  if (results.empty()) {
    failed = true;
    return e.splat(0);
  }
  for (auto [result, vector] : llvm::zip(map.getResults(), results))
    remember(result, point, vector);
  return results[cast<OpResult>(tile).getResultNumber()];
}

//===------------------------------------------------------------------------------------------===//
// Clips
//===------------------------------------------------------------------------------------------===//

Value Evaluator::clipOf(Value tile, int64_t dim) {
  if (auto place = locals.find(tile); place != locals.end())
    return place->second.clip[dim];
  if (auto place = globals.find(tile); place != globals.end()) {
    const GlobalPlace &global = place->second;
    return global.clipped && dim < static_cast<int64_t>(global.valid.size()) ? global.valid[dim]
                                                                             : Value();
  }
  return clipOfSources(tile, dim);
}

Value Evaluator::clipOfSources(Value tile, int64_t dim) {
  auto smaller = [&](Value a, Value b) {
    if (!a || !b || a == b)
      return a ? a : b;
    return e.minIndex(a, b);
  };
  Value clip;
  Operation *op = tile.getDefiningOp();
  if (auto map = dyn_cast_or_null<tile::MapOp>(op)) {
    for (auto [n, input] : llvm::enumerate(map.getInputs()))
      for (auto [inner, position] : llvm::enumerate(map.getInputPositions(n)))
        if (position == dim)
          clip = smaller(clip, clipOf(input, inner));
  } else if (auto mma = dyn_cast_or_null<tile::MmaOp>(op)) {
    auto name = mma.getCDims()[dim];
    for (auto [dims, operand] :
         {std::pair(mma.getADims(), mma.getA()), std::pair(mma.getBDims(), mma.getB())})
      for (auto [inner, other] : llvm::enumerate(dims))
        if (other == name)
          clip = smaller(clip, clipOf(operand, inner));
    clip = smaller(clip, clipOf(mma.getInit(), dim));
  }
  return clip;
}

Value Evaluator::lanesEndOf(Value tile, int64_t dim) {
  if (auto place = locals.find(tile); place != locals.end())
    return place->second.type.getRank() == 2 && place->second.strides[dim] == 1
               ? place->second.lanesEnd
               : Value();
  return lanesEndOfSources(tile, dim);
}

Value Evaluator::lanesEndOfSources(Value tile, int64_t dim) {
  Operation *op = tile.getDefiningOp();
  if (auto map = dyn_cast_or_null<tile::MapOp>(op)) {
    for (auto [n, input] : llvm::enumerate(map.getInputs()))
      for (auto [inner, position] : llvm::enumerate(map.getInputPositions(n)))
        if (position == dim && typeOf(input).getRank() == 2)
          if (Value end = lanesEndOf(input, inner))
            return end;
  } else if (auto mma = dyn_cast_or_null<tile::MmaOp>(op)) {
    auto name = mma.getCDims()[dim];
    for (auto [dims, operand] :
         {std::pair(mma.getADims(), mma.getA()), std::pair(mma.getBDims(), mma.getB())})
      for (auto [inner, other] : llvm::enumerate(dims))
        if (other == name)
          return lanesEndOf(operand, inner);
  }
  return {};
}

LaneRanges Evaluator::rangesOf(Value tile) {
  if (auto place = locals.find(tile); place != locals.end())
    return place->second.ranges;
  auto map = tile.getDefiningOp<tile::MapOp>();
  if (!map || rows.count(tile))
    return {};
  for (Value input : map.getInputs())
    if (typeOf(input).getRank() == 2)
      if (LaneRanges ranges = rangesOf(input))
        return ranges;
  return {};
}

} // namespace heddle::compiler::cpu
