// Tiles that TMA copies whole (cp.async.bulk.tensor): which loads are such tiles, and how they lie
// in shared memory. A row is cut into panels of 16 to 128 bytes, one behind the other; within each
// the hardware xors chunks of 16 bytes with bits of the row, so that 8 rows of a column of chunks
// lie in different banks:
//
//   64x128 bf16   S<3,3,3> o (64,(64,2)):(64,(1,4096))     two panels of 64 columns
//   64x80 bf16    S<1,3,3> o (64,(16,5)):(16,(1,1024))     five of 16
//   64x72 bf16    (64,(8,10)):(8,(1,512))                  of 8; the tenth is beyond the tensor
//
// All panels of a tile are one copy: the map has a dimension for columns of a panel and one for
// panels.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/Support/FormatVariadic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

#include <numeric>

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

using layout::IntTuple;
using layout::Layout;

constexpr int64_t kMostColumns = 64; ///< 128 bytes, the widest swizzle
constexpr int64_t kMostRows = 256;   ///< of a box
constexpr int64_t kMostDims = 4;     ///< of a tensor: one of the map's five is that of panels

/// Whether any of the values is computed from elements of tensors.
bool dependOnData(ValueRange values) {
  llvm::SetVector<Value> behind(values.begin(), values.end());
  for (size_t n = 0; n < behind.size(); ++n) {
    Operation *op = behind[n].getDefiningOp();
    if (op && isa<tile::ReadOp, tile::GatherOp>(op))
      return true;
    if (op) {
      behind.insert(op->operand_begin(), op->operand_end());
      continue;
    }
    auto argument = cast<BlockArgument>(behind[n]);
    auto loop = dyn_cast<tile::ForOp>(argument.getOwner()->getParentOp());
    if (loop && argument != loop.getIndex())
      return true; // carried: whatever it is
    if (loop)
      behind.insert(loop.getBounds().begin(), loop.getBounds().end());
  }
  return false;
}

/// What says where the tile's rows end; where a loop over them begins does not matter.
SmallVector<Value> endsOf(tile::LoadOp load) {
  SmallVector<Value> ends(load.getValid());
  auto left = ends.empty() ? nullptr : ends[0].getDefiningOp<arith::SubIOp>();
  auto index = left ? dyn_cast<BlockArgument>(left.getRhs()) : nullptr;
  auto loop = index ? dyn_cast<tile::ForOp>(index.getOwner()->getParentOp()) : nullptr;
  if (loop && index == loop.getIndex())
    ends[0] = left.getLhs();
  return ends;
}

/// The tensor that a view shows, or null: a workspace.
tile::TensorOp tensorOf(tile::ViewOp view) {
  auto program = view->getParentOfType<tile::ProgramOp>();
  return dyn_cast<tile::TensorOp>(program.findTensor(view.getName()));
}

/// Columns of the tensor's rows; 0: not known.
int64_t widthOf(tile::LoadOp load) {
  const int64_t width = cast<tile::ViewType>(load.getView().getType()).getShape().back();
  return ShapedType::isDynamic(width) ? 0 : width;
}

Layout inPanels(int64_t rows, int64_t columns, int64_t panel, int64_t panelStride) {
  if (columns == panel)
    return *Layout::make(IntTuple{rows, columns}, IntTuple{panel, 1});
  return *Layout::make(IntTuple::tuple({rows, IntTuple{panel, columns / panel}}),
                       IntTuple::tuple({panel, IntTuple{int64_t(1), panelStride}}));
}

} // namespace

int64_t panelColumns(tile::LoadOp load) {
  const int64_t all = std::gcd(widthOf(load), load.getType().getDim(1));
  return std::gcd(std::gcd(all, load.getStaticOffsets()[1]), kMostColumns);
}

std::string whyNoTensorTile(tile::LoadOp load) {
  auto view = load.getView().getDefiningOp<tile::ViewOp>();
  const auto type = cast<tile::ViewType>(load.getView().getType());
  if (!view || type.getAccess() != tile::Access::Dense)
    return "its rows lie in pages or in a list, or wrap around, expected rows one after the other";
  if (!isCopied(load))
    return "its rows are no whole chunks of 16 bytes of a 16-bit type";
  tile::TensorOp tensor = tensorOf(view);
  if (!tensor)
    return "it lies in a workspace, expected a tensor of the caller";
  const int64_t kept = llvm::count(view.getKept(), true);
  if (kept != 2 || int64_t(view.getKept().size()) > kMostDims)
    return "its tensor has more dimensions than a tensor map, expected at most 4";
  if (load.getType().getDim(0) > kMostRows)
    return llvm::formatv("its tile has {0} rows, expected at most {1}; take a smaller BN or BM",
                         load.getType().getDim(0), kMostRows);
  // Beyond the valid columns zeros are wanted, so there must be none of the tensor's.
  const int64_t first = load.getStaticOffsets()[1], width = widthOf(load);
  const int64_t end = std::min(first + load.getType().getDim(1), width);
  APInt columns;
  if (load.getValid().size() > 1 && (!matchPattern(load.getValid()[1], m_ConstantInt(&columns)) ||
                                     first + columns.getSExtValue() < end))
    return "its last columns are others' than the tile's";
  if (dependOnData(endsOf(load)))
    return "where its rows end stands in a tensor (lengths, offsets), expected whole sequences: "
           "what lies behind would be copied too";
  return "";
}

layout::SwizzledLayout tensorTileLayout(tile::LoadOp load) {
  const int64_t rows = load.getType().getDim(0), columns = load.getType().getDim(1);
  const int64_t panel = panelColumns(load);
  int64_t bits = 0;
  while (8 << bits < panel)
    ++bits;
  // In elements of 2 bytes: chunks of 8, and rows as bits from 128 bytes on.
  return {bits == 0 ? layout::Swizzle() : *layout::Swizzle::make(bits, 3, 3),
          inPanels(rows, columns, panel, rows * panel)};
}

layout::SwizzledLayout rowsOf(const layout::SwizzledLayout &whole, int64_t rows) {
  const auto columns = whole.layout.mode(1).leaves();
  const int64_t panel = columns[0].extent, panels = columns.size() > 1 ? columns[1].extent : 1;
  return {whole.swizzle, inPanels(rows, panel * panels, panel, panels > 1 ? columns[1].stride : 0)};
}

} // namespace heddle::compiler::cuda
