// Rows that products read from memory as they lie: what is asked for ahead, and how bf16 is
// widened.
//
//   few queries, a loop over tiles: each line is read once
//     K[t] is read, V[t] is asked for;  V[t] is read, K[t+1] is asked for
//   So memory has something to do whatever the loop does, and a tile comes from the second-level
//   cache: a distance in rows leaves the start of each tile, and what lies between heads, to
//   chance.
//
//   a line of bf16, 16 words of two neighbours
//     w << 16: elements 0, 2, .. 30;   w & 0xffff0000: elements 1, 3, .. 31
//   One instruction for 16 elements instead of two; sums over both kinds do not mind the order.
#include "compiler/targets/cpu/Evaluator.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

namespace {

constexpr int64_t kLine = 64; ///< bytes

/// Results of few rows: what their products read of memory, they read once.
constexpr int64_t kFewRows = 8;

/// What a map widens, element by element, and does nothing else to; or the tile itself.
Value beforeWidening(Value tile) {
  auto map = tile.getDefiningOp<tile::MapOp>();
  if (!map || map.getInputs().size() != 1 || map.getNumResults() != 1)
    return tile;
  Block &body = map.getBody().front();
  bool widens =
      llvm::hasNItems(body, 2) && isa<arith::ExtFOp>(body.front()) &&
      llvm::equal(map.getInputPositions(0), llvm::seq<int64_t>(0, map.getExtents().size()));
  return widens ? map.getInputs()[0] : tile;
}

/// The tile of a tensor that a product reads, through maps; null: another one.
Value streamOf(Evaluator &evaluator, Value tile) {
  if (evaluator.denseRows(tile))
    return tile;
  auto map = tile.getDefiningOp<tile::MapOp>();
  if (!map || evaluator.locals.count(tile))
    return {};
  for (Value input : map.getInputs())
    if (evaluator.denseRows(input) && typeOf(input).getShape() == typeOf(tile).getShape())
      return input;
  return {};
}

} // namespace

/// The place of rows that are read from memory as they lie; null if the tile is elsewhere.
const GlobalPlace *Evaluator::denseRows(Value tile) {
  auto place = globals.find(tile);
  return place != globals.end() && place->second.view.access == tile::Access::Dense ? &place->second
                                                                                    : nullptr;
}

/// Asks for the rows of memory that the next register block reads. The heads of a tensor lie
/// between a head's rows, so that rows share a few sets of the caches and come from far more often
/// than not. The first group of vectors asks for all.
void Evaluator::askForRows(Value tile, int64_t rows, tile::MmaOp op) {
  const GlobalPlace *place = denseRows(tile);
  auto loop = op->getParentOfType<tile::ForOp>();
  const Coord &lane = block.lanes[0];
  if (!place || rows != 0 || lane.number > 0 || !loop || loop.getKind() != tile::LoopKind::Full)
    return;
  auto ask = [&]() -> Values {
    for (const Coord &row : block.others)
      prefetchRow(e, *place, e.plus(row.index, block.others.size()), typeOf(tile).getDim(1));
    return {};
  };
  if (lane.number == 0)
    return void(ask());
  Value first =
      arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::eq, lane.index, e.integer(0));
  e.branch(first, {}, ask, [] { return Values(); });
}

bool Evaluator::isReadOnce(tile::MmaOp op) {
  return typeOf(op.getResult()).getDim(1 - block.lanesDim) <= kFewRows;
}

Later Evaluator::readAfter(Value tile) {
  Value stream = streamOf(*this, tile);
  if (!stream)
    return {};
  auto at = [&](Value later, int64_t rows) {
    return Later{&globals.find(later)->second, typeOf(later).getDim(1), rows};
  };
  auto load = stream.getDefiningOp<tile::LoadOp>();
  auto loop = load ? dyn_cast<tile::ForOp>(load->getParentOp()) : tile::ForOp();
  if (!loop)
    return at(stream, kRowsAhead);
  Value first;
  bool passed = false;
  for (auto other : loop.getBody().getOps<tile::LoadOp>()) {
    Value result = other.getResult();
    if (!denseRows(result) || typeOf(result).getRank() != 2)
      continue;
    if (passed)
      return at(result, 0);
    first = first ? first : result;
    passed = other == load;
  }
  return at(first, loop.getStep());
}

void Evaluator::askFor(const Later &later, Value row, Value column) {
  e.prefetch(globalAddress(e, *later.place, {Coord{e.plus(row, later.rows)}, Coord{column}}),
             /*near=*/false);
}

void Evaluator::askForPart(const Later &later, Value row, int64_t part, int64_t parts) {
  int64_t elements = 8 * kLine / later.place->view.element.getIntOrFloatBitWidth();
  int64_t lines = llvm::divideCeil(later.columns, elements);
  if (lines % parts) { // the first part asks for all
    lines = part == 0 ? lines : 0;
    parts = 1;
  }
  for (int64_t line = part * lines / parts; line < (part + 1) * lines / parts; ++line)
    askFor(later, row, e.integer(line * elements));
}

//===------------------------------------------------------------------------------------------===//
// Words of two bf16
//===------------------------------------------------------------------------------------------===//

const GlobalPlace *Evaluator::wordRows(Value tile) {
  Value narrow = beforeWidening(tile);
  const GlobalPlace *place = denseRows(narrow);
  if (narrow == tile || !place || locals.count(tile) || typeOf(tile).getRank() != 2 ||
      !place->view.element.isBF16() || VectorBuilder::constantOf(place->view.strides[1]) != 1)
    return nullptr;
  bool masked = !place->valid.empty() && (!place->clipped || place->valid[1]);
  return masked ? nullptr : place;
}

std::pair<Value, Value> Evaluator::loadWords(const GlobalPlace &place, const Coord &row,
                                             Value column) {
  Value address = globalAddress(e, place, {Coord{row.index}, Coord{column}});
  Value words = LLVM::LoadOp::create(e.builder, e.loc, e.ints, address, /*alignment=*/2);
  return {e.fromBits(e.shiftLeft(words, 16)), e.fromBits(e.andInt(words, e.splatInt(-65536)))};
}

std::pair<Value, Value> Evaluator::byParity(Value low, Value high) {
  SmallVector<int64_t> even, odd;
  for (int64_t lane = 0; lane < e.lanes(); ++lane) {
    even.push_back(2 * lane);
    odd.push_back(2 * lane + 1);
  }
  return {vector::ShuffleOp::create(e.builder, e.loc, low, high, even),
          vector::ShuffleOp::create(e.builder, e.loc, low, high, odd)};
}

std::pair<Value, Value> Evaluator::inOrder(Value even, Value odd) {
  SmallVector<int64_t> low, high;
  for (int64_t lane = 0; lane < e.lanes(); ++lane) {
    low.push_back(lane / 2 + lane % 2 * e.lanes());
    high.push_back((lane + e.lanes()) / 2 + lane % 2 * e.lanes());
  }
  return {vector::ShuffleOp::create(e.builder, e.loc, even, odd, low),
          vector::ShuffleOp::create(e.builder, e.loc, even, odd, high)};
}

} // namespace heddle::compiler::cpu
