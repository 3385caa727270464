// Retention at random. What decays and writes has heads of its own now and then, and with them
// whether states are shared by query heads.
#include "tests/patterns/random/RandomDraw.h"

namespace heddle::test {
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
      norm = draw.of({"none", "none", "none", "sum { 0.01 }", "sum", "max_abs { 8.0 }"});
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
      if (norm != "none") // sums of both signs may be small differences
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
      if (walk == Walk::Causal && !writes && draw.also(0.2))
        drawLevels();
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
      drawGate();
      if (draw.chance(0.3))
        draw.clause("reset no");
    } else if (norm == "none" && widen.empty() && draw.chance(0.1)) {
      drawLevels();
    }
  }

  void drawLevels() {
    draw.dims["L"] = 9;
    draw.argument("lambda", token(H + " x L"), 0, 1);
    draw.clause("segments fenwick");
    draw.clause("gate given %lambda");
  }

  /// How the segments before weigh, and whether they decay on; a bank that goes on.
  void drawGate() {
    const std::string gate =
        draw.also(0.5)
            ? draw.alsoOf({"gate softmax %r pool sum_k", "gate top(2) %r pool mean_k",
                           "gate top(1) %r pool mean_k renorm all", "gate given %lambda", ""})
            : "gate softmax %r pool mean_k";
    if (gate.starts_with("gate given")) {
      draw.dims["L"] = 27; // of 130 tokens
      draw.argument("lambda", token(H + " x L"), 0, 1);
    }
    if (!gate.empty())
      draw.clause(gate);
    if (draw.also(0.2))
      draw.clause("bank running");
    bank = gate.empty() && norm == "none" && draw.also(0.6);
  }

  void drawStart() {
    const bool keeps = walk == Walk::Causal || walk == Walk::Packed;
    if (bank) {
      const std::string heads = ownStates ? H : "Hk";
      draw.dims["N"] = 40;
      draw.argument("s0", fmt::format("seq<f32, {} x K x V>", heads));
      draw.argument("bank0", fmt::format("seq<f32, N x {} x K x V>", heads));
      draw.integers("at0", "seq<i32>", 30);
      draw.clause("initial state %s0, bank %bank0, position %at0");
      draw.clause("gives o, state, bank, position");
      results = "%s, %bank1, %at1";
      return;
    }
    if (walk == Walk::Causal && norm != "none" && widen.empty() && draw.also(0.3)) {
      const std::string heads = ownStates ? H : "Hk";
      draw.argument("s0", fmt::format("seq<f32, {} x K x V>", heads));
      draw.argument("z0", fmt::format("seq<f32, {} x K>", heads), 0, 1);
      draw.clause("initial state %s0, z %z0");
      draw.clause("gives o, state, z");
      results = "%s, %z1";
      return;
    }
    if ((keeps || walk == Walk::Tree) && norm == "none" && widen.empty() && draw.chance(0.5)) {
      const std::string heads = ownStates ? H : "Hk";
      draw.argument("s0", walk == Walk::Packed
                              ? fmt::format("tensor<f32, (N1 - 1) x {} x K x V>", heads)
                              : fmt::format("seq<f32, {} x K x V>", heads));
      draw.clause("initial state %s0");
    }
    results = keeps && draw.chance(0.5) ? "%s" : "";
    draw.clause(results.empty() ? "gives o" : "gives o, state");
  }

  RandomPattern finish() {
    const std::string others = results.empty() ? "" : ", " + results;
    std::string after = "\n  return %o" + others;
    if (walk == Walk::Causal && draw.chance(0.2)) {
      draw.argument("z", token(H + " x V"));
      after =
          fmt::format("\n  %gated = map (t, h, e) in (T, {}, V) {{ o[t, h, e] * silu(z[t, h, e]) }}"
                      "\n  return %gated{}",
                      H, others);
    }
    const char *queries = walk == Walk::Cross ? "Tq" : "T";
    const std::string n = writes ? "2 x " : "";
    const std::string operands = fmt::format("%q: {}, %k: {}, %v: {}", token(Hq + " x K", queries),
                                             token(n + "Hk x K"), token(n + Hv + " x V"));
    return draw.finish(operands, "", fmt::format("%o{} = mix %q, %k, %v", others), after,
                       [walk = walk](Problem &problem, int64_t length) {
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
  std::string results;    ///< besides o
  bool writes = false;    ///< two sub-tokens
  bool bank = false;      ///< one that goes on
};

} // namespace

RandomPattern randomRetention(uint64_t seed) { return RetentionDraw(seed).run(); }

} // namespace heddle::test
