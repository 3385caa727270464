// The chunked and the recurrent form of power features. A state of them is large (2,080 x V for 64
// features squared), so that it lies in memory and goes through the kernel block by block:
//
//   chunk   O = tril((q k)^p 2^(b_i - b_j)) V + 2^b sum over blocks of phi(q) S_block
//           S_block = 2^(b_last) S_block + phi(k)^T (2^(b_last - b) V)
//   step    S_block = 2^g S_block + phi(k) v^T;  o += phi(q) S_block, all heads of the group
//
// Weights of pairs are powers of products as they are: a state of the features holds the same range
// of numbers.
#include "compiler/forms/ChunkBody.h"
#include "compiler/forms/PowerFeatures.h"
#include "compiler/forms/ScanWalks.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <numbers>

namespace heddle::compiler {

using namespace mlir;
using steps::product;

namespace {

/// The state in memory.
class StoredState {
public:
  StoredState(ScanKernel &kernel, const ScanProblem &scan)
      : w(kernel.w), V(kernel.V()), S(view(kernel, *scan.find(scan.polynomial.state))) {
    if (scan.sums)
      z = view(kernel, *scan.find(scan.polynomial.sums));
  }

  bool sums() const { return bool(z); }
  Value loadRows(Value row, int64_t rows, Value count) {
    return w.load(w.f32({rows, V}), S, {OpFoldResult(row), w.fixed(0)}, ValueRange{count});
  }
  Value loadSums(Value row, int64_t rows, Value count) {
    return w.load(w.f32({rows}), z, {OpFoldResult(row)}, ValueRange{count});
  }
  void storeRows(Value tile, Value row, Value count) {
    w.store(tile, S, {OpFoldResult(row), w.fixed(0)}, ValueRange{count});
  }
  void storeSums(Value tile, Value row, Value count) {
    w.store(tile, z, {OpFoldResult(row)}, ValueRange{count});
  }

private:
  static Value view(ScanKernel &kernel, const ProblemTensor &tensor) {
    llvm::SmallVector<Value> indices{kernel.batch, kernel.head};
    indices.resize(tensor.shape.size());
    return kernel.w.view(tensor.name, tensor.element, tensor.shape, indices);
  }

  KernelWriter &w;
  int64_t V;
  Value S, z;
};

Value added(OpBuilder &b, Location at, Value x, Value y) {
  return arith::AddFOp::create(b, at, x, y);
}
class PowerChunks {
public:
  PowerChunks(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name, int64_t chunk)
      : body(scan, program, name, chunk), scan(scan), w(body.w), features(body.kernel, scan),
        state(body.kernel, scan), q(*scan.input("q")), k(*scan.input("k")) {
    // Powers of rows that were computed: their products cancel, so that roundings show.
    if (q.element.isF32() && k.element.isF32())
      body.precision = tile::Precision::TF32x3;
  }

  void run() {
    w.loop(w.constant(0), body.length, body.C, {}, [&](Value t, ValueRange) {
      body.kernel.computeNumbersBefore(t);
      step(t);
      return llvm::SmallVector<Value>();
    });
  }

private:
  void step(Value t) {
    Chunk chunk{t, w.sub(body.length, t), {}, {}};
    chunk.decay = body.decayOf(t, chunk.valid);
    Value V = body.load("v", t, chunk.valid);
    if (scan.result("o")) {
      if (scan.group == 1)
        readRows(chunk, V, {});
      else
        w.loop(w.constant(0), w.constant(scan.group), 1, {}, [&](Value member, ValueRange) {
          auto start = body.kernel.scope.start;
          body.kernel.readAs(member);
          readRows(chunk, V, member);
          body.kernel.readAs({});
          body.kernel.scope.start = start;
          return llvm::SmallVector<Value>();
        });
    }
    advance(chunk, body.decayed(V, chunk.decay.after));
  }

  /// phi(x) S over all blocks, and phi(x) z; before the score's factor.
  ReadRows readBlocks(const Chunk &chunk, Value member) {
    int64_t W = features.width();
    ReadRows rows = body.nothing();
    auto view = [&](Value d) { return featureView(q, member, d); };
    llvm::SmallVector<Value> carried{rows.O};
    if (rows.l)
      carried.push_back(body.zeros({body.C, W}));
    carried = features.forBlocks(carried, [&](const PowerBlock &at, ValueRange in) {
      Value phi = features.block(at, q, view, chunk.t, body.C, chunk.valid, true);
      llvm::SmallVector<Value> out(in);
      if (in.size() > 1) { // column by column, joined once at the end; where the features are made
        Value z = state.loadSums(at.row, W, at.count);
        Names id{"i", "d"};
        out[1] = w.elementwise({in[1], phi, z}, {id, id, Names{"d"}}, id,
                               [](OpBuilder &b, Location loc, ValueRange v) {
                                 return added(b, loc, v[0], product(b, loc, v[1], v[2]));
                               });
      }
      out[0] = body.read(phi, state.loadRows(at.row, W, at.count), in[0]);
      return out;
    });
    rows.O = carried[0];
    if (rows.l)
      rows.l = body.rowSums(carried[1], rows.l);
    return features.hasLinear() ? withLinear(chunk, member, rows) : rows;
  }

  /// The constant and the linear features of taylor2.
  ReadRows withLinear(const Chunk &chunk, Value member, ReadRows rows) {
    Value Q = linear(q, member, chunk, true), zero = w.constant(0), one = w.constant(1);
    rows.O = body.read(Q, state.loadRows(one, scan.D, w.constant(scan.D)), rows.O);
    Value first = state.loadRows(zero, 1, one);
    Value ones = w.fill(w.f32({body.C, 1}), 1);
    rows.O = body.read(ones, first, rows.O);
    if (!rows.l)
      return rows;
    rows.l = body.rowSums(body.times(Q, state.loadSums(one, scan.D, w.constant(scan.D))), rows.l);
    rows.l = body.rowSums(body.times(ones, state.loadSums(zero, 1, one)), rows.l);
    return rows;
  }

  Value linear(const ProblemTensor &tensor, Value member, const Chunk &chunk, bool query) {
    Value x =
        body.kernel.loadRows(tensor, featureView(tensor, member, {}), chunk.t, body.C, chunk.valid);
    Value c = features.scale(query);
    return w.elementwise(
        {x}, {Names{"i", "d"}}, {"i", "d"},
        [&](OpBuilder &b, Location at, ValueRange v) { return product(b, at, v[0], c); });
  }

  Value featureView(const ProblemTensor &tensor, Value member, Value feature) {
    return body.kernel.tokens(tensor, {}, {}, member, feature);
  }

  void readRows(const Chunk &chunk, Value V, Value member) {
    Value Q = body.kernel.loadRows(q, featureView(q, member, {}), chunk.t, body.C, chunk.valid);
    Value K = body.kernel.loadRows(k, featureView(k, {}, {}), chunk.t, body.C, chunk.valid);
    ReadRows rows = readBlocks(chunk, member);
    auto decayedRows = [&](Value x, const Names &dims) {
      return body.multiplied(x, dims, chunk.decay.reads.factor, {"i"});
    };
    Value A = body.pairWeights(chunk, Q, K, [&](OpBuilder &b, Location at, Value s) {
      return features.ofProduct(b, at, s);
    });
    rows.O = body.combine(A, V, decayedRows(rows.O, {"i", "e"}));
    if (rows.l)
      rows.l = body.rowSums(A, decayedRows(rows.l, {"i"}));
    rows.O = body.kernel.scaled(rows.O, {"i", "e"}, chunk.t);
    if (rows.l)
      rows.l = body.kernel.scaled(rows.l, {"i"}, chunk.t);
    body.store(chunk, {member, {}}, rows);
  }

  /// The block's rows after the chunk; `values` decayed to its end.
  void change(const Chunk &chunk, Value phi, Value values, Value row, int64_t rows, Value count) {
    if (state.sums()) { // first, where the features are made
      Value z = body.decayedState(state.loadSums(row, rows, count), chunk.decay.total);
      Value keys = body.decayed(phi, chunk.decay.after);
      state.storeSums(w.reduce(tile::Reduction::Sum, keys, 0, z), row, count);
    }
    Value S = body.decayedState(state.loadRows(row, rows, count), chunk.decay.total);
    state.storeRows(w.mma(values, {"j", "e"}, phi, {"j", "d"}, S, {"d", "e"}, body.precision), row,
                    count);
  }

  void advance(const Chunk &chunk, Value values) {
    auto view = [&](Value d) { return featureView(k, {}, d); };
    features.forBlocks({}, [&](const PowerBlock &at, ValueRange) {
      Value phi = features.block(at, k, view, chunk.t, body.C, chunk.valid, false);
      change(chunk, phi, values, at.row, features.width(), at.count);
      return llvm::SmallVector<Value>();
    });
    if (!features.hasLinear())
      return;
    Value one = w.constant(1);
    change(chunk, linear(k, {}, chunk, false), values, one, scan.D, w.constant(scan.D));
    Value count =
        arith::IndexCastOp::create(w.builder, w.location, w.builder.getI32Type(), chunk.valid);
    Value column = w.index(w.constant(0), 1);
    Value there = w.elementwise(
        {body.rows, column}, {Names{"i"}, Names{"d"}}, {"i", "d"},
        [&](OpBuilder &b, Location at, ValueRange v) {
          Value inside = arith::CmpIOp::create(b, at, arith::CmpIPredicate::slt, v[0], count);
          return Value(
              arith::SelectOp::create(b, at, inside, steps::real(b, at, 1), steps::real(b, at, 0)));
        });
    change(chunk, there, values, w.constant(0), 1, one);
  }

  ChunkBody body;
  const ScanProblem &scan;
  KernelWriter &w;
  PowerFeatures features;
  StoredState state;
  const ProblemTensor &q, &k;
};

} // namespace

void writePowerChunks(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                      int64_t chunk) {
  PowerChunks(program, scan, name, chunk).run();
}

} // namespace heddle::compiler
