// Log-linear attention: a state for every power-of-two bucket of the past. With chunks of C = 2^c
// tokens, levels up to c are pairs inside the chunk, weighed by the level of their places; bit b of
// a chunk's number says that a state of level c + 1 + b lies in slot b of the bank. All updates are
// linear in the state, so that a chunk reads and changes any state S by
//
//   O += (lambda Qe) S          add    Qe = Q 2^b,  A = tril W(Q, K),   Z = 0
//   S' = 2^b_last S - Kz Z S    delta  X = (I + M)^-1 beta, A = tril W(Q, K) X, Z = X (K 2^b),
//                                      Qe = Q 2^b - A (K 2^b),          Kz = (K 2^(b_last - b))^T
//
// and adds (lambda A) V to the rows. After the chunk its own state and those of the lowest set bits
// merge as a binary counter carries.
//
// A run that goes on at token p walks one by one up to a multiple of C, in chunks, and the rest (at
// least the last token) one by one, since what it leaves has the last token by itself: a kernel
// each. All count slots alike: slot s has bit s of the number of tokens before.
#include "compiler/forms/ChunkBody.h"
#include "compiler/forms/ScanWalks.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <bit>

namespace heddle::compiler {

using namespace mlir;

namespace {

/// Which tokens a kernel walks, where chunks of `chunk` tokens begin at multiples of it.
enum class Part { All, Before, Chunks, Rest };

class LevelWalk {
public:
  LevelWalk(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name, int64_t tokens,
            int64_t chunk, Part part)
      : body(scan, program, name, tokens), scan(scan), w(body.w),
        inside(std::countr_zero(uint64_t(tokens))), chunk(chunk), part(part) {}

  void run() {
    readPosition();
    w.loop(first, last, body.C, {}, [&](Value t, ValueRange) {
      body.kernel.computeNumbersBefore(t);
      step(t);
      return llvm::SmallVector<Value>();
    });
  }

private:
  template <typename Op> Value make(Value x, Value y) {
    return w.builder.createOrFold<Op>(w.location, x, y);
  }
  Value isSet(Value number, Value bit) {
    return make<arith::AndIOp>(make<arith::ShRUIOp>(number, bit), w.constant(1));
  }
  Value bitLength(Value x) {
    Value wide = arith::IndexCastOp::create(w.builder, w.location, w.builder.getI64Type(), x);
    Value zeros = math::CountLeadingZerosOp::create(w.builder, w.location, wide);
    return w.sub(w.constant(64), arith::IndexCastOp::create(w.builder, w.location,
                                                            w.builder.getIndexType(), zeros));
  }
  /// Tokens before this run, and the tokens of it that are walked here.
  void readPosition() {
    first = w.constant(0), last = body.length;
    position = body.kernel.tokensBefore(int64_t(1) << 30);
    if (part == Part::All)
      return;
    Value one = w.constant(1), zero = w.constant(0), butOne = w.sub(body.length, one);
    Value whole = w.mul(w.divide(w.add(position, w.constant(chunk - 1)), chunk), chunk);
    Value aligned = w.sub(whole, position); // the first multiple of the chunk, as a token
    Value begin = w.max(w.min(aligned, butOne), zero);
    Value rest = w.max(w.sub(butOne, aligned), zero);
    Value end = w.add(begin, w.mul(w.divide(rest, chunk), chunk));
    if (part == Part::Before)
      last = begin;
    if (part == Part::Chunks)
      first = begin, last = end;
    if (part == Part::Rest)
      first = end;
  }

  /// The slot of bit `bit` of a chunk's number.
  Value slotOf(Value bit) {
    return scan.segments.carried ? w.min(w.add(bit, w.constant(inside)), lastSlot()) : bit;
  }
  Value lastSlot() { return w.sub(w.extent(scan.find(scan.segments.bank)->dim(0)), w.constant(1)); }

  /// What the run leaves, as of its last token: level 0, or that of a bit.
  void leave(Value t, Value S, Value level) {
    const ProblemTensor *bank = scan.result("bank");
    if (!bank)
      return;
    Value isLast = arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::eq, t,
                                         w.sub(body.length, w.constant(1)));
    Value rows = arith::SelectOp::create(w.builder, w.location, isLast, w.constant(body.kernel.F()),
                                         w.constant(0));
    body.kernel.storeState({S, {}}, bank->name, "", w.min(level, lastSlot()), rows);
  }

  Value lowest(Value x) { // the lowest set bit, as a number
    return make<arith::AndIOp>(x, w.sub(w.constant(0), x));
  }

  /// For each set bit of `number`, the lowest first, with what is carried.
  llvm::SmallVector<Value>
  forBits(Value number, llvm::ArrayRef<Value> start,
          llvm::function_ref<llvm::SmallVector<Value>(Value bit, ValueRange)> one) {
    Value zero = w.constant(0);
    Value count = w.loop(zero, bitLength(number), 1, {zero}, [&](Value bit, ValueRange in) {
      return llvm::SmallVector<Value>{w.add(in[0], isSet(number, bit))};
    })[0];
    llvm::SmallVector<Value> carried(start);
    carried.push_back(number);
    carried = w.loop(zero, count, 1, carried, [&](Value, ValueRange in) {
      Value rest = in.back(), low = lowest(rest);
      llvm::SmallVector<Value> out = one(w.sub(bitLength(low), w.constant(1)), in.drop_back());
      out.push_back(w.sub(rest, low));
      return out;
    });
    carried.pop_back();
    return carried;
  }

  /// lambda of the level of two tokens of the chunk, [C, R].
  Value insideGates(const Chunk &chunk, const Reader &reader) {
    const ProblemTensor &gates = *scan.find(scan.segments.gates);
    Value view = body.kernel.tokens(gates, {}, {}, reader.member);
    Type i32 = w.builder.getI32Type();
    Value first = w.builder.createOrFold<arith::IndexCastOp>(w.location, i32, chunk.t);
    return w.elementwise({body.rows, body.tokens}, {Names{"i"}, Names{"j"}}, {"i", "j"},
                         [&](OpBuilder &b, Location at, ValueRange v) {
                           Value apart = arith::XOrIOp::create(b, at, v[0], v[1]);
                           Value bits = arith::ConstantOp::create(b, at, b.getI32IntegerAttr(32));
                           Value level = arith::SubIOp::create(
                               b, at, bits, math::CountLeadingZerosOp::create(b, at, apart));
                           Value token = arith::AddIOp::create(b, at, first, v[0]);
                           Type stored = cast<tile::ViewType>(view.getType()).getElementType();
                           auto index = [&](Value n) -> Value {
                             return arith::IndexCastOp::create(b, at, b.getIndexType(), n);
                           };
                           Value x = tile::GatherOp::create(b, at, stored, view,
                                                            ValueRange{index(token), index(level)});
                           return steps::asReal(b, at, x);
                         });
  }

  void step(Value t) {
    Value number = w.divide(w.add(position, t), body.C);
    Value empty = body.zeros({body.kernel.F(), body.kernel.V()});
    Chunk chunk{t, w.sub(last, t), {}, {}};
    chunk.decay = body.decayOf(t, chunk.valid);
    ChunkMap map = body.mapOf(chunk);
    body.readAll(chunk, [&](const Reader &reader, Value Q) {
      auto [A, Qe] = body.readMap(chunk, map, Q);
      Value gates = insideGates(chunk, reader);
      Value weighed = body.multiplied(A, {"i", "j"}, gates, {"i", "j"});
      Value O = body.combine(weighed, map.values, body.nothing().O);
      O = forBits(number, {O}, [&](Value bit, ValueRange in) {
        const ProblemTensor &lambda = *scan.find(scan.segments.gates);
        Value level = w.add(bit, w.constant(inside + 1));
        Value gate = body.kernel.column(lambda, level, t, body.C, chunk.valid, reader.member);
        ScanState S = body.kernel.loadState(scan.segments.bank, "", slotOf(bit));
        return llvm::SmallVector<Value>{
            body.read(body.multiplied(Qe, {"i", "d"}, gate, {"i"}), S.S, in[0])};
      })[0];
      return ReadRows{O, {}};
    });
    merge(chunk, map, number, body.changed(chunk, map, empty, true));
  }

  /// Every state takes the chunk's step; the chunk's own and those of the low bits become one.
  void merge(const Chunk &chunk, const ChunkMap &map, Value number, Value own) {
    Value next = w.add(number, w.constant(1));
    Value target = w.sub(bitLength(lowest(next)), w.constant(1));
    leave(chunk.t, own, w.constant(0));
    Value sum = forBits(number, {own}, [&](Value bit, ValueRange in) {
      ScanState old = body.kernel.loadState(scan.segments.bank, "", slotOf(bit));
      ScanState now{body.changed(chunk, map, old.S, false), {}};
      leave(chunk.t, now.S, w.add(bit, w.constant(1)));
      Value joins =
          arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::slt, bit, target);
      Names dims{"d", "e"};
      Value joined = w.elementwise(
          {in[0], now.S}, {dims, dims}, dims, [&](OpBuilder &b, Location at, ValueRange v) {
            Value part = arith::SelectOp::create(b, at, joins, v[1], steps::real(b, at, 0));
            return Value(arith::AddFOp::create(b, at, v[0], part));
          });
      body.kernel.storeState(now, scan.segments.bank, "", slotOf(bit));
      return llvm::SmallVector<Value>{joined};
    })[0];
    body.kernel.storeState({sum, {}}, scan.segments.bank, "", slotOf(target));
  }

  ChunkBody body;
  const ScanProblem &scan;
  KernelWriter &w;
  int64_t inside; ///< levels of the chunk beside 0
  int64_t chunk;
  Part part;
  Value position, first, last; ///< tokens of earlier runs; those of this one from first to last
};

} // namespace

void writeLevels(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                 int64_t chunk) {
  chunk = int64_t(std::bit_floor(uint64_t(chunk)));
  if (chunk == 1 || !scan.segments.carried) {
    LevelWalk(program, scan, name, chunk, chunk, Part::All).run();
    return;
  }
  LevelWalk(program, scan, (name + "_before").str(), 1, chunk, Part::Before).run();
  LevelWalk(program, scan, name, chunk, chunk, Part::Chunks).run();
  LevelWalk(program, scan, (name + "_rest").str(), 1, chunk, Part::Rest).run();
}

} // namespace heddle::compiler
