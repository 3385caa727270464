// Scores a tile of candidates at a time and keeps the best so far of each row; no score is stored:
//
//   for n in [0, candidates): s = score(row, n .. n + N);  best = topk(s, ids, best)
//
// A tile holds at least as many candidates as a list, so that the work is linear in the candidates.
#include "compiler/forms/ChooseKernels.h"

#include "compiler/forms/Elementwise.h"
#include "compiler/forms/Terms.h"
#include "compiler/forms/TileSteps.h"

#include <algorithm>

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;

namespace {

class ChooseWriter {
public:
  ChooseWriter(ProgramWriter &program, const PatternProblem &problem, const ChooseStage &stage)
      : program(program), problem(problem), stage(stage), list(*problem.find(stage.name)),
        count(*list.shape.back().fixed), rows(count > 256 ? 1 : 4) {
    constexpr int64_t kLeast = 64, kMost = 2048;
    columns = std::clamp<int64_t>((count + 15) / 16 * 16, kLeast, kMost);
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
    Value end = w.extent(stage.candidates);
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
  /// The candidates n .. n + columns.
  llvm::SmallVector<Value> merge(KernelWriter &w, TileScope &scope, Value n, ValueRange carried) {
    const std::string &name = stage.vars.back();
    scope.axis(name, {"j", columns, n, stage.candidates});
    MLIRContext *context = problem.context;
    Expr inside = pattern::makeBinary(ExprKind::Lt, pattern::makeVar(context, name),
                                      problem.lengthExpr(stage.candidates));
    Expr score =
        call("select", {inside, stage.score, pattern::makeFloat(context, -steps::kInfinity)});
    llvm::SmallVector<int64_t> extents{rows, columns};
    Value scores = scope.tile(score, {"i", "j"}, extents);
    Value ids = stage.id ? scope.integerTile(stage.id, {"i", "j"}, extents) : w.index(n, columns);
    auto best = tile::TopkOp::create(w.builder, w.location, carried[0].getType(),
                                     carried[1].getType(), scores, ids, carried[0], carried[1]);
    scope.forget(name);
    return {best.getResultScore(), best.getResultId()};
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
};

} // namespace

std::string refuseChoose(const PatternProblem &problem, const ChooseStage &stage) {
  for (Expr expr : {stage.score, stage.id})
    if (expr)
      if (std::string reason = TileScope::refuse(expr, problem); !reason.empty())
        return reason;
  return "";
}

void writeChoose(ProgramWriter &program, const PatternProblem &problem, const ChooseStage &stage) {
  ChooseWriter(program, problem, stage).run();
}

} // namespace heddle::compiler
