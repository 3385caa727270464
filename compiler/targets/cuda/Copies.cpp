// Rings in shared memory: copies by cp.async, takes, and stores of whole rows.
//
// The threads of a block share the 16-byte chunks of a tile's rows: thread t has chunk t % chunks
// of row t / chunks and of every rowsPerPass-th row after it, so that both addresses move by
// constants.
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Shared.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;

namespace {

TileType typeOf(Value value) { return cast<TileType>(value.getType()); }

int64_t slotBytes(TileType type) {
  layout::SwizzledLayout layout = cast<tile::MemAttr>(type.getLayout()).getLayout();
  int64_t elements = std::max(*layout.span(), layout.layout.cosize());
  return llvm::alignTo(elements * type.getElementType().getIntOrFloatBitWidth() / 8, 128);
}

} // namespace

/// How the threads share a tile's chunks.
struct KernelEmitter::Walk {
  SharedRows rows;
  int64_t threads; ///< that take part
  int64_t perPass; ///< rows of a pass
  int64_t passes;
  int64_t pieces = 1; ///< passes along a row that is longer than all threads' chunks
  std::string row, chunk;
};

KernelEmitter::Walk KernelEmitter::walkOver(TileType type) {
  Walk walk{SharedRows(type), 32 * warpCount, 1, 1, 1, "", ""};
  int64_t chunks = walk.rows.chunks, all = 32 * warpCount;
  if (chunks > all) {
    walk.pieces = llvm::divideCeil(chunks, all);
    walk.row = "0";
    walk.chunk = "(int)threadIdx.x";
  } else {
    walk.perPass = std::min(all / chunks, walk.rows.rows);
    walk.threads = walk.perPass * chunks;
    walk.row = once("copy_row", "int", fmt::format("threadIdx.x / {}", chunks));
    walk.chunk = once("copy_chunk", "int", fmt::format("threadIdx.x % {}", chunks));
  }
  walk.passes = llvm::divideCeil(walk.rows.rows, walk.perPass);
  return walk;
}

Status KernelEmitter::ring(tile::RingOp op) {
  TileType type = op.getType().getSlot();
  RingText &text = rings[op.getResult()];
  text.name = op.getName().str();
  Value source;
  for (Operation *user : op->getUsers())
    if (auto put = dyn_cast<tile::PutOp>(user))
      source = put.getSource();
  if (!views.contains(source))
    return unsupported(op, "rings of computed tiles");
  if (cast<tile::ViewType>(source.getType()).getAccess() != tile::Access::Dense)
    return unsupported(op, "rings of views that are not dense");
  Walk walk = walkOver(type);
  const ViewText &view = views[source];
  if (view.strides.size() != 2 || view.strides[1] != "1")
    return unsupported(op, "rows that are not contiguous");
  out.comment(fmt::format("{}: {} slot{} of {} x {}, rows of {} bytes{}.", text.name,
                          op.getType().getSlots(), op.getType().getSlots() == 1 ? "" : "s",
                          type.getDim(0), type.getDim(1), walk.rows.pitch,
                          walk.rows.mask ? ", chunks swizzled" : ""));
  text.source = fresh(text.name + "_from");
  out.line("auto *const {} = {} + (i64){} * {} + {} * 8;", text.source, view.pointer, walk.row,
           view.strides[0], walk.chunk);
  int64_t offset = op->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  text.target = fresh(text.name + "_to");
  out.line("const u32 {} = smem + {} + {};", text.target, offset,
           walk.rows.address(walk.row, walk.chunk));
  if (op.getType().getSlots() > 1) {
    text.filled = fresh(text.name + "_fill");
    text.taken = fresh(text.name + "_next");
    out.line("u32 {} = 0, {} = 0; // slots to fill and to take next", text.filled, text.taken);
  }
  return {};
}

/// The statement that moves a slot counter on.
std::string KernelEmitter::advance(const std::string &counter, tile::RingType type) {
  int64_t bytes = slotBytes(type.getSlot()), last = bytes * (type.getSlots() - 1);
  if (type.getSlots() == 2)
    return fmt::format("{0} = {1} - {0};", counter, bytes);
  return fmt::format("{0} = {0} == {1} ? 0 : {0} + {2};", counter, last, bytes);
}

Status KernelEmitter::put(tile::PutOp op) {
  const RingText &text = rings[op.getRing()];
  tile::RingType ringType = op.getRing().getType();
  TileType type = ringType.getSlot();
  Walk walk = walkOver(type);
  const ViewText &view = views[op.getSource()];
  SmallVector<OpFoldResult> offsets =
      tile::mixedOffsets(op.getContext(), op.getOffsets(), op.getStaticOffsets());
  out.comment(fmt::format("Copy the next tile of {}.", text.name));
  std::string from = fresh("from"), to = text.target;
  std::string at = text.source;
  for (auto [dim, start] : llvm::enumerate(offsets)) {
    std::string index = offset(start);
    if (index != "0")
      at += view.strides[dim] == "1" ? fmt::format(" + {}", index)
                                     : fmt::format(" + (i64){} * {}", index, view.strides[dim]);
  }
  out.line("auto *const {} = {};", from, at);
  if (!text.filled.empty()) {
    to = fresh("to");
    out.line("const u32 {} = {} + {};", to, text.target, text.filled);
  }
  // Rows of this thread that are there: all, or none where its chunk is beyond the columns.
  std::string left;
  if (!op.getValid().empty()) {
    left = fresh("rows_left");
    std::string count = walk.row == "0"
                            ? scalar(op.getValid()[0])
                            : fmt::format("{} - {}", scalar(op.getValid()[0]), walk.row);
    APInt columns;
    if (op.getValid().size() > 1) {
      if (!matchPattern(op.getValid()[1], m_ConstantInt(&columns)) ||
          columns.getSExtValue() % 8 != 0)
        return unsupported(op, "columns that are no whole chunks");
      if (columns.getSExtValue() < type.getDim(1))
        count = fmt::format("{} < {} ? {} : 0", walk.chunk, columns.getSExtValue() / 8, count);
    }
    out.line("const int {} = {};", left, count);
  }
  walkRows(
      walk,
      [&](const std::string &pass, const std::string &shared, const std::string &rows,
          const std::string &columns) {
        std::string source = from;
        if (rows != "0")
          source += fmt::format(" + (i64)({}) * {}", rows, view.strides[0]);
        if (columns != "0")
          source += fmt::format(" + {} * 8", columns);
        out.line("copy_16({}, {}, {});", shared, source,
                 left.empty()  ? "true"
                 : rows == "0" ? left + " > 0"
                               : fmt::format("{} < {}", rows, left));
      },
      to);
  if (!text.filled.empty())
    out.add(advance(text.filled, ringType));
  return {};
}

/// Calls `each(pass, shared address, rows further, chunks further)` in the loops of a walk.
void KernelEmitter::walkRows(const Walk &walk,
                             llvm::function_ref<void(const std::string &, const std::string &,
                                                     const std::string &, const std::string &)>
                                 each,
                             const std::string &to) {
  int64_t all = 32 * warpCount;
  bool partial = walk.threads < all;
  if (partial)
    out.open(fmt::format("if (threadIdx.x < {})", walk.threads));
  // Rows move by whole periods of the swizzle, or by bits that the thread's own row does not have.
  bool xored = false;
  for (int64_t pass = 0; pass < walk.passes; ++pass)
    xored |= walk.rows.mask && walk.rows.swizzleOf(pass * walk.perPass) != 0;
  const auto address = [&](const std::string &rows, const std::string &pieces) {
    std::string text = to;
    if (xored)
      text = fmt::format("({} ^ ({}) / {} % {} * 16)", to, rows, 1 << walk.rows.shift,
                         walk.rows.mask + 1);
    if (rows != "0")
      text += fmt::format(" + ({}) * {}", rows, walk.rows.pitch);
    if (pieces != "0")
      text += fmt::format(" + {} * 16", pieces);
    return text;
  };
  const auto alongRow = [&](const std::string &pass, const std::string &rows) {
    if (walk.pieces == 1)
      return each(pass, address(rows, "0"), rows, "0");
    out.unrolled("piece", walk.pieces);
    std::string pieces = fmt::format("piece * {}", all);
    bool whole = walk.rows.chunks % all == 0;
    if (!whole)
      out.open(fmt::format("if ({} + {} < {})", pieces, walk.chunk, walk.rows.chunks));
    each(pass, address(rows, pieces), rows, pieces);
    out.close(whole ? 1 : 2);
  };
  int64_t whole = walk.rows.rows / walk.perPass;
  if (whole > 1) {
    out.unrolled("pass", whole);
    alongRow("pass", fmt::format("pass * {}", walk.perPass));
    out.close();
  } else {
    alongRow("0", "0");
  }
  if (whole < walk.passes) {
    std::string rows = std::to_string(whole * walk.perPass);
    out.open(fmt::format("if ({} + {} < {})", walk.row, rows, walk.rows.rows));
    alongRow(std::to_string(whole), rows);
    out.close();
  }
  if (partial)
    out.close();
}

void KernelEmitter::take(tile::TakeOp op) {
  const RingText &text = rings[op.getRing()];
  if (text.taken.empty())
    return;
  std::string slot = fresh(text.name + "_slot");
  out.line("const u32 {} = {};", slot, text.taken);
  out.add(advance(text.taken, op.getRing().getType()));
  slots[op.getResult()] = slot;
}

Status KernelEmitter::storeRows(tile::StoreOp op) {
  TileType type = typeOf(op.getTile());
  Walk walk = walkOver(type);
  const ViewText &view = views[op.getView()];
  if (view.strides.size() != 2 || view.strides[1] != "1" || op.getValid().size() > 1)
    return unsupported(op, "rows that are not contiguous");
  Operation *source = op.getTile().getDefiningOp();
  int64_t offset = source->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  out.comment(fmt::format("Store whole rows of {}.", view.pointer));
  std::string from = fresh("from"), to = fresh("to"), left;
  out.line("const u32 {} = smem + {} + {};", from, offset, walk.rows.address(walk.row, walk.chunk));
  std::string at = view.pointer;
  for (auto [dim, start] : llvm::enumerate(op.getMixedOffsets())) {
    std::string index = this->offset(start);
    if (dim == 0)
      at += fmt::format(" + (i64)({} + {}) * {}", index, walk.row, view.strides[0]);
    else if (index != "0")
      at += fmt::format(" + {}", index);
  }
  out.line("auto *const {} = {} + {} * 8;", to, at, walk.chunk);
  if (!op.getValid().empty()) {
    left = fresh("rows_left");
    out.line("const int {} = {} - {};", left, scalar(op.getValid()[0]), walk.row);
  }
  walkRows(
      walk,
      [&](const std::string &, const std::string &shared, const std::string &rows,
          const std::string &columns) {
        std::string target = to;
        if (rows != "0")
          target += fmt::format(" + (i64)({}) * {}", rows, view.strides[0]);
        if (columns != "0")
          target += fmt::format(" + {} * 8", columns);
        if (!left.empty())
          out.add(fmt::format("if ({} < {})", rows, left));
        out.line("{}*(uint4 *)({}) = load_shared_16({});", left.empty() ? "" : "  ", target,
                 shared);
      },
      from);
  return {};
}

} // namespace heddle::compiler::cuda
