// A pattern is drawn clause by clause. Each clause may ask for more arguments; dims and what the
// arguments hold are drawn with them.
#include "tests/patterns/RandomPattern.h"

#include "tests/support/Tensors.h"

#include <fmt/format.h>

namespace heddle::test {
namespace {

class Draw {
public:
  explicit Draw(uint64_t seed) : random(seed) {}

  double uniform() { return random.uniform(0, 1); }
  bool chance(double share) { return uniform() < share; }
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

  Random random;
  std::string arguments, clauses;
  std::map<std::string, Range> ranges;
  std::set<std::string> whole;
};

/// True or false of a pair; of positions alone where sequences are packed.
std::string condition(Draw &draw, int depth, bool packed = false) {
  if (depth > 0 && draw.chance(0.5)) {
    std::string one = condition(draw, depth - 1, packed);
    std::string other = condition(draw, depth - 1, packed);
    if (draw.chance(0.2))
      return "not (" + one + ")";
    return fmt::format("({}) {} ({})", one, draw.chance(0.6) ? "and" : "or", other);
  }
  if (packed)
    return draw.of({"j <= i", "j <= i", "i - j < 5", "abs(i - j) <= 3", "(i - j) mod 3 == 0"});
  std::string atom = draw.of(
      {"true", "j <= i", "j <= i", "j <= i", "i - j < 5", "i - j < 40", "j < 9", "abs(i - j) <= 3",
       "j div 16 == i div 16", "(i - j) mod 3 == 0", "j mod 2 == h mod 2", "j < len_k - 2",
       "row mod 4 <> 1", "keep[j, hk] > 0", "j >= from[row]", "page[j] == own[row, h]"});
  if (atom.starts_with("keep"))
    draw.integers("keep", "seq<i32, Tk x Hk>", 3);
  if (atom.find("from") != std::string::npos)
    draw.integers("from", "seq<i32, Tq>", 20);
  if (atom.starts_with("page")) {
    draw.integers("page", "seq<i32, Tk>", 3);
    draw.integers("own", "seq<i32, Tq x Hq>", 3);
  }
  return atom;
}

/// A chain on the product s.
std::string score(Draw &draw) {
  std::string chain = draw.of({"s * rsqrt(D)", "s * 0.3", "s / sqrt(D)"});
  for (int64_t links = draw.of({0, 0, 1, 1, 2}); links > 0; --links) {
    const int64_t link = draw.of({0, 1, 2, 3, 4, 5, 6, 7, 8});
    switch (link) {
    case 0:
      chain = fmt::format("4.0 * tanh(({}) / 4.0)", chain);
      break;
    case 1:
      draw.argument("slope", "tensor<Hq>", 0, 0.1);
      chain = fmt::format("{} - slope[h] * abs(i - j)", chain);
      break;
    case 2:
      chain = fmt::format("{} + exp2(-h - 1) * (j - i)", chain);
      break;
    case 3:
      draw.argument("kbias", "seq<Tk x Hk>");
      chain = fmt::format("{} + kbias[j, hk]", chain);
      break;
    case 4:
      draw.argument("qgate", "seq<Tq x Hq>");
      chain = fmt::format("({}) * sigmoid(qgate[row, h])", chain);
      break;
    case 5:
      chain = fmt::format("select(j mod 2 == 0, {}, 0.5 * ({}))", chain, chain);
      break;
    case 6:
      chain = fmt::format("clamp({}, -2.0, 1.5)", chain);
      break;
    case 7:
      draw.argument("near", "tensor<Hq x 16>");
      chain = fmt::format("{} + near[h, clamp(i - j, 0, 15)]", chain);
      break;
    case 8:
      chain = fmt::format("let x = ({}) : x + 0.1 * x * x", chain);
      break;
    }
  }
  return chain;
}

/// Feature maps that keep the width, of an operand.
std::string widthKept(Draw &draw, const std::string &width) {
  std::string map =
      draw.of({"silu", "relu", "elu1", "l2norm", "scale(by = 0.7)", "rope",
               "rope(pairing = interleaved, base = 500.0)", "each(x * gamma[d] + 0.1)"});
  if (map.starts_with("each"))
    draw.argument("gamma", fmt::format("tensor<{}>", width), 0.5, 1.5);
  return map;
}

/// Offsets of three packed sequences, the second empty.
std::function<double(const std::vector<int64_t> &)> offsets(int64_t rows) {
  return [rows](const std::vector<int64_t> &at) {
    return double(at[0] == 0 ? 0 : at[0] == 3 ? rows : rows / 3);
  };
}

} // namespace

RandomPattern randomAttention(uint64_t seed) {
  Draw draw(seed * 2 + 1);
  const int64_t group = draw.of({1, 1, 2, 3, 4}), heads = draw.of({1, 2, 3});
  draw.dims = {{"Hk", heads}, {"Hq", heads * group}, {"D", draw.of({4, 8, 20, 24, 40, 72})}};
  draw.dims["Dv"] = draw.chance(0.5) ? draw.dims["D"] : draw.of({5, 8, 16, 40, 72});
  const bool sameLengths = draw.chance(0.4); // one T for both
  const int64_t fewer = draw.of({0, 0, 3, 30}), more = draw.of({0, 0, 0, 5});
  const bool packed = draw.chance(0.1), lists = !packed && draw.chance(0.12);
  const bool alias = !packed && draw.chance(0.1);

  std::string before;
  if (draw.chance(0.3))
    draw.clause("align top_left");
  std::string support = condition(draw, lists ? 1 : 2, packed);
  if (lists) {
    before = "\n  %blocks = select top(2) (row, hk, n) in (Tq, Hk, cdiv(Tk, 8))"
             "\n    score { sum[x < D] { q[row, hk * G, x] * k[n * 8, hk, x] } }";
    if (draw.chance(0.7))
      before += "\n    visible { n * 8 <= row + Tk - Tq }";
    support = fmt::format("({}) and j div 8 in blocks[row, hk]", support);
  }
  draw.clause(fmt::format("support {{ {} }}", support));
  for (const char *operand : {"q", "k"})
    if (draw.chance(0.3))
      draw.clause(fmt::format("features {} [{}]", operand, widthKept(draw, "D")));
  draw.clause(fmt::format("score {{ {} }}", packed ? "s * rsqrt(D)" : score(draw)));
  const std::string weight =
      draw.of({"exp", "exp", "exp", "exp", "sigmoid", "relu", "relu(2)", "id"});
  std::string norm = draw.of({"none", "max_abs { 1.0 }"});
  if (weight == "exp")
    norm = draw.chance(0.85) ? "sum" : "none";
  else if (weight != "id" && draw.chance(0.4))
    norm = "sum { 0.1 }";
  draw.clause(fmt::format("weight {}  norm {}", weight, norm));
  if (weight == "exp" && norm == "sum" && draw.chance(0.2)) {
    draw.argument("sinks", "tensor<Hq>");
    draw.clause("sink { sinks[h] }");
  }
  if (draw.chance(0.15)) {
    draw.clause("decay constant { -0.02 * (h + 1) }");
  } else if (!packed && draw.chance(0.1)) {
    draw.argument("g", draw.of({"seq<Tk x Hq>", "seq<Tk x Hk>"}), -0.1, 0);
    draw.clause("decay scalar %g");
  }
  if (!packed && draw.chance(0.1)) {
    draw.argument("kscale", "seq<Tk x Hk>", 0.5, 1.5);
    draw.clause("codec k { x * kscale[j, hk] }");
  }
  if (!packed && !alias && draw.chance(0.1)) {
    draw.argument("vscale", "seq<Tk x Hk>", 0.5, 1.5);
    draw.argument("vzero", "seq<Tk x Hk>");
    draw.clause("codec v { (x - vzero[j, hk]) * vscale[j, hk] }");
  }
  std::string operands = "%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>";
  if (packed) {
    operands = "%q: tensor<Nq x Hq x D>, %k: tensor<Nk x Hk x D>, %v: tensor<Nk x Hk x Dv>,"
               "\n    %cu_q: tensor<i32, N1>, %cu_k: tensor<i32, N1>";
    draw.clause("layout varlen %cu_q, %cu_k");
  }
  std::string values = ", %v";
  if (alias) {
    operands = "%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>";
    values = "";
    draw.dims.erase("Dv");
    draw.clause("alias v { 0, D }");
  }
  const bool lse = weight == "exp" && draw.chance(0.6);
  draw.clause(lse ? "gives o, lse" : "gives o");

  std::string query = "%q", after = lse ? "\n  return %o, %lse" : "\n  return %o";
  if (!packed && draw.chance(0.2)) {
    before += "\n  %turned = map (t, h, d) in (Tq, Hq, D) { 0.5 * q[t, h, d] + 0.1 * d / D }";
    query = "%turned";
  }
  if (!packed && draw.chance(0.2)) {
    const std::string width = alias ? "D" : "Dv";
    draw.argument("z", fmt::format("seq<Tq x Hq x {}>", width));
    after = "\n  %y = map (t, h, e) in (Tq, Hq, " + width +
            ") { o[t, h, e] * sigmoid(z[t, h, e]) }"
            "\n  return %y";
  }
  return draw.finish(
      operands, before, fmt::format("{} = mix {}, %k{}", lse ? "%o, %lse" : "%o", query, values),
      after, [=](Problem &problem, int64_t length) {
        const int64_t queries = sameLengths ? length : std::max<int64_t>(length - fewer + more, 1);
        problem.dims[packed ? "Nk" : "Tk"] = length;
        problem.dims[packed ? "Nq" : "Tq"] = queries;
        if (!packed)
          return;
        problem.dims["N1"] = 4;
        problem.fillers["cu_q"] = offsets(queries), problem.fillers["cu_k"] = offsets(length);
      });
}

namespace {

/// How a state walks the tokens.
enum class Walk { Causal, BothWays, Cross, Packed, Tree };

/// The clauses of a retention, in the order in which they depend on one another.
class RetentionDraw {
public:
  explicit RetentionDraw(uint64_t seed) : draw(seed * 2) {
    const double share = draw.uniform();
    walk = share < 0.7    ? Walk::Causal
           : share < 0.77 ? Walk::BothWays
           : share < 0.84 ? Walk::Cross
           : share < 0.93 ? Walk::Packed
                          : Walk::Tree;
    drawHeads();
  }

  RandomPattern run() {
    drawSupport();
    drawFeatures();
    draw.clause("score (s) { " + draw.of({"s", "s * rsqrt(K)", "0.25 * s"}) + " }");
    drawDecay();
    draw.clause(fmt::format("weight id  norm {}", norm));
    drawUpdate();
    if (writes)
      draw.clause("subtokens write 2");
    drawStart();
    return finish();
  }

private:
  void drawHeads() {
    const int64_t heads = draw.of({1, 2, 3, 4}), group = draw.of({1, 1, 1, 2, 3});
    const bool valueGroups = draw.chance(0.5); // more heads of values, or more of queries
    Hq = group > 1 && !valueGroups ? "Hq" : "Hk";
    Hv = group > 1 && valueGroups ? "Hv" : "Hk";
    H = Hq == "Hk" ? Hv : Hq;
    ownStates = Hq == "Hk";
    draw.dims = {{"Hk", heads}, {"K", draw.of({3, 8, 16, 20, 40})}, {"V", draw.of({3, 8, 20, 36})}};
    draw.dims[H] = heads * group;
    update = draw.of({"add", "add", "add", "add", "delta", "delta", "dplr"});
    if (walk == Walk::BothWays || walk == Walk::Cross || (walk == Walk::Tree && update == "dplr"))
      update = "add";
    writes = walk == Walk::Causal && update != "dplr" && draw.chance(0.15);
    decay = draw.of({"none", "constant", "scalar", "scalar", "diag", "channel"});
    if (walk == Walk::Cross)
      decay = "none";
    else if ((walk == Walk::BothWays || walk == Walk::Tree) && decay != "none")
      decay = "scalar";
    else if (decay == "channel" && update != "add")
      decay = "diag";
    if (update == "add" && decay != "channel")
      norm = draw.of({"none", "none", "none", "sum { 0.01 }", "sum", "max_abs { 1.0 }"});
    const std::vector<std::string> maps = {"append", "taylor2(scale = 0.5)", "spow(p = 2)"};
    if (update == "add" && draw.dims["K"] <= 16 && draw.chance(0.2))
      widen = draw.of(maps);
    if (!widen.empty() && (decay == "diag" || decay == "channel"))
      decay = "scalar";
  }

  /// The type of what each token has.
  std::string token(const std::string &rest, const char *length = "T") {
    return fmt::format("{}<{} x {}>", walk == Walk::Packed ? "tensor" : "seq", length, rest);
  }
  /// Heads of what decays or writes a state.
  std::string heads() {
    const std::string own = draw.of({H, H, H, "Hk", "1"});
    ownStates = ownStates || own == H;
    return own;
  }

  void drawSupport() {
    if (walk == Walk::BothWays || walk == Walk::Cross)
      draw.clause("support { true }");
    if (walk == Walk::Tree) {
      draw.integers("parent", "seq<i32, T>", 0);
      draw.clause("tree %parent");
      draw.clause("support (row, j) { ancestor(row, j) }");
    }
    if (walk == Walk::Packed) {
      draw.integers("cu", "tensor<i32, N1>", 0);
      draw.clause("layout varlen %cu, %cu");
    }
  }

  void drawFeatures() {
    for (const char *operand : {"q", "k"}) {
      std::string maps;
      if (norm.starts_with("sum"))
        maps = draw.of({"elu1", "exp, scale(by = 0.3)", "elu1, each(x + 0.1)"});
      else if (update != "add" && *operand == 'k')
        maps = "l2norm";
      else if (draw.chance(0.5))
        maps = draw.dims["K"] % 2 == 0 ? widthKept(draw, "K") : "silu";
      if (!widen.empty())
        maps += (maps.empty() ? "" : ", ") + widen;
      if (!maps.empty())
        draw.clause(fmt::format("features {} [{}]", operand, maps));
    }
  }

  void drawDecay() {
    if (decay == "none")
      return;
    if (decay == "constant") {
      const bool byHead = draw.chance(0.7);
      ownStates = ownStates || byHead;
      draw.clause(byHead ? "decay constant { -0.05 * (h + 1) }" : "decay constant { -0.1 }");
      return;
    }
    const std::string widths = decay == "scalar" ? "" : decay == "diag" ? " x K" : " x K x V";
    draw.argument("g", token(heads() + widths), -0.5, 0);
    draw.clause(fmt::format("decay {}{} %g", decay, walk == Walk::BothWays ? " symmetric" : ""));
  }

  void drawUpdate() {
    if (update == "delta") {
      draw.argument("beta", token((writes ? "2 x " : "") + heads()), 0, 1);
      draw.clause("update delta %beta");
    } else if (update == "dplr") {
      for (const char *name : {"a", "y"})
        draw.argument(name, token(heads() + " x K"), -0.3, 0.3);
      draw.clause("update dplr %a, %y");
    } else if (walk == Walk::Causal) {
      drawRead();
    }
  }

  void drawRead() {
    if (widen.empty() && draw.chance(0.15)) {
      draw.argument("u", fmt::format("tensor<{} x K>", H), 0, 1);
      draw.clause("read bonus %u");
    } else if (draw.chance(0.15)) {
      for (const char *name : {"prev", "here"})
        draw.argument(name, token(heads()), 0, 1);
      draw.clause("taps %prev, %here");
    } else if (widen.empty() && draw.chance(0.2)) {
      draw.argument("r", token(H + " x K"));
      draw.clause(draw.of({"segments constant { 5 }", "segments constant { 16 }"}));
      draw.clause("gate softmax %r pool mean_k");
      if (draw.chance(0.3))
        draw.clause("reset no");
    } else if (norm == "none" && widen.empty() && draw.chance(0.1)) {
      draw.dims["L"] = 9;
      draw.argument("lambda", token(H + " x L"), 0, 1);
      draw.clause("segments fenwick");
      draw.clause("gate given %lambda");
    }
  }

  void drawStart() {
    const bool keeps = walk == Walk::Causal || walk == Walk::Packed;
    if ((keeps || walk == Walk::Tree) && norm == "none" && widen.empty() && draw.chance(0.5)) {
      const std::string heads = ownStates ? H : "Hk";
      draw.argument("s0", walk == Walk::Packed
                              ? fmt::format("tensor<f32, (N1 - 1) x {} x K x V>", heads)
                              : fmt::format("seq<f32, {} x K x V>", heads));
      draw.clause("initial state %s0");
    }
    state = keeps && draw.chance(0.5);
    draw.clause(state ? "gives o, state" : "gives o");
  }

  RandomPattern finish() {
    std::string after = state ? "\n  return %o, %s" : "\n  return %o";
    if (walk == Walk::Causal && draw.chance(0.2)) {
      draw.argument("z", token(H + " x V"));
      after =
          fmt::format("\n  %gated = map (t, h, e) in (T, {}, V) {{ o[t, h, e] * silu(z[t, h, e]) }}"
                      "\n  return %gated{}",
                      H, state ? ", %s" : "");
    }
    const char *queries = walk == Walk::Cross ? "Tq" : "T";
    const std::string n = writes ? "2 x " : "";
    const std::string operands = fmt::format("%q: {}, %k: {}, %v: {}", token(Hq + " x K", queries),
                                             token(n + "Hk x K"), token(n + Hv + " x V"));
    return draw.finish(operands, "", fmt::format("{} = mix %q, %k, %v", state ? "%o, %s" : "%o"),
                       after, [walk = walk](Problem &problem, int64_t length) {
                         problem.dims["T"] = length;
                         if (walk == Walk::Cross)
                           problem.dims["Tq"] = length / 2 + 3;
                         if (walk == Walk::Tree)
                           problem.fillers["parent"] = parentOf;
                         if (walk == Walk::Packed) {
                           problem.dims["N1"] = 4;
                           problem.fillers["cu"] = offsets(length);
                         }
                       });
  }

  /// A node's parent comes before it; some are roots.
  static double parentOf(const std::vector<int64_t> &at) {
    Random random(uint64_t(at[0] * 1000 + at[1]));
    return double(random.below(std::min<int64_t>(at[1], 9) + 1)) + double(at[1]) -
           double(std::min<int64_t>(at[1], 9)) - 1;
  }

  Draw draw;
  Walk walk;
  std::string Hq, Hv, H; ///< heads of q, of v, of the output
  std::string update, decay, norm = "none", widen;
  bool ownStates = false; ///< an output head has a state of its own
  bool writes = false, state = false;
};

} // namespace

RandomPattern randomRetention(uint64_t seed) { return RetentionDraw(seed).run(); }

} // namespace heddle::test
