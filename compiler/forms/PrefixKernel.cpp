// Prefix sums of decays along the tokens, or along the paths of a tree, as two numbers each:
//
//   for t: (high, low)[t] = (high, low)[t - 1 or t's parent] + g[t]
//
// A grid point walks the tokens for 16 columns. Along a sequence the sums are carried; in a tree
// they are read back, since the row above may be any of those before.
#include "compiler/forms/KernelWriter.h"
#include "compiler/forms/MapKernels.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler {

using namespace mlir;

namespace {

/// h + l + x as two numbers: s = h + x with its exact error, then the error and l once more.
ValueRange exactSum(KernelWriter &w, Value h, Value l, Value x, int64_t lanes) {
  Names dims{"i", "j"};
  Type sum = w.f32({1, lanes});
  return w
      .map({sum, sum}, {h, l, x}, {dims, dims, dims}, dims,
           [&](OpBuilder &b, Location loc, ValueRange v) {
             auto add = [&](Value p, Value q) -> Value {
               return arith::AddFOp::create(b, loc, p, q);
             };
             auto sub = [&](Value p, Value q) -> Value {
               return arith::SubFOp::create(b, loc, p, q);
             };
             auto exactly = [&](Value p, Value q) {
               Value s = add(p, q), q1 = sub(s, p);
               return std::pair(s, add(sub(p, sub(s, q1)), sub(q, q1)));
             };
             auto [s, error] = exactly(v[0], steps::asReal(b, loc, v[2]));
             auto [top, rest] = exactly(s, add(error, v[1]));
             tile::YieldOp::create(b, loc, ValueRange{top, rest});
           })
      .getResults();
}

/// The token whose sums token t goes on from; below 0: none.
Value tokenBefore(KernelWriter &w, const PatternProblem &problem, const PrefixStage &stage, Value t,
                  Value tokens, Value batch) {
  const ProblemTensor &parents = *problem.find(stage.parent);
  Value zero = w.constant(0), one = w.constant(1);
  auto less = [&](Value x, Value y) -> Value {
    return arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::slt, x, y);
  };
  auto choose = [&](Value c, Value x, Value y) -> Value {
    return arith::SelectOp::create(w.builder, w.location, c, x, y);
  };
  Value prefix = w.sub(tokens, w.extent(parents.dim(0))), node = w.sub(t, prefix);
  Value view = w.view(parents.name, parents.element, parents.shape, {batch, {}});
  Value parent = tile::ReadOp::create(w.builder, w.location, view,
                                      llvm::ArrayRef<OpFoldResult>{w.max(node, zero)});
  parent = arith::IndexCastOp::create(w.builder, w.location, w.builder.getIndexType(), parent);
  Value inTree = arith::AndIOp::create(w.builder, w.location, less(w.sub(zero, one), parent),
                                       less(parent, node));
  Value above = w.add(prefix, choose(inTree, parent, w.sub(zero, one)));
  return choose(less(node, zero), w.sub(t, one), above);
}

} // namespace

void writePrefix(ProgramWriter &program, const PatternProblem &problem, const PrefixStage &stage) {
  constexpr int64_t kLanes = 16;
  const ProblemTensor &g = *problem.find(stage.from);
  const ProblemTensor &high = *problem.find(stage.high), &low = *problem.find(stage.low);
  Extent one{1, "", {}};
  bool features = g.rank() == 3; // [T, H, K]: lanes along K
  bool tree = !stage.parent.empty();
  const Extent &last = g.dim(g.rank() - 1);
  tile::FormulaAttr columns = program.ratio(last, kLanes);
  if (tree)
    columns = program.product(columns, program.atLeast(problem.find(stage.parent)->dim(0), 1));
  tile::KernelOp kernel = program.kernel("sum_" + stage.from,
                                         {columns, program.formula(features ? g.dim(1) : one),
                                          program.formula(g.batched ? g.shape[0] : one)},
                                         {false, false, false},
                                         tree ? "sums of decays along the paths of a tree"
                                              : "prefix sums of decays: every pair reads two");
  KernelWriter w(kernel);
  Value first = w.mul(kernel.getGridIndex(0), kLanes), batch = kernel.getGridIndex(2);
  llvm::SmallVector<Value> indices;
  if (g.batched)
    indices.push_back(batch);
  indices.push_back({});
  if (features)
    indices.push_back(kernel.getGridIndex(1));
  indices.push_back({});
  Value from = w.view(g.name, g.element, g.shape, indices);
  Value toHigh = w.view(high.name, high.element, high.shape, indices);
  Value toLow = w.view(low.name, low.element, low.shape, indices);
  Value zero = w.fill(w.f32({1, kLanes}), 0), left = w.sub(w.extent(last), first);
  Value tokens = w.extent(g.dim(0));
  llvm::SmallVector<Value> start;
  if (!tree)
    start = {zero, zero};
  w.loop(w.constant(0), tokens, 1, start, [&](Value t, ValueRange in) {
    llvm::SmallVector<Value> before(in);
    if (tree) { // sums of another row: they are read back
      Value row = tokenBefore(w, problem, stage, t, tokens, batch), none = w.constant(0);
      OpFoldResult at = w.max(row, none);
      Value there = w.min(w.max(w.add(row, w.constant(1)), none), w.constant(1));
      for (Value sums : {toHigh, toLow})
        before.push_back(
            w.load(w.f32({1, kLanes}), sums, {at, OpFoldResult(first)}, {there, left}));
    }
    llvm::SmallVector<Value> valid{w.constant(1), left};
    llvm::SmallVector<OpFoldResult> at{OpFoldResult(t), OpFoldResult(first)};
    Value x = w.load(w.tileType({1, kLanes}, g.element), from, at, valid);
    ValueRange sums = exactSum(w, before[0], before[1], x, kLanes);
    w.store(sums[0], toHigh, at, valid);
    w.store(sums[1], toLow, at, valid);
    return tree ? llvm::SmallVector<Value>() : llvm::SmallVector<Value>(sums);
  });
}

} // namespace heddle::compiler
