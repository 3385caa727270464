// Builds the body of a chunk: see the header for the formulas.
#include "compiler/forms/ChunkBody.h"

#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <numbers>

namespace heddle::compiler {

using namespace mlir;

static int64_t extentOf(Value tile, int64_t dim) {
  return cast<tile::TileType>(tile.getType()).getDim(dim);
}

static Value product(OpBuilder &b, Location at, ValueRange v) {
  return arith::MulFOp::create(b, at, v[0], v[1]);
}

ChunkBody::ChunkBody(const ScanProblem &scan, ProgramWriter &program, llvm::StringRef name,
                     int64_t chunk)
    : scan(scan), kernel(program, scan, name), w(kernel.w), C(chunk), R(chunk * scan.rowsPerToken) {
  for (llvm::StringRef role :
       {"k", "v", "k_before", "v_before", "decay", "decay_rows", "beta", "a", "y"})
    if (scan.input(role))
      views[role] = kernel.tokens(*scan.input(role), {}, {});
  if (scan.input("bonus") && !kernel.hasBonusByMember())
    bonus = kernel.loadBonus();
  rows = w.index(w.constant(0), C);
  writtenRows = tokens = rows;
  if (R != C) {
    writtenRows = w.index(w.constant(0), R);
    Value many = arith::ConstantOp::create(w.builder, w.location,
                                           w.builder.getI32IntegerAttr(scan.rowsPerToken));
    tokens = w.elementwise(
        {writtenRows}, {Names{"i"}}, {"i"},
        [&](OpBuilder &b, Location at, ValueRange x) {
          return Value(arith::DivUIOp::create(b, at, x[0], many));
        },
        w.builder.getI32Type());
  }
  length = kernel.length;
  if (scan.decay == StateDecay::Token && !scan.input("decay"))
    perToken = kernel.constantDecay();
}

ScanState ChunkBody::loop(Value lo, Value hi, const ScanState &start,
                          llvm::function_ref<ScanState(Value, const ScanState &)> body) {
  llvm::SmallVector<Value> carried{start.S};
  if (start.z)
    carried.push_back(start.z);
  auto state = [](ValueRange v) { return ScanState{v[0], v.size() > 1 ? v[1] : Value()}; };
  return state(w.loop(lo, hi, C, carried, [&](Value t, ValueRange in) {
    kernel.computeNumbersBefore(t);
    ScanState next = body(t, state(in));
    llvm::SmallVector<Value> out{next.S};
    if (next.z)
      out.push_back(next.z);
    return out;
  }));
}

Value ChunkBody::load(llvm::StringRef role, Value t, Value valid, int64_t columns) {
  bool perRow = role != "decay" && R != C;
  if (perRow)
    t = w.mul(t, scan.rowsPerToken), valid = w.mul(valid, scan.rowsPerToken);
  return kernel.loadRows(*scan.input(role), views[role], t, perRow ? R : C, valid, columns);
}

// ---- decay ----

/// Log2-decays of the rows that have them in tensor `role`; 0 for tokens that are not there.
Value ChunkBody::logDecay(llvm::StringRef role, Value t, Value valid) {
  Names dims = scan.decay == StateDecay::Feature ? Names{"i", "d"} : Names{"i"};
  if (!perToken)
    return w.elementwise({load(role, t, valid)}, {dims}, dims,
                         [](OpBuilder &b, Location at, ValueRange x) {
                           Value log2e = steps::real(b, at, std::numbers::log2e);
                           return Value(arith::MulFOp::create(b, at, x[0], log2e));
                         });
  // Of a token's rows the first decays.
  bool perRow = role == "decay_rows";
  int64_t step = perRow ? scan.rowsPerToken : 1;
  Value count = w.builder.createOrFold<arith::IndexCastOp>(w.location, w.builder.getI32Type(),
                                                           perRow ? w.mul(valid, step) : valid);
  return w.elementwise(
      {perRow ? writtenRows : rows}, {Names{"i"}}, dims,
      [&](OpBuilder &b, Location at, ValueRange x) {
        Value there = arith::CmpIOp::create(b, at, arith::CmpIPredicate::slt, x[0], count);
        if (step > 1) {
          auto integer = [&](int64_t n) {
            return arith::ConstantOp::create(b, at, b.getI32IntegerAttr(n));
          };
          Value sub = arith::RemUIOp::create(b, at, x[0], integer(step));
          Value first = arith::CmpIOp::create(b, at, arith::CmpIPredicate::eq, sub, integer(0));
          there = arith::AndIOp::create(b, at, there, first);
        }
        return Value(arith::SelectOp::create(b, at, there, perToken, steps::real(b, at, 0)));
      });
}

Decay ChunkBody::decayFrom(Value log, const Names &dims) {
  return {log, w.elementwise({log}, {dims}, dims, [](OpBuilder &b, Location at, ValueRange x) {
            return Value(math::Exp2Op::create(b, at, x[0]));
          })};
}

/// Every token decays alike: multiples of one number, where others need prefix sums.
ChunkDecay ChunkBody::constantDecayOf(Value valid) {
  Value count = w.builder.createOrFold<arith::IndexCastOp>(w.location, w.builder.getI32Type(),
                                                           w.min(valid, w.constant(C)));
  using Tokens = llvm::function_ref<Value(OpBuilder &, Location, Value i, Value one)>;
  auto multiple = [&](Value index, const Names &dims, Tokens tokens) {
    Value log = w.elementwise({index}, {dims}, dims, [&](OpBuilder &b, Location at, ValueRange x) {
      Value one = arith::ConstantOp::create(b, at, b.getI32IntegerAttr(1));
      Value n = tokens(b, at, x[0], one);
      return product(b, at, {steps::asReal(b, at, n), perToken});
    });
    return decayFrom(log, dims);
  };
  ChunkDecay decay;
  decay.through = multiple(rows, {"i"}, [&](OpBuilder &b, Location at, Value i, Value one) {
    return arith::MinSIOp::create(b, at, arith::AddIOp::create(b, at, i, one), count).getResult();
  });
  if (readsEarly() || update() == pattern::UpdateKind::dplr)
    decay.before = multiple(rows, {"i"}, [&](OpBuilder &b, Location at, Value i, Value) {
      return arith::MinSIOp::create(b, at, i, count).getResult();
    });
  decay.reads = readsEarly() ? decay.before : decay.through;
  decay.after = multiple(rows, {"i"}, [&](OpBuilder &b, Location at, Value i, Value one) {
    Value behind = arith::SubIOp::create(b, at, arith::SubIOp::create(b, at, count, one), i);
    Value none = arith::ConstantOp::create(b, at, b.getI32IntegerAttr(0));
    return arith::MaxSIOp::create(b, at, behind, none).getResult();
  });
  decay.total = multiple(w.fill(w.tileType({}, w.builder.getI32Type()), 0), {},
                         [&](OpBuilder &, Location, Value, Value) { return count; });
  return decay;
}

ChunkDecay ChunkBody::decayOf(Value t, Value valid) {
  if (scan.decay == StateDecay::None)
    return {};
  if (perToken && R == C)
    return constantDecayOf(valid);
  bool matrix = scan.decay == StateDecay::Feature;
  Names dims = matrix ? Names{"i", "d"} : Names{"i"};
  Value g = logDecay("decay", t, valid);
  Value ofRows = R == C ? g : logDecay("decay_rows", t, valid);
  ChunkDecay decay;
  decay.through = decayFrom(w.prefixSum(ofRows, false, false), dims);
  bool early = readsEarly();
  if (early || update() == pattern::UpdateKind::dplr)
    decay.before = decayFrom(w.prefixSum(ofRows, true, false), dims);
  decay.reads = early    ? decay.before
                : R == C ? decay.through
                         : decayFrom(w.prefixSum(g, false, false), dims);
  decay.after = decayFrom(w.prefixSum(ofRows, true, true), dims);
  llvm::SmallVector<int64_t> outer;
  if (matrix)
    outer.push_back(kernel.F());
  decay.total =
      decayFrom(w.reduce(tile::Reduction::Sum, g, 0, zeros(outer)), matrix ? Names{"d"} : Names{});
  return decay;
}

Value ChunkBody::multiplied(Value x, const Names &dims, Value factor, const Names &factorDims) {
  if (!factor)
    return x;
  return w.elementwise({x, factor}, {dims, factorDims}, dims, product);
}

Value ChunkBody::decayed(Value x, const Decay &decay) {
  return multiplied(x, {"i", "d"}, decay.factor,
                    scan.decay == StateDecay::Feature ? Names{"i", "d"} : Names{"i"});
}

Value ChunkBody::decayedState(Value S, const Decay &total) {
  bool matrix = cast<tile::TileType>(S.getType()).getRank() == 2;
  return multiplied(S, matrix ? Names{"d", "e"} : Names{"d"}, total.factor,
                    scan.decay == StateDecay::Feature ? Names{"d"} : Names{});
}

// ---- pairs inside the chunk ----

static Value kept(OpBuilder &b, Location at, bool strict, Value i, Value j) {
  auto predicate = strict ? arith::CmpIPredicate::slt : arith::CmpIPredicate::sle;
  return arith::CmpIOp::create(b, at, predicate, j, i);
}

static Value masked(OpBuilder &b, Location at, Value kept, Value value) {
  return arith::SelectOp::create(b, at, kept, value, steps::real(b, at, 0));
}

/// W(x, y)_ij where j comes before i (or is i), 0 elsewhere. Exponents are masked before exp2:
/// above the diagonal they may be positive.
Value ChunkBody::weights(const Side &x, const Side &y, const Pairs &pairs) {
  llvm::SmallVector<Value> inputs;
  llvm::SmallVector<Names> dims;
  auto add = [&](Value tile, Names names) {
    inputs.push_back(tile);
    dims.push_back(std::move(names));
    return inputs.size() - 1;
  };
  Value products = scan.decay == StateDecay::Feature
                       ? featureProducts(x, y, pairs.strict)
                       : w.mma(x.x, {"i", "d"}, y.x, {"j", "d"},
                               zeros({extentOf(x.x, 0), extentOf(y.x, 0)}), {"i", "j"}, precision);
  size_t atProduct = add(products, {"i", "j"});
  size_t atI = add(x.order, {"i"}), atJ = add(y.order, {"j"});
  bool decays = scan.decay == StateDecay::Token;
  size_t atX = decays ? add(x.decay.log, {"i"}) : 0, atY = decays ? add(y.decay.log, {"j"}) : 0;
  size_t atFactor = pairs.factor ? add(pairs.factor, {"i"}) : 0;
  size_t atDiagonal = pairs.diagonal ? add(pairs.diagonal, {"i"}) : 0;
  size_t atGate = pairs.gate ? add(pairs.gate, {"i", "j"}) : 0;
  return w.elementwise(inputs, dims, {"i", "j"}, [&](OpBuilder &b, Location at, ValueRange v) {
    Value value = v[atProduct], keep, exponent;
    if (pairs.f)
      value = pairs.f(b, at, value);
    if (!pairs.bothWays)
      keep = kept(b, at, pairs.strict, v[atI], v[atJ]);
    if (decays)
      exponent = arith::SubFOp::create(b, at, v[atX], v[atY]);
    if (decays && pairs.bothWays)
      exponent = arith::NegFOp::create(b, at, math::AbsFOp::create(b, at, exponent));
    if (decays) {
      Value e = math::Exp2Op::create(b, at, keep ? masked(b, at, keep, exponent) : exponent);
      value = arith::MulFOp::create(b, at, value, e);
    }
    if (pairs.factor)
      value = arith::MulFOp::create(b, at, value, v[atFactor]);
    if (pairs.gate)
      value = arith::MulFOp::create(b, at, value, v[atGate]);
    if (keep)
      value = masked(b, at, keep, value);
    if (pairs.diagonal) {
      Value same = arith::CmpIOp::create(b, at, arith::CmpIPredicate::eq, v[atI], v[atJ]);
      value = arith::SelectOp::create(b, at, same, v[atDiagonal], value);
    }
    return value;
  });
}

/// sum_d x_id y_jd 2^(b_id - b_jd), feature by feature.
Value ChunkBody::featureProducts(const Side &x, const Side &y, bool strict) {
  Names id = {"i", "d"}, jd = {"j", "d"}, all = {"i", "j", "d"};
  Value terms = w.elementwise({x.x, x.decay.log, y.x, y.decay.log, x.order, y.order},
                              {id, id, jd, jd, Names{"i"}, Names{"j"}}, all,
                              [&](OpBuilder &b, Location at, ValueRange v) {
                                Value keep = kept(b, at, strict, v[4], v[5]);
                                Value d = arith::SubFOp::create(b, at, v[1], v[3]);
                                Value e = math::Exp2Op::create(b, at, masked(b, at, keep, d));
                                Value xy = arith::MulFOp::create(b, at, v[0], v[2]);
                                return Value(arith::MulFOp::create(b, at, xy, e));
                              });
  return w.reduce(tile::Reduction::Sum, terms, 2, zeros({extentOf(x.x, 0), extentOf(y.x, 0)}));
}

Value ChunkBody::pairWeights(const Chunk &chunk, Value Q, Value K, OfProduct f) {
  Pairs pairs;
  pairs.f = f;
  return weights({Q, chunk.decay.reads, rows}, {K, chunk.decay.through, tokens}, pairs);
}

// ---- products with the state ----

Value ChunkBody::read(Value x, Value S, Value init) {
  return w.mma(S, {"d", "e"}, x, {"i", "d"}, init, {"i", "e"}, precision);
}

Value ChunkBody::combine(Value A, Value u, Value init) {
  return w.mma(u, {"j", "e"}, A, {"i", "j"}, init, {"i", "e"});
}

Value ChunkBody::rowSums(Value A, Value init) { return w.reduce(tile::Reduction::Sum, A, 1, init); }

Value ChunkBody::times(Value x, Value z) {
  return w.elementwise({x, z}, {Names{"i", "d"}, Names{"d"}}, {"i", "d"}, product);
}

/// q_i . (u k_i): the weight of the token itself when it is read before it is written.
Value ChunkBody::bonusOf(Value Q, Value K) {
  Value terms = w.elementwise({Q, K, bonus}, {Names{"i", "d"}, Names{"i", "d"}, Names{"d"}},
                              {"i", "d"}, [](OpBuilder &b, Location at, ValueRange v) {
                                Value qk = arith::MulFOp::create(b, at, v[0], v[1]);
                                return Value(arith::MulFOp::create(b, at, qk, v[2]));
                              });
  return rowSums(terms, zeros({C}));
}

// ---- one chunk ----

llvm::SmallVector<Write> ChunkBody::writesOf(Value t, Value valid, const ChunkDecay &decay,
                                             Value S) {
  Value there = R == C ? valid : w.mul(valid, scan.rowsPerToken);
  auto keys = [&](llvm::StringRef role) {
    return kernel.mappedKeys(load(role, t, valid, kernel.F()), writtenRows, there);
  };
  Value K = keys("k"), V = load("v", t, valid);
  if (update() == pattern::UpdateKind::add) {
    llvm::SmallVector<Write> writes{{K, V}};
    if (scan.input("k_before"))
      writes.push_back({keys("k_before"), load("v_before", t, valid)});
    return writes;
  }
  const Decay &before = decay.before, &through = decay.through;
  if (update() == pattern::UpdateKind::delta) {
    Value beta = load("beta", t, valid);
    Pairs pairs;
    pairs.strict = true, pairs.factor = beta;
    Value M = weights(written(K, through), written(K, through), pairs);
    // beta v - (beta k 2^b) S: the second beta joins the factor that the decay is already.
    Value asked = multiplied(decayed(K, through), {"i", "d"}, beta, {"i"});
    Value held = read(asked, S, zeros({R, kernel.V()}));
    Value error = w.elementwise({V, held, beta}, {Names{"i", "e"}, Names{"i", "e"}, Names{"i"}},
                                {"i", "e"}, [](OpBuilder &b, Location at, ValueRange x) {
                                  Value bv = arith::MulFOp::create(b, at, x[2], x[0]);
                                  return Value(arith::SubFOp::create(b, at, bv, x[1]));
                                });
    return {{K, w.solve(M, error)}};
  }
  Value A = load("a", t, valid), Y = load("y", t, valid);
  Pairs strict;
  strict.strict = true;
  Value ay = weights(written(A, before), written(Y, through), strict);
  Value ak = weights(written(A, before), written(K, through), strict);
  Value right = combine(ak, V, read(decayed(A, before), S, zeros({R, kernel.V()})));
  Value lower = w.elementwise({ay}, {Names{"i", "j"}}, {"i", "j"},
                              [](OpBuilder &b, Location at, ValueRange x) {
                                return Value(arith::NegFOp::create(b, at, x[0]));
                              });
  return {{K, V}, {Y, w.solve(lower, right)}};
}

Chunk ChunkBody::chunkAt(Value t, Value valid, Value S) {
  Chunk chunk{t, valid, decayOf(t, valid), {}};
  chunk.writes = writesOf(t, valid, chunk.decay, S);
  return chunk;
}

ScanState ChunkBody::advance(const Chunk &chunk, const ScanState &state) {
  ScanState next;
  next.S = decayedState(state.S, chunk.decay.total);
  if (state.z)
    next.z = decayedState(state.z, chunk.decay.total);
  for (const Write &write : chunk.writes) {
    Value keys = decayed(write.keys, chunk.decay.after);
    next.S = w.mma(write.values, {"j", "e"}, keys, {"j", "d"}, next.S, {"d", "e"});
    if (next.z)
      next.z = w.reduce(tile::Reduction::Sum, keys, 0, next.z);
  }
  return next;
}

// ---- reads ----

Value ChunkBody::queries(const Chunk &chunk, const Reader &reader) {
  const ProblemTensor &q = *scan.input("q");
  Value view = kernel.tokens(q, {}, reader.sub, reader.member);
  return kernel.mappedQueries(kernel.loadRows(q, view, chunk.t, C, chunk.valid, kernel.F()),
                              chunk.t);
}

ReadRows ChunkBody::nothing() { return {zeros({C, kernel.V()}), normed() ? zeros({C}) : Value()}; }

ReadRows ChunkBody::readWith(const Chunk &chunk, const ScanState &state, Value Q, Pairs pairs) {
  Value Qd = decayed(Q, chunk.decay.reads);
  ReadRows rowsRead = nothing();
  rowsRead.O = read(Qd, state.S, rowsRead.O);
  if (normed())
    rowsRead.l = rowSums(times(Qd, state.z), rowsRead.l);
  for (auto [n, write] : llvm::enumerate(chunk.writes)) {
    pairs.diagonal = readsEarly() && n == 0 ? bonusOf(Q, write.keys) : Value();
    Value A =
        weights({Q, chunk.decay.reads, rows}, {write.keys, chunk.decay.through, tokens}, pairs);
    rowsRead.O = combine(A, write.values, rowsRead.O);
    if (normed())
      rowsRead.l = rowSums(A, rowsRead.l);
  }
  return rowsRead;
}

ReadRows ChunkBody::readState(const Chunk &chunk, const ScanState &state, Value Q, Value gate) {
  Pairs pairs;
  pairs.strict = readsEarly(), pairs.gate = gate;
  return readWith(chunk, state, Q, pairs);
}

ReadRows ChunkBody::readBothWays(const Chunk &chunk, const ScanState &state, Value Q) {
  Pairs pairs;
  pairs.bothWays = true;
  return readWith(chunk, state, Q, pairs);
}

void ChunkBody::store(const Chunk &chunk, const Reader &reader, ReadRows read) {
  const ProblemTensor &o = *scan.result("o");
  Value O = kernel.normalised(read.O, read.l, normed() ? kernel.normArgument(chunk.t, C) : Value());
  if (!o.element.isF32())
    O = steps::rounded(w, O, {"i", "e"}, o.element);
  w.store(O, kernel.tokens(o, {}, reader.sub, reader.member), {kernel.at(chunk.t), w.fixed(0)},
          chunk.valid);
}

void ChunkBody::readAllInto(const Chunk &chunk,
                            llvm::function_ref<void(const Reader &, Value)> body) {
  if (!scan.result("o"))
    return;
  auto each = [&](bool several, int64_t count, llvm::function_ref<void(Value)> one) {
    if (!several)
      return one({});
    w.loop(w.constant(0), w.constant(count), 1, {}, [&](Value n, ValueRange) {
      one(n);
      return llvm::SmallVector<Value>();
    });
  };
  each(scan.op().hasReadAxis(), scan.readouts, [&](Value sub) {
    each(scan.group > 1, scan.group, [&](Value member) {
      auto start = kernel.scope.start;
      kernel.readAs(member);
      if (kernel.hasBonusByMember())
        bonus = kernel.loadBonus(member);
      Reader reader{member, sub};
      body(reader, queries(chunk, reader));
      kernel.readAs({});
      kernel.scope.start = start;
    });
  });
}

void ChunkBody::readAll(const Chunk &chunk,
                        llvm::function_ref<ReadRows(const Reader &, Value)> read) {
  readAllInto(chunk, [&](const Reader &reader, Value Q) { store(chunk, reader, read(reader, Q)); });
}

} // namespace heddle::compiler
