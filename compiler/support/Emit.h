// The integer algebra of arith values: the bounds of a support as ops at kernel start, and inside
// the register block for a part of the rows.
//
// A loop that carries a support, `support(#pattern.expr<..>) at(%i0, %i1, %b, %h)`, is all these
// functions need: the expression names run-time scalars and tensors of the program, i0..i1 are the
// positions of the first and last row of the tile (inclusive), b and h the batch and the query head
// (h is left out where the rows of a tile belong to several heads).
#pragma once

#include "compiler/support/Bounds.h"
#include "compiler/support/IntegerExpr.h"
#include "ir/tile/TileDialect.h"

#include "mlir/IR/Builders.h"

namespace heddle::compiler {

/// Bounds.h over SSA values of type index (Bool: i1). Ops are made at the builder's insertion
/// point and folded where they can be.
class ArithAlgebra {
public:
  using Value = mlir::Value;
  using Bool = mlir::Value;

  ArithAlgebra(mlir::OpBuilder &builder, mlir::Location location, tile::ProgramOp program,
               llvm::StringMap<mlir::Value> variables)
      : builder(builder), location(location), program(program), variables(std::move(variables)) {}

  Value constant(int64_t value);
  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value floorDiv(Value x, Value y);
  Value mod(Value x, Value y);
  Value min(Value x, Value y);
  Value max(Value x, Value y);
  Value select(Bool c, Value x, Value y);
  Bool lessEqual(Value x, Value y);
  Bool equal(Value x, Value y);
  Bool both(Bool x, Bool y);
  Bool either(Bool x, Bool y);
  Bool negate(Bool x);
  Bool truth(bool value);
  Value scalar(llvm::StringRef name);
  Value read(llvm::StringRef tensor, llvm::ArrayRef<Value> indices);

  Value evaluate(Expr expr) { return IntegerExpr<ArithAlgebra>(*this).integer(expr); }
  Value evaluateAt(Expr expr, Value row) {
    return IntegerExpr<ArithAlgebra>(*this, row).integer(expr);
  }
  Bool holds(Expr expr) { return IntegerExpr<ArithAlgebra>(*this).condition(expr); }

private:
  mlir::OpBuilder &builder;
  mlir::Location location;
  tile::ProgramOp program;
  llvm::StringMap<mlir::Value> variables;
};

/// Whether [begin, end) holds nothing, whatever the run-time values are.
bool isEmptyInterval(mlir::Value begin, mlir::Value end);

/// Where the interval of a loop that `index` lies in ends: its bounds are those of one interval, or
/// of two.
mlir::Value intervalEnd(mlir::OpBuilder &builder, mlir::Location location, mlir::Value index,
                        mlir::ValueRange bounds);

/// Order of the values a loop's support stands `at`; Head is left out where rows have several
/// heads.
enum SupportArgument : unsigned { FirstRow, LastRow, Batch, Head };

/// Names as the declarations of `program` have them. `perHead`: h is fixed for a row tile.
SupportNames namesOf(tile::ProgramOp program, bool perHead);

/// The analysis of the support a loop carries; the loop must have one.
Support supportOf(tile::ForOp loop);

/// The algebra for ops at the builder's insertion point, with b and h of the loop.
ArithAlgebra algebraFor(mlir::OpBuilder &builder, tile::ForOp loop);

/// Keys [begin, end) of [firstKey, endKey) that hold all pairs of rows at positions first..last
/// (inclusive, inside the loop's rows): what a register block clips itself to. Uses only arith,
/// tile.scalar, tile.view and tile.read. The whole range for a loop without a support.
struct KeyValues {
  mlir::Value begin, end;
};
KeyValues emitTouchedKeys(mlir::OpBuilder &builder, tile::ForOp loop, mlir::Value first,
                          mlir::Value last, mlir::Value firstKey, mlir::Value endKey);

} // namespace heddle::compiler
