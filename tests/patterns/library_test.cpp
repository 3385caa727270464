// Every file of patterns/ parses, verifies, prints and parses to the same pattern, and computes the
// naive formula that the file of its family gives, on both evaluators where its `Forms:` line
// promises them. A file without a naive formula fails here.
#include "compiler/Interpreter.h"
#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "runtime/Tensor.h"
#include "tests/patterns/Library.h"
#include "tests/support/Files.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

using namespace heddle;
using namespace heddle::test;

namespace {

void compare(const compiler::Output &found, const Array &expected) {
  REQUIRE(found.shape == expected.shape);
  for (size_t n = 0; n < found.values.size(); ++n) {
    double x = found.values[n], y = expected.values[n];
    bool same = std::isfinite(y) ? std::abs(x - y) <= 1e-10 * std::max(1.0, std::abs(y)) : x == y;
    if (!same)
      FAIL(found.name << fmt::format("[{} of {}]", n, fmt::join(found.shape, "x"))
                      << fmt::format(": interpreter {}, naive formula {}", x, y));
  }
}

void checkLength(const Case &check, pattern::DefOp def, const std::set<std::string> &forms,
                 int64_t length) {
  INFO("length " << length);
  Bound bound;
  bindCase(bound, check, def, length);
  Expected expected;
  check.naive(bound.problem, expected);
  for (compiler::Evaluator evaluator : {compiler::Evaluator::Pair, compiler::Evaluator::Scan}) {
    bool scan = evaluator == compiler::Evaluator::Scan;
    if (!forms.count(scan ? "recurrent" : "attention"))
      continue;
    INFO("evaluator " << (scan ? "scan" : "pair"));
    Result<compiler::Outputs> outputs = compiler::interpret(def, bound.bindings, {}, evaluator);
    if (!outputs.ok())
      FAIL(outputs.error().toString());
    REQUIRE(!outputs->results.empty());
    for (const compiler::Output &found : outputs->results) {
      INFO("result " << found.name);
      REQUIRE(expected.count(found.name));
      compare(found, expected.at(found.name));
    }
  }
}

void checkRoundTrip(mlir::MLIRContext &context, pattern::DefOp def) {
  std::string text = pattern::canonicalText(def);
  pattern::Parsed again = pattern::parsePatterns(context, text, "canonical.heddle");
  INFO(text << "\n" << again.str());
  REQUIRE(again.ok());
  std::string why;
  pattern::DefOp copy = pattern::findPattern(*again.module, def.getSymName(), why);
  REQUIRE(copy);
  CHECK(pattern::canonicalText(copy) == text);
}

} // namespace

std::set<std::string> heddle::test::promisedForms(const std::string &text) {
  size_t at = text.find("// Forms:");
  REQUIRE(at != std::string::npos);
  std::istringstream line(text.substr(at + 9, text.find('\n', at) - at - 9));
  std::set<std::string> forms;
  for (std::string word; line >> word;)
    forms.insert(word);
  return forms;
}

std::vector<Case> heddle::test::allCases() {
  std::vector<Case> all;
  for (auto *family : {softmaxCases, sparseCases, storageCases, selectionCases, gatedCases,
                       deltaCases, mamba3Cases, memoryCases, treeCases})
    for (Case &check : family())
      all.push_back(std::move(check));
  return all;
}

SoftmaxRow heddle::test::softmaxRow(int64_t keys, int64_t width,
                                    const std::function<bool(int64_t)> &visible,
                                    const std::function<double(int64_t)> &score,
                                    const std::function<double(int64_t, int64_t)> &value,
                                    double sink) {
  SoftmaxRow row;
  row.o.assign(size_t(width), 0.0);
  double max = sink;
  for (int64_t j = 0; j < keys; ++j)
    if (visible(j))
      max = std::max(max, score(j));
  if (std::isinf(max))
    return row;
  double sum = std::exp(sink - max);
  for (int64_t j = 0; j < keys; ++j) {
    if (!visible(j))
      continue;
    double weight = std::exp(score(j) - max);
    sum += weight;
    for (int64_t e = 0; e < width; ++e)
      row.o[size_t(e)] += weight * value(j, e);
  }
  for (double &o : row.o)
    o /= sum;
  row.lse = max + std::log(sum);
  return row;
}

Operands heddle::test::groupedOperands(const Problem &p) {
  int64_t group = p.dim("Hq") / p.dim("Hk");
  Operands operands;
  operands.q = [&p](int64_t b, int64_t t, int64_t h, int64_t d) { return p.at("q", {b, t, h, d}); };
  operands.k = [&p, group](int64_t b, int64_t j, int64_t h, int64_t d) {
    return p.at("k", {b, j, h / group, d});
  };
  operands.v = [&p, group](int64_t b, int64_t j, int64_t h, int64_t e) {
    return p.at("v", {b, j, h / group, e});
  };
  operands.width = p.dim("D");
  operands.valueWidth = p.dim("Dv");
  return operands;
}

void heddle::test::naiveSoftmax(const Problem &p, Expected &expected, const Operands &operands,
                                const std::function<bool(const Pair &)> &visible,
                                const std::function<double(const Pair &, double)> &score,
                                const std::function<double(int64_t)> &sink) {
  int64_t queries = p.dim("Tq"), keys = p.dim("Tk"), heads = p.dim("Hq");
  Array o({p.dim("B"), queries, heads, operands.valueWidth}), lse({p.dim("B"), queries, heads});
  for (int64_t b = 0; b < p.dim("B"); ++b)
    for (int64_t row = 0; row < queries; ++row)
      for (int64_t h = 0; h < heads; ++h) {
        auto pair = [&](int64_t j) { return Pair{b, h, row, row + keys - queries, j}; };
        auto dot = [&](int64_t j) {
          double sum = 0;
          for (int64_t d = 0; d < operands.width; ++d)
            sum += operands.q(b, row, h, d) * operands.k(b, j, h, d);
          return sum;
        };
        SoftmaxRow found = softmaxRow(
            keys, operands.valueWidth, [&](int64_t j) { return visible(pair(j)); },
            [&](int64_t j) { return score(pair(j), dot(j)); },
            [&](int64_t j, int64_t e) { return operands.v(b, j, h, e); }, sink ? sink(h) : -kInf);
        lse({b, row, h}) = found.lse;
        for (int64_t e = 0; e < operands.valueWidth; ++e)
          o({b, row, h, e}) = found.o[size_t(e)];
      }
  expected.insert_or_assign("o", std::move(o));
  expected.insert_or_assign("lse", std::move(lse));
}

void heddle::test::attentionDims(Problem &problem, int64_t length) {
  problem.dims["Tq"] = length == 7 ? 9 : (length + 1) / 2;
  problem.dims["Tk"] = length;
  problem.dims["Hq"] = 6;
  problem.dims["Hk"] = 2;
  problem.dims["D"] = 5;
  problem.dims["Dv"] = 3;
}

double heddle::test::rotatedHalf(const std::function<double(int64_t)> &x, int64_t d, int64_t width,
                                 double base, double position) {
  int64_t f = d % (width / 2);
  double angle = position * std::pow(base, -2.0 * double(f) / double(width));
  return d < width / 2 ? x(d) * std::cos(angle) - x(d + width / 2) * std::sin(angle)
                       : x(d) * std::cos(angle) + x(d - width / 2) * std::sin(angle);
}

double heddle::test::rotatedNeighbours(const std::function<double(int64_t)> &x, int64_t d,
                                       int64_t width, double base, double position) {
  double angle = position * std::pow(base, -2.0 * double(d / 2) / double(width));
  return d % 2 == 0 ? x(d) * std::cos(angle) - x(d + 1) * std::sin(angle)
                    : x(d) * std::cos(angle) + x(d - 1) * std::sin(angle);
}

Run heddle::test::runRecurrence(const Problem &p, const Recurrence &r) {
  int64_t batch = p.dim("B"), steps = p.dim("T");
  Run run{Array({batch, steps, r.heads, r.valueWidth}),
          Array({batch, r.heads, r.keyWidth, r.valueWidth})};
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < r.heads; ++h) {
      Array state({r.keyWidth, r.valueWidth});
      for (int64_t d = 0; d < r.keyWidth && r.start; ++d)
        for (int64_t e = 0; e < r.valueWidth; ++e)
          state({d, e}) = r.start(b, h, d, e);
      for (int64_t t = 0; t < steps; ++t) {
        r.step(b, t, h, state);
        for (int64_t e = 0; e < r.valueWidth; ++e)
          for (int64_t d = 0; d < r.keyWidth; ++d)
            run.o({b, t, h, e}) += r.q(b, t, h, d) * state({d, e});
      }
      for (int64_t d = 0; d < r.keyWidth; ++d)
        for (int64_t e = 0; e < r.valueWidth; ++e)
          run.state({b, h, d, e}) = state({d, e});
    }
  return run;
}

std::function<void(int64_t, int64_t, int64_t, Array &)>
heddle::test::gatedStep(Element factor, Element k, Element v) {
  return [=](int64_t b, int64_t t, int64_t h, Array &state) {
    for (int64_t d = 0; d < state.shape[0]; ++d)
      for (int64_t e = 0; e < state.shape[1]; ++e)
        state({d, e}) = factor(b, t, h, d) * state({d, e}) + k(b, t, h, d) * v(b, t, h, e);
  };
}

Element heddle::test::element(const Problem &p, const std::string &name) {
  return
      [&p, name](int64_t b, int64_t t, int64_t h, int64_t d) { return p.at(name, {b, t, h, d}); };
}

void heddle::test::retentionDims(Problem &problem, int64_t length) {
  problem.dims["T"] = length;
  problem.dims["H"] = 3;
  problem.dims["K"] = 5;
  problem.dims["V"] = 3;
}

double heddle::test::sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double heddle::test::softplus(double x) { return std::log1p(std::exp(x)); }
double heddle::test::silu(double x) { return x * sigmoid(x); }

void heddle::test::checkCase(const Case &check) {
  INFO("pattern " << check.pattern);
  std::string text = libraryText(check.pattern);
  std::unique_ptr<mlir::MLIRContext> context = pattern::makePatternContext();
  pattern::Parsed parsed =
      pattern::parsePatterns(*context, text, "patterns/" + check.pattern + ".heddle");
  if (!parsed.ok())
    FAIL(parsed.str());
  std::string why;
  pattern::DefOp def = pattern::findPattern(*parsed.module, check.pattern, why);
  INFO(why);
  REQUIRE(def);
  checkRoundTrip(*context, def);
  for (int64_t length : {1, 7, 13})
    checkLength(check, def, promisedForms(text), length);
}

TEST_CASE("every file of the library has a naive formula, and every formula a file") {
  std::set<std::string> files, cases;
  for (const auto &entry :
       std::filesystem::directory_iterator(std::string(kSourceDir) + "/patterns"))
    if (entry.path().extension() == ".heddle")
      files.insert(entry.path().stem().string());
  for (const Case &check : allCases())
    cases.insert(check.pattern);
  CHECK(files == cases);
}

TEST_CASE("a parameter named like a variable of another clause is the parameter") {
  const char *text = "pattern.def @named(%q: seq<T x H x D>, %k: seq<T x H x D>, d = 2) {\n"
                     "  %o, %lse = mix %q, %k, %k\n"
                     "    support (i, j) { j <= i and i - j < d }\n"
                     "    weight exp  norm sum\n"
                     "  return %o\n"
                     "}\n";
  std::unique_ptr<mlir::MLIRContext> context = pattern::makePatternContext();
  pattern::Parsed parsed = pattern::parsePatterns(*context, text, "named.heddle");
  INFO(parsed.str());
  REQUIRE(parsed.ok());
  std::string why;
  pattern::DefOp def = pattern::findPattern(*parsed.module, "named", why);
  REQUIRE(def);
  std::vector<double> q(4, 0.0), k = {1.0, 2.0, 3.0, 4.0}; // T = 4, H = D = 1: means of two keys
  TensorView view;
  view.dtype = DType::F64;
  view.rank = 4;
  view.shape = {1, 4, 1, 1};
  view.strides = {4, 1, 1, 1};
  compiler::Bindings bindings;
  view.data = q.data();
  bindings.tensors["q"] = view;
  view.data = k.data();
  bindings.tensors["k"] = view;
  Result<compiler::Outputs> outputs = compiler::interpret(def, bindings);
  REQUIRE(outputs.ok());
  CHECK(outputs->results[0].values == std::vector<double>{1.0, 1.5, 2.5, 3.5});
}
