// Random inputs for any pattern, from its signature: shapes from dims, ranges from what the names
// of the library mean (g: log-decays, beta: write strengths, parent: a tree, ...).
#pragma once

#include "tests/support/PatternRun.h"

namespace heddle::test {

using Dims = std::map<std::string, int64_t>;

inline int64_t extentOf(pattern::ExprAttr dim, const Dims &dims) {
  if (dim.is(pattern::ExprKind::Integer))
    return dim.integer();
  INFO("dim " << dim.str());
  auto found = dims.find(dim.getSymbol() ? dim.getSymbol().getValue().str() : "");
  REQUIRE(found != dims.end());
  return found->second;
}

/// Parents of a random forest of T nodes, batch by batch.
inline void fillParents(Tensor &t, Random &random) {
  int64_t nodes = t.shape.back();
  for (int64_t n = 0; n < t.elements(); ++n)
    t.data[n] = double(random.below(n % nodes + 1) - 1);
}

inline Tensor randomArgument(const std::string &name, std::vector<int64_t> shape, Random &random) {
  if (name == "g")
    return random.tensor(std::move(shape), -0.5, 0);
  if (name == "beta" || name == "lambda" || name == "prev" || name == "here")
    return random.tensor(std::move(shape), 0, 1);
  Tensor t = random.tensor(std::move(shape));
  if (name == "parent")
    fillParents(t, random);
  return t;
}

/// A tensor for each argument; `dims` must name every extent that is not an integer.
inline Inputs randomInputs(PatternRun &run, const Dims &dims, uint64_t seed) {
  Random random(seed);
  Inputs inputs;
  for (size_t n = 0; n < run.def.numArguments(); ++n) {
    pattern::ArrayType type = run.def.argumentType(n);
    std::string name = run.def.argumentName(n).str();
    std::vector<int64_t> shape;
    if (type.getBatched())
      shape.push_back(dims.at("B"));
    for (size_t d = 0; d < type.rank(); ++d)
      shape.push_back(extentOf(type.dim(d), dims));
    inputs[name] = randomArgument(name, shape, random);
  }
  return inputs;
}

/// A pattern with one mix of q, k, v: seq<T x H x K> (v: V), whose results are r_o, r_state, ...
inline std::string mixPattern(const std::string &arguments, const std::string &clauses,
                              const std::string &results = "o", const std::string &types = "") {
  std::string names;
  for (size_t at = 0, end; at <= results.size(); at = end + 1) {
    end = std::min(results.find(' ', at), results.size());
    names += (names.empty() ? "%r_" : ", %r_") + results.substr(at, end - at);
  }
  std::string gives = results;
  for (size_t at = 0; (at = gives.find(' ', at)) != std::string::npos; at += 2)
    gives.replace(at, 1, ", ");
  std::string operands =
      types.empty() ? "%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>" : types;
  return "pattern.def @test(" + operands + arguments + ") {\n  " + names +
         " = mix %q, %k, %v\n    " + clauses + "\n    gives " + gives + "\n  return " + names +
         "\n}\n";
}

} // namespace heddle::test
