// Services over expressions: types, names, substitution, folding, the table of functions.
#pragma once

#include "ir/pattern/Expr.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"

#include <optional>
#include <string>
#include <vector>

namespace heddle::pattern {

/// Type of an expression's value.
enum class ExprType : uint8_t { Integer, Real, Boolean };
llvm::StringRef toString(ExprType type);

/// One callable function and the type of its value.
struct Function {
  enum Rule {
    Real,    ///< real whatever the arguments
    Same,    ///< integer if all arguments are, else real
    Rounded, ///< integer, of real arguments
    Whole,   ///< integer, of integer arguments only
    Choice,  ///< select(condition, a, b)
    Truth,   ///< truth value, of integer arguments
  };
  const char *name;
  int minArguments, maxArguments;
  Rule rule;
  const char *help;
};
llvm::ArrayRef<Function> functions();
/// Null if there is no function of that name.
const Function *findFunction(llvm::StringRef name);

/// Type of each name and each tensor that an expression may use.
struct TypeScope {
  llvm::StringMap<ExprType> names;
  struct Tensor {
    int64_t rank = 0; ///< without the batch dim
    bool batched = false;
    bool integers = false;
  };
  llvm::StringMap<Tensor> tensors;
};
/// Type of `expr`, or the mistake in words (found, expected, what to do).
struct TypeResult {
  std::optional<ExprType> type;
  std::string mistake;
};
TypeResult typeOf(ExprAttr expr, const TypeScope &scope);
/// The same for one node whose children's types are known.
TypeResult typeOfNode(ExprAttr expr, llvm::ArrayRef<ExprType> children, const TypeScope &scope);
/// Type of an element of the row that a Member looks into: `read` lacks its last index.
TypeResult typeOfRow(ExprAttr read, llvm::ArrayRef<ExprType> indices, const TypeScope &scope);

/// Names of free Vars, of Params, Dims and tensors read; sorted, each once.
std::vector<std::string> freeVars(ExprAttr expr);
std::vector<std::string> paramsOf(ExprAttr expr);
std::vector<std::string> dimsOf(ExprAttr expr);
std::vector<std::string> tensorsOf(ExprAttr expr);

/// Number of nodes counted as a tree, at most `limit`; depth of the tree.
int64_t sizeOf(ExprAttr expr, int64_t limit = 1 << 20);
int64_t depthOf(ExprAttr expr);

/// `expr` with the free names (Var, Param or Dim) in `map` replaced. Bound names shadow; a bound
/// name that would capture one of a replacement is renamed first.
ExprAttr substitute(ExprAttr expr, const llvm::StringMap<ExprAttr> &map);
/// The node with what `replace` makes of each child; bound names are the caller's concern.
ExprAttr mapChildren(ExprAttr expr, llvm::function_ref<ExprAttr(ExprAttr)> replace);
/// `expr` with tensors renamed.
ExprAttr renameTensors(ExprAttr expr, const llvm::StringMap<std::string> &map);
/// Replaces every Let by its value.
ExprAttr expandLets(ExprAttr expr);

/// An equal expression with constants folded and neutral elements dropped (x + 0, x * 1, not not x,
/// true and x, -(-x), sums of integers collected). Real arithmetic is folded in double and never
/// reordered. Idempotent.
ExprAttr simplify(ExprAttr expr);

/// Value of an integer expression without tensors, given its names; nullopt if a name is missing,
/// the value overflows or divides by zero.
std::optional<int64_t>
evaluateInteger(ExprAttr expr, llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> lookup);

/// Value of one scalar function (all of functions() but select, ancestor, depth) on doubles.
double applyFunction(llvm::StringRef name, llvm::ArrayRef<double> arguments);

} // namespace heddle::pattern
