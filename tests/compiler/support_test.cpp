// Support analysis against brute force: thousands of random supports, random row tiles, random
// lengths and parameters (zero and negative ones too).
#include "compiler/support/Evaluate.h"
#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/Parse.h"
#include "tests/support/Test.h"

#include <map>
#include <random>

using namespace heddle;
using namespace heddle::compiler;
using pattern::ExprKind;

namespace {

using Scalars = std::map<std::string, int64_t>;

/// Documents of uneven lengths, and a table that falls, then ascends.
int64_t elementOf(llvm::StringRef tensor, int64_t i) {
  if (tensor == "doc")
    return std::abs(10 - i) % 7;
  constexpr int64_t kStarts[] = {0, 3, 4, 11, 17, 18, 30, 41, 60, 200};
  int64_t doc = 0;
  while (kStarts[doc + 1] <= i)
    ++doc;
  return i < 0 ? 0 : tensor == "first" ? kStarts[doc] : kStarts[doc + 1];
}

/// Truth of a support at one pair, written without the code under test.
class Direct {
public:
  Direct(const Scalars &scalars) : scalars(scalars) {}

  int64_t integer(Expr e) const {
    auto at = [&](size_t k) { return integer(e[k]); };
    auto floorDiv = [](int64_t x, int64_t y) {
      return y == 0 ? 0 : int64_t(std::floor(double(x) / double(y)));
    };
    switch (e.getKind()) {
    case ExprKind::Integer:
      return e.integer();
    case ExprKind::Var:
    case ExprKind::Param:
    case ExprKind::Dim:
      return scalars.at(e.getName().str());
    case ExprKind::Neg:
      return -at(0);
    case ExprKind::Add:
      return at(0) + at(1);
    case ExprKind::Sub:
      return at(0) - at(1);
    case ExprKind::Mul:
      return at(0) * at(1);
    case ExprKind::FloorDiv:
      return floorDiv(at(0), at(1));
    case ExprKind::Mod:
      return at(1) == 0 ? 0 : at(0) - at(1) * floorDiv(at(0), at(1));
    case ExprKind::Call:
      if (e.getName() == "abs")
        return std::abs(at(0));
      if (e.getName() == "ascending")
        return at(0);
      return e.getName() == "min" ? std::min(at(0), at(1)) : std::max(at(0), at(1));
    case ExprKind::Read:
      return elementOf(e.getName(), at(0));
    default:
      FAIL("unknown kind");
      return 0;
    }
  }

  bool truth(Expr e) const {
    switch (e.getKind()) {
    case ExprKind::Bool:
      return e.boolean();
    case ExprKind::Not:
      return !truth(e[0]);
    case ExprKind::And:
      return truth(e[0]) && truth(e[1]);
    case ExprKind::Or:
      return truth(e[0]) || truth(e[1]);
    case ExprKind::Lt:
      return integer(e[0]) < integer(e[1]);
    case ExprKind::Le:
      return integer(e[0]) <= integer(e[1]);
    case ExprKind::Gt:
      return integer(e[0]) > integer(e[1]);
    case ExprKind::Ge:
      return integer(e[0]) >= integer(e[1]);
    case ExprKind::Eq:
      return integer(e[0]) == integer(e[1]);
    default:
      return integer(e[0]) != integer(e[1]);
    }
  }

private:
  const Scalars &scalars;
};

/// Random supports. `zonesOnly` draws bounds on i, j, i - j with scalars alone: class A by design.
class Generator {
public:
  Generator(mlir::MLIRContext &context, int seed, bool zonesOnly)
      : context(context), random(seed), zonesOnly(zonesOnly) {}

  int64_t draw(int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(random);
  }

  Expr support(int depth) {
    if (depth == 0 || draw(0, 3) == 0)
      return atom();
    switch (draw(0, 4)) {
    case 0:
      return pattern::makeUnary(ExprKind::Not, support(depth - 1));
    case 1:
      return pattern::makeBinary(ExprKind::Or, support(depth - 1), support(depth - 1));
    default:
      return pattern::makeBinary(ExprKind::And, support(depth - 1), support(depth - 1));
    }
  }

  /// Bounds by the document of i, and those of `support` where they leave no gaps.
  Expr documents() {
    Expr i = var("i"), j = var("j");
    auto promised = [&](const char *tensor) {
      return pattern::makeCall(&context, "ascending", {pattern::makeRead(&context, tensor, {i})});
    };
    Expr expr = op(ExprKind::Le, promised("first"), j);
    bool causal = draw(0, 1);
    expr = op(ExprKind::And, expr,
              causal ? op(ExprKind::Le, j, i) : op(ExprKind::Lt, j, promised("end")));
    if (causal && draw(0, 2) == 0)
      expr =
          op(ExprKind::And, expr, op(ExprKind::Lt, op(ExprKind::Sub, i, j), integer(draw(1, 9))));
    if (draw(0, 2) == 0)
      expr = op(ExprKind::And, expr, op(ExprKind::Le, j, scalar()));
    if (draw(0, 2) == 0)
      expr = op(ExprKind::Or, expr, op(ExprKind::Lt, j, integer(draw(0, 5))));
    return expr;
  }

private:
  Expr var(const char *name) { return pattern::makeVar(&context, name); }
  Expr param(const char *name) { return pattern::makeParam(&context, name); }
  Expr integer(int64_t value) { return pattern::makeInteger(&context, value); }
  Expr op(ExprKind kind, Expr x, Expr y) { return pattern::makeBinary(kind, x, y); }

  ExprKind comparison() { return ExprKind(int(ExprKind::Lt) + draw(0, 5)); }

  Expr scalar() {
    switch (draw(0, 5)) {
    case 0:
      return param("W");
    case 1:
      return op(ExprKind::Sub, param("W"), integer(draw(0, 4)));
    case 2:
      return op(ExprKind::Mul, integer(draw(1, 3)), param("P"));
    case 3:
      return op(ExprKind::Sub, pattern::makeDim(&context, "Tk"), param("P"));
    default:
      return integer(draw(-3, 40));
    }
  }

  Expr atom() {
    Expr i = var("i"), j = var("j"), distance = op(ExprKind::Sub, i, j);
    switch (draw(0, zonesOnly ? 6 : 14)) {
    case 0:
      return op(ExprKind::Le, j, i);
    case 1:
      return op(comparison(), distance, scalar());
    case 2:
      return op(comparison(), j, scalar());
    case 3:
      return op(comparison(), op(ExprKind::Add, j, scalar()), i);
    case 4:
      return op(ExprKind::Le, pattern::makeCall(&context, "abs", {distance}), scalar());
    case 5:
      return op(comparison(), op(ExprKind::Mul, integer(3), distance), scalar());
    case 6:
      return op(comparison(), i, scalar());
    case 7: // local chunk
      return op(ExprKind::Eq, op(ExprKind::FloorDiv, j, param("c")),
                op(ExprKind::FloorDiv, i, param("c")));
    case 8:
      return op(comparison(), op(ExprKind::FloorDiv, j, integer(5)),
                op(ExprKind::Sub, op(ExprKind::FloorDiv, i, integer(5)), integer(draw(0, 2))));
    case 9:
      return op(ExprKind::Eq, op(ExprKind::Mod, distance, integer(draw(2, 5))), integer(0));
    case 10:
      return op(comparison(), op(ExprKind::Mul, integer(draw(1, 3)), j),
                op(ExprKind::Mul, integer(draw(-2, 3)), i));
    case 11:
      return op(ExprKind::Lt, op(ExprKind::Mul, i, j), scalar());
    case 12:
      return op(comparison(), j,
                pattern::makeCall(&context, draw(0, 1) ? "min" : "max", {i, scalar()}));
    case 13:
      return op(comparison(), param("W"), integer(draw(0, 20)));
    default:
      return op(ExprKind::Eq, pattern::makeRead(&context, "doc", {i}),
                pattern::makeRead(&context, "doc", {j}));
    }
  }

  mlir::MLIRContext &context;
  std::mt19937 random;
  bool zonesOnly;
};

struct Case {
  Expr expr;
  Scalars scalars;
  int64_t i0, i1, firstKey, endKey;
};

Case drawCase(Generator &generator, int64_t maxDepth) {
  Case c;
  c.expr = generator.support(generator.draw(0, maxDepth));
  int64_t Tq = generator.draw(1, 50), Tk = generator.draw(0, 50);
  c.scalars = {{"W", generator.draw(-3, 30)},
               {"P", generator.draw(0, 20)},
               {"c", generator.draw(-1, 9)},
               {"Tq", Tq},
               {"Tk", Tk},
               {"b", 0},
               {"h", 0}};
  int64_t off = generator.draw(0, 1) ? Tk - Tq : 0; // both alignments
  int64_t row = generator.draw(0, Tq - 1);
  c.i0 = row + off;
  c.i1 = std::min(row + generator.draw(1, 20), Tq) - 1 + off;
  // All keys, or the keys of one split.
  c.firstKey = generator.draw(0, 2) == 0 ? generator.draw(0, Tk) : 0;
  c.endKey = generator.draw(0, 2) == 0 ? generator.draw(c.firstKey, Tk) : Tk;
  return c;
}

struct Truth {
  std::vector<bool> touched, full;
};

Truth bruteForce(const Case &c) {
  Truth truth{std::vector<bool>(c.endKey, false), std::vector<bool>(c.endKey, true)};
  Scalars scalars = c.scalars;
  for (int64_t i = c.i0; i <= c.i1; ++i)
    for (int64_t j = c.firstKey; j < c.endKey; ++j) {
      scalars["i"] = i, scalars["j"] = j;
      bool inside = Direct(scalars).truth(c.expr);
      truth.touched[j] = truth.touched[j] || inside;
      truth.full[j] = truth.full[j] && inside;
    }
  return truth;
}

/// Checks one case; returns touched keys that no pair needs.
int64_t check(const Case &c, const Support &support, int64_t step) {
  auto lookup = [&](llvm::StringRef name) { return c.scalars.at(name.str()); };
  auto tensors = [&](llvm::StringRef name, llvm::ArrayRef<int64_t> at) {
    return elementOf(name, at[0]);
  };
  NumberAlgebra algebra(lookup, tensors);
  Truth truth = bruteForce(c);
  std::vector<int> visits(c.endKey, 0);
  bool wrongFull = false, badOrder = false;
  int64_t last = c.firstKey, extra = 0;
  for (const KeyPart<NumberAlgebra> &part :
       keyParts(algebra, support, c.i0, c.i1, {c.firstKey, c.endKey}, step)) {
    if (part.end <= part.begin)
      continue;
    badOrder |= part.begin < last || part.fullBegin < part.begin || part.fullEnd < part.fullBegin ||
                part.end < part.fullEnd || part.end > c.endKey ||
                (part.fullEnd - part.fullBegin) % step != 0;
    if (badOrder)
      break;
    last = part.end;
    for (int64_t j = part.begin; j < part.end; ++j) {
      ++visits[j];
      wrongFull |= j >= part.fullBegin && j < part.fullEnd && !truth.full[j];
      extra += !truth.touched[j];
    }
  }
  KeyRange<NumberAlgebra> hull = touchedHull(algebra, support, c.i0, c.i1, {c.firstKey, c.endKey});
  bool missed = false, outside = false;
  for (int64_t j = c.firstKey; j < c.endKey; ++j) {
    missed |= truth.touched[j] && visits[j] != 1;
    outside |= truth.touched[j] && (j < hull.begin || j >= hull.end);
  }
  INFO(c.expr.str() << "\n"
                    << toString(support) << "\nrows " << c.i0 << ".." << c.i1 << " keys "
                    << c.firstKey << ".." << c.endKey << " W " << c.scalars.at("W") << " P "
                    << c.scalars.at("P") << " c " << c.scalars.at("c"));
  REQUIRE_FALSE(badOrder);
  REQUIRE_FALSE(missed);
  REQUIRE_FALSE(outside);
  REQUIRE_FALSE(wrongFull);
  return extra;
}

SupportNames testNames() {
  SupportNames names;
  names.integers = {"doc", "first", "end"};
  return names;
}

} // namespace

TEST_CASE("zones touch exactly the keys that have a pair") {
  auto context = pattern::makePatternContext();
  int64_t cases = 0;
  for (int seed = 0; seed < 4000; ++seed) {
    Generator generator(*context, seed, true);
    Case c = drawCase(generator, 3);
    Support support = analyseSupport(c.expr, testNames());
    int64_t extra = check(c, support, 1);
    if (support.kind != SupportClass::A || support.zones.size() > kMaxParts)
      continue;
    INFO(c.expr.str() << "\n" << toString(support));
    REQUIRE(extra == 0);
    ++cases;
  }
  CHECK(cases > 3000);
}

TEST_CASE("bounds of any support are safe, and class A is exact") {
  auto context = pattern::makePatternContext();
  std::map<SupportClass, int64_t> seen;
  for (int seed = 0; seed < 6000; ++seed) {
    Generator generator(*context, 10000 + seed, false);
    Case c = drawCase(generator, 3);
    Support support = analyseSupport(c.expr, testNames());
    int64_t extra = check(c, support, 1 + seed % 5);
    if (support.kind == SupportClass::A) {
      INFO(c.expr.str() << "\n"
                        << toString(support) << " rows " << c.i0 << ".." << c.i1 << " keys "
                        << c.endKey << " c " << c.scalars.at("c"));
      // A divisor that is not positive leaves the bounds unknown: safe, not exact.
      if (c.scalars.at("c") > 0 && support.zones.size() <= kMaxParts)
        REQUIRE(extra == 0);
    }
    ++seen[support.kind];
  }
  for (SupportClass kind : {SupportClass::A, SupportClass::B, SupportClass::C})
    CHECK(seen[kind] > 100);
}

TEST_CASE("documents by values that ascend with the row are zones, and exact") {
  auto context = pattern::makePatternContext();
  for (int seed = 0; seed < 2000; ++seed) {
    Generator generator(*context, 30000 + seed, false);
    Case c = drawCase(generator, 0);
    c.expr = generator.documents();
    Support support = analyseSupport(c.expr, testNames());
    INFO(c.expr.str() << "\n" << toString(support));
    REQUIRE(support.kind == SupportClass::A);
    REQUIRE(check(c, support, 1 + seed % 5) == 0);
  }
}
