// countTiles: what the loop bounds of a support visit for given lengths, with the same formulas the
// kernel uses, beside the number of pairs the support has.
#include "compiler/Compiler.h"
#include "compiler/forms/Graph.h"
#include "compiler/machine/Machine.h"
#include "compiler/schedule/Schedule.h"
#include "compiler/support/Evaluate.h"
#include "ir/pattern/Parse.h"
#include "ir/tile/TileDialect.h"

#include <fmt/format.h>

namespace heddle::compiler {

namespace {

using Values = llvm::StringMap<int64_t>;

/// Every integer name of the support: extents and parameters.
Result<Values> valuesOf(const MixProblem &problem, const std::map<std::string, int64_t> &extents,
                        const std::map<std::string, double> &params) {
  Values values;
  values["b"] = values["h"] = 0;
  for (const std::string &name : problem.extents)
    if (auto given = extents.find(name); given != extents.end())
      values[name] = given->second;
  for (const ProblemParam &param : problem.params) {
    auto given = params.find(param.name);
    double value = given == params.end() ? param.value : given->second;
    if (param.integer)
      values[param.name] = int64_t(value);
  }
  for (const std::string &name : pattern::dimsOf(problem.support))
    if (!values.contains(name))
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("extent {} is needed to count tiles, give it", name)};
  return values;
}

Result<int64_t> extentOf(const Extent &extent, const Values &values) {
  if (extent.fixed)
    return *extent.fixed;
  auto found = values.find(extent.name);
  if (found == values.end())
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("extent {} is needed to count tiles, give it", extent.name)};
  return found->second;
}

/// An element of batch 0; 0 outside the tensor.
int64_t elementOf(const TensorView &view, llvm::ArrayRef<int64_t> at) {
  int first = view.rank - static_cast<int>(at.size());
  int64_t offset = 0;
  for (size_t n = 0; n < at.size(); ++n) {
    if (at[n] < 0 || at[n] >= view.shape[first + n])
      return 0;
    offset += at[n] * view.strides[first + n];
  }
  return static_cast<int64_t>(loadElement(view.dtype, view.data, offset));
}

/// Pairs of one row inside the support.
int64_t pairsOfRow(const MixProblem &problem, NumberAlgebra &algebra, int64_t &key, int64_t keys) {
  int64_t pairs = 0;
  for (key = 0; key < keys; ++key)
    pairs += algebra.holds(problem.support);
  return pairs;
}

} // namespace

Result<TileCounts> countTiles(const Request &request, const std::map<std::string, int64_t> &extents,
                              const std::map<std::string, double> &params,
                              const std::map<std::string, TensorView> &tensors) {
  auto context = pattern::makePatternContext();
  context->loadDialect<tile::TileDialect>(); // extents of workspace are its formulas
  pattern::Parsed parsed = pattern::parsePatterns(*context, request.patternText, "pattern.heddle");
  if (!parsed.ok())
    return Error{ErrorCode::InvalidPattern, parsed.str()};
  std::string why;
  pattern::DefOp def = pattern::findPattern(*parsed.module, request.patternName, why);
  if (!def)
    return Error{ErrorCode::NotFound, why};
  HEDDLE_TRY(machine, machineOf(request));
  HEDDLE_TRY(schedule, completeSchedule(request.schedule, machine, Problem::of(request)));
  HEDDLE_TRY(graph, readGraph({def, request, schedule}));
  const MixProblem *mix = nullptr;
  for (const Stage &stage : graph.stages)
    if (auto found = std::get_if<MixProblem>(&stage); found && mix)
      return Error{ErrorCode::Unsupported,
                   "the pattern has several mixes, whose tiles are not counted together"};
    else if (found)
      mix = found;
  if (!mix)
    return Error{ErrorCode::Unsupported, "the pattern has no mix, so there are no tiles to count"};
  const MixProblem &problem = *mix;
  HEDDLE_TRY(values, valuesOf(problem, extents, params));
  HEDDLE_TRY(Tq, extentOf(problem.Tq, values));
  HEDDLE_TRY(Tk, extentOf(problem.Tk, values));
  SupportNames names, pairNames;
  for (const ProblemParam &param : problem.params)
    if (!param.integer)
      names.reals.push_back(param.name);
  for (const auto &[name, view] : tensors)
    if (!isFloat(view.dtype))
      names.integers.push_back(name);
  pairNames = names;
  pairNames.invariant = {"b", "h", "i", "j"};
  if (!isConditionScalar(problem.support, pairNames))
    return Error{ErrorCode::Unsupported,
                 "the support reads real numbers, or tensors that are not given, so its pairs "
                 "cannot be counted"};
  Support support = analyseSupport(problem.support, names);

  int64_t row = 0, key = 0;
  auto lookup = [&](llvm::StringRef name) {
    return name == "i" ? row : name == "j" ? key : values.lookup(name);
  };
  auto element = [&](llvm::StringRef name, llvm::ArrayRef<int64_t> at) {
    return elementOf(tensors.at(name.str()), at);
  };
  NumberAlgebra algebra(lookup, element);
  TileCounts counts;
  counts.support = toString(support);
  int64_t BM = schedule.at("BM"), BN = schedule.at("BN");
  int64_t off = problem.bottomRight ? Tk - Tq : 0;
  for (int64_t row0 = 0; row0 < Tq; row0 += BM) {
    int64_t rows = std::min(BM, Tq - row0);
    ++counts.rowTiles;
    for (auto &part : keyParts(algebra, support, row0 + off, row0 + rows - 1 + off, {0, Tk}, BN)) {
      int64_t full = part.fullEnd - part.fullBegin;
      auto tiles = [&](int64_t n) { return n > 0 ? (n + BN - 1) / BN : 0; };
      counts.fullTiles += full / BN;
      counts.visitedTiles +=
          full / BN + tiles(part.fullBegin - part.begin) + tiles(part.end - part.fullEnd);
      counts.visitedPairs += std::max<int64_t>(part.end - part.begin, 0) * rows;
      counts.fullPairs += full * rows;
    }
    for (int64_t r = 0; r < rows; ++r) {
      row = row0 + r + off;
      counts.exactPairs += pairsOfRow(problem, algebra, key, Tk);
    }
  }
  return counts;
}

} // namespace heddle::compiler
