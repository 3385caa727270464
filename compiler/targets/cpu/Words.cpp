// Rows of bf16 that products of few rows read from memory as words of two.
//
//   a line of bf16, 16 words of two neighbours
//     w << 16: elements 0, 2, .. 30;   w & 0xffff0000: elements 1, 3, .. 31
//   One instruction for 16 elements instead of two; sums over both kinds do not mind the order.
//
//   two rows, for products that sum over the rows: words (a0 a1), (b0 b1) -> (a0 b0), (a1 b1)
#include "compiler/targets/cpu/Evaluator.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::typeOf;

namespace {

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

} // namespace

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

std::pair<Value, Value> Evaluator::loadRowPairs(const GlobalPlace &place, const Coord &row,
                                                Value column) {
  auto words = [&](Value index) {
    Value address = globalAddress(e, place, {Coord{index}, Coord{column}});
    return Value(LLVM::LoadOp::create(e.builder, e.loc, e.ints, address, /*alignment=*/2));
  };
  Value first = words(row.index), second = words(e.plus(row.index, 1));
  Value low = e.splatInt(0xffff), high = e.splatInt(-65536);
  return {asPairs(e, e.orInt(e.andInt(first, low), e.shiftLeft(second, 16))),
          asPairs(e, e.orInt(e.andInt(e.shiftRight(first, 16), low), e.andInt(second, high)))};
}

const LocalPlace *Evaluator::roundedRows(Value tile) {
  auto found = locals.find(tile);
  Value narrow = beforeWidening(tile);
  if (found == locals.end() || narrow == tile || !typeOf(narrow).getElementType().isBF16())
    return nullptr;
  const LocalPlace &place = found->second;
  return typeOf(tile).getRank() == 2 && !place.panel && place.strides[1] == 1 ? &place : nullptr;
}

Value Evaluator::loadRoundedPair(const LocalPlace &place, const Coord &row, const Coord &column) {
  Type i64 = e.builder.getI64Type();
  Value address = localAddress(e, place, {row, column}, e.builder.getF32Type());
  Value both = vector::BroadcastOp::create(
      e.builder, e.loc, VectorType::get({e.lanes() / 2}, i64),
      LLVM::LoadOp::create(e.builder, e.loc, i64, address, /*alignment=*/4));
  VectorType pairs = VectorType::get({2 * e.lanes()}, e.builder.getBF16Type());
  Value halves = vector::BitCastOp::create(e.builder, e.loc, pairs, both);
  SmallVector<int64_t> upper; // of each two words
  for (int64_t n = 0; n < e.lanes(); ++n)
    upper.append({4 * (n / 2) + 1, 4 * (n / 2) + 3});
  return vector::ShuffleOp::create(e.builder, e.loc, halves, halves, upper);
}

/// Queries that products read as words of two are the same for all keys: they are widened once,
/// for each line the elements at even distances from its start, then the others.
void Evaluator::keepWidened(tile::MapOp map) {
  Value tile = map.getResult(0);
  const GlobalPlace *place = wordRows(tile);
  bool multiplied = llvm::all_of(tile.getUsers(), [&](Operation *user) {
    auto product = dyn_cast<tile::MmaOp>(user);
    return product && isDotProduct(product) && product.getA() == tile && product.getB() != tile;
  });
  int64_t line = 2 * e.lanes(), columns = place ? typeOf(tile).getDim(1) / line * line : 0;
  if (!multiplied || columns == 0)
    return;
  int64_t rows = typeOf(tile).getDim(0);
  WidenedRows &kept = widened[tile];
  kept = {e.stackArray(e.floats, rows * columns / e.lanes()), columns};
  e.loop(e.integer(0), e.integer(rows), 1, {}, [&](Value row, ValueRange) -> Values {
    e.loop(e.integer(0), e.integer(columns), line, {}, [&](Value column, ValueRange) -> Values {
      auto [even, odd] = loadWords(*place, Coord{row}, column);
      e.store(even, kept.at(e, row, column));
      e.store(odd, kept.at(e, row, e.plus(column, e.lanes())));
      return {};
    });
    return {};
  });
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
