// Tiles in registers: loops over the values a thread holds, unrolled.
//
//   P = map(S, m) { exp2(S - m) }   ->   for n, half, c: S[n][half][c] = exp2_approx(S[n][half][c]
//   - m[half]);
//
// A result takes the array of an operand that dies in the op.
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Scalars.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <limits>

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;
using tile::typeOf;

namespace {

bool isIdentity(ArrayRef<int64_t> positions, size_t rank) {
  return positions.size() == rank && llvm::equal(positions, llvm::seq<int64_t>(0, rank));
}

} // namespace

bool KernelEmitter::isLazy(Value value) {
  if (auto map = value.getDefiningOp<tile::MapOp>())
    return typeOf(map.getResult(0)).getRank() > 2;
  return isa_and_nonnull<tile::FillOp, tile::IndexOp>(value.getDefiningOp());
}

bool KernelEmitter::isPacked(Value value) {
  TileType type = typeOf(value);
  if (type.getElementType().getIntOrFloatBitWidth() != 16 || type.getSpace() != tile::Space::Reg ||
      !isa_and_nonnull<tile::MapOp, tile::ConvertOp, tile::LoadOp>(value.getDefiningOp()))
    return false;
  return Fragment(type).pairs();
}

void KernelEmitter::declareTile(Value value, const std::string &name) {
  Fragment fragment(typeOf(value));
  bool packed = isPacked(value);
  out.line("{} {}{};", packed ? "u32" : typeText(fragment.type.getElementType()), name,
           extents(fragment, packed));
  names[value] = name;
}

bool KernelEmitter::diesAt(Value value, Operation *op) {
  if (isLazy(value) || value.getParentBlock() != op->getBlock())
    return false;
  for (Operation *user : value.getUsers()) {
    if (user == op)
      continue;
    Operation *here = op->getBlock()->findAncestorOpInBlock(*user);
    if (!here || here == op || !here->isBeforeInBlock(op))
      return false;
  }
  return true;
}

bool KernelEmitter::takePlace(Value result, Value operand) {
  Operation *op = result.getDefiningOp();
  if (!op)
    op = result.getParentBlock()->getParentOp();
  if (result.getType() != operand.getType() || !diesAt(operand, op) ||
      isPacked(result) != isPacked(operand))
    return false;
  std::string variable = names[operand]; // a copy: the map may grow
  names[result] = variable;
  return true;
}

// ---- coordinates and elements ----

std::string KernelEmitter::threadOffset(const Fragment &fragment, int64_t dim) {
  std::string sum;
  for (size_t n = fragment.threads.size(); n > 0; --n) {
    const Step &step = fragment.threads[n - 1];
    if (step.dim == dim)
      sum += (sum.empty() ? "" : " + ") + times(threadCoordinate(step), step.step);
  }
  if (sum.empty())
    return "";
  bool columns = fragment.type.getRank() == 1 ? sum.find("quad") != sum.npos
                                              : dim + 1 == fragment.type.getRank();
  return once(columns ? "column" : "row", "int", sum);
}

/// The part of a coordinate that loop variables make: a constant once the loops are unrolled.
std::string KernelEmitter::valueOffset(const Fragment &fragment, int64_t dim,
                                       const Indices &indices) {
  std::string sum;
  for (size_t n = fragment.values.size(); n > 0; --n) {
    const Step &step = fragment.values[n - 1];
    if (step.dim != dim)
      continue;
    std::string index = step.variable;
    for (const auto &[name, expression] : indices)
      if (name == step.variable)
        index = expression;
    if (index == "0")
      continue;
    sum += (sum.empty() ? "" : " + ") + times(index, step.step);
  }
  return sum;
}

std::string KernelEmitter::coordinate(const Fragment &fragment, int64_t dim,
                                      const Indices &indices) {
  std::string thread = threadOffset(fragment, dim);
  std::string values = valueOffset(fragment, dim, indices);
  if (thread.empty() || values.empty())
    return thread.empty() && values.empty() ? "0" : thread + values;
  return thread + " + " + values;
}

/// Which value of a step holds the coordinate along `dim` that the loop variables of `result` say:
/// the same distribution, written with other leaves.
static std::string valueIndex(const Step &step, int64_t dim, const Fragment &result,
                              const Indices &indices) {
  std::string sum;
  for (const Step &value : result.values) {
    if (value.dim != dim)
      continue;
    std::string index = value.variable;
    for (const auto &[name, expression] : indices)
      if (name == value.variable)
        index = expression;
    sum += (sum.empty() ? "" : " + ") + times(index, value.step);
  }
  return fmt::format("({}) / {} % {}", sum.empty() ? "0" : sum, step.step, step.extent);
}

std::string KernelEmitter::element(Value tile, ArrayRef<int64_t> positions, const Fragment &result,
                                   const Indices &indices) {
  TileType type = typeOf(tile);
  if (auto fill = tile.getDefiningOp<tile::FillOp>()) {
    double value = fill.getValue().convertToDouble();
    return isa<FloatType>(type.getElementType()) ? literal(value)
                                                 : fmt::format("{}", int64_t(value));
  }
  if (auto index = tile.getDefiningOp<tile::IndexOp>()) {
    std::string base = scalar(index.getBase()), at = coordinate(result, positions[0], indices);
    return base == "0" ? at : fmt::format("{} + {}", base, at);
  }
  if (type.getSpace() == tile::Space::Smem) {
    std::vector<std::string> at;
    for (int64_t position : positions)
      at.push_back(coordinate(result, position, indices));
    return loadElement(tile, at);
  }
  Fragment fragment(type);
  const Indices own = indicesOf(fragment, positions, result, indices);
  const bool packed = isPacked(tile);
  std::string text = names[tile] + subscript(fragment, own, packed);
  if (!packed)
    return text;
  std::string column = "0";
  for (const auto &[name, index] : own)
    if (name == "c")
      column = index;
  return fmt::format("(u16)({} >> (16 * {}))", text, column);
}

/// Which of its own values of a tile in registers a thread takes for the loop variables of
/// `result`.
Indices KernelEmitter::indicesOf(const Fragment &fragment, ArrayRef<int64_t> positions,
                                 const Fragment &result, const Indices &indices) {
  Indices own;
  for (const Step &step : fragment.values) {
    const Step *same = result.value(positions[step.dim], step.step);
    std::string index = same && same->extent == step.extent
                            ? same->variable
                            : valueIndex(step, positions[step.dim], result, indices);
    for (const auto &[name, expression] : indices)
      if (same && index == same->variable && name == same->variable)
        index = expression;
    own.push_back({step.variable, index});
  }
  return own;
}

std::string KernelEmitter::replicaCondition(const Fragment &fragment) {
  std::string condition;
  for (const Step &step : fragment.threads)
    if (step.dim < 0)
      condition +=
          fmt::format("{}{} == 0", condition.empty() ? "" : " && ", threadCoordinate(step));
  return condition;
}

int KernelEmitter::openLoops(const Fragment &fragment, int inner, int64_t copies) {
  int opened = 0;
  for (size_t n = fragment.values.size(); n > size_t(inner); --n, ++opened)
    out.unrolled(fragment.values[n - 1].variable, fragment.values[n - 1].extent, 1, copies);
  return opened;
}

void KernelEmitter::copyTile(Value from, const std::string &to, const Fragment &fragment,
                             bool packed) {
  int loops = openLoops(fragment, packed);
  SmallVector<int64_t> positions = identityOf(fragment.type.getRank());
  std::string value = packed ? names[from] + subscript(fragment, {}, packed)
                             : element(from, positions, fragment, {});
  out.line("{}{} = {};", to, subscript(fragment, {}, packed), value);
  out.close(loops);
}

void KernelEmitter::zero(const Fragment &fragment, const std::string &name) {
  int loops = openLoops(fragment);
  out.line("{}{} = 0.0f;", name, subscript(fragment, {}));
  out.close(loops);
}

// ---- maps ----

Result<std::vector<std::string>> KernelEmitter::mapBody(tile::MapOp op, const Fragment &result,
                                                        const Indices &indices) {
  Block &body = op.getBody().front();
  for (auto [n, input] : llvm::enumerate(op.getInputs())) {
    if (body.getArgument(n).use_empty())
      continue;
    std::string text = element(input, op.getInputPositions(n), result, indices);
    if (typeOf(input).getSpace() == tile::Space::Smem) { // read once
      std::string read = fresh("read");
      out.line("const {} {} = {};", typeText(typeOf(input).getElementType()), read, text);
      text = read;
    }
    names[body.getArgument(n)] = text;
    if (auto index = input.getDefiningOp<tile::IndexOp>()) {
      const int64_t position = op.getInputPositions(n)[0];
      const std::string thread = threadOffset(result, position);
      splits[body.getArgument(n)] = {scalar(index.getBase()) +
                                         (thread.empty() ? "" : " + " + thread),
                                     valueOffset(result, position, indices)};
    }
  }
  for (Operation &inner : body.without_terminator()) {
    names.erase(inner.getResult(0));
    HEDDLE_CHECK(emit(&inner));
  }
  std::vector<std::string> values;
  for (Value value : op.getYield().getValues())
    values.push_back(rawScalar(value));
  return values;
}

/// A value that a loop carries keeps its name to itself where that costs nothing.
static bool isRunning(Value value) {
  return isa<BlockArgument>(value) && isa<tile::ForOp>(value.getParentBlock()->getParentOp());
}

static Operation *lastOf(tile::MapOp op) { return op.getYield().getValues()[0].getDefiningOp(); }

/// The store of a vector that is only stored.
static tile::StoreOp storeOf(tile::MapOp op) {
  if (op->hasOneUse() && op.getExtents().size() == 1)
    return dyn_cast<tile::StoreOp>(*op->user_begin());
  return {};
}

/// What a tile is called that takes no other's place.
static std::string tileName(tile::MapOp op, int64_t rank) {
  if (tile::StoreOp store = storeOf(op))
    return store.getView().getDefiningOp<tile::ViewOp>().getName().str() + "_rows";
  Operation *last = lastOf(op);
  if (rank == 2)
    return isa_and_nonnull<arith::TruncFOp>(last) ? "rounded" : "t";
  if (isa_and_nonnull<math::Exp2Op>(last))
    return "factor";
  if (isa_and_nonnull<arith::DivFOp>(last))
    return "reciprocal";
  return isa_and_nonnull<arith::SelectOp>(last) ? "base" : "r";
}

static bool isMinusInfinity(Value value) {
  APFloat number(0.0f);
  return matchPattern(value, m_ConstantFloat(&number)) && number.isInfinity() &&
         number.isNegative();
}

/// A comment for maps that begin a stage of attention; null: none.
static const char *stageOf(tile::MapOp op, bool packed) {
  if (op->getParentOfType<tile::KernelOp>()->hasAttr("tile.state"))
    return nullptr;
  Operation *last = lastOf(op);
  const bool matrix = op.getExtents().size() == 2;
  auto select = dyn_cast_or_null<arith::SelectOp>(last);
  if (matrix && (op.getMask() || (select && isMinusInfinity(select.getFalseValue()))))
    return "Scores of pairs outside the support go.";
  if (select && !matrix && matchPattern(select.getTrueValue(), m_AnyZeroFloat()))
    return "A finite base also where a row has seen no key yet.";
  if (isa_and_nonnull<math::Exp2Op>(last))
    return matrix ? "Weights." : "By what earlier sums shrink under the new maximum.";
  if (isa_and_nonnull<arith::MulFOp>(last) && isRunning(op.getInputs()[0]))
    return "What was summed so far, under the new maximum.";
  if (isa_and_nonnull<arith::MaximumFOp>(last) && !matrix)
    return llvm::any_of(last->getOperands(),
                        [](Value x) { return x.getDefiningOp<arith::MulFOp>() != nullptr; })
               ? "The maximum so far, scaled."
               : "The maximum so far.";
  if (packed && isa_and_nonnull<arith::TruncFOp>(last))
    return "Rounded, two in a register, as products take them.";
  return nullptr;
}

Status KernelEmitter::map(tile::MapOp op) {
  if (isLazy(op.getResult(0)))
    return {}; // computed where it is reduced
  Fragment fragment(typeOf(op.getResult(0)));
  bool packed = isPacked(op.getResult(0));
  if (const char *what = stageOf(op, packed))
    out.comment(what);
  for (Value result : op.getResults()) {
    bool placed = false;
    for (auto [n, input] : llvm::enumerate(op.getInputs()))
      if (!placed && op.getNumResults() == 1 && !storeOf(op) &&
          !(isRunning(input) && fragment.type.getRank() < 2) &&
          isIdentity(op.getInputPositions(n), op.getExtents().size()))
        placed = takePlace(result, input);
    if (!placed)
      declareTile(result, nameFor(result, tileName(op, fragment.type.getRank())));
  }
  if (!packed) {
    int loops = openLoops(fragment);
    HEDDLE_TRY(values, mapBody(op, fragment, {}));
    for (auto [result, value] : llvm::zip(op.getResults(), values))
      out.line("{}{} = {};", names[result], subscript(fragment, {}), value);
    out.close(loops);
    return {};
  }
  Type element = fragment.type.getElementType();
  if (auto product = op.getYield().getValues()[0].getDefiningOp<arith::MulFOp>();
      product && arePairs(op, product, fragment))
    return multiplyPairs(op, product, fragment);
  auto rounded = op.getYield().getValues()[0].getDefiningOp<arith::TruncFOp>();
  if (op.getNumResults() != 1)
    return unsupported(op, "several results, one of 16 bits");
  if (!rounded || !rounded.getOperand().getType().isF32()) {
    int loops = openLoops(fragment, 1);
    std::string pair = fresh("pair");
    out.line("u16 {}[2];", pair);
    out.unrolled("c", 2);
    HEDDLE_TRY(values, mapBody(op, fragment, {}));
    out.line("{}[c] = {};", pair, values[0]);
    out.close();
    out.line("{0}{1} = (u32){2}[0] | (u32){2}[1] << 16;", names[op.getResult(0)],
             subscript(fragment, {}, 1), pair);
    out.close(loops);
    return {};
  }
  const char *pack = element.isBF16() ? "pack_bf16" : "pack_f16";
  std::string target = names[op.getResult(0)] + subscript(fragment, {}, 1);
  int loops = openLoops(fragment, 1);
  // Both columns in one line where nothing but the rounding is computed.
  if (isa<BlockArgument>(rounded.getOperand())) {
    std::string halves[2];
    for (int c : {0, 1}) {
      HEDDLE_TRY(unused, mapBody(op, fragment, {{"c", std::to_string(c)}}));
      (void)unused;
      halves[c] = rawScalar(rounded.getOperand());
    }
    out.line("{} = {}({}, {});", target, pack, halves[0], halves[1]);
  } else {
    std::string pair = fresh("pair");
    out.line("float {}[2];", pair);
    out.unrolled("c", 2);
    HEDDLE_TRY(unused, mapBody(op, fragment, {}));
    (void)unused;
    out.line("{}[c] = {};", pair, rawScalar(rounded.getOperand()));
    out.close();
    out.line("{0} = {1}({2}[0], {2}[1]);", target, pack, pair);
  }
  out.close(loops);
  return {};
}

/// Whether a product of 16 bits can be made two at a time: operands are pairs of columns, or
/// numbers that are rounded to pairs.
bool KernelEmitter::arePairs(tile::MapOp op, arith::MulFOp product, const Fragment &fragment) {
  return llvm::all_of(product->getOperands(), [&](Value operand) {
    if (auto argument = dyn_cast<BlockArgument>(operand)) {
      Value input = op.getInputs()[argument.getArgNumber()];
      return isPacked(input) &&
             op.getInputPositions(argument.getArgNumber())[Fragment(typeOf(input)).columnDim] ==
                 fragment.columnDim;
    }
    auto rounded = operand.getDefiningOp<arith::TruncFOp>();
    return rounded && rounded.getOperand().getType().isF32();
  });
}

Status KernelEmitter::multiplyPairs(tile::MapOp op, arith::MulFOp product,
                                    const Fragment &fragment) {
  const char *type = fragment.type.getElementType().isBF16() ? "bf16" : "f16";
  const int loops = openLoops(fragment, 1);
  std::string pairs[2];
  for (unsigned n : {0, 1}) {
    Value operand = product->getOperand(n);
    if (auto argument = dyn_cast<BlockArgument>(operand)) {
      Value input = op.getInputs()[argument.getArgNumber()];
      Fragment own(typeOf(input));
      SmallVector<int64_t> positions = op.getInputPositions(argument.getArgNumber());
      pairs[n] =
          names[input] + subscript(own, indicesOf(own, positions, fragment, {{"c", "0"}}), 1);
      continue;
    }
    std::string halves = fresh("halves");
    out.line("float {}[2];", halves);
    out.unrolled("c", 2);
    HEDDLE_TRY(unused, mapBody(op, fragment, {}));
    (void)unused;
    out.line("{}[c] = {};", halves,
             rawScalar(operand.getDefiningOp<arith::TruncFOp>().getOperand()));
    out.close();
    pairs[n] = fmt::format("pack_{0}({1}[0], {1}[1])", type, halves);
  }
  out.line("{} = multiply_{}({}, {});", names[op.getResult(0)] + subscript(fragment, {}, 1), type,
           pairs[0], pairs[1]);
  out.close(loops);
  return {};
}

} // namespace heddle::compiler::cuda
