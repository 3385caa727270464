// How the library's files are tested: a Case names a file, sets dims, parameters and integer inputs
// for a length, and computes what the file must give in plain loops. Everything else (parsing,
// verifying, round trip, filling the tensors, both evaluators, comparing) is common.
#pragma once

#include "compiler/Interpreter.h"
#include "ir/pattern/PatternDialect.h"
#include "runtime/DType.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace heddle::test {

inline constexpr double kInf = std::numeric_limits<double>::infinity();

/// One argument of a pattern, as the test fills it. `shape` starts with B for a seq.
struct Argument {
  std::string name;
  DType dtype = DType::F64;
  std::vector<std::string> dims;
  std::vector<int64_t> shape;
  std::vector<double> values; ///< what the elements read as

  int64_t offset(std::initializer_list<int64_t> index) const;
};

/// A pattern's inputs on small shapes.
struct Problem {
  std::map<std::string, int64_t> dims;
  std::map<std::string, double> params;
  std::map<std::string, Argument> arguments;
  /// Set by a case: values of one argument by flat index into its shape; others are smooth noise.
  std::map<std::string, std::function<double(const std::vector<int64_t> &)>> fillers;

  int64_t dim(const std::string &name) const { return dims.at(name); }
  double param(const std::string &name) const { return params.at(name); }
  /// The element of an argument; an index out of range fails the test.
  double at(const std::string &name, std::initializer_list<int64_t> index) const;
};

/// A dense array that a naive formula fills.
struct Array {
  std::vector<int64_t> shape;
  std::vector<double> values;

  explicit Array(std::vector<int64_t> dims);
  double &operator()(std::initializer_list<int64_t> index);
  double operator()(std::initializer_list<int64_t> index) const;
};

/// What a naive formula gives, by result name.
using Expected = std::map<std::string, Array>;

struct Case {
  std::string pattern; ///< file stem
  /// Dims, parameters and fillers for one length (T, or Tk; the case chooses the others).
  std::function<void(Problem &, int64_t length)> set;
  std::function<void(const Problem &, Expected &)> naive;
};

/// A problem of one length with its tensors made and bound.
struct Bound {
  Problem problem;
  compiler::Bindings bindings;
  std::map<std::string, std::vector<char>> bytes;
};

/// Fills `bound` as the case says; `change` may replace dims before tensors are made. Tensors whose
/// element type the pattern leaves open are of `dtype`.
void bindCase(Bound &bound, const Case &check, pattern::DefOp def, int64_t length,
              DType dtype = DType::F64, const std::function<void(Problem &)> &change = {});

/// The text of patterns/<pattern>.heddle, and the words of its `Forms:` line.
std::set<std::string> promisedForms(const std::string &text);

/// The cases of all families.
std::vector<Case> allCases();

/// Runs one case: lengths 1, 7 and 13, on every evaluator that the file's `Forms:` promises.
void checkCase(const Case &check);

/// The families, each in the test file of that name.
std::vector<Case> softmaxCases();
std::vector<Case> sparseCases();
std::vector<Case> storageCases();
std::vector<Case> selectionCases();
std::vector<Case> gatedCases();
std::vector<Case> deltaCases();
std::vector<Case> mamba3Cases();
std::vector<Case> memoryCases();
std::vector<Case> treeCases();

/// Where a score stands: batch, query head, query row, its absolute position, key.
struct Pair {
  int64_t b = 0, h = 0, row = 0, i = 0, j = 0;
};

/// Softmax of one row over the visible keys in plain loops. `score(j)` is the final score,
/// `sink` a logit without a value (-inf: none).
struct SoftmaxRow {
  std::vector<double> o;
  double lse = -kInf;
};
SoftmaxRow softmaxRow(int64_t keys, int64_t width, const std::function<bool(int64_t)> &visible,
                      const std::function<double(int64_t)> &score,
                      const std::function<double(int64_t, int64_t)> &value, double sink = -kInf);

/// Operands of a softmax attention; by default the arguments q, k, v with grouped heads.
struct Operands {
  std::function<double(int64_t b, int64_t row, int64_t h, int64_t d)> q;
  std::function<double(int64_t b, int64_t j, int64_t h, int64_t d)> k; ///< h: query head
  std::function<double(int64_t b, int64_t j, int64_t h, int64_t e)> v; ///< h: query head
  int64_t width = 0, valueWidth = 0;
};
Operands groupedOperands(const Problem &problem);

/// Fills o and lse: score(pair, <q, k>) on the keys that visible(pair) shows.
void naiveSoftmax(const Problem &problem, Expected &expected, const Operands &operands,
                  const std::function<bool(const Pair &)> &visible,
                  const std::function<double(const Pair &, double dot)> &score,
                  const std::function<double(int64_t h)> &sink = nullptr);

/// Feature d of x turned to `position`, over `width` features: pairs (f, f + width / 2), or
/// neighbours.
double rotatedHalf(const std::function<double(int64_t)> &x, int64_t d, int64_t width, double base,
                   double position);
double rotatedNeighbours(const std::function<double(int64_t)> &x, int64_t d, int64_t width,
                         double base, double position);

/// B = 2, Tk = length, fewer queries than keys (more at length 7), three queries heads a key head.
void attentionDims(Problem &problem, int64_t length);

/// A retention written step by step for every (b, h): o_t and the final state.
struct Recurrence {
  int64_t heads = 0, keyWidth = 0, valueWidth = 0;
  /// Fills the state on entry; left out: zero.
  std::function<double(int64_t b, int64_t h, int64_t d, int64_t e)> start;
  /// Decays and writes.
  std::function<void(int64_t b, int64_t t, int64_t h, Array &state)> step;
  /// The mapped and scaled query.
  std::function<double(int64_t b, int64_t t, int64_t h, int64_t d)> q;
};
struct Run {
  Array o, state; ///< [B, T, H, V] and [B, H, K, V]
};
Run runRecurrence(const Problem &problem, const Recurrence &recurrence);

/// A step of class G: S = factor(d) S + k v'.
using Element = std::function<double(int64_t b, int64_t t, int64_t h, int64_t d)>;
std::function<void(int64_t, int64_t, int64_t, Array &)> gatedStep(Element factor, Element k,
                                                                  Element v);

/// Reads the argument of that name, [B, T, H, D].
Element element(const Problem &problem, const std::string &name);

/// B = 2, T = length, H = 3, K = 5, V = 3.
void retentionDims(Problem &problem, int64_t length);

double sigmoid(double x);
double softplus(double x);
double silu(double x);

} // namespace heddle::test
