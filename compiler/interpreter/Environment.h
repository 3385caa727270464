// What the names of a pattern are worth on given tensors: extents, parameters, lets, and the values
// that ops have made so far.
#pragma once

#include "compiler/Interpreter.h"
#include "compiler/interpreter/ExprProgram.h"
#include "ir/pattern/PatternDialect.h"

namespace heddle::compiler {

inline Error invalid(std::string message) {
  return {ErrorCode::InvalidArgument, std::move(message)};
}

/// Some elements of a value: their row-major places in it, and what stands there.
struct SparseValue {
  std::vector<int64_t> places;
  std::vector<double> values;
};

class Environment {
public:
  /// Infers and checks dims against all tensors, takes parameters or their defaults, computes lets
  /// and checks the conditions of `where`. With `needTensors` false, dims alone are enough.
  static Result<Environment> make(pattern::DefOp def, const Bindings &bindings);

  int64_t batch() const { return dims.at("B"); }
  /// Value of an expression over dims and scalars alone.
  Result<double> number(pattern::ExprAttr expr) const;
  /// The same for an extent or a count: an integer that is not negative.
  Result<int64_t> extent(pattern::ExprAttr expr) const;
  /// Extents of a value of that type, the batch first if it has one.
  Result<std::vector<int64_t>> shapeOf(pattern::ArrayType type) const;
  /// Names for those extents, as the type spells them.
  static std::vector<std::string> dimNames(pattern::ArrayType type);

  void define(mlir::Value value, Value result) { values[value.getAsOpaquePointer()] = result; }
  const Value &value(mlir::Value value) const { return values.at(value.getAsOpaquePointer()); }
  /// The same for a value that nothing but `return` reads and of which only some rows are known.
  void define(mlir::Value value, SparseValue rows) {
    sparse[value.getAsOpaquePointer()] = std::move(rows);
  }
  /// Null if the value is whole.
  const SparseValue *someOf(mlir::Value value) const {
    auto found = sparse.find(value.getAsOpaquePointer());
    return found == sparse.end() ? nullptr : &found->second;
  }
  /// The scope for expressions of an op that reads `reads` under `names`.
  ExprScope scope(mlir::ValueRange reads, mlir::ArrayAttr names) const;

  std::map<std::string, int64_t> dims; ///< with B and, where Hq and Hk are, G
  std::map<std::string, double> scalars;

private:
  Status bindTensors(pattern::DefOp def, const Bindings &bindings);
  Status bindDim(const std::string &tensor, const std::string &dim, int64_t found);
  Status checkExtents(pattern::DefOp def, const Bindings &bindings);
  Status bindScalars(pattern::DefOp def, const Bindings &bindings);
  Status checkConditions(pattern::DefOp def);

  std::map<std::string, std::string> fixedBy; ///< dim -> the tensor that says it
  std::map<const void *, Value> values;
  std::map<const void *, SparseValue> sparse;
};

} // namespace heddle::compiler
