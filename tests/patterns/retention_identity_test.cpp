// The retention family against recurrences written out here, and how its classes contain each
// other: KDA with a constant gate is gated DeltaNet, and so on; memory caching, trees, two
// directions.
#include "tests/support/PatternInputs.h"

using namespace heddle;
using namespace heddle::test;

namespace {

const std::string kPlain = "score (s) { s * rsqrt(K) } weight id norm none ";
const std::string kState = ", %s0: seq<f32, H x K x V>";
const Dims kDims = {{"B", 2}, {"T", 11}, {"H", 2}, {"K", 3}, {"V", 4}};

PatternRun mix(const std::string &arguments, const std::string &clauses,
               const std::string &results = "o") {
  return PatternRun::text(mixPattern(arguments, kPlain + clauses, results));
}

/// out[b, t, h, d] = f(b, t, h, d).
Tensor built(std::vector<int64_t> shape,
             const std::function<double(int64_t, int64_t, int64_t, int64_t)> &f) {
  Tensor out(shape);
  int64_t last = shape.size() == 4 ? shape[3] : 1;
  for (int64_t n = 0; n < out.elements(); ++n) {
    int64_t d = n % last, h = n / last % shape[2], t = n / (last * shape[2]) % shape[1];
    out.data[n] = f(n / (last * shape[2] * shape[1]), t, h, d);
  }
  return out;
}

Inputs with(Inputs inputs, const Inputs &more) {
  for (auto &[name, tensor] : more)
    inputs[name] = tensor;
  return inputs;
}

/// S_t = Diag(e^g) S + y (a^T S_{t-1}) + w v^T, o = scale S^T q: the master recurrence with
/// everything given, one token and head at a time.
struct Step {
  std::vector<double> g, a, y, w; ///< [K]
};
Tensor recurrence(const Inputs &in, Tensor state,
                  const std::function<Step(int64_t b, int64_t t, int64_t h)> &stepOf) {
  const Tensor &q = in.at("q"), &v = in.at("v");
  int64_t B = q.shape[0], T = q.shape[1], H = q.shape[2], K = q.shape[3], V = v.shape[3];
  Tensor o({B, T, H, V});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t t = 0; t < T; ++t) {
        Step step = stepOf(b, t, h);
        std::vector<double> p(V, 0.0);
        for (int64_t d = 0; d < K; ++d)
          for (int64_t e = 0; e < V; ++e)
            p[e] += step.a[d] * state({b, h, d, e});
        for (int64_t d = 0; d < K; ++d)
          for (int64_t e = 0; e < V; ++e) {
            double &s = state({b, h, d, e});
            s = std::exp(step.g[d]) * s + step.y[d] * p[e] + step.w[d] * v({b, t, h, e});
            o({b, t, h, e}) += s * q({b, t, h, d}) / std::sqrt(double(K));
          }
      }
  return o;
}

std::vector<double> rowOf(const Tensor &t, int64_t b, int64_t i, int64_t h) {
  auto first = t.data.begin() + t.at({b, i, h, 0});
  return {first, first + t.shape[3]};
}

} // namespace

TEST_CASE("gated delta and DPLR follow the written recurrence", "[identity]") {
  const std::string arguments = kState + ", %g: seq<T x H x K>, %beta: seq<T x H>";
  PatternRun delta = mix(arguments, "decay diag %g update delta %beta initial state %s0");
  Inputs in = randomInputs(delta, kDims, 31);
  Tensor expected = recurrence(in, in.at("s0"), [&](int64_t b, int64_t t, int64_t h) {
    // S' = e^g S; S = S' + beta k (v - S'^T k)^T, so a = e^g k reads the state before the decay.
    Step step{rowOf(in.at("g"), b, t, h), {}, {}, rowOf(in.at("k"), b, t, h)};
    step.a = step.y = step.w;
    for (size_t d = 0; d < step.a.size(); ++d) {
      step.a[d] *= std::exp(step.g[d]);
      step.w[d] *= in.at("beta")({b, t, h});
      step.y[d] = -step.w[d];
    }
    return step;
  });
  requireSame(delta(in).at("r_o"), expected);

  PatternRun dplr = mix(kState + ", %g: seq<T x H x K>, %a: seq<T x H x K>, %y: seq<T x H x K>",
                        "decay diag %g update dplr %a, %y initial state %s0");
  in = randomInputs(dplr, kDims, 32);
  expected = recurrence(in, in.at("s0"), [&](int64_t b, int64_t t, int64_t h) {
    return Step{rowOf(in.at("g"), b, t, h), rowOf(in.at("a"), b, t, h), rowOf(in.at("y"), b, t, h),
                rowOf(in.at("k"), b, t, h)};
  });
  requireSame(dplr(in).at("r_o"), expected);
}

TEST_CASE("classes reduce to each other", "[identity]") {
  PatternRun linear = mix(kState, "initial state %s0");
  PatternRun constant = mix(kState, "decay constant { -0.3 } initial state %s0");
  PatternRun scalar = mix(kState + ", %g: seq<T x H>", "decay scalar %g initial state %s0");
  PatternRun diag = mix(kState + ", %g: seq<T x H x K>", "decay diag %g initial state %s0");
  PatternRun delta = mix(kState + ", %beta: seq<T x H>", "update delta %beta initial state %s0");
  PatternRun scalarDelta = mix(kState + ", %g: seq<T x H>, %beta: seq<T x H>",
                               "decay scalar %g update delta %beta initial state %s0");
  PatternRun diagDelta = mix(kState + ", %g: seq<T x H x K>, %beta: seq<T x H>",
                             "decay diag %g update delta %beta initial state %s0");
  PatternRun dplr = mix(kState + ", %g: seq<T x H x K>, %a: seq<T x H x K>, %y: seq<T x H x K>",
                        "decay diag %g update dplr %a, %y initial state %s0");
  Inputs in = randomInputs(scalarDelta, kDims, 41);
  std::vector<int64_t> wide = {2, 11, 2, 3};
  Tensor g = in.at("g"), beta = in.at("beta"), k = in.at("k");
  Inputs base = in;
  base.erase("g");
  base.erase("beta");
  auto repeated = [&](const Tensor &t) {
    return built(wide, [&](int64_t b, int64_t i, int64_t h, int64_t) { return t({b, i, h}); });
  };
  Tensor gWide = repeated(g), zeros(wide);
  auto o = [](PatternRun &run, const Inputs &inputs) { return run(inputs).at("r_o"); };

  // A gate that is equal over features is a scalar one; a constant one is RetNet's; none is linear.
  requireSame(o(diag, with(base, {{"g", gWide}})), o(scalar, with(base, {{"g", g}})));
  requireSame(o(scalar, with(base, {{"g", Tensor({2, 11, 2}, -0.3)}})), o(constant, base));
  requireSame(o(scalar, with(base, {{"g", Tensor({2, 11, 2})}})), o(linear, base));
  // KDA, gated DeltaNet, DeltaNet.
  requireSame(o(diagDelta, with(base, {{"g", gWide}, {"beta", beta}})), o(scalarDelta, in));
  requireSame(o(scalarDelta, with(in, {{"g", Tensor({2, 11, 2})}})),
              o(delta, with(base, {{"beta", beta}})));
  // The delta rule in its DPLR form: a = -e^g k, y = w = beta k; without a and y it is GLA.
  Inputs written = with(base, {{"g", gWide}});
  written["a"] = built(wide, [&](int64_t b, int64_t t, int64_t h, int64_t d) {
    return -std::exp(g({b, t, h})) * k({b, t, h, d});
  });
  written["k"] = written["y"] = built(wide, [&](int64_t b, int64_t t, int64_t h, int64_t d) {
    return beta({b, t, h}) * k({b, t, h, d});
  });
  requireSame(o(dplr, written), o(scalarDelta, in));
  requireSame(o(dplr, with(base, {{"g", gWide}, {"a", zeros}, {"y", zeros}})),
              o(diag, with(base, {{"g", gWide}})));
  // Orthonormal keys, beta 1, no decay, no state: the delta rule adds.
  Inputs few = randomInputs(delta, {{"B", 1}, {"T", 3}, {"H", 2}, {"K", 3}, {"V", 4}}, 42);
  few["k"] = built({1, 3, 2, 3}, [](int64_t, int64_t t, int64_t, int64_t d) { return t == d; });
  few["s0"] = Tensor({1, 2, 3, 4});
  few["beta"] = Tensor({1, 3, 2}, 1.0);
  Inputs same = few;
  same.erase("beta");
  requireSame(o(delta, few), o(linear, same));
}

TEST_CASE("gated DeltaNet-2 with equal gates is KDA; DeltaProduct of one is gated DeltaNet",
          "[identity]") {
  PatternRun kda = PatternRun::text(mixPattern(
      kState + ", %g: seq<T x H x K>, %beta: seq<T x H>",
      kPlain + "features q [l2norm] features k [l2norm] decay diag %g update delta %beta initial "
               "state %s0"));
  PatternRun second = PatternRun::library("gated_deltanet2");
  Inputs in = randomInputs(kda, kDims, 51), two = in;
  two.erase("beta");
  auto spread = [&](int64_t width) {
    return built({2, 11, 2, width}, [&](int64_t b, int64_t t, int64_t h, int64_t) {
      return in.at("beta")({b, t, h});
    });
  };
  two["erase"] = spread(3);
  two["write"] = spread(4);
  requireSame(second(two).at("o"), kda(in).at("r_o"));

  PatternRun product = PatternRun::library("deltaproduct");
  PatternRun gated = PatternRun::text(mixPattern(
      kState + ", %g: seq<T x H>, %beta: seq<T x H>",
      kPlain + "features q [l2norm] features k [l2norm] decay scalar %g update delta %beta initial "
               "state %s0"));
  in = randomInputs(gated, kDims, 52);
  Inputs one = in;
  for (const char *name : {"k", "v", "beta"})
    one[name].shape.insert(one[name].shape.begin() + 2, 1);
  requireSame(product(one).at("o"), gated(in).at("r_o"));
  // Three writes a token are three tokens of which only the first decays and the last is read.
  Inputs three =
      randomInputs(product, {{"B", 2}, {"T", 5}, {"n", 3}, {"H", 2}, {"K", 3}, {"V", 4}}, 53);
  Inputs longer = three;
  for (const char *name : {"k", "v", "beta"}) {
    longer[name].shape.erase(longer[name].shape.begin() + 2);
    longer[name].shape[1] = 15;
  }
  longer["q"] = built({2, 15, 2, 3}, [&](int64_t b, int64_t t, int64_t h, int64_t d) {
    return three.at("q")({b, t / 3, h, d});
  });
  longer["g"] = built({2, 15, 2}, [&](int64_t b, int64_t t, int64_t h, int64_t) {
    return t % 3 == 0 ? three.at("g")({b, t / 3, h}) : 0;
  });
  Tensor all = gated(longer).at("r_o"), last({2, 5, 2, 4});
  last = built({2, 5, 2, 4}, [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    return all({b, 3 * t + 2, h, e});
  });
  requireSame(product(three).at("o"), last);
}

TEST_CASE("Mamba-3 with lambda 1 and no rotation is Mamba-2 with scaled v", "[identity]") {
  PatternRun taps = mix(kState + ", %g: seq<T x H>, %prev: seq<T x H>, %here: seq<T x H>",
                        "decay scalar %g taps %prev, %here initial state %s0");
  PatternRun scalar = mix(kState + ", %g: seq<T x H>", "decay scalar %g initial state %s0");
  Inputs in = randomInputs(taps, kDims, 61), plain = in;
  in["prev"] = Tensor({2, 11, 2});
  plain.erase("prev");
  plain.erase("here");
  plain["v"] = built({2, 11, 2, 4}, [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    return in.at("here")({b, t, h}) * in.at("v")({b, t, h, e});
  });
  requireSame(taps(in).at("r_o"), scalar(plain).at("r_o"));
}

TEST_CASE("TTT-linear is the delta rule on v - k with a constant feature", "[identity]") {
  PatternRun ttt = PatternRun::library("ttt_linear");
  Dims dims = {{"B", 1}, {"T", 7}, {"H", 2}, {"K", 3}};
  Inputs in = {{"s0", Random(71).tensor({1, 2, 4, 3})}};
  Random random(72);
  for (const char *name : {"q", "k", "v"})
    in[name] = random.tensor({1, 7, 2, 3});
  in["eta"] = random.tensor({1, 7, 2}, 0, 0.5);
  // One gradient step a token on |k W + c - (v - k)|^2 / 2, read after it.
  Tensor expected({1, 7, 2, 3});
  for (int64_t h = 0; h < 2; ++h) {
    Tensor w({4, 3});
    for (int64_t n = 0; n < 12; ++n)
      w.data[n] = in["s0"].data[h * 12 + n];
    for (int64_t t = 0; t < 7; ++t) {
      auto input = [&](const char *name, double scale, int64_t d) {
        return d < 3 ? scale * in[name]({0, t, h, d}) : 1.0;
      };
      for (int64_t e = 0; e < 3; ++e) {
        double error = -(in["v"]({0, t, h, e}) - in["k"]({0, t, h, e}));
        for (int64_t d = 0; d < 4; ++d)
          error += input("k", 1, d) * w({d, e});
        for (int64_t d = 0; d < 4; ++d)
          w({d, e}) -= in["eta"]({0, t, h}) * input("k", 1, d) * error;
        for (int64_t d = 0; d < 4; ++d)
          expected({0, t, h, e}) += input("q", 1 / std::sqrt(3.0), d) * w({d, e});
      }
    }
  }
  requireSame(ttt(in).at("o"), expected);
}

TEST_CASE("log-linear with equal gates is its base", "[identity]") {
  PatternRun levels = mix(", %g: seq<T x H>, %lambda: seq<T x H x 6>",
                          "decay scalar %g segments fenwick gate given %lambda bank running");
  PatternRun deltas =
      mix(", %g: seq<T x H>, %beta: seq<T x H>, %lambda: seq<T x H x 6>",
          "decay scalar %g update delta %beta segments fenwick gate given %lambda bank running");
  Dims dims = {{"B", 1}, {"T", 21}, {"H", 2}, {"K", 3}, {"V", 2}};
  Inputs in = randomInputs(deltas, dims, 81);
  in["lambda"] = Tensor({1, 21, 2, 6}, 1.0);
  Inputs delta = in, plain = in, base = in;
  delta.erase("lambda");
  plain.erase("beta");
  base.erase("lambda");
  base.erase("beta");
  requireSame(levels(plain).at("r_o"), mix(", %g: seq<T x H>", "decay scalar %g")(base).at("r_o"));
  requireSame(
      deltas(in).at("r_o"),
      mix(", %g: seq<T x H>, %beta: seq<T x H>", "decay scalar %g update delta %beta")(delta).at(
          "r_o"));
}

TEST_CASE("degree 1 with positive scores is normalised linear attention", "[identity]") {
  PatternRun power = PatternRun::text(mixPattern(
      "", "features q [spow(p = 1)] features k [spow(p = 1)] score (s) { s } weight id norm sum"));
  PatternRun chain =
      PatternRun::text(mixPattern("", "score (s) { 1 * log(abs(s)) } weight exp norm sum", "o"));
  Inputs in = randomInputs(power, kDims, 91);
  for (const char *name : {"q", "k"})
    in[name] = mapped(in[name], [](double x) { return std::fabs(x) + 0.1; });
  requireSame(power(in).at("r_o"), chain(in).at("r_o"));
  // Degree 4: the pair form exp(4 ln |s|) against the features.
  PatternRun features = PatternRun::text(mixPattern(
      "", "features q [spow(p = 4)] features k [spow(p = 4)] score (s) { s } weight id norm sum"));
  PatternRun logs =
      PatternRun::text(mixPattern("", "score (s) { 4 * log(abs(s)) } weight exp norm sum", "o"));
  in = randomInputs(power, kDims, 92);
  requireSame(features(in).at("r_o"), logs(in).at("r_o"), 1e-9);
}

TEST_CASE("memory caching: residual, equal logits, all of the bank, one segment", "[identity]") {
  auto cached = [](const std::string &clauses) {
    return mix(kState + ", %u: seq<T x H x K>", clauses + " initial state %s0");
  };
  PatternRun linear = mix(kState, "initial state %s0");
  PatternRun residual = mix(kState, "segments constant { 3 } gate ones initial state %s0");
  PatternRun grm = cached("segments constant { 3 } gate softmax %u pool mean_k");
  PatternRun ssc = cached("segments constant { 3 } gate top(9) %u pool mean_k");
  PatternRun single = cached("segments constant { 50 } gate softmax %u pool mean_k");
  Inputs in = randomInputs(grm, kDims, 101), base = in;
  base.erase("u");
  Tensor plain = linear(base).at("r_o");
  requireSame(residual(base).at("r_o"), plain);
  requireSame(ssc(in).at("r_o"), grm(in).at("r_o"));
  requireSame(single(in).at("r_o"), plain);
  Inputs equal = with(in, {{"u", Tensor({2, 11, 2, 3})}});
  Tensor mean = built({2, 11, 2, 4}, [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    return plain({b, t, h, e}) / double(t / 3 + 1);
  });
  requireSame(grm(equal).at("r_o"), mean);
  // Carried states: token j counts seg(t) - seg(j) + 1 times.
  PatternRun carried = mix("", "segments constant { 3 } gate ones reset no");
  PatternRun counted = PatternRun::text(mixPattern(
      "", "score (s, i, j) { s * rsqrt(K) * (i div 3 - j div 3 + 1) } weight id norm none"));
  base.erase("s0");
  requireSame(carried(base).at("r_o"), counted(base, {}, Evaluator::Pair).at("r_o"));
}

TEST_CASE("a chain is a tree; a tree is its paths", "[identity]") {
  PatternRun softmaxTree = PatternRun::library("tree_decoding");
  PatternRun rope = PatternRun::library("rope");
  Random random(111);
  Inputs in = {{"q", random.tensor({2, 5, 4, 6})},
               {"k", random.tensor({2, 9, 2, 6})},
               {"v", random.tensor({2, 9, 2, 3})}};
  Inputs chain = in;
  chain["parent"] = Tensor({2, 5}, {-1, 0, 1, 2, 3, -1, 0, 1, 2, 3});
  requireSame(softmaxTree(chain).at("o"), rope(in).at("o"));
  requireSame(softmaxTree(chain).at("lse"), rope(in).at("lse"));

  // Node 4's path is 0, 2, 4: it equals the sequence of the prefix and these three.
  const std::vector<double> parents = {-1, 0, 0, 1, 2};
  const std::vector<int64_t> path = {0, 2, 4};
  Inputs tree = chain, one;
  tree["parent"] = Tensor({2, 5}, {-1, 0, 0, 1, 2, -1, 0, 0, 1, 2});
  for (const char *name : {"q", "k", "v"}) {
    const Tensor &t = in.at(name);
    int64_t prefix = t.shape[1] - 5;
    one[name] = built({2, prefix + 3, t.shape[2], t.shape[3]},
                      [&](int64_t b, int64_t i, int64_t h, int64_t d) {
                        return t({b, i < prefix ? i : prefix + path[i - prefix], h, d});
                      });
  }
  requireSame(slice(softmaxTree(tree).at("o"), 1, 4, 5), slice(rope(one).at("o"), 1, 2, 3));

  for (const std::string &update : {std::string("add"), std::string("delta")}) {
    bool delta = update == "delta";
    std::string clauses =
        std::string("decay scalar %g initial state %s0") + (delta ? " update delta %beta" : "");
    std::string arguments = kState + ", %g: seq<T x H>" + (delta ? ", %beta: seq<T x H>" : "");
    PatternRun whole = mix(arguments + ", %parent: seq<i32, T>",
                           clauses + " tree %parent support (row, j) { ancestor(row, j) }");
    PatternRun sequence = mix(arguments, clauses);
    Inputs nodes = randomInputs(whole, {{"B", 1}, {"T", 5}, {"H", 2}, {"K", 3}, {"V", 2}}, 112),
           along = nodes;
    nodes["parent"] = Tensor({1, 5}, parents);
    along.erase("parent");
    for (auto &[name, tensor] : along)
      if (name != "s0") {
        Tensor picked = slice(tensor, 1, 0, 3);
        int64_t rest = picked.elements() / 3;
        for (int64_t n = 0; n < 3; ++n)
          std::copy_n(tensor.data.begin() + path[n] * rest, rest, picked.data.begin() + n * rest);
        tensor = picked;
      }
    for (Evaluator evaluator : {Evaluator::Pair, Evaluator::Scan})
      if (!(delta && evaluator == Evaluator::Pair))
        requireSame(slice(whole(nodes, {}, evaluator).at("r_o"), 1, 4, 5),
                    slice(sequence(along).at("r_o"), 1, 2, 3));
  }
}

TEST_CASE("two directions of a palindrome give a palindrome", "[identity]") {
  PatternRun run = PatternRun::library("encoder_retention");
  Inputs in = randomInputs(run, {{"B", 1}, {"T", 9}, {"H", 2}, {"K", 3}, {"V", 2}}, 121);
  for (const char *name : {"q", "k", "v"}) {
    Tensor &t = in[name];
    int64_t rest = t.elements() / 9;
    for (int64_t i = 0; i < 4; ++i)
      std::copy_n(t.data.begin() + i * rest, rest, t.data.begin() + (8 - i) * rest);
  }
  for (int64_t h = 0; h < 2; ++h) // g_{t+1} = g_{T-1-t}
    for (int64_t t = 0; t + 1 < 9; ++t)
      in["g"]({0, t + 1, h}) = -0.1 - 0.05 * double(std::min(t, 7 - t)) - 0.02 * double(h);
  Tensor o = run(in).at("o"), mirrored = o;
  for (int64_t t = 0; t < 9; ++t)
    std::copy_n(o.data.begin() + t * 4, 4, mirrored.data.begin() + (8 - t) * 4);
  requireSame(mirrored, o);
}
