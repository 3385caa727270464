// Online sums of attention: what they start from (a learned sink, a state on entry), how the sums
// of two ranges of keys join, and the rows that are stored:
//
//   o = l > 0 ? O / l : 0        lse = l > 0 ? (m + log2 l) ln 2 : -inf
#include "compiler/forms/AttentionWriter.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <numbers>

namespace heddle::compiler {

using namespace mlir;

/// m = -inf, l = 0, O = 0; with a learned sink m = sink, l = 1: a key whose value is 0.
Accumulators AttentionWriter::initial(KernelWriter &w, TileScope &scope, int64_t rows,
                                      bool withSink) {
  Accumulators start;
  if (weights.exponential && withSink && problem.sink) {
    Value sink = perRow(w, scope, problem.sink, rows);
    Value m = steps::combine(w, {sink}, {"i"}, w.builder.getF32Type(),
                             [&](OpBuilder &builder, Location at, ValueRange x) {
                               Value log2e = steps::real(builder, at, std::numbers::log2e);
                               return arith::MulFOp::create(builder, at, x[0], log2e);
                             });
    Value l = steps::combine(
        w, {sink}, {"i"}, w.builder.getF32Type(),
        [&](OpBuilder &builder, Location at, ValueRange x) {
          Value none = steps::real(builder, at, -steps::kInfinity);
          Value empty = arith::CmpFOp::create(builder, at, arith::CmpFPredicate::OEQ, x[0], none);
          return arith::SelectOp::create(builder, at, empty, steps::real(builder, at, 0),
                                         steps::real(builder, at, 1));
        });
    start = {m, l};
  } else {
    if (weights.exponential)
      start.push_back(w.fill(w.f32({rows}), -steps::kInfinity));
    if (weights.sums)
      start.push_back(w.fill(w.f32({rows}), 0));
  }
  start.push_back(w.fill(w.f32({rows, problem.Dv}), 0));
  return start;
}

/// The state on entry, read by every row: O = (Q entry) S_0, l = (Q entry) z_0.
void AttentionWriter::addEntry(KernelWriter &w, TileScope &scope, const RowTile &tile,
                               Accumulators &start, Value b, Value h) {
  scope.start = w.builder.saveInsertionPoint();
  scope.axis("d", {"d", problem.D, w.constant(0), Extent{problem.D, "", {}}});
  std::swap(scope.lanesDim, featureDim);
  Value factor = scope.tile(problem.entry, {"i", "d"}, {tile.rows, problem.D});
  std::swap(scope.lanesDim, featureDim);
  scope.forget("d");
  Names dims{"i", "d"};
  Value q = steps::combine(w, {tile.Q, factor}, dims, w.builder.getF32Type(),
                           [&](OpBuilder &builder, Location at, ValueRange x) {
                             return arith::MulFOp::create(builder, at,
                                                          steps::asReal(builder, at, x[0]), x[1]);
                           });
  if (!problem.state0.empty()) {
    const ProblemTensor &state = *problem.find(problem.state0);
    Value view =
        w.view(state.name, state.element, state.shape, {b, headOf(w, h, state.dim(0)), {}, {}});
    Value S = w.load(w.tileType({problem.D, problem.Dv}, state.element), view,
                     {w.fixed(0), w.fixed(0)}, {});
    start.back() = w.mma(q, dims, S, {"d", "e"}, start.back(), {"i", "e"});
  }
  if (!problem.z0.empty() && weights.sums) {
    const ProblemTensor &z = *problem.find(problem.z0);
    Value view = w.view(z.name, z.element, z.shape, {b, headOf(w, h, z.dim(0)), {}});
    Value Z = w.load(w.tileType({problem.D}, z.element), view, {w.fixed(0)}, {});
    auto terms = w.map({Type(w.f32({tile.rows, problem.D}))}, {q, Z}, {dims, Names{"d"}}, dims,
                       [&](OpBuilder &builder, Location at, ValueRange x) {
                         Value product = arith::MulFOp::create(builder, at, x[0], x[1]);
                         tile::YieldOp::create(builder, at, product);
                       });
    start[0] = w.reduce(tile::Reduction::Sum, terms.getResult(0), 1, start[0]);
  }
}

llvm::SmallVector<std::string> AttentionWriter::partialNames() {
  llvm::SmallVector<std::string> names;
  if (weights.exponential)
    names.push_back("part_m" + suffix);
  if (weights.sums)
    names.push_back("part_l" + suffix);
  names.push_back("part_o" + suffix);
  return names;
}

void AttentionWriter::declarePartials(ProgramWriter &program, tile::FormulaAttr ranges) {
  for (const std::string &name : partialNames()) {
    llvm::SmallVector<tile::FormulaAttr> shape{program.formula(problem.B), ranges,
                                               program.formula(problem.H)};
    if (llvm::StringRef(name).starts_with("part_o"))
      shape.push_back(program.formula(Extent{problem.Dv, "", {}}));
    program.buffer(name, shape);
  }
}

/// Rows are query heads.
Value AttentionWriter::partialView(KernelWriter &w, llvm::StringRef name, Value b, Value s) {
  Extent any{std::nullopt, "?", {}};
  llvm::SmallVector<Extent> shape{any, any, problem.H};
  llvm::SmallVector<Value> indices{b, s, {}};
  if (llvm::StringRef(name).starts_with("part_o")) {
    shape.push_back({problem.Dv, "", {}});
    indices.push_back({});
  }
  return w.view(name, w.builder.getF32Type(), shape, indices);
}

Accumulators AttentionWriter::mergeLoop(KernelWriter &w, Value b, Value h0, Value ranges,
                                        const Accumulators &start) {
  int64_t rows = packed;
  auto join = [&](Value s, ValueRange state) -> Accumulators {
    Accumulators part, next;
    for (const std::string &name : partialNames()) {
      Value view = partialView(w, name, b, s);
      bool matrix = llvm::StringRef(name).starts_with("part_o");
      tile::TileType type = matrix ? w.f32({rows, problem.Dv}) : w.f32({rows});
      llvm::SmallVector<OpFoldResult> offsets{OpFoldResult(h0)};
      if (matrix)
        offsets.push_back(w.fixed(0));
      part.push_back(w.load(type, view, offsets, {}));
    }
    if (weights.exponential) {
      Value M = steps::maximum(w, state[0], part[0]);
      Value base = steps::finiteOrZero(w, M);
      Value mine = steps::exp2Difference(w, state[0], base);
      Value theirs = steps::exp2Difference(w, part[0], base);
      next = {M, steps::weighted(w, state[1], mine, part[1], theirs, {"i"}),
              steps::weighted(w, state[2], mine, part[2], theirs, {"i", "e"})};
    } else {
      for (auto [n, value] : llvm::enumerate(state))
        next.push_back(steps::sum(w, value, part[n]));
    }
    return next;
  };
  return w.loop(w.constant(0), ranges, 1, start, join);
}

/// The output rows from the accumulators, f32.
Value AttentionWriter::finish(KernelWriter &w, TileScope &scope, const Accumulators &sums,
                              int64_t rows) {
  pattern::MixOp mix = problem.mix;
  Value O = sums.back();
  llvm::SmallVector<Value> inputs{O};
  llvm::SmallVector<Names> dims{{"i", "e"}};
  pattern::NormKind norm = mix.getNorm();
  if (norm != pattern::NormKind::None) {
    inputs.push_back(sums[weights.exponential ? 1 : 0]);
    dims.push_back({"i"});
  } else if (weights.exponential) {
    inputs.push_back(sums[0]);
    dims.push_back({"i"});
  }
  if (norm == pattern::NormKind::None && !weights.exponential)
    return O;
  if (problem.normArg) {
    inputs.push_back(perRow(w, scope, problem.normArg, rows));
    dims.push_back({"i"});
  }
  return w
      .map({Type(O.getType())}, inputs, dims, {"i", "e"},
           [&](OpBuilder &builder, Location at, ValueRange x) {
             tile::YieldOp::create(builder, at, normalised(builder, at, norm, x));
           })
      .getResult(0);
}

/// One element: x = (O, l, argument), or (O, m) for exp without a norm.
Value AttentionWriter::normalised(OpBuilder &builder, Location at, pattern::NormKind norm,
                                  ValueRange x) {
  Value zero = steps::real(builder, at, 0);
  if (norm == pattern::NormKind::None)
    return arith::MulFOp::create(builder, at, x[0], math::Exp2Op::create(builder, at, x[1]));
  Value l = x[1];
  if (norm == pattern::NormKind::max_abs) {
    l = math::AbsFOp::create(builder, at, l);
    l = arith::MaximumFOp::create(builder, at, l, x[2]);
  } else if (x.size() > 2) {
    l = arith::AddFOp::create(builder, at, l, x[2]);
  }
  Value some = arith::CmpFOp::create(builder, at, arith::CmpFPredicate::UNE, l, zero);
  Value ratio = arith::DivFOp::create(builder, at, x[0], l);
  return arith::SelectOp::create(builder, at, some, ratio, zero);
}

/// Natural log of the sum of weights; -inf for an empty row.
Value AttentionWriter::logSum(KernelWriter &w, const Accumulators &sums, int64_t rows) {
  return w
      .map({Type(w.f32({rows}))}, {sums[0], sums[1]}, {Names{"i"}, Names{"i"}}, {"i"},
           [&](OpBuilder &builder, Location at, ValueRange x) {
             Value some = arith::CmpFOp::create(builder, at, arith::CmpFPredicate::OGT, x[1],
                                                steps::real(builder, at, 0));
             Value log = math::Log2Op::create(builder, at, x[1]);
             Value sum = arith::AddFOp::create(builder, at, x[0], log);
             Value natural = arith::MulFOp::create(builder, at, sum,
                                                   steps::real(builder, at, std::numbers::ln2));
             Value none = steps::real(builder, at, -steps::kInfinity);
             tile::YieldOp::create(
                 builder, at,
                 arith::SelectOp::create(builder, at, some, natural, none).getResult());
           })
      .getResult(0);
}

void AttentionWriter::storeRows(KernelWriter &w, const std::string &name, Value tile,
                                llvm::ArrayRef<Value> indices, llvm::ArrayRef<OpFoldResult> offsets,
                                ValueRange valid) {
  const ProblemTensor &tensor = *problem.find(name);
  bool matrix = mlir::cast<tile::TileType>(tile.getType()).getRank() == 2;
  if (!tensor.element.isF32())
    tile = steps::rounded(w, tile, matrix ? Names{"i", "e"} : Names{"i"}, tensor.element);
  if (!tensor.batched)
    indices = indices.drop_front();
  w.store(tile, w.view(name, tensor.element, tensor.shape, indices), offsets, valid);
}

} // namespace heddle::compiler
