// Passes that make tile IR concrete for the CPU. In order:
//
//   RoundProducts   products of bf16 in kernels that carry a state
//   CarryRounded    what loops round of a tile they carry is rounded where that is made
//   KeepBase        exponentials keep their base, so that sums are seldom scaled
//   AssignLayouts   layout and space of every tile (README.md has the rules and a picture)
//   PlaceMemory     offsets of `local` tiles in the worker's scratch, by liveness
//   VerifyBudget    refuses what does not fit the machine, naming the tile
#pragma once

#include "mlir/Pass/Pass.h"

#include <cstdint>
#include <memory>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace heddle::compiler {

struct CpuLayoutOptions {
  int64_t lanes = 16;        ///< f32 elements of a vector
  bool bf16Dot = false;      ///< products of bf16 are dot products of pairs; else in f32
  int64_t l2Bytes = 1 << 20; ///< scratch may take no more
  bool amx = false;          ///< products of bf16 in whole tiles take tdpbf16ps
};

/// Where the kernel carries a state over bf16 tensors, products that fit tdpbf16ps become products
/// of bf16, marked `tile.atom = "amx"`, and without it those that fit vdpbf16ps; sums and the state
/// stay f32. For processors that have the one or where the other pays.
std::unique_ptr<mlir::Pass> createRoundProductsPass(const CpuLayoutOptions &options);

/// Where a loop rounds a tile that it carries and that a product makes, it carries the rounded one
/// too, made beside that product. For dot products of bf16.
std::unique_ptr<mlir::Pass> createCarryRoundedPass();

/// The base of a softmax's exponentials moves only where a maximum grew by more than 8 in log2, in
/// loops with products of bf16. For processors that have tdpbf16ps.
std::unique_ptr<mlir::Pass> createKeepBasePass();

/// Abstract kernels become concrete: spaces `global` (stays where the view has it), `local`
/// (scratch), `reg` (vectors along the rows, or made where it is used). Inserts `tile.convert`
/// where a tile must move and `tile.map` where elements must be widened for the products.
std::unique_ptr<mlir::Pass> createAssignLayoutsPass(const CpuLayoutOptions &options);

/// Sets the attribute `tile.offset` (bytes; one per `local` result, -1 for others) on each op with
/// local results, and `tile.scratch` (bytes in all) on the kernel. Values that a loop carries share
/// the place of their start value; a map's result takes the place of an operand that dies there.
std::unique_ptr<mlir::Pass> createPlaceMemoryPass();

/// Fails when a kernel's scratch is larger than l2Bytes.
std::unique_ptr<mlir::Pass> createVerifyBudgetPass(const CpuLayoutOptions &options);

} // namespace heddle::compiler
