// Tiles between registers and global memory: element by element, two in a word, 8 codes a load;
// stores of rows that may end before the tile does.
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Scalars.h"

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;
using tile::typeOf;

static constexpr int64_t kCodesAtOnce = 8; ///< bytes of codes that a load reads

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
