// Expressions: uniquing, text, types, substitution, folding, integer values.
#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "tests/support/Test.h"

#include <map>
#include <random>

using namespace heddle::pattern;

namespace {

struct Fixture {
  std::unique_ptr<mlir::MLIRContext> owner = makePatternContext();
  mlir::MLIRContext *context = owner.get();

  ExprAttr n(int64_t value) { return makeInteger(context, value); }
  ExprAttr x(double value) { return makeFloat(context, value); }
  ExprAttr var(const char *name) { return makeVar(context, name); }
  ExprAttr dim(const char *name) { return makeDim(context, name); }
  ExprAttr add(ExprAttr a, ExprAttr b) { return makeBinary(ExprKind::Add, a, b); }
  ExprAttr sub(ExprAttr a, ExprAttr b) { return makeBinary(ExprKind::Sub, a, b); }
  ExprAttr mul(ExprAttr a, ExprAttr b) { return makeBinary(ExprKind::Mul, a, b); }
};

} // namespace

TEST_CASE_METHOD(Fixture, "equal expressions are one object", "[pattern]") {
  CHECK(add(var("i"), n(1)) == add(var("i"), n(1)));
  CHECK(add(var("i"), n(1)) != add(var("i"), x(1)));
  CHECK(makeVar(context, "W") != makeParam(context, "W"));
  CHECK(makeUnary(ExprKind::Neg, n(3)) == n(-3));
}

TEST_CASE_METHOD(Fixture, "names and sizes", "[pattern]") {
  ExprAttr body = mul(makeRead(context, "k", {var("j"), var("d")}), var("d"));
  ExprAttr sum = makeReduction(ExprKind::Sum, "d", n(0), dim("D"), body);
  ExprAttr all = add(add(sum, var("d")), makeParam(context, "W"));
  CHECK(freeVars(all) == std::vector<std::string>{"d", "j"});
  CHECK(freeVars(sum) == std::vector<std::string>{"j"});
  CHECK(dimsOf(all) == std::vector<std::string>{"D"});
  CHECK(paramsOf(all) == std::vector<std::string>{"W"});
  CHECK(tensorsOf(all) == std::vector<std::string>{"k"});
  CHECK(sizeOf(all) == 12);
  CHECK(sizeOf(all, 5) == 5);
  CHECK(depthOf(all) == 6);
}

TEST_CASE_METHOD(Fixture, "substitution does not capture", "[pattern]") {
  ExprAttr sum = makeReduction(ExprKind::Sum, "n", n(0), var("i"), mul(var("n"), var("i")));
  llvm::StringMap<ExprAttr> map;
  map["i"] = add(var("n"), n(1));
  CHECK(substitute(sum, map).str() == "sum[n_1 < n + 1] { n_1 * (n + 1) }");
  map.clear();
  map["n"] = n(7); // bound inside, so nothing changes
  CHECK(substitute(sum, map) == sum);
  ExprAttr let = makeLet("a", var("i"), makeLet("i", n(2), add(var("a"), var("i"))));
  CHECK(expandLets(let).str() == "i + 2");
  llvm::StringMap<std::string> tensors;
  tensors["k"] = "key";
  ExprAttr read = makeRead(context, "k", {makeRead(context, "k", {var("j")})});
  CHECK(renameTensors(read, tensors).str() == "key[key[j]]");
}

TEST_CASE_METHOD(Fixture, "folding", "[pattern]") {
  auto folded = [](ExprAttr expr) { return simplify(expr).str(); };
  ExprAttr yes = makeBool(context, true);
  ExprAttr less = makeBinary(ExprKind::Lt, var("i"), var("j"));
  CHECK(folded(add(sub(dim("Tk"), dim("Tq")), dim("Tq"))) == "Tk");
  CHECK(folded(add(mul(n(2), dim("N")), dim("N"))) == "3 * N");
  CHECK(folded(sub(var("j"), add(var("j"), n(3)))) == "-3");
  CHECK(folded(mul(x(1.5), x(2))) == "3.0");
  CHECK(folded(mul(makeCall(context, "exp", {x(0)}), var("s"))) == "s");
  CHECK(folded(makeBinary(ExprKind::And, yes, less)) == "i < j");
  CHECK(folded(makeBinary(ExprKind::Or, yes, less)) == "true");
  CHECK(folded(makeUnary(ExprKind::Not, makeUnary(ExprKind::Not, less))) == "i < j");
  CHECK(folded(makeBinary(ExprKind::Lt, n(2), n(3))) == "true");
  CHECK(folded(makeCall(context, "cdiv", {n(7), n(2)})) == "4");
  CHECK(folded(makeBinary(ExprKind::FloorDiv, n(-7), n(2))) == "-4");
  CHECK(folded(makeBinary(ExprKind::Mod, n(-7), n(2))) == "1");
  // Kept: what is undefined, would overflow, or is a sum of reals.
  CHECK(folded(makeBinary(ExprKind::FloorDiv, n(1), n(0))) == "1 div 0");
  CHECK(folded(makeBinary(ExprKind::Div, x(1), x(0))) == "1.0 / 0.0");
  CHECK(folded(mul(n(INT64_MAX), n(2))) == "9223372036854775807 * 2");
  CHECK(folded(sub(var("s"), var("s"))) == "s - s");
}

TEST_CASE_METHOD(Fixture, "folding keeps integer values and is idempotent", "[pattern]") {
  std::mt19937 random(7);
  auto pick = [&](int64_t count) { return int64_t(random() % uint64_t(count)); };
  std::function<ExprAttr(int)> make = [&](int depth) -> ExprAttr {
    if (depth == 0 || pick(5) == 0)
      return pick(2) ? n(pick(7) - 3) : pick(2) ? var("i") : dim("D");
    ExprAttr a = make(depth - 1), b = make(depth - 1);
    constexpr ExprKind kKinds[] = {ExprKind::Add, ExprKind::Sub, ExprKind::Mul, ExprKind::FloorDiv,
                                   ExprKind::Mod};
    int64_t kind = pick(7);
    if (kind == 5)
      return makeUnary(ExprKind::Neg, a);
    if (kind == 6)
      return makeCall(context, "min", {a, b});
    return makeBinary(kKinds[kind], a, b);
  };
  for (int round = 0; round < 500; ++round) {
    ExprAttr expr = make(5), simple = simplify(expr);
    CHECK(simplify(simple) == simple);
    for (int64_t i : {-3, 0, 2, 17}) {
      auto lookup = [&](llvm::StringRef name) -> std::optional<int64_t> {
        return name == "i" ? i : 5;
      };
      auto before = evaluateInteger(expr, lookup), after = evaluateInteger(simple, lookup);
      INFO(expr.str() << " -> " << simple.str());
      if (before)
        CHECK(before == after);
    }
  }
}

TEST_CASE_METHOD(Fixture, "integer values", "[pattern]") {
  auto value = [&](ExprAttr expr) {
    return evaluateInteger(expr, [](llvm::StringRef name) -> std::optional<int64_t> {
      if (name == "D")
        return 64;
      return std::nullopt;
    });
  };
  CHECK(value(makeCall(context, "binom", {add(dim("D"), n(1)), n(2)})) == 2080);
  CHECK(value(makeCall(context, "bitlen", {dim("D")})) == 7);
  CHECK(value(makeCall(context, "bitlen", {n(0)})) == 0);
  CHECK(value(makeCall(context, "cdiv", {n(-7), n(2)})) == -3);
  CHECK(value(makeLet("a", dim("D"), mul(var("a"), var("a")))) == 4096);
  CHECK_FALSE(value(dim("K")));
  CHECK_FALSE(value(makeBinary(ExprKind::Mod, dim("D"), n(0))));
  CHECK_FALSE(value(mul(n(INT64_MAX), dim("D"))));
  CHECK_FALSE(value(makeRead(context, "k", {n(0)})));
}

TEST_CASE("functions of doubles", "[pattern]") {
  CHECK(applyFunction("softplus", {1000.0}) == 1000.0);
  CHECK(applyFunction("softplus", {-1000.0}) == 0.0);
  CHECK(applyFunction("sigmoid", {-1000.0}) == 0.0);
  CHECK(applyFunction("round", {2.5}) == 2.0);
  CHECK(applyFunction("clamp", {9.0, 0.0, 7.0}) == 7.0);
  CHECK(applyFunction("bitxor", {6.0, 3.0}) == 5.0);
  CHECK(applyFunction("binom", {67.0, 4.0}) == 766480.0);
  CHECK(applyFunction("log", {0.0}) == -std::numeric_limits<double>::infinity());
  // Every function but those of trees and choices has a value.
  for (const Function &function : functions()) {
    if (function.rule == Function::Choice || function.rule == Function::Truth ||
        llvm::StringRef(function.name) == "depth")
      continue;
    std::vector<double> arguments(size_t(function.minArguments), 2.0);
    INFO(function.name);
    CHECK(std::isfinite(applyFunction(function.name, arguments)));
  }
}
