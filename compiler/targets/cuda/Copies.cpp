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
using tile::typeOf;

int64_t slotBytes(TileType type) {
  layout::SwizzledLayout layout = cast<tile::MemAttr>(type.getLayout()).getLayout();
  int64_t elements = std::max(*layout.span(), layout.layout.cosize());
  return llvm::alignTo(elements * type.getElementType().getIntOrFloatBitWidth() / 8, 128);
}

/// How the threads share a tile's chunks.
struct KernelEmitter::Walk {
  SharedRows rows;
  int64_t lanes;   ///< threads along a row
  int64_t pieces;  ///< chunks of a row that one thread copies
  int64_t perPass; ///< rows at once
  int64_t passes;
  std::string row, chunk; ///< where this thread begins
};

KernelEmitter::Walk KernelEmitter::walkOver(TileType type) {
  Walk walk{SharedRows(type), 1, 1, 1, 1, "", ""};
  int64_t chunks = walk.rows.chunks, all = 32 * warpCount;
  // Up to 8 threads take the 128 bytes of a line; fewer than 4 would waste its sectors.
  while (walk.lanes < 8 && chunks % (2 * walk.lanes) == 0)
    walk.lanes *= 2;
  if (walk.lanes < 4 && chunks <= 32)
    walk.lanes = chunks;
  walk.pieces = chunks / walk.lanes;
  walk.perPass = std::min(all / walk.lanes, walk.rows.rows);
  walk.passes = llvm::divideCeil(walk.rows.rows, walk.perPass);
  walk.row = once("copy_row", "int", fmt::format("threadIdx.x / {}", walk.lanes));
  walk.chunk = once("copy_chunk", "int", fmt::format("threadIdx.x % {}", walk.lanes));
  return walk;
}

Status KernelEmitter::ring(tile::RingOp op) {
  if (isFilledByTma(op.getResult()))
    return tensorRing(op), Status();
  TileType type = op.getType().getSlot();
  RingText &text = rings[op.getResult()];
  text.name = op.getName().str();
  Value source;
  for (Operation *user : op->getUsers())
    if (auto put = dyn_cast<tile::PutOp>(user))
      source = put.getSource();
  if (!views.contains(source))
    return unsupported(op, "rings of computed tiles");
  Walk walk = walkOver(type);
  const ViewText &view = views[source];
  if (view.strides.back() != "1")
    return unsupported(op, "rows that are not contiguous");
  out.comment(fmt::format("{}: {} slot{} of {} x {}, rows of {} bytes{}.", text.name,
                          op.getType().getSlots(), op.getType().getSlots() == 1 ? "" : "s",
                          type.getDim(0), type.getDim(1), walk.rows.pitch,
                          walk.rows.mask ? ", chunks swizzled" : ""));
  if (cast<tile::ViewType>(source.getType()).getAccess() == tile::Access::Dense) {
    text.source = fresh(text.name + "_from");
    out.line("auto *const {} = {} + (i64){} * {} + {} * 8;", text.source, view.pointer, walk.row,
             view.strides[0], walk.chunk);
  }
  int64_t offset = op->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  text.target = fresh(text.name + "_to");
  out.line("const u32 {} = {} + {};", text.target, sharedBase(offset),
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
  if (isFilledByTma(op.getRing()))
    return tensorPut(op), Status();
  const RingText &text = rings[op.getRing()];
  tile::RingType ringType = op.getRing().getType();
  TileType type = ringType.getSlot();
  Walk walk = walkOver(type);
  const ViewText &view = views[op.getSource()];
  SmallVector<OpFoldResult> offsets =
      tile::mixedOffsets(op.getContext(), op.getOffsets(), op.getStaticOffsets());
  out.comment(fmt::format("Copy the next tile of {}.", text.name));
  const bool dense =
      cast<tile::ViewType>(op.getSource().getType()).getAccess() == tile::Access::Dense;
  std::string from, to = text.target;
  if (dense) {
    std::string at = text.source;
    if (std::string rows = offset(offsets[0]); rows != "0")
      at = fmt::format("row_at({}, {}, {})", at, rows, view.strides[0]);
    if (std::string columns = offset(offsets[1]); columns != "0")
      at += fmt::format(" + {}", columns);
    from = fresh("from");
    out.line("auto *const {} = {};", from, at);
  }
  if (!text.filled.empty()) {
    to = fresh("to");
    out.line("const u32 {} = {} + {};", to, text.target, text.filled);
  }
  // Rows of this thread that are there: all, or none where its chunk is beyond the columns.
  std::string left;
  int64_t columnsLeft = walk.rows.chunks;
  APInt whole;
  const bool clipped =
      !op.getValid().empty() && !(matchPattern(op.getValid()[0], m_ConstantInt(&whole)) &&
                                  whole.getSExtValue() >= type.getDim(0));
  if (!op.getValid().empty()) {
    std::string count = fmt::format("{} - {}", scalar(op.getValid()[0]), walk.row);
    APInt columns;
    if (op.getValid().size() > 1) {
      if (!matchPattern(op.getValid()[1], m_ConstantInt(&columns)) ||
          columns.getSExtValue() % 8 != 0)
        return unsupported(op, "columns that are no whole chunks");
      if (columns.getSExtValue() < type.getDim(1))
        columnsLeft = columns.getSExtValue() / 8;
    }
    if (clipped) {
      left = fresh("rows_left");
      out.line("const int {} = {};", left, count);
    }
  }
  const auto copy = [&](const std::string &shared, const std::string &global,
                        const std::string &valid) {
    out.line("copy_16({}, {}, {});", shared, global, valid);
  };
  const auto rowAt = [&](const std::string &row, const std::string &condition) {
    RowText found = rowOf(
        op.getSource(), fmt::format("{} + {} + {}", offset(offsets[0]), walk.row, row), condition);
    // Of a row that is not there an address inside the tensor is named, and nothing read.
    std::string there =
        fmt::format("{}{}{}", condition, condition.empty() ? "" : " && ", found.condition);
    std::string name = fresh("row_from");
    out.line("auto *const {} = ({} ? {} : {}) + {} + {} * 8;", name, there, found.pointer,
             view.pointer, offset(offsets[1]), walk.chunk);
    return RowText{name, there};
  };
  if (dense)
    walkRows(walk, to, from, view.strides[0], left, columnsLeft, copy);
  else
    walkRows(walk, to, "", "", left, columnsLeft, copy, rowAt);
  if (!text.filled.empty())
    out.add(advance(text.filled, ringType));
  return {};
}

/// Calls `each(shared address, global address, condition)` in the loops of a walk. The condition
/// says whether there is something at the global address: "true", or rows and columns left.
void KernelEmitter::walkRows(
    const Walk &walk, const std::string &shared, const std::string &global,
    const std::string &stride, const std::string &rowsLeft, int64_t columnsLeft,
    llvm::function_ref<void(const std::string &, const std::string &, const std::string &)> each,
    llvm::function_ref<RowText(const std::string &, const std::string &)> rowAt) {
  int64_t all = 32 * warpCount, taking = walk.perPass * walk.lanes;
  if (taking < all)
    out.open(fmt::format("if (threadIdx.x < {})", taking));
  const bool moves = walk.passes > 1 && !rowAt; // a pointer that moves from row to row
  std::string walking = moves ? fresh("rows_from") : global;
  // Rows move by whole periods of the swizzle, or by bits that the thread's own row does not have.
  bool xored = false;
  for (int64_t pass = 0; pass < walk.passes; ++pass)
    xored |= walk.rows.mask && walk.rows.swizzleOf(pass * walk.perPass) != 0;
  const auto rowsAt = [&](const std::string &rows) {
    std::string to = shared, from = walking, condition = "true";
    if (xored)
      to = fmt::format("({} ^ {}{} % {} * 16)", to, rows,
                       walk.rows.shift ? fmt::format(" / {}", 1 << walk.rows.shift) : "",
                       walk.rows.mask + 1);
    if (rows != "0")
      to += fmt::format(" + {} * {}", rows, walk.rows.pitch);
    if (!rowsLeft.empty())
      condition = fmt::format("{} < {}", rows, rowsLeft);
    if (rowAt) {
      RowText row = rowAt(rows, rowsLeft.empty() ? "" : condition);
      from = row.pointer;
      condition = row.condition.empty() ? "true" : row.condition;
    }
    std::string valid = condition;
    if (walk.pieces > 1 && condition != "true") {
      valid = fresh("valid");
      out.line("const bool {} = {};", valid, condition);
    }
    std::string piece = walk.pieces > 1 ? "piece" : "0";
    if (walk.pieces > 1)
      out.unrolled("piece", walk.pieces);
    if (walk.pieces > 1) {
      to += fmt::format(" + piece * {}", walk.lanes * 16);
      from += fmt::format(" + piece * {}", walk.lanes * 8);
    }
    std::string there = valid;
    if (columnsLeft < walk.rows.chunks) {
      std::string column =
          walk.pieces > 1 ? fmt::format("{} + piece * {}", walk.chunk, walk.lanes) : walk.chunk;
      there = fmt::format("{}{} < {}", valid == "true" ? "" : valid + " && ", column, columnsLeft);
    }
    each(to, from, there);
    if (walk.pieces > 1)
      out.close();
  };
  int64_t whole = walk.rows.rows / walk.perPass;
  std::string step;
  if (moves) {
    step = once(fmt::format("{}_bytes", stride), "i64",
                fmt::format("(i64){} * {}", stride, walk.perPass * 2));
    out.line("auto *{} = {};", walking, global);
  }
  if (whole > 1)
    out.unrolled("pass", whole);
  rowsAt(whole > 1 ? fmt::format("(pass * {})", walk.perPass) : "0");
  if (moves)
    out.line("{0} = advance({0}, {1});", walking, step);
  if (whole > 1)
    out.close();
  if (whole < walk.passes) {
    std::string rows = std::to_string(whole * walk.perPass);
    out.open(fmt::format("if ({} + {} < {})", walk.row, rows, walk.rows.rows));
    rowsAt(rows);
    out.close();
  }
  if (taking < all)
    out.close();
}

void KernelEmitter::take(tile::TakeOp op) {
  if (isFilledByTma(op.getRing()))
    return tensorTake(op);
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
  if (view.strides.size() != 2 || view.strides[1] != "1")
    return unsupported(op, "rows that are not contiguous");
  int64_t columns = walk.rows.chunks;
  if (APInt count; op.getValid().size() > 1) {
    if (!matchPattern(op.getValid()[1], m_ConstantInt(&count)) || count.getSExtValue() % 8 != 0)
      return unsupported(op, "columns that are no whole chunks");
    columns = std::min(columns, count.getSExtValue() / 8);
  }
  Operation *source = op.getTile().getDefiningOp();
  int64_t offset = source->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  out.comment(fmt::format("Store whole rows of {}.", view.pointer));
  std::string from = fresh("from"), to = fresh("to"), left;
  out.line("const u32 {} = {} + {};", from, sharedBase(offset),
           walk.rows.address(walk.row, walk.chunk));
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
  walkRows(walk, from, to, view.strides[0], left, columns,
           [&](const std::string &shared, const std::string &global, const std::string &valid) {
             if (valid != "true")
               out.add(fmt::format("if ({})", valid));
             out.line("{}*(uint4 *)({}) = load_shared_16({});", valid == "true" ? "" : "  ", global,
                      shared);
           });
  return {};
}

} // namespace heddle::compiler::cuda
