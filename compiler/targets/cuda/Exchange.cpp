// Tiles that go from one layout to another through shared memory: each thread stores what it holds
// and, behind a barrier, loads what it is to hold.
//
//   convert %P : 64x64xbf16, reg -> smem    for n, half: store_shared(P_at + place(row, column), P)
//   convert %b : 64xf32, smem -> reg        for half: b[half] = load_shared_f32(..)
//
// Pairs of columns move as 32 bits, four of them as 16 bytes; where a tile's columns are its rows
// in memory, blocks of 8 x 8 are turned first.
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Scalars.h"
#include "compiler/targets/cuda/Shared.h"

#include "llvm/Support/MathExtras.h"

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;
using tile::typeOf;

namespace {

int64_t bytesOf(TileType type) { return type.getElementType().getIntOrFloatBitWidth() / 8; }

/// Eight neighbouring columns of 16 bits: four registers.
bool inChunks(const Fragment &fragment) {
  return fragment.is16Bit() && fragment.pairs() && fragment.values.size() > 1 &&
         fragment.values[1].extent == 4 && fragment.values[1].step == 2 &&
         fragment.values[1].dim == fragment.columnDim && fragment.columnDim == 1;
}

/// Two neighbouring columns of f32, at a place in `shared` that is a multiple of 8 bytes.
bool floatPairs(const Fragment &fragment, Value shared) {
  return fragment.type.getElementType().isF32() && fragment.pairs() &&
         fragment.columnDim + 1 == fragment.type.getRank() &&
         (fragment.type.getRank() == 1 || SharedRows(typeOf(shared)).pitch % 8 == 0);
}

} // namespace

std::string KernelEmitter::warpOffset(const Fragment &fragment, int64_t dim) {
  std::string sum;
  for (const Step &step : fragment.threads) {
    if (step.dim != dim || step.lane < 32)
      continue;
    std::string warp = step.lane == 32 ? "warp" : fmt::format("warp / {}", step.lane / 32);
    if (!step.outermost)
      warp = fmt::format("{} % {}", warp, step.extent);
    sum += fmt::format("{}{} * {}", sum.empty() ? "" : " + ", warp, step.step);
  }
  return sum;
}

std::string KernelEmitter::sharedAddress(Value tile, ArrayRef<std::string> at) {
  TileType type = typeOf(tile);
  Matrix source = matrix(tile);
  std::string base = source.base;
  if (!source.slot.empty())
    base += " + " + source.slot;
  int64_t bytes = bytesOf(type);
  if (type.getRank() < 2)
    return fmt::format("{} + ({}) * {}", base, at.empty() ? "0" : at[0], bytes);
  return fmt::format("{} + place<{}, {}, {}>({}, ({}) * {})", base, source.rows.pitch,
                     source.rows.shift, source.rows.mask, at[0], at[1], bytes);
}

std::string KernelEmitter::loadElement(Value tile, ArrayRef<std::string> at) {
  Type element = typeOf(tile).getElementType();
  std::string address = sharedAddress(tile, at);
  if (element.getIntOrFloatBitWidth() == 16)
    return fmt::format("load_shared_u16({})", address);
  if (element.isF32())
    return fmt::format("load_shared_f32({})", address);
  return fmt::format("({})load_shared_u32({})", typeText(element), address);
}

Status KernelEmitter::toShared(tile::ConvertOp op) {
  Fragment fragment(typeOf(op.getTile()));
  const bool packed = isPacked(op.getTile());
  if (packed && fragment.isAccumulator() && fragment.columnDim == 1 && fragment.value(0, 8) &&
      fragment.value(1, 8) && replicaCondition(fragment).empty() &&
      (warpOffset(fragment, 1).empty() || llvm::isPowerOf2_64(fragment.value(1, 8)->extent)))
    return turn(op);
  if (int64_t width = fragment.type.getElementType().getIntOrFloatBitWidth();
      width != 16 && width != 32)
    return unsupported(op, "elements of other than 16 or 32 bits in shared memory");
  const bool chunks = packed && inChunks(fragment);
  const auto at = [&](const Indices &indices) {
    std::vector<std::string> coordinates;
    for (int64_t dim = 0; dim < fragment.type.getRank(); ++dim)
      coordinates.push_back(coordinate(fragment, dim, indices));
    return sharedAddress(op, coordinates);
  };
  std::string condition = replicaCondition(fragment);
  if (!condition.empty())
    out.open(fmt::format("if ({})", condition));
  const bool floats = floatPairs(fragment, op);
  int loops = openLoops(fragment, chunks ? 2 : packed || floats ? 1 : 0);
  std::string name = packed ? names[op.getTile()] : "";
  if (chunks) {
    std::string parts;
    for (int n = 0; n < 4; ++n)
      parts += fmt::format(", {}{}", name, subscript(fragment, {{"e2", std::to_string(n)}}, 1));
    out.line("store_shared_16({}{});", at({{"c", "0"}, {"e2", "0"}}), parts);
  } else if (packed && fragment.columnDim + 1 == fragment.type.getRank()) {
    out.line("store_shared({}, {}{});", at({{"c", "0"}}), name, subscript(fragment, {}, 1));
  } else if (packed) {
    // Blocks of 8 x 8 are turned within the warp, so that pairs lie side by side in memory.
    if (!fragment.isAccumulator())
      return unsupported(op, "pairs of rows in shared memory");
    const std::string row = coordinate(fragment, 0, {{"c", "0"}}),
                      column = coordinate(fragment, 1, {{"c", "0"}});
    out.line("store_shared({}, transpose_matrix({}{}));",
             sharedAddress(op, {fmt::format("{} - 2 * quad + group", row),
                                fmt::format("{} - group + 2 * quad", column)}),
             name, subscript(fragment, {}, 1));
  } else if (floats) {
    SmallVector<int64_t> identity = llvm::to_vector(llvm::seq<int64_t>(0, fragment.type.getRank()));
    const std::string &column = fragment.values[0].variable;
    out.line("store_shared_pair({}, {}, {});", at({{column, "0"}}),
             element(op.getTile(), identity, fragment, {{column, "0"}}),
             element(op.getTile(), identity, fragment, {{column, "1"}}));
  } else {
    SmallVector<int64_t> identity = llvm::to_vector(llvm::seq<int64_t>(0, fragment.type.getRank()));
    std::string value = element(op.getTile(), identity, fragment, {});
    const bool real = fragment.type.getElementType().isF32();
    out.line("{}({}, {});",
             fragment.is16Bit() ? "store_shared_u16"
             : real             ? "store_shared_f32"
                                : "store_shared",
             at({}), value);
  }
  out.close(loops + !condition.empty());
  return {};
}

Status KernelEmitter::fromShared(tile::ConvertOp op) {
  Fragment fragment(op.getType());
  const bool packed = isPacked(op);
  const Step *columns = fragment.isAccumulator() ? fragment.value(fragment.columnDim, 8) : nullptr;
  if (packed && columns && columns->extent % 2 == 0 &&
      warpOffset(fragment, fragment.columnDim).empty())
    return loadFragments(op);
  const bool chunks = packed && inChunks(fragment);
  const auto at = [&](const Indices &indices) {
    std::vector<std::string> coordinates;
    for (int64_t dim = 0; dim < fragment.type.getRank(); ++dim)
      coordinates.push_back(coordinate(fragment, dim, indices));
    return coordinates;
  };
  Value source = op.getTile();
  declareTile(op, nameFor(op, "moved"));
  const bool floats = floatPairs(fragment, source);
  int loops = openLoops(fragment, chunks ? 2 : packed || floats ? 1 : 0);
  if (chunks) {
    std::string loaded = fresh("chunk");
    out.line("const uint4 {} = load_shared_16({});", loaded,
             sharedAddress(source, at({{"c", "0"}, {"e2", "0"}})));
    for (int n = 0; n < 4; ++n)
      out.line("{}{} = {}.{};", names[op], subscript(fragment, {{"e2", std::to_string(n)}}, 1),
               loaded, "xyzw"[n]);
  } else if (packed && fragment.columnDim + 1 == fragment.type.getRank()) {
    out.line("{}{} = load_shared_u32({});", names[op], subscript(fragment, {}, 1),
             sharedAddress(source, at({{"c", "0"}})));
  } else if (packed) {
    out.line("{}{} = {} | (u32){} << 16;", names[op], subscript(fragment, {}, 1),
             loadElement(source, at({{"c", "0"}})), loadElement(source, at({{"c", "1"}})));
  } else if (floats) {
    const std::string pair = fresh("pair"), place = subscript(fragment, {}, 1);
    out.line("const float2 {} = load_shared_pair({});", pair,
             sharedAddress(source, at({{fragment.values[0].variable, "0"}})));
    for (int n = 0; n < 2; ++n)
      out.line("{}{}[{}] = {}.{};", names[op], place, n, pair, "xy"[n]);
  } else {
    out.line("{}{} = {};", names[op], subscript(fragment, {}), loadElement(source, at({})));
  }
  out.close(loops);
  return {};
}

} // namespace heddle::compiler::cuda
