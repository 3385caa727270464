// The loops of a nest: over the other dimension to the clip or a range of each group of vectors, in
// blocks and then one by one; over the groups of vectors by one body where one can serve them all.
#include "compiler/targets/cpu/Nest.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>
#include <utility>

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::typeOf;

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

/// The factors of a tile's rows, where the nest does nothing but scale it where it lies; or null.
Value NestEmitter::Nest::scaledInPlace() {
  Operation *sink = group.sinks[0];
  auto product = dyn_cast<tile::MmaOp>(sink); // of the matrix unit: what it starts from
  auto map = product && isAmxProduct(product) ? product.getInit().getDefiningOp<tile::MapOp>()
                                              : dyn_cast<tile::MapOp>(sink);
  if (!map || group.sinks.size() > 1 || map.getNumResults() != 1 || map.getInputs().size() != 2 ||
      map.getInputPositions(1) != SmallVector<int64_t>{lanes} ||
      !llvm::hasNItems(map.getBody().front(), 2) ||
      !isa<arith::MulFOp>(map.getBody().front().front()))
    return {};
  auto from = evaluator.locals.find(map.getInputs()[0]);
  auto to = evaluator.locals.find(sink->getResult(0));
  bool stays = from != evaluator.locals.end() && to != evaluator.locals.end() &&
               from->second.offset == to->second.offset && map.getInputPositions(0).size() == 2;
  return stays ? map.getInputs()[1] : Value();
}

Value NestEmitter::Nest::anyOtherThanOne(Value factors, ArrayRef<Coord> laneCoords) {
  Value any;
  for (const Coord &lane : laneCoords) {
    Value other = arith::CmpFOp::create(e.builder, e.loc, arith::CmpFPredicate::UNE,
                                        evaluator.at(factors, {lane}), e.splat(1));
    any = any ? e.orInt(any, other) : other;
  }
  Type word = e.builder.getIntegerType(e.lanes());
  Value bits = vector::BitCastOp::create(e.builder, e.loc, VectorType::get({1}, word), any);
  return arith::CmpIOp::create(
      e.builder, e.loc, arith::CmpIPredicate::ne,
      vector::ExtractOp::create(e.builder, e.loc, bits, int64_t(0)),
      arith::ConstantOp::create(e.builder, e.loc, e.builder.getIntegerAttr(word, 0)));
}

/// Whether the loop around a nest takes long to compile: it is one of several without masks, or
/// what it makes of scores takes many ops.
static bool isLong(tile::ForOp loop) {
  constexpr int64_t kManyOps = 8;
  auto isFull = [](tile::ForOp other) { return other.getKind() == tile::LoopKind::Full; };
  auto hasManyOps = [](tile::MapOp map) {
    return llvm::range_size(map.getBody().front().without_terminator()) > kManyOps;
  };
  return llvm::count_if(loop->getBlock()->getOps<tile::ForOp>(), isFull) > 1 ||
         llvm::any_of(loop.getBody().getOps<tile::MapOp>(), hasManyOps);
}

/// Where the last rows begin that fill half a block of vectors at most: they are computed a vector
/// at a time, since a whole block costs what all its rows cost. Null: no rows are missing, or that
/// code is not worth its compilation.
Value NestEmitter::Nest::tailOfRows(Value begin, Value end) {
  auto loop = dyn_cast<tile::ForOp>(group.sinks[0]->getParentOp());
  if (!lanesEnd || !hasProducts || blockVectors < 4 || !loop || isLong(loop))
    return {};
  Value block = e.integer(blockVectors * e.lanes());
  Value length = arith::SubIOp::create(e.builder, e.loc, end, begin);
  Value rest = arith::RemSIOp::create(e.builder, e.loc, e.maxIndex(length, e.integer(0)), block);
  Value isSmall = arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::sle, rest,
                                        e.integer(blockVectors / 2 * e.lanes()));
  return e.select(isSmall, arith::SubIOp::create(e.builder, e.loc, end, rest), end);
}

/// A loop over the groups of vectors; reductions go through the stack. Groups that are only scaled,
/// all by 1, are passed over.
void NestEmitter::Nest::emitLoopOverGroups() {
  Value factors = scaledInPlace();
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
  auto overVectors = [&](Value from, Value to, int64_t count) {
    e.loop(from, to, count * width, {}, [&](Value first, ValueRange) -> Values {
      evaluator.pushScope();
      SmallVector<Coord> laneCoords;
      for (int64_t n = 0; n < count; ++n)
        laneCoords.push_back(evaluator.lanesFrom(e.plus(first, n * width), -1, true));
      Values values;
      for (tile::ReduceOp reduce : carried)
        for (const Coord &lane : laneCoords)
          values.push_back(evaluator.at(reduce.getInit(), {lane}));
      if (factors)
        e.branch(
            anyOtherThanOne(factors, laneCoords), {}, [&] { return overOthers(laneCoords, {}); },
            [] { return Values(); });
      else
        values = overOthers(laneCoords, values);
      for (auto [n, value] : llvm::enumerate(values))
        e.store(value, e.address(results[n / count].memory, getElementTypeOrSelf(value.getType()),
                                 laneCoords[n % count].index));
      evaluator.popScope();
      return {};
    });
  };
  if (Value tail = tailOfRows(begin, end)) {
    overVectors(begin, tail, blockVectors);
    constexpr int64_t kInFlight = 8; // sums: two a cycle that wait for four
    const int64_t before = std::exchange(blockOthers, kInFlight);
    evaluator.asks = false;
    overVectors(tail, end, 1);
    evaluator.asks = true;
    blockOthers = before;
  } else {
    overVectors(begin, end, blockVectors);
  }
  for (auto [reduce, place] : llvm::zip(carried, results)) {
    for (int64_t n = 0; n < vectors && !livesOnStack(e, typeOf(reduce.getResult())); ++n)
      place.vectors.push_back(
          e.load(vectorType(reduce), e.address(place.memory, vectorType(reduce), e.integer(n))));
    evaluator.rows[reduce.getResult()] = place;
  }
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

} // namespace heddle::compiler::cpu
