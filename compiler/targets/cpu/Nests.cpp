// Products and sweeps. The first product of attention with its write-back, 64 queries x 128 keys:
//
//   for j = 0, 128, 4 carrying m[4]                          4 keys x 4 vectors of 16 queries
//     acc[16] = for d = 0, 64, 1 carrying acc[16]            one FMA each
//     s = map(acc) ; store s ; m = max(m, s)                 on registers
//
// The loop over the other dimension runs to the clip where a tile is cut short, in blocks, then one
// by one. Reductions along that dimension are carried as one vector per vector of lanes; reductions
// along the lanes give splats, and then the other dimension is unrolled.
#include "compiler/targets/cpu/Nest.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

/// The products among what a tile is made of where it is read.
static void findProducts(Value tile, SmallVector<tile::MmaOp> &products) {
  Operation *op = tile.getDefiningOp();
  if (auto mma = dyn_cast_or_null<tile::MmaOp>(op)) {
    products.push_back(mma);
    if (isStreamed(mma.getInit()))
      findProducts(mma.getInit(), products);
  } else if (isa_and_nonnull<tile::MapOp>(op)) {
    for (Value operand : tileOperands(op))
      if (isStreamed(operand))
        findProducts(operand, products);
  }
}

NestEmitter::Nest::Nest(NestEmitter &emitter, const NestGroup &group)
    : emitter(emitter), evaluator(emitter.evaluator), e(emitter.e), group(group),
      type(typeOf(visited(group.sinks[0]))), lanes(lanesDimOf(type)) {
  int64_t width = e.lanes();
  vectors = (type.getDim(lanes) + width - 1) / width;
  others = type.getDim(1 - lanes);
  bool pairs = false;
  SmallVector<tile::MmaOp> products;
  SmallVector<Value> ofSplats;
  for (Operation *sink : group.sinks) {
    Value tile = visited(sink);
    Value smaller = isa<tile::ReduceOp, tile::StoreOp>(sink)
                        ? evaluator.clipOf(tile, 1 - lanes)
                        : evaluator.clipOfSources(sink->getResult(0), 1 - lanes);
    if (smaller && smaller != clip)
      clip = clip ? e.minIndex(clip, smaller) : smaller;
    for (Value operand : tileOperands(sink)) {
      if (readsReplicated(evaluator, operand))
        ofSplats.push_back(operand);
      if (isStreamed(operand) && !isa<tile::ReduceOp>(sink))
        findProducts(operand, products);
    }
    if (auto reduce = dyn_cast<tile::ReduceOp>(sink)) {
      if (isStreamed(tile))
        findProducts(tile, products);
      bool alongLanes = static_cast<int64_t>(reduce.getDim()) == lanes;
      (alongLanes ? across : carried).push_back(reduce);
    }
    if (auto mma = dyn_cast<tile::MmaOp>(sink); mma && !isAmxProduct(mma))
      findProducts(mma.getResult(), products);
    for (Value result : sink->getResults())
      if (auto layout = dyn_cast<tile::PairsAttr>(typeOf(result).getLayout()))
        pairs |= layout.getPacked() == 1 - lanes;
  }
  hasProducts = !products.empty();
  constexpr int64_t kMany = 16; // vectors side by side: too much code, so a loop has one body
  bool loopsSplats = products.empty() && across.empty() && others * vectors > kMany &&
                     llvm::all_of(ofSplats, [&](Value operand) {
                       return evaluator.keepInMemory(operand, /*splatsToo=*/true);
                     });
  unrolled = !across.empty() || (!ofSplats.empty() && !loopsSplats);
  for (Operation *sink : group.sinks) {
    Value tile = visited(sink);
    bool made = !isa<tile::ReduceOp, tile::StoreOp>(sink) ||
                llvm::is_contained(group.sinks, tile.getDefiningOp());
    Value end = made ? evaluator.lanesEndOfSources(tile, lanes) : evaluator.lanesEndOf(tile, lanes);
    lanesEnd = sink == group.sinks[0] || end == lanesEnd ? end : Value();
    if (!lanesEnd)
      break;
  }
  bool dot = llvm::any_of(products, isDotProduct);
  constexpr int64_t kManySums = 8; // more side by side are no faster than a loop
  bool loopsAcross = !across.empty() && others * vectors > kManySums;
  // Where order matters rows are walked whole, if they are no longer than a block can be.
  const int64_t most = e.isa.registers() / 4;
  const bool wholeRows = e.isa.dropsAsked && lanes == 1 && vectors <= most;
  const int64_t sideBySide = wholeRows ? most : 4;
  blockVectors = products.empty() ? std::min<int64_t>(vectors, loopsAcross ? 1 : sideBySide)
                 : dot            ? 1
                                  : emitter.blocking.vectors;
  blockOthers = products.empty() ? 1 : dot ? std::min<int64_t>(others, 4) : emitter.blocking.others;
  if (!products.empty() && !dot && vectors < blockVectors && blockVectors % vectors == 0)
    blockOthers *= blockVectors / vectors; // as many sums in flight
  if (!products.empty() && !dot && emitter.blocking.vectors == 1 && others <= 8) {
    // Few rows: wide blocks, so that each row of memory is walked once or twice.
    blockOthers = std::min<int64_t>(others, 4);
    blockVectors = blockOthers == 1 ? 8 : 4;
    blockVectors = std::min({blockVectors, vectors, e.isa.registers() / (2 * blockOthers)});
  }
  findRanges(products);
  if (ranges) { // fewer vectors a block, so that each block has a range of its own
    blockVectors = ranges.vectors;
    blockOthers *= products.empty() ? 1 : 2;
  }
  if (pairs)
    blockOthers += blockOthers % 2;
}

/// Ranges that the nest's masks give, or that its operands have.
void NestEmitter::Nest::findRanges(ArrayRef<tile::MmaOp> products) {
  if (unrolled)
    return;
  for (Operation *sink : group.sinks)
    for (Value operand : tileOperands(sink))
      if (typeOf(operand).getRank() == 2 &&
          !llvm::is_contained(group.sinks, operand.getDefiningOp()))
        if (LaneRanges found = evaluator.rangesOf(operand); found && !ranges)
          ranges = found;
  auto map = dyn_cast<tile::MapOp>(group.sinks[0]);
  bool inEdge = map && isa<tile::ForOp>(map->getParentOp()) &&
                cast<tile::ForOp>(map->getParentOp()).getKind() == tile::LoopKind::Edge;
  int64_t half = std::max<int64_t>(emitter.blocking.vectors / 2, 1);
  if (ranges || !emitter.ranged || !inEdge || products.empty() || vectors <= half)
    return;
  // Everything else in the nest must be made from the masked tile, or it would be cut as well.
  for (Operation *sink : ArrayRef<Operation *>(group.sinks).drop_front())
    if (!llvm::is_contained(sink->getOperands(), map.getResult(0)))
      return;
  if (SmallVector<MaskBound> bounds = maskBounds(map, lanes); !bounds.empty())
    ranges = emitRanges(e, evaluator.scalars, bounds, type.getDim(lanes), others, half);
}

/// Whether the loop over the other dimension is the one that has the ranges; a product of a ranged
/// operand has them along its sum instead.
bool NestEmitter::Nest::loopsOverRanges() const {
  return ranges && !isa<tile::MmaOp>(group.sinks[0]);
}

Value NestEmitter::Nest::combine(tile::ReduceOp reduce, Value a, Value b) {
  switch (reduce.getKind()) {
  case tile::Reduction::Sum:
    return isa<FloatType>(getElementTypeOrSelf(a.getType())) ? e.add(a, b) : e.addInt(a, b);
  case tile::Reduction::Max:
    return e.max(b, a);
  case tile::Reduction::Min:
    return e.min(b, a);
  case tile::Reduction::Or:
    return e.orInt(a, b);
  }
  return evaluator.reportUnsupported(reduce, "this kind of reduction");
}

/// All lanes combined with each other, in every lane.
Value NestEmitter::Nest::horizontal(tile::ReduceOp reduce, Value vector) {
  for (int64_t h = e.lanes() / 2; h >= 1; h /= 2) {
    SmallVector<int64_t> order;
    for (int64_t lane = 0; lane < e.lanes(); ++lane)
      order.push_back(lane ^ h);
    Value other = vector::ShuffleOp::create(e.builder, e.loc, vector, vector, order);
    vector = combine(reduce, vector, other);
  }
  return vector;
}

/// Computes a sink in the block and writes its local results.
void NestEmitter::Nest::write(Operation *sink, ArrayRef<Coord> laneCoords,
                              ArrayRef<Coord> otherCoords) {
  for (Value result : sink->getResults()) {
    auto found = evaluator.locals.find(result);
    if (found == evaluator.locals.end())
      continue; // read on registers by others of the nest
    const LocalPlace place = found->second;
    bool pairs = place.pairs && place.pairs.getPacked() == 1 - lanes;
    if (place.pairs && !pairs) {
      evaluator.reportUnsupported(sink, "pairs are packed along the lanes");
      return;
    }
    for (size_t k = 0; k < otherCoords.size(); k += pairs ? 2 : 1)
      for (const Coord &lane : laneCoords) {
        Value even = evaluator.compute(result, pointOf(lane, otherCoords[k]));
        if (!pairs) {
          storeLocal(e, place, pointOf(lane, otherCoords[k]), even);
          continue;
        }
        Value odd = k + 1 < otherCoords.size()
                        ? evaluator.compute(result, pointOf(lane, otherCoords[k + 1]))
                        : arith::ConstantOp::create(e.builder, e.loc,
                                                    e.builder.getZeroAttr(even.getType()));
        storePairs(e, place, lane.index, otherCoords[k].index, even, odd);
      }
  }
}

/// One register block: `count` others from `first` on; `number` is their static number or -1.
Values NestEmitter::Nest::body(ArrayRef<Coord> laneCoords, Value first, int64_t count,
                               int64_t number, ValueRange carriedIn) {
  evaluator.pushScope();
  SmallVector<Coord> otherCoords;
  for (int64_t k = 0; k < count; ++k)
    otherCoords.push_back(evaluator.element(e.plus(first, k), number < 0 ? -1 : number + k));
  evaluator.block = {SmallVector<Coord>(laneCoords), otherCoords, lanes};
  Values next(carriedIn.begin(), carriedIn.end());
  size_t slot = 0;
  for (Operation *sink : group.sinks) {
    auto reduce = dyn_cast<tile::ReduceOp>(sink);
    if (auto store = dyn_cast<tile::StoreOp>(sink)) {
      storeBlock(store, laneCoords, otherCoords);
      continue;
    }
    if (!reduce) {
      write(sink, laneCoords, otherCoords);
      continue;
    }
    bool alongLanes = static_cast<int64_t>(reduce.getDim()) == lanes;
    for (const Coord &other : otherCoords)
      for (auto [n, lane] : llvm::enumerate(laneCoords)) {
        Value element = evaluator.at(reduce.getTile(), pointOf(lane, other));
        Value &sum = alongLanes ? partial[sink][other.number] : next[slot + n];
        sum = sum ? combine(reduce, sum, element) : element;
      }
    if (!alongLanes)
      slot += laneCoords.size();
  }
  evaluator.popScope();
  return next;
}

/// Row vectors of the reductions.
void NestEmitter::Nest::finish() {
  for (tile::ReduceOp reduce : across) {
    RowsPlace place;
    place.replicated = true;
    for (int64_t k = 0; k < others; ++k) {
      Coord row = evaluator.element(e.integer(k), k);
      Value start = evaluator.at(reduce.getInit(), {row});
      place.vectors.push_back(combine(reduce, start, horizontal(reduce, partial[reduce][k])));
    }
    evaluator.rows[reduce.getResult()] = place;
  }
  for (Operation *sink : group.sinks)
    for (Value result : sink->getResults())
      if (auto place = evaluator.locals.find(result); place != evaluator.locals.end()) {
        place->second.clip[1 - lanes] = clip;
        place->second.lanesEnd = lanesEnd;
        if (loopsOverRanges())
          place->second.ranges = ranges;
      }
}

void NestEmitter::Nest::emit() {
  for (Operation *sink : group.sinks)
    if (auto store = dyn_cast<tile::StoreOp>(sink))
      if (Value past = goesPastCaches(store))
        pastCaches[store] = past;
  if (canLoop())
    emitLoopOverGroups();
  else if (canLoopAcross())
    emitLoopAcross();
  else
    emitGroups();
  if (!pastCaches.empty())
    e.orderStores();
  finish();
}

void NestEmitter::emit(const NestGroup &group) {
  if (group.empty())
    return;
  Operation *first = group.sinks[0];
  if (typeOf(visited(first)).getRank() != 2) {
    evaluator.reportUnsupported(first, "only tiles of two dimensions are kept in scratch");
    return;
  }
  if (turnsInBlocks(first))
    return emitTurned(cast<tile::MapOp>(first));
  Nest(*this, group).emit();
}

/// Row vectors on the stack, made by a loop.
void NestEmitter::emitRowsOnStack(tile::MapOp map) {
  SmallVector<RowsPlace> places(map.getNumResults());
  int64_t extent = typeOf(map.getResult(0)).getDim(0);
  for (auto [place, result] : llvm::zip(places, map.getResults()))
    place.memory = e.stackArray(movedAs(typeOf(result).getElementType()), extent);
  Value begin = evaluator.firstRow ? evaluator.firstRow : e.integer(0);
  Value end = evaluator.firstRow ? evaluator.endRow : e.integer(extent);
  e.loop(begin, end, e.lanes(), {}, [&](Value first, ValueRange) -> Values {
    evaluator.pushScope();
    Coord lane = evaluator.lanesFrom(first, -1, true);
    for (auto [place, result] : llvm::zip(places, map.getResults()))
      storeRow(e, place.memory, first, evaluator.compute(result, {lane}));
    evaluator.popScope();
    return {};
  });
  for (auto [place, result] : llvm::zip(places, map.getResults()))
    evaluator.rows[result] = place;
}

void NestEmitter::emitRows(tile::MapOp map) {
  bool onStack =
      llvm::all_of(map.getResults(),
                   [&](Value result) { return livesOnStack(e, typeOf(result)); }) &&
      llvm::all_of(map.getInputs(), [&](Value input) { return evaluator.keepInMemory(input); });
  if (onStack)
    return emitRowsOnStack(map);
  TileType type = typeOf(map.getResult(0));
  auto layout = cast<tile::LanesAttr>(type.getLayout());
  bool replicated = layout.getWidth() == 1;
  int64_t width = replicated ? 1 : e.lanes();
  SmallVector<RowsPlace> places(map.getNumResults());
  evaluator.pushScope();
  for (int64_t n = 0; n * width < type.getDim(0); ++n) {
    Value index = e.integer(n * width);
    Coord coord = replicated ? evaluator.element(index, n)
                             : evaluator.lanesFrom(index, n, (n + 1) * width <= type.getDim(0));
    for (auto [place, result] : llvm::zip(places, map.getResults())) {
      place.replicated = replicated;
      place.vectors.push_back(evaluator.compute(result, {coord}));
    }
  }
  evaluator.popScope();
  for (auto [place, result] : llvm::zip(places, map.getResults()))
    evaluator.rows[result] = place;
}

} // namespace heddle::compiler::cpu
