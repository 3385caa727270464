// Builds the abstract program of the attention form. One loop over the keys of a tile of rows,
// masked by the support, which the loop carries so that TileLoops can restrict its range:
//
//   for j in [0, Tk): S = Q K'; keep = support(i, j) and j < Tk; s = keep ? score(S) log2e : -inf
//                     m, l, O = online softmax of s with V
//   o = l > 0 ? O / l : 0        lse = l > 0 ? (m + log2 l) ln 2 : -inf
//
// One query row (decode): the rows of a tile are the query heads of a key head, the keys are cut
// into ranges of SPLIT, and a second kernel joins the ranges' (m, l, O) in ascending order.
#include "compiler/forms/Attention.h"

#include "compiler/forms/Elementwise.h"
#include "compiler/forms/Graph.h"
#include "compiler/forms/MapKernels.h"
#include "compiler/forms/Program.h"
#include "compiler/forms/TileSkips.h"
#include "compiler/forms/TileSteps.h"
#include "compiler/forms/Weights.h"
#include "compiler/support/Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

namespace {

Expr withoutPromises(Expr expr) {
  if (expr.is(ExprKind::Call) && expr.getName() == "ascending")
    return expr[0];
  llvm::SmallVector<Attribute> children;
  for (Expr child : expr.children())
    children.push_back(withoutPromises(child));
  return Expr::get(expr.getContext(), expr.getKind(), expr.getSymbol(), expr.getValue(), children);
}

constexpr int64_t kWhole = 1 << 30; ///< keys of the only range where SPLIT = 0
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The rows of a tile: where they stand and what names run along them.
struct RowTile {
  int64_t rows = 0;
  Value first, last; ///< positions of the first and last row that exist
  Value Q;           ///< rows x D
  Value k, v;        ///< views; null where the operand is an expression
  llvm::SmallVector<Value> supportArgs;
  llvm::SmallVector<Value> seenAt; ///< where workspace `seen` holds this tile's row of keys
};

/// What the loop is bounded by: the support. Values promised to ascend do so over the positions of
/// all keys; rows that may stand beyond them read 0 there, so they have no bounds by such values.
Expr boundsOf(const MixProblem &problem) {
  if (problem.bottomRight || problem.Tq == problem.Tk)
    return problem.support;
  return withoutPromises(problem.support);
}

/// (m, l, O) of the exponential form, or (l, O) or (O); f32.
using Accumulators = llvm::SmallVector<Value>;

class AttentionBuilder {
public:
  /// Names of kernels and partial results end in `suffix`.
  AttentionBuilder(const MixProblem &problem, const Schedule &schedule, std::string suffix)
      : problem(problem), weights(weightsOf(problem)), keys(schedule.at("BN")),
        rowsPerTile(schedule.at("BM")),
        split(schedule.at("SPLIT") > 0 ? schedule.at("SPLIT") : kWhole), suffix(suffix) {}

  void run(ProgramWriter &program, bool oneRow) {
    if (oneRow) {
      writeSplit(program);
      writeMerge(program);
    } else {
      writeRows(program);
    }
  }

  // ---- kernels ----

  /// `factor` (may be null): 1, or 0 where another kernel does the work.
  void writeRows(ProgramWriter &program, tile::FormulaAttr factor = {}) {
    auto formula = [&](const Extent &extent) { return program.formula(extent); };
    tile::FormulaAttr tiles = program.ratio(problem.Tq, rowsPerTile);
    if (factor)
      tiles = program.product(tiles, factor);
    bool descending = !problem.support.is(ExprKind::Bool);
    tile::KernelOp kernel =
        program.kernel("attn" + suffix, {tiles, formula(problem.H), formula(problem.B)},
                       {descending, false, false}, "weights of all visible pairs, row by row");
    KernelWriter w(kernel);
    Value h = kernel.getGridIndex(1), b = kernel.getGridIndex(2);
    Value row0 = w.mul(kernel.getGridIndex(0), rowsPerTile);
    TileScope scope(w, problem);
    scope.uniform("b", b, problem.B);
    readLengths(w, scope);
    Value Tq = lengths.q, rows = w.sub(Tq, row0);
    Value off = offset(w), first = w.add(row0, off);
    Value end = w.min(w.add(row0, w.constant(rowsPerTile)), Tq);
    Value place = problem.startQ ? w.add(lengths.startQ, row0) : row0;
    scope.uniform("h", h, problem.H);
    nameHeads(w, scope, h);
    // Positions of bottom-right rows may be negative.
    bool shifted =
        problem.lenQ || problem.lenK || (problem.bottomRight && problem.Tq != problem.Tk);
    Extent positions = shifted ? Extent() : problem.Tq;
    scope.axis("i", {"i", rowsPerTile, first, positions});
    scope.axis("row", {"i", rowsPerTile, row0, problem.Tq});
    RowTile tile;
    tile.rows = rowsPerTile;
    tile.first = first;
    tile.last = w.sub(w.add(end, off), w.constant(1));
    Value hq = headOf(w, h, problem.Hq);
    loadQueries(w, scope, tile, {b, {}, hq, {}}, {place, w.fixed(problem.q.first)}, rows);
    openKeys(w, tile, b, headOf(w, h, problem.Hk), headOf(w, h, problem.v.heads));
    tile.supportArgs = {tile.first, tile.last, b, h};
    tile.seenAt = {b, kernel.getGridIndex(0), h};
    Accumulators start = initial(w, scope, rowsPerTile, /*withSink=*/true);
    if (problem.entry)
      addEntry(w, scope, tile, start, b, h);
    Accumulators sums = loop(w, scope, tile, w.constant(0), lengths.k, start);
    Value o = finish(w, scope, sums, rowsPerTile);
    storeRows(w, problem.o, o, {b, {}, h, {}}, {place, w.fixed(0)}, rows);
    if (!problem.lse.empty())
      storeRows(w, problem.lse, logSum(w, sums, rowsPerTile), {b, {}, h}, {place}, rows);
  }

  /// One query at a time, its heads packed.
  void writeQueries(ProgramWriter &program, tile::FormulaAttr factor) {
    tile::KernelOp kernel = program.kernel(
        "queries" + suffix,
        {program.product(program.formula(problem.Tq), factor), program.formula(problem.Hk),
         program.formula(problem.B)},
        {false, false, false},
        "the same for long sequences: one query at a time, since neighbours share few blocks");
    KernelWriter w(kernel);
    Value row = kernel.getGridIndex(0), hk = kernel.getGridIndex(1), b = kernel.getGridIndex(2);
    Value h0 = w.mul(hk, problem.G);
    TileScope scope(w, problem);
    RowTile tile;
    tile.rows = problem.G;
    scope.uniform("b", b, problem.B);
    readLengths(w, scope);
    tile.first = tile.last = w.add(row, offset(w));
    namePackedRow(w, scope, b, h0, hk, row);
    loadQueries(w, scope, tile, {b, row, {}, {}}, {h0, w.fixed(problem.q.first)}, {});
    openKeys(w, tile, b, hk, hk);
    tile.supportArgs = {tile.first, tile.last, b};
    if (problem.G == 1)
      tile.supportArgs.push_back(h0);
    tile.seenAt = {b, row, hk};
    Accumulators start = initial(w, scope, problem.G, /*withSink=*/true);
    Accumulators sums = loop(w, scope, tile, w.constant(0), lengths.k, start);
    Value o = finish(w, scope, sums, problem.G);
    storeRows(w, problem.o, o, {b, row, {}, {}}, {h0, w.fixed(0)}, {});
    if (!problem.lse.empty())
      storeRows(w, problem.lse, logSum(w, sums, problem.G), {b, row, {}}, {h0}, {});
  }

private:
  void writeSplit(ProgramWriter &program) {
    tile::FormulaAttr ranges = program.ratio(problem.Tk, split);
    declarePartials(program, ranges);
    tile::KernelOp kernel = program.kernel(
        "split" + suffix, {ranges, program.formula(problem.Hk), program.formula(problem.B)},
        {false, false, false},
        "one query row: a range of keys each, so that all threads have work");
    KernelWriter w(kernel);
    Value s = kernel.getGridIndex(0), hk = kernel.getGridIndex(1), b = kernel.getGridIndex(2);
    Value h0 = w.mul(hk, problem.G);
    TileScope scope(w, problem);
    RowTile tile;
    tile.rows = problem.G;
    scope.uniform("b", b, problem.B);
    readLengths(w, scope);
    tile.first = tile.last = offset(w);
    namePackedRow(w, scope, b, h0, hk, w.constant(0));
    loadQueries(w, scope, tile, {b, w.constant(0), {}, {}}, {h0, w.fixed(problem.q.first)}, {});
    openKeys(w, tile, b, hk, hk);
    tile.supportArgs = {tile.first, tile.last, b};
    if (problem.G == 1)
      tile.supportArgs.push_back(h0);
    tile.seenAt = {b, w.constant(0), hk};
    Value lo = w.mul(s, split);
    Value hi = w.min(w.add(lo, w.constant(split)), lengths.k);
    Accumulators start = initial(w, scope, problem.G, /*withSink=*/false);
    Accumulators sums = loop(w, scope, tile, lo, hi, start);
    for (auto [name, value] : llvm::zip(partialNames(), sums)) {
      llvm::SmallVector<OpFoldResult> offsets{OpFoldResult(h0)};
      if (cast<tile::TileType>(value.getType()).getRank() == 2)
        offsets.push_back(w.fixed(0));
      w.store(value, partialView(w, name, b, s), offsets, {});
    }
  }

  void writeMerge(ProgramWriter &program) {
    tile::KernelOp kernel =
        program.kernel("merge" + suffix, {program.formula(problem.Hk), program.formula(problem.B)},
                       {false, false}, "joins the ranges in ascending order");
    KernelWriter w(kernel);
    Value hk = kernel.getGridIndex(0), b = kernel.getGridIndex(1);
    Value h0 = w.mul(hk, problem.G);
    TileScope scope(w, problem);
    scope.uniform("b", b, problem.B);
    readLengths(w, scope);
    namePackedRow(w, scope, b, h0, hk, w.constant(0));
    Accumulators start = initial(w, scope, problem.G, /*withSink=*/true);
    Value Tk = lengths.k;
    Value ranges = w.divide(w.add(Tk, w.constant(split - 1)), split);
    Accumulators sums = mergeLoop(w, b, h0, ranges, start);
    Value o = finish(w, scope, sums, problem.G);
    storeRows(w, problem.o, o, {b, w.constant(0), {}, {}}, {h0, w.fixed(0)}, {});
    if (!problem.lse.empty())
      storeRows(w, problem.lse, logSum(w, sums, problem.G), {b, w.constant(0), {}}, {h0}, {});
  }

  // ---- parts of kernels ----

  /// p(0): position of query row 0.
  Value offset(KernelWriter &w) {
    bool square = problem.Tq == problem.Tk && !problem.lenQ && !problem.lenK;
    if (!problem.bottomRight || square)
      return w.constant(0);
    return w.sub(lengths.k, lengths.q);
  }

  /// A range of rows cut to those that exist.
  void clampRows(KernelWriter &w, Value &start, Value &length, const Extent &rows) {
    Value all = w.extent(rows), zero = w.constant(0);
    auto notBelow = [&](Value x) {
      return w.builder.createOrFold<arith::MaxSIOp>(w.location, x, zero);
    };
    start = notBelow(w.min(start, all));
    length = notBelow(w.min(length, w.sub(all, start)));
  }

  /// Lengths of sequence b and where its rows begin, at the kernel's start.
  void readLengths(KernelWriter &w, TileScope &scope) {
    scope.start = w.builder.saveInsertionPoint();
    auto value = [&](Expr expr, const Extent &extent) {
      return expr ? scope.uniformValue(expr) : w.extent(extent);
    };
    Extent zero{0, "", {}};
    lengths = {value(problem.lenQ, problem.Tq), value(problem.lenK, problem.Tk),
               value(problem.startQ, zero), value(problem.startK, zero)};
    // Never outside the tensors, whatever their contents say.
    if (problem.paging.block)
      lengths.k = w.min(lengths.k, w.extent(problem.Tk));
    if (problem.startQ) {
      clampRows(w, lengths.startQ, lengths.q, problem.Tq);
      clampRows(w, lengths.startK, lengths.k, problem.Tk);
    }
    if (problem.paging.first)
      lengths.startK = w.mul(scope.uniformValue(problem.paging.first), problem.paging.block);
  }

  /// Head floor(h * heads / H) of an operand for head h of the output.
  Value headOf(KernelWriter &w, Value h, const Extent &heads) {
    if (heads == problem.H)
      return h;
    if (heads == problem.Hk && problem.G > 1)
      return w.divide(h, problem.G);
    if (heads.fixed == 1)
      return w.constant(0);
    Value product = w.builder.createOrFold<arith::MulIOp>(w.location, h, w.extent(heads));
    return w.quotient(product, w.extent(problem.H));
  }

  void nameHeads(KernelWriter &w, TileScope &scope, Value h) {
    scope.uniform("hq", headOf(w, h, problem.Hq), problem.Hq);
    scope.uniform("hk", headOf(w, h, problem.Hk), problem.Hk);
    scope.uniform("hv", headOf(w, h, problem.v.heads), problem.v.heads);
  }

  /// One query row: the rows of the tile are the query heads h0 .. of key head hk.
  void namePackedRow(KernelWriter &w, TileScope &scope, Value b, Value h0, Value hk, Value row) {
    scope.fewRows = true;
    scope.uniform("b", b, problem.B);
    scope.uniform("i", w.add(row, offset(w)));
    scope.uniform("row", row, problem.Tq);
    for (const char *name : {"h", "hq"}) {
      if (problem.G == 1)
        scope.uniform(name, h0, problem.H);
      else
        scope.axis(name, {"i", problem.G, h0, problem.H});
    }
    for (const char *name : {"hk", "hv"})
      scope.uniform(name, hk, problem.Hk);
  }

  /// A tile of an operand that is an expression, along `dim` and its features.
  Value expressionTile(KernelWriter &w, TileScope &scope, const Operand &operand,
                       llvm::StringRef dim, int64_t extent) {
    {
      OpBuilder::InsertionGuard guard(w.builder);
      w.builder.restoreInsertionPoint(scope.start);
      scope.axis("d", {"d", operand.width, w.constant(operand.first),
                       Extent{operand.first + operand.width, "", {}}});
    }
    std::swap(scope.lanesDim, featureDim);
    Value tile = scope.tile(operand.value, {dim, "d"}, {extent, operand.width});
    std::swap(scope.lanesDim, featureDim);
    scope.forget("d");
    return tile;
  }

  /// A tile in the element type of products.
  Value inProducts(KernelWriter &w, Value tile, const Names &dims) {
    Type from = cast<tile::TileType>(tile.getType()).getElementType();
    if (from == problem.element)
      return tile;
    if (from.isF32())
      return steps::rounded(w, tile, dims, problem.element);
    return steps::combine(w, {tile}, dims, problem.element,
                          [&](OpBuilder &builder, Location at, ValueRange x) {
                            return arith::ExtFOp::create(builder, at, problem.element, x[0]);
                          });
  }

  void loadQueries(KernelWriter &w, TileScope &scope, RowTile &tile, llvm::ArrayRef<Value> indices,
                   llvm::ArrayRef<OpFoldResult> offsets, ValueRange valid) {
    if (problem.q.value) {
      scope.start = w.builder.saveInsertionPoint();
      std::swap(scope.innerDim, noDim);
      tile.Q = expressionTile(w, scope, problem.q, "i", tile.rows);
      std::swap(scope.innerDim, noDim);
    } else {
      const ProblemTensor &q = *problem.find(problem.q.tensor);
      Value view = w.view(q.name, q.element, q.shape, q.batched ? indices : indices.drop_front());
      tile.Q = w.load(w.tileType({tile.rows, problem.D}, q.element), view, offsets, valid);
    }
    tile.Q = inProducts(w, tile.Q, {"i", "d"});
  }

  Value openOperand(KernelWriter &w, const Operand &operand, Value b, Value head) {
    if (operand.value)
      return {};
    const ProblemTensor &tensor = *problem.find(operand.tensor);
    llvm::SmallVector<Value> indices;
    if (problem.paging.block) {
      const ProblemTensor &table = *problem.find(problem.paging.table);
      llvm::SmallVector<Value> entry{Value()};
      if (table.batched)
        entry.insert(entry.begin(), b);
      Value pages = w.view(table.name, table.element, table.shape, entry);
      indices = {Value(), Value(), head, Value()};
      if (problem.paging.headsFirst)
        std::swap(indices[1], indices[2]);
      return w.pagedView(tensor.name, tensor.element, tensor.shape, indices, pages,
                         problem.paging.block);
    }
    if (tensor.batched)
      indices.push_back(b);
    indices.append({Value(), head, Value()});
    return w.view(tensor.name, tensor.element, tensor.shape, indices);
  }

  void openKeys(KernelWriter &w, RowTile &tile, Value b, Value hk, Value hv) {
    tile.k = openOperand(w, problem.k, b, hk);
    bool same = tile.k && problem.k.tensor == problem.v.tensor && hk == hv;
    tile.v = same ? tile.k : openOperand(w, problem.v, b, hv);
  }

  /// Rows j .. of k or v.
  Value loadKeys(KernelWriter &w, TileScope &scope, const Operand &operand, Value view, Value j,
                 Value valid) {
    if (operand.value)
      return expressionTile(w, scope, operand, "j", keys);
    Type element = problem.find(operand.tensor)->element;
    bool moved = problem.startK || problem.paging.first;
    Value row = moved ? w.add(lengths.startK, j) : j;
    return w.load(w.tileType({keys, operand.width}, element), view, {row, w.fixed(operand.first)},
                  valid);
  }

  /// V where an expression makes it: what lies beyond the last key is 0 in it.
  Value zeroBeyond(KernelWriter &w, Value V, Value j, Value end) {
    Value limit = arith::IndexCastOp::create(w.builder, w.location, w.builder.getI32Type(), end);
    auto inside = w.map({Type(w.tileType({keys}, w.builder.getI1Type()))}, {w.index(j, keys)},
                        {Names{"j"}}, {"j"}, [&](OpBuilder &builder, Location at, ValueRange x) {
                          Value below = arith::CmpIOp::create(
                              builder, at, arith::CmpIPredicate::slt, x[0], limit);
                          tile::YieldOp::create(builder, at, below);
                        });
    inside.setMask(true);
    return w
        .map({V.getType()}, {V, inside.getResult(0)}, {Names{"j", "d"}, Names{"j"}}, {"j", "d"},
             [&](OpBuilder &builder, Location at, ValueRange x) {
               Value kept =
                   arith::SelectOp::create(builder, at, x[1], x[0], steps::real(builder, at, 0));
               tile::YieldOp::create(builder, at, kept);
             })
        .getResult(0);
  }

  /// A tile over the rows of an expression that does not depend on pairs, in f32.
  Value perRow(KernelWriter &w, TileScope &scope, Expr expr, int64_t rows) {
    scope.start = w.builder.saveInsertionPoint();
    return scope.tile(expr, {"i"}, {rows});
  }

  /// m = -inf, l = 0, O = 0; with a learned sink m = sink, l = 1: a key whose value is 0.
  Accumulators initial(KernelWriter &w, TileScope &scope, int64_t rows, bool withSink) {
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
            Value none = steps::real(builder, at, -kInfinity);
            Value empty = arith::CmpFOp::create(builder, at, arith::CmpFPredicate::OEQ, x[0], none);
            return arith::SelectOp::create(builder, at, empty, steps::real(builder, at, 0),
                                           steps::real(builder, at, 1));
          });
      start = {m, l};
    } else {
      if (weights.exponential)
        start.push_back(w.fill(w.f32({rows}), -kInfinity));
      if (weights.sums)
        start.push_back(w.fill(w.f32({rows}), 0));
    }
    start.push_back(w.fill(w.f32({rows, problem.Dv}), 0));
    return start;
  }

  /// The state on entry, read by every row: O = (Q entry) S_0, l = (Q entry) z_0.
  void addEntry(KernelWriter &w, TileScope &scope, const RowTile &tile, Accumulators &start,
                Value b, Value h) {
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
      Value view = w.view(state.name, state.element, state.shape, {b, h, {}, {}});
      Value S = w.load(w.tileType({problem.D, problem.Dv}, state.element), view,
                       {w.fixed(0), w.fixed(0)}, {});
      start.back() = w.mma(q, dims, S, {"d", "e"}, start.back(), {"i", "e"});
    }
    if (!problem.z0.empty() && weights.sums) {
      const ProblemTensor &z = *problem.find(problem.z0);
      Value view = w.view(z.name, z.element, z.shape, {b, h, {}});
      Value Z = w.load(w.tileType({problem.D}, z.element), view, {w.fixed(0)}, {});
      auto terms = w.map({Type(w.f32({tile.rows, problem.D}))}, {q, Z}, {dims, Names{"d"}}, dims,
                         [&](OpBuilder &builder, Location at, ValueRange x) {
                           Value product = arith::MulFOp::create(builder, at, x[0], x[1]);
                           tile::YieldOp::create(builder, at, product);
                         });
      start[0] = w.reduce(tile::Reduction::Sum, terms.getResult(0), 1, start[0]);
    }
  }

  Accumulators loop(KernelWriter &w, TileScope &scope, const RowTile &tile, Value lo, Value hi,
                    const Accumulators &start) {
    scope.start = w.builder.saveInsertionPoint();
    auto loop = tile::ForOp::create(w.builder, w.location, ValueRange{lo, hi}, keys, start);
    loop.setSupportAttr(boundsOf(problem));
    loop.getSupportArgsMutable().assign(tile.supportArgs);
    OpBuilder::InsertionGuard guard(w.builder);
    Block &body = loop.getBody().front();
    if (body.mightHaveTerminator())
      body.getTerminator()->erase();
    // What the body needs from before the loop goes before it.
    w.builder.setInsertionPoint(loop);
    scope.start = w.builder.saveInsertionPoint();
    w.builder.setInsertionPointToEnd(&body);
    Accumulators state(loop.getIterArgs().begin(), loop.getIterArgs().end());
    Accumulators next = problem.seen.empty()
                            ? step(w, scope, tile, loop.getIndex(), hi, state)
                            : stepInBlocks(w, scope, tile, loop.getIndex(), hi, state);
    tile::YieldOp::create(w.builder, w.location, next);
    return Accumulators(loop.getResults().begin(), loop.getResults().end());
  }

  /// The keys j .. j + BN block by block: inside one the lists and masks of the support are the
  /// same for all keys. A block that nobody sees is a loop without a trip.
  Accumulators stepInBlocks(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j,
                            Value end, const Accumulators &state) {
    using Carried = llvm::SmallVector<Value>;
    int64_t block = problem.block;
    Value stop = w.min(w.add(j, w.constant(keys)), end);
    Value first = w.divide(j, block), last = w.divide(w.sub(stop, w.constant(1)), block);
    return w.loop(first, w.add(last, w.constant(1)), 1, state, [&](Value n, ValueRange outer) {
      Value lo = maximum(w, j, w.mul(n, block));
      Value hi = w.min(stop, w.mul(w.add(n, w.constant(1)), block));
      Value seen = isSeen(w, tile, n, {lo, hi});
      Value until = arith::SelectOp::create(w.builder, w.location, seen, hi, lo);
      scope.uniform("n'", n, problem.find(problem.seen)->shape.back());
      Carried next = w.loop(lo, until, keys, outer, [&](Value key, ValueRange inner) {
        return step(w, scope, tile, key, hi, Accumulators(inner.begin(), inner.end()));
      });
      return next;
    });
  }

  static Value maximum(KernelWriter &w, Value x, Value y) {
    return w.builder.createOrFold<arith::MaxSIOp>(w.location, x, y);
  }

  /// Whether a row of the tile sees one of the keys, all of block n: by its lists, or by the zones
  /// that the support has beside them.
  Value isSeen(KernelWriter &w, const RowTile &tile, Value n, KeyRange<ArithAlgebra> range) {
    Value seen = seenBit(w, tile, n);
    auto program = seen.getDefiningOp()->getParentOfType<tile::ProgramOp>();
    bool perHead = tile.supportArgs.size() > SupportArgument::Head;
    Support always = analyseSupport(problem.always, namesOf(program, perHead));
    llvm::StringMap<Value> variables;
    variables["b"] = tile.supportArgs[SupportArgument::Batch];
    if (perHead)
      variables["h"] = tile.supportArgs[SupportArgument::Head];
    ArithAlgebra algebra(w.builder, w.location, program, variables);
    for (KeyRange<ArithAlgebra> part : touchedKeys(algebra, always, tile.first, tile.last, range))
      seen = algebra.either(seen, algebra.negate(algebra.lessEqual(part.end, part.begin)));
    return seen;
  }

  Value seenBit(KernelWriter &w, const RowTile &tile, Value column) {
    const ProblemTensor &table = *problem.find(problem.seen);
    llvm::SmallVector<Value> at(tile.seenAt);
    at.resize(table.shape.size() - 1);
    at.push_back(column);
    Value view = w.view(table.name, table.element, table.shape, at);
    Value byte = tile::ReadOp::create(w.builder, w.location, view, llvm::ArrayRef<OpFoldResult>());
    Value zero = arith::ConstantIntOp::create(w.builder, w.location, 0, 8);
    return arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::ne, byte, zero);
  }

  /// One tile of keys j .. of the keys below `end`.
  Accumulators step(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j, Value end,
                    const Accumulators &state) {
    Value valid = w.sub(end, j);
    scope.axis("j", {"j", keys, j, problem.Tk});
    Type element = problem.element;
    Value K = inProducts(w, loadKeys(w, scope, problem.k, tile.k, j, valid), {"j", "d"});
    Value V = loadKeys(w, scope, problem.v, tile.v, j, valid);
    if (problem.v.value)
      V = zeroBeyond(w, V, j, end);
    V = inProducts(w, V, {"j", "e"});
    Value zero;
    {
      OpBuilder::InsertionGuard guard(w.builder);
      w.builder.restoreInsertionPoint(scope.start);
      zero = w.fill(w.f32({tile.rows, keys}), 0);
    }
    Value S = zero; // not read where an expression stands for the product
    if (!problem.product)
      S = w.mma(tile.Q, {"i", "d"}, K, {"j", "d"}, zero, {"i", "j"});
    Value keep = maskTile(w, scope, tile, j, end);
    Accumulators next = weights.exponential
                            ? softmaxStep(w, scope, tile, S, keep, V, element, state)
                            : plainStep(w, scope, tile, S, keep, V, element, state);
    scope.forget("j");
    return next;
  }

  /// True where the pair counts: support and j < end.
  Value maskTile(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j, Value end) {
    bool inBlock = !problem.seen.empty();
    OpBuilder::InsertPoint outside = scope.start;
    if (inBlock) // what it reads of its block it reads here
      scope.start = w.builder.saveInsertionPoint();
    TileScope::Prepared prepared =
        scope.prepare(inBlock ? problem.supportInBlock : problem.support);
    scope.start = outside;
    unsigned own = prepared.tiles.size();
    prepared.tiles.push_back(w.index(j, keys));
    prepared.dims.push_back({"j"});
    // The end changes when the loop is cut, so it is read inside the loop.
    Value limit = arith::IndexCastOp::create(w.builder, w.location, w.builder.getI32Type(), end);
    Type type = w.tileType({tile.rows, keys}, w.builder.getI1Type());
    auto map = w.map({type}, prepared.tiles, prepared.dims, {"i", "j"},
                     [&](OpBuilder &builder, Location at, ValueRange args) {
                       Value inside = arith::CmpIOp::create(builder, at, arith::CmpIPredicate::slt,
                                                            args[own], limit);
                       Value visible = scope.emit(prepared, builder, args, {});
                       Value both = builder.createOrFold<arith::AndIOp>(at, visible, inside);
                       tile::YieldOp::create(builder, at, both);
                     });
    map.setMask(true);
    return map.getResult(0);
  }

  /// select(keep, finish(expr(S)), masked) as an f32 tile.
  Value scoreTile(KernelWriter &w, TileScope &scope, const RowTile &tile, Value S, Value keep,
                  double factor, double masked) {
    TileScope::Prepared prepared = scope.prepare(weights.expr);
    llvm::SmallVector<Value> inputs{S, keep};
    llvm::SmallVector<Names> dims{{"i", "j"}, {"i", "j"}};
    inputs.append(prepared.tiles);
    dims.append(prepared.dims);
    return w
        .map({Type(w.f32({tile.rows, keys}))}, inputs, dims, {"i", "j"},
             [&](OpBuilder &builder, Location at, ValueRange args) {
               Value x = scope.emit(prepared, builder, args.drop_front(2), args[0]);
               x = steps::asReal(builder, at, x);
               if (factor != 1)
                 x = arith::MulFOp::create(builder, at, x, steps::real(builder, at, factor));
               x = arith::SelectOp::create(builder, at, args[1], x,
                                           steps::real(builder, at, masked));
               tile::YieldOp::create(builder, at, x);
             })
        .getResult(0);
  }

  Accumulators softmaxStep(KernelWriter &w, TileScope &scope, const RowTile &tile, Value S,
                           Value keep, Value V, Type element, const Accumulators &state) {
    Value s = scoreTile(w, scope, tile, S, keep, std::numbers::log2e, -kInfinity);
    Value M = w.reduce(tile::Reduction::Max, s, 1, state[0]);
    Value base = steps::finiteOrZero(w, M);
    Value r = steps::exp2Difference(w, state[0], base);
    // Weights are rounded for the product alone: the sum is of the f32 ones.
    Value P = steps::combine(w, {s, base}, {"i", "j"}, w.builder.getF32Type(),
                             [&](OpBuilder &builder, Location at, ValueRange x) {
                               Value d = arith::SubFOp::create(builder, at, x[0], x[1]);
                               return math::Exp2Op::create(builder, at, d);
                             });
    Value l = w.reduce(tile::Reduction::Sum, P, 1, steps::scaled(w, state[1], r, {"i"}));
    if (!element.isF32())
      P = steps::rounded(w, P, {"i", "j"}, element);
    Value O = steps::scaled(w, state[2], r, {"i", "e"});
    O = w.mma(P, {"i", "j"}, V, {"j", "e"}, O, {"i", "e"});
    return {M, l, O};
  }

  Accumulators plainStep(KernelWriter &w, TileScope &scope, const RowTile &tile, Value S,
                         Value keep, Value V, Type element, const Accumulators &state) {
    Value P = scoreTile(w, scope, tile, S, keep, 1, 0);
    Accumulators next;
    if (weights.sums)
      next.push_back(w.reduce(tile::Reduction::Sum, P, 1, state[0]));
    if (!element.isF32())
      P = steps::rounded(w, P, {"i", "j"}, element);
    next.push_back(w.mma(P, {"i", "j"}, V, {"j", "e"}, state.back(), {"i", "e"}));
    return next;
  }

  // ---- joining ranges ----

  llvm::SmallVector<std::string> partialNames() {
    llvm::SmallVector<std::string> names;
    if (weights.exponential)
      names.push_back("part_m" + suffix);
    if (weights.sums)
      names.push_back("part_l" + suffix);
    names.push_back("part_o" + suffix);
    return names;
  }

  void declarePartials(ProgramWriter &program, tile::FormulaAttr ranges) {
    for (const std::string &name : partialNames()) {
      llvm::SmallVector<tile::FormulaAttr> shape{program.formula(problem.B), ranges,
                                                 program.formula(problem.Hq)};
      if (llvm::StringRef(name).starts_with("part_o"))
        shape.push_back(program.formula(Extent{problem.Dv, "", {}}));
      program.buffer(name, shape);
    }
  }

  /// Rows are query heads.
  Value partialView(KernelWriter &w, llvm::StringRef name, Value b, Value s) {
    Extent any{std::nullopt, "?", {}};
    llvm::SmallVector<Extent> shape{any, any, problem.Hq};
    llvm::SmallVector<Value> indices{b, s, {}};
    if (llvm::StringRef(name).starts_with("part_o")) {
      shape.push_back({problem.Dv, "", {}});
      indices.push_back({});
    }
    return w.view(name, w.builder.getF32Type(), shape, indices);
  }

  Accumulators mergeLoop(KernelWriter &w, Value b, Value h0, Value ranges,
                         const Accumulators &start) {
    int64_t rows = problem.G;
    auto loop =
        tile::ForOp::create(w.builder, w.location, ValueRange{w.constant(0), ranges}, 1, start);
    OpBuilder::InsertionGuard guard(w.builder);
    Block &body = loop.getBody().front();
    if (body.mightHaveTerminator())
      body.getTerminator()->erase();
    w.builder.setInsertionPointToEnd(&body);
    Accumulators part, next, state(loop.getIterArgs().begin(), loop.getIterArgs().end());
    for (const std::string &name : partialNames()) {
      Value view = partialView(w, name, b, loop.getIndex());
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
    tile::YieldOp::create(w.builder, w.location, next);
    return Accumulators(loop.getResults().begin(), loop.getResults().end());
  }

  // ---- results ----

  /// The output rows from the accumulators, f32.
  Value finish(KernelWriter &w, TileScope &scope, const Accumulators &sums, int64_t rows) {
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
  Value normalised(OpBuilder &builder, Location at, pattern::NormKind norm, ValueRange x) {
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
  Value logSum(KernelWriter &w, const Accumulators &sums, int64_t rows) {
    return w
        .map({Type(w.f32({rows}))}, {sums[0], sums[1]}, {Names{"i"}, Names{"i"}}, {"i"},
             [&](OpBuilder &builder, Location at, ValueRange x) {
               Value some = arith::CmpFOp::create(builder, at, arith::CmpFPredicate::OGT, x[1],
                                                  steps::real(builder, at, 0));
               Value log = math::Log2Op::create(builder, at, x[1]);
               Value sum = arith::AddFOp::create(builder, at, x[0], log);
               Value natural = arith::MulFOp::create(builder, at, sum,
                                                     steps::real(builder, at, std::numbers::ln2));
               Value none = steps::real(builder, at, -kInfinity);
               tile::YieldOp::create(
                   builder, at,
                   arith::SelectOp::create(builder, at, some, natural, none).getResult());
             })
        .getResult(0);
  }

  void storeRows(KernelWriter &w, const std::string &name, Value tile,
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

  struct Lengths {
    Value q, k, startQ, startK;
  };

  const MixProblem &problem;
  Weights weights;
  int64_t keys, rowsPerTile, split;
  std::string suffix;
  Lengths lengths;                                   ///< in the kernel at hand
  llvm::StringRef featureDim = "d", noDim = "none$"; ///< what scopes run along beside the keys
};

/// Whether the heads of a key head can be the rows of a tile: their number must be known.
bool canPack(const MixProblem &problem) {
  return problem.G > 0 && problem.Hq == problem.H && problem.v.heads == problem.Hk;
}

bool hasOneRow(const FormRequest &request, const MixProblem &problem) {
  if (!canPack(problem))
    return false;
  if (problem.Tq.fixed)
    return *problem.Tq.fixed == 1;
  auto found = request.request.extents.find(problem.Tq.name);
  // Where both lengths have one name there is one key as well: nothing to split.
  return found != request.request.extents.end() && found->second.bound == ExtentClass::One &&
         problem.Tq != problem.Tk;
}

std::string refuseProblem(const MixProblem &problem) {
  pattern::MixOp mix = problem.mix;
  bool exponential = mix.getWeight() == pattern::WeightKind::exp;
  if (problem.o.empty())
    return "the pattern does not return the output of its mix";
  if (exponential && mix.getNormArg())
    return "an epsilon in the norm of weight exp is not lowered yet";
  if (exponential && mix.getNorm() == pattern::NormKind::max_abs)
    return "norm max_abs with weight exp is not lowered yet";
  for (Expr expr : {problem.support, weightsOf(problem).expr, problem.sink, problem.normArg,
                    problem.q.value, problem.k.value, problem.v.value, problem.entry, problem.gate})
    if (expr)
      if (std::string reason = TileScope::refuse(expr, problem); !reason.empty())
        return reason;
  return "";
}

std::string refuseStage(const Graph &graph, const Stage &stage) {
  if (auto map = std::get_if<MapStage>(&stage))
    return refuseMap(graph, *map);
  if (auto mix = std::get_if<MixProblem>(&stage))
    return refuseProblem(*mix);
  return "";
}

/// Rows of one query, packed, take about this many times longer for a pair than tiles of rows.
constexpr int64_t kPackedPrice = 5;

/// Puts the maps before mixes whose supports read lists and masks of blocks. Where lists are much
/// shorter than the keys, tiles of rows that share few blocks are worse than one query at a time:
/// such mixes get both kernels; the second's problem is returned by the name of its output.
llvm::StringMap<MixProblem> planLists(const FormRequest &request, Graph &graph) {
  llvm::StringMap<MixProblem> packed;
  std::vector<Stage> stages;
  int64_t least = std::min<int64_t>(request.schedule.at("BN"), 16);
  for (Stage &stage : graph.stages) {
    auto mix = std::get_if<MixProblem>(&stage);
    bool oneRow = mix && hasOneRow(request, *mix);
    MixProblem whole = mix ? *mix : MixProblem();
    std::optional<MapStage> map;
    if (mix)
      map = planSkips(graph, *mix, oneRow ? 1 : request.schedule.at("BM"), least, oneRow);
    if (map)
      stages.push_back(*map);
    if (map && !oneRow && mix->listed > 0 && canPack(whole)) {
      if (std::optional<MapStage> byRow = planSkips(graph, whole, 1, least, true)) {
        stages.push_back(*byRow);
        packed[mix->o] = whole;
      }
    }
    stages.push_back(std::move(stage));
  }
  graph.stages = std::move(stages);
  return packed;
}

void writeMix(ProgramWriter &program, const FormRequest &request, const MixProblem &mix,
              const llvm::StringMap<MixProblem> &packed, const std::string &suffix) {
  auto byRow = packed.find(mix.o);
  if (byRow == packed.end()) {
    AttentionBuilder(mix, request.schedule, suffix).run(program, hasOneRow(request, mix));
    return;
  }
  // The length decides at run time: the grid of one of the two is empty.
  int64_t limit = 2 * kPackedPrice * mix.listed;
  tile::FormulaAttr long_ = program.atLeast(mix.Tk, limit);
  AttentionBuilder(mix, request.schedule, suffix).writeRows(program, program.negated(long_));
  AttentionBuilder(byRow->second, request.schedule, suffix).writeQueries(program, long_);
}

const MixProblem *groupedMix(const Graph &graph) {
  for (const Stage &stage : graph.stages)
    if (auto mix = std::get_if<MixProblem>(&stage); mix && mix->G > 1)
      return mix;
  return nullptr;
}

} // namespace

std::string refuseAttention(const FormRequest &request) {
  Result<Graph> graph = readGraph(request);
  if (!graph)
    return graph.error().message;
  for (const Stage &stage : graph->stages)
    if (std::string reason = refuseStage(*graph, stage); !reason.empty())
      return reason;
  return "";
}

OwningOpRef<ModuleOp> buildAttention(const FormRequest &request) {
  Result<Graph> graph = readGraph(request);
  assert(graph && "build follows a refuse that found nothing");
  llvm::StringMap<MixProblem> packed = planLists(request, *graph);
  const MixProblem *grouped = groupedMix(*graph);
  ProgramWriter program(*graph, pattern::DefOp(request.def).getSymName(),
                        grouped ? grouped->Hq.name : "", grouped ? grouped->G : 1);
  size_t mixes = llvm::count_if(
      graph->stages, [](const Stage &stage) { return std::holds_alternative<MixProblem>(stage); });
  for (const Stage &stage : graph->stages) {
    if (auto map = std::get_if<MapStage>(&stage))
      writeMap(program, *graph, *map);
    else if (auto prefix = std::get_if<PrefixStage>(&stage))
      writePrefix(program, *graph, *prefix);
    else if (auto mix = std::get_if<MixProblem>(&stage))
      writeMix(program, request, *mix, packed, mixes > 1 ? "_" + mix->o : "");
  }
  return program.take();
}

} // namespace heddle::compiler
