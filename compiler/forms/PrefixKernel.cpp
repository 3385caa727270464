// Prefix sums of decays along the tokens, or along the paths of a tree, as two numbers each:
//
//   sum_g    for t: (high, low)[t] = (high, low)[t - 1] + g[t]
//   path_g   nodes n, for m: (high, low)[n] += g[m] where m is n or one of its ancestors
//
// A grid point walks the tokens for 16 columns; along paths it does so for 8 nodes at a time, from
// what the tokens before the tree sum to.
#include "compiler/forms/KernelWriter.h"
#include "compiler/forms/MapKernels.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <array>

namespace heddle::compiler {

using namespace mlir;

namespace {

constexpr int64_t kLanes = 16, kNodes = 8;

/// h + l + x as two numbers: s = h + x with its exact error, then the error and l once more.
std::pair<Value, Value> exactSum(OpBuilder &b, Location loc, Value h, Value l, Value x) {
  auto add = [&](Value p, Value q) -> Value { return arith::AddFOp::create(b, loc, p, q); };
  auto sub = [&](Value p, Value q) -> Value { return arith::SubFOp::create(b, loc, p, q); };
  auto exactly = [&](Value p, Value q) {
    Value s = add(p, q), q1 = sub(s, p);
    return std::pair(s, add(sub(p, sub(s, q1)), sub(q, q1)));
  };
  auto [s, error] = exactly(h, steps::asReal(b, loc, x));
  return exactly(s, add(error, l));
}

class SumWriter {
public:
  SumWriter(ProgramWriter &program, const PatternProblem &problem, const PrefixStage &stage)
      : program(program), stage(stage), g(*problem.find(stage.from)),
        high(*problem.find(stage.high)), low(*problem.find(stage.low)),
        bits(stage.ancestors.empty() ? nullptr : problem.find(stage.ancestors)),
        features(g.rank() == 3), last(g.dim(g.rank() - 1)) {}

  void run() {
    if (!bits || bits->dim(0) != g.dim(0))
      writeTokens();
    if (bits)
      writePaths();
  }

private:
  void writeTokens() {
    tile::KernelOp kernel = open("sum_", heads(), "prefix sums: two of them say what lies between");
    KernelWriter w(kernel);
    place(w, kernel, kernel.getGridIndex(1));
    Value zero = w.fill(w.f32({kLanes}), 0), end = w.extent(g.dim(0));
    if (bits)
      end = w.sub(end, w.extent(bits->dim(0)));
    w.loop(w.constant(0), end, 1, {zero, zero}, [&](Value t, ValueRange before) {
      Names j{"j"};
      ValueRange sums =
          w.map(before.getTypes(), {before[0], before[1], load(w, g, t)}, {j, j, j}, j,
                [](OpBuilder &b, Location loc, ValueRange v) {
                  auto [top, rest] = exactSum(b, loc, v[0], v[1], v[2]);
                  tile::YieldOp::create(b, loc, ValueRange{top, rest});
                })
              .getResults();
      for (auto [tensor, sum] : llvm::zip(both(), sums))
        w.store(sum, viewOf(w, *tensor, t), {OpFoldResult(first)}, {columnsLeft(w)});
      return llvm::SmallVector<Value>(sums);
    });
  }

  void writePaths() {
    tile::FormulaAttr tiles = program.ratio(bits->dim(0), kNodes);
    tile::KernelOp kernel =
        open("path_", program.product(tiles, heads()), "sums of decays along the paths of a tree");
    KernelWriter w(kernel);
    Value tile = kernel.getGridIndex(1), count = w.extent(features ? g.dim(1) : Extent{1, "", {}});
    place(w, kernel, w.remainder(tile, count));
    Value node = w.mul(w.quotient(tile, count), kNodes), nodes = w.extent(bits->dim(0));
    Value left = w.sub(nodes, node), end = w.min(w.add(node, w.constant(kNodes)), nodes);
    Value prefix = w.sub(w.extent(g.dim(0)), nodes);
    llvm::SmallVector<Value> start{before(w, high, prefix), before(w, low, prefix)};
    auto sums = w.loop(w.constant(0), end, 1, start, [&](Value m, ValueRange carried) {
      Value column = w.view(bits->name, bits->element, bits->shape, {batch, {}, m});
      Value mine =
          w.load(w.tileType({kNodes}, bits->element), column, {OpFoldResult(node)}, {left});
      Value x = load(w, g, w.add(prefix, m));
      Names all{"i", "j"};
      tile::MapOp next = w.map(
          carried.getTypes(), {carried[0], carried[1], x, mine}, {all, all, Names{"j"}, Names{"i"}},
          all, [](OpBuilder &b, Location loc, ValueRange v) {
            auto [top, rest] = exactSum(b, loc, v[0], v[1], v[2]);
            Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(v[3].getType()));
            Value is = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, v[3], none);
            top = arith::SelectOp::create(b, loc, is, top, v[0]);
            rest = arith::SelectOp::create(b, loc, is, rest, v[1]);
            tile::YieldOp::create(b, loc, ValueRange{top, rest});
          });
      return llvm::SmallVector<Value>(next.getResults());
    });
    for (auto [tensor, sum] : llvm::zip(both(), sums))
      w.store(sum, viewOf(w, *tensor, {}), {OpFoldResult(w.add(prefix, node)), OpFoldResult(first)},
              {left, columnsLeft(w)});
  }

  tile::FormulaAttr heads() { return program.formula(features ? g.dim(1) : Extent{1, "", {}}); }

  tile::KernelOp open(const char *what, tile::FormulaAttr middle, const char *why) {
    tile::FormulaAttr batches = program.formula(high.batched ? high.shape[0] : Extent{1, "", {}});
    return program.kernel(what + stage.from, {program.ratio(last, kLanes), middle, batches},
                          {false, false, false}, why);
  }

  void place(KernelWriter &w, tile::KernelOp kernel, Value h) {
    first = w.mul(kernel.getGridIndex(0), kLanes), head = h, batch = kernel.getGridIndex(2);
  }

  std::array<const ProblemTensor *, 2> both() const { return {&high, &low}; }

  Value columnsLeft(KernelWriter &w) { return w.sub(w.extent(last), first); }

  /// The columns of a token, or (null) of all of them.
  Value viewOf(KernelWriter &w, const ProblemTensor &tensor, Value token) {
    llvm::SmallVector<Value> indices;
    if (tensor.batched)
      indices.push_back(batch);
    indices.push_back(token);
    if (features)
      indices.push_back(head);
    indices.push_back({});
    return w.view(tensor.name, tensor.element, tensor.shape, indices);
  }

  Value load(KernelWriter &w, const ProblemTensor &tensor, Value token) {
    return w.load(w.tileType({kLanes}, tensor.element), viewOf(w, tensor, token),
                  {OpFoldResult(first)}, {columnsLeft(w)});
  }

  /// What the tokens before the tree sum to, for each of its nodes.
  Value before(KernelWriter &w, const ProblemTensor &sums, Value prefix) {
    Value zero = w.fill(w.f32({kNodes, kLanes}), 0);
    if (bits->dim(0) == g.dim(0))
      return zero;
    Value none = w.constant(0), row = w.max(w.sub(prefix, w.constant(1)), none);
    Value valid = w.min(columnsLeft(w), w.mul(prefix, kLanes)); // none where there is no token
    Value all = w.load(w.f32({kLanes}), viewOf(w, sums, row), {OpFoldResult(first)}, {valid});
    return w.elementwise({zero, all}, {Names{"i", "j"}, Names{"j"}}, {"i", "j"},
                         [](OpBuilder &b, Location at, ValueRange x) -> Value {
                           return arith::AddFOp::create(b, at, x[0], x[1]);
                         });
  }

  ProgramWriter &program;
  const PrefixStage &stage;
  const ProblemTensor &g, &high, &low, *bits; ///< bits: null without a tree
  bool features;                              ///< [T, H, K]: lanes along K
  const Extent &last;
  Value first, head, batch;
};

} // namespace

void writePrefix(ProgramWriter &program, const PatternProblem &problem, const PrefixStage &stage) {
  SumWriter(program, problem, stage).run();
}

} // namespace heddle::compiler
