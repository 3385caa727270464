// What patterns are drawn with: a pattern is drawn clause by clause, each may ask for more
// arguments; dims and what the arguments hold are drawn with them. Internal to RandomPattern.h's
// sources.
#pragma once

#include "tests/patterns/random/RandomPattern.h"
#include "tests/support/Tensors.h"

#include <fmt/format.h>

namespace heddle::test {

class Draw {
public:
  explicit Draw(uint64_t seed) : random(seed), more(seed + 12345) {}

  double uniform() { return random.uniform(0, 1); }
  bool chance(double share) { return uniform() < share; }
  /// What came to be drawn later, from numbers of its own: the patterns without it are as before.
  bool also(double share) { return more.uniform(0, 1) < share; }
  std::string alsoOf(const std::vector<std::string> &texts) {
    return texts[size_t(more.below(int64_t(texts.size())))];
  }
  int64_t of(std::initializer_list<int64_t> values) {
    return values.begin()[random.below(int64_t(values.size()))];
  }
  std::string of(const std::vector<std::string> &texts) {
    return texts[size_t(random.below(int64_t(texts.size())))];
  }

  /// One more argument; the same name is declared once.
  void argument(const std::string &name, const std::string &type, double low = -1,
                double high = 1) {
    if (ranges.contains(name))
      return;
    ranges[name] = {low, high};
    arguments += fmt::format(",\n    %{}: {}", name, type);
  }
  void integers(const std::string &name, const std::string &type, int64_t below) {
    argument(name, type, 0, double(below));
    whole.insert(name);
  }
  void clause(const std::string &text) { clauses += "\n    " + text; }

  /// The case: dims as drawn, but for the length, which `lengths` sets.
  RandomPattern finish(const std::string &operands, const std::string &before,
                       const std::string &mix, const std::string &after,
                       std::function<void(Problem &, int64_t)> lengths) {
    RandomPattern pattern;
    pattern.text = fmt::format("pattern.def @random({}{}) {{{}\n  {}{}{}\n}}\n", operands,
                               arguments, before, mix, clauses, after);
    pattern.check.pattern = "random";
    pattern.check.set = [dims = dims, ranges = ranges, whole = whole, lengths](Problem &problem,
                                                                               int64_t length) {
      for (const auto &[name, extent] : dims)
        problem.dims[name] = extent;
      for (const auto &[name, range] : ranges)
        problem.fillers[name] = filler(name, range, whole.contains(name));
      lengths(problem, length);
    };
    return pattern;
  }

  std::map<std::string, int64_t> dims;

private:
  using Range = std::pair<double, double>;

  /// Numbers of the range by name and index alone.
  static std::function<double(const std::vector<int64_t> &)> filler(const std::string &name,
                                                                    Range range, bool whole) {
    return [name, range, whole](const std::vector<int64_t> &index) {
      uint64_t seed = 0;
      for (char letter : name)
        seed = seed * 131 + uint64_t(letter);
      for (int64_t n : index)
        seed = seed * 1000003 + uint64_t(n);
      double x = Random(seed).uniform(range.first, range.second);
      return whole ? std::floor(x) : x;
    };
  }

  Random random, more;
  std::string arguments, clauses;
  std::map<std::string, Range> ranges;
  std::set<std::string> whole;
};

/// Feature maps that keep the width, of an operand.
inline std::string widthKept(Draw &draw, const std::string &width) {
  std::string map =
      draw.of({"silu", "relu", "elu1", "l2norm", "scale(by = 0.7)", "rope",
               "rope(pairing = interleaved, base = 500.0)", "each(x * gamma[d] + 0.1)"});
  if (map.starts_with("each"))
    draw.argument("gamma", fmt::format("tensor<{}>", width), 0.5, 1.5);
  return map;
}

/// Offsets of three packed sequences, the second empty.
inline std::function<double(const std::vector<int64_t> &)> offsets(int64_t rows) {
  return [rows](const std::vector<int64_t> &at) {
    return double(at[0] == 0 ? 0 : at[0] == 3 ? rows : rows / 3);
  };
}

} // namespace heddle::test
