// Products of bf16 by the matrix unit (Intel SDM volume 1, chapter 18): tdpbf16ps adds to a tile of
// 16 x 16 sums the product of 16 rows of 32 and of 16 rows of 16 pairs,
//
//   C[16 others][16 lanes] += A[16 others][32 sums] * B[16 pairs of sums][16 lanes]
//
// which are the layouts in scratch already: lanes along the result's rows, pairs of the one operand
// (as dpbf16 reads them), the other one with its sums side by side. Two tiles by two share their
// operands: 4 sums, 2 + 2 operands, the unit's 8 registers. What a sum starts from is written to
// the result's place before; maps and reductions of the result are sweeps after. Sums come in
// multiples of 32 (AssignLayouts pads them); a last tile of fewer than 16 others reaches back over
// those before it, and only its own rows are kept.
#include "compiler/targets/cpu/Nests.h"
#include "ir/tile/TileLayouts.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

constexpr int64_t kTile = tile::kAmxSide, kDepth = tile::kAmxDepth;
constexpr int64_t kGroup = 2 * kTile;       // lanes of a block of tiles
constexpr int64_t kFirstA = 4, kFirstB = 6; // registers; sums are 0 to 3

using tile::TileType;

struct AmxBlock {
  VectorBuilder &e;
  LocalPlace lanes, others, result;
  Roles roles;
  int64_t lanesDim;
  bool fromZero;

  Value bytes(int64_t elements, int64_t size) {
    return LLVM::ConstantOp::create(e.builder, e.loc, e.builder.getI64IntegerAttr(elements * size));
  }
  Value number(int64_t index) {
    return LLVM::ConstantOp::create(e.builder, e.loc, e.builder.getI8IntegerAttr(index));
  }
  void load(int64_t index, Value address, Value stride) {
    e.instruction("llvm.x86.tileloadd64", {number(index), address, stride});
  }
  Value resultAddress(Value other, Value lane) {
    SmallVector<Coord, 2> point(2);
    point[lanesDim] = Coord{lane};
    point[1 - lanesDim] = Coord{other};
    return localAddress(e, result, point, e.builder.getF32Type());
  }
  Value othersAddress(Value other, Value sum) {
    SmallVector<Coord, 2> point(2);
    point[roles.othersFree] = Coord{other};
    point[roles.othersSum] = Coord{sum};
    return localAddress(e, others, point, e.builder.getBF16Type());
  }

  /// `down` x `across` tiles from (other, lane) on, over sums from `begin` to `end`. Only the last
  /// `kept` others of a single row of tiles go to the result.
  void emit(Value other, Value lane, int64_t down, int64_t across, Value begin, Value end,
            int64_t kept = kTile) {
    Value stride = bytes(result.strides[1 - lanesDim], sizeof(float));
    auto overSums = [&](auto body) {
      for (int64_t k = 0; k < down; ++k)
        for (int64_t n = 0; n < across; ++n)
          body(2 * k + n, resultAddress(e.plus(other, k * kTile), e.plus(lane, n * kTile)));
    };
    overSums([&](int64_t index, Value address) {
      if (fromZero)
        e.instruction("llvm.x86.tilezero", {number(index)});
      else
        load(index, address, stride);
    });
    e.loop(begin, end, kDepth, {}, [&](Value sum, ValueRange) -> Values {
      for (int64_t k = 0; k < down; ++k)
        load(kFirstA + k, othersAddress(e.plus(other, k * kTile), sum),
             bytes(others.strides[roles.othersFree], sizeof(uint16_t)));
      for (int64_t n = 0; n < across; ++n)
        load(kFirstB + n, pairAddress(e, lanes, e.plus(lane, n * kTile), sum),
             bytes(lanes.strides[roles.lanesSum], sizeof(uint32_t)));
      for (int64_t k = 0; k < down; ++k)
        for (int64_t n = 0; n < across; ++n)
          e.instruction("llvm.x86.tdpbf16ps",
                        {number(2 * k + n), number(kFirstA + k), number(kFirstB + n)});
      return {};
    });
    overSums([&](int64_t index, Value address) {
      if (kept < kTile)
        return storeLast(index, address, kept);
      e.instruction("llvm.x86.tilestored64", {number(index), address, stride});
    });
  }

  /// Stores a tile beside the result and copies its last rows there.
  void storeLast(int64_t index, Value address, int64_t kept) {
    Value beside = e.stackArray(e.floats, kTile);
    e.instruction("llvm.x86.tilestored64", {number(index), beside, bytes(kTile, sizeof(float))});
    int64_t step = result.strides[1 - lanesDim];
    for (int64_t row = kTile - kept; row < kTile; ++row)
      e.store(e.load(e.floats, e.address(beside, e.floats, e.integer(row))),
              e.address(address, e.builder.getF32Type(), e.integer(row * step)));
  }
};

Value roundDown(VectorBuilder &e, Value index, int64_t step) {
  return arith::AndIOp::create(e.builder, e.loc, index, e.integer(-step));
}

bool isZero(Value tile) {
  auto fill = tile.getDefiningOp<tile::FillOp>();
  return fill && fill.getValue().isZero();
}

} // namespace

bool isAmxProduct(tile::MmaOp op) {
  auto atom = op->getAttrOfType<StringAttr>(tile::kAtomAttr);
  return atom && atom.getValue() == tile::kAmxAtom;
}

bool hasAmxProduct(Operation *op) {
  return op
      ->walk([](tile::MmaOp product) {
        return isAmxProduct(product) ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

/// The configuration of 8 registers of 16 rows of 64 bytes.
void NestEmitter::configureAmx() {
  ranged = false;
  SmallVector<int32_t> words(16, 0);
  words[0] = 1; // palette
  for (int64_t n = 4; n < 8; ++n)
    words[n] = 64 | 64 << 16;         // bytes of a row
  words[12] = words[13] = 0x10101010; // rows
  Value memory = e.stackArray(e.builder.getI32Type(), 16);
  Value value = arith::ConstantOp::create(
      e.builder, e.loc,
      DenseElementsAttr::get(VectorType::get({16}, e.builder.getI32Type()),
                             ArrayRef<int32_t>(words)));
  e.store(value, memory);
  e.instruction("llvm.x86.ldtilecfg", {memory});
}

void NestEmitter::releaseAmx() { e.instruction("llvm.x86.tilerelease", {}); }

/// Pairs from `begin` to `end` of some lanes become zero.
void NestEmitter::clearPairs(const LocalPlace &place, Value lane, int64_t count, Value begin,
                             Value end) {
  e.loop(begin, end, 2, {}, [&](Value packed, ValueRange) -> Values {
    for (int64_t first = 0; first < count; first += e.lanes())
      storePairWords(e, place, e.plus(lane, first), packed, e.splatInt(0));
    return {};
  });
}

/// The map that masks scores in an edge tile and is all that reads them; null: none.
tile::MapOp maskOf(tile::MmaOp mma) {
  auto loop = dyn_cast<tile::ForOp>(mma->getParentOp());
  if (!loop || loop.getKind() != tile::LoopKind::Edge || !mma.getResult().hasOneUse())
    return {};
  auto map = dyn_cast<tile::MapOp>(*mma.getResult().user_begin());
  return map && map->getBlock() == mma->getBlock() ? map : tile::MapOp();
}

/// What an edge tile's mask leaves of the product, for each block of lanes.
LaneRanges NestEmitter::rangesOfMask(tile::MmaOp mma, int64_t lanesDim) {
  tile::MapOp mask = maskOf(mma);
  TileType type = cast<TileType>(mma.getResult().getType());
  if (!mask || type.getDim(lanesDim) <= kGroup)
    return {};
  SmallVector<MaskBound> bounds = maskBounds(mask, lanesDim);
  bool known = llvm::all_of(bounds, [&](const MaskBound &bound) {
    return llvm::all_of(bound.scalars,
                        [&](const auto &term) { return evaluator.scalars.contains(term.first); });
  });
  if (bounds.empty() || !known)
    return {};
  return emitRanges(e, evaluator.scalars, bounds, type.getDim(lanesDim), type.getDim(1 - lanesDim),
                    kGroup / e.lanes());
}

void NestEmitter::emitAmxProduct(tile::MmaOp mma) {
  Value tile = mma.getResult();
  TileType type = cast<TileType>(tile.getType());
  int64_t lanesDim = lanesDimOf(type);
  Roles roles = rolesOf(mma, lanesDim);
  auto lanes = evaluator.locals.find(roles.lanes), others = evaluator.locals.find(roles.others);
  if (lanes == evaluator.locals.end() || others == evaluator.locals.end() ||
      !evaluator.locals.count(tile) || !lanes->second.pairs)
    return void(evaluator.reportUnsupported(mma, "operands of the matrix unit are not in scratch"));
  bool fromZero = isZero(mma.getInit());
  LocalPlace &result = evaluator.locals.find(tile)->second;
  auto init = evaluator.locals.find(mma.getInit());
  if (!fromZero && (init == evaluator.locals.end() || init->second.offset != result.offset))
    emit(NestGroup{{mma}});
  result.clip[1 - lanesDim] = evaluator.clipOfSources(tile, 1 - lanesDim);
  result.lanesEnd = evaluator.lanesEndOfSources(tile, lanesDim);

  result.ranges = rangesOfMask(mma, lanesDim);
  const LaneRanges made = result.ranges, summed = lanes->second.ranges;
  if (summed && summed.vectors * e.lanes() != kGroup)
    return void(evaluator.reportUnsupported(mma, "masked in groups of other widths than tiles"));

  Value zero = e.integer(0);
  Value end = e.integer(cast<TileType>(roles.lanes.getType()).getDim(roles.lanesSum));
  Value cut = evaluator.clipOf(roles.lanes, roles.lanesSum);
  if (cut)
    end = e.maxIndex(e.minIndex(cut, end), zero);
  AmxBlock block{e, lanes->second, others->second, result, roles, lanesDim, fromZero};
  Value othersEnd = e.integer(type.getDim(1 - lanesDim));
  if (Value clip = result.clip[1 - lanesDim])
    othersEnd = e.minIndex(clip, othersEnd);
  Value lanesEnd = e.integer(type.getDim(lanesDim));
  if (result.lanesEnd)
    lanesEnd = e.minIndex(result.lanesEnd, lanesEnd);
  auto pieces = [&](int64_t extent, Value start, Value stop, auto body) {
    int64_t whole = extent / kGroup * kGroup;
    if (whole > 0)
      e.loop(start, e.minIndex(stop, e.integer(whole)), kGroup, {},
             [&](Value first, ValueRange) -> Values {
               body(first, 2);
               return {};
             });
    if (extent - whole >= kTile)
      body(e.integer(whole), 1);
  };
  auto rangeAt = [&](const LaneRanges &ranges, Value lane, Value stop) {
    if (!ranges)
      return std::pair(zero, stop);
    auto [lo, hi] = ranges.at(e, -1, lane);
    hi = e.minIndex(hi, stop);
    return std::pair(e.minIndex(lo, hi), hi);
  };
  pieces(type.getDim(lanesDim), zero, lanesEnd, [&](Value lane, int64_t across) {
    Value begin = zero, stop = end;
    if (cut || summed) { // an instruction sums over 32: what it reads besides the range is zero
      auto [lo, hi] = rangeAt(summed, lane, end);
      begin = roundDown(e, lo, kDepth);
      stop = roundDown(e, e.plus(hi, kDepth - 1), kDepth);
      clearPairs(lanes->second, lane, across * kTile, begin, lo);
      clearPairs(lanes->second, lane, across * kTile, roundDown(e, e.plus(hi, 1), 2), stop);
    }
    auto [first, last] = rangeAt(made, lane, othersEnd);
    pieces(type.getDim(1 - lanesDim), roundDown(e, first, kGroup), last,
           [&](Value other, int64_t down) { block.emit(other, lane, down, across, begin, stop); });
    int64_t extent = type.getDim(1 - lanesDim);
    if (extent % kTile)
      block.emit(e.integer(extent - kTile), lane, 1, across, begin, stop, extent % kTile);
  });
}

} // namespace heddle::compiler::cpu
