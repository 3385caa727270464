// Scans whose rows see all keys.
//
//   two-way   o_t = sum_s e^{-|b_t - b_s|} (q_t . k_s) v_s: chunks from the last to the first leave
//             what rows read of the tokens behind their chunk; then chunks forwards, with the pairs
//             inside a chunk in both directions, and that added
//   static    S = sum over all keys; o_i = S^T q_i, no order and no decay
#include "compiler/forms/ChunkBody.h"
#include "compiler/forms/ScanWalks.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler {

using namespace mlir;

namespace {

class TwoWay {
public:
  TwoWay(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name, int64_t chunk)
      : body(scan, program, name, chunk), scan(scan), w(body.w) {}

  void run() {
    backwards();
    body.kernel.leave(body.loop(w.constant(0), body.length, body.kernel.enter(),
                                [&](Value t, const ScanState &state) {
                                  Chunk chunk = body.chunkAt(t, w.sub(body.length, t), state.S);
                                  body.readAll(chunk, [&](const Reader &reader, Value Q) {
                                    ReadRows rows = body.readBothWays(chunk, state, Q);
                                    return withAhead(chunk, reader, rows);
                                  });
                                  return body.advance(chunk, state);
                                }));
  }

private:
  Value view(const std::string &name, const Reader &reader) {
    return body.kernel.tokens(*scan.find(name), {}, {}, reader.member);
  }

  /// R = sum over the tokens behind the chunk, decayed to its last token.
  void backwards() {
    ScanState start{body.zeros({body.kernel.F(), body.kernel.V()}), {}};
    if (scan.sums)
      start.z = body.zeros({body.kernel.F()});
    Value last = w.mul(w.divide(w.add(body.length, w.constant(body.C - 1)), body.C), body.C);
    body.loop(w.constant(0), body.length, start, [&](Value done, const ScanState &state) {
      Value t = w.sub(w.sub(last, w.constant(body.C)), done);
      Chunk chunk = body.chunkAt(t, w.sub(body.length, t), state.S);
      body.readAllInto(chunk, [&](const Reader &reader, Value Q) {
        ReadRows rows = body.nothing();
        Value Qd = body.decayed(Q, chunk.decay.after);
        w.store(body.read(Qd, state.S, rows.O), view(scan.ahead, reader), {t, w.fixed(0)},
                chunk.valid);
        if (rows.l)
          w.store(body.rowSums(body.times(Qd, state.z), rows.l), view(scan.aheadSums, reader), {t},
                  chunk.valid);
      });
      chunk.decay.after = chunk.decay.through; // to the token before the chunk
      return body.advance(chunk, state);
    });
  }

  ReadRows withAhead(const Chunk &chunk, const Reader &reader, ReadRows rows) {
    auto add = [&](Value x, const std::string &name, const Names &dims) {
      Value ahead =
          body.kernel.loadRows(*scan.find(name), view(name, reader), chunk.t, body.C, chunk.valid);
      return w.elementwise({x, ahead}, {dims, dims}, dims,
                           [](OpBuilder &b, Location at, ValueRange v) {
                             return Value(arith::AddFOp::create(b, at, v[0], v[1]));
                           });
    };
    rows.O = add(rows.O, scan.ahead, {"i", "e"});
    if (rows.l)
      rows.l = add(rows.l, scan.aheadSums, {"i"});
    return rows;
  }

  ChunkBody body;
  const ScanProblem &scan;
  KernelWriter &w;
};

} // namespace

void writeTwoWay(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                 int64_t chunk) {
  TwoWay(program, scan, name, chunk).run();
}

void writeStatic(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                 int64_t chunk) {
  ChunkBody body(scan, program, name, chunk);
  KernelWriter &w = body.w;
  ScanState whole = body.loop(
      w.constant(0), body.length, body.kernel.enter(), [&](Value t, const ScanState &state) {
        return body.advance(body.chunkAt(t, w.sub(body.length, t), state.S), state);
      });
  Value queries = w.extent(scan.Tq);
  w.loop(w.constant(0), queries, body.C, {}, [&](Value t, ValueRange) {
    body.kernel.computeNumbersBefore(t);
    Chunk chunk{t, w.sub(queries, t), {}, {}};
    body.readAll(chunk, [&](const Reader &, Value Q) { return body.readState(chunk, whole, Q); });
    return llvm::SmallVector<Value>();
  });
  body.kernel.leave(whole);
}

} // namespace heddle::compiler
