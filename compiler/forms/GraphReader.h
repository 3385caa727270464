// Reads a pattern into a Graph. What readers of single stages share: the request, the graph so far,
// tensors and workspace, expressions with everything static put in. Inner to this folder; others
// use readGraph.
#pragma once

#include "compiler/forms/Graph.h"
#include "compiler/forms/Terms.h"
#include "compiler/forms/Unsupported.h"

namespace heddle::compiler {

/// Whether the type can stand in a product as it is.
inline bool isProductElement(mlir::Type type) {
  return mlir::isa<mlir::Float32Type, mlir::BFloat16Type, mlir::Float16Type>(type);
}
/// Whether an expression is worth computing again each time an operand is read.
bool isCheap(Expr expr);
/// Whether it has a reduction or a membership.
bool reduces(Expr expr);

class GraphReader {
public:
  GraphReader(const FormRequest &request, MixAs mixes)
      : request(request), mixes(mixes), def(request.def), context(def.getContext()) {
    graph.context = context;
  }
  Result<Graph> run();

  const FormRequest &request;
  const MixAs mixes;
  pattern::DefOp def;
  mlir::MLIRContext *context;
  Graph graph;
  llvm::StringMap<std::string> masks;       ///< of selected lists
  llvm::DenseMap<void *, MapStage> inlined; ///< maps computed where their only reader loads them

  // ---- tensors (GraphTensors.cpp) ----

  /// The element type that the request gives a tensor.
  mlir::Type requested(llvm::StringRef name);
  Status addBuffer(std::string name, bool batched, std::vector<Extent> shape, mlir::Type element);
  /// The tensor of a value of the pattern: a result, or workspace made for it.
  Status ensureTensor(mlir::Value value, mlir::Type element);
  std::string freshName(std::string name);
  /// An extent that the request must fix.
  Status fixed(const char *what, const Extent &extent, int64_t &value);

  // ---- expressions ----

  /// An expression with its reads by the values' own names and everything static put in.
  Expr readExpr(Expr expr, mlir::ValueRange reads, mlir::ArrayAttr names);

private:
  Status readScalars();
  Status readSignature();
  Result<Extent> declaredExtent(Expr dim);
  Result<ProblemTensor> declared(llvm::StringRef name, pattern::ArrayType type);
  Expr numberExpr(double value, bool integer);
  Expr throughMasks(Expr expr);

  Status readMap(pattern::MapOp op);
  Status replaceRunningSums(MapStage &stage, pattern::MapOp op);
  std::string onlyRole(mlir::Value value);
  bool meetsArgument(mlir::Value value, const std::string &role);
  bool readsCodes(Expr expr);
  Status readMerge(pattern::MergeOp op);

  // ---- selections (GraphSelect.cpp) ----
  struct Selection;
  Status readSelect(pattern::SelectOp op);
  Status addList(const Selection &selection);
  Status addMask(const Selection &selection);
  Status readRoutes(pattern::SelectOp op); ///< GraphRoutes.cpp

  Status readMix(pattern::MixOp mix);
  Status readScan(pattern::MixOp mix); ///< ScanStages.cpp
  bool weighsPairs(mlir::Value value);
};

} // namespace heddle::compiler
