// Passes that make tile IR concrete for NVIDIA GPUs with mma.sync. In order:
//
//   PadTiles        extents rounded up to whole instructions; loads and stores clipped accordingly
//   OrientProducts  where a state is carried: who is operand a
//   MultiplySums    there: sums over operands of products by products with a vector
//   MoveFactors     numbers a token leave operands in shared memory
//   RoundOperands   operands of products in 16 bits
//   FoldScale       (passes/) a positive factor of the scores moves past the row maximum
//   DeferSums       row sums stay in shares, one a thread, until after the loops
//   HoistReciprocals  (passes/) a row is divided once, not once an element
//   CutEdges        tiles at the support's edge in parts
//   AssignLayouts   layout and space of every tile; AssignStateLayouts where a state is carried;
//                   (knob TMA) tiles in the panels of TensorTiles.cpp
//   LazyRescale     (knob RESCALE) the running base moves only when the maximum grew by much
//   StageLoads      tiles read from shared memory come through rings of the schedule's depth
//   PlaceMemory     offsets in shared memory
//   InsertBarriers  commit groups, waits and barriers
//   VerifyBudget    refuses what does not fit the machine, naming the tile and the excess
#pragma once

#include "ir/layout/Swizzle.h"

#include "mlir/Pass/Pass.h"

#include <cstdint>
#include <memory>
#include <string>

namespace mlir {
class Operation;
class OperandRange;
class Type;
class Value;
} // namespace mlir

namespace heddle::tile {
class KernelOp;
class LoadOp;
class ProgramOp;
class ReduceOp;
} // namespace heddle::tile

namespace heddle::compiler::cuda {

/// Whether the kernel is one of a scan: its loop carries a state from chunk to chunk or from token
/// to token (`tile.state`).
bool carriesState(tile::KernelOp kernel);

/// The 16-bit type of a tensor that the program has, which operands of products get, or null.
mlir::Type shortFloat(tile::ProgramOp program);

/// Whether rows of a view of 16-bit numbers are whole 16-byte chunks, those that `valid` leaves
/// too.
bool hasWholeChunks(mlir::Value view, mlir::OperandRange valid);
/// Whether cp.async can bring the tile to shared memory: rows of such chunks.
bool isCopied(tile::LoadOp load);

/// Why TMA cannot copy the tile as a box of its tensor (what was found, what is expected); empty if
/// it can.
std::string whyNoTensorTile(tile::LoadOp load);
/// Columns of the panels that such a tile's rows are cut into: 8, 16, 32 or 64.
int64_t panelColumns(tile::LoadOp load);
/// How TMA lays such a tile out in shared memory.
layout::SwizzledLayout tensorTileLayout(tile::LoadOp load);
/// The same for some rows of it.
layout::SwizzledLayout rowsOf(const layout::SwizzledLayout &whole, int64_t rows);
/// Of loads and rings: TMA copies their tiles.
inline constexpr const char *kTensorTile = "tile.tma";

struct LayoutOptions {
  int64_t warps = 4;              ///< of a block; they share the rows of a tile
  int64_t stages = 2;             ///< slots of the rings that loops read
  bool queriesInRegisters = true; ///< operand a of a loop's product is kept in registers
  int64_t sharedBytes = 49152;    ///< a block may take no more
  int64_t registers = 255;        ///< a thread may take no more
  const char *machine = "the machine";
  bool tensorTiles = false; ///< TMA copies tiles of tensors; what it cannot copy is refused
};

/// Warps of a kernel that carries a state: `options.warps`, but no more than have rows of it.
int64_t stateWarps(tile::KernelOp kernel, const LayoutOptions &options);

/// Every dimension that a product runs along becomes a multiple of the instruction's, rows of all
/// warps'. What is added is zero where it is summed and is not stored.
std::unique_ptr<mlir::Pass> createPadTilesPass(const LayoutOptions &options);

/// Operands of products in the order in which warps share them.
std::unique_ptr<mlir::Pass> createOrientProductsPass();

/// Sums over tiles that products read as operand b become products with a vector.
std::unique_ptr<mlir::Pass> createMultiplySumsPass();

/// Factors of operand b, and of what a product of zeros starts, go where registers hold the tile;
/// in attention scales of coded keys and values go to scores and weights.
std::unique_ptr<mlir::Pass> createMoveFactorsPass();

/// exp2(select(c, x, ..)) that only a select by c reads becomes exp2(x).
std::unique_ptr<mlir::Pass> createDropInnerMasksPass();

/// f32 operands of products rounded to the tensors' 16-bit type.
std::unique_ptr<mlir::Pass> createRoundOperandsPass();

/// A row sum that a loop carries becomes 4 shares a row, so that threads exchange them only after
/// the last loop.
std::unique_ptr<mlir::Pass> createDeferSumsPass();

/// The base of the exponentials follows the row maximum only when that grew by more than 8 (in
/// log2); otherwise the accumulators need no scaling. Exact: all of a row share one base. Of
/// concrete kernels, since a warp decides for its rows.
std::unique_ptr<mlir::Pass> createLazyRescalePass();

/// Tiles at the support's edge are visited in parts of 32 keys, where full tiles follow.
std::unique_ptr<mlir::Pass> createCutEdgesPass(const LayoutOptions &options);

/// Abstract kernels become concrete: operands of products that views hold go to shared memory
/// (swizzled or padded), all else to registers in the layouts of mma.sync.
std::unique_ptr<mlir::Pass> createAssignLayoutsPass(const LayoutOptions &options);

std::unique_ptr<mlir::Pass> createAssignStateLayoutsPass(const LayoutOptions &options);

/// Loads into shared memory become rings: puts run `stages` - 1 tiles ahead, across the loops over
/// edge and full tiles.
std::unique_ptr<mlir::Pass> createStageLoadsPass(const LayoutOptions &options);

/// Whether warps hold parts of what is reduced, so that they exchange them in shared memory.
bool reducesAcrossWarps(tile::ReduceOp op);

/// Bytes of shared memory that an op makes a place for: a ring, a tile converted there, what warps
/// exchange; else 0.
int64_t sharedBytesOf(mlir::Operation *op);

/// Sets `tile.offset` (bytes) on rings and on tiles converted to shared memory, and `tile.shared`
/// (bytes in all) on the kernel.
std::unique_ptr<mlir::Pass> createPlaceMemoryPass();

std::unique_ptr<mlir::Pass> createInsertBarriersPass();
std::unique_ptr<mlir::Pass> createVerifyBudgetPass(const LayoutOptions &options);

/// Registers the passes for heddle-opt, with default options: cuda-pad-tiles, ...
void registerPasses();

} // namespace heddle::compiler::cuda
