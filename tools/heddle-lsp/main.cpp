// heddle-lsp: language server for .heddle files: mistakes while typing, go to definition.
#include "ir/pattern/PatternDialect.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<heddle::pattern::PatternDialect>();
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
