// Scores a tile of candidates at a time and keeps the best so far of each row; no score is stored:
//
//   for n in [0, candidates): s = score(row, n .. n + N);  best = topk(s, ids, best)
//
// A tile holds at least as many candidates as a list, so that the work is linear in the candidates.
// Sums over products of what the row has and what the candidate has are products of tiles:
//
//   sum[a < A] { w[row, a] relu(sum[x < D] { q[row, a, x] k[n, x] }) }
//     ->   K = tile of k;  for a: S = mma(tile of q at a, K);  acc += w relu(S)
#include "compiler/forms/ChooseKernels.h"

#include "compiler/forms/Elementwise.h"
#include "compiler/forms/GraphReader.h"
#include "compiler/forms/Terms.h"
#include "compiler/forms/TileSteps.h"
#include "compiler/support/Bounds.h"
#include "compiler/support/Emit.h"
#include "compiler/support/IntegerExpr.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;

namespace {

/// sum[x < width] { rows(row, x) candidates(candidate, x) }.
struct MatrixProduct {
  Expr rows, candidates;
  int64_t width = 0;
};

/// The sum as a product of two matrices, if it is one.
std::optional<MatrixProduct> matrixProduct(Expr sum, llvm::StringRef row,
                                           llvm::StringRef candidate) {
  constexpr int64_t kWidest = 512;
  if (!sum.is(ExprKind::Sum) || !sum[0].isInteger(0) || !sum[1].is(ExprKind::Integer) ||
      sum[1].integer() > kWidest)
    return std::nullopt;
  MatrixProduct product{{}, {}, sum[1].integer()};
  llvm::SmallVector<Expr> factors{sum[2]};
  while (!factors.empty()) {
    Expr factor = factors.pop_back_val();
    if (factor.is(ExprKind::Mul)) {
      factors.append({factor[0], factor[1]});
      continue;
    }
    bool right = mentions(factor, candidate);
    if ((right && mentions(factor, row)) || reduces(factor))
      return std::nullopt;
    Expr &side = right ? product.candidates : product.rows;
    side = side ? times(side, factor) : factor;
  }
  bool both = product.rows && product.candidates && mentions(product.rows, row) &&
              mentions(product.rows, sum.getName()) && mentions(product.candidates, sum.getName());
  return both ? std::optional(product) : std::nullopt;
}

class ChooseWriter {
public:
  ChooseWriter(ProgramWriter &program, const PatternProblem &problem, const ChooseStage &stage,
               bool byProducts)
      : program(program), problem(problem), stage(stage), list(*problem.find(stage.name)),
        count(*list.shape.back().fixed), rows(count > 256 ? 1 : 4) {
    constexpr int64_t kLeast = 64, kMost = 2048, kMostInProducts = 256, kRowsOfProducts = 16;
    columns = std::clamp<int64_t>((count + 15) / 16 * 16, kLeast, kMost);
    multiplies = byProducts && hasProduct(stage.score);
    if (multiplies) // scores cost more than merging them
      rows = kRowsOfProducts, columns = std::min(columns, kMostInProducts);
    if (stage.candidates.fixed)
      columns = std::min(columns, std::max<int64_t>((*stage.candidates.fixed + 15) / 16 * 16, 16));
  }

  void run() {
    Extent one{1, "", {}};
    size_t dims = list.rank() - 1; // of the rows
    tile::FormulaAttr middle = program.formula(one);
    for (size_t n = 1; n < dims; ++n)
      middle = program.product(middle, program.formula(list.dim(n)));
    tile::KernelOp kernel = program.kernel("choose_" + stage.name,
                                           {program.ratio(list.dim(0), rows), middle,
                                            program.formula(list.batched ? list.shape[0] : one)},
                                           {false, false, false}, stage.why);
    KernelWriter w(kernel);
    TileScope scope(w, problem);
    Value row = w.mul(kernel.getGridIndex(0), rows), rest = kernel.getGridIndex(1);
    llvm::SmallVector<Value> indices;
    if (list.batched) {
      scope.uniform("b", kernel.getGridIndex(2), list.shape[0]);
      indices.push_back(kernel.getGridIndex(2));
    }
    scope.axis(stage.vars[0], {"i", rows, row, list.dim(0)});
    indices.push_back({});
    for (size_t n = 1; n < dims; ++n) {
      Value extent = w.extent(list.dim(n));
      bool last = n + 1 == dims;
      Value index = last ? rest : w.remainder(rest, extent);
      if (!last)
        rest = w.quotient(rest, extent);
      scope.uniform(stage.vars[n], index, list.dim(n));
      indices.push_back(index);
    }
    indices.push_back({});
    Value end = visibleEnd(w, row);
    Type i32 = w.builder.getI32Type();
    Value scores = w.fill(w.f32({rows, count}), -steps::kInfinity);
    Value ids = w.fill(w.tileType({rows, count}, i32), -1);
    // What candidates do not change goes before the loop.
    auto anchor = arith::ConstantIndexOp::create(w.builder, w.location, 0);
    OpBuilder::InsertPoint before(anchor->getBlock(), Block::iterator(anchor));
    auto best = w.loop(w.constant(0), end, columns, {scores, ids},
                       [&](Value n, ValueRange carried) -> llvm::SmallVector<Value> {
                         scope.start = before;
                         return merge(w, scope, n, carried);
                       });
    Value left = w.sub(w.extent(list.dim(0)), row);
    store(w, best[1], list, indices, row, left);
    if (!stage.scores.empty())
      store(w, best[0], *problem.find(stage.scores), indices, row, left);
  }

private:
  /// Where the candidates end that a row of the tile may see, by the condition that masks scores.
  Value visibleEnd(KernelWriter &w, Value row) {
    Value all = w.extent(stage.candidates);
    MLIRContext *context = problem.context;
    const std::string &rowName = stage.vars.front(), &name = stage.vars.back();
    bool masked = stage.score.is(ExprKind::Call) && stage.score.getName() == "select" &&
                  stage.score[2] == pattern::makeFloat(context, -steps::kInfinity);
    if (!masked || llvm::any_of(pattern::freeVars(stage.score[0]), [&](const std::string &var) {
          return var != rowName && var != name;
        }))
      return all;
    Expr visible = rename(stage.score[0], {{rowName, pattern::makeVar(context, "i")},
                                           {name, pattern::makeVar(context, "j")}});
    auto program = row.getParentBlock()->getParentOp()->getParentOfType<tile::ProgramOp>();
    SupportNames names = namesOf(program, false);
    if (!isConditionScalar(visible, pairNamesOf(names)))
      return all;
    ArithAlgebra algebra(w.builder, w.location, program, {});
    Value last = w.sub(w.min(w.add(row, w.constant(rows)), w.extent(list.dim(0))), w.constant(1));
    Support support = analyseSupport(visible, names);
    return touchedHull(algebra, support, row, last, {w.constant(0), all}).end;
  }
  static SupportNames pairNamesOf(SupportNames names) {
    names.invariant = {"i", "j"};
    return names;
  }

  /// The candidates n .. n + columns.
  llvm::SmallVector<Value> merge(KernelWriter &w, TileScope &scope, Value n, ValueRange carried) {
    const std::string &name = stage.vars.back();
    scope.axis(name, {"j", columns, n, stage.candidates});
    MLIRContext *context = problem.context;
    Expr there = pattern::makeBinary(ExprKind::Lt, pattern::makeVar(context, name),
                                     problem.lengthExpr(stage.candidates));
    Expr score =
        call("select", {there, stage.score, pattern::makeFloat(context, -steps::kInfinity)});
    TileScope inside = scope; // products are of this tile alone
    if (multiplies)
      addProducts(w, inside, stage.score, {});
    llvm::SmallVector<int64_t> extents{rows, columns};
    Value scores = inside.tile(score, {"i", "j"}, extents);
    Value ids = stage.id ? inside.integerTile(stage.id, {"i", "j"}, extents) : w.index(n, columns);
    auto best = tile::TopkOp::create(w.builder, w.location, carried[0].getType(),
                                     carried[1].getType(), scores, ids, carried[0], carried[1]);
    scope.forget(name);
    return {best.getResultScore(), best.getResultId()};
  }

  // ---- sums that are products of tiles ----

  std::optional<MatrixProduct> productOf(Expr expr) const {
    return matrixProduct(expr, stage.vars.front(), stage.vars.back());
  }
  bool hasProduct(Expr expr) const {
    bool found = false;
    pattern::walk(expr, [&](Expr e) {
      found |= productOf(e).has_value();
      return !found;
    });
    return found;
  }

  /// Tiles of candidates that are there already, by the sum that reads them.
  using Shared = llvm::ArrayRef<std::pair<Expr, Value>>;

  /// Gives the scope a tile for each of the outermost sums in `expr` that hold products.
  void addProducts(KernelWriter &w, TileScope &scope, Expr expr, Shared shared) {
    bool loops = expr.is(ExprKind::Sum) && expr[0].isInteger(0) &&
                 (expr[1].is(ExprKind::Integer) || expr[1].is(ExprKind::Dim));
    if (productOf(expr)) {
      scope.given(expr, productTile(w, scope, expr, shared), {"i", "j"});
    } else if (loops && hasProduct(expr[2])) {
      scope.given(expr, sumOfProducts(w, scope, expr), {"i", "j"});
    } else if (!pattern::isReduction(expr.getKind())) { // others' variables have no place here
      for (Expr child : expr.children())
        addProducts(w, scope, child, shared);
    }
  }

  /// One side of a product: rows of `dim` and the sum's variable along the lanes.
  Value sideTile(TileScope &scope, Expr side, llvm::StringRef dim, int64_t extent, Expr sum,
                 KernelWriter &w) {
    int64_t width = sum[1].integer();
    Value first;
    {
      OpBuilder::InsertionGuard guard(w.builder); // what it reads may be read before the loop
      w.builder.restoreInsertionPoint(scope.start);
      first = w.constant(0);
    }
    scope.axis(sum.getName(), {"d$", width, first, Extent{width, "", {}}});
    llvm::StringRef lanes = std::exchange(scope.lanesDim, "d$");
    Value tile = scope.tile(side, {dim, "d$"}, {extent, width});
    scope.lanesDim = lanes;
    scope.forget(sum.getName());
    return tile;
  }

  Value productTile(KernelWriter &w, TileScope &scope, Expr sum, Shared shared) {
    MatrixProduct product = *productOf(sum);
    Value Q = sideTile(scope, product.rows, "i", rows, sum, w), K;
    for (auto [known, tile] : shared)
      if (known == sum)
        K = tile;
    if (!K)
      K = sideTile(scope, product.candidates, "j", columns, sum, w);
    return w.mma(Q, {"i", "d"}, K, {"j", "d"}, w.fill(w.f32({rows, columns}), 0), {"i", "j"});
  }

  /// sum[a < A] { .. a product .. }: candidates that do not change with a are read once.
  Value sumOfProducts(KernelWriter &w, TileScope &scope, Expr sum) {
    std::string a = sum.getName().str();
    llvm::SmallVector<std::pair<Expr, Value>> shared;
    pattern::walk(sum[2], [&](Expr e) {
      std::optional<MatrixProduct> product = productOf(e);
      if (product && !mentions(product->candidates, a))
        shared.push_back({e, sideTile(scope, product->candidates, "j", columns, e, w)});
      return !product;
    });
    Value zero = w.fill(w.f32({rows, columns}), 0);
    Names ij{"i", "j"};
    return w.loop(w.constant(0), w.extent(problem.extentOf(sum[1])), 1, {zero},
                  [&](Value index, ValueRange in) {
                    TileScope inner = scope;
                    auto anchor = arith::ConstantIndexOp::create(w.builder, w.location, 0);
                    inner.start = {anchor->getBlock(), Block::iterator(anchor)};
                    inner.innerDim = "none$";
                    inner.uniform(a, index, problem.extentOf(sum[1]));
                    addProducts(w, inner, sum[2], shared);
                    Value term = inner.tile(sum[2], {"i", "j"}, {rows, columns});
                    return llvm::SmallVector<Value>{w.elementwise(
                        {in[0], term}, {ij, ij}, ij, [](OpBuilder &b, Location at, ValueRange v) {
                          return Value(arith::AddFOp::create(b, at, v[0], v[1]));
                        })};
                  })[0];
  }

  void store(KernelWriter &w, Value tile, const ProblemTensor &target,
             llvm::ArrayRef<Value> indices, Value row, Value left) {
    Value view = w.view(target.name, target.element, target.shape, indices);
    w.store(tile, view, {OpFoldResult(row), w.fixed(0)}, {left});
  }

  ProgramWriter &program;
  const PatternProblem &problem;
  const ChooseStage &stage;
  const ProblemTensor &list;
  int64_t count, rows, columns;
  bool multiplies = false; ///< scores have products of tiles
};

} // namespace

std::string refuseChoose(const PatternProblem &problem, const ChooseStage &stage) {
  for (Expr expr : {stage.score, stage.id})
    if (expr)
      if (std::string reason = TileScope::refuse(expr, problem); !reason.empty())
        return reason;
  return "";
}

void writeChoose(ProgramWriter &program, const PatternProblem &problem, const ChooseStage &stage,
                 bool byProducts) {
  ChooseWriter(program, problem, stage, byProducts).run();
}

} // namespace heddle::compiler
