// Products and sweeps. The first product of attention with its write-back, 64 queries x 128 keys:
//
//   for j = 0, 128, 4 carrying m[4]                          4 keys x 4 vectors of 16 queries
//     acc[16] = for d = 0, 64, 1 carrying acc[16]            one FMA each
//     s = map(acc) ; store s ; m = max(m, s)                 on registers
//
// The loop over the other dimension runs to the clip where a tile is cut short, in blocks, then one
// by one. Reductions along that dimension are carried as one vector per vector of lanes; reductions
// along the lanes give splats, and then the other dimension is unrolled.
#include "compiler/targets/cpu/Nests.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

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

/// The tile whose points a sink visits.
static Value visited(Operation *op) {
  if (auto reduce = dyn_cast<tile::ReduceOp>(op))
    return reduce.getTile();
  if (auto store = dyn_cast<tile::StoreOp>(op))
    return store.getTile();
  return op->getResult(0);
}

static bool isStreamed(Value tile) {
  return typeOf(tile).getSpace() == tile::Space::Reg &&
         isa_and_nonnull<tile::MapOp, tile::MmaOp>(tile.getDefiningOp());
}

/// Operand tiles that op reads at its own points.
static SmallVector<Value> tileOperands(Operation *op) {
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

/// Whether anything in a kernel or a program reads the tensor.
static bool isRead(Operation *within, StringRef tensor) {
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

//===------------------------------------------------------------------------------------------===//
// One nest
//===------------------------------------------------------------------------------------------===//

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

struct NestEmitter::Nest {
  Nest(NestEmitter &emitter, const NestGroup &group);
  void emit();

  NestEmitter &emitter;
  Evaluator &evaluator;
  VectorBuilder &e;
  const NestGroup &group;
  TileType type;       ///< of the visited tile
  int64_t lanes = 0;   ///< its dimension along the lanes
  int64_t vectors = 1; ///< along the lanes
  int64_t others = 1;  ///< extent of the other dimension
  Value clip;          ///< of the other dimension, null: none
  Value lanesEnd;      ///< of the rows along the lanes, null: all are there
  int64_t blockVectors = 1, blockOthers = 1;
  LaneRanges ranges;                     ///< of the other dimension, by groups of vectors
  bool unrolled = false;                 ///< the other dimension, because of splats
  SmallVector<tile::ReduceOp> carried;   ///< reductions along the other dimension
  SmallVector<tile::ReduceOp> across;    ///< reductions along the lanes
  DenseMap<Operation *, Values> partial; ///< of `across`, per other index

  DenseMap<Operation *, Value> pastCaches; ///< of stores that may be, whether they are

  Value goesPastCaches(tile::StoreOp store);
  void storeBlock(tile::StoreOp store, ArrayRef<Coord> laneCoords, ArrayRef<Coord> otherCoords);
  Value combine(tile::ReduceOp reduce, Value a, Value b);
  Value horizontal(tile::ReduceOp reduce, Value vector);
  Values body(ArrayRef<Coord> laneCoords, Value first, int64_t count, int64_t number,
              ValueRange carriedIn);
  Values overOthers(ArrayRef<Coord> laneCoords, Values carriedIn);
  void write(Operation *sink, ArrayRef<Coord> laneCoords, ArrayRef<Coord> otherCoords);
  Point pointOf(const Coord &lane, const Coord &other) {
    Point point(2);
    point[lanes] = lane;
    point[1 - lanes] = other;
    return point;
  }
  void finish();
  bool canLoop();
  bool canLoopAcross();
  void emitLoopAcross();
  void emitGroups();
  void emitLoopOverGroups();
  void findRanges(ArrayRef<tile::MmaOp> products);
  bool loopsOverRanges() const;
};

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
  constexpr int64_t kMany = 64; // vectors side by side: too much code, so a loop has one body
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
  bool loopsAcross = !across.empty() && others * vectors > kMany;
  blockVectors = products.empty() ? std::min<int64_t>(vectors, loopsAcross ? 1 : 4)
                 : dot            ? 1
                                  : emitter.blocking.vectors;
  blockOthers = products.empty() ? 1 : dot ? std::min<int64_t>(others, 4) : emitter.blocking.others;
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

/// Whether the store leaves a result that nothing in the program reads: workspace is read later,
/// and so are the states of a bank or of a tree's nodes.
static bool leavesResult(tile::StoreOp store) {
  auto view = store.getView().getDefiningOp<tile::ViewOp>();
  auto program = store->getParentOfType<tile::ProgramOp>();
  if (!view || !program)
    return false;
  bool isResult = llvm::any_of(program.getOps<tile::TensorOp>(), [&](tile::TensorOp tensor) {
    return tensor.getResult() && tensor.getName() == view.getName();
  });
  return isResult && !isRead(program, view.getName());
}

/// Whether the lines that a store writes are neither read before nor after: then they need not pass
/// through the caches, which read a line before they write to it. That is so for a result that is
/// left, where vectors start at multiples of their size, and the tile is not made from the very
/// memory it goes to. Null: never.
Value NestEmitter::Nest::goesPastCaches(tile::StoreOp store) {
  const GlobalPlace &target = group.targets.find(store)->second;
  if (!target.view.element.isF32() || lanes != 1 || type.getDim(1) % e.lanes() != 0 ||
      target.view.access != tile::Access::Dense || !target.valid.empty() ||
      VectorBuilder::constantOf(target.view.strides[1]) != 1 || !leavesResult(store))
    return {};
  Type i64 = e.builder.getI64Type();
  auto number = [&](Value pointer) {
    return Value(LLVM::PtrToIntOp::create(e.builder, e.loc, i64, pointer));
  };
  auto compare = [&](arith::CmpIPredicate predicate, Value a, Value b) {
    return Value(arith::CmpIOp::create(e.builder, e.loc, predicate, a, b));
  };
  auto constant = [&](int64_t value) {
    return Value(LLVM::ConstantOp::create(e.builder, e.loc, e.builder.getI64IntegerAttr(value)));
  };
  Value zero = e.integer(0);
  Value first = number(globalAddress(e, target, {Coord{zero}, Coord{zero}}));
  Value stride = arith::IndexCastOp::create(e.builder, e.loc, i64, target.view.strides[0]);
  Value bytes = arith::MulIOp::create(e.builder, e.loc, stride, constant(sizeof(float)));
  Value low =
      arith::AndIOp::create(e.builder, e.loc, arith::OrIOp::create(e.builder, e.loc, first, bytes),
                            constant(e.lanes() * static_cast<int64_t>(sizeof(float)) - 1));
  Value past = compare(arith::CmpIPredicate::eq, low, constant(0));
  store->getParentOfType<tile::KernelOp>().walk([&](tile::LoadOp load) {
    auto source = evaluator.globals.find(load.getResult());
    bool before =
        load->getBlock()->findAncestorOpInBlock(*store); // so that its pointer is known here
    if (before && source != evaluator.globals.end() &&
        typeOf(load.getResult()).getShape() == type.getShape())
      past = arith::AndIOp::create(e.builder, e.loc, past,
                                   compare(arith::CmpIPredicate::ne,
                                           number(source->second.view.pointer),
                                           number(target.view.pointer)));
  });
  return past;
}

void NestEmitter::Nest::storeBlock(tile::StoreOp store, ArrayRef<Coord> laneCoords,
                                   ArrayRef<Coord> otherCoords) {
  const GlobalPlace &target = group.targets.find(store)->second;
  SmallVector<std::pair<Point, Value>> block;
  for (const Coord &other : otherCoords)
    for (const Coord &lane : laneCoords) {
      Point point = pointOf(lane, other);
      block.emplace_back(point, evaluator.at(store.getTile(), point));
    }
  auto storeAll = [&](bool past) -> Values {
    for (auto &[point, vector] : block)
      if (past)
        e.storePastCaches(vector, globalAddress(e, target, point));
      else
        storeGlobal(e, target, point, type.getShape(), vector);
    return {};
  };
  Value past = pastCaches.lookup(store);
  if (past)
    e.branch(past, {}, [&] { return storeAll(true); }, [&] { return storeAll(false); });
  else
    storeAll(false);
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

/// The loop over the other dimension for some vectors of lanes.
Values NestEmitter::Nest::overOthers(ArrayRef<Coord> laneCoords, Values values) {
  if (unrolled) {
    for (int64_t k = 0; k < others; k += blockOthers)
      values = body(laneCoords, e.integer(k), std::min(blockOthers, others - k), k, values);
    return values;
  }
  auto block = [&](int64_t count) {
    return [&, count](Value index, ValueRange carriedIn) {
      return body(laneCoords, index, count, -1, carriedIn);
    };
  };
  if (!clip && !loopsOverRanges()) {
    int64_t full = others / blockOthers * blockOthers, rest = others - full;
    // A narrow rest waits for its sums: it shares the last whole block, in two halves.
    int64_t half = (blockOthers + rest) / 2;
    bool halves = rest > 0 && 3 * rest <= blockOthers && full > 0 && (blockOthers + rest) % 8 == 0;
    if (halves)
      full -= blockOthers;
    if (full > 0)
      values = e.loop(e.integer(0), e.integer(full), blockOthers, values, block(blockOthers));
    if (halves)
      values = e.loop(e.integer(full), e.integer(others), half, values, block(half));
    else if (rest > 0)
      values = body(laneCoords, e.integer(full), rest, -1, values);
    return values;
  }
  Value begin = e.integer(0), end = e.integer(others);
  if (clip)
    end = e.maxIndex(e.minIndex(clip, end), e.integer(0));
  if (loopsOverRanges()) {
    // What lies behind a range is masked, so it ends with a whole block where there is room.
    auto [lo, hi] = ranges.at(e, laneCoords[0].number, laneCoords[0].index);
    begin = e.minIndex(lo, end); // even, or the odd end of an empty loop
    Value wanted = arith::SubIOp::create(e.builder, e.loc, e.maxIndex(hi, begin), begin);
    Value blocks = arith::DivUIOp::create(e.builder, e.loc, e.plus(wanted, blockOthers - 1),
                                          e.integer(blockOthers));
    end = e.minIndex(e.plus(begin, e.times(blocks, blockOthers)), end);
  }
  Value length = arith::SubIOp::create(e.builder, e.loc, end, begin);
  Value rest = arith::RemUIOp::create(e.builder, e.loc, length, e.integer(blockOthers));
  Value full = arith::SubIOp::create(e.builder, e.loc, end, rest);
  values = e.loop(begin, full, blockOthers, values, block(blockOthers));
  if (blockOthers == 1)
    return values;
  // A pair whose second half is cut off is written by the last, odd step.
  bool pairs = llvm::any_of(group.sinks, [&](Operation *sink) {
    return llvm::any_of(sink->getResults(), [](Value result) {
      return isa<tile::PairsAttr>(typeOf(result).getLayout());
    });
  });
  if (pairs && blockOthers > 2) {
    Value odd = arith::RemUIOp::create(e.builder, e.loc, rest, e.integer(2));
    Value even = arith::SubIOp::create(e.builder, e.loc, end, odd);
    values = e.loop(full, even, 2, values, block(2));
    full = even;
  }
  return e.loop(full, end, 1, values, block(1));
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

/// Whether one body can serve all groups of vectors: then there are several, whole, and what they
/// read by vector can be read from memory.
bool NestEmitter::Nest::canLoop() {
  int64_t rows = blockVectors * e.lanes();
  if (vectors <= blockVectors || type.getDim(lanes) % rows != 0 || !across.empty())
    return false;
  for (tile::ReduceOp reduce : carried)
    if (typeOf(reduce.getResult()).getElementType().getIntOrFloatBitWidth() != 32)
      return false;
  return llvm::all_of(group.sinks, [&](Operation *sink) {
    return llvm::all_of(tileOperands(sink), [&](Value operand) {
      return llvm::is_contained(group.sinks, operand.getDefiningOp()) ||
             evaluator.keepInMemory(operand);
    });
  });
}

/// Whether one body can serve all vectors of few rows, whose reductions along the lanes are carried
/// as a vector each.
bool NestEmitter::Nest::canLoopAcross() {
  if (across.empty() || !carried.empty() || blockVectors != 1 || vectors < 2 ||
      type.getDim(lanes) % e.lanes() != 0)
    return false;
  for (tile::ReduceOp reduce : across)
    if (!typeOf(reduce.getResult()).getElementType().isF32() ||
        (reduce.getKind() != tile::Reduction::Sum && reduce.getKind() != tile::Reduction::Max))
      return false;
  return llvm::all_of(group.sinks, [&](Operation *sink) {
    return llvm::all_of(tileOperands(sink), [&](Value operand) {
      return llvm::is_contained(group.sinks, operand.getDefiningOp()) ||
             evaluator.keepInMemory(operand, /*splatsToo=*/true);
    });
  });
}

void NestEmitter::Nest::emitLoopAcross() {
  Values start;
  for (tile::ReduceOp reduce : across)
    start.append(others, e.splat(reduce.getKind() == tile::Reduction::Max
                                     ? -std::numeric_limits<double>::infinity()
                                     : 0));
  auto spread = [&](ValueRange values) {
    for (auto [n, reduce] : llvm::enumerate(across)) {
      ValueRange own = values.slice(n * others, others);
      partial[reduce].assign(own.begin(), own.end());
    }
  };
  Values sums = e.loop(e.integer(0), e.integer(type.getDim(lanes)), e.lanes(), start,
                       [&](Value first, ValueRange carriedIn) {
                         evaluator.pushScope();
                         spread(carriedIn);
                         overOthers({evaluator.lanesFrom(first, -1, true)}, {});
                         Values next;
                         for (tile::ReduceOp reduce : across)
                           next.append(partial[reduce].begin(), partial[reduce].end());
                         evaluator.popScope();
                         return next;
                       });
  spread(sums);
}

/// A loop over the groups of vectors; reductions go through the stack.
void NestEmitter::Nest::emitLoopOverGroups() {
  int64_t width = e.lanes(), extent = type.getDim(lanes);
  SmallVector<RowsPlace> results;
  auto vectorType = [&](tile::ReduceOp reduce) {
    return typeOf(reduce.getResult()).getElementType().isF32() ? e.floats : e.ints;
  };
  for (tile::ReduceOp reduce : carried) {
    results.emplace_back();
    results.back().memory = e.stackArray(vectorType(reduce), vectors);
  }
  Value end = e.integer(extent);
  if (lanesEnd)
    end = e.minIndex(lanesEnd, end);
  Value begin = e.integer(0);
  if (evaluator.firstRow) {
    begin = evaluator.firstRow;
    end = lanesEnd ? e.minIndex(end, evaluator.endRow) : evaluator.endRow;
  }
  e.loop(begin, end, blockVectors * width, {}, [&](Value first, ValueRange) -> Values {
    evaluator.pushScope();
    SmallVector<Coord> laneCoords;
    for (int64_t n = 0; n < blockVectors; ++n)
      laneCoords.push_back(evaluator.lanesFrom(e.plus(first, n * width), -1, true));
    Values values;
    for (tile::ReduceOp reduce : carried)
      for (const Coord &lane : laneCoords)
        values.push_back(evaluator.at(reduce.getInit(), {lane}));
    values = overOthers(laneCoords, values);
    for (auto [n, value] : llvm::enumerate(values))
      e.store(value,
              e.address(results[n / blockVectors].memory, getElementTypeOrSelf(value.getType()),
                        laneCoords[n % blockVectors].index));
    evaluator.popScope();
    return {};
  });
  for (auto [reduce, place] : llvm::zip(carried, results)) {
    for (int64_t n = 0; n < vectors && !livesOnStack(e, typeOf(reduce.getResult())); ++n)
      place.vectors.push_back(
          e.load(vectorType(reduce), e.address(place.memory, vectorType(reduce), e.integer(n))));
    evaluator.rows[reduce.getResult()] = place;
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

void NestEmitter::Nest::emitGroups() {
  int64_t width = e.lanes(), extent = type.getDim(lanes);
  for (tile::ReduceOp reduce : across) {
    partial[reduce].assign(others, Value());
    if (extent % width != 0) {
      evaluator.reportUnsupported(reduce, "a reduction along lanes of which some are padding");
      return;
    }
  }
  for (tile::ReduceOp reduce : carried)
    evaluator.rows[reduce.getResult()] = RowsPlace();
  for (int64_t g = 0; g < vectors; g += blockVectors) {
    evaluator.pushScope();
    SmallVector<Coord> laneCoords;
    for (int64_t n = g; n < std::min(g + blockVectors, vectors); ++n)
      laneCoords.push_back(evaluator.lanesFrom(e.integer(n * width), n, (n + 1) * width <= extent));
    Values values;
    for (tile::ReduceOp reduce : carried)
      for (const Coord &lane : laneCoords)
        values.push_back(evaluator.at(reduce.getInit(), {lane}));
    values = overOthers(laneCoords, values);
    for (auto [n, value] : llvm::enumerate(values))
      evaluator.rows[carried[n / laneCoords.size()].getResult()].vectors.push_back(value);
    evaluator.popScope();
  }
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
  auto elementOf = [](Value tile) { return typeOf(tile).getElementType(); };
  for (auto [place, result] : llvm::zip(places, map.getResults()))
    place.memory = e.stackArray(elementOf(result), extent);
  Value begin = evaluator.firstRow ? evaluator.firstRow : e.integer(0);
  Value end = evaluator.firstRow ? evaluator.endRow : e.integer(extent);
  e.loop(begin, end, e.lanes(), {}, [&](Value first, ValueRange) -> Values {
    evaluator.pushScope();
    Coord lane = evaluator.lanesFrom(first, -1, true);
    for (auto [place, result] : llvm::zip(places, map.getResults()))
      e.store(evaluator.compute(result, {lane}), e.address(place.memory, elementOf(result), first));
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
