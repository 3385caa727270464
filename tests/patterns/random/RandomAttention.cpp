// Attention at random: conditions and scores are trees of atoms; tensors that they read are
// arguments.
#include "tests/patterns/random/RandomDraw.h"

namespace heddle::test {
namespace {

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

/// Where keys lie.
enum class Keys { Dense, Packed, Paged, Ring };

/// The clauses of an attention. Only dense keys have tensors of their own beside them.
class AttentionDraw {
public:
  explicit AttentionDraw(uint64_t seed) : draw(seed * 2 + 1) {
    const int64_t group = draw.of({1, 1, 2, 3, 4}), heads = draw.of({1, 2, 3});
    draw.dims = {{"Hk", heads}, {"Hq", heads * group}, {"D", draw.of({4, 8, 20, 24, 40, 72})}};
    draw.dims["Dv"] = draw.chance(0.5) ? draw.dims["D"] : draw.of({5, 8, 16, 40, 72});
    sameLengths = draw.chance(0.4);
    fewer = draw.of({0, 0, 3, 30}), more = draw.of({0, 0, 0, 5});
    const double share = draw.uniform();
    keys = share < 0.8 ? Keys::Dense : share < 0.9 ? Keys::Packed : Keys::Paged;
    dense = keys == Keys::Dense;
    lists = dense && draw.chance(0.12), alias = dense && draw.chance(0.1);
    if (alias)
      draw.dims.erase("Dv");
  }

  RandomPattern run() {
    drawSupport();
    for (const char *operand : {"q", "k"})
      if (draw.chance(0.3))
        draw.clause(fmt::format("features {} [{}]", operand, widthKept(draw, "D")));
    chain = dense ? score(draw) : "s * rsqrt(D)";
    draw.clause(fmt::format("score {{ {} }}", chain));
    drawWeight();
    drawDecay();
    draw.clause(fmt::format("support {{ {} }}", support));
    if (dense)
      drawCodecs();
    const std::string operands = drawLayout();
    lse = exponential && draw.chance(0.6);
    draw.clause(lse ? "gives o, lse" : "gives o");
    return finish(operands);
  }

private:
  void drawSupport() {
    if (draw.chance(0.3))
      draw.clause("align top_left");
    support = condition(draw, lists ? 1 : 2, !dense);
    if (lists) {
      before = "\n  %blocks = select top(2) (row, hk, n) in (Tq, Hk, cdiv(Tk, 8))"
               "\n    score { sum[x < D] { q[row, hk * G, x] * k[n * 8, hk, x] } }";
      if (draw.chance(0.7))
        before += "\n    visible { n * 8 <= row + Tk - Tq }";
      support = fmt::format("({}) and j div 8 in blocks[row, hk]", support);
    }
  }

  void drawWeight() {
    const std::string weight =
        draw.of({"exp", "exp", "exp", "exp", "sigmoid", "relu", "relu(2)", "id"});
    exponential = weight == "exp";
    std::string norm = draw.of({"none", "max_abs { 8.0 }"});
    if (exponential) // a distance may be far: its exponential is no number without a norm
      norm = draw.chance(0.85) || chain.find("(j - i)") != std::string::npos ? "sum" : "none";
    else if (weight != "id" && draw.chance(0.4))
      norm = "sum { 0.1 }";
    draw.clause(fmt::format("weight {}  norm {}", weight, norm));
    if (exponential && norm == "sum" && draw.chance(0.2)) {
      draw.argument("sinks", "tensor<Hq>");
      draw.clause("sink { sinks[h] }");
    }
  }

  /// Weights of later keys would grow.
  void drawDecay() {
    if (drawDecays())
      support = fmt::format("({}) and j <= i", support);
  }

  bool drawDecays() {
    if (draw.chance(0.15)) {
      draw.clause("decay constant { -0.02 * (h + 1) }");
      return true;
    }
    if (!dense || !draw.chance(0.1))
      return false;
    draw.argument("g", draw.of({"seq<Tk x Hq>", "seq<Tk x Hk>"}), -0.1, 0);
    draw.clause("decay scalar %g");
    return true;
  }

  void drawCodecs() {
    if (draw.also(0.1)) {
      draw.argument("qscale", "seq<Tq x Hq>", 0.5, 1.5);
      draw.clause("codec q { x * qscale[row, h] }");
    }
    if (draw.chance(0.1)) {
      draw.argument("kscale", "seq<Tk x Hk>", 0.5, 1.5);
      draw.clause("codec k { x * kscale[j, hk] }");
    }
    if (!alias && draw.chance(0.1)) {
      draw.argument("vscale", "seq<Tk x Hk>", 0.5, 1.5);
      draw.argument("vzero", "seq<Tk x Hk>");
      draw.clause("codec v { (x - vzero[j, hk]) * vscale[j, hk] }");
    }
  }

  std::string drawLayout() {
    if (keys == Keys::Packed) {
      draw.clause("layout varlen %cu_q, %cu_k");
      return "%q: tensor<Nq x Hq x D>, %k: tensor<Nk x Hk x D>, %v: tensor<Nk x Hk x Dv>,"
             "\n    %cu_q: tensor<i32, N1>, %cu_k: tensor<i32, N1>";
    }
    if (keys == Keys::Paged && draw.also(0.4)) {
      keys = Keys::Ring;
      draw.clause("layout ring len %length keep { 3 }");
      return "%q: seq<Tq x Hq x D>, %k: seq<R x Hk x D>, %v: seq<R x Hk x Dv>, %length: seq<i32>";
    }
    if (keys == Keys::Paged) {
      const bool headsFirst = draw.also(0.4);
      draw.clause(headsFirst ? "layout paged %table len %length order hnd"
                             : "layout paged %table len %length");
      return fmt::format("%q: seq<Tq x Hq x D>, %k: tensor<P x {0} x D>, %v: tensor<P x {0} x Dv>,"
                         "\n    %table: seq<i32, M>, %length: seq<i32>",
                         headsFirst ? "Hk x page" : "page x Hk");
    }
    if (alias) {
      draw.clause("alias v { 0, D }");
      return "%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>";
    }
    return "%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>";
  }

  RandomPattern finish(const std::string &operands) {
    std::string query = "%q", after = lse ? "\n  return %o, %lse" : "\n  return %o";
    if (dense && draw.chance(0.2)) {
      before += "\n  %turned = map (t, h, d) in (Tq, Hq, D) { 0.5 * q[t, h, d] + 0.1 * d / D }";
      query = "%turned";
    }
    if (dense && draw.chance(0.2)) {
      const std::string width = alias ? "D" : "Dv";
      draw.argument("z", fmt::format("seq<Tq x Hq x {}>", width));
      after = "\n  %y = map (t, h, e) in (Tq, Hq, " + width +
              ") { o[t, h, e] * sigmoid(z[t, h, e]) }\n  return %y";
    }
    std::string results = lse ? "%o, %lse" : "%o";
    if (dense && !alias && lse && draw.also(0.25)) {
      results = "%oa, %la";
      after = drawOther() + after;
    }
    const std::string mix = fmt::format("{} = mix {}, %k{}", results, query, alias ? "" : ", %v");
    return draw.finish(operands, before, mix, after,
                       [keys = keys, same = sameLengths, fewer = fewer,
                        more = more](Problem &problem, int64_t length) {
                         const int64_t queries =
                             same ? length : std::max<int64_t>(length - fewer + more, 1);
                         setLengths(problem, keys, queries, length);
                       });
  }

  /// Other keys of their own, merged with the first.
  std::string drawOther() {
    draw.argument("k2", "seq<Tm x Hk x D>");
    draw.argument("v2", "seq<Tm x Hk x Dv>");
    draw.dims["Tm"] = 21;
    return fmt::format("\n  %ob, %lb = mix %q, %k2, %v2\n    support {{ {} }}\n    score {{ s * "
                       "rsqrt(D) }}\n    weight exp  norm sum\n    gives o, lse"
                       "\n  %o, %lse = merge lse (%oa, %la), (%ob, %lb)",
                       draw.alsoOf({"true", "j <= i", "j < 9", "(i + j) mod 3 <> 0"}));
  }

  static void setLengths(Problem &problem, Keys keys, int64_t queries, int64_t length) {
    problem.dims[keys == Keys::Packed ? "Nq" : "Tq"] = queries;
    if (keys == Keys::Packed) {
      problem.dims["Nk"] = length, problem.dims["N1"] = 4;
      problem.fillers["cu_q"] = offsets(queries), problem.fillers["cu_k"] = offsets(length);
    } else if (keys == Keys::Paged) { // pages of 8 from the last to the first, page 0 unused
      const int64_t pages = (length + 7) / 8;
      problem.dims["page"] = 8, problem.dims["M"] = pages, problem.dims["P"] = 2 * pages + 1;
      problem.fillers["table"] = [pages](const std::vector<int64_t> &at) {
        return double((at[0] + 1) * pages - at[1]);
      };
      problem.fillers["length"] = [length](const std::vector<int64_t> &at) {
        return double(at[0] ? std::max<int64_t>(length - 5, 1) : length);
      };
    } else if (keys == Keys::Ring) { // one sequence has not filled it, the other is round it
      problem.dims["R"] = length + 3;
      problem.fillers["length"] = [length](const std::vector<int64_t> &at) {
        return double(at[0] ? 2 * length + 5 : length);
      };
    } else {
      problem.dims["Tk"] = length;
    }
  }

  Draw draw;
  Keys keys;
  bool dense, lists, alias, sameLengths;
  bool exponential = false, lse = false;
  int64_t fewer, more; ///< queries than keys
  std::string before;  ///< stages before the mix
  std::string support, chain;
};

} // namespace

RandomPattern randomAttention(uint64_t seed) { return AttentionDraw(seed).run(); }

} // namespace heddle::test
