// A chunk as a linear map of whatever state comes in: what log-linear attention needs, whose states
// all take the same step.
//
//   delta   X = (I + beta stril W(k, k))^-1 beta;  N = X (V - (k 2^b) S) is linear in S
#include "compiler/forms/ChunkBody.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler {

using namespace mlir;

static Value difference(KernelWriter &w, Value x, Value y, const Names &dims) {
  return w.elementwise({x, y}, {dims, dims}, dims, [](OpBuilder &b, Location at, ValueRange v) {
    return Value(arith::SubFOp::create(b, at, v[0], v[1]));
  });
}

ChunkMap ChunkBody::mapOf(const Chunk &chunk) {
  Value there = R == C ? chunk.valid : w.mul(chunk.valid, scan.rowsPerToken);
  ChunkMap map;
  map.keys = kernel.mappedKeys(load("k", chunk.t, chunk.valid, kernel.F()), writtenRows, there);
  map.values = load("v", chunk.t, chunk.valid);
  if (update() == pattern::UpdateKind::add)
    return map;
  Value beta = load("beta", chunk.t, chunk.valid);
  Pairs pairs;
  pairs.strict = true, pairs.factor = beta;
  Side side = written(map.keys, chunk.decay.through);
  Value M = weights(side, side, pairs);
  Names ij{"i", "j"};
  Value right = w.elementwise(
      {beta, writtenRows, writtenRows}, {Names{"i"}, Names{"i"}, Names{"j"}}, ij,
      [](OpBuilder &b, Location at, ValueRange v) {
        Value same = arith::CmpIOp::create(b, at, arith::CmpIPredicate::eq, v[1], v[2]);
        return Value(arith::SelectOp::create(b, at, same, v[0], steps::real(b, at, 0)));
      });
  map.inverse = w.solve(M, right);
  map.entering = decayed(map.keys, chunk.decay.through);
  map.effect =
      w.mma(map.entering, {"j", "d"}, map.inverse, {"i", "j"}, zeros({R, kernel.F()}), {"i", "d"});
  return map;
}

std::pair<Value, Value> ChunkBody::readMap(const Chunk &chunk, const ChunkMap &map, Value Q) {
  Value A = weights({Q, chunk.decay.reads, rows}, {map.keys, chunk.decay.through, tokens}, {});
  Value rowsRead = decayed(Q, chunk.decay.reads);
  if (!map.inverse)
    return {A, rowsRead};
  A = w.mma(map.inverse, {"l", "j"}, A, {"i", "l"}, zeros({C, R}), {"i", "j"});
  Value erased = w.mma(map.entering, {"j", "d"}, A, {"i", "j"}, zeros({C, kernel.F()}), {"i", "d"});
  return {A, difference(w, rowsRead, erased, {"i", "d"})};
}

Value ChunkBody::changed(const Chunk &chunk, const ChunkMap &map, Value S, bool own) {
  Value next = decayedState(S, chunk.decay.total);
  Value keys = decayed(map.keys, chunk.decay.after);
  Value values = own ? map.values : Value();
  if (map.inverse && own)
    values = combine(map.inverse, map.values, zeros({R, kernel.V()}));
  else if (map.inverse)
    values = w.elementwise({read(map.effect, S, zeros({R, kernel.V()}))}, {Names{"i", "e"}},
                           {"i", "e"}, [](OpBuilder &b, Location at, ValueRange v) {
                             return Value(arith::NegFOp::create(b, at, v[0]));
                           });
  return values ? w.mma(values, {"j", "e"}, keys, {"j", "d"}, next, {"d", "e"}) : next;
}

} // namespace heddle::compiler
