// Builds the abstract program of the recurrent form: one kernel whose grid points walk the tokens
// of a head with its state S [d, e].
//
//   S = 2^g S ;  add: u = v   delta: u = beta (v - S^T k)   dplr: S += y p^T, p = S_before^T a
//   S += k u^T ;  o = S^T q                      (read bonus: o = S^T q + (q . (bonus k)) v, first)
//
// Sub-tokens repeat the write, or the read; the decay acts before the first.
#include "compiler/forms/Recurrent.h"

#include "compiler/forms/ScanKernel.h"
#include "compiler/forms/ScanProgram.h"
#include "compiler/forms/ScanWalks.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <fmt/format.h>

#include <numbers>
#include <optional>
#include <utility>

namespace heddle::compiler {

using namespace mlir;
using steps::product;

namespace {

const Names kState = {"d", "e"}, kKey = {"d"}, kValue = {"e"}, kOne = {};

class RecurrentBuilder {
public:
  RecurrentBuilder(const ScanProblem &scan, ProgramWriter &program, llvm::StringRef suffix,
                   bool single)
      : scan(scan), kernel(program, scan, ("steps" + suffix).str()), w(kernel.w), single(single) {}

  /// Nodes of a tree: slot n + 1 of the workspace is the state after node n, slot 0 that on entry.
  void runTree() {
    prepare();
    kernel.storeState(kernel.enter(), scan.nodes, scan.nodeSums, w.constant(0));
    const ProblemTensor &parents = tensor("parent");
    w.loop(w.constant(0), kernel.length, 1, {}, [&](Value t, ValueRange) {
      kernel.computeNumbersBefore(t);
      llvm::SmallVector<Value> indices;
      if (parents.batched)
        indices.push_back(kernel.batch);
      indices.push_back(t);
      Value view = w.view(parents.name, parents.element, parents.shape, indices);
      Value parent = tile::ReadOp::create(w.builder, w.location, view, {}).getResult();
      Type index = w.builder.getIndexType();
      // A parent outside the tree is a root's.
      Value slot =
          w.add(arith::IndexCastOp::create(w.builder, w.location, index, parent), w.constant(1));
      slot = w.max(w.min(slot, t), w.constant(0));
      ScanState next = step(t, kernel.loadState(scan.nodes, scan.nodeSums, slot));
      kernel.storeState(next, scan.nodes, scan.nodeSums, w.add(t, w.constant(1)));
      return llvm::SmallVector<Value>();
    });
  }

  void run() {
    prepare();
    ScanState start = kernel.enter();
    if (single) { // no loop: the state is read where it lies and written where it goes
      step(w.constant(0), start);
      return;
    }
    llvm::SmallVector<Value> carried{start.S};
    if (start.z)
      carried.push_back(start.z);
    carried = w.loop(w.constant(0), kernel.length, 1, carried, [&](Value t, ValueRange in) {
      kernel.computeNumbersBefore(t);
      ScanState next = step(t, {in[0], in.size() > 1 ? in[1] : Value()});
      llvm::SmallVector<Value> out{next.S};
      if (next.z)
        out.push_back(next.z);
      return out;
    });
    kernel.leave({carried[0], carried.size() > 1 ? carried[1] : Value()});
  }

private:
  void prepare() {
    if (scan.decay == StateDecay::Token && !scan.input("decay"))
      constantDecay =
          math::Exp2Op::create(w.builder, w.location, kernel.constantDecay()).getResult();
    if (scan.input("bonus") && !kernel.hasBonusByMember())
      bonus = kernel.loadBonus();
  }

  pattern::UpdateKind update() const { return scan.op().getUpdate(); }
  const ProblemTensor &tensor(llvm::StringRef role) const { return *scan.input(role); }

  // ---- what a token has ----

  /// All that the tensor has for one token (and sub-token) of the head.
  Value load(llvm::StringRef role, Value t, Value sub, Value member = {}) {
    const ProblemTensor &given = tensor(role);
    Value view = kernel.tokens(given, t, sub, member);
    llvm::SmallVector<int64_t> shape(cast<tile::ViewType>(view.getType()).getShape());
    if (role == "q" || role == "k" || role == "k_before")
      shape.back() = kernel.F();
    return kernel.loadAll(given, view, shape);
  }

  /// Sub-token n of an operand that has such an axis; null otherwise.
  Value writeAxis(int64_t n) { return scan.op().hasWriteAxis() ? w.constant(n) : Value(); }
  Value readAxis(int64_t n) { return scan.op().hasReadAxis() ? w.constant(n) : Value(); }

  // ---- steps on the state ----

  Value decayed(Value S, const Names &dims, Value t) {
    if (scan.decay == StateDecay::None)
      return S;
    if (constantDecay)
      return w.elementwise({S}, {dims}, dims, [&](OpBuilder &b, Location at, ValueRange x) {
        return product(b, at, x[0], constantDecay);
      });
    const Names &own = scan.decay == StateDecay::Token     ? kOne
                       : scan.decay == StateDecay::Feature ? kKey
                                                           : kState;
    Value factor = w.elementwise(
        {load("decay", t, {})}, {own}, own, [&](OpBuilder &b, Location at, ValueRange x) {
          Value log2e = steps::real(b, at, std::numbers::log2e);
          return Value(math::Exp2Op::create(b, at, product(b, at, x[0], log2e)));
        });
    return w.elementwise(
        {S, factor}, {dims, own}, dims,
        [&](OpBuilder &b, Location at, ValueRange x) { return product(b, at, x[0], x[1]); });
  }

  /// S^T x.
  Value project(Value S, Value x) {
    Value terms =
        w.elementwise({S, x}, {kState, kKey}, kState, [](OpBuilder &b, Location at, ValueRange v) {
          return product(b, at, v[0], v[1]);
        });
    return w.reduce(tile::Reduction::Sum, terms, 0, w.fill(w.f32({kernel.V()}), 0));
  }

  /// The sum of x y over features.
  Value dot(Value x, Value y) {
    Value terms =
        w.elementwise({x, y}, {kKey, kKey}, kKey, [](OpBuilder &b, Location at, ValueRange v) {
          return product(b, at, v[0], v[1]);
        });
    return w.reduce(tile::Reduction::Sum, terms, 0, w.fill(w.f32({}), 0));
  }

  /// S + x u^T.
  Value addOuter(Value S, Value x, Value u) {
    return w.elementwise(
        {S, x, u}, {kState, kKey, kValue}, kState, [](OpBuilder &b, Location at, ValueRange v) {
          return Value(arith::AddFOp::create(b, at, v[0], product(b, at, v[1], v[2])));
        });
  }

  Value plus(Value x, Value y, const Names &dims = kKey) {
    return w.elementwise({x, y}, {dims, dims}, dims, [](OpBuilder &b, Location at, ValueRange v) {
      return Value(arith::AddFOp::create(b, at, v[0], v[1]));
    });
  }

  Value written(Value S, Value before, Value t, int64_t n, Value k) {
    Value sub = writeAxis(n), v = load("v", t, sub);
    if (scan.input("k_before"))
      S = addOuter(S, load("k_before", t, sub), load("v_before", t, sub));
    if (update() == pattern::UpdateKind::add)
      return addOuter(S, k, v);
    if (update() == pattern::UpdateKind::delta) {
      // A decay of rows may act on the key: then the state is passed over twice, not four times.
      bool byRows = n == 0 && scan.decay != StateDecay::None && scan.decay <= StateDecay::Feature &&
                    !scan.input("k_before");
      Value old = byRows ? project(before, decayed(k, kKey, t)) : project(S, k);
      Value u = w.elementwise({v, old, load("beta", t, sub)}, {kValue, kValue, kOne}, kValue,
                              [](OpBuilder &b, Location at, ValueRange x) {
                                Value e = arith::SubFOp::create(b, at, x[0], x[1]);
                                return product(b, at, e, x[2]);
                              });
      return addOuter(S, k, u);
    }
    // The first sub-token erases from the state before it decayed.
    Value erased = project(n == 0 ? before : S, load("a", t, sub));
    return addOuter(addOuter(S, load("y", t, sub), erased), k, v);
  }

  ScanState step(Value t, const ScanState &state) {
    bool early = scan.op().getRead() == pattern::ReadKind::bonus;
    llvm::SmallVector<Value> keys;
    for (int64_t n = 0; n < scan.writes; ++n)
      keys.push_back(kernel.mappedKeys(load("k", t, writeAxis(n))));
    if (early)
      readAll(t, state, keys);
    ScanState next{decayed(state.S, kState, t), {}};
    if (state.z)
      next.z = decayed(state.z, kKey, t);
    for (auto [n, k] : llvm::enumerate(keys)) {
      next.S = written(next.S, state.S, t, n, k);
      if (next.z && scan.input("k_before"))
        next.z = plus(next.z, load("k_before", t, writeAxis(n)));
      if (next.z)
        next.z = plus(next.z, k);
    }
    if (single)
      unstored = next;
    if (!early)
      readAll(t, next, keys);
    storeOnce();
    return next;
  }

  /// A single token's state goes where the caller has it.
  void storeOnce() {
    if (unstored)
      kernel.leave(*std::exchange(unstored, std::nullopt));
  }

  // ---- reads ----

  void readAll(Value t, const ScanState &state, llvm::ArrayRef<Value> keys) {
    if (!scan.result("o"))
      return;
    for (int64_t n = 0; n < scan.readouts; ++n) {
      if (scan.group == 1) {
        readOne(t, n, state, keys, {});
        continue;
      }
      w.loop(w.constant(0), w.constant(scan.group), 1, {}, [&](Value member, ValueRange) {
        readOne(t, n, state, keys, member);
        return llvm::SmallVector<Value>();
      });
    }
  }

  void readOne(Value t, int64_t n, const ScanState &state, llvm::ArrayRef<Value> keys,
               Value member) {
    auto start = kernel.scope.start;
    kernel.readAs(member);
    if (kernel.hasBonusByMember())
      bonus = kernel.loadBonus(member);
    Value q = kernel.mappedQueries(load("q", t, readAxis(n), member), t);
    if (scan.group == 1)
      storeOnce(); // beside the read, in one pass over the state
    Value O = project(state.S, q);
    Value l = scan.op().getNorm() == pattern::NormKind::None ? Value() : dot(q, state.z);
    if (bonus)
      for (auto [sub, k] : llvm::enumerate(keys)) {
        Value weight = bonusOf(q, k);
        O = plusTimes(O, weight, load("v", t, writeAxis(sub)));
        if (l)
          l = plus(l, weight, kOne);
      }
    Value argument;
    if (l && scan.normArg) {
      for (const char *name : {"i", "row"})
        kernel.scope.uniform(name, t, scan.T);
      auto before = std::exchange(kernel.scope.start, w.builder.saveInsertionPoint());
      argument = kernel.number(scan.normArg);
      kernel.scope.start = before;
    }
    O = kernel.normalised(O, l, argument);
    const ProblemTensor &o = *scan.result("o");
    if (!o.element.isF32())
      O = w.elementwise(
          {O}, {kValue}, kValue,
          [&](OpBuilder &b, Location at, ValueRange x) {
            return Value(arith::TruncFOp::create(b, at, o.element, x[0]));
          },
          o.element);
    w.store(O, kernel.tokens(o, t, readAxis(n), member), {w.fixed(0)}, {});
    kernel.readAs({});
    kernel.scope.start = start;
  }

  /// q . (u k): the weight of the token itself.
  Value bonusOf(Value q, Value k) {
    return dot(q, w.elementwise({bonus, k}, {kKey, kKey}, kKey,
                                [](OpBuilder &b, Location at, ValueRange x) {
                                  return product(b, at, x[0], x[1]);
                                }));
  }

  Value plusTimes(Value O, Value weight, Value v) {
    return w.elementwise({O, weight, v}, {kValue, kOne, kValue}, kValue,
                         [](OpBuilder &b, Location at, ValueRange x) {
                           return Value(
                               arith::AddFOp::create(b, at, x[0], product(b, at, x[1], x[2])));
                         });
  }

  const ScanProblem &scan;
  ScanKernel kernel;
  KernelWriter &w;
  bool single; ///< there is one token
  std::optional<ScanState> unstored;
  Value constantDecay; ///< the factor of a step, or null
  Value bonus;         ///< u [F], or null
};

} // namespace

/// Of a sequence that is a decode step; GPUs have the state in registers either way.
static bool hasOneToken(const FormRequest &request, const ScanProblem &scan) {
  auto length = request.request.extents.find(scan.T.name);
  return request.request.target == "cpu" && length != request.request.extents.end() &&
         length->second.bound == ExtentClass::One && !scan.start;
}

std::string refuseRecurrent(const FormRequest &request) {
  return refuseScans(request, MixAs::Steps, [](const ScanProblem &) { return std::string(); });
}

OwningOpRef<ModuleOp> buildRecurrent(const FormRequest &request) {
  auto write = [&](ProgramWriter &program, const ScanProblem &scan, llvm::StringRef suffix) {
    // A static state has no order: its tokens come in tiles.
    int64_t tokens = scan.walk == ScanWalk::Static ? 64 : 1;
    const bool single = hasOneToken(request, scan);
    if (scan.walk == ScanWalk::Tree)
      RecurrentBuilder(scan, program, suffix, single).runTree();
    else if (!writeOtherWalk(program, scan, ("steps" + suffix).str(), tokens))
      RecurrentBuilder(scan, program, suffix, single).run();
  };
  return buildScans(request, MixAs::Steps, write);
}

} // namespace heddle::compiler
