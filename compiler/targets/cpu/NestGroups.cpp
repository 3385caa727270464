// Which ops share a nest: what can be computed in one walk over the points of a tile, beside what
// others of the group compute there.
#include "compiler/targets/cpu/Nest.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

int64_t lanesDimOf(TileType type) {
  if (auto lanes = dyn_cast<tile::LanesAttr>(type.getLayout()))
    return lanes.getDim();
  if (auto pairs = dyn_cast<tile::PairsAttr>(type.getLayout()))
    return pairs.getLanes();
  return type.getRank() - 1;
}

Value visited(Operation *op) {
  if (auto reduce = dyn_cast<tile::ReduceOp>(op))
    return reduce.getTile();
  if (auto store = dyn_cast<tile::StoreOp>(op))
    return store.getTile();
  return op->getResult(0);
}

bool isStreamed(Value tile) {
  return typeOf(tile).getSpace() == tile::Space::Reg &&
         isa_and_nonnull<tile::MapOp, tile::MmaOp>(tile.getDefiningOp());
}

SmallVector<Value> tileOperands(Operation *op) {
  SmallVector<Value> tiles;
  for (Value operand : op->getOperands())
    if (isa<TileType>(operand.getType()))
      tiles.push_back(operand);
  return tiles;
}

bool NestEmitter::dependsOn(const NestGroup &group, Value tile) {
  Operation *op = tile.getDefiningOp();
  if (!op)
    return false;
  if (llvm::is_contained(group.sinks, op))
    return true;
  if (!isStreamed(tile) || evaluator.rows.count(tile))
    return false;
  return llvm::any_of(tileOperands(op), [&](Value operand) { return dependsOn(group, operand); });
}

/// Whether reading `tile` at a nest's points touches results of the group at those points only.
static bool pointwise(const NestGroup &group, Evaluator &evaluator, Value tile, bool identity) {
  Operation *op = tile.getDefiningOp();
  if (!op)
    return true;
  if (llvm::is_contained(group.sinks, op))
    return identity && !isa<tile::ReduceOp>(op);
  if (!isStreamed(tile) || evaluator.rows.count(tile))
    return true;
  if (auto map = dyn_cast<tile::MapOp>(op)) {
    for (auto [n, input] : llvm::enumerate(map.getInputs())) {
      SmallVector<int64_t> positions = map.getInputPositions(n);
      bool same = positions.size() == map.getExtents().size() &&
                  llvm::equal(positions, llvm::seq<int64_t>(0, positions.size()));
      if (!pointwise(group, evaluator, input, identity && same))
        return false;
    }
    return true;
  }
  auto mma = cast<tile::MmaOp>(op);
  return pointwise(group, evaluator, mma.getA(), false) &&
         pointwise(group, evaluator, mma.getB(), false) &&
         pointwise(group, evaluator, mma.getInit(), identity);
}

/// A map of tiles that lie across its lanes in memory: it is turned in blocks, in a nest of its
/// own.
bool NestEmitter::turnsInBlocks(Operation *op) {
  if (!isa<tile::MapOp>(op) || op->getNumResults() != 1)
    return false;
  Value result = op->getResult(0);
  auto pairs = dyn_cast<tile::PairsAttr>(typeOf(result).getLayout());
  bool bf16 = typeOf(result).getElementType().isBF16(); // for products of whole tiles
  auto inMemory = [&](Value operand) {
    if (typeOf(operand).getRank() != 2)
      return false;
    auto place = evaluator.locals.find(operand);
    return evaluator.globals.count(operand) ||
           (bf16 && place != evaluator.locals.end() && lanesDimOf(place->second.type) == 1);
  };
  auto anyPoint = [&](auto &anyPoint, Value operand) -> bool { // readable one row at a time
    if (bf16 && isStreamed(operand) && isa<tile::MapOp>(operand.getDefiningOp()) &&
        !evaluator.rows.count(operand))
      return llvm::all_of(tileOperands(operand.getDefiningOp()),
                          [&](Value own) { return anyPoint(anyPoint, own); });
    return inMemory(operand) ||
           (typeOf(operand).getRank() == 1 &&
            (operand.getDefiningOp<tile::IndexOp>() || evaluator.locals.count(operand)));
  };
  return lanesDimOf(typeOf(result)) == 0 && (!pairs || pairs.getPacked() == 1) &&
         typeOf(result).getRank() == 2 && evaluator.locals.count(result) &&
         (bf16 || llvm::any_of(tileOperands(op), inMemory)) &&
         llvm::all_of(tileOperands(op), [&](Value own) { return anyPoint(anyPoint, own); });
}

/// Writes a map that turnsInBlocks.
void NestEmitter::emitTurned(tile::MapOp map) {
  Value result = map.getResult(0);
  const LocalPlace &place = evaluator.locals.find(result)->second;
  auto line = [&](const Coord &row, const Coord &along) {
    return evaluator.compute(result, {row, along});
  };
  if (place.pairs)
    fillQueryPairs(place, line);
  else if (place.type.getElementType().isBF16() && place.type.getDim(0) % (2 * e.lanes()) == 0)
    fillTransposedPairs(place, line);
  else
    fillTransposed(result, place, [&](ArrayRef<Coord> point) { return line(point[0], point[1]); });
}

/// Whether a tile is made by maps from tensors, rows and vectors in scratch alone. Those stay as
/// they are until the nest is emitted: whatever writes there elsewhere emits it first, and `joins`
/// sees to the nest's own.
static bool madeByMaps(Evaluator &evaluator, Value tile) {
  if (!isStreamed(tile) || evaluator.rows.count(tile))
    return typeOf(tile).getRank() < 2 || !evaluator.locals.count(tile);
  return isa<tile::MapOp>(tile.getDefiningOp()) &&
         llvm::all_of(tileOperands(tile.getDefiningOp()),
                      [&](Value operand) { return madeByMaps(evaluator, operand); });
}

/// Calls `found` with the places in scratch that a tile is read from, itself or through maps.
static void forLocalsRead(Evaluator &evaluator, Value tile,
                          function_ref<void(const LocalPlace &)> found) {
  if (auto place = evaluator.locals.find(tile); place != evaluator.locals.end())
    found(place->second);
  else if (isStreamed(tile) && !evaluator.rows.count(tile))
    for (Value operand : tileOperands(tile.getDefiningOp()))
      forLocalsRead(evaluator, operand, found);
}

bool isRead(Operation *within, StringRef tensor) {
  return within
      ->walk([&](tile::ViewOp view) {
        bool stored = llvm::all_of(view->getUsers(), llvm::IsaPred<tile::StoreOp>);
        return view.getName() != tensor || stored ? WalkResult::advance() : WalkResult::interrupt();
      })
      .wasInterrupted();
}

bool NestEmitter::storesInNest(tile::StoreOp store) {
  Value tile = store.getTile();
  auto view = store.getView().getDefiningOp<tile::ViewOp>();
  if (!view || typeOf(tile).getRank() != 2 || lanesDimOf(typeOf(tile)) != 1 || !isStreamed(tile) ||
      !store.getValid().empty() || !madeByMaps(evaluator, tile))
    return false;
  return !isRead(store->getParentOfType<tile::KernelOp>(), view.getName());
}

bool NestEmitter::joins(const NestGroup &group, Operation *op) {
  if (group.empty())
    return true;
  if (turnsInBlocks(group.sinks[0]) || turnsInBlocks(op))
    return false;
  if (!isa<tile::MapOp, tile::ReduceOp, tile::StoreOp>(op))
    return false;
  TileType first = typeOf(visited(group.sinks[0])), type = typeOf(visited(op));
  if (first.getShape() != type.getShape() || lanesDimOf(first) != lanesDimOf(type))
    return false;
  auto reduction = dyn_cast<tile::ReduceOp>(op);
  for (Operation *sink : group.sinks)
    if (auto other = dyn_cast<tile::ReduceOp>(sink))
      if (reduction && other.getDim() != reduction.getDim())
        return false;
  // A nest runs over the ranges of its operands: all of its sinks have them, or none.
  auto ranged = [&](Operation *sink) {
    return llvm::any_of(tileOperands(sink), [&](Value operand) {
      return typeOf(operand).getRank() == 2 &&
             (evaluator.rangesOf(operand) ||
              llvm::is_contained(group.sinks, operand.getDefiningOp()));
    });
  };
  if (evaluator.rangesOf(visited(group.sinks[0])) || ranged(group.sinks[0]))
    if (!ranged(op))
      return false;
  // A result may overwrite what the group still reads only at the same point.
  bool overwrites = false;
  for (Value result : op->getResults())
    if (auto place = evaluator.locals.find(result); place != evaluator.locals.end())
      for (Operation *sink : group.sinks)
        for (Value operand : tileOperands(sink))
          forLocalsRead(evaluator, operand, [&](const LocalPlace &read) {
            overwrites |= place->second.offset < read.offset + read.bytes &&
                          read.offset < place->second.offset + place->second.bytes;
          });
  if (overwrites)
    return false;
  return llvm::all_of(tileOperands(op),
                      [&](Value operand) { return pointwise(group, evaluator, operand, true); });
}

bool readsReplicated(Evaluator &evaluator, Value tile) {
  if (typeOf(tile).getRank() == 0)
    return false; // one number is the same at every point
  if (auto found = evaluator.rows.find(tile); found != evaluator.rows.end())
    return found->second.replicated;
  if (!isStreamed(tile))
    return false;
  return llvm::any_of(tileOperands(tile.getDefiningOp()),
                      [&](Value operand) { return readsReplicated(evaluator, operand); });
}

} // namespace heddle::compiler::cpu
