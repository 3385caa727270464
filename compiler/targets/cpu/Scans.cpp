// Ops that go through scratch element by element or row by row: running sums, sums whose result
// lies in scratch, tiles of one dimension, triangular systems.
//
//   solve, 4 rows x 4 vectors of right-hand sides:  acc = B[i..i+4];  for j < i: acc -= L[i..][j]
//   X[j] then the 4 x 4 triangle on registers, and X[i..i+4] = acc
#include "compiler/targets/cpu/Nests.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

/// a op b of a reduction or scan.
static Value combined(Evaluator &evaluator, Operation *op, tile::Reduction kind, Value a, Value b) {
  VectorBuilder &e = evaluator.e;
  switch (kind) {
  case tile::Reduction::Sum:
    return e.add(a, b);
  case tile::Reduction::Max:
    return e.max(b, a);
  case tile::Reduction::Min:
    return e.min(b, a);
  case tile::Reduction::Or:
    break;
  }
  return evaluator.reportUnsupported(op, "this kind of reduction through scratch");
}

void NestEmitter::overIndices(int64_t extent, function_ref<void(Value)> body) {
  e.loop(e.integer(0), e.integer(extent), 1, {}, [&](Value index, ValueRange) -> Values {
    evaluator.pushScope();
    body(index);
    evaluator.popScope();
    return {};
  });
}

/// The coordinates that cover a dimension with vectors, by number: rows in registers can be read.
SmallVector<Coord> NestEmitter::vectorsOf(int64_t extent) {
  SmallVector<Coord> coords;
  for (int64_t first = 0; first < extent; first += e.lanes())
    coords.push_back(
        evaluator.lanesFrom(e.integer(first), first / e.lanes(), first + e.lanes() <= extent));
  return coords;
}

void NestEmitter::emitVector(Operation *op) {
  // All results of a vector before the next one: they may lie where the operands do.
  for (const Coord &coord : vectorsOf(typeOf(op->getResult(0)).getDim(0)))
    for (Value result : op->getResults())
      if (auto place = evaluator.locals.find(result); place != evaluator.locals.end())
        storeLocal(e, place->second, {coord}, evaluator.compute(result, {coord}));
}

void NestEmitter::emitOne(Value tile) {
  RowsPlace rows;
  rows.replicated = true;
  rows.vectors.push_back(evaluator.compute(tile, {}));
  evaluator.rows[tile] = rows;
}

/// Coordinates of one point of the result, from those of the tile without the reduced dimension.
static Point without(ArrayRef<Coord> point, int64_t dim) {
  Point rest(point.begin(), point.end());
  rest.erase(rest.begin() + dim);
  return rest;
}

/// All elements along the reduced dimension, which has the lanes, for one point of the others.
Value NestEmitter::sumAlongLanes(tile::ReduceOp reduce, Point point) {
  int64_t dim = reduce.getDim(), extent = typeOf(reduce.getTile()).getDim(dim), width = e.lanes();
  bool sum = reduce.getKind() == tile::Reduction::Sum;
  if (extent < width && !sum)
    return evaluator.reportUnsupported(reduce,
                                       "a maximum along fewer elements than there are lanes");
  Value total;
  for (const Coord &lanes : vectorsOf(extent)) {
    point[dim] = lanes;
    Value vector = evaluator.at(reduce.getTile(), point);
    if (Value mask = laneMask(e, lanes.index, e.integer(extent)))
      vector = e.select(mask, vector, sum ? e.splat(0) : total);
    total = total ? combined(evaluator, reduce, reduce.getKind(), total, vector) : vector;
  }
  for (int64_t h = width / 2; h >= 1; h /= 2) {
    SmallVector<int64_t> order;
    for (int64_t lane = 0; lane < width; ++lane)
      order.push_back(lane ^ h);
    Value other = vector::ShuffleOp::create(e.builder, e.loc, total, total, order);
    total = combined(evaluator, reduce, reduce.getKind(), total, other);
  }
  return total;
}

/// The same where another dimension has the lanes: one vector of results. What a tile in scratch
/// has beyond its clip or its ranges is left from others.
Value NestEmitter::sumAcrossLanes(tile::ReduceOp reduce, Point point) {
  Value tile = reduce.getTile();
  int64_t dim = reduce.getDim(), rank = typeOf(tile).getRank();
  Value begin = e.integer(0), end = e.integer(typeOf(tile).getDim(dim));
  if (Value clip = evaluator.clipOf(tile, dim))
    end = e.maxIndex(e.minIndex(clip, end), begin);
  if (LaneRanges ranges = rank == 2 ? evaluator.rangesOf(tile) : LaneRanges()) {
    auto [lo, hi] = ranges.at(e, point[1 - dim].number, point[1 - dim].index);
    begin = e.minIndex(lo, end), end = e.minIndex(hi, end);
  }
  Value start = evaluator.at(reduce.getInit(), without(point, dim));
  return e.loop(begin, end, 1, start, [&](Value index, ValueRange carried) -> Values {
    evaluator.pushScope();
    point[dim] = evaluator.element(index);
    Value next = combined(evaluator, reduce, reduce.getKind(), carried[0],
                          evaluator.at(reduce.getTile(), point));
    evaluator.popScope();
    return {next};
  })[0];
}

void NestEmitter::emitSum(tile::ReduceOp reduce) {
  TileType type = typeOf(reduce.getTile());
  Value result = reduce.getResult();
  int64_t dim = reduce.getDim(), lanes = lanesDimOf(type), rank = type.getRank();
  if (rank == 1) { // one number, in every lane
    Value total = sumAlongLanes(reduce, Point(1));
    RowsPlace rows;
    rows.replicated = true;
    rows.vectors.push_back(
        combined(evaluator, reduce, reduce.getKind(), evaluator.at(reduce.getInit(), {}), total));
    evaluator.rows[result] = rows;
    return;
  }
  const LocalPlace place = evaluator.locals.find(result)->second;
  SmallVector<int64_t> outer; // dimensions that are looped over one by one
  for (int64_t d = 0; d < rank; ++d)
    if (d != dim && d != lanes)
      outer.push_back(d);
  Point point(rank);
  auto inner = [&] {
    if (lanes == dim) {
      Point at = without(point, dim);
      Value total = sumAlongLanes(reduce, point);
      storeElement(
          e, place, at,
          combined(evaluator, reduce, reduce.getKind(), evaluator.at(reduce.getInit(), at), total));
      return;
    }
    for (const Coord &coord : vectorsOf(type.getDim(lanes))) {
      point[lanes] = coord;
      storeLocal(e, place, without(point, dim), sumAcrossLanes(reduce, point));
    }
  };
  if (outer.size() > 2) {
    evaluator.reportUnsupported(reduce, "a reduction of a tile of more than three dimensions");
  } else if (outer.empty()) {
    inner();
  } else {
    overIndices(type.getDim(outer[0]), [&](Value first) {
      point[outer[0]] = evaluator.element(first);
      if (outer.size() == 1)
        return inner();
      overIndices(type.getDim(outer[1]), [&](Value second) {
        point[outer[1]] = evaluator.element(second);
        inner();
      });
    });
  }
}

void NestEmitter::emitScan(tile::ScanOp scan) {
  TileType type = typeOf(scan.getTile());
  const LocalPlace place = evaluator.locals.find(scan.getResult())->second;
  int64_t rank = type.getRank(), dim = scan.getDim(), extent = type.getDim(dim);
  if (rank > 2 || scan.getKind() != tile::Reduction::Sum) {
    evaluator.reportUnsupported(scan, "a scan of more than two dimensions, or no sum");
    return;
  }
  auto walk = [&](Point point, bool vectors) {
    e.loop(e.integer(0), e.integer(extent), 1, e.splat(0),
           [&](Value index, ValueRange carried) -> Values {
             evaluator.pushScope();
             if (scan.getReverse())
               index = arith::SubIOp::create(e.builder, e.loc, e.integer(extent - 1), index);
             point[dim] = evaluator.element(index);
             Value next = e.add(carried[0], evaluator.at(scan.getTile(), point));
             Value written = scan.getExclusive() ? carried[0] : next;
             if (vectors)
               storeLocal(e, place, point, written);
             else
               storeElement(e, place, point, written);
             evaluator.popScope();
             return {next};
           });
  };
  if (rank == 1)
    return walk(Point(1), false);
  Point point(2);
  int64_t other = 1 - dim;
  if (lanesDimOf(typeOf(scan.getResult())) == other) {
    for (const Coord &coord : vectorsOf(type.getDim(other))) {
      point[other] = coord;
      walk(point, true);
    }
    return;
  }
  overIndices(type.getDim(other), [&](Value index) {
    point[other] = evaluator.element(index);
    walk(point, false);
  });
}

/// `rows` rows from `first` on, for the columns given: vectors of right-hand sides, or one.
void NestEmitter::solveRows(tile::SolveUnitLowerOp solve, const LocalPlace &place, Value first,
                            int64_t rows, ArrayRef<Coord> columns) {
  evaluator.pushScope();
  SmallVector<Coord> at;
  for (int64_t r = 0; r < rows; ++r)
    at.push_back(evaluator.element(e.plus(first, r)));
  Values sums;
  for (const Coord &row : at)
    for (const Coord &column : columns)
      sums.push_back(evaluator.at(solve.getRhs(), {row, column}));
  auto negated = [&](const Coord &row, const Coord &column) {
    return e.sub(e.splat(0), evaluator.at(solve.getLower(), {row, column}));
  };
  sums = e.loop(e.integer(0), first, 1, sums, [&](Value j, ValueRange carried) -> Values {
    evaluator.pushScope();
    Coord done = evaluator.element(j);
    Values known, next(carried.begin(), carried.end());
    for (const Coord &column : columns)
      known.push_back(loadLocal(e, place, {done, column}));
    for (auto [r, row] : llvm::enumerate(at)) {
      Value factor = negated(row, done);
      for (auto [c, value] : llvm::enumerate(known)) {
        Value &sum = next[r * columns.size() + c];
        sum = e.fma(factor, value, sum);
      }
    }
    evaluator.popScope();
    return next;
  });
  for (size_t r = 0; r < at.size(); ++r) {
    for (size_t s = 0; s < r; ++s) {
      Value factor = negated(at[r], at[s]);
      for (size_t c = 0; c < columns.size(); ++c) {
        Value &sum = sums[r * columns.size() + c];
        sum = e.fma(factor, sums[s * columns.size() + c], sum);
      }
    }
    for (auto [c, column] : llvm::enumerate(columns)) {
      Value sum = sums[r * columns.size() + c];
      if (column.lanes)
        storeLocal(e, place, {at[r], column}, sum);
      else
        storeElement(e, place, {at[r], column}, sum);
    }
  }
  evaluator.popScope();
}

void NestEmitter::emitSolve(tile::SolveUnitLowerOp solve) {
  TileType type = typeOf(solve.getRhs());
  const LocalPlace place = evaluator.locals.find(solve.getResult())->second;
  int64_t rows = type.getDim(0), columns = type.getDim(1);
  auto allRows = [&](ArrayRef<Coord> block) {
    forPieces(rows, 4,
              [&](Value first, int64_t count) { solveRows(solve, place, first, count, block); });
  };
  if (lanesDimOf(typeOf(solve.getResult())) == 1) {
    SmallVector<Coord> vectors = vectorsOf(columns);
    for (size_t first = 0; first < vectors.size(); first += blocking.vectors)
      allRows(ArrayRef<Coord>(vectors).slice(first).take_front(blocking.vectors));
    return;
  }
  overIndices(columns, [&](Value column) { allRows({evaluator.element(column)}); });
}

} // namespace heddle::compiler::cpu
