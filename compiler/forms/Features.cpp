// Feature maps as expressions of the feature's number:
//
//   [silu, l2norm(eps = 1.0e-6)]  of x   ->   silu(x[d]) * rsqrt(sum[y < D] { silu(x[y]) .. } +
//   eps)
#include "compiler/forms/Features.h"

namespace heddle::compiler {

using pattern::ExprKind;

namespace {

/// Short names for building expressions.
struct Maker {
  mlir::MLIRContext *context;

  Expr number(double value) { return pattern::makeFloat(context, value); }
  Expr integer(int64_t value) { return pattern::makeInteger(context, value); }
  Expr add(Expr x, Expr y) { return pattern::makeBinary(ExprKind::Add, x, y); }
  Expr sub(Expr x, Expr y) { return pattern::makeBinary(ExprKind::Sub, x, y); }
  Expr mul(Expr x, Expr y) { return pattern::makeBinary(ExprKind::Mul, x, y); }
  Expr less(Expr x, Expr y) { return pattern::makeBinary(ExprKind::Lt, x, y); }
  Expr call(const char *name, std::initializer_list<Expr> x) {
    return pattern::makeCall(context, name, llvm::ArrayRef<Expr>(x.begin(), x.size()));
  }
  Expr select(Expr c, Expr x, Expr y) { return call("select", {c, x, y}); }
};

class Chain {
public:
  Chain(const PatternProblem &problem, FeatureRow row, Expr position)
      : problem(problem), make{problem.context}, row(std::move(row)), position(position) {}

  /// False if there is no expression for the feature.
  bool apply(pattern::FeatureAttr feature);

  FeatureRow take() { return std::move(row); }

private:
  Expr argument(pattern::FeatureAttr feature, const char *name) {
    return problem.specialise(feature.expr(name));
  }
  void each(std::function<Expr(Expr)> function) {
    row.at = [at = row.at, function](Expr d) { return function(at(d)); };
  }
  void normalise(Expr eps);
  void append(Expr value);
  void rotate(pattern::FeatureAttr feature);
  void byFormula(Expr formula);

  const PatternProblem &problem;
  Maker make;
  FeatureRow row;
  Expr position;
};

void Chain::normalise(Expr eps) {
  Expr y = pattern::makeVar(problem.context, "y'");
  Expr squares = pattern::makeReduction(ExprKind::Sum, "y'", make.integer(0), row.width,
                                        make.mul(row.at(y), row.at(y)));
  Expr factor = make.call("rsqrt", {make.add(squares, eps)});
  row.at = [at = row.at, factor, make = make](Expr d) mutable { return make.mul(at(d), factor); };
}

void Chain::append(Expr value) {
  row.at = [at = row.at, value, width = row.width, make = make](Expr d) mutable {
    return make.select(make.less(d, width), at(d), value);
  };
  row.width = problem.specialise(make.add(row.width, make.integer(1)));
}

/// Feature d of a pair (lower, upper): x[d] cos(angle) -+ x[partner] sin(angle).
void Chain::rotate(pattern::FeatureAttr feature) {
  Maker m = make;
  auto given = [&](const char *name, Expr otherwise) {
    Expr expr = argument(feature, name);
    return expr ? expr : otherwise;
  };
  Expr dims = given("dims", row.width), first = given("first", m.integer(0));
  Expr half = problem.specialise(pattern::makeBinary(ExprKind::FloorDiv, dims, m.integer(2)));
  Expr offset = given("offset", half), factor = given("factor", m.number(1));
  Expr base = given("base", m.number(10000)), where = given("pos", position);
  Expr angle = argument(feature, "angle"), freq = argument(feature, "freq");
  if (!angle && !freq) {
    Expr f = pattern::makeVar(problem.context, "f");
    Expr exponent = pattern::makeBinary(ExprKind::Div, m.mul(m.integer(-2), f), dims);
    freq = m.call("pow", {base, exponent});
  }
  if (!angle)
    angle = m.mul(where, freq);
  bool interleaved = feature.word("pairing") == "interleaved";
  const PatternProblem *p = &problem;
  row.at = [at = row.at, m, p, first, half, offset, factor, angle, interleaved](Expr d) mutable {
    Expr n = m.sub(d, first), zero = m.integer(0), two = m.integer(2);
    auto both = [&](Expr x, Expr y) { return pattern::makeBinary(ExprKind::And, x, y); };
    auto within = [&](Expr x, Expr lo, Expr hi) {
      return both(pattern::makeBinary(ExprKind::Ge, x, lo), m.less(x, hi));
    };
    Expr lower, inside, step, pair;
    if (interleaved) {
      lower = pattern::makeBinary(ExprKind::Eq, pattern::makeBinary(ExprKind::Mod, n, two), zero);
      inside = within(n, zero, m.mul(two, half));
      step = m.integer(1);
      pair = pattern::makeBinary(ExprKind::FloorDiv, n, two);
    } else {
      lower = within(n, zero, half);
      inside = pattern::makeBinary(ExprKind::Or, lower, within(n, offset, m.add(offset, half)));
      step = offset;
      pair = m.select(lower, n, m.sub(n, offset));
    }
    llvm::StringMap<Expr> names;
    names["f"] = pair;
    Expr turn = pattern::substitute(angle, names);
    Expr partner = m.select(lower, m.add(d, step), m.sub(d, step));
    Expr sign = m.select(lower, m.number(-1), m.number(1));
    Expr cosine = m.mul(factor, m.call("cos", {turn})), sine = m.mul(factor, m.call("sin", {turn}));
    Expr turned = m.add(m.mul(at(d), cosine), m.mul(m.mul(sign, at(partner)), sine));
    return p->specialise(m.select(inside, turned, at(d)));
  };
}

void Chain::byFormula(Expr formula) {
  row.at = [at = row.at, formula](Expr d) {
    llvm::StringMap<Expr> names;
    names["x"] = at(d);
    names["d"] = d;
    return pattern::substitute(formula, names);
  };
}

bool Chain::apply(pattern::FeatureAttr feature) {
  llvm::StringRef name = feature.getName().getValue();
  Maker m = make;
  if (name == "id")
    return true;
  if (name == "silu" || name == "relu" || name == "exp")
    each([m, function = name.str()](Expr x) mutable { return m.call(function.c_str(), {x}); });
  else if (name == "elu1") // x > 0 ? x + 1 : exp(x)
    each([m](Expr x) mutable {
      return m.select(m.less(m.number(0), x), m.add(x, m.number(1)),
                      m.call("exp", {m.call("min", {x, m.number(0)})}));
    });
  else if (name == "scale")
    each([m, by = argument(feature, "by")](Expr x) mutable { return m.mul(by, x); });
  else if (name == "l2norm")
    normalise(argument(feature, "eps"));
  else if (name == "append")
    append(argument(feature, "value"));
  else if (name == "rope")
    rotate(feature);
  else if (name == "each")
    byFormula(argument(feature, "expr"));
  else
    return false;
  return true;
}

mlir::ArrayAttr withoutLast(mlir::ArrayAttr list) {
  return mlir::ArrayAttr::get(list.getContext(), list.getValue().drop_back());
}

} // namespace

FeatureRow applyFeatures(const PatternProblem &problem, mlir::ArrayAttr features, FeatureRow row,
                         Expr position, std::string &refused) {
  Chain chain(problem, std::move(row), position);
  for (mlir::Attribute attribute : features) {
    auto feature = mlir::cast<pattern::FeatureAttr>(attribute);
    if (!chain.apply(feature)) {
      refused = feature.getName().str();
      return {};
    }
  }
  return chain.take();
}

void foldProductFeatures(const PatternProblem &problem, mlir::ArrayAttr &q, mlir::ArrayAttr &k,
                         Expr &score) {
  if (q.empty() || k.empty())
    return;
  auto lastQ = mlir::cast<pattern::FeatureAttr>(q.getValue().back());
  auto lastK = mlir::cast<pattern::FeatureAttr>(k.getValue().back());
  if (lastQ.getName() != lastK.getName())
    return;
  Maker m{problem.context};
  Expr s = pattern::makeVar(problem.context, "s"), product;
  llvm::StringRef name = lastQ.getName().getValue();
  if (name == "spow") {
    Expr p = problem.specialise(lastQ.expr("p"));
    if (p != problem.specialise(lastK.expr("p")))
      return;
    product = m.call("pow", {s, p});
  } else if (name == "taylor2") {
    Expr u = m.mul(
        m.mul(problem.specialise(lastQ.expr("scale")), problem.specialise(lastK.expr("scale"))), s);
    product = m.add(m.add(m.number(1), u), m.mul(m.number(0.5), m.mul(u, u)));
  } else {
    return;
  }
  llvm::StringMap<Expr> names;
  names["s"] = product;
  score = problem.specialise(pattern::substitute(score, names));
  q = withoutLast(q), k = withoutLast(k);
}

} // namespace heddle::compiler
