// A matrix product's register block with lanes along a result dimension:
//
//   acc[k][n] += other(k, c) * lanes(n, c)
//
// 4 vectors x 4 others: 16 accumulators carried through the loop over c, one broadcast and four
// vectors loaded for sixteen multiply-adds (dpbf16: two c at once, twice the work). Where rows of
// memory are walked, what comes after them is asked for in the same loop.
#include "compiler/targets/cpu/OuterProduct.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

namespace {

/// Whether the vectors are neighbours two by two.
bool comesInTwos(ArrayRef<Coord> lanes) {
  for (size_t n = 0; n + 1 < lanes.size(); n += 2)
    if (lanes[n].number < 0 || lanes[n + 1].number != lanes[n].number + 1 || !lanes[n + 1].whole)
      return false;
  return lanes.size() % 2 == 0;
}

bool isPairs(Value tile) { return isa<tile::PairsAttr>(typeOf(tile).getLayout()); }

/// The same address, related to no other: LLVM would keep few of a block's rows in registers and
/// add up the others' distances in each step.
Value onItsOwn(VectorBuilder &e, Value address) {
  return LLVM::LaunderInvariantGroupOp::create(e.builder, e.loc, address);
}

} // namespace

OuterProduct::OuterProduct(Evaluator &evaluator, tile::MmaOp op)
    : v(evaluator), e(evaluator.e), block(evaluator.block), op(op),
      roles(rolesOf(op, block.lanesDim)), pairs(op.getPrecision() == tile::Precision::BF16),
      step(pairs ? 2 : 1), extent(typeOf(roles.lanes).getDim(roles.lanesSum)) {}

void OuterProduct::emit() {
  Values sums;
  for (const Coord &other : block.others)
    for (const Coord &lane : block.lanes)
      sums.push_back(v.at(op.getInit(), pointOf(block.lanesDim, lane, other)));
  if (!arePacked()) {
    v.reportUnsupported(op, "operands of a product of bf16 pairs are not packed in pairs");
    return;
  }
  Value clip = commonClip();
  askForNext();
  findRange(clip);
  findRows();
  for (size_t n = 0; words && n < sums.size(); n += 2)
    std::tie(sums[n], sums[n + 1]) = v.byParity(sums[n], sums[n + 1]);
  findLines();
  planAsking();
  // Two steps at once where they are known to come in twos: 2 % of attention's time.
  bool twice = VectorBuilder::constantOf(begin) && VectorBuilder::constantOf(end) &&
               extent % (2 * step) == 0;
  const LocalPlace *weights = twice ? weightsInPairs() : nullptr;
  const int64_t width = twice ? 2 * step : step;
  sums = e.loop(begin, end, width, sums, [&](Value c, ValueRange carried) {
    for (const Evaluator::Share &share : shares)
      v.askForSome(share, c, width, extent);
    if (weights)
      return addPairs(*weights, c, carried);
    Values next = add(c, carried);
    return twice ? add(e.plus(c, step), next) : next;
  });
  for (size_t n = 0; words && n < sums.size(); n += 2)
    std::tie(sums[n], sums[n + 1]) = v.inOrder(sums[n], sums[n + 1]);
  int64_t n = 0;
  for (const Coord &other : block.others)
    for (const Coord &lane : block.lanes)
      v.remember(op.getResult(), pointOf(block.lanesDim, lane, other), sums[n++]);
}

bool OuterProduct::arePacked() {
  auto others = v.locals.find(roles.others);
  bool inRows = others != v.locals.end() && others->second.strides[roles.othersSum] == 1;
  return !pairs || (v.locals.count(roles.lanes) && isPairs(roles.lanes) &&
                    (v.globals.count(roles.others) || isPairs(roles.others) || inRows));
}

/// Asks for the block's shares of the next tiles, or keeps those for the turns of the loop of which
/// some lines would be dropped.
void OuterProduct::askForNext() {
  constexpr int64_t kAtOnce = 8; // find free buffers; in turns they cost 1 % of attention in f32
  for (Evaluator::Share &share : v.sharesOfNext(op))
    if (e.isa.dropsAsked && share.count > kAtOnce)
      shares.push_back(share);
    else
      v.askForAll(share);
}

/// Where the elements end that count in both operands; null: all do.
Value OuterProduct::commonClip() {
  Value clip = v.clipOf(roles.lanes, roles.lanesSum);
  Value otherClip = v.clipOf(roles.others, roles.othersSum);
  if (!clip || !otherClip)
    return clip ? clip : otherClip;
  return clip == otherClip ? clip : e.minIndex(clip, otherClip);
}

void OuterProduct::findRange(Value clip) {
  begin = e.integer(0);
  end = clip ? e.minIndex(clip, e.integer(extent)) : e.integer(extent);
  if (LaneRanges ranges = v.rangesOf(roles.lanes)) { // the block's vectors are of one group
    auto [lo, hi] = ranges.at(e, block.lanes[0].number, block.lanes[0].index);
    begin = lo;
    end = e.minIndex(end, hi);
  }
}

/// How the operand with the lanes lies, if its rows are walked in memory.
void OuterProduct::findRows() {
  walksRows = roles.lanesSum == 0 && v.isReadOnce(op);
  int64_t width = e.lanes() * block.lanes.size();
  parts = llvm::divideCeil(typeOf(op.getResult()).getDim(block.lanesDim), width);
  part = block.lanes[0].number / static_cast<int64_t>(block.lanes.size());
  walkedRows = roles.lanesSum == 0 ? v.denseRows(roles.lanes) : nullptr;
  words = walksRows && comesInTwos(block.lanes) ? v.wordRows(roles.lanes) : nullptr;
}

/// Addresses of the other operand's rows, where they lie in memory with the sum contiguous.
void OuterProduct::findLines() {
  const GlobalPlace *place = pairs || roles.othersSum == 0 ? nullptr : v.denseRows(roles.others);
  if (!place || !place->view.element.isF32() || (!place->valid.empty() && !place->clipped) ||
      VectorBuilder::constantOf(place->view.strides[1]) != 1)
    return;
  for (const Coord &other : block.others)
    lines.push_back(onItsOwn(e, globalAddress(e, *place, {other, v.element(e.integer(0))})));
  v.askForRows(op, *place, extent);
}

/// What rows that are read once ask for: what comes after them.
void OuterProduct::planAsking() {
  if (walksRows && block.lanes[0].number >= 0 && block.others[0].number <= 0)
    later = v.readAfter(roles.lanes);
}

/// Rounded weights for rows of bf16: two rows at once, half as many instructions. Up to 4 queries
/// wait for memory anyway, and lines that are asked for faster are dropped. Null: none.
const LocalPlace *OuterProduct::weightsInPairs() {
  constexpr int64_t kMemoryBound = 4;
  bool inPairs = words && e.isa.dotPays && roles.othersSum == 1 &&
                 typeOf(op.getResult()).getDim(1 - block.lanesDim) > kMemoryBound;
  return inPairs ? v.roundedRows(roles.others) : nullptr;
}

void OuterProduct::askWith(Value row) {
  if (later.columns)
    v.askForPart(later, row, part, parts);
}

/// The block's vectors of a row, of bf16 by the parity of their columns.
Values OuterProduct::lanesAt(const Coord &sum) {
  Values read;
  for (size_t n = 0; n < block.lanes.size(); n += words ? 2 : 1) {
    const Coord &lane = block.lanes[n];
    if (words) {
      auto [even, odd] = v.loadWords(*words, sum, lane.index);
      read.append({even, odd});
    } else {
      read.push_back(pairs ? loadPairs(e, v.locals.find(roles.lanes)->second, lane.index, sum.index)
                           : v.at(roles.lanes, pointOf(roles.lanesFree, lane, sum)));
    }
  }
  return read;
}

/// The number of others[k] that multiplies them; of pairs two numbers.
Value OuterProduct::factorAt(size_t k, const Coord &sum) {
  Point point = pointOf(roles.othersFree, block.others[k], sum);
  Type f32 = e.builder.getF32Type();
  if (!lines.empty())
    return e.broadcast(e.load(f32, e.address(lines[k], f32, sum.index)));
  if (!pairs)
    return v.at(roles.others, point);
  auto place = v.locals.find(roles.others);
  if (place == v.locals.end())
    return loadGlobalPairWord(e, v.globals.find(roles.others)->second, point);
  return place->second.pairs ? loadPairWord(e, place->second, block.others[k].index, sum.index)
                             : loadRowPairWord(e, place->second, point);
}

Values OuterProduct::add(Value c, ValueRange carried) {
  v.pushScope();
  Coord sum = v.element(c);
  Values next(carried.begin(), carried.end());
  askWith(c);
  if (!later.columns && walkedRows && !walksRows)
    for (const Coord &lane : block.lanes)
      e.prefetch(globalAddress(e, *walkedRows, {v.element(e.plus(c, kRowsAhead)), lane}));
  Values vectors = lanesAt(sum);
  int64_t n = 0;
  for (size_t k = 0; k < block.others.size(); ++k) {
    Value factor = factorAt(k, sum);
    for (Value vector : vectors) {
      next[n] = pairs ? dotOfPairs(e, next[n], factor, vector) : e.fma(factor, vector, next[n]);
      ++n;
    }
  }
  v.popScope();
  return next;
}

Values OuterProduct::addPairs(const LocalPlace &weights, Value c, ValueRange carried) {
  v.pushScope();
  Coord sum = v.element(c);
  Values next(carried.begin(), carried.end()), vectors;
  for (int64_t row = 0; row < 2 && later.columns; ++row)
    askWith(e.plus(c, row));
  for (size_t n = 0; n < block.lanes.size(); n += 2) {
    auto [even, odd] = v.loadRowPairs(*words, sum, block.lanes[n].index);
    vectors.append({even, odd});
  }
  int64_t n = 0;
  for (const Coord &other : block.others) {
    Value weight = v.loadRoundedPair(weights, other, sum);
    for (Value vector : vectors) {
      next[n] = dotOfPairs(e, next[n], weight, vector);
      ++n;
    }
  }
  v.popScope();
  return next;
}

} // namespace heddle::compiler::cpu
