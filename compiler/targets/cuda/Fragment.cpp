// Leaves of a distribution as loops: each moves along one dimension of the tile.
#include "compiler/targets/cuda/Fragment.h"

#include <fmt/format.h>

namespace heddle::compiler::cuda {
namespace {

Step stepOf(const layout::Leaf &leaf, llvm::ArrayRef<int64_t> shape) {
  Step step;
  step.extent = leaf.extent;
  if (leaf.stride == 0)
    return step;
  step.step = leaf.stride;
  step.dim = 0;
  while (step.dim + 1 < int64_t(shape.size()) && step.step >= shape[step.dim])
    step.step /= shape[step.dim++];
  return step;
}

/// Names as they are usual for mma fragments; by dimension and distance.
std::string variableFor(const Step &step, int64_t rank, int64_t columnDim, bool isColumn) {
  if (rank > 2)
    return fmt::format("{}{}", "ijdl"[std::min<int64_t>(step.dim, 3)], step.step);
  bool columns = rank == 1 ? isColumn : step.dim == columnDim;
  if (columns && step.step == 1 && step.extent == 2)
    return "c";
  if (!columns && step.step == 8 && step.extent == 2)
    return "half";
  if (!columns && step.step == 16)
    return "m";
  if (columns && step.step == 8)
    return "n";
  return fmt::format("{}{}", step.dim == 0 && rank > 1 ? "r" : "e", step.step);
}

} // namespace

Fragment::Fragment(tile::TileType type) : type(type) {
  layout::Layout layout = mlir::cast<tile::DistAttr>(type.getLayout()).getLayout();
  int64_t lane = 1;
  const layout::Layout threadMode = layout.mode(0), valueMode = layout.mode(1);
  for (const layout::Leaf &leaf : threadMode.leaves()) {
    Step step = stepOf(leaf, type.getShape());
    step.lane = lane;
    lane *= leaf.extent;
    if (leaf.extent > 1)
      threads.push_back(step);
  }
  if (!threads.empty())
    threads.back().outermost = true;
  // Neighbouring threads hold neighbouring columns, and copies of a row.
  bool isColumn = !threads.empty() && threads[0].lane == 1 && threads[0].dim >= 0;
  columnDim = type.getRank() - 1;
  if (isAccumulator())
    columnDim = threads[0].dim;
  for (const layout::Leaf &leaf : valueMode.leaves()) {
    if (leaf.extent == 1)
      continue;
    Step step = stepOf(leaf, type.getShape());
    step.variable = variableFor(step, type.getRank(), columnDim, isColumn);
    values.push_back(step);
  }
  if (type.getRank() <= 2 && pairs()) // two in a register, or side by side
    values[0].variable = "c";
}

bool Fragment::pairs() const {
  return !values.empty() && values[0].extent == 2 && values[0].step == 1 &&
         values[0].dim == columnDim;
}

bool Fragment::isAccumulator() const {
  return type.getRank() == 2 && threads.size() >= 2 && threads[0].lane == 1 &&
         threads[0].extent == 4 && threads[0].step == 2 && threads[0].dim >= 0 &&
         threads[1].extent == 8 && threads[1].step == 1 && threads[1].dim == 1 - threads[0].dim;
}

const Step *Fragment::value(int64_t dim, int64_t step) const {
  for (const Step &value : values)
    if (value.dim == dim && value.step == step)
      return &value;
  return nullptr;
}

std::string subscript(const Fragment &fragment, const Indices &indices, int inner) {
  std::string text;
  for (size_t n = fragment.values.size(); n > size_t(inner); --n) {
    const std::string &variable = fragment.values[n - 1].variable;
    std::string index = variable;
    for (const auto &[name, expression] : indices)
      if (name == variable)
        index = expression;
    text += fmt::format("[{}]", index);
  }
  return text;
}

std::string extents(const Fragment &fragment, int inner) {
  std::string text;
  for (size_t n = fragment.values.size(); n > size_t(inner); --n)
    text += fmt::format("[{}]", fragment.values[n - 1].extent);
  return text;
}

llvm::SmallVector<int64_t> identityOf(int64_t rank) {
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

std::string times(const std::string &x, int64_t factor) {
  const bool simple = x.find(' ') == x.npos || x.starts_with("(int)");
  if (factor == 1)
    return x;
  return simple ? fmt::format("{} * {}", factor, x) : fmt::format("{} * ({})", factor, x);
}

} // namespace heddle::compiler::cuda
