// Expressions of the pattern language as arith and math ops on scalars: the inside of a tile.map,
// and what is computed once before the loops.
#pragma once

#include "compiler/support/Zone.h"
#include "ir/pattern/ExprUtils.h"

#include "mlir/IR/Builders.h"

namespace heddle::compiler {

/// Why `expr` cannot be emitted (a function no target has); empty if it can. Reads and reductions
/// are not judged: the caller's leaves.
std::string refuseExpr(Expr expr);

/// Emits expressions at the builder's insertion point. Reals are f32, truth values i1, integers of
/// the type given. `leaf` is asked first about every node: it returns the node's value (integers in
/// the type given, any float type, i1), or null to have it computed from its children. An
/// expression that stands in several places is emitted once: the insertion point stays in its
/// block.
class ExprOps {
public:
  using Leaf = llvm::function_ref<mlir::Value(Expr)>;

  ExprOps(mlir::OpBuilder &builder, mlir::Location location, mlir::Type integerType,
          const pattern::TypeScope &scope, Leaf leaf)
      : builder(builder), location(location), integerType(integerType), scope(scope), leaf(leaf) {}

  mlir::Value integer(Expr expr);
  mlir::Value real(Expr expr);
  mlir::Value truth(Expr expr);
  /// Integer, real or truth, as its type says.
  mlir::Value any(Expr expr);
  pattern::ExprType typeOf(Expr expr) const;

  /// x as f32: exact for integers up to 2^24, half formats and f32.
  mlir::Value asReal(mlir::Value x);

private:
  template <typename Op, typename... Args> mlir::Value make(Args... args) {
    return builder.createOrFold<Op>(location, args...);
  }
  /// What `make` emits for the expression, or what it emitted before.
  mlir::Value once(Expr expr, pattern::ExprType type, mlir::Value (ExprOps::*make)(Expr));
  mlir::Value makeInteger(Expr expr);
  mlir::Value makeReal(Expr expr);
  mlir::Value makeTruth(Expr expr);
  mlir::Value constantInteger(int64_t value);
  mlir::Value constantReal(double value);
  mlir::Value integerCall(Expr expr);
  mlir::Value realCall(Expr expr);
  mlir::Value floorDivide(mlir::Value x, mlir::Value y);
  mlir::Value log2(Expr argument);
  mlir::Value exp2(mlir::Value x);
  mlir::Value sigmoid(mlir::Value x);
  mlir::Value power(Expr expr);
  mlir::Value rounded(Expr expr);

  mlir::OpBuilder &builder;
  mlir::Location location;
  mlir::Type integerType;
  const pattern::TypeScope &scope;
  Leaf leaf;
  llvm::DenseMap<std::pair<mlir::Attribute, pattern::ExprType>, mlir::Value> known;
};

} // namespace heddle::compiler
