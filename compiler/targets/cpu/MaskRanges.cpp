// Reads the conjunction in a mask as linear bounds and proves that masked elements vanish:
//   cmpi sle, %pj, %pi  with pj = j0 + c, pi = i0 + r   ->   c < r + i0 - j0 + 1
//   s = -inf  ->  max ignores it; exp2(s - x) = 0  ->  sums and products ignore it
#include "compiler/targets/cpu/MaskRanges.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

using tile::TileType;

//===------------------------------------------------------------------------------------------===//
// Linear forms
//===------------------------------------------------------------------------------------------===//

/// row * r + column * c + constant + scalars.
struct Linear {
  int64_t row = 0, column = 0, constant = 0;
  SmallVector<std::pair<Value, int64_t>> scalars;

  void add(const Linear &other, int64_t factor) {
    row += factor * other.row;
    column += factor * other.column;
    constant += factor * other.constant;
    for (auto [value, times] : other.scalars)
      scalars.push_back({value, factor * times});
  }
};

std::optional<Linear> linearOf(Value value, tile::MapOp map, int64_t lanesDim);

std::optional<Linear> ofArgument(BlockArgument argument, tile::MapOp map, int64_t lanesDim) {
  unsigned number = argument.getArgNumber();
  auto index = map.getInputs()[number].getDefiningOp<tile::IndexOp>();
  if (!index)
    return std::nullopt;
  Linear result;
  bool alongRows = map.getInputPositions(number)[0] == lanesDim;
  (alongRows ? result.row : result.column) = 1;
  result.scalars.push_back({index.getBase(), 1});
  return result;
}

std::optional<Linear> linearOf(Value value, tile::MapOp map, int64_t lanesDim) {
  if (auto argument = dyn_cast<BlockArgument>(value);
      argument && argument.getOwner() == &map.getBody().front())
    return ofArgument(argument, map, lanesDim);
  Operation *op = value.getDefiningOp();
  if (auto constant = dyn_cast_or_null<arith::ConstantOp>(op)) {
    auto number = dyn_cast<IntegerAttr>(constant.getValue());
    if (!number)
      return std::nullopt;
    Linear result;
    result.constant = number.getInt();
    return result;
  }
  if (!op || !map->isProperAncestor(op)) {
    Linear result;
    result.scalars.push_back({value, 1});
    return result;
  }
  if (isa<arith::AddIOp, arith::SubIOp>(op)) {
    auto a = linearOf(op->getOperand(0), map, lanesDim);
    auto b = linearOf(op->getOperand(1), map, lanesDim);
    if (!a || !b)
      return std::nullopt;
    a->add(*b, isa<arith::AddIOp>(op) ? 1 : -1);
    return a;
  }
  if (isa<arith::IndexCastOp, arith::ExtSIOp>(op))
    return linearOf(op->getOperand(0), map, lanesDim);
  return std::nullopt;
}

/// The bounds of `form` <= 0.
void addBound(const Linear &form, SmallVector<MaskBound> &bounds) {
  if (form.column != 1 && form.column != -1)
    return;
  MaskBound bound;
  bound.upper = form.column == 1; // c <= -(rest), or c >= rest
  int64_t sign = bound.upper ? -1 : 1;
  bound.rowFactor = sign * form.row;
  bound.constant = sign * form.constant + (bound.upper ? 1 : 0);
  for (auto [value, factor] : form.scalars)
    bound.scalars.push_back({value, sign * factor});
  bounds.push_back(bound);
}

/// Bounds from a condition inside `map`; conditions that are not understood give none.
void readCondition(Value condition, tile::MapOp map, int64_t lanesDim,
                   SmallVector<MaskBound> &bounds) {
  if (auto argument = dyn_cast<BlockArgument>(condition)) {
    if (argument.getOwner() != &map.getBody().front())
      return;
    unsigned number = argument.getArgNumber(); // a mask made by a map of its own
    auto mask = map.getInputs()[number].getDefiningOp<tile::MapOp>();
    SmallVector<int64_t> positions = map.getInputPositions(number);
    if (mask && positions.size() == 2 && positions[0] == 0 && positions[1] == 1)
      readCondition(
          mask.getYield().getValues()[cast<OpResult>(map.getInputs()[number]).getResultNumber()],
          mask, lanesDim, bounds);
    return;
  }
  Operation *op = condition.getDefiningOp();
  if (isa<arith::AndIOp>(op)) {
    readCondition(op->getOperand(0), map, lanesDim, bounds);
    readCondition(op->getOperand(1), map, lanesDim, bounds);
    return;
  }
  auto compare = dyn_cast<arith::CmpIOp>(op);
  if (!compare)
    return;
  auto left = linearOf(compare.getLhs(), map, lanesDim);
  auto right = linearOf(compare.getRhs(), map, lanesDim);
  if (!left || !right)
    return;
  using arith::CmpIPredicate;
  CmpIPredicate predicate = compare.getPredicate();
  bool below = predicate == CmpIPredicate::slt || predicate == CmpIPredicate::sle;
  bool above = predicate == CmpIPredicate::sgt || predicate == CmpIPredicate::sge;
  if (!below && !above)
    return;
  Linear form = below ? *left : *right;
  form.add(below ? *right : *left, -1);
  bool strict = predicate == CmpIPredicate::slt || predicate == CmpIPredicate::sgt;
  form.constant += strict ? 1 : 0;
  addBound(form, bounds);
}

//===------------------------------------------------------------------------------------------===//
// What vanishes
//===------------------------------------------------------------------------------------------===//

enum class Known { Anything, MinusInfinity, Zero };

Known knownConstant(Value value) {
  auto constant = value.getDefiningOp<arith::ConstantOp>();
  auto number = constant ? dyn_cast<FloatAttr>(constant.getValue()) : FloatAttr();
  if (!number)
    return Known::Anything;
  if (number.getValue().isInfinity() && number.getValue().isNegative())
    return Known::MinusInfinity;
  return number.getValue().isZero() ? Known::Zero : Known::Anything;
}

bool isPositive(Value value) {
  auto constant = value.getDefiningOp<arith::ConstantOp>();
  auto number = constant ? dyn_cast<FloatAttr>(constant.getValue()) : FloatAttr();
  return number && number.getValueAsDouble() > 0;
}

/// Values of the map's region where its operand `input` is known. Other operands are finite: a
/// row's maximum, a factor.
SmallVector<Known> propagate(tile::MapOp map, unsigned input, Known known) {
  DenseMap<Value, Known> values;
  Block &block = map.getBody().front();
  values[block.getArgument(input)] = known;
  auto of = [&](Value value) {
    auto found = values.find(value);
    return found == values.end() ? knownConstant(value) : found->second;
  };
  for (Operation &op : block.without_terminator()) {
    if (op.getNumResults() != 1 || isa<arith::ConstantOp>(op))
      continue;
    Known first = op.getNumOperands() ? of(op.getOperand(0)) : Known::Anything;
    values[op.getResult(0)] =
        llvm::TypeSwitch<Operation *, Known>(&op)
            .Case<arith::AddFOp, arith::SubFOp>(
                [&](auto) { return first == Known::MinusInfinity ? first : Known::Anything; })
            .Case<arith::MulFOp>([&](auto) {
              bool scaled = first == Known::MinusInfinity && isPositive(op.getOperand(1));
              return scaled ? first : Known::Anything;
            })
            .Case<math::Exp2Op, math::ExpOp>(
                [&](auto) { return first == Known::MinusInfinity ? Known::Zero : Known::Anything; })
            .Case<arith::TruncFOp, arith::ExtFOp>([&](auto) { return first; })
            .Default([](Operation *) { return Known::Anything; });
  }
  SmallVector<Known> results;
  for (Value value : map.getYield().getValues())
    results.push_back(of(value));
  return results;
}

int64_t lanesDimOfTile(TileType type) {
  if (auto lanes = dyn_cast<tile::LanesAttr>(type.getLayout()))
    return lanes.getDim();
  auto pairs = dyn_cast<tile::PairsAttr>(type.getLayout());
  return pairs ? pairs.getLanes() : -1;
}

/// Whether no use of the tile counts elements that are `known`.
bool vanishes(Value tile, Known known) {
  TileType type = cast<TileType>(tile.getType());
  if (known == Known::Anything || type.getRank() != 2)
    return false;
  int64_t lanes = lanesDimOfTile(type);
  for (OpOperand &use : tile.getUses()) {
    Operation *user = use.getOwner();
    if (user->getBlock() != tile.getParentBlock())
      return false;
    if (auto reduce = dyn_cast<tile::ReduceOp>(user)) {
      bool ignored = (reduce.getKind() == tile::Reduction::Max && known == Known::MinusInfinity) ||
                     (reduce.getKind() == tile::Reduction::Sum && known == Known::Zero);
      if (!ignored || static_cast<int64_t>(reduce.getDim()) == lanes)
        return false;
    } else if (auto mma = dyn_cast<tile::MmaOp>(user)) {
      // The lanes must be those of the result, the other dimension the contracted one.
      if (known != Known::Zero || tile == mma.getInit() || mma.getA() == mma.getB())
        return false;
      ArrayAttr names = tile == mma.getA() ? mma.getADims() : mma.getBDims();
      int64_t lanesOfResult = lanesDimOfTile(cast<TileType>(mma.getResult().getType()));
      if (lanesOfResult < 0 || mma.getCDims()[lanesOfResult] != names[lanes])
        return false;
    } else if (auto map = dyn_cast<tile::MapOp>(user)) {
      SmallVector<int64_t> positions = map.getInputPositions(use.getOperandNumber());
      if (positions.size() != map.getExtents().size() || positions[0] != 0 || positions[1] != 1)
        return false;
      // Another tile in scratch may have other ranges, and hold anything outside of them.
      for (Value input : map.getInputs()) {
        TileType other = cast<TileType>(input.getType());
        if (input != tile && other.getSpace() == tile::Space::Local &&
            input.getDefiningOp<tile::MapOp>())
          return false;
      }
      for (auto [result, value] :
           llvm::zip(map.getResults(), propagate(map, use.getOperandNumber(), known)))
        if (!vanishes(result, value))
          return false;
    } else {
      return false;
    }
  }
  return true;
}

} // namespace

SmallVector<MaskBound> maskBounds(tile::MapOp map, int64_t lanesDim) {
  SmallVector<MaskBound> bounds;
  if (map.getNumResults() != 1 || map.getExtents().size() != 2)
    return bounds;
  auto select = map.getYield().getValues()[0].getDefiningOp<arith::SelectOp>();
  if (!select || !map->isProperAncestor(select))
    return bounds;
  readCondition(select.getCondition(), map, lanesDim, bounds);
  bool byRow = llvm::any_of(bounds, [](const MaskBound &bound) { return bound.rowFactor != 0; });
  if (!byRow || !vanishes(map.getResult(0), knownConstant(select.getFalseValue())))
    bounds.clear();
  return bounds;
}

std::pair<Value, Value> LaneRanges::at(VectorBuilder &e, int64_t number, Value first) const {
  if (number >= 0)
    return bounds[number / vectors];
  Type word = e.builder.getI64Type();
  Value group = arith::DivUIOp::create(e.builder, e.loc, first, e.integer(vectors * e.lanes()));
  auto load = [&](int64_t which) -> Value {
    Value value = e.load(word, e.address(memory, word, e.plus(e.times(group, 2), which)));
    return arith::IndexCastOp::create(e.builder, e.loc, e.builder.getIndexType(), value);
  };
  return {load(0), load(1)};
}

LaneRanges emitRanges(VectorBuilder &e, const IRMapping &scalars, ArrayRef<MaskBound> bounds,
                      int64_t rows, int64_t columns, int64_t vectors) {
  LaneRanges ranges;
  ranges.vectors = vectors;
  int64_t groupRows = vectors * e.lanes();
  auto asIndex = [&](Value value) -> Value {
    Value lowered = scalars.lookup(value);
    if (lowered.getType().isIndex())
      return lowered;
    return arith::IndexCastOp::create(e.builder, e.loc, e.builder.getIndexType(), lowered);
  };
  SmallVector<Value> sums;
  for (const MaskBound &bound : bounds) {
    Value sum = e.integer(bound.constant);
    for (auto [value, factor] : bound.scalars)
      sum = e.plus(sum, e.times(asIndex(value), factor));
    sums.push_back(sum);
  }
  for (int64_t first = 0; first < rows; first += groupRows) {
    int64_t last = std::min(first + groupRows, rows) - 1;
    Value lo = e.integer(0), hi = e.integer(columns);
    for (auto [bound, sum] : llvm::zip(bounds, sums)) {
      int64_t a = bound.rowFactor * first, b = bound.rowFactor * last;
      if (bound.upper)
        hi = e.minIndex(hi, e.plus(sum, std::max(a, b)));
      else
        lo = e.maxIndex(lo, e.plus(sum, std::min(a, b)));
    }
    // Even, so that steps of one and of two elements run over the same ones.
    lo = arith::AndIOp::create(e.builder, e.loc, lo, e.integer(-2));
    hi = arith::AndIOp::create(e.builder, e.loc, e.plus(hi, 1), e.integer(-2));
    hi = e.minIndex(hi, e.integer(columns));
    ranges.bounds.push_back({lo, e.maxIndex(hi, lo)});
  }
  Type word = e.builder.getI64Type();
  ranges.memory = e.stackArray(word, 2 * ranges.bounds.size());
  auto store = [&](Value bound, int64_t place) {
    Value value = arith::IndexCastOp::create(e.builder, e.loc, word, bound);
    e.store(value, e.address(ranges.memory, word, e.integer(place)));
  };
  for (auto [group, range] : llvm::enumerate(ranges.bounds)) {
    store(range.first, 2 * group);
    store(range.second, 2 * group + 1);
  }
  return ranges;
}

} // namespace heddle::compiler::cpu
