// Products by mma.m16n8k16. Operand a lies in registers, or is read from shared memory a k step at
// a time; operand b is read by ldmatrix, 16 rows or columns at once:
//
//   S = Q K'   b from K, rows are columns of S     ldmatrix         chunk 2 k of rows 8 n ..
//   O += P V   b from V, rows are contracted       ldmatrix.trans   chunk n of rows 16 k ..
//
// A lane's address is computed once; steps change it by constants, added, or xored where the rows
// are swizzled.
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Shared.h"

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;

namespace {

TileType typeOf(Value value) { return cast<TileType>(value.getType()); }

int64_t positionOf(ArrayAttr names, Attribute name) {
  return llvm::find(names, name) - names.begin();
}

} // namespace

/// Name, offset in shared memory and slot of a tile there.
KernelEmitter::Matrix KernelEmitter::matrix(Value value) {
  Operation *op = value.getDefiningOp();
  Matrix matrix{SharedRows(typeOf(value)), "", "", ""};
  if (auto take = dyn_cast<tile::TakeOp>(op)) {
    op = take.getRing().getDefiningOp();
    matrix.name = rings[take.getRing()].name;
    matrix.slot = slots[value];
  } else {
    matrix.name = "turned";
  }
  auto offset = op->getAttrOfType<IntegerAttr>("tile.offset");
  matrix.base = fmt::format("smem + {}", offset ? offset.getInt() : 0);
  return matrix;
}

std::string KernelEmitter::laneAddress(const std::string &suffix, const Matrix &matrix,
                                       const std::string &row, const std::string &chunk) {
  return once(fmt::format("{}_{}", matrix.name, suffix), "u32",
              fmt::format("{} + {}", matrix.base, matrix.rows.address(row, chunk)));
}

/// Slot and lane address together, for one tile.
std::string KernelEmitter::tileAddress(const std::string &lane, const Matrix &matrix) {
  if (matrix.slot.empty())
    return lane;
  std::string name = fresh(fmt::format("{}_at", matrix.name));
  out.line("const u32 {} = {} + {};", name, lane, matrix.slot);
  return name;
}

/// Rows of the warp, within 16: lanes 0 to 15 give rows, lanes from 16 on the next chunk.
static constexpr const char *kRowOfLane = "lane % 16", *kChunkOfLane = "lane / 16";

Status KernelEmitter::mma(tile::MmaOp op) {
  TileType a = typeOf(op.getA()), b = typeOf(op.getB()), c = typeOf(op.getResult());
  Fragment sums(c);
  Attribute sum = StringAttr::get(op.getContext(), op.getContracted()[0]);
  int64_t sumA = positionOf(op.getADims(), sum), sumB = positionOf(op.getBDims(), sum);
  int64_t steps = a.getDim(sumA) / 16, columns = c.getDim(1) / 8;
  const Step *rowBlocks = sums.value(0, 16);
  int64_t rowTiles = rowBlocks ? rowBlocks->extent : 1;
  bool trans = sumB == 0;
  const char *multiply = a.getElementType().isBF16() ? "mma_bf16" : "mma_f16";

  // Where the sums go: on top of what was there, or on zeros.
  bool zeros = op.getInit().getDefiningOp<tile::FillOp>() != nullptr;
  if (!takePlace(op.getResult(), op.getInit())) {
    declareTile(op.getResult(), nameFor(op.getResult(), "acc"));
    if (zeros)
      zero(sums, names[op.getResult()]);
    else
      copyTile(op.getInit(), names[op.getResult()], sums, false);
  }
  std::string result = names[op.getResult()];

  Matrix matrixB = matrix(op.getB());
  std::string laneB =
      trans ? laneAddress("lane", matrixB, kRowOfLane, kChunkOfLane)
            : laneAddress("lane", matrixB, "lane % 8 + lane / 16 * 8", "lane / 8 % 2");
  std::string atB = tileAddress(laneB, matrixB), atA;
  Matrix matrixA{SharedRows(b), "", "", ""};
  bool aShared = a.getSpace() == tile::Space::Smem;
  if (aShared) {
    matrixA = matrix(op.getA());
    std::string row =
        warpCount == 1 ? kRowOfLane : fmt::format("warp * {} + {}", 16 * rowTiles, kRowOfLane);
    atA = tileAddress(laneAddress("lane", matrixA, row, kChunkOfLane), matrixA);
  }

  std::string k = steps > 1 ? "k" : "0";
  if (steps > 1)
    out.unrolled("k", steps);
  const auto openRows = [&] {
    if (rowTiles > 1)
      out.unrolled("m", rowTiles);
  };
  const auto closeRows = [&] {
    if (rowTiles > 1)
      out.close();
  };
  // Fragments of a: registers, or loaded for this step.
  std::string fragments[4];
  if (aShared) {
    std::string loaded = fresh("a");
    std::string array = rowTiles > 1 ? "[m]" : "";
    out.line("u32 {}{}[4];", loaded, rowTiles > 1 ? fmt::format("[{}]", rowTiles) : "");
    openRows();
    out.line("load_matrix_x4({}{}, {});", loaded, array,
             matrixA.rows.step(atA, rowTiles > 1 ? "m" : "0", 16, k, 2));
    closeRows();
    for (int n = 0; n < 4; ++n)
      fragments[n] = fmt::format("{}{}[{}]", loaded, array, n);
  } else {
    Fragment own(a);
    for (int n = 0; n < 4; ++n)
      fragments[n] = names[op.getA()] +
                     subscript(own,
                               {{"n", steps > 1 ? fmt::format("2 * k{}", n / 2 ? " + 1" : "")
                                                : fmt::format("{}", n / 2)},
                                {"half", std::to_string(n % 2)}},
                               1);
  }
  const auto multiplyColumn = [&](const std::string &n, const std::string &b0,
                                  const std::string &b1) {
    out.line("{}({}{}, {}, {}, {}, {}, {}, {});", multiply, result, subscript(sums, {{"n", n}}, 2),
             fragments[0], fragments[1], fragments[2], fragments[3], b0, b1);
  };
  const auto addressB = [&](const std::string &n) {
    return trans ? matrixB.rows.step(atB, k, 16, n, 1) : matrixB.rows.step(atB, n, 8, k, 2);
  };
  std::string b4 = fresh("b");
  int64_t paired = columns / 2 * 2;
  if (paired > 0) {
    bool loop = paired > 2;
    std::string n = loop ? "n" : "0";
    if (loop)
      out.unrolled("n", paired, 2);
    out.line("u32 {}[4];", b4);
    out.line("load_matrix_x4{}({}, {});", trans ? "_trans" : "", b4, addressB(n));
    openRows();
    multiplyColumn(n, b4 + "[0]", b4 + "[1]");
    multiplyColumn(loop ? "n + 1" : "1", b4 + "[2]", b4 + "[3]");
    closeRows();
    if (loop)
      out.close();
  }
  if (paired < columns) {
    std::string n = std::to_string(paired);
    std::string last = fresh("b_last");
    out.line("u32 {}[2];", last);
    out.line("load_matrix_x2{}({}, {});", trans ? "_trans" : "", last, addressB(n));
    openRows();
    multiplyColumn(n, last + "[0]", last + "[1]");
    closeRows();
  }
  if (steps > 1)
    out.close();
  return {};
}

/// Operand a from shared memory to registers, for good.
Status KernelEmitter::loadFragments(tile::ConvertOp op) {
  Fragment fragment(op.getType());
  if (!op.getTile().getDefiningOp<tile::TakeOp>() || !fragment.pairs())
    return unsupported(op, "a change of layout other than from shared memory to operand a");
  const Step *rowBlocks = fragment.value(0, 16), *chunks = fragment.value(1, 8);
  int64_t rowTiles = rowBlocks ? rowBlocks->extent : 1, steps = chunks->extent / 2;
  declareTile(op, nameFor(op, rings[op.getTile().getDefiningOp<tile::TakeOp>().getRing()].name +
                                  "_fragments"));
  Matrix source = matrix(op.getTile());
  std::string row =
      warpCount == 1 ? kRowOfLane : fmt::format("warp * {} + {}", 16 * rowTiles, kRowOfLane);
  std::string at = tileAddress(laneAddress("lane", source, row, kChunkOfLane), source);
  if (rowTiles > 1)
    out.unrolled("m", rowTiles);
  out.unrolled("k", steps);
  std::string loaded = fresh("a");
  out.line("u32 {}[4];", loaded);
  out.line("load_matrix_x4({}, {});", loaded,
           source.rows.step(at, rowTiles > 1 ? "m" : "0", 16, "k", 2));
  for (int n = 0; n < 4; ++n)
    out.line("{}{} = {}[{}];", names[op],
             subscript(fragment,
                       {{"n", n / 2 ? "2 * k + 1" : "2 * k"}, {"half", std::to_string(n % 2)}}, 1),
             loaded, n);
  out.close(rowTiles > 1 ? 2 : 1);
  return {};
}

/// Accumulators of 16 bits into rows of shared memory, a pair of columns at a time.
Status KernelEmitter::turn(tile::ConvertOp op) {
  Fragment fragment(typeOf(op.getTile()));
  if (!isPacked(op.getTile()) || !fragment.value(1, 8) || !fragment.value(0, 8))
    return unsupported(op, "tiles in shared memory other than from pairs of columns");
  Matrix target = matrix(op);
  const Step *rowBlocks = fragment.value(0, 16);
  std::string row = threadOffset(fragment, 0);
  std::string lane =
      once("turned_lane", "u32",
           fmt::format("{} + {} + quad * 4", target.base, target.rows.address(row, "0")));
  int loops = openLoops(fragment, 1);
  // Rows 8 further down have the same place in the pattern, or one that the address can be xored
  // to.
  std::string down = "half";
  std::string at = target.rows.step(lane, down, 8, "n", 1);
  if (rowBlocks)
    at += fmt::format(" + m * {}", 16 * target.rows.pitch);
  out.line("store_shared({}, {}{});", at, names[op.getTile()], subscript(fragment, {}, 1));
  out.close(loops);
  return {};
}

} // namespace heddle::compiler::cuda
