// Splits an expression over the elements of a tile into what is computed once before the loop, the
// tiles it reads and the scalar ops inside a map:
//
//   s * 0.125 - slopes[h] * (i - j)
//     before the loop: slopes[h] as f32;  operands: S[i, j], index i, index j;  inside: the rest
//   x[t, d] * rsqrt(sum[y < D] { x[t, y] * x[t, y] })
//     operands: x as a tile, and the sum as a vector along t, made by a loop of its own
//   book[code[t, d]]
//     operand: code as a tile;  inside: tile.gather of book
#include "compiler/forms/Elementwise.h"

#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <fmt/format.h>

#include <limits>

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
    if (expr.getName() == "ascending")
      return magnitude(expr[0]);
    if (expr.getName() == "bitand" || expr.getName() == "bitxor") // no bit above the highest
      return std::min(2 * largest(0), kNone);
    if (expr.getName() == "bitlen")
      return 1;
    return kNone;
  default:
    return kNone;
  }
}

bool fitsInt32(Expr expr) {
  bool fits = true;
  pattern::walk(expr, [&](Expr e) {
    if (pattern::isReduction(e.getKind())) // made by a loop of its own
      return false;
    if (pattern::isComparison(e.getKind()))
      fits &= magnitude(e[0]) <= 4 && magnitude(e[1]) <= 4;
    else if (e.is(ExprKind::FloorDiv) || e.is(ExprKind::Mod))
      fits &= e[1].is(ExprKind::Integer) && magnitude(e[0]) <= 3;
    else if (e.is(ExprKind::Add) || e.is(ExprKind::Sub) || e.is(ExprKind::Mul))
      // Reals have no bound to keep, but their integer parts are nodes of their own.
      fits &= magnitude(e) <= 4 || magnitude(e) >= (1 << 18);
    return fits;
  });
  return fits;
}

// ---- what has code ----

Expr expandMember(Expr member, const PatternProblem &problem) {
  Expr row = member[1];
  const ProblemTensor &list = *problem.find(row.getName());
  std::vector<Expr> indices = row.children();
  Expr r = pattern::makeVar(problem.context, "entry'"); // no name of a row's expression
  indices.push_back(r);
  Expr entry = pattern::makeRead(problem.context, row.getName(), indices);
  return pattern::makeReduction(ExprKind::Any, "entry'", pattern::makeInteger(problem.context, 0),
                                problem.lengthExpr(list.shape.back()),
                                pattern::makeBinary(ExprKind::Eq, entry, member[0]));
}

std::string TileScope::refuse(Expr expr, const PatternProblem &problem) {
  std::string reason = refuseExpr(expr);
  pattern::walk(expr, [&](Expr e) {
    if (!reason.empty())
      return false;
    Expr read = e.is(ExprKind::Member) ? e[1] : e;
    if (read.is(ExprKind::Read) && !problem.find(read.getName()))
      reason = fmt::format("{} reads a value that no earlier stage makes", read.str());
    if (e.is(ExprKind::Prod) || e.is(ExprKind::ArgMax) || e.is(ExprKind::ArgMin))
      reason = fmt::format("reduction {} is not lowered yet", pattern::kindName(e.getKind()).str());
    return reason.empty();
  });
  return reason;
}

// ---- names ----

void TileScope::uniform(llvm::StringRef name, Value index, std::optional<Extent> bound) {
  uniforms[name] = index;
  axes.erase(name);
  types.names[name] = ExprType::Integer;
  bounds.erase(name);
  if (bound)
    bounds[name] = *bound;
}

void TileScope::axis(llvm::StringRef name, Axis axis) {
  types.names[name] = ExprType::Integer;
  uniforms.erase(name);
  axes[name] = std::move(axis);
}

bool TileScope::isUniform(Expr expr) const {
  for (const std::string &name : pattern::freeVars(expr))
    if (!uniforms.contains(name))
      return false;
  return llvm::none_of(givens, [&](auto &entry) { return entry.first == expr; });
}

llvm::SmallVector<const Axis *> TileScope::axesOf(Expr expr) const {
  llvm::SmallVector<const Axis *> found;
  for (const std::string &name : pattern::freeVars(expr))
    if (auto axis = axes.find(name); axis != axes.end())
      if (llvm::none_of(found, [&](const Axis *a) { return a->dim == axis->second.dim; }))
        found.push_back(&axis->second);
  return found;
}

bool TileScope::isInner(Expr expr) const {
  for (const std::string &name : pattern::freeVars(expr)) {
    auto axis = axes.find(name);
    if (axis != axes.end() && axis->second.dim == innerDim)
      return true;
  }
  return false;
}

/// Whether the name's values lie inside the extent, so that a view may be fixed there.
bool TileScope::hasIndex(Expr index, const Extent &extent) const {
  if (index.is(ExprKind::Integer))
    return extent.fixed && index.integer() >= 0 && index.integer() < *extent.fixed;
  for (auto &[expr, name] : aliases)
    if (index == expr)
      index = pattern::makeVar(problem.context, name);
  if (!index.is(ExprKind::Var))
    return false;
  auto bound = bounds.find(index.getName());
  return bound != bounds.end() && bound->second == extent;
}

/// Whether a read is a tile of memory: each index is a name along a dimension of its own, starting
/// at 0 or above, or one value inside the tensor.
bool TileScope::isDirect(Expr read) const {
  const ProblemTensor &tensor = *problem.find(read.getName());
  size_t first = tensor.shape.size() - read.size();
  llvm::SmallVector<llvm::StringRef> seen;
  for (auto [n, index] : llvm::enumerate(read.children())) {
    auto axis = index.is(ExprKind::Var) ? axes.find(index.getName()) : axes.end();
    if (axis != axes.end()) {
      // Positions may be negative.
      if (index.getName() == "i" && axis->second.bound == Extent())
        return false;
      if (llvm::is_contained(seen, axis->second.dim))
        return false;
      seen.push_back(axis->second.dim);
    } else if (!isUniform(index) || !hasIndex(index, tensor.shape[first + n])) {
      return false;
    }
  }
  return !seen.empty() && !(fewRows && seen.size() > 1 && seen.back() == "i");
}

// ---- scalars ----

Value TileScope::batchOf(Expr read, const ProblemTensor &tensor, unsigned &first) {
  first = tensor.shape.size() - read.size();
  return first ? uniforms.lookup("b") : Value();
}

Value TileScope::readScalar(Expr read) {
  const ProblemTensor &tensor = *problem.find(read.getName());
  unsigned first;
  llvm::SmallVector<Value> at;
  if (Value batch = batchOf(read, tensor, first))
    at.push_back(batch);
  for (Expr index : read.children())
    at.push_back(uniformValue(index));
  Value inside; // null: every index is known to lie in the tensor
  for (size_t n = first; n < tensor.shape.size(); ++n) {
    if (hasIndex(read[n - first], tensor.shape[n]))
      continue;
    Value limit = w.extent(tensor.shape[n]), zero = w.constant(0), index = at[n];
    Value last = w.sub(limit, w.constant(1));
    auto below =
        w.builder.createOrFold<arith::CmpIOp>(w.location, arith::CmpIPredicate::ult, index, limit);
    inside = inside ? w.builder.createOrFold<arith::AndIOp>(w.location, inside, below) : below;
    at[n] = w.max(w.min(index, last), zero);
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

Value TileScope::uniformValue(Expr expr) {
  OpBuilder::InsertionGuard guard(w.builder);
  w.builder.restoreInsertionPoint(start);
  auto leaf = [&](Expr e) -> Value {
    switch (e.getKind()) {
    case ExprKind::Var:
      return uniforms.lookup(e.getName());
    case ExprKind::Dim:
    case ExprKind::Param: {
      bool real = types.names.lookup(e.getName()) == ExprType::Real;
      Type type = real ? Type(w.builder.getF32Type()) : Type(w.builder.getIndexType());
      return tile::ScalarOp::create(w.builder, w.location, type, e.getName());
    }
    case ExprKind::Read:
      return readScalar(e);
    default:
      return {};
    }
  };
  return ExprOps(w.builder, w.location, w.builder.getIndexType(), types, leaf).any(expr);
}

/// An index value in 32 bits. Positions and keys lie below 2^29, so clamping there keeps every
/// comparison with sums of them.
Value TileScope::saturated(Value index) {
  Value most = w.constant((1 << 29) - 1), least = w.constant(-(1 << 29) + 1);
  index = w.max(w.min(index, most), least);
  return w.builder.createOrFold<arith::IndexCastOp>(w.location, w.builder.getI32Type(), index);
}

void TileScope::addUniform(Expr expr, Prepared &prepared) {
  Value value = uniformValue(expr);
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

TileScope::Placed TileScope::readTile(Expr read) {
  const ProblemTensor &tensor = *problem.find(read.getName());
  OpBuilder::InsertionGuard guard(w.builder);
  if (!isInner(read))
    w.builder.restoreInsertionPoint(start);
  unsigned first;
  llvm::SmallVector<Value> indices, valid;
  if (Value batch = batchOf(read, tensor, first))
    indices.push_back(batch);
  Placed placed;
  llvm::SmallVector<int64_t> shape;
  llvm::SmallVector<OpFoldResult> offsets;
  size_t clipped = 0; // how many dimensions, from the first, need a count
  for (auto [n, index] : llvm::enumerate(read.children())) {
    auto axis = index.is(ExprKind::Var) ? axes.find(index.getName()) : axes.end();
    if (axis == axes.end()) {
      indices.push_back(uniformValue(index));
      continue;
    }
    const Extent &extent = tensor.shape[first + n];
    placed.dims.push_back(axis->second.dim);
    shape.push_back(axis->second.extent);
    offsets.push_back(axis->second.base);
    APInt base;
    bool whole = extent.fixed && matchPattern(axis->second.base, m_ConstantInt(&base)) &&
                 base.getSExtValue() + axis->second.extent <= *extent.fixed;
    if (!whole)
      clipped = placed.dims.size();
    valid.push_back(w.sub(w.extent(extent), axis->second.base));
    indices.push_back({});
  }
  Value view = w.view(tensor.name, tensor.element, tensor.shape, indices);
  placed.tile = w.load(w.tileType(shape, storedElement(tensor.element)), view, offsets,
                       ValueRange(valid).take_front(clipped));
  return placed;
}

TileScope::Placed TileScope::indexTile(const Axis &axis) {
  OpBuilder::InsertionGuard guard(w.builder);
  if (axis.dim != innerDim)
    w.builder.restoreInsertionPoint(start);
  return {w.index(axis.base, axis.extent), {axis.dim}};
}

/// The least or largest value an integer takes on the tile, for bounds of loops: exact for one name
/// with something added.
Value TileScope::boundOf(Expr expr, bool largest) {
  if (isUniform(expr))
    return uniformValue(expr);
  OpBuilder::InsertionGuard guard(w.builder);
  if (!isInner(expr))
    w.builder.restoreInsertionPoint(start);
  auto leaf = [&](Expr e) -> Value {
    if (isUniform(e))
      return uniformValue(e);
    auto axis = e.is(ExprKind::Var) ? axes.find(e.getName()) : axes.end();
    if (axis == axes.end())
      return {};
    Value last = w.constant(largest ? axis->second.extent - 1 : 0);
    return w.add(axis->second.base, last);
  };
  return ExprOps(w.builder, w.location, w.builder.getIndexType(), types, leaf).any(expr);
}

/// A reduction over lo <= x < hi, as a tile along the dimensions that its body runs along:
///
///   for x in [lo, hi): acc = acc op body           one at a time, if the body runs along the lanes
///   for x in [lo, hi) step 32: acc[.., x] op= ..   else lanes along x, joined after the loop
TileScope::Placed TileScope::reduceTile(Expr reduction) {
  ExprKind kind = reduction.getKind();
  llvm::SmallVector<const Axis *> along = axesOf(reduction);
  OpBuilder::InsertionGuard guard(w.builder);
  if (!isInner(reduction))
    w.builder.restoreInsertionPoint(start);
  // What is the same for the whole tile is a vector along the lanes, where a map can read it.
  if (along.empty())
    for (auto &entry : axes)
      if (entry.second.dim == lanesDim) {
        along.push_back(&entry.second);
        break;
      }
  // Lanes last, rows first, whatever the names.
  llvm::sort(along, [&](const Axis *a, const Axis *b) {
    auto rank = [&](const Axis *axis) {
      return axis->dim == lanesDim ? 2 : axis->dim == "i" ? 0 : 1;
    };
    return rank(a) < rank(b);
  });
  bool acrossLanes = llvm::none_of(along, [&](const Axis *a) { return a->dim == lanesDim; });
  llvm::SmallVector<int64_t> extents;
  Names dims;
  for (const Axis *a : along) {
    dims.push_back(a->dim);
    extents.push_back(a->extent);
  }
  if (along.empty()) { // a vector of one is a row
    dims.push_back("one$");
    extents.push_back(1);
  }
  int64_t rank = dims.size(), step = acrossLanes ? 32 : 1;
  bool maximum = kind == ExprKind::Max || kind == ExprKind::Any, minimum = kind == ExprKind::Min;
  bool truth = kind == ExprKind::Any || kind == ExprKind::All;
  double infinity = std::numeric_limits<double>::infinity();
  double neutral = kind == ExprKind::Max   ? -infinity
                   : kind == ExprKind::Min ? infinity
                   : kind == ExprKind::All ? 1
                                           : 0;
  minimum |= kind == ExprKind::All;
  if (acrossLanes) {
    dims.push_back("x$");
    extents.push_back(step);
  }
  Value lo = boundOf(reduction[0], false), hi = boundOf(reduction[1], true);
  Value zeros = w.fill(w.f32(extents), neutral);
  auto loop = tile::ForOp::create(w.builder, w.location, ValueRange{lo, hi}, step, zeros);
  Block &block = loop.getBody().front();
  if (block.mightHaveTerminator())
    block.getTerminator()->erase();
  w.builder.setInsertionPointToEnd(&block);
  TileScope inner = *this;
  inner.start = w.builder.saveInsertionPoint();
  std::string name = reduction.getName().str();
  std::optional<Extent> bound;
  if (reduction[0].isInteger(0) && isUniform(reduction[1]))
    bound = problem.extentOf(reduction[1]);
  Expr body = reduction[2], x = pattern::makeVar(problem.context, name);
  Value index = loop.getIndex();
  if (acrossLanes) {
    inner.axis(name, {"x$", step, index, bound.value_or(Extent())});
    inner.innerDim = inner.lanesDim = "x$";
  } else {
    inner.uniform(name, index, bound);
    inner.innerDim = "none$";
  }
  // Inside the loop nothing may be placed before it.
  if (truth)
    body = pattern::makeCall(
        problem.context, "select",
        {body, pattern::makeFloat(problem.context, 1), pattern::makeFloat(problem.context, 0)});
  bool partial = acrossLanes || !isUniform(reduction[0]) || !isUniform(reduction[1]);
  if (partial) {
    Expr within =
        pattern::makeBinary(ExprKind::And, pattern::makeBinary(ExprKind::Ge, x, reduction[0]),
                            pattern::makeBinary(ExprKind::Lt, x, reduction[1]));
    Expr other = neutral == 0 || neutral == 1
                     ? pattern::makeFloat(problem.context, neutral)
                     : pattern::makeFloat(problem.context, neutral > 0 ? 3.0e38 : -3.0e38);
    body = pattern::makeCall(problem.context, "select", {within, body, other});
  }
  // The insertion point that the inner scope starts from must stay before what it reads.
  auto anchor = arith::ConstantIndexOp::create(w.builder, w.location, 0);
  inner.start = OpBuilder::InsertPoint(&block, Block::iterator(anchor));
  Prepared prepared = inner.prepare(body);
  Value acc = loop.getIterArgs()[0];
  prepared.tiles.push_back(acc);
  prepared.dims.push_back(dims);
  Value next =
      w.map({Type(w.f32(extents))}, prepared.tiles, prepared.dims, dims,
            [&](OpBuilder &builder, Location at, ValueRange args) {
              Value value = inner.emit(prepared, builder, args.drop_back(), {});
              value = steps::asReal(builder, at, value);
              Value old = args.back();
              value = maximum   ? arith::MaximumFOp::create(builder, at, old, value).getResult()
                      : minimum ? arith::MinimumFOp::create(builder, at, old, value).getResult()
                                : arith::AddFOp::create(builder, at, old, value).getResult();
              tile::YieldOp::create(builder, at, value);
            })
          .getResult(0);
  tile::YieldOp::create(w.builder, w.location, next);
  w.builder.setInsertionPointAfter(loop);
  Value result = loop.getResult(0);
  if (acrossLanes) {
    tile::Reduction how = maximum   ? tile::Reduction::Max
                          : minimum ? tile::Reduction::Min
                                    : tile::Reduction::Sum;
    extents.pop_back();
    dims.pop_back();
    Value init = w.fill(w.f32(extents), neutral);
    result = w.reduce(how, result, rank, init);
  }
  return {result, dims};
}

// ---- collecting ----

void TileScope::addTile(Expr expr, Placed placed, Prepared &prepared) {
  prepared.operands.push_back({expr, unsigned(prepared.tiles.size())});
  prepared.tiles.push_back(placed.tile);
  prepared.dims.push_back(placed.dims);
}

void TileScope::addGather(Expr read, Prepared &prepared) {
  const ProblemTensor &tensor = *problem.find(read.getName());
  for (Expr index : read.children())
    collect(index, prepared);
  OpBuilder::InsertionGuard guard(w.builder);
  w.builder.restoreInsertionPoint(start);
  unsigned first;
  llvm::SmallVector<Value> indices;
  if (Value batch = batchOf(read, tensor, first))
    indices.push_back(batch);
  indices.resize(tensor.shape.size());
  prepared.gathers.push_back({read, w.view(tensor.name, tensor.element, tensor.shape, indices)});
}

void TileScope::collect(Expr expr, Prepared &prepared) {
  bool constant = expr.is(ExprKind::Integer) || expr.is(ExprKind::Float) || expr.is(ExprKind::Bool);
  if (constant || (expr.is(ExprKind::Var) && expr.getName() == "s"))
    return;
  auto known = [&](auto &list) {
    return llvm::any_of(list, [&](auto &entry) { return entry.first == expr; });
  };
  if (known(prepared.scalars) || known(prepared.operands) || known(prepared.gathers))
    return;
  for (auto &[read, placed] : givens)
    if (read == expr)
      return addTile(expr, placed, prepared);
  if (expr.is(ExprKind::Member))
    return collect(expandMember(expr, problem), prepared);
  if (pattern::isReduction(expr.getKind()))
    return addTile(expr, reduceTile(expr), prepared);
  bool reduces = false;
  pattern::walk(expr, [&](Expr e) {
    reduces |= pattern::isReduction(e.getKind()) || e.is(ExprKind::Member);
    return !reduces;
  });
  if (!reduces && isUniform(expr))
    return addUniform(expr, prepared);
  if (expr.is(ExprKind::Read)) {
    if (!isDirect(expr))
      return addGather(expr, prepared);
    return addTile(expr, readTile(expr), prepared);
  }
  if (expr.is(ExprKind::Var))
    return addTile(expr, indexTile(axes.find(expr.getName())->second), prepared);
  for (Expr child : expr.children())
    collect(child, prepared);
}

TileScope::Prepared TileScope::prepare(Expr expr) {
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

Value TileScope::emit(const Prepared &prepared, OpBuilder &builder, ValueRange operands,
                      Value score) {
  Location location = w.location;
  Type integer = prepared.integerType;
  auto widen = [&](Expr leaf, Value value) -> Value {
    auto type = dyn_cast<IntegerType>(value.getType());
    if (pattern::isReduction(leaf.getKind())) { // made in f32
      pattern::TypeResult kind = pattern::typeOf(leaf, types);
      if (kind.type == ExprType::Boolean)
        return arith::CmpFOp::create(builder, location, arith::CmpFPredicate::OGT, value,
                                     steps::real(builder, location, 0.5));
      if (kind.type == ExprType::Integer)
        return arith::FPToSIOp::create(builder, location, integer, value);
      return value;
    }
    if (!type || type == integer)
      return value;
    bool isUnsigned =
        leaf.is(ExprKind::Read) && problem.find(leaf.getName())->element.isUnsignedInteger();
    if (isUnsigned)
      return arith::ExtUIOp::create(builder, location, integer, value);
    return arith::ExtSIOp::create(builder, location, integer, value);
  };
  llvm::SmallVector<std::pair<Expr, Value>> made;
  std::function<Value(Expr)> leaf = [&](Expr e) -> Value {
    if (e.is(ExprKind::Var) && e.getName() == "s")
      return score;
    for (auto &[expr, value] : prepared.scalars)
      if (expr == e)
        return value;
    if (e.is(ExprKind::Member))
      e = expandMember(e, problem);
    for (auto &[expr, number] : prepared.operands)
      if (expr == e)
        return widen(e, operands[number]);
    for (auto &[expr, value] : made)
      if (expr == e)
        return value;
    for (auto &[expr, view] : prepared.gathers) {
      if (expr != e)
        continue;
      llvm::SmallVector<Value> indices;
      for (Expr index : e.children()) {
        Value at = ExprOps(builder, location, integer, types, leaf).integer(index);
        indices.push_back(
            arith::IndexCastOp::create(builder, location, builder.getIndexType(), at));
      }
      Value value = tile::GatherOp::create(
          builder, location, cast<tile::ViewType>(view.getType()).getElementType(), view, indices);
      value = widen(e, value);
      made.push_back({e, value});
      return value;
    }
    return {};
  };
  return ExprOps(builder, location, integer, types, leaf).any(prepared.expr);
}

Value TileScope::mapped(Expr expr, llvm::ArrayRef<llvm::StringRef> dims,
                        llvm::ArrayRef<int64_t> extents, Type element, Finish finish) {
  Prepared prepared = prepare(expr);
  // A map needs operands along all of its dimensions; zero costs nothing.
  for (auto [dim, extent] : llvm::zip(dims, extents)) {
    bool has = llvm::any_of(prepared.dims, [&, dim = dim](const Names &names) {
      return llvm::is_contained(names, dim);
    });
    if (has)
      continue;
    prepared.tiles.push_back(w.fill(w.f32({extent}), 0.0));
    prepared.dims.push_back(Names{dim});
  }
  return w
      .map({Type(w.tileType(extents, element))}, prepared.tiles, prepared.dims, dims,
           [&](OpBuilder &builder, Location location, ValueRange args) {
             Value value = emit(prepared, builder, args, {});
             tile::YieldOp::create(builder, location, finish(builder, value));
           })
      .getResult(0);
}

Value TileScope::tile(Expr expr, llvm::ArrayRef<llvm::StringRef> dims,
                      llvm::ArrayRef<int64_t> extents) {
  return mapped(expr, dims, extents, w.builder.getF32Type(), [&](OpBuilder &builder, Value value) {
    return steps::asReal(builder, w.location, value);
  });
}

Value TileScope::integerTile(Expr expr, llvm::ArrayRef<llvm::StringRef> dims,
                             llvm::ArrayRef<int64_t> extents) {
  Type i32 = w.builder.getI32Type();
  return mapped(expr, dims, extents, i32, [&](OpBuilder &builder, Value value) -> Value {
    if (isa<FloatType>(value.getType()))
      return arith::FPToSIOp::create(builder, w.location, i32, value);
    unsigned width = value.getType().getIntOrFloatBitWidth();
    if (width == 1)
      return arith::ExtUIOp::create(builder, w.location, i32, value);
    return width > 32 ? arith::TruncIOp::create(builder, w.location, i32, value).getResult()
                      : value;
  });
}

} // namespace heddle::compiler
