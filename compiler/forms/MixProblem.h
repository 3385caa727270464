// A pattern that is one mix, as a form wants to see it: every tensor with its element type and
// extents, every expression with static dims, constants and lets put in.
#pragma once

#include "compiler/forms/Form.h"
#include "compiler/support/Zone.h"
#include "ir/pattern/ExprUtils.h"

#include <optional>

namespace heddle::compiler {

/// An extent: a number, or the name of a run-time scalar.
struct Extent {
  std::optional<int64_t> fixed;
  std::string name;
  bool operator==(const Extent &) const = default;
};

struct ProblemTensor {
  std::string name;
  mlir::Type element; ///< ui8 for unsigned bytes
  bool batched = false;
  bool isResult = false;
  std::vector<Extent> shape; ///< with B first if batched
  bool isInteger() const { return mlir::isa<mlir::IntegerType>(element); }
};

struct ProblemParam {
  std::string name;
  bool integer = true;
  double value = 0; ///< default; 0 where the caller must give one
};

struct MixProblem {
  pattern::MixOp mix;
  mlir::MLIRContext *context = nullptr;
  std::vector<ProblemTensor> tensors; ///< arguments, then results, in the order of the call
  std::vector<ProblemParam> params;   ///< run-time parameters
  std::vector<std::string> extents;   ///< run-time extents
  std::string q, k, v;                ///< argument names; v is that of k for an alias
  std::string o, lse;                 ///< result names; lse may be empty
  Extent B, Tq, Tk, Hq, Hk;
  int64_t D = 0, Dv = 0, G = 1;
  int64_t firstValueFeature = 0; ///< v is features [first, first + Dv) of k (alias)
  bool bottomRight = true;
  Expr support, score, sink, decay; ///< sink and decay may be null
  pattern::TypeScope scope;         ///< types of all names in these expressions

  const ProblemTensor *find(llvm::StringRef name) const;
  /// `expr` with everything static put in.
  Expr specialise(Expr expr) const;

  llvm::StringMap<Expr> statics;
};

/// Reads the pattern. Unsupported, with the attribute that is the obstacle, for graphs that are not
/// one mix and for mixes the pair loop cannot express; InvalidArgument where the request does not
/// fix D, Dv or G.
Result<MixProblem> readMixProblem(const FormRequest &request);

} // namespace heddle::compiler
