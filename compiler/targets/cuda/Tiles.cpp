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

SmallVector<int64_t> identityOf(int64_t rank) {
  return llvm::to_vector(llvm::seq<int64_t>(0, rank));
}

std::string threadCoordinate(const Step &step) {
  if (step.lane == 1 && step.extent == 4)
    return "quad";
  if (step.lane == 4 && step.extent == 8)
    return "group";
  if (step.lane >= 32) {
    std::string warp = step.lane == 32 ? "warp" : fmt::format("warp / {}", step.lane / 32);
    return step.outermost ? warp : fmt::format("{} % {}", warp, step.extent);
  }
  if (step.lane == 1 && step.extent == 32)
    return "lane";
  if (step.outermost)
    return fmt::format("(int)(threadIdx.x / {})", step.lane);
  return step.lane == 1 ? fmt::format("(int)(threadIdx.x % {})", step.extent)
                        : fmt::format("(int)(threadIdx.x / {} % {})", step.lane, step.extent);
}

constexpr int64_t kCodesAtOnce = 8; ///< bytes of codes that a load reads

std::string times(const std::string &x, int64_t factor) {
  const bool simple = x.find(' ') == x.npos || x.starts_with("(int)");
  if (factor == 1)
    return x;
  return simple ? fmt::format("{} * {}", factor, x) : fmt::format("{} * ({})", factor, x);
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

// ---- reductions ----

namespace {
struct Combiner {
  std::string neutral, format;
  std::string operator()(const std::string &x, const std::string &y) const {
    return fmt::format(fmt::runtime(format), x, y);
  }
};
Combiner combinerOf(tile::Reduction kind, Type element) {
  bool real = isa<FloatType>(element);
  switch (kind) {
  case tile::Reduction::Max:
    return real ? Combiner{"-infinity()", "fmaxf({}, {})"}
                : Combiner{"(int)0x80000000", "max({}, {})"};
  case tile::Reduction::Min:
    return real ? Combiner{"infinity()", "fminf({}, {})"} : Combiner{"0x7fffffff", "min({}, {})"};
  case tile::Reduction::Or:
    return {element.isInteger(1) ? "false" : "0", "{} | {}"};
  default:
    return {real ? "0.0f" : "0", "{} + {}"};
  }
}
} // namespace

Status KernelEmitter::reduce(tile::ReduceOp op) {
  Fragment fragment(typeOf(op.getTile())), result(typeOf(op.getResult()));
  int64_t dim = op.getDim(), rank = fragment.type.getRank();
  bool shares = result.type.getRank() == rank;
  Combiner combine = combinerOf(op.getKind(), fragment.type.getElementType());
  int64_t far = 1; // warps that hold parts of what is reduced
  for (const Step &step : fragment.threads) {
    if (step.dim != dim || step.lane * step.extent <= 32 || shares)
      continue;
    if (step.lane < 32 || rank != 2 || !fragment.type.getElementType().isF32())
      return unsupported(op, "a reduction across warps of other than two dimensions of f32");
    far *= step.extent;
  }
  bool fromFill = false;
  if (auto fill = op.getInit().getDefiningOp<tile::FillOp>()) {
    double value = fill.getValue().convertToDouble();
    fromFill = op.getKind() == tile::Reduction::Sum
                   ? value == 0
                   : value == -std::numeric_limits<double>::infinity() &&
                         op.getKind() == tile::Reduction::Max;
  }
  if (!kernel->hasAttr("tile.state"))
    out.comment(op.getKind() == tile::Reduction::Max ? "Maxima of rows, in each of their threads."
                : shares                             ? "Sums of weights, each thread its own share."
                                                     : "Sums of rows, in each of their threads.");
  if (!takePlace(op.getResult(), op.getInit()))
    declareTile(
        op.getResult(),
        nameFor(op.getResult(), op.getKind() == tile::Reduction::Max ? "row_max" : "row_sum"));
  // What is kept outside, what is reduced inside.
  Fragment kept = fragment, inner = fragment;
  llvm::erase_if(kept.values, [&](const Step &step) { return step.dim == dim; });
  llvm::erase_if(inner.values, [&](const Step &step) { return step.dim != dim; });
  SmallVector<int64_t> positions; // of the result's dimensions in the tile
  for (int64_t d = 0; d < rank; ++d)
    if (d != dim || shares)
      positions.push_back(d);
  int outside = openLoops(kept);
  std::string start = element(op.getInit(), positions, fragment, {});
  // A maximum may begin with the start value in every thread; a sum across threads may not.
  bool crossing = llvm::any_of(fragment.threads, [&](const Step &s) { return s.dim == dim; });
  bool first = !fromFill && (shares || !crossing || op.getKind() != tile::Reduction::Sum);
  std::string type = typeText(fragment.type.getElementType());
  std::string sum = fresh(op.getKind() == tile::Reduction::Max ? "largest" : "sum");
  SmallVector<int64_t> identity = identityOf(rank);
  auto terms = op.getTile().getDefiningOp<tile::MapOp>();
  const bool lazy = terms && isLazy(op.getTile());
  bool pairs = inner.pairs() && !lazy;
  const bool single = !lazy && inner.values.empty() && !first;
  out.line("{} {} = {};", type, sum,
           single  ? element(op.getTile(), identity, fragment, {})
           : first ? start
                   : combine.neutral);
  int inside = openLoops(inner, pairs, lazy ? 4 : 0);
  if (lazy) {
    HEDDLE_TRY(values, mapBody(terms, fragment, {}));
    out.line("{} = {};", sum, combine(sum, asOperand(values[0])));
  } else if (pairs) {
    std::string a = element(op.getTile(), identity, fragment, {{"c", "0"}});
    std::string b = element(op.getTile(), identity, fragment, {{"c", "1"}});
    if (kernel->hasAttr("tile.state") && op.getKind() == tile::Reduction::Sum) {
      // One after the other: squares are added by multiply-adds.
      out.line("{} = {};", sum, combine(sum, a));
      out.line("{} = {};", sum, combine(sum, b));
    } else {
      const bool isCall = op.getKind() == tile::Reduction::Max;
      out.line("{} = {};", sum,
               combine(sum, isCall ? combine(a, b) : fmt::format("({})", combine(a, b))));
    }
  } else if (!single) {
    out.line("{} = {};", sum, combine(sum, element(op.getTile(), identity, fragment, {})));
  }
  out.close(inside);
  for (const Step &step : fragment.threads)
    for (int64_t away = step.lane;
         step.dim == dim && !shares && step.lane < 32 && away < step.lane * step.extent; away *= 2)
      out.line("{} = {};", sum,
               combine(sum, fmt::format("__shfl_xor_sync(0xffffffffu, {}, {})", sum, away)));
  Indices own;
  for (const Step &step : result.values)
    if (const Step *same = fragment.value(positions[step.dim], step.step))
      own.push_back({step.variable, same->variable});
  std::string target = names[op.getResult()] + subscript(result, own);
  const bool begins = !first && !fromFill;
  if (far > 1) {
    // The start value waits in the result until the sums of all warps are there.
    if (begins)
      out.line("{} = {};", target, start);
    exchangeSums(op, fragment, sum, positions[0], far);
    out.close(outside);
    out.line("__syncthreads();");
    outside = openLoops(kept);
    std::string total = fresh("total");
    gatherSums(op, fragment, total, positions[0], far,
               [&](const std::string &x) { return combine(total, x); });
    out.line("{} = {};", target, begins ? combine(target, total) : total);
    out.close(outside);
    return {};
  }
  if (begins)
    out.line("{} = {};", sum, combine(start, sum));
  out.line("{} = {};", target, sum);
  out.close(outside);
  return {};
}

/// Number of the thread's warp among those that hold parts of dimension `dim`.
std::string KernelEmitter::warpAlong(const Fragment &fragment, int64_t dim) {
  std::string number;
  int64_t before = 1;
  for (const Step &step : fragment.threads) {
    if (step.dim != dim || step.lane < 32)
      continue;
    number += (number.empty() ? "" : " + ") + times(threadCoordinate(step), before);
    before *= step.extent;
  }
  return number;
}

/// The sum of the warp goes to shared memory: [warp][kept].
void KernelEmitter::exchangeSums(tile::ReduceOp op, const Fragment &fragment,
                                 const std::string &sum, int64_t keptDim, int64_t warps) {
  std::string condition;
  for (const Step &step : fragment.threads) // one of the lanes that share a sum, one of the copies
    if (step.lane < 32 ? step.dim != keptDim : step.dim < 0)
      condition +=
          fmt::format("{}{} == 0", condition.empty() ? "" : " && ", threadCoordinate(step));
  int64_t offset = op->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  const int64_t extent = fragment.type.getDim(keptDim);
  if (!condition.empty())
    out.add(fmt::format("if ({})", condition));
  out.line("{}store_shared_f32(smem + {} + (({}) * {} + {}) * 4, {});",
           condition.empty() ? "" : "  ", offset,
           warpAlong(fragment, fragment.type.getRank() - 1 - keptDim), extent,
           coordinate(fragment, keptDim, {}), sum);
}

/// Declares `sum`, all warps' sums combined.
void KernelEmitter::gatherSums(tile::ReduceOp op, const Fragment &fragment, const std::string &sum,
                               int64_t keptDim, int64_t warps,
                               llvm::function_ref<std::string(const std::string &)> combine) {
  int64_t offset = op->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  const int64_t extent = fragment.type.getDim(keptDim);
  for (int64_t w = 0; w < warps; ++w) {
    std::string part = fmt::format("load_shared_f32(smem + {} + ({}) * 4)", offset + w * extent * 4,
                                   coordinate(fragment, keptDim, {}));
    if (w == 0)
      out.line("float {} = {};", sum, part);
    else
      out.line("{} = {};", sum, combine(part));
  }
}

void KernelEmitter::vote(tile::VoteOp op) {
  Fragment fragment(typeOf(op.getTile()));
  SmallVector<int64_t> identity = identityOf(fragment.type.getRank());
  std::string any = fresh("any");
  out.line("bool {} = false;", any);
  int loops = openLoops(fragment);
  out.line("{} |= {};", any, element(op.getTile(), identity, fragment, {}));
  out.close(loops);
  out.line("{0} = __any_sync(0xffffffffu, {0});", any);
  names[op.getResult()] = any;
}

// ---- loads and stores ----

/// The elements of a tile at their place in memory, or the fill. A thread reads what it holds.
Status KernelEmitter::loadTile(tile::LoadOp op) {
  Fragment fragment(op.getType());
  Type type = op.getType().getElementType();
  double fill = op.getFill() ? op.getFill()->convertToDouble() : 0.0;
  if (fill != 0 && !type.isF32() && !type.isIntOrIndex())
    return unsupported(op, "a fill other than 0 of narrow floats");
  declareTile(op.getResult(),
              nameFor(op.getResult(),
                      op.getView().getDefiningOp<tile::ViewOp>().getName().str() + "_part"));
  const bool packed = isPacked(op.getResult());
  if (const int run = codesInARow(op, fragment)) {
    loadCodes(op, fragment, run);
    return {};
  }
  const int loops = openLoops(fragment, packed);
  const std::string target = names[op.getResult()] + subscript(fragment, {}, packed);
  if (packed)
    out.line("{} = (u32){} | (u32){} << 16;", target, readElement(op, fragment, {{"c", "0"}}),
             readElement(op, fragment, {{"c", "1"}}));
  else
    out.line("{} = {};", target, readElement(op, fragment, {}));
  out.close(loops);
  return {};
}

/// How many of a fragment's fastest values are the 8 neighbouring codes of one byte that a thread
/// reads at once; 0: read one by one. Rows of such tensors begin at multiples of 8 bytes (Binding).
int KernelEmitter::codesInARow(tile::LoadOp op, const Fragment &fragment) {
  const int64_t last = op.getType().getRank() - 1;
  if (op.getType().getElementType().getIntOrFloatBitWidth() != 8 || last < 1 ||
      int64_t(op.getValid().size()) > last)
    return 0;
  auto tensor = dyn_cast<tile::TensorOp>(
      program.findTensor(op.getView().getDefiningOp<tile::ViewOp>().getName()));
  const auto width = tensor
                         ? cast<tile::FormulaAttr>(tensor.getShape().getValue().back()).asConstant()
                         : std::nullopt;
  const auto start = getConstantIntValue(op.getMixedOffsets()[last]);
  if (!width || *width % kCodesAtOnce != 0 || !start || *start % kCodesAtOnce != 0)
    return 0;
  int64_t together = 1;
  size_t run = 0;
  for (; run < fragment.values.size() && together < kCodesAtOnce; ++run) {
    const Step &step = fragment.values[run];
    if (step.dim != last || step.step != together)
      return 0;
    together *= step.extent;
  }
  const auto between = [&](const Step &step) {
    return step.dim == last && step.step % kCodesAtOnce != 0;
  };
  const bool whole = together == kCodesAtOnce && llvm::none_of(fragment.threads, between) &&
                     llvm::none_of(llvm::drop_begin(fragment.values, run), between);
  return whole ? int(run) : 0;
}

/// 8 codes a load, taken apart in registers.
void KernelEmitter::loadCodes(tile::LoadOp op, const Fragment &fragment, int run) {
  Indices first;
  std::string number;
  for (const Step &step : ArrayRef(fragment.values).take_front(run)) {
    first.push_back({step.variable, "0"});
    number =
        fmt::format("{}{}{}", times(step.variable, step.step), number.empty() ? "" : " + ", number);
  }
  const int loops = openLoops(fragment, run);
  auto [place, condition] = elementPlace(op, fragment, first);
  const std::string codes = fresh("codes");
  out.line("u32 {}[2];", codes);
  out.line("load_codes_8({}, &{}, {});", codes, place, condition.empty() ? "true" : condition);
  int inner = 0;
  for (size_t n = run; n > 0; --n, ++inner)
    out.unrolled(fragment.values[n - 1].variable, fragment.values[n - 1].extent);
  out.line("{}{} = ({})({}[({}) / 4] >> (({}) % 4 * 8));", names[op.getResult()],
           subscript(fragment, {}), typeText(op.getType().getElementType()), codes, number, number);
  out.close(inner + loops);
}

/// Where an element is read, and when it is there; "": always.
std::pair<std::string, std::string>
KernelEmitter::elementPlace(tile::LoadOp op, const Fragment &fragment, const Indices &indices) {
  auto viewType = cast<tile::ViewType>(op.getView().getType());
  std::vector<std::string> inside;
  std::string condition;
  const auto require = [&](const std::string &more) {
    if (!more.empty())
      condition += (condition.empty() ? "" : " && ") + more;
  };
  for (int64_t dim = 0; dim < op.getType().getRank(); ++dim) {
    inside.push_back(coordinate(fragment, dim, indices));
    if (dim < int64_t(op.getValid().size()))
      require(fmt::format("{} < {}", inside.back(), scalar(op.getValid()[dim])));
  }
  if (viewType.getAccess() == tile::Access::Dense)
    return {access(op.getView(), op.getMixedOffsets(), inside), condition};
  RowText row = rowOf(
      op.getView(), fmt::format("{} + {}", offset(op.getMixedOffsets()[0]), inside[0]), condition);
  require(row.condition);
  return {fmt::format("({})[{} + {}]", row.pointer, offset(op.getMixedOffsets()[1]), inside[1]),
          condition};
}

std::string KernelEmitter::readElement(tile::LoadOp op, const Fragment &fragment,
                                       const Indices &indices) {
  auto [value, condition] = elementPlace(op, fragment, indices);
  if (condition.empty())
    return value;
  Type type = op.getType().getElementType();
  double fill = op.getFill() ? op.getFill()->convertToDouble() : 0.0;
  std::string other = type.isF32() ? literal(fill) : fmt::format("{}", int64_t(fill));
  return fmt::format("({} ? {} : ({}){})", condition, value, typeText(type), other);
}

/// What the values of a thread add to its first coordinate along `dim`.
static std::string movedAlong(const Fragment &fragment, int64_t dim) {
  std::string sum;
  for (const Step &step : llvm::reverse(fragment.values))
    if (step.dim == dim)
      sum += fmt::format("{}{} * {}", sum.empty() ? "" : " + ", step.variable, step.step);
  return sum.empty() ? "0" : sum;
}

/// Rows that may end before the tile does: one address and one comparison a row, both from where
/// the thread begins, so that stores are predicated instead of branched around.
void KernelEmitter::storeClippedRows(tile::StoreOp op, const Fragment &fragment) {
  const ViewText &view = views[op.getView()];
  Indices first;
  for (const Step &step : fragment.values)
    first.push_back({step.variable, "0"});
  const std::string row = coordinate(fragment, 0, first), column = coordinate(fragment, 1, first);
  const std::string at = fresh("to"), left = fresh("rows_left");
  out.line("auto *const {} = &{};", at, access(op.getView(), op.getMixedOffsets(), {row, column}));
  out.line("const int {} = {} - ({});", left, scalar(op.getValid()[0]), row);
  const int loops = openLoops(fragment);
  const std::string rows = movedAlong(fragment, 0), place = fresh("row_place");
  out.line("auto *const {} = row_at({}, {}, {}) + ({});", place, at, rows, view.strides[0],
           movedAlong(fragment, 1));
  std::string condition = replicaCondition(fragment);
  condition += fmt::format("{}{} < {}", condition.empty() ? "" : " && ", rows, left);
  if (op.getValid().size() > 1)
    condition += fmt::format(" && {} < {}", coordinate(fragment, 1, {}), scalar(op.getValid()[1]));
  out.line("if ({})", condition);
  out.line("  *{} = {};", place, element(op.getTile(), identityOf(2), fragment, {}));
  out.close(loops);
}

Status KernelEmitter::storeTile(tile::StoreOp op) {
  Fragment fragment(typeOf(op.getTile()));
  out.comment(fmt::format("Store {}.", views[op.getView()].pointer));
  if (fragment.type.getRank() == 2 && fragment.type.getElementType().isF32() &&
      !op.getValid().empty() && views[op.getView()].strides.back() == "1") {
    storeClippedRows(op, fragment);
    return {};
  }
  int loops = openLoops(fragment);
  std::vector<std::string> inside;
  std::string condition = replicaCondition(fragment);
  for (int64_t dim = 0; dim < fragment.type.getRank(); ++dim) {
    inside.push_back(coordinate(fragment, dim, {}));
    if (dim < int64_t(op.getValid().size()))
      condition += fmt::format("{}{} < {}", condition.empty() ? "" : " && ", inside.back(),
                               scalar(op.getValid()[dim]));
  }
  SmallVector<int64_t> identity = identityOf(fragment.type.getRank());
  if (!condition.empty())
    out.add(fmt::format("if ({})", condition));
  out.line("{}{} = {};", condition.empty() ? "" : "  ",
           access(op.getView(), op.getMixedOffsets(), inside),
           element(op.getTile(), identity, fragment, {}));
  out.close(loops);
  return {};
}

} // namespace heddle::compiler::cuda
