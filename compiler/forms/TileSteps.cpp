// Elementwise steps on tiles: each is one tile.map, e.g.
//
//   O r  ->  tile.map (%x = %O[i, e], %y = %r[i]) -> [i, e] { mulf %x, %y }
#include "compiler/forms/TileSteps.h"

#include "compiler/forms/ExprOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace heddle::compiler::steps {

using namespace mlir;

Value real(OpBuilder &builder, Location at, double value) {
  return arith::ConstantOp::create(builder, at, builder.getF32FloatAttr(float(value)));
}

Value asReal(OpBuilder &builder, Location at, Value x) {
  pattern::TypeScope none;
  return ExprOps(builder, at, builder.getI64Type(), none, [](Expr) { return Value(); }).asReal(x);
}

Value product(OpBuilder &builder, Location at, Value x, Value y) {
  return arith::MulFOp::create(builder, at, x, y);
}

Value combine(KernelWriter &w, ValueRange tiles, const Names &dims, Type element, Combine combine) {
  auto first = cast<tile::TileType>(tiles[0].getType());
  llvm::SmallVector<Names> inputDims;
  for (Value tile : tiles)
    inputDims.push_back(
        cast<tile::TileType>(tile.getType()).getRank() == int64_t(dims.size()) ? dims : Names{"i"});
  return w
      .map({Type(w.tileType(first.getShape(), element))}, tiles, inputDims, dims,
           [&](OpBuilder &builder, Location at, ValueRange x) {
             tile::YieldOp::create(builder, at, combine(builder, at, x));
           })
      .getResult(0);
}

Value rounded(KernelWriter &w, Value tile, const Names &dims, Type element) {
  return combine(w, {tile}, dims, element, [&](OpBuilder &builder, Location at, ValueRange x) {
    return arith::TruncFOp::create(builder, at, element, x[0]);
  });
}

Value finiteOrZero(KernelWriter &w, Value m) {
  return combine(w, {m}, {"i"}, w.builder.getF32Type(),
                 [&](OpBuilder &builder, Location at, ValueRange x) {
                   Value none = arith::CmpFOp::create(builder, at, arith::CmpFPredicate::OEQ, x[0],
                                                      real(builder, at, -kInfinity));
                   return arith::SelectOp::create(builder, at, none, real(builder, at, 0), x[0]);
                 });
}

Value exp2Difference(KernelWriter &w, Value x, Value y) {
  return combine(w, {x, y}, {"i"}, w.builder.getF32Type(),
                 [&](OpBuilder &builder, Location at, ValueRange v) {
                   Value d = arith::SubFOp::create(builder, at, v[0], v[1]);
                   return math::Exp2Op::create(builder, at, d);
                 });
}

Value scaled(KernelWriter &w, Value x, Value factor, const Names &dims) {
  return combine(w, {x, factor}, dims, w.builder.getF32Type(),
                 [&](OpBuilder &builder, Location at, ValueRange v) {
                   return arith::MulFOp::create(builder, at, v[0], v[1]);
                 });
}

Value maximum(KernelWriter &w, Value x, Value y) {
  return combine(w, {x, y}, {"i"}, w.builder.getF32Type(),
                 [&](OpBuilder &builder, Location at, ValueRange v) {
                   return arith::MaximumFOp::create(builder, at, v[0], v[1]);
                 });
}

Value sum(KernelWriter &w, Value x, Value y) {
  bool matrix = cast<tile::TileType>(x.getType()).getRank() == 2;
  return combine(w, {x, y}, matrix ? Names{"i", "e"} : Names{"i"}, w.builder.getF32Type(),
                 [&](OpBuilder &builder, Location at, ValueRange v) {
                   return arith::AddFOp::create(builder, at, v[0], v[1]);
                 });
}

Value weighted(KernelWriter &w, Value x, Value a, Value y, Value b, const Names &dims) {
  return combine(w, {x, a, y, b}, dims, w.builder.getF32Type(),
                 [&](OpBuilder &builder, Location at, ValueRange v) {
                   Value left = arith::MulFOp::create(builder, at, v[0], v[1]);
                   Value right = arith::MulFOp::create(builder, at, v[2], v[3]);
                   return arith::AddFOp::create(builder, at, left, right);
                 });
}

Value divided(OpBuilder &builder, Location at, pattern::NormKind norm, Value O, Value l,
              Value argument) {
  Value zero = real(builder, at, 0);
  if (norm == pattern::NormKind::max_abs) {
    l = math::AbsFOp::create(builder, at, l);
    l = arith::MaximumFOp::create(builder, at, l, argument);
  } else if (argument) {
    l = arith::AddFOp::create(builder, at, l, argument);
  }
  Value some = arith::CmpFOp::create(builder, at, arith::CmpFPredicate::UNE, l, zero);
  Value ratio = arith::DivFOp::create(builder, at, O, l);
  return arith::SelectOp::create(builder, at, some, ratio, zero);
}

} // namespace heddle::compiler::steps
