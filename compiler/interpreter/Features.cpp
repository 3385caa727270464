// Applies feature maps to one row of q or k.
// Example: features k [l2norm, rope(base = 10000.0)] of key 3 is x / sqrt(sum x^2 + 1e-6), then its
// pairs rotated by 3 * 10000^(-2 f / D).
#include "compiler/interpreter/Features.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace heddle::compiler {

namespace {

double norm2(const std::vector<double> &x) {
  return std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
}

double elu1(double x) { return x > 0 ? x + 1 : std::exp(x); }

void extendPower(const std::vector<double> &x, int64_t left, size_t first, int64_t run,
                 double product, double weight, std::vector<double> &out) {
  if (left == 0) {
    out.push_back(std::sqrt(weight) * product);
    return;
  }
  // An index that repeats for the n-th time divides the number of orders by n.
  for (size_t d = first; d < x.size(); ++d) {
    int64_t length = d == first ? run + 1 : 1;
    extendPower(x, left - 1, d, length, product * x[d], weight * left / length, out);
  }
}

} // namespace

std::vector<double> taylor2(const std::vector<double> &x, double c) {
  std::vector<double> out = {1.0};
  for (double e : x)
    out.push_back(c * e);
  for (double e : x)
    for (double f : x)
      out.push_back(c * c * e * f / std::numbers::sqrt2);
  return out;
}

std::vector<double> symmetricPower(const std::vector<double> &x, int64_t p) {
  std::vector<double> out;
  extendPower(x, p, 0, 0, 1.0, 1.0, out);
  return out;
}

Result<FeatureMaps> FeatureMaps::compile(mlir::ArrayAttr features, const MixInputs &in, bool key) {
  FeatureMaps chain;
  chain.key = key;
  ExprScope scope = in.scope({MixSlots::X, MixSlots::D, MixSlots::F});
  for (mlir::Attribute attribute : features) {
    auto feature = mlir::cast<pattern::FeatureAttr>(attribute);
    Map map;
    map.name = feature.getName().str();
    for (mlir::NamedAttribute argument : feature.getArguments()) {
      if (auto expr = mlir::dyn_cast<pattern::ExprAttr>(argument.getValue())) {
        HEDDLE_TRY(program, ExprProgram::compile(expr, scope));
        map.arguments.emplace(argument.getName().str(), std::move(program));
      }
    }
    map.interleaved = feature.word("pairing") == "interleaved";
    chain.maps.push_back(std::move(map));
  }
  return chain;
}

bool FeatureMaps::readsHead() const {
  for (const Map &map : maps)
    for (const auto &[name, program] : map.arguments)
      if (program.uses(MixSlots::Head))
        return true;
  return false;
}

double FeatureMaps::argument(Map &map, const std::string &name, double otherwise) {
  auto found = map.arguments.find(name);
  return found == map.arguments.end() ? otherwise : found->second.scalar();
}

void FeatureMaps::applyRope(Map &map, double position, std::vector<double> &x) {
  int64_t dims = static_cast<int64_t>(argument(map, "dims", double(x.size())));
  int64_t first = static_cast<int64_t>(argument(map, "first", 0));
  int64_t offset = static_cast<int64_t>(argument(map, "offset", double(dims / 2)));
  double base = argument(map, "base", 10000.0), factor = argument(map, "factor", 1.0);
  position = argument(map, "pos", position);
  std::vector<double> f(dims / 2), angles(dims / 2);
  std::iota(f.begin(), f.end(), 0.0);
  LaneInput lanes[] = {{MixSlots::F, f.data()}};
  auto fill = [&](const char *name) {
    auto found = map.arguments.find(name);
    if (found != map.arguments.end())
      found->second.run(lanes, dims / 2, angles.data());
    return found != map.arguments.end();
  };
  if (!fill("angle")) {
    if (!fill("freq"))
      for (int64_t n = 0; n < dims / 2; ++n)
        angles[n] = std::pow(base, -2.0 * double(n) / double(dims));
    for (double &angle : angles)
      angle *= position;
  }
  for (int64_t n = 0; n < dims / 2; ++n) {
    double &x0 = x[map.interleaved ? first + 2 * n : first + n];
    double &x1 = x[map.interleaved ? first + 2 * n + 1 : first + n + offset];
    double c = factor * std::cos(angles[n]), s = factor * std::sin(angles[n]);
    double y0 = x0 * c - x1 * s, y1 = x0 * s + x1 * c;
    x0 = y0, x1 = y1;
  }
}

void FeatureMaps::applyEach(Map &map, std::vector<double> &x) {
  std::vector<double> d(x.size()), y(x.size());
  std::iota(d.begin(), d.end(), 0.0);
  LaneInput lanes[] = {{MixSlots::X, x.data()}, {MixSlots::D, d.data()}};
  map.arguments.begin()->second.run(lanes, int64_t(x.size()), y.data());
  x = y;
}

void FeatureMaps::applyOne(Map &map, double position, std::vector<double> &x) {
  auto each = [&](auto f) { std::transform(x.begin(), x.end(), x.begin(), f); };
  if (map.name == "silu")
    each([](double e) { return e / (1 + std::exp(-e)); });
  else if (map.name == "relu")
    each([](double e) { return std::max(e, 0.0); });
  else if (map.name == "elu1")
    each(elu1);
  else if (map.name == "exp")
    each([](double e) { return std::exp(e); });
  else if (map.name == "l2norm")
    each([r = 1 / std::sqrt(norm2(x) + argument(map, "eps", 1e-6))](double e) { return e * r; });
  else if (map.name == "scale")
    each([c = argument(map, "by", 1)](double e) { return c * e; });
  else if (map.name == "append")
    x.push_back(argument(map, "value", 1));
  else if (map.name == "taylor2")
    x = taylor2(x, argument(map, "scale", 1));
  else if (map.name == "spow")
    x = symmetricPower(x, static_cast<int64_t>(argument(map, "p", 2)));
  else if (map.name == "rope")
    applyRope(map, position, x);
  else if (map.name == "each")
    applyEach(map, x);
}

int64_t FeatureMaps::width(int64_t given) {
  for (Map &map : maps) {
    if (map.name == "append")
      given += 1;
    else if (map.name == "taylor2")
      given += 1 + given * given;
    else if (map.name == "spow")
      given = static_cast<int64_t>(symmetricPower(std::vector<double>(given, 1.0),
                                                  static_cast<int64_t>(argument(map, "p", 2)))
                                       .size());
  }
  return given;
}

void FeatureMaps::apply(const MixInputs &in, const Sequence &s, int64_t head, int64_t token,
                        std::vector<double> &x) {
  double position = double(key ? token : in.positionOf(s, token));
  for (Map &map : maps) {
    for (auto &[name, program] : map.arguments) {
      in.setHead(program, s, head);
      if (key)
        program.set(MixSlots::Key, double(token));
      else
        in.setRow(program, s, token);
    }
    applyOne(map, position, x);
  }
}

} // namespace heddle::compiler
