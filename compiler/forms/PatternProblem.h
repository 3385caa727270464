// What all stages of a pattern share: its scalars, its tensors with element types and extents, and
// everything static that expressions are specialised with.
#pragma once

#include "compiler/forms/Form.h"
#include "compiler/support/Zone.h"
#include "ir/pattern/ExprUtils.h"

#include <optional>

namespace heddle::compiler {

/// An extent: a number, the name of a run-time scalar, or (workspace only) a formula of such.
struct Extent {
  std::optional<int64_t> fixed;
  std::string name;
  Expr formula;
  bool operator==(const Extent &) const = default;
};

struct ProblemTensor {
  std::string name;
  mlir::Type element; ///< ui8 for unsigned bytes
  bool batched = false;
  bool isResult = false;
  bool isBuffer = false;     ///< workspace: made by a stage, read by later ones
  std::vector<Extent> shape; ///< with B first if batched
  bool isInteger() const { return mlir::isa<mlir::IntegerType>(element); }
  /// Extent of dimension `n`, the batch not counted.
  const Extent &dim(size_t n) const { return shape[n + batched]; }
  size_t rank() const { return shape.size() - batched; }
};

struct ProblemParam {
  std::string name;
  bool integer = true;
  double value = 0; ///< default; 0 where the caller must give one
};

struct PatternProblem {
  mlir::MLIRContext *context = nullptr;
  std::vector<ProblemTensor>
      tensors;                      ///< arguments, then results, in the order of the call; buffers
  std::vector<ProblemParam> params; ///< run-time parameters
  std::vector<std::string> extents; ///< run-time extents
  pattern::TypeScope scope;         ///< types of all names in expressions
  llvm::StringMap<Expr> statics;

  const ProblemTensor *find(llvm::StringRef name) const;
  /// `expr` with everything static put in.
  Expr specialise(Expr expr) const;
  /// An extent as an expression, and back.
  Expr lengthExpr(const Extent &extent) const;
  Extent extentOf(Expr length) const;
  /// Adds a tensor, known to expressions from now on.
  void add(ProblemTensor tensor);
};

} // namespace heddle::compiler
