// The body of one kernel for one grid point; used by TileToVector.cpp alone.
#pragma once

#include "compiler/targets/cpu/Arguments.h"
#include "compiler/targets/cpu/Nests.h"

#include <memory>

namespace heddle::compiler::cpu {

class KernelLowering {
public:
  KernelLowering(VectorBuilder &e, tile::KernelOp kernel, Arguments &arguments, Value scratch,
                 Blocking blocking)
      : e(e), kernel(kernel), arguments(arguments), scratch(scratch), evaluator(e),
        nests(evaluator, blocking), blocking(blocking), inPanels(!hasAmxProduct(kernel)) {}

  /// Pointer of each tensor or buffer, given as function arguments so that they are known not to
  /// overlap.
  llvm::StringMap<Value> pointers;

  /// Emits the body at the builder's place; `indices` are those of the grid.
  mlir::LogicalResult lower(ValueRange indices);

private:
  void lowerBlock(mlir::Block &block);
  void lowerOp(mlir::Operation *op);
  void lowerScalarOp(mlir::Operation *op);
  void lowerScalarsBefore(mlir::Operation *op, mlir::Operation *mask);
  bool lowerThroughScratch(mlir::Operation *op, bool local);
  void lowerView(tile::ViewOp op);
  Value toNextPoint(Value at, Value extent, Value stride);
  void lowerLoad(tile::LoadOp op);
  void lowerStore(tile::StoreOp op);
  void lowerRead(tile::ReadOp op);
  void lowerFor(tile::ForOp op);
  bool goesByRows(tile::ForOp op);
  void lowerByRows(tile::ForOp op);
  void lowerIf(mlir::Operation *op);
  void stayInPanel(LocalPlace &place);
  void addSink(mlir::Operation *op);
  void flush();
  void registerLocals(mlir::Operation *op);
  GlobalPlace placeOf(Value view, mlir::ArrayRef<mlir::OpFoldResult> offsets, ValueRange valid);
  Values rowArrays(tile::ForOp loop);
  void storeRows(ValueRange tiles, const Values &arrays);
  Values rowsOf(tile::ForOp loop, ValueRange tiles, const Values &arrays);
  void bindCarried(tile::ForOp loop, ValueRange tiles, ValueRange vectors, const Values &arrays);

  VectorBuilder &e;
  tile::KernelOp kernel;
  Arguments &arguments;
  Value scratch;
  Evaluator evaluator;
  NestEmitter nests;
  Blocking blocking;
  bool inPanels; ///< scratch: see makeLocal; the matrix unit's rows would share sets of the cache
  NestGroup pending;
  std::vector<std::unique_ptr<ViewPlace>> tables;
};

} // namespace heddle::compiler::cpu
