// Products by mma.m16n8k16. Operand a lies in registers, or is read from shared memory a k step at
// a time; operand b is read by ldmatrix, 16 rows or columns at once:
//
//   S = Q K'   b from K, rows are columns of S     ldmatrix         chunk 2 k of rows 8 n ..
//   O += P V   b from V, rows are contracted       ldmatrix.trans   chunk n of rows 16 k ..
//
// A vector as operand a stands for 16 equal rows: every lane reads it at the same place, and one
// row of the sums is kept.
//
// A lane's address is computed once; steps change it by constants, added, or xored where the rows
// are swizzled.
#include "compiler/support/Names.h"
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Shared.h"

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;
using tile::typeOf;

/// What a tile that was written to shared memory is called: by the tensor that its elements are
/// made of, else a result.
static std::string sourceOf(Value tile) {
  if (auto load = tile.getDefiningOp<tile::LoadOp>())
    return load.getView().getDefiningOp<tile::ViewOp>().getName().str() + "_rows";
  if (auto map = tile.getDefiningOp<tile::MapOp>())
    for (Value input : map.getInputs())
      if (typeOf(input).getShape() == typeOf(tile).getShape() &&
          input.getDefiningOp<tile::LoadOp>())
        return sourceOf(input);
  return "turned";
}

/// Name, offset in shared memory and slot of a tile there.
KernelEmitter::Matrix KernelEmitter::matrix(Value value) {
  Operation *op = value.getDefiningOp();
  if (auto slice = dyn_cast<tile::SliceOp>(op)) {
    Matrix part = matrix(slice.getTile());
    part.rows = SharedRows(typeOf(value));
    part.slot = slots[value];
    return part;
  }
  Matrix matrix{SharedRows(typeOf(value)), "", "", ""};
  if (auto take = dyn_cast<tile::TakeOp>(op)) {
    op = take.getRing().getDefiningOp();
    matrix.name = rings[take.getRing()].name;
    matrix.slot = slots[value];
  } else {
    matrix.name = sourceOf(cast<tile::ConvertOp>(op).getTile());
  }
  auto offset = op->getAttrOfType<IntegerAttr>("tile.offset");
  matrix.base = sharedBase(offset ? offset.getInt() : 0);
  return matrix;
}

/// Rows of a tile in shared memory, from a run-time row that begins a period of the swizzle.
void KernelEmitter::slice(tile::SliceOp op) {
  Matrix whole = matrix(op.getTile());
  const std::string rows = offset(op.getMixedOffsets()[0]);
  std::string name = fresh(whole.name + "_part");
  out.line("const u32 {} = {}{} * {};", name, whole.slot.empty() ? "" : whole.slot + " + ", rows,
           whole.rows.pitch);
  slots[op.getResult()] = name;
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
/// The other order: lanes 8 to 15 give the next chunk, lanes from 16 on the next 8 rows.
static constexpr const char *kRowOfHalf = "lane % 8 + lane / 16 * 8",
                            *kChunkOfHalf = "lane / 8 % 2";

/// Steps along what is summed, of 16, and the chunks of 8 in one. (k alone is often a tensor.)
static constexpr const char *kStep = "k16";
static std::string chunkOf(int n) { return fmt::format("2 * {}{}", kStep, n ? " + 1" : ""); }

static std::string plus(const std::string &x, const std::string &y) {
  return x.empty() ? y : fmt::format("{} + {}", x, y);
}

/// How a product's operand is read from shared memory: steps along its rows or columns (`outer`)
/// and along what is summed (k).
struct KernelEmitter::OperandReader {
  Matrix matrix;
  bool sumIsRow;     ///< rows in memory are what is summed
  bool isA;          ///< steps of 16 along outer, else of 8
  std::string first; ///< of the warp, along outer; empty for 0
  std::string at;    ///< address of the lane and tile
  bool addable;      ///< steps along outer do not carry into the warp's own chunks
};

KernelEmitter::OperandReader KernelEmitter::readerOf(Value value, int64_t sumDim, bool isA,
                                                     const std::string &first, int64_t steps) {
  OperandReader reader{matrix(value), sumDim == 0, isA, first, "", true};
  // A: lanes by rows, then k; B: by k, then columns.
  const bool halves = reader.sumIsRow == isA;
  std::string row = halves ? kRowOfHalf : kRowOfLane, chunk = halves ? kChunkOfHalf : kChunkOfLane;
  if (!reader.sumIsRow) {
    row = plus(first, row);
  } else if (!first.empty()) {
    chunk = fmt::format("({}) / 8 + {}", first, chunk);
    reader.addable = (steps & (steps - 1)) == 0;
  }
  reader.at = tileAddress(laneAddress("lane", reader.matrix, row, chunk), reader.matrix);
  return reader;
}

/// The address for step `outer` (of 16 rows or 8 columns) and step `k` of 16.
std::string KernelEmitter::operandAt(const OperandReader &reader, const std::string &outer,
                                     const std::string &k) {
  const SharedRows &rows = reader.matrix.rows;
  if (!reader.sumIsRow)
    return rows.step(reader.at, outer, reader.isA ? 16 : 8, k, 2);
  const int64_t chunks = reader.isA ? 2 : 1;
  if (reader.addable)
    return rows.step(reader.at, k, 16, outer, chunks);
  std::string chunk = fmt::format("({}) / 8 + {} + ({}) * {}", reader.first,
                                  reader.isA ? kChunkOfHalf : kChunkOfLane, outer, chunks);
  std::string text = fmt::format("{} + {}", reader.matrix.base,
                                 rows.address(reader.isA ? kRowOfHalf : kRowOfLane, chunk));
  if (!reader.matrix.slot.empty())
    text += " + " + reader.matrix.slot;
  return k == "0" ? text : fmt::format("{} + {} * {}", text, k, 16 * rows.pitch);
}

Status KernelEmitter::mma(tile::MmaOp op) {
  TileType a = typeOf(op.getA()), c = typeOf(op.getResult());
  Fragment sums(c);
  Attribute sum = StringAttr::get(op.getContext(), op.getContracted()[0]);
  int64_t sumA = positionOf(op.getADims(), sum), sumB = positionOf(op.getBDims(), sum);
  const bool vector = a.getRank() == 1; // 16 equal rows, of whose sums one is kept
  const int64_t columnDim = sums.columnDim, rowDim = 1 - columnDim;
  int64_t steps = a.getDim(sumA) / 16;
  const Step *rowBlocks = vector ? nullptr : sums.value(rowDim, 16),
             *columnBlocks = sums.value(columnDim, 8);
  int64_t rowTiles = rowBlocks ? rowBlocks->extent : 1;
  int64_t columns = columnBlocks ? columnBlocks->extent : 1;
  bool trans = sumB == 0;
  const char *multiply = a.getElementType().isBF16() ? "mma_bf16" : "mma_f16";

  // Where the sums go: on top of what was there, or on zeros.
  bool zeros = op.getInit().getDefiningOp<tile::FillOp>() != nullptr;
  const std::string factor = matrix(op.getB()).name + (trans ? "" : "'");
  out.comment(fmt::format("{} {}.", zeros ? "Products with" : "Add products with", factor));
  if (!takePlace(op.getResult(), op.getInit())) {
    declareTile(op.getResult(), nameFor(op.getResult(), "acc"));
    if (zeros)
      zero(sums, names[op.getResult()]);
    else
      copyTile(op.getInit(), names[op.getResult()], sums, false);
  }
  std::string result = vector ? openVector(op, sums) : names[op.getResult()];
  const int inner = vector ? 1 : 2; // of the sums' values: columns, and two rows

  OperandReader readerB = readerOf(op.getB(), sumB, false, warpOffset(sums, columnDim), columns);
  bool aShared = a.getSpace() == tile::Space::Smem;
  std::optional<OperandReader> readerA;
  if (aShared)
    readerA = readerOf(op.getA(), vector ? 1 : sumA, true, vector ? "" : warpOffset(sums, rowDim),
                       rowTiles);

  const std::string k = steps > 1 ? kStep : "0";
  if (steps > 1)
    out.unrolled(kStep, steps);
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
    out.line("load_matrix_x4{}({}{}, {});", sumA == 0 && !vector ? "_trans" : "", loaded, array,
             operandAt(*readerA, rowTiles > 1 ? "m" : "0", k));
    closeRows();
    for (int n = 0; n < 4; ++n)
      fragments[n] = fmt::format("{}{}[{}]", loaded, array, n);
  } else if (vector) {
    for (std::string &ones : fragments)
      ones = a.getElementType().isBF16() ? "0x3f803f80u" : "0x3c003c00u";
  } else {
    Fragment own(a);
    for (int n = 0; n < 4; ++n)
      fragments[n] = names[op.getA()] +
                     subscript(own,
                               {{"n", steps > 1 ? chunkOf(n / 2) : fmt::format("{}", n / 2)},
                                {"half", std::to_string(n % 2)}},
                               1);
  }
  const auto multiplyColumn = [&](const std::string &n, const std::string &b0,
                                  const std::string &b1) {
    out.line("{}({}{}, {}, {}, {}, {}, {}, {});", multiply, result,
             subscript(sums, {{"n", n}}, inner), fragments[0], fragments[1], fragments[2],
             fragments[3], b0, b1);
  };
  const auto multiplyPair = [&](const std::string &n, const std::string &next,
                                const std::string &from) {
    const char *type = a.getElementType().isBF16() ? "bf16" : "f16";
    out.line("mma_pair_{}{}({}{}, {}{}, {}, {}, {}, {}, {});", type, trans ? "_trans" : "", result,
             subscript(sums, {{"n", n}}, inner), result, subscript(sums, {{"n", next}}, inner),
             fragments[0], fragments[1], fragments[2], fragments[3], from);
  };
  int64_t paired = columns / 2 * 2;
  if (paired > 0) {
    bool loop = paired > 2;
    std::string n = loop ? "n" : "0";
    if (loop)
      out.unrolled("n", paired, 2);
    const std::string next = loop ? "n + 1" : "1", from = operandAt(readerB, n, k);
    if (rowTiles == 1) {
      multiplyPair(n, next, from);
    } else { // b is read once for all rows
      const std::string b4 = fresh("b");
      out.line("u32 {}[4];", b4);
      out.line("load_matrix_x4{}({}, {});", trans ? "_trans" : "", b4, from);
      openRows();
      multiplyColumn(n, b4 + "[0]", b4 + "[1]");
      multiplyColumn(next, b4 + "[2]", b4 + "[3]");
      closeRows();
    }
    if (loop)
      out.close();
  }
  if (paired < columns) {
    std::string n = std::to_string(paired);
    std::string last = fresh("b_last");
    out.line("u32 {}[2];", last);
    out.line("load_matrix_x2{}({}, {});", trans ? "_trans" : "", last, operandAt(readerB, n, k));
    openRows();
    multiplyColumn(n, last + "[0]", last + "[1]");
    closeRows();
  }
  if (steps > 1)
    out.close();
  if (vector)
    closeVector(op, sums, result);
  return {};
}

/// Sums of a product with a vector in whole fragments: what was there in one row, zeros in the
/// other.
std::string KernelEmitter::openVector(tile::MmaOp op, const Fragment &sums) {
  const std::string name = fresh("rows");
  out.line("float {}{}[2][2];", name, extents(sums, 1));
  const int loops = openLoops(sums);
  const std::string at = subscript(sums, {}, 1);
  out.line("{}{}[0][c] = {}{};", name, at, names[op.getResult()], subscript(sums, {}));
  out.line("{}{}[1][c] = 0.0f;", name, at);
  out.close(loops);
  return name;
}

void KernelEmitter::closeVector(tile::MmaOp op, const Fragment &sums, const std::string &rows) {
  const int loops = openLoops(sums);
  out.line("{}{} = {}{}[0][c];", names[op.getResult()], subscript(sums, {}), rows,
           subscript(sums, {}, 1));
  out.close(loops);
}

/// Pairs of columns from shared memory to registers, for good: as operand a is read.
Status KernelEmitter::loadFragments(tile::ConvertOp op) {
  Fragment fragment(op.getType());
  const int64_t columnDim = fragment.columnDim, rowDim = 1 - columnDim;
  const Step *rowBlocks = fragment.value(rowDim, 16), *chunks = fragment.value(columnDim, 8);
  int64_t rowTiles = rowBlocks ? rowBlocks->extent : 1, steps = chunks->extent / 2;
  Matrix source = matrix(op.getTile());
  declareTile(op, nameFor(op, source.name + "_fragments"));
  OperandReader reader =
      readerOf(op.getTile(), columnDim, true, warpOffset(fragment, rowDim), rowTiles);
  if (rowTiles > 1)
    out.unrolled("m", rowTiles);
  out.unrolled(kStep, steps);
  std::string loaded = fresh("a");
  out.line("u32 {}[4];", loaded);
  out.line("load_matrix_x4{}({}, {});", columnDim == 0 ? "_trans" : "", loaded,
           operandAt(reader, rowTiles > 1 ? "m" : "0", kStep));
  for (int n = 0; n < 4; ++n)
    out.line("{}{} = {}[{}];", names[op],
             subscript(fragment, {{"n", chunkOf(n / 2)}, {"half", std::to_string(n % 2)}}, 1),
             loaded, n);
  out.close(rowTiles > 1 ? 2 : 1);
  return {};
}

/// Accumulators of 16 bits into rows of shared memory, a pair of columns at a time.
Status KernelEmitter::turn(tile::ConvertOp op) {
  Fragment fragment(typeOf(op.getTile()));
  Matrix target = matrix(op);
  const Step *rowBlocks = fragment.value(0, 16);
  std::string row = threadOffset(fragment, 0);
  // Warps that share the columns have whole powers of two of chunks, so that n is xored as it is
  // added.
  std::string columns = warpOffset(fragment, 1);
  std::string chunk = columns.empty() ? "0" : fmt::format("({}) / 8", columns);
  std::string lane =
      once("turned_lane", "u32",
           fmt::format("{} + {} + quad * 4", target.base, target.rows.address(row, chunk)));
  out.comment("Results to shared memory, row by row.");
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
