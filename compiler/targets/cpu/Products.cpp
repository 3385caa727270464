// Matrix products in a register block: which kind, and those of few rows.
//
//   outer:  lanes along a result dimension: OuterProduct.cpp
//   dot:    16 partial sums along c, of 16 keys or of 4 keys with 4 queries, added up by exchanges;
//           for few rows, whose operands both lie with c contiguous
#include "compiler/support/Names.h"
#include "compiler/targets/cpu/OuterProduct.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;

Roles rolesOf(tile::MmaOp op, int64_t lanesDim) {
  Attribute lanesName = op.getCDims()[lanesDim];
  bool fromA = positionOf(op.getADims(), lanesName) >= 0;
  Roles roles;
  roles.lanes = fromA ? op.getA() : op.getB();
  roles.others = fromA ? op.getB() : op.getA();
  roles.lanesFree = positionOf(fromA ? op.getADims() : op.getBDims(), lanesName);
  roles.lanesSum = 1 - roles.lanesFree;
  roles.othersFree = positionOf(fromA ? op.getBDims() : op.getADims(), op.getCDims()[1 - lanesDim]);
  roles.othersSum = 1 - roles.othersFree;
  return roles;
}

Point pointOf(int64_t firstDim, const Coord &first, const Coord &second) {
  Point point(2);
  point[firstDim] = first;
  point[1 - firstDim] = second;
  return point;
}

Value dotOfPairs(VectorBuilder &e, Value accumulator, Value a, Value b) {
  return e.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", e.floats, {accumulator, a, b});
}

namespace {

/// Lanes first .. first + count of each of the parts, one part after the other.
Value lanesOfParts(VectorBuilder &e, Values parts, int64_t first, int64_t count) {
  for (; parts.size() > 1; first = 0, count *= 2) {
    Values joined;
    for (size_t n = 0; n < parts.size(); n += 2) {
      int64_t second = cast<VectorType>(parts[n].getType()).getDimSize(0) + first;
      SmallVector<int64_t> order = llvm::to_vector(llvm::seq(first, first + count));
      llvm::append_range(order, llvm::seq(second, second + count));
      joined.push_back(vector::ShuffleOp::create(e.builder, e.loc, parts[n], parts[n + 1], order));
    }
    parts = joined;
  }
  return parts[0];
}

} // namespace

bool isDotProduct(tile::MmaOp op) {
  // The operand with the result's lanes lies (or streams) with the contracted dimension innermost.
  auto lanes = cast<tile::LanesAttr>(cast<TileType>(op.getResult().getType()).getLayout());
  Roles roles = rolesOf(op, lanes.getDim());
  TileType type = cast<TileType>(roles.lanes.getType());
  if (type.getSpace() == tile::Space::Global)
    return roles.lanesSum == 1;
  auto inner = dyn_cast<tile::LanesAttr>(type.getLayout());
  return inner && inner.getDim() == roles.lanesSum;
}

void Evaluator::makeProduct(tile::MmaOp op) {
  if (isAmxProduct(op)) // what it starts from; emitAmxProduct adds the sums
    for (const Coord &other : block.others)
      for (const Coord &lane : block.lanes) {
        Point point = pointOf(block.lanesDim, lane, other);
        remember(op.getResult(), point, at(op.getInit(), point));
      }
  else if (isDotProduct(op))
    dotProduct(op);
  else
    OuterProduct(*this, op).emit();
}

void Evaluator::dotProduct(tile::MmaOp op) {
  Roles roles = rolesOf(op, block.lanesDim);
  bool pairs = op.getPrecision() == tile::Precision::BF16;
  int64_t width = e.lanes(), step = pairs ? 2 * width : width;
  int64_t extent = cast<TileType>(roles.lanes.getType()).getDim(roles.lanesSum);
  if (pairs && (!globals.count(roles.lanes) || !globals.count(roles.others))) {
    reportUnsupported(op, "operands of a dot product of bf16 pairs are not in memory");
    return;
  }
  Value clip = clipOf(roles.lanes, roles.lanesFree);
  Value lastRow = e.integer(cast<TileType>(roles.lanes.getType()).getDim(roles.lanesFree) - 1);
  if (clip)
    lastRow = e.minIndex(lastRow, e.plus(clip, -1));
  bool allThere =
      !clip && cast<TileType>(roles.lanes.getType()).getDim(roles.lanesFree) % width == 0;

  // One vector of `step` elements along the sum.
  auto piece = [&](Value tile, int64_t free, const Coord &row, Value c, bool whole) -> Value {
    Point point = pointOf(free, row, lanesFrom(c, -1, whole));
    if (!pairs) {
      Value vector = at(tile, point);
      Value inside = whole || globals.count(tile) ? Value() : laneMask(e, c, e.integer(extent));
      return inside ? e.select(inside, vector, e.splat(0)) : vector; // scratch is padded with junk
    }
    const GlobalPlace &place = globals.find(tile)->second;
    VectorType type = VectorType::get({step}, e.builder.getBF16Type());
    point[1 - free].lanes = false; // the address of the first element
    Value address = globalAddress(e, place, point);
    if (whole)
      return e.load(type, address);
    SmallVector<bool> inside(step);
    for (int64_t lane = 0; lane < step; ++lane)
      inside[lane] = *VectorBuilder::constantOf(c) + lane < extent;
    Value mask = arith::ConstantOp::create(
        e.builder, e.loc,
        DenseElementsAttr::get(VectorType::get({step}, e.builder.getI1Type()),
                               ArrayRef<bool>(inside)));
    Value zeros = arith::ConstantOp::create(
        e.builder, e.loc,
        DenseElementsAttr::get(type, e.builder.getFloatAttr(e.builder.getBF16Type(), 0.0)));
    return LLVM::MaskedLoadOp::create(e.builder, e.loc, type, address, mask, zeros,
                                      e.builder.getI32IntegerAttr(2));
  };
  const GlobalPlace *keyWords = pairs ? nullptr : wordRows(roles.lanes);
  auto kept = widened.find(roles.others);
  bool words = keyWords && kept != widened.end() && roles.lanesFree == 0 && roles.othersFree == 0;
  // Sums of some queries with a few keys: what is read of a key serves all of those queries.
  auto sumsOf = [&](ArrayRef<Coord> queries, const Coord &lane, Value firstKey) {
    SmallVector<Coord> keys;
    Values rowsAsked;
    Value firstRow = e.plus(lane.index, firstKey);
    bool first = queries.data() == block.others.data() && block.others[0].number <= 0;
    Later later = first && roles.lanesFree == 0 ? readAfter(roles.lanes) : Later();
    bool byLines = later.columns == extent; // each column of a row asks for its own
    for (int64_t t = 0; t < width / static_cast<int64_t>(queries.size()); ++t) {
      Value row = e.plus(firstRow, t);
      if (byLines) {
        for (int64_t ahead : later.ahead)
          rowsAsked.push_back(rowToAskFor(later, row, ahead));
      } else if (later.columns) {
        askForPart(later, row, 0, 1);
      }
      keys.push_back(element(allThere ? row : e.minIndex(row, lastRow)));
    }
    auto askForTurn = [&](Value c) {
      if (byLines && askForLines(later, firstRow, c, keys.size()))
        return;
      for (Value row : rowsAsked)
        askFor(later, row, c);
    };
    auto byWords = [&](Value c, ValueRange carried) {
      askForTurn(c);
      std::array<Values, 2> ys;
      for (const Coord &key : keys) {
        auto [even, odd] = loadWords(*keyWords, key, c);
        ys[0].push_back(even);
        ys[1].push_back(odd);
      }
      Values next(carried.begin(), carried.end());
      for (int parity : {0, 1})
        for (auto [q, query] : llvm::enumerate(queries)) {
          Value column = e.plus(c, parity * width);
          Value x = e.load(e.floats, kept->second.at(e, query.index, column));
          for (auto [k, y] : llvm::enumerate(ys[parity])) {
            Value &sum = next[q * keys.size() + k];
            sum = e.fma(x, y, sum);
          }
        }
      return next;
    };
    auto accumulate = [&](Value c, ValueRange carried, bool whole) {
      pushScope();
      askForTurn(c);
      Values xs, ys, next;
      for (const Coord &query : queries)
        xs.push_back(piece(roles.others, roles.othersFree, query, c, whole));
      for (const Coord &key : keys)
        ys.push_back(piece(roles.lanes, roles.lanesFree, key, c, whole));
      for (Value x : xs)
        for (Value y : ys) {
          Value sum = carried[next.size()];
          next.push_back(pairs ? dotOfPairs(e, sum, x, y) : e.fma(x, y, sum));
        }
      popScope();
      return next;
    };
    Values sums(width, e.splat(0));
    int64_t whole = words ? extent / (2 * width) * (2 * width) : 0, full = extent / step * step;
    if (whole > 0)
      sums = e.loop(e.integer(0), e.integer(whole), 2 * width, sums, byWords);
    if (whole < full)
      sums = e.loop(e.integer(whole), e.integer(full), step, sums,
                    [&](Value c, ValueRange carried) { return accumulate(c, carried, true); });
    if (full < extent)
      sums = accumulate(e.integer(full), sums, false);
    return sumsOfVectors(e, sums); // lane q n + t: query q, key t of n
  };
  // A vector's keys in turn, `count` at a time, by a loop: the code of one turn takes long to
  // compile.
  auto partsOf = [&](ArrayRef<Coord> queries, const Coord &lane, int64_t count) -> Values {
    const int64_t turns = width / count;
    if (turns == 1)
      return {sumsOf(queries, lane, e.integer(0))};
    return e.loop(e.integer(0), e.integer(width), count, Values(turns, e.splat(0)),
                  [&](Value first, ValueRange before) {
                    pushScope();
                    Values parts = llvm::to_vector(before.drop_front());
                    parts.push_back(sumsOf(queries, lane, first));
                    popScope();
                    return parts;
                  });
  };
  for (const Coord &lane : block.lanes) {
    ArrayRef<Coord> left = block.others;
    while (!left.empty()) {
      ArrayRef<Coord> queries = left.take_front(llvm::bit_floor(std::min<size_t>(left.size(), 4)));
      left = left.drop_front(queries.size());
      int64_t count = width / queries.size();
      Values parts = partsOf(queries, lane, count);
      for (auto [n, query] : llvm::enumerate(queries)) {
        Point point = pointOf(block.lanesDim, lane, query);
        Value own = lanesOfParts(e, parts, n * count, count);
        remember(op.getResult(), point, e.add(own, at(op.getInit(), point)));
      }
    }
  }
}

} // namespace heddle::compiler::cpu
