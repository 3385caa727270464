// Analyses a support: pushes `not` inward, multiplies out to at most kMaxZones conjunctions, and
// turns each comparison of integers into a bound of a zone by solving it for i, j or i - j.
//
//   not (j > i or i - j >= W)      ->  one zone: i - j in [0, W - 1]
//   j // c == i // c and j <= i    ->  one zone: j in [(i // c) c, (i // c) c + c - 1], i - j >= 0
//   j >= ascending(first[b, i])    ->  one zone: j from what first holds at the tile's first row
//   doc[b, i] == doc[b, j]         ->  no bound: zone not exact, class C
#include "compiler/support/IntegerExpr.h"
#include "compiler/support/Zone.h"
#include "ir/pattern/ExprUtils.h"

#include <algorithm>

namespace heddle::compiler {

using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using Zones = llvm::SmallVector<Zone, 2>;

namespace {

Expr number(Expr like, int64_t value) { return makeInteger(like.getContext(), value); }
Expr binary(ExprKind kind, Expr x, Expr y) { return pattern::simplify(makeBinary(kind, x, y)); }
Expr add(Expr x, Expr y) { return binary(ExprKind::Add, x, y); }
Expr subtract(Expr x, Expr y) { return binary(ExprKind::Sub, x, y); }
Expr negate(Expr x) { return subtract(number(x, 0), x); }
Expr times(int64_t factor, Expr x) {
  return factor == 1 ? x : binary(ExprKind::Mul, number(x, factor), x);
}
Expr floorDivide(Expr x, int64_t divisor) {
  return divisor == 1 ? x : binary(ExprKind::FloorDiv, x, number(x, divisor));
}
/// ceil(x / divisor) = -floor(-x / divisor).
Expr ceilDivide(Expr x, int64_t divisor) {
  return divisor == 1 ? x : negate(floorDivide(negate(x), divisor));
}

/// row * i + key * j + sum of factor * term + rest; terms depend on i or j and are not linear.
struct Linear {
  int64_t row = 0, key = 0;
  llvm::SmallVector<std::pair<int64_t, Expr>, 2> terms;
  Expr rest;
};

enum class Direction { None, Constant, Up, Down };

Direction opposite(Direction direction) {
  if (direction == Direction::Up)
    return Direction::Down;
  return direction == Direction::Down ? Direction::Up : direction;
}

Direction join(Direction x, Direction y) {
  if (x == Direction::Constant)
    return y;
  return y == Direction::Constant || x == y ? x : Direction::None;
}

class Analyser {
public:
  explicit Analyser(const SupportNames &names) : names(names) {}

  Support run(Expr expr) {
    support.zones = zonesOf(pattern::simplify(pattern::expandLets(expr)), false);
    bool exact = llvm::all_of(support.zones, [](const Zone &zone) { return zone.exact; });
    if (!exact)
      support.kind = onlyRemainders ? SupportClass::B : SupportClass::C;
    for (const Zone &zone : support.zones)
      if (zone.exact && !rowsTouch(zone))
        noteGap();
    return std::move(support);
  }

private:
  // ---- conjunctions ----

  Zones zonesOf(Expr expr, bool negated) {
    switch (expr.getKind()) {
    case ExprKind::Bool:
      return expr.boolean() != negated ? Zones{Zone()} : Zones{};
    case ExprKind::Not:
      return zonesOf(expr[0], !negated);
    case ExprKind::And:
    case ExprKind::Or: {
      bool both = expr.is(ExprKind::And) != negated;
      Zones left = zonesOf(expr[0], negated), right = zonesOf(expr[1], negated);
      return both ? intersect(std::move(left), std::move(right))
                  : unite(std::move(left), std::move(right));
    }
    default:
      break;
    }
    if (isConditionScalar(expr, names)) {
      Zone zone;
      zone.when.push_back(negated ? pattern::makeUnary(ExprKind::Not, expr) : expr);
      return {zone};
    }
    if (pattern::isComparison(expr.getKind()) && isInteger(expr[0]) && isInteger(expr[1]))
      return compare(negated ? inverse(expr.getKind()) : expr.getKind(), expr[0], expr[1]);
    if (expr.is(ExprKind::Call) && expr.getName() == "select")
      return unite(intersect(zonesOf(expr[0], false), zonesOf(expr[1], negated)),
                   intersect(zonesOf(expr[0], true), zonesOf(expr[2], negated)));
    return unknown(expr);
  }

  static Zone both(const Zone &x, const Zone &y) {
    Zone zone = x;
    auto append = [](auto &to, const auto &from) {
      for (const auto &element : from)
        if (!llvm::is_contained(to, element))
          to.push_back(element);
    };
    append(zone.minRow, y.minRow);
    append(zone.maxRow, y.maxRow);
    append(zone.minKey, y.minKey);
    append(zone.maxKey, y.maxKey);
    append(zone.minDistance, y.minDistance);
    append(zone.maxDistance, y.maxDistance);
    append(zone.minKeyOfRow, y.minKeyOfRow);
    append(zone.maxKeyOfRow, y.maxKeyOfRow);
    append(zone.when, y.when);
    append(zone.positive, y.positive);
    zone.exact = x.exact && y.exact;
    return zone;
  }

  Zones intersect(Zones x, Zones y) {
    if (int64_t(x.size() * y.size()) > kMaxZones) {
      Zones &larger = x.size() >= y.size() ? x : y;
      larger = {commonBounds(larger)};
    }
    Zones result;
    for (const Zone &a : x)
      for (const Zone &b : y)
        result.push_back(both(a, b));
    return result;
  }

  Zones unite(Zones x, const Zones &y) {
    x.append(y.begin(), y.end());
    if (int64_t(x.size()) > kMaxZones)
      return {commonBounds(x)};
    return x;
  }

  /// One zone with the bounds that all of `zones` have: a superset of their union.
  Zone commonBounds(const Zones &zones) {
    Zone common = zones.front();
    auto keep = [&](auto member) {
      llvm::erase_if(common.*member, [&](const auto &bound) {
        return !llvm::all_of(
            zones, [&](const Zone &zone) { return llvm::is_contained(zone.*member, bound); });
      });
    };
    keep(&Zone::minRow), keep(&Zone::maxRow), keep(&Zone::minKey), keep(&Zone::maxKey);
    keep(&Zone::minDistance), keep(&Zone::maxDistance);
    keep(&Zone::minKeyOfRow), keep(&Zone::maxKeyOfRow), keep(&Zone::when);
    for (const Zone &zone : zones)
      for (Expr divisor : zone.positive)
        if (!llvm::is_contained(common.positive, divisor))
          common.positive.push_back(divisor);
    common.exact = false;
    onlyRemainders = false;
    support.notes.push_back("more than " + std::to_string(kMaxZones) +
                            " zones: only the bounds that all of them have are used");
    return common;
  }

  Zones unknown(Expr expr) {
    bool remainder = false;
    if (pattern::isComparison(expr.getKind()))
      pattern::walk(expr, [&](Expr e) {
        remainder |= e.is(ExprKind::Mod) && dependsOn(e, names.key);
        return true;
      });
    onlyRemainders &= remainder;
    std::string note = "no bound from " + expr.str();
    if (!llvm::is_contained(support.notes, note))
      support.notes.push_back(note);
    Zone zone;
    zone.exact = false;
    return {zone};
  }

  // ---- comparisons ----

  static ExprKind inverse(ExprKind kind) {
    switch (kind) {
    case ExprKind::Lt:
      return ExprKind::Ge;
    case ExprKind::Le:
      return ExprKind::Gt;
    case ExprKind::Gt:
      return ExprKind::Le;
    case ExprKind::Ge:
      return ExprKind::Lt;
    case ExprKind::Eq:
      return ExprKind::Ne;
    default:
      return ExprKind::Eq;
    }
  }

  Zones compare(ExprKind kind, Expr x, Expr y) {
    // `source` is what a note shows if no bound is found.
    Expr source = makeBinary(kind, x, y);
    Linear less = linear(subtract(x, y)), more = linear(subtract(y, x));
    Linear lessStrict = shifted(less, 1), moreStrict = shifted(more, 1);
    switch (kind) {
    case ExprKind::Lt:
      return atMostZero(lessStrict, source);
    case ExprKind::Le:
      return atMostZero(less, source);
    case ExprKind::Gt:
      return atMostZero(moreStrict, source);
    case ExprKind::Ge:
      return atMostZero(more, source);
    case ExprKind::Eq:
      return intersect(atMostZero(less, source), atMostZero(more, source));
    default:
      return unite(atMostZero(lessStrict, source), atMostZero(moreStrict, source));
    }
  }

  static Linear shifted(Linear value, int64_t by) {
    value.rest = add(value.rest, number(value.rest, by));
    return value;
  }

  /// factor * x + y.
  static Linear combine(int64_t factor, const Linear &x, Linear y) {
    y.row += factor * x.row;
    y.key += factor * x.key;
    y.rest = add(y.rest, times(factor, x.rest));
    for (auto [f, term] : x.terms) {
      auto *same = llvm::find_if(y.terms, [term = term](auto &t) { return t.second == term; });
      if (same == y.terms.end())
        y.terms.push_back({factor * f, term});
      else if ((same->first += factor * f) == 0)
        y.terms.erase(same);
    }
    return y;
  }

  Linear linear(Expr expr) {
    Linear none;
    none.rest = number(expr, 0);
    if (isIntegerScalar(expr, names)) {
      none.rest = expr;
      return none;
    }
    if (expr.is(ExprKind::Var) && expr.getName() == names.row) {
      none.row = 1;
      return none;
    }
    if (expr.is(ExprKind::Var) && expr.getName() == names.key) {
      none.key = 1;
      return none;
    }
    if (expr.is(ExprKind::Neg))
      return combine(-1, linear(expr[0]), none);
    if (expr.is(ExprKind::Add) || expr.is(ExprKind::Sub))
      return combine(expr.is(ExprKind::Add) ? 1 : -1, linear(expr[1]), linear(expr[0]));
    if (expr.is(ExprKind::Mul))
      for (int side : {0, 1})
        if (expr[side].is(ExprKind::Integer) && std::abs(expr[side].integer()) < (1 << 20))
          return combine(expr[side].integer(), linear(expr[1 - side]), none);
    none.terms.push_back({1, expr});
    return none;
  }

  Linear withoutTerm(const Linear &value, size_t index) {
    Linear result = value;
    result.terms.erase(result.terms.begin() + index);
    return result;
  }

  /// Zones of value <= 0.
  Zones atMostZero(const Linear &value, Expr source) {
    for (size_t n = 0; n < value.terms.size(); ++n) {
      auto [factor, term] = value.terms[n];
      llvm::StringRef name = term.is(ExprKind::Call) ? term.getName() : "";
      if (name != "abs" && name != "min" && name != "max")
        continue;
      // abs(x) = max(x, -x). factor * max(x, y) <= -r: both, if factor > 0, else either.
      Linear rest = withoutTerm(value, n);
      Linear last = name == "abs" ? combine(-1, linear(term[0]), zero(term)) : linear(term[1]);
      Zones zones = atMostZero(combine(factor, linear(term[0]), rest), source);
      auto more = [&](const Linear &operand) {
        Zones next = atMostZero(combine(factor, operand, rest), source);
        zones = (name == "min") == (factor < 0) ? intersect(std::move(zones), std::move(next))
                                                : unite(std::move(zones), std::move(next));
      };
      more(last);
      for (size_t k = 2; k < term.size(); ++k)
        more(linear(term[k]));
      return zones;
    }
    if (value.terms.empty())
      return solveLinear(value);
    std::optional<Zone> zone = solveTerms(value);
    return zone ? Zones{*zone} : unknown(source);
  }

  static Linear zero(Expr like) {
    Linear value;
    value.rest = number(like, 0);
    return value;
  }

  Zones solveLinear(const Linear &value) {
    Zone zone;
    Expr other = negate(value.rest);
    int64_t row = value.row, key = value.key;
    if (row == 0 && key == 0) {
      zone.when.push_back(makeBinary(ExprKind::Le, value.rest, number(value.rest, 0)));
    } else if (key == 0) {
      bound(zone.minRow, zone.maxRow, row, other);
    } else if (row == 0) {
      bound(zone.minKey, zone.maxKey, key, other);
    } else if (row == -key) {
      bound(zone.minDistance, zone.maxDistance, row, other);
    } else {
      boundByRow(zone, key, rowPart(value));
    }
    return {zone};
  }

  /// factor * x <= other as a bound on x.
  template <typename List> static void bound(List &min, List &max, int64_t factor, Expr other) {
    if (factor > 0)
      max.push_back(floorDivide(other, factor));
    else
      min.push_back(negate(floorDivide(other, -factor)));
  }

  /// The part of the value that depends on i, as an expression.
  Expr rowPart(const Linear &value) {
    Expr sum = value.rest;
    if (value.row != 0)
      sum = add(sum, times(value.row, pattern::makeVar(sum.getContext(), names.row)));
    for (auto [factor, term] : value.terms)
      sum = add(sum, times(factor, term));
    return sum;
  }

  /// key * j + part(i) <= 0; false if part is not monotone.
  bool boundByRow(Zone &zone, int64_t key, Expr part) {
    Direction direction = directionOf(part, zone);
    if (direction == Direction::None || !isIntegerScalar(part, names, true))
      return false;
    bool upper = key > 0;
    Expr value = upper ? floorDivide(negate(part), key) : ceilDivide(part, -key);
    bool ascending = upper ? direction != Direction::Up : direction != Direction::Down;
    (upper ? zone.maxKeyOfRow : zone.minKeyOfRow).push_back({value, ascending});
    return true;
  }

  /// Solves for a bound where the value has terms that are not linear; nothing if there is none.
  std::optional<Zone> solveTerms(const Linear &value) {
    Zone zone;
    int64_t withKey = llvm::count_if(
        value.terms, [&](const auto &term) { return dependsOn(term.second, names.key); });
    if (withKey == 0 && value.key != 0) {
      Linear row = value;
      row.key = 0;
      if (boundByRow(zone, value.key, rowPart(row)))
        return zone;
      return std::nullopt;
    }
    if (value.terms.size() == 1 && withKey == 0 && value.row == 0)
      return solveQuotient(value, 0, value.rest);
    if (withKey != 1 || value.key != 0)
      return std::nullopt;
    size_t index = 0;
    while (!dependsOn(value.terms[index].second, names.key))
      ++index;
    return solveQuotient(value, index, rowPart(withoutTerm(value, index)));
  }

  /// factor * (x // c) + part <= 0 for a term x // c, x linear in i alone or in j alone, c > 0:
  ///   x // c <= R  is  x <= c R + c - 1,      x // c >= R  is  x >= c R.
  std::optional<Zone> solveQuotient(const Linear &value, size_t index, Expr part) {
    auto [factor, term] = value.terms[index];
    if (!term.is(ExprKind::FloorDiv))
      return std::nullopt;
    Linear x = linear(term[0]);
    Zone zone;
    if (!x.terms.empty() || !isPositive(term[1], zone) || (x.row != 0) == (x.key != 0))
      return std::nullopt;
    Expr limit = factor > 0 ? floorDivide(negate(part), factor) : ceilDivide(part, -factor);
    limit = binary(ExprKind::Mul, term[1], limit);
    if (factor > 0)
      limit = add(limit, subtract(term[1], number(limit, 1)));
    // Now x <= limit (factor > 0) or x >= limit; as coefficient * variable + .. <= 0:
    int64_t sign = factor > 0 ? 1 : -1;
    Expr rest = times(sign, subtract(x.rest, limit));
    if (isIntegerScalar(part, names)) {
      Linear solved = zero(rest);
      solved.row = sign * x.row;
      solved.key = sign * x.key;
      solved.rest = rest;
      return both(zone, solveLinear(solved).front());
    }
    if (x.key == 0 || !boundByRow(zone, sign * x.key, rest))
      return std::nullopt;
    return zone;
  }

  /// True if the divisor is a positive constant, or a scalar whose sign the zone then asks for.
  bool isPositive(Expr divisor, Zone &zone) {
    if (divisor.is(ExprKind::Integer))
      return divisor.integer() > 0;
    if (!isIntegerScalar(divisor, names))
      return false;
    if (!llvm::is_contained(zone.positive, divisor))
      zone.positive.push_back(divisor);
    return true;
  }

  /// How the expression changes with i. Divisors of unknown sign are added to zone.positive.
  Direction directionOf(Expr expr, Zone &zone) {
    if (isIntegerScalar(expr, names))
      return Direction::Constant;
    switch (expr.getKind()) {
    case ExprKind::Var:
      return expr.getName() == names.row ? Direction::Up : Direction::None;
    case ExprKind::Neg:
      return opposite(directionOf(expr[0], zone));
    case ExprKind::Add:
      return join(directionOf(expr[0], zone), directionOf(expr[1], zone));
    case ExprKind::Sub:
      return join(directionOf(expr[0], zone), opposite(directionOf(expr[1], zone)));
    case ExprKind::Mul:
      for (int side : {0, 1}) {
        if (expr[side].is(ExprKind::Integer)) {
          Direction direction = directionOf(expr[1 - side], zone);
          return expr[side].integer() < 0 ? opposite(direction) : direction;
        }
        if (isIntegerScalar(expr[side], names) && isPositive(expr[side], zone))
          return directionOf(expr[1 - side], zone);
      }
      return Direction::None;
    case ExprKind::FloorDiv:
      return isPositive(expr[1], zone) ? directionOf(expr[0], zone) : Direction::None;
    case ExprKind::Call: {
      if (expr.getName() == "ascending")
        return Direction::Up;
      if (expr.getName() != "min" && expr.getName() != "max")
        return Direction::None;
      Direction direction = Direction::Constant;
      for (Expr child : expr.children())
        direction = join(direction, directionOf(child, zone));
      return direction;
    }
    default:
      return Direction::None;
    }
  }

  // ---- exactness ----

  /// True if the keys of all rows of a tile have no gap between them, so that one interval is
  /// exact. Bounds on i, j and i - j always have that; bounds by functions of i are only known to
  /// have it where each row's interval holds j = i, as in `j // c == i // c and j <= i`. Of values
  /// that the pattern promises to ascend it is taken for granted: starts and ends of documents do.
  bool rowsTouch(const Zone &zone) {
    if (zone.minKeyOfRow.empty() && zone.maxKeyOfRow.empty())
      return true;
    for (Expr bound : zone.minDistance)
      if (!bound.isInteger(0))
        return false;
    if (zone.minDistance.empty() && !zone.maxDistance.empty())
      return false;
    auto onDiagonal = [&](const RowBound &bound) { return aroundDiagonal(bound.value); };
    return llvm::all_of(zone.minKeyOfRow, onDiagonal) && llvm::all_of(zone.maxKeyOfRow, onDiagonal);
  }

  /// c * (i // c), or that + c - 1, or something that holds a promise.
  bool aroundDiagonal(Expr expr) {
    bool promised = false;
    pattern::walk(expr, [&](Expr e) {
      promised |= e.is(ExprKind::Call) && e.getName() == "ascending";
      return true;
    });
    if (promised)
      return true;
    Linear value = linear(expr);
    if (value.row != 0 || value.key != 0 || value.terms.size() != 1)
      return false;
    auto [factor, term] = value.terms.front();
    Expr divisor, quotient = term;
    if (term.is(ExprKind::Mul)) { // c * (i // c) with a parameter c
      if (factor != 1)
        return false;
      quotient = term[1].is(ExprKind::FloorDiv) ? term[1] : term[0];
      divisor = term[1].is(ExprKind::FloorDiv) ? term[0] : term[1];
    } else {
      divisor = number(expr, factor);
    }
    bool same = quotient.is(ExprKind::FloorDiv) && quotient[0].is(ExprKind::Var) &&
                quotient[0].getName() == names.row && quotient[1] == divisor;
    return same && (value.rest.isInteger(0) || value.rest == subtract(divisor, number(divisor, 1)));
  }

  void noteGap() {
    if (support.kind == SupportClass::A)
      support.kind = SupportClass::C;
    onlyRemainders = false;
    support.notes.push_back("keys of neighbouring rows may be apart: the keys between are visited");
  }

  // ---- names ----

  bool dependsOn(Expr expr, llvm::StringRef name) {
    return llvm::is_contained(pattern::freeVars(expr), name.str());
  }

  bool isInteger(Expr expr) {
    SupportNames all = names;
    all.invariant.push_back(names.key);
    return isIntegerScalar(expr, all, true);
  }

  const SupportNames &names;
  Support support;
  bool onlyRemainders = true;
};

} // namespace

Support analyseSupport(Expr expr, const SupportNames &names) { return Analyser(names).run(expr); }

} // namespace heddle::compiler
