// The golden values: T = 5, K = V = 2, one head, inputs given by formulas, so that any program can
// reproduce them. Every row is run by each evaluator that may run it. The numbers were computed
// outside of this project's code; they are data, not output.
#include "tests/support/PatternRun.h"

using namespace heddle;
using namespace heddle::test;

namespace {

constexpr int64_t kT = 5;
const double kScale = std::sqrt(0.5);

/// The formula at n = 2 t + d as [1, T, 1, 2].
Tensor formula(double (*f)(double)) {
  Tensor t({1, kT, 1, 2});
  for (int64_t n = 0; n < 10; ++n)
    t.data[n] = f(double(n));
  return t;
}
Tensor q() {
  return formula([](double n) { return std::sin(1 + n); });
}
Tensor k() {
  return formula([](double n) { return std::cos(0.7 * (1 + n)); });
}
Tensor v() {
  return formula([](double n) { return std::sin(0.3 + 0.5 * n); });
}
/// Log-decays by feature, and those of feature 0.
Tensor g() {
  return formula([](double n) { return -0.1 - 0.4 * std::fabs(std::sin(2 + n)); });
}
Tensor g0() {
  Tensor all = g(), out({1, kT, 1});
  for (int64_t t = 0; t < kT; ++t)
    out.data[t] = all.data[2 * t];
  return out;
}
Tensor perToken(const std::function<double(double)> &f) {
  Tensor out({1, kT, 1});
  for (int64_t t = 0; t < kT; ++t)
    out.data[t] = f(double(t));
  return out;
}
Tensor beta() {
  return perToken([](double t) { return 0.5 + 0.4 * std::sin(3 + t); });
}
Tensor s0() { return Tensor({1, 1, 2, 2}, {.1, .2, .3, .4}); }
Tensor kn() {
  Tensor out = k();
  for (int64_t t = 0; t < kT; ++t) {
    double x = out.data[2 * t], y = out.data[2 * t + 1], r = std::sqrt(x * x + y * y + 1e-6);
    out.data[2 * t] /= r;
    out.data[2 * t + 1] /= r;
  }
  return out;
}
Tensor times(Tensor t, double c) {
  return mapped(std::move(t), [c](double x) { return c * x; });
}

Inputs qkv() { return {{"q", q()}, {"k", k()}, {"v", v()}}; }
Inputs qkvWith(Inputs more) {
  Inputs inputs = qkv();
  for (auto &[name, tensor] : more)
    inputs[name] = tensor;
  return inputs;
}

/// A pattern of one mix: more arguments, its clauses, what it gives.
std::string mixText(const std::string &arguments, const std::string &clauses,
                    const std::string &results = "%o, %s", const std::string &gives = "o, state") {
  return "pattern.def @golden(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>" +
         arguments + ") {\n  " + results + " = mix %q, %k, %v\n" + clauses + "\n    gives " +
         gives + "\n  return " + results + "\n}\n";
}
const std::string kScaled = "    score (s) { s * rsqrt(K) }\n    weight id norm none\n";

/// The four columns; `last` is L[4] or the sum of the final state, `result` says which.
struct Golden {
  const char *name;
  std::string text; ///< a library file's name, or a pattern's text
  Inputs inputs;
  Params params;
  double o40, o41, sum;
  double last = NAN;
  const char *result = "";
};

bool near(double found, double expected) {
  return std::fabs(found - expected) <= 1e-9 * std::fabs(expected) + 1e-12;
}

void check(const Golden &row, int64_t head = 0) {
  bool isText = row.text.find('{') != std::string::npos;
  PatternRun run = isText ? PatternRun::text(row.text) : PatternRun::library(row.text);
  int ran = 0;
  for (Evaluator evaluator : {Evaluator::Pair, Evaluator::Scan, Evaluator::Auto}) {
    Result<compiler::Outputs> outputs = run.tryRun(row.inputs, row.params, evaluator);
    INFO(row.name << ", evaluator " << int(evaluator) << ": "
                  << (outputs.ok() ? "" : outputs.error().toString()));
    if (!outputs.ok() && evaluator != Evaluator::Auto &&
        outputs.error().code == ErrorCode::Unsupported)
      continue;
    REQUIRE(outputs.ok());
    ++ran;
    const compiler::Output &o = outputs->results[0];
    int64_t heads = o.shape[2];
    auto at = [&](int64_t t, int64_t e) { return o.values[(t * heads + head) * 2 + e]; };
    double sum = 0;
    for (int64_t t = 0; t < kT; ++t)
      sum += at(t, 0) + at(t, 1);
    CHECK(near(at(4, 0), row.o40));
    CHECK(near(at(4, 1), row.o41));
    CHECK(near(sum, row.sum));
    if (std::isnan(row.last))
      continue;
    const compiler::Output *last = outputs->find(row.result);
    REQUIRE(last);
    double found = 0;
    if (last->name == "lse")
      found = last->values[4 * heads + head];
    else
      for (double x : last->values)
        found += x;
    CHECK(near(found, row.last));
  }
  INFO(row.name);
  REQUIRE(ran >= 2);
}

} // namespace

TEST_CASE("golden values: softmax family", "[golden]") {
  check({"causal softmax",
         "causal_softmax",
         qkv(),
         {},
         0.231760936586,
         0.171767516694,
         4.742051889755,
         1.632151759675,
         "lse"});
  check({"window(1,0)",
         "sliding_window",
         qkv(),
         {{"W", 2}},
         -0.583243876095,
         -0.827466336748,
         2.243588527734,
         0.579335661427,
         "lse"});
  check({"causal + sink 0.25",
         "learned_sink",
         qkvWith({{"sink", Tensor({1}, 0.25)}}),
         {},
         0.185254943431,
         0.137300021553,
         3.307874077356,
         1.856125205307,
         "lse"});
  check({"softcap 0.5",
         "softcap",
         qkv(),
         {{"cap", 0.5}},
         0.228506470630,
         0.166622652865,
         4.893298147254,
         1.630895154853,
         "lse"});
  check({"forgetting",
         "forgetting",
         qkvWith({{"g", g0()}}),
         {},
         -0.070900020018,
         -0.212666316554,
         3.707217735831,
         0.995054537025,
         "lse"});
  check({"RoPE",
         "rope",
         qkv(),
         {},
         0.077458947689,
         -0.054664948587,
         4.510420025766,
         1.443312006014,
         "lse"});
  check(
      {"sigmoid", "sigmoid_attention", qkv(), {}, 0.189131709824, 0.132555421135, 2.402480675034});
  check({"MoBA c=2, K=2",
         "moba",
         qkv(),
         {{"c", 2}, {"K", 2}},
         0.182755063706,
         0.307731651975,
         4.829010152156});
}

TEST_CASE("golden values: ALiBi, whose slope 0.25 is that of head 0 of 4", "[golden]") {
  Inputs four;
  for (auto &[name, tensor] : qkv()) {
    Tensor wide({1, kT, 4, 2});
    for (int64_t t = 0; t < kT; ++t)
      for (int64_t h = 0; h < 4; ++h)
        for (int64_t d = 0; d < 2; ++d)
          wide({0, t, h, d}) = tensor({0, t, 0, d});
    four[name] = wide;
  }
  check({"ALiBi m=0.25",
         "alibi",
         four,
         {},
         0.029457877578,
         -0.095634920421,
         4.016683169008,
         1.158621716795,
         "lse"});
}

TEST_CASE("golden values: linear attention and retention", "[golden]") {
  const std::string entry = "    initial state %s0\n", entryType = ", %s0: seq<f32, H x K x V>";
  check({"linear, unnormalised",
         mixText(entryType, kScaled + entry),
         qkvWith({{"s0", s0()}}),
         {},
         0.142152087704,
         0.346795792681,
         1.175619972476,
         -6.492746140392,
         "s"});
  check({"linear, elu+1, norm sum",
         "linear_attention",
         qkvWith({{"s0", Tensor({1, 1, 2, 2})}, {"z0", Tensor({1, 1, 2})}}),
         {},
         -0.110403070926,
         -0.158300859976,
         3.654891916218,
         -3.475383058748,
         "s"});
  check({"RetNet 31/32",
         mixText(entryType, kScaled + entry + "    decay constant { log(1 - exp2(-5 - h)) }\n"),
         qkvWith({{"s0", s0()}}),
         {},
         0.133077381061,
         0.325372465499,
         1.194743295041,
         -6.379750193549,
         "s"});
  check({"RetNet 31/32, norm max(abs z, r)",
         "retnet_norm",
         qkv(),
         {},
         0.095362916139,
         0.187761090299,
         0.935858189312});
  check({"scalar decay",
         mixText(entryType + ", %g: seq<T x H>", kScaled + entry + "    decay scalar %g\n"),
         qkvWith({{"s0", s0()}, {"g", g0()}}),
         {},
         0.071487963239,
         0.182702648260,
         1.585052918055,
         -5.204191804343,
         "s"});
  check({"GLA vector g",
         mixText(entryType + ", %g: seq<T x H x K>", kScaled + entry + "    decay diag %g\n"),
         qkvWith({{"s0", s0()}, {"g", g()}}),
         {},
         0.055147552554,
         0.148426316228,
         1.485593684225,
         -5.072610726696,
         "s"});
  Inputs rwkv6 = {{"r", times(q(), kScale)},
                  {"k", k()},
                  {"v", v()},
                  {"s0", s0()},
                  {"w", mapped(g(), [](double x) { return std::log(-x); })},
                  {"u", Tensor({1, 2}, {.5, -.25})}};
  check({"RWKV-6",
         "rwkv6",
         rwkv6,
         {},
         -0.071976800675,
         0.048559298006,
         -0.543670454139,
         -5.072610726696,
         "s"});
  check({"bidirectional",
         "encoder_retention",
         qkvWith({{"g", g0()}}),
         {},
         0.084499603159,
         0.197121130032,
         -1.027526208286});
}

TEST_CASE("golden values: delta rules", "[golden]") {
  const std::string arguments = ", %beta: seq<T x H>, %s0: seq<f32, H x K x V>";
  const std::string clauses = kScaled + "    update delta %beta\n    initial state %s0\n";
  Inputs inputs = qkvWith({{"k", kn()}, {"beta", beta()}, {"s0", s0()}});
  Inputs gated = inputs, diagonal = inputs;
  gated["g"] = g0();
  diagonal["g"] = g();
  check({"DeltaNet",
         mixText(arguments, clauses),
         inputs,
         {},
         -0.004749271561,
         0.103869232776,
         0.597369175166,
         -2.097375322830,
         "s"});
  check({"Gated DeltaNet",
         mixText(arguments + ", %g: seq<T x H>", clauses + "    decay scalar %g\n"),
         gated,
         {},
         0.013147365384,
         0.068081929330,
         0.577306811349,
         -2.136538429127,
         "s"});
  check({"KDA",
         mixText(arguments + ", %g: seq<T x H x K>", clauses + "    decay diag %g\n"),
         diagonal,
         {},
         0.007258571237,
         0.053125733586,
         0.615922940724,
         -2.120445286119,
         "s"});
  Inputs dplr = qkvWith({{"s0", s0()}, {"g", g()}, {"a", times(kn(), -1)}, {"y", times(kn(), .5)}});
  check({"DPLR",
         mixText(", %g: seq<T x H x K>, %a: seq<T x H x K>, %y: seq<T x H x K>, "
                 "%s0: seq<f32, H x K x V>",
                 "    score (s) { s }\n    weight id norm none\n    decay diag %g\n"
                 "    update dplr %a, %y\n    initial state %s0\n"),
         dplr,
         {},
         -0.012541439520,
         0.155670749605,
         2.752909438762,
         -3.611862384007,
         "s"});
}

TEST_CASE("golden values: power, Based, Mamba-3", "[golden]") {
  check({"power p=2, gated",
         "power_retention",
         qkvWith({{"g", g0()}}),
         {},
         0.192550833015,
         -0.072274059528,
         5.103337458559});
  check({"power p=4",
         mixText("",
                 "    features q [spow(p = 4)]\n    features k [spow(p = 4)]\n"
                 "    score (s) { s / (K * K) }\n    weight id norm sum\n",
                 "%o", "o"),
         qkv(),
         {},
         0.272358710498,
         0.060339958070,
         5.785395588484});
  check({"Based", "based", qkv(), {{"eps", 0}}, 0.231337177872, 0.171073364840, 4.793531356571});

  Tensor theta({1, kT, 1, 1});
  double sum = 0;
  for (int64_t t = 0; t < kT; ++t)
    theta.data[t] = sum += 0.2 * (0.5 + 0.1 * double(t));
  auto delta = [](double t) { return 0.5 + 0.1 * t; };
  auto lambda = [](double t) { return 0.3 + 0.1 * t; };
  Inputs mamba3 = qkvWith({{"theta", theta},
                           {"g", perToken([&](double t) { return -delta(t); })},
                           {"prev", perToken([&](double t) {
                              return (1 - lambda(t)) * delta(t) * std::exp(-delta(t));
                            })},
                           {"here", perToken([&](double t) { return lambda(t) * delta(t); })}});
  check({"Mamba-3 SISO",
         mixText(", %theta: seq<T x H x F>, %g: seq<T x H>, %prev: seq<T x H>, %here: seq<T x H>",
                 "    features q [rope(pairing = interleaved, angle = theta[row, h, f])]\n"
                 "    features k [rope(pairing = interleaved, angle = theta[j, h, f])]\n"
                 "    score (s) { s }\n    weight id norm none\n    decay scalar %g\n"
                 "    taps %prev, %here\n"),
         mamba3,
         {},
         -0.018739577165,
         0.040200837787,
         0.277681453404,
         -2.242661360371,
         "s"});
}

TEST_CASE("golden values: log-linear attention and memory caching", "[golden]") {
  Tensor raw({1, kT, 1, 4});
  for (int64_t t = 0; t < kT; ++t)
    for (int64_t level = 0; level < 4; ++level) // the pattern takes softplus of it
      raw({0, t, 0, level}) = std::log(std::expm1(1.0 / double(1 + level)));
  Inputs levels = qkvWith({{"q", times(q(), kScale)}, {"g", g0()}, {"raw", raw}});
  check({"log-linear", "log_linear", levels, {}, 0.020191308292, 0.048265169669, 1.508600438129});

  Inputs plain = qkvWith({{"g", Tensor({1, kT, 1})}, {"u", q()}});
  Inputs gated = qkvWith({{"g", g0()}, {"u", q()}});
  check({"MC GRM, independent",
         "mc_grm",
         plain,
         {{"W", 2}},
         0.100145829901,
         0.166207392273,
         1.117253070744});
  check({"MC GRM, independent, gated",
         "mc_grm",
         gated,
         {{"W", 2}},
         0.099951289283,
         0.153288865179,
         1.265040071217});
  check({"MC GRM, checkpoint, gated",
         mixText(", %g: seq<T x H>, %u: seq<T x H x K>",
                 kScaled + "    decay scalar %g\n    segments constant { 2 }\n"
                           "    gate softmax %u pool mean_k\n    bank frozen\n    reset no\n",
                 "%o", "o"),
         gated,
         {},
         0.157807811672,
         0.253506839891,
         1.432173131404});
  check({"MC SSC k=1",
         "mc_ssc",
         plain,
         {{"W", 2}, {"top", 1}},
         0.143002679888,
         0.181749570519,
         1.175652098977});
}
