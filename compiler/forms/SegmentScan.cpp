// A scan whose states at the ends of segments go to a bank. Rows of segment n read
//
//   O = gate_n (what the running state and the chunk's pairs give) + sum_{m < n} gate_m q^T bank_m
//
// A frozen bank is read with q as it is; a running one decays on with every chunk. Segments are of
// constant length, or the set bits of the length from the highest on. Segments are numbered from
// the first run on: a run that goes on begins inside one, with the states before it in the bank.
#include "compiler/forms/ChunkBody.h"
#include "compiler/forms/ScanWalks.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace heddle::compiler {

using namespace mlir;

namespace {

class SegmentWalk {
public:
  SegmentWalk(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name, int64_t chunk)
      : body(scan, program, name, chunk), scan(scan), segments(scan.segments), w(body.w) {}

  void run() {
    position = body.kernel.tokensBefore(int64_t(1) << 30);
    first = w.constant(0);
    if (scan.input("in_position"))
      first = w.divide(w.max(w.sub(position, w.constant(1)), w.constant(0)), size());
    slots = w.extent(scan.find(segments.bank)->dim(0));
    Value tokens = w.add(position, body.length);
    Value count =
        segments.length ? w.divide(w.add(tokens, w.constant(size() - 1)), size()) : bits();
    ScanState start = body.kernel.enter();
    ScanState end = carry(first, count, start, [&](Value n, const ScanState &state) {
      return segment(n, begun(n, state));
    });
    body.kernel.leave(end);
  }

private:
  struct Range {
    Value begin, end;
  };

  template <typename Op> Value make(Value x, Value y) {
    return w.builder.createOrFold<Op>(w.location, x, y);
  }
  int64_t size() const { return segments.length.integer(); }

  /// Bits of the length.
  Value bits() {
    Type i64 = w.builder.getI64Type();
    Value wide = arith::IndexCastOp::create(w.builder, w.location, i64, body.length);
    Value zeros = math::CountLeadingZerosOp::create(w.builder, w.location, wide);
    return w.sub(w.constant(64), arith::IndexCastOp::create(w.builder, w.location,
                                                            w.builder.getIndexType(), zeros));
  }

  Range rangeOf(Value n) {
    if (segments.length) {
      Value begin = w.sub(w.mul(n, size()), position);
      Value end = w.min(w.add(begin, w.constant(size())), body.length);
      return {scan.input("in_position") ? w.max(begin, w.constant(0)) : begin, end};
    }
    Value one = w.constant(1), place = w.sub(w.sub(bits(), one), n);
    Value power = make<arith::ShLIOp>(one, place);
    Value above = w.add(place, one);
    Value begin = make<arith::ShLIOp>(make<arith::ShRUIOp>(body.length, above), above);
    return {begin, w.add(begin, make<arith::AndIOp>(body.length, power))};
  }

  ScanState carry(Value lo, Value hi, const ScanState &start,
                  llvm::function_ref<ScanState(Value, const ScanState &)> next) {
    llvm::SmallVector<Value> carried{start.S};
    if (start.z)
      carried.push_back(start.z);
    auto state = [](ValueRange v) { return ScanState{v[0], v.size() > 1 ? v[1] : Value()}; };
    return state(w.loop(lo, hi, 1, carried, [&](Value n, ValueRange in) {
      ScanState out = next(n, state(in));
      llvm::SmallVector<Value> values{out.S};
      if (out.z)
        values.push_back(out.z);
      return values;
    }));
  }

  /// The state that the segment before left goes to the bank; the segment begins anew or goes on.
  ScanState begun(Value n, const ScanState &state) {
    Value zero = w.constant(0), before = w.sub(n, w.constant(1));
    Value slot = make<arith::MaxSIOp>(before, zero);
    Value isFirst =
        arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::eq, n, first);
    Value rows =
        arith::SelectOp::create(w.builder, w.location, isFirst, zero, w.constant(body.kernel.F()));
    if (segments.carried) { // what the caller has no room for
      Value fits =
          arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::slt, slot, slots);
      rows = arith::SelectOp::create(w.builder, w.location, fits, rows, zero);
    }
    body.kernel.storeState(state, segments.bank, segments.sums, slot, rows);
    if (!segments.reset)
      return state;
    Value keep = isFirst;
    if (!segments.length) { // a bit that is not set has no tokens
      Range last = rangeOf(slot);
      keep = arith::OrIOp::create(w.builder, w.location, isFirst,
                                  arith::CmpIOp::create(w.builder, w.location,
                                                        arith::CmpIPredicate::sge, last.begin,
                                                        last.end));
    }
    auto kept = [&](Value x, const Names &dims) {
      return w.elementwise({x}, {dims}, dims, [&](OpBuilder &b, Location at, ValueRange v) {
        return Value(arith::SelectOp::create(b, at, keep, v[0], steps::real(b, at, 0)));
      });
    };
    return {kept(state.S, {"d", "e"}), state.z ? kept(state.z, {"d"}) : Value()};
  }

  ScanState segment(Value n, const ScanState &start) {
    Range range = rangeOf(n);
    return body.loop(range.begin, range.end, start, [&](Value t, const ScanState &state) {
      Chunk chunk = body.chunkAt(t, w.sub(range.end, t), state.S);
      body.readAll(chunk, [&](const Reader &reader, Value Q) {
        ReadRows rows = gated(body.readState(chunk, state, Q), chunk, reader, n);
        return withBank(rows, chunk, reader, Q, n);
      });
      if (segments.running)
        decayBank(chunk, n);
      return body.advance(chunk, state);
    });
  }

  /// Segments before n that have a slot.
  Value kept(Value n) { return segments.carried ? w.min(n, slots) : n; }

  /// Gates of segment m for the chunk's rows; null where all are 1.
  Value gate(const Chunk &chunk, const Reader &reader, Value m) {
    return segments.gates.empty() ? Value()
                                  : body.kernel.column(*scan.find(segments.gates), m, chunk.t,
                                                       body.C, chunk.valid, reader.member);
  }

  ReadRows gated(ReadRows rows, const Chunk &chunk, const Reader &reader, Value n) {
    Value own = gate(chunk, reader, n);
    rows.O = body.multiplied(rows.O, {"i", "e"}, own, {"i"});
    if (rows.l)
      rows.l = body.multiplied(rows.l, {"i"}, own, {"i"});
    return rows;
  }

  ReadRows withBank(const ReadRows &rows, const Chunk &chunk, const Reader &reader, Value Q,
                    Value n) {
    llvm::SmallVector<Value> carried{rows.O};
    if (rows.l)
      carried.push_back(rows.l);
    Value read = segments.running ? body.decayed(Q, chunk.decay.reads) : Q;
    carried = w.loop(w.constant(0), kept(n), 1, carried, [&](Value m, ValueRange in) {
      ScanState old = body.kernel.loadState(segments.bank, segments.sums, m);
      Value weighed = body.multiplied(read, {"i", "d"}, gate(chunk, reader, m), {"i"});
      llvm::SmallVector<Value> out{body.read(weighed, old.S, in[0])};
      if (in.size() > 1)
        out.push_back(body.rowSums(body.times(weighed, old.z), in[1]));
      return out;
    });
    return {carried[0], rows.l ? carried[1] : Value()};
  }

  void decayBank(const Chunk &chunk, Value n) {
    if (!chunk.decay.total.factor)
      return;
    w.loop(w.constant(0), kept(n), 1, {}, [&](Value m, ValueRange) {
      ScanState old = body.kernel.loadState(segments.bank, segments.sums, m);
      old.S = body.decayedState(old.S, chunk.decay.total);
      if (old.z)
        old.z = body.decayedState(old.z, chunk.decay.total);
      body.kernel.storeState(old, segments.bank, segments.sums, m);
      return llvm::SmallVector<Value>();
    });
  }

  ChunkBody body;
  const ScanProblem &scan;
  const SegmentStates &segments;
  KernelWriter &w;
  Value position, first; ///< tokens of earlier runs; the segment that this one begins in
  Value slots;           ///< of the bank
};

} // namespace

void writeSegments(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                   int64_t chunk) {
  int64_t most = scan.segments.length ? scan.segments.length.integer() : chunk;
  SegmentWalk(program, scan, name, std::min(chunk, most)).run();
}

} // namespace heddle::compiler
