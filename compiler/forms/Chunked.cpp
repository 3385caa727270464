// Builds the abstract program of the chunked form: one kernel whose grid points walk the chunks of
// a head, the state carried from chunk to chunk. With b the prefix sum of the log2-decays inside a
// chunk, W(x, y)_ij = sum_d x_id y_jd 2^(b_i - b_j) the pairs' weights, every update is a list of
// writes (keys k, values u):
//
//   add     (k, v)
//   delta   (k, N),          (I + beta stril W(k, k)) N = beta (v - (k 2^b) S)
//   dplr    (k, v), (y, P),  (I - stril W'(a, y)) P = W'(a, k) v + (a 2^b') S,   ' = before the
//   decay
//
//   O = (q 2^b) S + sum over writes of tril W(q, k) u        S = 2^(b_last) S + sum of (k 2^(b_last
//   - b))^T u
//
// A last, short chunk is filled with tokens that write nothing and do not decay.
#include "compiler/forms/Chunked.h"

#include "compiler/forms/ScanKernel.h"
#include "compiler/forms/ScanProgram.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <fmt/format.h>

#include <numbers>

namespace heddle::compiler {

using namespace mlir;

namespace {

/// The decay from one place of a chunk to another; both null without a decay. [rows] for one number
/// a token, [rows, F] for one a feature.
struct Decay {
  Value log;    ///< log2 of the factor
  Value factor; ///< 2^log
};

struct ChunkDecay {
  Decay through; ///< up to and with the token
  Decay before;  ///< up to the token
  Decay after;   ///< of the tokens behind it
  Decay total;   ///< of the chunk: [] or [F]
};

struct Write {
  Value keys, values; ///< [rows, F], [rows, V]
};

class ChunkedBuilder {
public:
  ChunkedBuilder(const ScanProblem &scan, ProgramWriter &program, llvm::StringRef suffix,
                 int64_t chunk)
      : scan(scan), kernel(program, scan, ("chunks" + suffix).str()), w(kernel.w), C(chunk) {}

  void run() {
    openViews();
    rows = w.index(w.constant(0), C);
    length = w.extent(scan.T);
    if (scan.decay == StateDecay::Token && !scan.input("decay"))
      perToken = kernel.constantDecay();
    ScanState start = kernel.enter();
    llvm::SmallVector<Value> carried{start.S};
    if (start.z)
      carried.push_back(start.z);
    carried = w.loop(w.constant(0), length, C, carried, [&](Value t, ValueRange in) {
      kernel.computeNumbersBefore(t);
      ScanState next = chunk(t, {in[0], in.size() > 1 ? in[1] : Value()});
      llvm::SmallVector<Value> out{next.S};
      if (next.z)
        out.push_back(next.z);
      return out;
    });
    kernel.leave({carried[0], carried.size() > 1 ? carried[1] : Value()});
  }

private:
  pattern::UpdateKind update() const { return scan.op().getUpdate(); }
  bool readsEarly() const { return scan.op().getRead() == pattern::ReadKind::bonus; }
  const ProblemTensor &tensor(llvm::StringRef role) const { return *scan.input(role); }

  void openViews() {
    for (llvm::StringRef role : {"k", "v", "decay", "beta", "a", "y"})
      if (scan.input(role))
        views[role] = kernel.tokens(tensor(role), {}, {});
    if (scan.input("bonus"))
      bonus = kernel.loadAll(tensor("bonus"), kernel.heads(tensor("bonus")), {kernel.F()});
  }

  Value load(llvm::StringRef role, Value t, Value valid, int64_t columns = 0) {
    return kernel.loadRows(tensor(role), views[role], t, C, valid, columns);
  }

  // ---- decay ----

  ChunkDecay decayOf(Value t, Value valid) {
    if (scan.decay == StateDecay::None)
      return {};
    Value g;
    bool matrix = scan.decay == StateDecay::Feature;
    Names dims = matrix ? Names{"i", "d"} : Names{"i"};
    if (perToken) {
      Value count =
          w.builder.createOrFold<arith::IndexCastOp>(w.location, w.builder.getI32Type(), valid);
      g = w.elementwise({rows}, {Names{"i"}}, dims, [&](OpBuilder &b, Location at, ValueRange x) {
        Value there = arith::CmpIOp::create(b, at, arith::CmpIPredicate::slt, x[0], count);
        return Value(arith::SelectOp::create(b, at, there, perToken, steps::real(b, at, 0)));
      });
    } else {
      g = w.elementwise({load("decay", t, valid)}, {dims}, dims,
                        [&](OpBuilder &b, Location at, ValueRange x) {
                          Value log2e = steps::real(b, at, std::numbers::log2e);
                          return Value(arith::MulFOp::create(b, at, x[0], log2e));
                        });
    }
    auto of = [&](Value log, const Names &names) {
      return Decay{
          log, w.elementwise({log}, {names}, names, [](OpBuilder &b, Location at, ValueRange x) {
            return Value(math::Exp2Op::create(b, at, x[0]));
          })};
    };
    ChunkDecay decay;
    decay.through = of(w.prefixSum(g, false, false), dims);
    if (readsEarly() || update() == pattern::UpdateKind::dplr)
      decay.before = of(w.prefixSum(g, true, false), dims);
    decay.after = of(w.prefixSum(g, true, true), dims);
    llvm::SmallVector<int64_t> outer;
    if (matrix)
      outer.push_back(kernel.F());
    decay.total = of(w.reduce(tile::Reduction::Sum, g, 0, w.fill(w.f32(outer), 0)),
                     matrix ? Names{"d"} : Names{});
    return decay;
  }

  Value multiplied(Value x, const Names &dims, Value factor, const Names &factorDims) {
    if (!factor)
      return x;
    return w.elementwise({x, factor}, {dims, factorDims}, dims,
                         [](OpBuilder &b, Location at, ValueRange v) {
                           return Value(arith::MulFOp::create(b, at, v[0], v[1]));
                         });
  }

  /// The rows of x, each decayed; x itself without a decay.
  Value decayed(Value x, const Decay &decay) {
    return multiplied(x, {"i", "d"}, decay.factor,
                      scan.decay == StateDecay::Feature ? Names{"i", "d"} : Names{"i"});
  }

  /// A state tile [d, e] or [d] after the chunk's whole decay.
  Value decayedState(Value S, const Decay &total) {
    bool matrix = cast<tile::TileType>(S.getType()).getRank() == 2;
    return multiplied(S, matrix ? Names{"d", "e"} : Names{"d"}, total.factor,
                      scan.decay == StateDecay::Feature ? Names{"d"} : Names{});
  }

  // ---- pairs inside the chunk ----

  /// W(x, y)_ij for j <= i, or j < i; 0 elsewhere. `factor` [rows] multiplies the rows, `diagonal`
  /// [rows] is put at i = j; both may be null. Exponents are masked before exp2: above the diagonal
  /// they may be positive.
  Value weights(Value x, const Decay &xDecay, Value y, const Decay &yDecay, bool strict,
                Value factor, Value diagonal) {
    Value xPrefix = xDecay.log, yPrefix = yDecay.log;
    Value zero = w.fill(w.f32({C, C}), 0);
    Value product;
    llvm::SmallVector<Value> inputs;
    llvm::SmallVector<Names> dims;
    auto add = [&](Value tile, Names names) {
      inputs.push_back(tile);
      dims.push_back(std::move(names));
      return inputs.size() - 1;
    };
    auto predicate = strict ? arith::CmpIPredicate::slt : arith::CmpIPredicate::sle;
    auto keep = [&](OpBuilder &b, Location at, Value i, Value j) {
      return Value(arith::CmpIOp::create(b, at, predicate, j, i));
    };
    auto masked = [](OpBuilder &b, Location at, Value kept, Value value) {
      return Value(arith::SelectOp::create(b, at, kept, value, steps::real(b, at, 0)));
    };
    if (scan.decay == StateDecay::Feature)
      product = featureProducts(x, xPrefix, y, yPrefix, keep, masked);
    else
      product = w.mma(x, {"i", "d"}, y, {"j", "d"}, zero, {"i", "j"});
    size_t atProduct = add(product, {"i", "j"});
    size_t atI = add(rows, {"i"}), atJ = add(rows, {"j"});
    bool decays = scan.decay == StateDecay::Token;
    size_t atX = decays ? add(xPrefix, {"i"}) : 0, atY = decays ? add(yPrefix, {"j"}) : 0;
    size_t atFactor = factor ? add(factor, {"i"}) : 0;
    size_t atDiagonal = diagonal ? add(diagonal, {"i"}) : 0;
    return w.elementwise(inputs, dims, {"i", "j"}, [&](OpBuilder &b, Location at, ValueRange v) {
      Value kept = keep(b, at, v[atI], v[atJ]), value = v[atProduct];
      if (decays) {
        Value exponent = arith::SubFOp::create(b, at, v[atX], v[atY]);
        Value e = math::Exp2Op::create(b, at, masked(b, at, kept, exponent));
        value = arith::MulFOp::create(b, at, value, e);
      }
      if (factor)
        value = arith::MulFOp::create(b, at, value, v[atFactor]);
      value = masked(b, at, kept, value);
      if (diagonal) {
        Value same = arith::CmpIOp::create(b, at, arith::CmpIPredicate::eq, v[atI], v[atJ]);
        value = arith::SelectOp::create(b, at, same, v[atDiagonal], value);
      }
      return value;
    });
  }

  template <typename Keep, typename Masked>
  Value featureProducts(Value x, Value xPrefix, Value y, Value yPrefix, Keep keep, Masked masked) {
    Names id = {"i", "d"}, jd = {"j", "d"}, all = {"i", "j", "d"};
    Value terms = w.elementwise({x, xPrefix, y, yPrefix, rows, rows},
                                {id, id, jd, jd, Names{"i"}, Names{"j"}}, all,
                                [&](OpBuilder &b, Location at, ValueRange v) {
                                  Value kept = keep(b, at, v[4], v[5]);
                                  Value d = arith::SubFOp::create(b, at, v[1], v[3]);
                                  Value e = math::Exp2Op::create(b, at, masked(b, at, kept, d));
                                  Value xy = arith::MulFOp::create(b, at, v[0], v[2]);
                                  return Value(arith::MulFOp::create(b, at, xy, e));
                                });
    return w.reduce(tile::Reduction::Sum, terms, 2, w.fill(w.f32({C, C}), 0));
  }

  // ---- products with the state ----

  /// x S + init, [rows, V].
  Value read(Value x, Value S, Value init) {
    return w.mma(S, {"d", "e"}, x, {"i", "d"}, init, {"i", "e"});
  }
  Value noRows() { return w.fill(w.f32({C, kernel.V()}), 0); }
  /// A u + init, [rows, V].
  Value combine(Value A, Value u, Value init) {
    return w.mma(u, {"j", "e"}, A, {"i", "j"}, init, {"i", "e"});
  }

  Value rowSums(Value A, Value init) { return w.reduce(tile::Reduction::Sum, A, 1, init); }

  // ---- one chunk ----

  llvm::SmallVector<Write> writesOf(Value t, Value valid, const ChunkDecay &decay, Value S) {
    Value K = kernel.mapped(false, load("k", t, valid, kernel.F()), rows, valid),
          V = load("v", t, valid);
    if (update() == pattern::UpdateKind::add)
      return {{K, V}};
    if (update() == pattern::UpdateKind::delta) {
      Value beta = load("beta", t, valid);
      Value M = weights(K, decay.through, K, decay.through, /*strict=*/true, beta, {});
      Value held = read(decayed(K, decay.through), S, noRows());
      Value error = w.elementwise({V, held, beta}, {Names{"i", "e"}, Names{"i", "e"}, Names{"i"}},
                                  {"i", "e"}, [](OpBuilder &b, Location at, ValueRange x) {
                                    Value e = arith::SubFOp::create(b, at, x[0], x[1]);
                                    return Value(arith::MulFOp::create(b, at, x[2], e));
                                  });
      return {{K, w.solve(M, error)}};
    }
    Value A = load("a", t, valid), Y = load("y", t, valid);
    const Decay &before = decay.before, &through = decay.through;
    Value ay = weights(A, before, Y, through, /*strict=*/true, {}, {});
    Value ak = weights(A, before, K, through, /*strict=*/true, {}, {});
    Value right = combine(ak, V, read(decayed(A, before), S, noRows()));
    Value lower = w.elementwise({ay}, {Names{"i", "j"}}, {"i", "j"},
                                [](OpBuilder &b, Location at, ValueRange x) {
                                  return Value(arith::NegFOp::create(b, at, x[0]));
                                });
    return {{K, V}, {Y, w.solve(lower, right)}};
  }

  ScanState chunk(Value t, const ScanState &state) {
    Value valid = w.sub(length, t);
    ChunkDecay decay = decayOf(t, valid);
    llvm::SmallVector<Write> writes = writesOf(t, valid, decay, state.S);
    if (scan.group == 1)
      readRows(t, valid, decay, state, writes, {});
    else
      w.loop(w.constant(0), w.constant(scan.group), 1, {}, [&](Value member, ValueRange) {
        readRows(t, valid, decay, state, writes, member);
        return llvm::SmallVector<Value>();
      });
    return advance(decay, state, writes);
  }

  void readRows(Value t, Value valid, const ChunkDecay &decay, const ScanState &state,
                llvm::ArrayRef<Write> writes, Value member) {
    const ProblemTensor *o = scan.result("o");
    if (!o)
      return;
    const ProblemTensor &q = tensor("q");
    Value Q = kernel.mapped(
        true, kernel.loadRows(q, kernel.tokens(q, {}, {}, member), t, C, valid, kernel.F()));
    const Decay &prefix = readsEarly() ? decay.before : decay.through;
    Value Qd = decayed(Q, prefix);
    Value O = read(Qd, state.S, noRows());
    Value l;
    if (scan.op().getNorm() != pattern::NormKind::None)
      l = rowSums(times(Qd, state.z), w.fill(w.f32({C}), 0));
    for (auto [n, write] : llvm::enumerate(writes)) {
      Value diagonal = readsEarly() && n == 0 ? bonusOf(Q, write.keys) : Value();
      Value A = weights(Q, prefix, write.keys, decay.through, readsEarly(), {}, diagonal);
      O = combine(A, write.values, O);
      if (l)
        l = rowSums(A, l);
    }
    O = kernel.normalised(O, l, l ? kernel.normArgument(t, C) : Value());
    if (!o->element.isF32())
      O = steps::rounded(w, O, {"i", "e"}, o->element);
    w.store(O, kernel.tokens(*o, {}, {}, member), {t, w.fixed(0)}, valid);
  }

  /// x_id z_d.
  Value times(Value x, Value z) {
    return w.elementwise({x, z}, {Names{"i", "d"}, Names{"d"}}, {"i", "d"},
                         [](OpBuilder &b, Location at, ValueRange v) {
                           return Value(arith::MulFOp::create(b, at, v[0], v[1]));
                         });
  }

  /// q_i . (u k_i): the weight of the token itself when it is read before it is written.
  Value bonusOf(Value Q, Value K) {
    Value terms = w.elementwise({Q, K, bonus}, {Names{"i", "d"}, Names{"i", "d"}, Names{"d"}},
                                {"i", "d"}, [](OpBuilder &b, Location at, ValueRange v) {
                                  Value qk = arith::MulFOp::create(b, at, v[0], v[1]);
                                  return Value(arith::MulFOp::create(b, at, qk, v[2]));
                                });
    return rowSums(terms, w.fill(w.f32({C}), 0));
  }

  ScanState advance(const ChunkDecay &decay, const ScanState &state, llvm::ArrayRef<Write> writes) {
    ScanState next;
    next.S = decayedState(state.S, decay.total);
    if (state.z)
      next.z = decayedState(state.z, decay.total);
    for (const Write &write : writes) {
      Value keys = decayed(write.keys, decay.after);
      next.S = w.mma(write.values, {"j", "e"}, keys, {"j", "d"}, next.S, {"d", "e"});
      if (next.z)
        next.z = w.reduce(tile::Reduction::Sum, keys, 0, next.z);
    }
    return next;
  }

  const ScanProblem &scan;
  ScanKernel kernel;
  KernelWriter &w;
  int64_t C;
  Value rows;     ///< 0, 1, .. C - 1
  Value length;   ///< T
  Value perToken; ///< log2 of a constant decay
  Value bonus;    ///< u [F]
  llvm::StringMap<Value> views;
};

} // namespace

static std::string refuse(const ScanProblem &scan) {
  if (scan.decay == StateDecay::Channel)
    return "decay channel: the weight of a pair would depend on the value's feature; it has a "
           "recurrent form only";
  if (scan.op().hasWriteAxis() || scan.op().hasReadAxis())
    return "subtokens are not lowered in chunks yet";
  return "";
}

std::string refuseChunked(const FormRequest &request) { return refuseScans(request, refuse); }

OwningOpRef<ModuleOp> buildChunked(const FormRequest &request) {
  auto chunk = request.schedule.find("CHUNK");
  int64_t given = chunk == request.schedule.end() ? 0 : chunk->second;
  return buildScans(request,
                    [&](ProgramWriter &program, const ScanProblem &scan, llvm::StringRef suffix) {
                      // Weights of pairs whose features decay apart are made one by one: short
                      // chunks.
                      int64_t tokens = given ? given : scan.decay == StateDecay::Feature ? 16 : 64;
                      ChunkedBuilder(scan, program, suffix, tokens).run();
                    });
}

} // namespace heddle::compiler
