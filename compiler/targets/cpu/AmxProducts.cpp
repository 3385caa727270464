// Products of bf16 by the matrix unit (Intel SDM volume 1, chapter 18): tdpbf16ps adds to a tile of
// 16 x 16 sums the product of 16 rows of 32 and of 16 rows of 16 pairs,
//
//   C[16 others][16 lanes] += A[16 others][32 sums] * B[16 pairs of sums][16 lanes]
//
// which are the layouts in scratch already: lanes along the result's rows, pairs of the one operand
// (as dpbf16 reads them), the other one with its sums side by side. Two tiles by two share their
// operands: 4 sums, 2 + 2 operands, the unit's 8 registers. What a sum starts from is written to
// the result's place before; maps and reductions of the result are sweeps after.
#include "compiler/targets/cpu/Nests.h"
#include "ir/tile/TileLayouts.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

constexpr int64_t kTile = 16, kDepth = 32;  // sums of a tile's side; bf16 summed by an instruction
constexpr int64_t kFirstA = 4, kFirstB = 6; // registers; sums are 0 to 3

using tile::TileType;

struct AmxBlock {
  VectorBuilder &e;
  LocalPlace lanes, others, result;
  Roles roles;
  int64_t lanesDim;
  bool fromZero;
  Value end; ///< of the sum

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

  /// `down` x `across` tiles from (other, lane) on.
  void emit(Value other, Value lane, int64_t down, int64_t across) {
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
    e.loop(e.integer(0), end, kDepth, {}, [&](Value sum, ValueRange) -> Values {
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
      e.instruction("llvm.x86.tilestored64", {number(index), address, stride});
    });
  }
};

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

/// Pairs behind `end`, up to what an instruction reads, are zero.
void NestEmitter::padPairs(const LocalPlace &place, Value end) {
  int64_t columns = place.type.getDim(place.pairs.getLanes());
  Value even = e.plus(end, 1);
  even = arith::SubIOp::create(e.builder, e.loc, even,
                               arith::RemUIOp::create(e.builder, e.loc, even, e.integer(2)));
  Value blocks = arith::CeilDivUIOp::create(e.builder, e.loc, end, e.integer(kDepth));
  e.loop(even, e.times(blocks, kDepth), 2, {}, [&](Value packed, ValueRange) -> Values {
    e.loop(e.integer(0), e.integer(columns), e.lanes(), {}, [&](Value lane, ValueRange) -> Values {
      storePairWords(e, place, lane, packed, e.splatInt(0));
      return {};
    });
    return {};
  });
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
  if (!fromZero)
    emit(NestGroup{{mma}});
  LocalPlace &result = evaluator.locals.find(tile)->second;
  result.clip[1 - lanesDim] = evaluator.clipOfSources(tile, 1 - lanesDim);
  result.lanesEnd = evaluator.lanesEndOfSources(tile, lanesDim);

  int64_t sums = cast<TileType>(roles.lanes.getType()).getDim(roles.lanesSum);
  Value end = e.integer(sums);
  if (Value clip = evaluator.clipOf(roles.lanes, roles.lanesSum)) {
    clip = e.maxIndex(e.minIndex(clip, end), e.integer(0));
    padPairs(lanes->second, clip);
    end = clip;
  }
  AmxBlock block{e, lanes->second, others->second, result, roles, lanesDim, fromZero, end};
  Value othersEnd = e.integer(type.getDim(1 - lanesDim));
  if (Value clip = result.clip[1 - lanesDim])
    othersEnd = e.minIndex(clip, othersEnd);
  Value lanesEnd = e.integer(type.getDim(lanesDim));
  if (result.lanesEnd)
    lanesEnd = e.minIndex(result.lanesEnd, lanesEnd);
  auto pieces = [&](int64_t extent, Value stop, auto body) {
    int64_t whole = extent / (2 * kTile) * (2 * kTile);
    if (whole > 0)
      e.loop(e.integer(0), e.minIndex(stop, e.integer(whole)), 2 * kTile, {},
             [&](Value first, ValueRange) -> Values {
               body(first, 2);
               return {};
             });
    if (whole < extent)
      body(e.integer(whole), 1);
  };
  pieces(type.getDim(lanesDim), lanesEnd, [&](Value lane, int64_t across) {
    pieces(type.getDim(1 - lanesDim), othersEnd,
           [&](Value other, int64_t down) { block.emit(other, lane, down, across); });
  });
}

} // namespace heddle::compiler::cpu
