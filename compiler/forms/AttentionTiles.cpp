// What a tile of rows or of keys reads: lengths and where sequences begin, heads, queries, keys and
// values, in the element type of products.
#include "compiler/forms/AttentionWriter.h"
#include "compiler/forms/TileSteps.h"
#include "compiler/support/Names.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler {

using namespace mlir;

/// p(0): position of query row 0.
Value AttentionWriter::offset(KernelWriter &w) {
  bool square = problem.Tq == problem.Tk && !problem.lenQ && !problem.lenK;
  if (!problem.bottomRight || square)
    return w.constant(0);
  return named(w.sub(lengths.seen, lengths.q), "offset");
}

/// A range of rows cut to those that exist.
void AttentionWriter::clampRows(KernelWriter &w, Value &start, Value &length, const Extent &rows) {
  Value all = w.extent(rows), zero = w.constant(0);
  start = w.max(w.min(start, all), zero);
  length = w.max(w.min(length, w.sub(all, start)), zero);
}

/// Lengths of sequence b and where its rows begin, at the kernel's start.
void AttentionWriter::readLengths(KernelWriter &w, TileScope &scope) {
  scope.start = w.builder.saveInsertionPoint();
  auto value = [&](Expr expr, const Extent &extent) {
    return expr ? scope.uniformValue(expr) : w.extent(extent);
  };
  Extent zero{0, "", {}};
  lengths = {value(problem.lenQ, problem.Tq), value(problem.lenK, problem.Tk),
             value(problem.startQ, zero), value(problem.startK, zero)};
  lengths.seen = problem.seenK ? scope.uniformValue(problem.seenK) : Value();
  // Never outside the tensors, whatever their contents say.
  if (problem.paging.block)
    lengths.k = w.min(lengths.k, w.extent(problem.Tk));
  if (problem.startQ) {
    clampRows(w, lengths.startQ, lengths.q, problem.Tq);
    clampRows(w, lengths.startK, lengths.k, problem.Tk);
  }
  if (!problem.seenK)
    lengths.seen = lengths.k;
  if (problem.paging.first)
    lengths.startK = w.mul(scope.uniformValue(problem.paging.first), problem.paging.block);
}

/// Head floor(h * heads / H) of an operand for head h of the output.
Value AttentionWriter::headOf(KernelWriter &w, Value h, const Extent &heads) {
  if (heads == problem.H)
    return h;
  if (heads == problem.Hk && problem.G > 1)
    return named(w.divide(h, problem.G), "key_head");
  if (heads.fixed == 1)
    return w.constant(0);
  Value product = w.builder.createOrFold<arith::MulIOp>(w.location, h, w.extent(heads));
  return named(w.quotient(product, w.extent(problem.H)), "key_head");
}

void AttentionWriter::nameHeads(KernelWriter &w, TileScope &scope, Value h) {
  scope.uniform("hq", headOf(w, h, problem.Hq), problem.Hq);
  scope.uniform("hk", headOf(w, h, problem.Hk), problem.Hk);
  scope.uniform("hv", headOf(w, h, problem.v.heads), problem.v.heads);
  scope.sameAs(problem.keyHead, "hk");
}

/// A tile of an operand that is an expression, along `dim` and its features.
Value AttentionWriter::expressionTile(KernelWriter &w, TileScope &scope, const Operand &operand,
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
Value AttentionWriter::inProducts(KernelWriter &w, Value tile, const Names &dims) {
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

void AttentionWriter::loadQueries(KernelWriter &w, TileScope &scope, RowTile &tile,
                                  llvm::ArrayRef<Value> indices,
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

/// The row's list of keys.
Value AttentionWriter::listRow(KernelWriter &w, const PackedRow &at) {
  const ProblemTensor &list = *problem.find(problem.list.tensor);
  llvm::SmallVector<Value> indices{at.b};
  for (Expr index : problem.list.at) {
    llvm::StringRef name = index.getName();
    indices.push_back(name == "row"  ? at.row
                      : name == "h"  ? at.h0
                      : name == "hq" ? at.hq
                      : name == "hk" ? at.hk
                                     : at.hv);
  }
  indices.push_back({});
  return w.view(list.name, list.element, list.shape, indices);
}

/// Entry n of a list, as an index; below 0 for a free place.
Value AttentionWriter::entryOf(KernelWriter &w, Value list, Value n) {
  Value entry = tile::ReadOp::create(w.builder, w.location, list, llvm::ArrayRef<OpFoldResult>{n});
  return arith::IndexCastOp::create(w.builder, w.location, w.builder.getIndexType(), entry);
}

/// How many places of a list are taken; they come first.
Value AttentionWriter::countEntries(KernelWriter &w, Value list) {
  Value zero = w.constant(0), one = w.constant(1);
  return w.loop(zero, w.constant(problem.list.count), 1, zero,
                [&](Value n, ValueRange count) -> llvm::SmallVector<Value> {
                  Value taken = arith::CmpIOp::create(
                      w.builder, w.location, arith::CmpIPredicate::sge, entryOf(w, list, n), zero);
                  Value more = arith::SelectOp::create(w.builder, w.location, taken, one, zero);
                  return {w.add(count[0], more)};
                })[0];
}

Value AttentionWriter::openOperand(KernelWriter &w, const Operand &operand, const RowTile &tile,
                                   Value b, Value head) {
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
  if (!problem.list.tensor.empty() && problem.list.block == 1)
    return w.listView(tensor.name, tensor.element, tensor.shape, indices, tile.list, 1);
  return w.view(tensor.name, tensor.element, tensor.shape, indices);
}

void AttentionWriter::openKeys(KernelWriter &w, RowTile &tile, Value b, Value hk, Value hv) {
  tile.k = openOperand(w, problem.k, tile, b, hk);
  bool same = tile.k && problem.k.tensor == problem.v.tensor && hk == hv;
  tile.v = same ? tile.k : openOperand(w, problem.v, tile, b, hv);
}

/// Rows j .. of k or v.
Value AttentionWriter::loadKeys(KernelWriter &w, TileScope &scope, const Operand &operand,
                                Value view, Value j, Value valid) {
  if (operand.value)
    return expressionTile(w, scope, operand, "j", keys);
  Type element = problem.find(operand.tensor)->element;
  bool moved = problem.startK || problem.paging.first;
  Value row = moved ? w.add(lengths.startK, j) : j;
  return w.load(w.tileType({keys, operand.width}, element), view, {row, w.fixed(operand.first)},
                valid);
}

/// V where an expression makes it: what lies beyond the last key is 0 in it.
Value AttentionWriter::zeroBeyond(KernelWriter &w, Value V, Value j, Value end) {
  Value limit = arith::IndexCastOp::create(w.builder, w.location, w.builder.getI32Type(), end);
  auto inside = w.map({Type(w.tileType({keys}, w.builder.getI1Type()))}, {w.index(j, keys)},
                      {Names{"j"}}, {"j"}, [&](OpBuilder &builder, Location at, ValueRange x) {
                        Value below = arith::CmpIOp::create(builder, at, arith::CmpIPredicate::slt,
                                                            x[0], limit);
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
Value AttentionWriter::perRow(KernelWriter &w, TileScope &scope, Expr expr, int64_t rows) {
  scope.start = w.builder.saveInsertionPoint();
  return scope.tile(expr, {"i"}, {rows});
}

} // namespace heddle::compiler
