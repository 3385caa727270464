// Rings that TMA fills (knob TMA): one thread starts the copy of a whole tile by the tensor's map,
// and a barrier in shared memory, one a slot, ends its phase when all bytes are there.
//
//   put    if (threadIdx.x == 0) copy_tile(slot, p.k_map, barrier, bytes, row, panel, head, batch)
//   take   wait_tile(barrier, parity)         of tile n: slot n % slots, parity n / slots % 2
//
// The map has five dimensions: columns of a panel, rows, panels, and two more of the tensor. What
// lies beyond the tensor arrives as zeros.
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Shared.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;

namespace {

constexpr int64_t kBarrierBytes = 8, kMapBytes = 128;
constexpr int64_t kMapAlignment = 128; ///< of CUtensorMap since CUDA 13; 64 before

int64_t attributeOf(Operation *op, const char *name) {
  return op->getAttrOfType<IntegerAttr>(name).getInt();
}

/// How one of a ring's tiles lies in shared memory.
struct Panels {
  explicit Panels(TileType type) : rows(type.getDim(0)) {
    layout::SwizzledLayout layout = cast<tile::MemAttr>(type.getLayout()).getLayout();
    const auto leaves = layout.layout.mode(1).leaves();
    columns = leaves[0].extent;
    count = leaves.size() > 1 ? leaves[1].extent : 1;
    swizzleBytes = layout.swizzle.bits() == 0 ? 0 : int64_t(16) << layout.swizzle.bits();
  }
  int64_t rows, columns, count, swizzleBytes;
};

/// Dimensions of the tensor that a view fixes, the last one first.
SmallVector<int64_t> fixedDims(tile::ViewOp view) {
  SmallVector<int64_t> dims;
  for (int64_t dim = int64_t(view.getKept().size()) - 1; dim >= 0; --dim)
    if (!view.getKept()[dim])
      dims.push_back(dim);
  return dims;
}

TensorMapInfo mapOf(tile::ViewOp view, TileType type, int64_t tensor) {
  const Panels panels(type);
  const int64_t width = cast<tile::ViewType>(view.getType()).getShape().back();
  int32_t rows = 0;
  while (!view.getKept()[rows])
    ++rows;
  TensorMapInfo map{int32_t(tensor), {}, panels.swizzleBytes};
  map.dims = {{-1, panels.columns, 1, panels.columns},
              {rows, 1, 1, panels.rows},
              {-1, width / panels.columns, panels.columns, panels.count}};
  for (int64_t dim : fixedDims(view))
    map.dims.push_back({int32_t(dim), 1, 1, 1});
  map.dims.resize(TensorMapInfo::kMaxDims);
  return map;
}

} // namespace

bool isFilledByTma(Value ring) { return ring.getDefiningOp()->hasAttr("tile.tma"); }

std::string TensorMaps::fieldOf(const TensorMapInfo &map) {
  for (size_t n = 0; n < infos.size(); ++n)
    if (infos[n] == map)
      return "p." + names[n];
  int64_t others = 0;
  for (const TensorMapInfo &info : infos)
    others += info.tensor == map.tensor;
  infos.push_back(map);
  names.push_back(fmt::format("{}_map{}", artifact.tensors[map.tensor].name,
                              others ? std::to_string(others + 1) : ""));
  return "p." + names.back();
}

void TensorMaps::addTo(Artifact &to) const {
  to.tensorMaps = infos;
  for (size_t n = 0; n < infos.size(); ++n) {
    to.blockBytes = llvm::alignTo(to.blockBytes, kMapAlignment);
    to.arguments.push_back({Argument::TensorMap, int32_t(n), 0, to.blockBytes});
    to.blockBytes += kMapBytes;
  }
}

/// One thread sets the barriers of all rings up, before anybody waits for them.
void KernelEmitter::initialiseBarriers(Source &text) {
  int64_t first = INT64_MAX, count = 0;
  kernel.walk([&](tile::RingOp ring) {
    if (!isFilledByTma(ring.getResult()))
      return;
    first = std::min(first, attributeOf(ring, "tile.barriers"));
    count += ring.getType().getSlots();
  });
  if (count == 0)
    return;
  text.open("if (threadIdx.x == 0)");
  text.unrolled("slot", count);
  text.line("init_barrier({} + slot * {});", sharedBase(first), kBarrierBytes);
  text.close();
  text.line("show_barriers();");
  text.close();
  text.line("__syncthreads();");
}

void KernelEmitter::tensorRing(tile::RingOp op) {
  const TileType type = op.getType().getSlot();
  const Panels panels(type);
  const int64_t slots = op.getType().getSlots();
  RingText &text = rings[op.getResult()];
  text.name = op.getName().str();
  text.target = sharedBase(attributeOf(op, "tile.offset"));
  text.barriers = sharedBase(attributeOf(op, "tile.barriers"));
  out.comment(fmt::format("{}: {} slot{} of {} x {}, in panels of {} columns, by TMA.", text.name,
                          slots, slots == 1 ? "" : "s", type.getDim(0), type.getDim(1),
                          panels.columns));
  const bool isReused =
      llvm::any_of(op->getUsers(), [&](Operation *user) { return user->getParentOp() != kernel; });
  if (!isReused)
    return; // one tile: its barrier's first phase
  text.filled = fresh(text.name + "_put");
  text.taken = fresh(text.name + "_taken");
  // Rings of loads that are waited for on the spot stand in loops; tiles are counted through.
  top.line("u32 {} = 0, {} = 0; // tiles so far", text.filled, text.taken);
}

/// "k_taken % 2 * 8": what lies `bytes` apart for the slots of a ring.
static std::string inSlot(const std::string &tile, int64_t slots, int64_t bytes) {
  return slots == 1 ? "" : fmt::format("{} % {} * {}", tile, slots, bytes);
}

static std::string offsetBy(const std::string &a, const std::string &b) {
  return b.empty() ? a : fmt::format("{} + {}", a, b);
}

void KernelEmitter::tensorPut(tile::PutOp op) {
  const RingText &text = rings[op.getRing()];
  const tile::RingType ring = op.getRing().getType();
  const TileType type = ring.getSlot();
  auto view = op.getSource().getDefiningOp<tile::ViewOp>();
  int64_t tensor = 0;
  for (auto declared : program.getBody().getOps<tile::TensorOp>()) {
    if (declared.getName() == view.getName())
      break;
    ++tensor;
  }
  const std::string map = maps.fieldOf(mapOf(view, type, tensor));
  const int64_t bytes = slotBytes(type), column = op.getStaticOffsets()[1];
  SmallVector<std::string> fixed; // coordinates, of the last dimension first
  for (Value index : llvm::reverse(view.getIndices()))
    fixed.push_back(scalar(index));
  fixed.resize(2, "0");
  out.comment(fmt::format("Copy the next tile of {}.", text.name));
  out.add("if (threadIdx.x == 0)");
  out.line("  copy_tile({}, {}, {}, {}, {}, {}, {}, {});",
           offsetBy(text.target, inSlot(text.filled, ring.getSlots(), bytes)), map,
           offsetBy(text.barriers, inSlot(text.filled, ring.getSlots(), kBarrierBytes)), bytes,
           offset(tile::mixedOffsets(op.getContext(), op.getOffsets(), op.getStaticOffsets())[0]),
           column / Panels(type).columns, fixed[0], fixed[1]);
  if (!text.filled.empty())
    out.line("++{};", text.filled);
}

void KernelEmitter::tensorTake(tile::TakeOp op) {
  const RingText &text = rings[op.getRing()];
  const tile::RingType ring = op.getRing().getType();
  const int64_t slots = ring.getSlots();
  const std::string parity =
      text.taken.empty()
          ? "0"
          : fmt::format("{}{} % 2", text.taken, slots == 1 ? "" : fmt::format(" / {}", slots));
  out.line("wait_tile({}, {});", offsetBy(text.barriers, inSlot(text.taken, slots, kBarrierBytes)),
           parity);
  if (slots > 1) {
    const std::string slot = fresh(text.name + "_slot");
    out.line("const u32 {} = {};", slot, inSlot(text.taken, slots, slotBytes(ring.getSlot())));
    this->slots[op.getResult()] = slot;
  }
  if (!text.taken.empty())
    out.line("++{};", text.taken);
}

} // namespace heddle::compiler::cuda
