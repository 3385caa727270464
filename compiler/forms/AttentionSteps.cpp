// The loop over the keys of a tile of rows, masked by the support, which the loop carries so that
// TileLoops can restrict its range:
//
//   for j in [0, Tk): S = Q K'; keep = support(i, j) and j < Tk; s = keep ? score(S) log2e : -inf
//                     m, l, O = online softmax of s with V
#include "compiler/forms/AttentionWriter.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <numbers>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

static Expr withoutPromises(Expr expr) {
  if (expr.is(ExprKind::Call) && expr.getName() == "ascending")
    return expr[0];
  return pattern::mapChildren(expr, withoutPromises);
}

/// What the loop is bounded by: the support. Values promised to ascend do so over the positions of
/// all keys; rows that may stand beyond them read 0 there, so they have no bounds by such values.
static Expr boundsOf(const MixProblem &problem) {
  if (problem.bottomRight || problem.Tq == problem.Tk)
    return problem.support;
  return withoutPromises(problem.support);
}

Accumulators AttentionWriter::loop(KernelWriter &w, TileScope &scope, const RowTile &tile, Value lo,
                                   Value hi, const Accumulators &start) {
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

/// The keys of each entry of the row's list. Inside one the support has its usual bounds, so that
/// entries of which all keys count carry no mask.
Accumulators AttentionWriter::loopOverBlocks(KernelWriter &w, TileScope &scope, const RowTile &tile,
                                             const Accumulators &start) {
  int64_t block = problem.list.block;
  Value none = w.constant(0);
  return w.loop(
      none, w.constant(problem.list.count), 1, start,
      [&](Value n, ValueRange state) -> Accumulators {
        Value entry = entryOf(w, tile.list, n);
        Value first = w.mul(entry, block);
        Value end = w.min(w.add(first, w.constant(block)), lengths.k);
        Value free =
            arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::slt, entry, none);
        auto kept = [&](Value x) {
          return arith::SelectOp::create(w.builder, w.location, free, none, x).getResult();
        };
        return loop(w, scope, tile, kept(first), kept(end), Accumulators(state));
      });
}

/// The keys j .. j + BN block by block: inside one the lists and masks of the support are the
/// same for all keys. A block that nobody sees is a loop without a trip.
Accumulators AttentionWriter::stepInBlocks(KernelWriter &w, TileScope &scope, const RowTile &tile,
                                           Value j, Value end, const Accumulators &state) {
  int64_t block = problem.block;
  Value stop = w.min(w.add(j, w.constant(keys)), end);
  Value first = w.divide(j, block), last = w.divide(w.sub(stop, w.constant(1)), block);
  return w.loop(first, w.add(last, w.constant(1)), 1, state, [&](Value n, ValueRange outer) {
    Value lo = w.max(j, w.mul(n, block));
    Value hi = w.min(stop, w.mul(w.add(n, w.constant(1)), block));
    Value seen = isSeen(w, tile, n, {lo, hi});
    Value until = arith::SelectOp::create(w.builder, w.location, seen, hi, lo);
    scope.uniform("n'", n, problem.find(problem.seen)->shape.back());
    return Accumulators(w.loop(lo, until, keys, outer, [&](Value key, ValueRange inner) {
      return step(w, scope, tile, key, hi, Accumulators(inner.begin(), inner.end()));
    }));
  });
}

/// Whether a row of the tile sees one of the keys, all of block n: by its lists, or by the zones
/// that the support has beside them.
Value AttentionWriter::isSeen(KernelWriter &w, const RowTile &tile, Value n,
                              KeyRange<ArithAlgebra> range) {
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

Value AttentionWriter::seenBit(KernelWriter &w, const RowTile &tile, Value column) {
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
Accumulators AttentionWriter::step(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j,
                                   Value end, const Accumulators &state) {
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
    S = w.mma(tile.Q, {"i", "d"}, K, {"j", "d"}, zero, {"i", "j"},
              problem.powers ? std::optional(tile::Precision::TF32x3) : std::nullopt);
  Value keep = maskTile(w, scope, tile, j, end);
  Accumulators next = weights.exponential ? softmaxStep(w, scope, tile, S, keep, V, element, state)
                                          : plainStep(w, scope, tile, S, keep, V, element, state);
  scope.forget("j");
  return next;
}

/// True where the pair counts: support and j < end.
Value AttentionWriter::maskTile(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j,
                                Value end) {
  bool inBlock = !problem.seen.empty();
  OpBuilder::InsertPoint outside = scope.start;
  if (inBlock) // what it reads of its block it reads here
    scope.start = w.builder.saveInsertionPoint();
  TileScope::Prepared prepared = scope.prepare(inBlock ? problem.supportInBlock : problem.support);
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
Value AttentionWriter::scoreTile(KernelWriter &w, TileScope &scope, const RowTile &tile, Value S,
                                 Value keep, double factor, double masked) {
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
             x = arith::SelectOp::create(builder, at, args[1], x, steps::real(builder, at, masked));
             tile::YieldOp::create(builder, at, x);
           })
      .getResult(0);
}

Accumulators AttentionWriter::softmaxStep(KernelWriter &w, TileScope &scope, const RowTile &tile,
                                          Value S, Value keep, Value V, Type element,
                                          const Accumulators &state) {
  Value s = scoreTile(w, scope, tile, S, keep, std::numbers::log2e, -steps::kInfinity);
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

Accumulators AttentionWriter::plainStep(KernelWriter &w, TileScope &scope, const RowTile &tile,
                                        Value S, Value keep, Value V, Type element,
                                        const Accumulators &state) {
  Value P = scoreTile(w, scope, tile, S, keep, 1, 0);
  Accumulators next;
  if (weights.sums)
    next.push_back(w.reduce(tile::Reduction::Sum, P, 1, state[0]));
  if (!element.isF32())
    P = steps::rounded(w, P, {"i", "j"}, element);
  next.push_back(w.mma(P, {"i", "j"}, V, {"j", "e"}, state.back(), {"i", "e"}));
  return next;
}

} // namespace heddle::compiler
