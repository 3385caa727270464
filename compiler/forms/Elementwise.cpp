// Splits an expression over pairs into what is computed once before the loop, the tiles it reads
// and the scalar ops inside a map:
//
//   s * 0.125 - slopes[h] * (i - j)
//     before the loop: slopes[h] as f32;  operands: S[i, j], index i, index j;  inside: the rest
#include "compiler/forms/Elementwise.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <fmt/format.h>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;
using pattern::ExprType;

// ---- sizes of integers ----

/// Bound of |expr| in units of 2^29, or a large number if there is none.
static int64_t magnitude(Expr expr) {
  constexpr int64_t kNone = 1 << 20;
  auto largest = [&](size_t first) {
    int64_t most = 0;
    for (size_t k = first; k < expr.size(); ++k)
      most = std::max(most, magnitude(expr[k]));
    return most;
  };
  switch (expr.getKind()) {
  case ExprKind::Integer:
    return std::abs(expr.integer()) < (1 << 29) ? 1 : kNone;
  case ExprKind::Var:
  case ExprKind::Param:
  case ExprKind::Dim:
    return 1;
  case ExprKind::Read: // any 32 bits: may be compared, not added to
    return 4;
  case ExprKind::Neg:
    return magnitude(expr[0]);
  case ExprKind::Add:
  case ExprKind::Sub:
    return std::min(magnitude(expr[0]) + magnitude(expr[1]), kNone);
  case ExprKind::Mul:
    for (int side : {0, 1})
      if (expr[side].is(ExprKind::Integer) && std::abs(expr[side].integer()) <= 4)
        return std::abs(expr[side].integer()) * magnitude(expr[1 - side]);
    return kNone;
  case ExprKind::FloorDiv:
  case ExprKind::Mod:
    return expr[1].is(ExprKind::Integer) ? std::max<int64_t>(magnitude(expr[0]), 1) : kNone;
  case ExprKind::Call:
    if (expr.getName() == "select")
      return largest(1);
    if (expr.getName() == "min" || expr.getName() == "max" || expr.getName() == "abs")
      return largest(0);
    return kNone;
  default:
    return kNone;
  }
}

bool fitsInt32(Expr expr) {
  bool fits = true;
  pattern::walk(expr, [&](Expr e) {
    if (pattern::isComparison(e.getKind()))
      fits &= magnitude(e[0]) <= 4 && magnitude(e[1]) <= 4;
    else if (e.is(ExprKind::FloorDiv) || e.is(ExprKind::Mod))
      fits &= e[1].is(ExprKind::Integer) && magnitude(e[0]) <= 3;
    else if (e.is(ExprKind::Add) || e.is(ExprKind::Sub) || e.is(ExprKind::Mul))
      // Reals have no bound to keep, but their integer parts are nodes of their own.
      fits &= magnitude(e) <= 4 || magnitude(e) >= (1 << 18);
    else if (e.is(ExprKind::Call) && (e.getName() == "bitand" || e.getName() == "bitxor"))
      fits = false;
    return fits;
  });
  return fits;
}

// ---- what can be read ----

static bool mentions(Expr expr, llvm::StringRef name) {
  return llvm::is_contained(pattern::freeVars(expr), name.str());
}

static bool isAxisName(Expr expr) {
  static constexpr llvm::StringRef kNames[] = {"i", "row", "j", "h"};
  return expr.is(ExprKind::Var) && llvm::is_contained(kNames, expr.getName());
}

std::string PairScope::refuseReads(Expr expr, const MixProblem &problem) {
  std::string reason;
  pattern::walk(expr, [&](Expr e) {
    if (!e.is(ExprKind::Read) || !reason.empty())
      return reason.empty();
    const ProblemTensor *tensor = problem.find(e.getName());
    bool rows = false, keys = false;
    for (Expr index : e.children()) {
      bool varies = mentions(index, "i") || mentions(index, "j") || mentions(index, "row");
      bool positions = index.is(ExprKind::Var) && index.getName() == "i";
      if (varies && !isAxisName(index))
        reason = fmt::format("{} is read at a computed index, expected i, row or j alone", e.str());
      else if (positions && problem.bottomRight && problem.Tq != problem.Tk)
        reason = fmt::format("{} is read at position i, which is negative where there are more "
                             "queries than keys: read it at row, or align top_left",
                             e.str());
      else if (!varies && mentions(index, "h") && !index.is(ExprKind::Var) && problem.G > 1)
        reason = fmt::format("{} is read at a formula of the head, expected h alone", e.str());
      bool &seen = mentions(index, "j") ? keys : rows;
      if (varies && seen)
        reason = fmt::format("{} is read along a diagonal", e.str());
      seen |= varies;
    }
    if (!tensor || tensor->isResult)
      reason = fmt::format("{} reads a value that is no argument", e.str());
    return reason.empty();
  });
  return reason;
}

// ---- scalars ----

bool PairScope::isUniform(Expr expr) const {
  for (const std::string &name : pattern::freeVars(expr))
    if (!uniforms.contains(name))
      return false;
  return true;
}

Value PairScope::readScalar(Expr read) {
  const ProblemTensor &tensor = *problem.find(read.getName());
  llvm::SmallVector<Value> at;
  if (tensor.batched && read.size() + 1 == tensor.shape.size())
    at.push_back(uniforms.lookup("b"));
  for (Expr index : read.children())
    at.push_back(uniform(index));
  Value inside; // null: every index is known to lie in the tensor
  for (auto [n, extent] : llvm::enumerate(tensor.shape)) {
    size_t child = n + read.size() - tensor.shape.size();
    if (child >= read.size() || read[child].is(ExprKind::Var))
      continue; // b and h are inside by construction
    Value limit = w.extent(extent), zero = w.constant(0), index = at[n];
    Value last = w.sub(limit, w.constant(1));
    auto below =
        w.builder.createOrFold<arith::CmpIOp>(w.location, arith::CmpIPredicate::ult, index, limit);
    inside = inside ? w.builder.createOrFold<arith::AndIOp>(w.location, inside, below) : below;
    at[n] = w.builder.createOrFold<arith::MaxSIOp>(w.location, w.min(index, last), zero);
  }
  Value view = w.view(tensor.name, tensor.element, tensor.shape, at);
  Value value = tile::ReadOp::create(w.builder, w.location, view, llvm::ArrayRef<OpFoldResult>());
  if (auto integer = dyn_cast<IntegerType>(tensor.element)) {
    Type index = w.builder.getIndexType();
    if (integer.isUnsigned())
      value = arith::IndexCastUIOp::create(w.builder, w.location, index, value);
    else
      value = arith::IndexCastOp::create(w.builder, w.location, index, value);
  } else if (!value.getType().isF32()) {
    value = cast<FloatType>(value.getType()).getWidth() > 32
                ? arith::TruncFOp::create(w.builder, w.location, w.builder.getF32Type(), value)
                      .getResult()
                : arith::ExtFOp::create(w.builder, w.location, w.builder.getF32Type(), value)
                      .getResult();
  }
  if (!inside)
    return value;
  Value zero =
      arith::ConstantOp::create(w.builder, w.location, w.builder.getZeroAttr(value.getType()));
  return w.builder.createOrFold<arith::SelectOp>(w.location, inside, value, zero);
}

Value PairScope::uniform(Expr expr) {
  OpBuilder::InsertionGuard guard(w.builder);
  w.builder.restoreInsertionPoint(start);
  auto leaf = [&](Expr e) -> Value {
    switch (e.getKind()) {
    case ExprKind::Var:
      return uniforms.lookup(e.getName());
    case ExprKind::Dim:
    case ExprKind::Param: {
      bool real = problem.scope.names.lookup(e.getName()) == ExprType::Real;
      Type type = real ? Type(w.builder.getF32Type()) : Type(w.builder.getIndexType());
      return tile::ScalarOp::create(w.builder, w.location, type, e.getName());
    }
    case ExprKind::Read:
      return readScalar(e);
    default:
      return {};
    }
  };
  return ExprOps(w.builder, w.location, w.builder.getIndexType(), problem.scope, leaf).any(expr);
}

/// An index value in 32 bits. Positions and keys lie below 2^29, so clamping there keeps every
/// comparison with sums of them.
Value PairScope::saturated(Value index) {
  Value most = w.constant((1 << 29) - 1), least = w.constant(-(1 << 29) + 1);
  index = w.builder.createOrFold<arith::MaxSIOp>(w.location, w.min(index, most), least);
  return w.builder.createOrFold<arith::IndexCastOp>(w.location, w.builder.getI32Type(), index);
}

void PairScope::addUniform(Expr expr, Prepared &prepared) {
  Value value = uniform(expr);
  if (value.getType().isIndex()) {
    OpBuilder::InsertionGuard guard(w.builder);
    w.builder.restoreInsertionPoint(start);
    value =
        prepared.integerType.isInteger(32)
            ? saturated(value)
            : w.builder.createOrFold<arith::IndexCastOp>(w.location, prepared.integerType, value);
  }
  prepared.scalars.push_back({expr, value});
}

// ---- tiles ----

Value PairScope::readTile(Expr read, Names &dims) {
  const ProblemTensor &tensor = *problem.find(read.getName());
  llvm::SmallVector<Value> indices, valid;
  llvm::SmallVector<int64_t> shape;
  llvm::SmallVector<OpFoldResult> offsets;
  llvm::SmallVector<std::pair<const Axis *, Extent>> along;
  if (tensor.batched && read.size() + 1 == tensor.shape.size())
    indices.push_back(uniforms.lookup("b"));
  for (Expr index : read.children()) {
    auto axis = index.is(ExprKind::Var) ? axes.find(index.getName()) : axes.end();
    if (axis == axes.end()) {
      indices.push_back(uniform(index));
      continue;
    }
    along.push_back({&axis->second, tensor.shape[indices.size()]});
    indices.push_back({});
  }
  OpBuilder::InsertionGuard guard(w.builder);
  bool perKey = llvm::any_of(along, [](auto &entry) { return entry.first->dim == "j"; });
  if (!perKey)
    w.builder.restoreInsertionPoint(start);
  for (auto [axis, extent] : along) {
    dims.push_back(axis->dim);
    shape.push_back(axis->extent);
    offsets.push_back(axis->base);
    valid.push_back(w.sub(w.extent(extent), axis->base));
  }
  Value view = w.view(tensor.name, tensor.element, tensor.shape, indices);
  return w.load(w.tileType(shape, storedElement(tensor.element)), view, offsets, valid);
}

Value PairScope::tileOf(Expr leaf, Names &dims) {
  if (leaf.is(ExprKind::Read))
    return readTile(leaf, dims);
  const Axis &axis = axes.find(leaf.getName())->second;
  dims.push_back(axis.dim);
  OpBuilder::InsertionGuard guard(w.builder);
  if (axis.dim != "j")
    w.builder.restoreInsertionPoint(start);
  return w.index(axis.base, axis.extent);
}

void PairScope::collect(Expr expr, Prepared &prepared) {
  bool constant = expr.is(ExprKind::Integer) || expr.is(ExprKind::Float) || expr.is(ExprKind::Bool);
  if (constant || (expr.is(ExprKind::Var) && expr.getName() == "s"))
    return;
  if (isUniform(expr)) {
    if (llvm::none_of(prepared.scalars, [&](auto &entry) { return entry.first == expr; }))
      addUniform(expr, prepared);
    return;
  }
  if (!expr.is(ExprKind::Var) && !expr.is(ExprKind::Read)) {
    for (Expr child : expr.children())
      collect(child, prepared);
    return;
  }
  if (llvm::any_of(prepared.operands, [&](auto &entry) { return entry.first == expr; }))
    return;
  Names dims;
  Value tile = tileOf(expr, dims);
  prepared.operands.push_back({expr, unsigned(prepared.tiles.size())});
  prepared.tiles.push_back(tile);
  prepared.dims.push_back(dims);
}

PairScope::Prepared PairScope::prepare(Expr expr) {
  Prepared prepared;
  prepared.expr = expr;
  bool wide = !fitsInt32(expr);
  pattern::walk(expr, [&](Expr e) {
    if (e.is(ExprKind::Read) && problem.find(e.getName())->element.isInteger(64))
      wide = true;
    return true;
  });
  prepared.integerType = wide ? w.builder.getI64Type() : w.builder.getI32Type();
  collect(expr, prepared);
  return prepared;
}

Value PairScope::emit(const Prepared &prepared, OpBuilder &builder, ValueRange operands,
                      Value score) {
  Location location = w.location;
  Type integer = prepared.integerType;
  auto widen = [&](Expr leaf, Value value) -> Value {
    auto type = dyn_cast<IntegerType>(value.getType());
    if (!type || type == integer)
      return value;
    bool isUnsigned =
        leaf.is(ExprKind::Read) && problem.find(leaf.getName())->element.isUnsignedInteger();
    if (isUnsigned)
      return arith::ExtUIOp::create(builder, location, integer, value);
    return arith::ExtSIOp::create(builder, location, integer, value);
  };
  auto leaf = [&](Expr e) -> Value {
    if (e.is(ExprKind::Var) && e.getName() == "s")
      return score;
    for (auto &[expr, value] : prepared.scalars)
      if (expr == e)
        return value;
    for (auto &[expr, number] : prepared.operands)
      if (expr == e)
        return widen(e, operands[number]);
    return {};
  };
  return ExprOps(builder, location, integer, problem.scope, leaf).any(prepared.expr);
}

} // namespace heddle::compiler
