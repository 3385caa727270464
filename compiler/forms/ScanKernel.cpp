// Views, loads and stores of scan kernels. The state head h of H uses head floor(h Hx / H) of
// operand x; where query heads are more, `group` of them read one state.
#include "compiler/forms/ScanKernel.h"

#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <numbers>

namespace heddle::compiler {

using namespace mlir;

static Value truncated(OpBuilder &b, Location at, Type type, Value x) {
  return type.isF32() ? x : Value(arith::TruncFOp::create(b, at, type, x));
}

tile::KernelOp ScanKernel::addKernel(ProgramWriter &program, const ScanProblem &scan,
                                     llvm::StringRef name) {
  tile::KernelOp kernel =
      program.kernel(name, {program.formula(scan.H), program.formula(scan.B)}, {false, false},
                     "walks the tokens of a head with its state");
  kernel->setAttr("tile.state", UnitAttr::get(kernel.getContext())); // its loop carries a state
  return kernel;
}

ScanKernel::ScanKernel(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name)
    : ScanKernel(addKernel(program, scan, name), scan) {}

ScanKernel::ScanKernel(tile::KernelOp kernel, const ScanProblem &scan)
    : w(kernel), scan(scan), scope(w, scan), head(kernel.getGridIndex(0)),
      batch(kernel.getGridIndex(1)) {
  scope.start = w.builder.saveInsertionPoint();
  scope.innerDim = "i"; // rows move with the loop over tokens
  scope.uniform("b", batch, scan.B);
  scope.uniform("h", head);
  length = w.extent(scan.T);
  if (scan.start) {
    auto index = [&](Expr expr) {
      Value value = scope.uniformValue(expr);
      return value.getType().isIndex() ? value
                                       : w.builder.createOrFold<arith::IndexCastOp>(
                                             w.location, w.builder.getIndexType(), value);
    };
    first = index(scan.start), length = index(scan.tokens);
  }
}

// ---- views ----

static Value sharedHead(ScanKernel &k, const Extent &heads, Value member) {
  const ScanProblem &p = k.scan;
  if (p.group > 1 && heads == p.Hq)
    return member ? k.w.add(k.w.mul(k.head, p.group), member) : Value();
  if (heads == p.H)
    return k.head;
  Value sharing =
      k.w.builder.createOrFold<arith::DivUIOp>(k.w.location, k.w.extent(p.H), k.w.extent(heads));
  return k.w.builder.createOrFold<arith::DivUIOp>(k.w.location, k.head, sharing);
}

Value ScanKernel::tokens(const ProblemTensor &tensor, Value t, Value sub, Value member,
                         Value last) {
  llvm::SmallVector<Value> indices;
  if (tensor.batched)
    indices.push_back(batch);
  indices.push_back(t ? at(t) : t);
  if (sub)
    indices.push_back(sub);
  indices.push_back(sharedHead(*this, tensor.shape[indices.size()], member));
  indices.resize(tensor.shape.size());
  if (last)
    indices.back() = last;
  return w.view(tensor.name, tensor.element, tensor.shape, indices);
}

Value ScanKernel::heads(const ProblemTensor &tensor, Value member) {
  llvm::SmallVector<Value> indices;
  bool packed =
      scan.start &&
      (tensor.name == scan.inputs.lookup("in_state") || tensor.name == scan.inputs.lookup("in_z") ||
       tensor.name == scan.results.lookup("state") || tensor.name == scan.results.lookup("z"));
  if (tensor.batched || packed)
    indices.push_back(batch);
  indices.push_back(sharedHead(*this, tensor.shape[indices.size()], member));
  indices.resize(tensor.shape.size());
  return w.view(tensor.name, tensor.element, tensor.shape, indices);
}

bool ScanKernel::hasBonusByMember() const {
  const ProblemTensor *u = scan.input("bonus");
  return u && scan.group > 1 && u->dim(0) == scan.Hq;
}

// ---- loads ----

Value ScanKernel::loadBonus(Value member) {
  const ProblemTensor &u = *scan.input("bonus");
  return loadAll(u, heads(u, member), {F()});
}

Value ScanKernel::asF32(Value tile) {
  auto type = cast<tile::TileType>(tile.getType());
  if (type.getElementType().isF32())
    return tile;
  Names dims = type.getRank() == 2 ? Names{"i", "d"} : type.getRank() == 1 ? Names{"d"} : Names{};
  return w.elementwise({tile}, {dims}, dims, [](OpBuilder &b, Location at, ValueRange x) {
    return Value(arith::ExtFOp::create(b, at, b.getF32Type(), x[0]));
  });
}

Value ScanKernel::loadRows(const ProblemTensor &tensor, Value view, Value t, int64_t rows,
                           Value valid, int64_t columns) {
  llvm::SmallVector<int64_t> shape{rows};
  llvm::SmallVector<OpFoldResult> offsets{OpFoldResult(at(t))};
  llvm::SmallVector<Value> there{valid};
  if (cast<tile::ViewType>(view.getType()).getRank() == 2) {
    int64_t width = *tensor.shape.back().fixed;
    shape.push_back(columns ? columns : width);
    offsets.push_back(w.fixed(0));
    if (shape.back() != width)
      there.push_back(w.constant(width));
  }
  return asF32(w.load(w.tileType(shape, tensor.element), view, offsets, there));
}

Value ScanKernel::loadAll(const ProblemTensor &tensor, Value view, llvm::ArrayRef<int64_t> shape) {
  llvm::SmallVector<OpFoldResult> offsets(shape.size(), w.fixed(0));
  llvm::SmallVector<Value> there;
  auto given = cast<tile::ViewType>(view.getType()).getShape();
  if (given != shape)
    for (int64_t extent : given)
      there.push_back(w.constant(extent));
  return asF32(w.load(w.tileType(shape, tensor.element), view, offsets, there));
}

void ScanKernel::computeNumbersBefore(Value loopIndex) {
  Operation *loop = loopIndex.getParentBlock()->getParentOp();
  scope.start = {loop->getBlock(), loop->getIterator()};
}

// ---- features ----

Value ScanKernel::number(Expr expr) {
  Value value = scope.uniformValue(expr);
  OpBuilder::InsertionGuard guard(w.builder);
  w.builder.restoreInsertionPoint(scope.start);
  return value.getType().isIndex() ? w.asReal(value) : value;
}

Value ScanKernel::scaled(Value x, const Names &dims, Value t) {
  int64_t rows = dims[0] == "i" ? cast<tile::TileType>(x.getType()).getDim(0) : 0;
  auto names = pattern::freeVars(scan.scale);
  bool moves = llvm::is_contained(names, "i") || llvm::is_contained(names, "row");
  if (moves && rows) {
    for (const char *name : {"i", "row"})
      scope.axis(name, {"i", rows, t, scan.Tq});
    Value factors = scope.tile(scan.scale, {"i"}, {rows});
    return w.elementwise({x, factors}, {dims, Names{"i"}}, dims,
                         [](OpBuilder &b, Location at, ValueRange v) {
                           return Value(arith::MulFOp::create(b, at, v[0], v[1]));
                         });
  }
  auto before = scope.start;
  if (moves) {
    for (const char *name : {"i", "row"})
      scope.uniform(name, t, scan.Tq);
    scope.start = w.builder.saveInsertionPoint();
  }
  Value factor = number(scan.scale);
  scope.start = before;
  return w.elementwise({x}, {dims}, dims, [&](OpBuilder &b, Location at, ValueRange v) {
    return Value(arith::MulFOp::create(b, at, v[0], factor));
  });
}

void ScanKernel::readAs(Value member) {
  if (scan.group == 1)
    return;
  scope.start = w.builder.saveInsertionPoint();
  scope.uniform("h", member ? w.add(w.mul(head, scan.group), member) : head);
}

Value ScanKernel::mappedQueries(Value raw, Value t) {
  Names dims = cast<tile::TileType>(raw.getType()).getRank() == 2 ? Names{"i", "d"} : Names{"d"};
  return scaled(mapFeatures(w, scope, scan, scan.featuresQ, scan.Dq, raw), dims, t);
}

Value ScanKernel::mappedKeys(Value raw, Value index, Value valid) {
  Names dims = cast<tile::TileType>(raw.getType()).getRank() == 2 ? Names{"i", "d"} : Names{"d"};
  Value x = mapFeatures(w, scope, scan, scan.featuresK, scan.D, raw);
  if (!index || keepsZero(scan.featuresK))
    return x;
  Value count = arith::IndexCastOp::create(w.builder, w.location, w.builder.getI32Type(), valid);
  return w.elementwise(
      {x, index}, {dims, Names{"i"}}, dims, [&](OpBuilder &b, Location at, ValueRange v) {
        Value there = arith::CmpIOp::create(b, at, arith::CmpIPredicate::slt, v[1], count);
        return Value(arith::SelectOp::create(b, at, there, v[0], steps::real(b, at, 0)));
      });
}

Value ScanKernel::constantDecay() {
  if (!scan.constantDecay)
    return {};
  Value natural = number(scan.constantDecay);
  OpBuilder::InsertionGuard guard(w.builder);
  w.builder.restoreInsertionPoint(scope.start);
  return arith::MulFOp::create(w.builder, w.location, natural, w.real(std::numbers::log2e));
}

// ---- state ----

Value ScanKernel::bankView(llvm::StringRef name, Value slot) {
  const ProblemTensor &tensor = *scan.find(name);
  llvm::SmallVector<Value> indices{batch, slot, head};
  indices.resize(tensor.shape.size());
  return w.view(tensor.name, tensor.element, tensor.shape, indices);
}

ScanState ScanKernel::loadState(llvm::StringRef S, llvm::StringRef z, Value slot) {
  ScanState state;
  state.S = loadAll(*scan.find(S), bankView(S, slot), {F(), V()});
  if (scan.sums)
    state.z = loadAll(*scan.find(z), bankView(z, slot), {F()});
  return state;
}

void ScanKernel::storeState(const ScanState &state, llvm::StringRef S, llvm::StringRef z,
                            Value slot, Value valid) {
  OpFoldResult zero = w.fixed(0);
  llvm::SmallVector<Value> rows, sums;
  if (valid)
    rows = {valid, w.constant(V())}, sums = {valid};
  w.store(state.S, bankView(S, slot), {zero, zero}, rows);
  if (scan.sums)
    w.store(state.z, bankView(z, slot), {zero}, sums);
}

Value ScanKernel::column(const ProblemTensor &tensor, Value n, Value t, int64_t rows, Value valid,
                         Value member) {
  Value columns = w.extent(tensor.shape.back());
  Value there = arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::slt, n, columns);
  // Columns that are not there weigh 0.
  Value last = w.max(w.sub(columns, w.constant(1)), w.constant(0));
  Value view = tokens(tensor, {}, {}, member, w.min(n, last));
  Value count = arith::SelectOp::create(w.builder, w.location, there, valid, w.constant(0));
  return loadRows(tensor, view, t, rows, count);
}

Value ScanKernel::tokensBefore(int64_t most) {
  const ProblemTensor *given = scan.input("in_position");
  if (!given)
    return w.constant(0);
  Value view = w.view(given->name, given->element, given->shape, {batch});
  Value read = tile::ReadOp::create(w.builder, w.location, view, llvm::ArrayRef<OpFoldResult>());
  Value position =
      arith::IndexCastOp::create(w.builder, w.location, w.builder.getIndexType(), read);
  return w.min(w.max(position, w.constant(0)), w.constant(most));
}

ScanState ScanKernel::enter() {
  ScanState state;
  const ProblemTensor *S0 = scan.input("in_state"), *z0 = scan.input("in_z");
  state.S = S0 ? loadAll(*S0, heads(*S0), {F(), V()}) : w.fill(w.f32({F(), V()}), 0);
  if (scan.sums)
    state.z = z0 ? loadAll(*z0, heads(*z0), {F()}) : w.fill(w.f32({F()}), 0);
  return state;
}

void ScanKernel::leave(const ScanState &state) {
  auto store = [&](const ProblemTensor *tensor, Value tile) {
    if (!tensor)
      return;
    auto type = cast<tile::TileType>(tile.getType());
    Names dims = type.getRank() == 2 ? Names{"d", "e"} : Names{"d"};
    if (!tensor->element.isF32())
      tile = w.elementwise(
          {tile}, {dims}, dims,
          [&](OpBuilder &b, Location at, ValueRange x) {
            return truncated(b, at, tensor->element, x[0]);
          },
          tensor->element);
    llvm::SmallVector<OpFoldResult> offsets(type.getRank(), w.fixed(0));
    w.store(tile, heads(*tensor), offsets, {});
  };
  store(scan.result("state"), state.S);
  if (state.z)
    store(scan.result("z"), state.z);
}

// ---- norm ----

Value ScanKernel::normArgument(Value t, int64_t rows) {
  if (!scan.normArg)
    return {};
  for (const char *name : {"i", "row"})
    scope.axis(name, {"i", rows, t, scan.Tq});
  return scope.tile(scan.normArg, {"i"}, {rows});
}

Value ScanKernel::normalised(Value O, Value l, Value argument) {
  pattern::NormKind norm = scan.op().getNorm();
  if (norm == pattern::NormKind::None)
    return O;
  auto type = cast<tile::TileType>(O.getType());
  Names dims = type.getRank() == 2 ? Names{"i", "e"} : Names{"e"};
  Names outer(dims.begin(), dims.end() - 1);
  llvm::SmallVector<Value> inputs{O, l};
  llvm::SmallVector<Names> inputDims{dims, outer};
  bool perRow = argument && isa<tile::TileType>(argument.getType());
  if (perRow) {
    inputs.push_back(argument);
    inputDims.push_back(outer);
  }
  return w.elementwise(inputs, inputDims, dims, [&](OpBuilder &b, Location at, ValueRange x) {
    return steps::divided(b, at, norm, x[0], x[1], perRow ? x[2] : argument);
  });
}

} // namespace heddle::compiler
