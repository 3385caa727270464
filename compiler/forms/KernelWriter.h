// Small steps of building a kernel: constants, index arithmetic, views, loads, maps. One builder
// that a form moves between the start of the kernel and the inside of its loops.
#pragma once

#include "compiler/forms/PatternProblem.h"
#include "ir/tile/TileDialect.h"

#include "mlir/IR/Builders.h"

namespace heddle::compiler {

using Names = llvm::SmallVector<llvm::StringRef>;

class KernelWriter {
public:
  /// Writes into `kernel`, before its terminator.
  KernelWriter(tile::KernelOp kernel);

  mlir::OpBuilder builder;
  mlir::Location location;

  // Index arithmetic, folded where it can be.
  mlir::Value constant(int64_t value);
  mlir::Value add(mlir::Value x, mlir::Value y);
  mlir::Value sub(mlir::Value x, mlir::Value y);
  mlir::Value mul(mlir::Value x, int64_t factor);
  mlir::Value min(mlir::Value x, mlir::Value y);
  mlir::Value max(mlir::Value x, mlir::Value y);
  mlir::Value divide(mlir::Value x, int64_t divisor); ///< of numbers >= 0
  /// A new value that is the extent; `tile.scalar` for a run-time one.
  mlir::Value extent(const Extent &extent);
  mlir::Value real(double value);                            ///< f32
  mlir::Value remainder(mlir::Value x, mlir::Value divisor); ///< of numbers >= 0
  mlir::Value quotient(mlir::Value x, mlir::Value divisor);  ///< of numbers >= 0

  tile::TileType tileType(llvm::ArrayRef<int64_t> shape, mlir::Type element);
  tile::TileType f32(llvm::ArrayRef<int64_t> shape);

  /// Window of a tensor or buffer; a null index keeps its dimension. `shape` and `element` are the
  /// declaration's.
  mlir::Value view(llvm::StringRef name, mlir::Type element, llvm::ArrayRef<Extent> shape,
                   llvm::ArrayRef<mlir::Value> indices);
  /// The same of a tensor whose first two kept dimensions are page and slot.
  mlir::Value pagedView(llvm::StringRef name, mlir::Type element, llvm::ArrayRef<Extent> shape,
                        llvm::ArrayRef<mlir::Value> indices, mlir::Value table, int64_t block);
  /// The same of a tensor whose rows come in the order of a list of blocks of rows.
  mlir::Value listView(llvm::StringRef name, mlir::Type element, llvm::ArrayRef<Extent> shape,
                       llvm::ArrayRef<mlir::Value> indices, mlir::Value list, int64_t block);
  mlir::Value load(tile::TileType type, mlir::Value view,
                   llvm::ArrayRef<mlir::OpFoldResult> offsets, mlir::ValueRange valid);
  void store(mlir::Value tile, mlir::Value view, llvm::ArrayRef<mlir::OpFoldResult> offsets,
             mlir::ValueRange valid);
  mlir::Value fill(tile::TileType type, double value);
  /// Coordinates base, base + 1, .. as a 1-d i32 tile.
  mlir::Value index(mlir::Value base, int64_t extent);

  using Body = llvm::function_ref<void(mlir::OpBuilder &, mlir::Location, mlir::ValueRange)>;
  tile::MapOp map(mlir::TypeRange results, mlir::ValueRange inputs, llvm::ArrayRef<Names> inputDims,
                  llvm::ArrayRef<llvm::StringRef> dims, Body body);
  /// A map with one result, `element` (default f32), whose extents are found in the operands.
  using Combine =
      llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location, mlir::ValueRange)>;
  mlir::Value elementwise(mlir::ValueRange inputs, llvm::ArrayRef<Names> inputDims,
                          const Names &dims, Combine combine, mlir::Type element = {});
  mlir::Value mma(mlir::Value a, llvm::ArrayRef<llvm::StringRef> aDims, mlir::Value b,
                  llvm::ArrayRef<llvm::StringRef> bDims, mlir::Value init,
                  llvm::ArrayRef<llvm::StringRef> cDims,
                  std::optional<tile::Precision> precision = std::nullopt);
  mlir::Value reduce(tile::Reduction kind, mlir::Value tile, int64_t dim, mlir::Value init);
  /// Prefix sums along dimension 0.
  mlir::Value prefixSum(mlir::Value tile, bool exclusive, bool reverse);
  /// X with (I + stril L) X = B: B itself where it has one row.
  mlir::Value solve(mlir::Value lower, mlir::Value rhs);
  /// for (index = lo; index < hi; index += step) carried = body(index, carried).
  llvm::SmallVector<mlir::Value>
  loop(mlir::Value lo, mlir::Value hi, int64_t step, mlir::ValueRange start,
       llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::ValueRange)> body);
  /// An index as f32.
  mlir::Value asReal(mlir::Value index);
  mlir::OpFoldResult fixed(int64_t offset) { return builder.getIndexAttr(offset); }
};

/// Bytes are signless inside kernels.
mlir::Type storedElement(mlir::Type declared);

} // namespace heddle::compiler
