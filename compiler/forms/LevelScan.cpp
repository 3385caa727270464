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
#include "compiler/forms/ChunkBody.h"
#include "compiler/forms/ScanWalks.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <bit>

namespace heddle::compiler {

using namespace mlir;

namespace {

class LevelWalk {
public:
  LevelWalk(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name, int64_t chunk)
      : body(scan, program, name, chunk), scan(scan), w(body.w),
        inside(std::countr_zero(uint64_t(chunk))) {}

  void run() {
    w.loop(w.constant(0), body.length, body.C, {}, [&](Value t, ValueRange) {
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
    Value number = w.divide(t, body.C);
    Value empty = body.zeros({body.kernel.F(), body.kernel.V()});
    Chunk chunk{t, w.sub(body.length, t), {}, {}};
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
        ScanState S = body.kernel.loadState(scan.segments.bank, "", bit);
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
    Value sum = forBits(number, {own}, [&](Value bit, ValueRange in) {
      ScanState old = body.kernel.loadState(scan.segments.bank, "", bit);
      ScanState now{body.changed(chunk, map, old.S, false), {}};
      Value joins =
          arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::slt, bit, target);
      Names dims{"d", "e"};
      Value joined = w.elementwise(
          {in[0], now.S}, {dims, dims}, dims, [&](OpBuilder &b, Location at, ValueRange v) {
            Value part = arith::SelectOp::create(b, at, joins, v[1], steps::real(b, at, 0));
            return Value(arith::AddFOp::create(b, at, v[0], part));
          });
      body.kernel.storeState(now, scan.segments.bank, "", bit);
      return llvm::SmallVector<Value>{joined};
    })[0];
    body.kernel.storeState({sum, {}}, scan.segments.bank, "", target);
  }

  ChunkBody body;
  const ScanProblem &scan;
  KernelWriter &w;
  int64_t inside; ///< levels of the chunk beside 0
};

} // namespace

void writeLevels(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                 int64_t chunk) {
  LevelWalk(program, scan, name, int64_t(std::bit_floor(uint64_t(chunk)))).run();
}

} // namespace heddle::compiler
