// Short names for the vector, arith, scf and llvm operations that CPU code is built from. All
// arithmetic is on whole vectors of f32 or i32 (lanes of the Isa); memory is an !llvm.ptr plus an
// index in elements.
#pragma once

#include "compiler/machine/Isa.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"

namespace heddle::compiler::cpu {

using mlir::Value;
using mlir::ValueRange;
using Values = mlir::SmallVector<Value>;

class VectorBuilder {
public:
  VectorBuilder(mlir::OpBuilder &builder, mlir::Location loc, const Isa &isa);

  mlir::OpBuilder &builder;
  mlir::Location loc;
  const Isa &isa;
  mlir::VectorType floats, ints, bits; ///< vectors of f32, i32 and i1
  int64_t lanes() const { return isa.lanes(); }

  /// Constants: a vector of one value, an index, an f32.
  Value splat(double value);
  Value splatInt(int64_t value);
  Value integer(int64_t value);
  Value scalar(double value);
  /// 0, 1, .. lanes-1 as i32.
  Value iota();
  /// Scalar f32 or integer of any width into every lane (i64 and index are cut to i32).
  Value broadcast(Value scalar);

  /// Vectors of floats.
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b);
  Value fma(Value a, Value b, Value c); ///< a * b + c, one rounding
  Value max(Value a, Value b);          ///< a > b ? a : b, so b where either is NaN
  Value min(Value a, Value b);
  Value less(Value a, Value b); ///< ordered
  Value select(Value condition, Value yes, Value no);
  Value roundEven(Value a);
  /// Polynomial c[0] + c[1] x + .. by Horner's rule with fma.
  Value polynomial(Value x, mlir::ArrayRef<double> coefficients);

  /// Vectors of ints, and the same bits seen as the other type.
  Value addInt(Value a, Value b);
  Value subInt(Value a, Value b);
  Value andInt(Value a, Value b);
  Value orInt(Value a, Value b);
  Value shiftLeft(Value a, int64_t count);
  Value shiftRight(Value a, int64_t count); ///< arithmetic
  Value toBits(Value floats);
  Value fromBits(Value ints);
  Value toInts(Value floats); ///< truncates
  Value toFloats(Value ints);

  /// Index arithmetic; constants fold.
  Value plus(Value a, Value b);
  Value plus(Value a, int64_t b);
  Value times(Value a, Value b);
  Value times(Value a, int64_t b);
  Value minIndex(Value a, Value b);
  Value maxIndex(Value a, Value b);
  /// The value of an integer constant.
  static std::optional<int64_t> constantOf(Value value);
  /// An index as what is no constant in it (null: nothing) plus a constant.
  std::pair<Value, int64_t> splitIndex(Value index);

  /// Memory: element `index` of `pointer` counted in elements of `element`. What is constant in the
  /// index is added last, so that neighbours share all the rest.
  Value address(Value pointer, mlir::Type element, Value index);
  Value load(mlir::Type type, Value address);
  void store(Value value, Value address);
  /// Writes whole vectors to multiples of their size, not through the caches; `orderStores` makes
  /// what was written so visible before what is written later.
  void storePastCaches(Value value, Value address);
  void orderStores();
  /// `count` elements on the stack of the function that is being built; lives as long as its call.
  Value stackArray(mlir::Type element, int64_t count);
  /// Asks for the cache line of an address, into the first-level cache (`near`) or the second one;
  /// no memory need be there.
  void prefetch(Value address, bool near = true);

  /// The LLVM intrinsic of that name; `instruction` has no result.
  void instruction(const char *name, ValueRange operands);
  Value intrinsic(const char *name, mlir::Type result, ValueRange operands);

  /// for (i = lo; i < hi; i += step) values = body(i, values). Built in place; unrolled never.
  Values loop(Value lo, Value hi, int64_t step, ValueRange init,
              mlir::function_ref<Values(Value, ValueRange)> body);
  /// condition ? yes() : no(), both giving values of these types.
  Values branch(Value condition, mlir::TypeRange types, mlir::function_ref<Values()> yes,
                mlir::function_ref<Values()> no);
};

} // namespace heddle::compiler::cpu
