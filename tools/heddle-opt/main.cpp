// heddle-opt: reads IR text, runs passes by name, prints IR text. For tests and for looking.
//   heddle-opt patterns/softcap.heddle
#include "compiler/passes/Passes.h"
#include "compiler/passes/cuda/CudaPasses.h"
#include "ir/pattern/PatternDialect.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  heddle::compiler::registerPasses();
  heddle::compiler::cuda::registerPasses();
  mlir::DialectRegistry registry;
  registry
      .insert<heddle::pattern::PatternDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect,
              mlir::LLVM::LLVMDialect, mlir::math::MathDialect, mlir::memref::MemRefDialect,
              mlir::scf::SCFDialect, mlir::vector::VectorDialect, heddle::tile::TileDialect>();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "heddle-opt\n", registry));
}
