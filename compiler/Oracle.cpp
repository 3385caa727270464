// Parses, chooses rows, interprets, gathers the same rows of the kernel's results, compares.
#include "compiler/Oracle.h"

#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <tuple>

namespace heddle::compiler {
namespace {

/// True if that operand of return is a log-sum-exp, which has a tolerance of its own.
bool holdsLse(mlir::Value value) {
  auto result = llvm::dyn_cast<mlir::OpResult>(value);
  if (!result)
    return false;
  if (auto mix = llvm::dyn_cast<pattern::MixOp>(result.getOwner()))
    return mix.output("lse") == value;
  if (auto merge = llvm::dyn_cast<pattern::MergeOp>(result.getOwner()))
    return merge.getKind() == pattern::MergeKind::lse && result.getResultNumber() == 1;
  return false;
}

/// The numbers of the kernel's result, in the order of the interpreter's output: all of them, or of
/// the rows (results are [B, Tq, H] or [B, Tq, H, E]).
Result<std::vector<double>> gather(const TensorView &found, const Output &output,
                                   const std::vector<Row> &rows) {
  std::vector<double> values;
  values.reserve(output.values.size());
  if (rows.empty()) {
    bool same = found.rank == static_cast<int>(output.shape.size());
    for (int d = 0; same && d < found.rank; ++d)
      same = found.shape[d] == output.shape[d];
    if (!same)
      return Error{
          ErrorCode::Internal,
          fmt::format("result '{}' has another shape than the interpreter's", output.name)};
    std::vector<int64_t> index(found.rank, 0);
    for (int64_t n = 0, total = found.elements(); n < total; ++n) {
      int64_t offset = 0;
      for (int d = 0; d < found.rank; ++d)
        offset += index[d] * found.strides[d];
      values.push_back(loadElement(found.dtype, found.data, offset));
      for (int d = found.rank; d-- > 0 && ++index[d] == found.shape[d];)
        index[d] = 0;
    }
    return values;
  }
  if (found.rank != 3 && found.rank != 4)
    return Error{ErrorCode::Unsupported,
                 fmt::format("result '{}' has rank {}: its rows cannot be sampled", output.name,
                             found.rank)};
  int64_t width = found.rank == 4 ? found.shape[3] : 1,
          step = found.rank == 4 ? found.strides[3] : 0;
  for (const Row &row : rows)
    for (int64_t e = 0; e < width; ++e)
      values.push_back(loadElement(found.dtype, found.data,
                                   row.b * found.strides[0] + row.row * found.strides[1] +
                                       row.h * found.strides[2] + e * step));
  if (values.size() != output.values.size())
    return Error{ErrorCode::Internal,
                 fmt::format("result '{}': {} sampled numbers against the interpreter's {}",
                             output.name, values.size(), output.values.size())};
  return values;
}

/// [batch, rows, heads] of the first result that has all three: what is sampled.
Result<std::array<int64_t, 3>> rowShape(pattern::DefOp def, const Bindings &bindings) {
  HEDDLE_TRY(dims, inferDims(def, bindings));
  auto lookup = [&](llvm::StringRef name) -> std::optional<int64_t> {
    auto found = dims.find(name.str());
    return found == dims.end() ? std::nullopt : std::optional(found->second);
  };
  for (mlir::Value value : def.returned().getResults()) {
    auto type = llvm::cast<pattern::ArrayType>(value.getType());
    if (!type.getBatched() || type.rank() < 2)
      continue;
    auto batch = lookup("B");
    auto rows = pattern::evaluateInteger(type.dim(0), lookup);
    auto heads = pattern::evaluateInteger(type.dim(1), lookup);
    if (batch && rows && heads)
      return std::array<int64_t, 3>{*batch, *rows, *heads};
  }
  return std::array<int64_t, 3>{0, 0, 0};
}

} // namespace

std::vector<Row> sampleRows(int64_t batch, int64_t heads, int64_t rows, int64_t tile, int64_t most,
                            uint64_t seed) {
  std::vector<Row> chosen;
  int64_t total = batch * heads * rows;
  if (total <= most) {
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t r = 0; r < rows; ++r)
          chosen.push_back({b, h, r});
    return chosen;
  }
  std::set<std::tuple<int64_t, int64_t, int64_t>> seen;
  std::mt19937_64 random(seed);
  auto add = [&](int64_t b, int64_t h, int64_t r) {
    if (r >= 0 && r < rows && static_cast<int64_t>(chosen.size()) < most &&
        seen.insert({b, h, r}).second)
      chosen.push_back({b, h, r});
  };
  auto anyHead = [&] { return std::pair(int64_t(random() % batch), int64_t(random() % heads)); };
  for (auto [b, h] : {std::pair(int64_t(0), int64_t(0)), std::pair(batch - 1, heads - 1)}) {
    add(b, h, 0);
    add(b, h, rows - 1);
  }
  // Tile edges take at most half of what is allowed; every tile's if they are few.
  int64_t edges = std::max<int64_t>(1, rows / tile),
          stride = std::max<int64_t>(1, edges * 4 / most);
  for (int64_t edge = 1; edge <= edges; edge += stride) {
    auto [b, h] = anyHead();
    add(b, h, edge * tile - 1);
    add(b, h, edge * tile);
  }
  for (int64_t tries = 0; tries < 8 * most && static_cast<int64_t>(chosen.size()) < most; ++tries) {
    auto [b, h] = anyHead();
    add(b, h, static_cast<int64_t>(random() % rows));
  }
  return chosen;
}

Result<Oracle> Oracle::make(const OracleJob &job) {
  std::unique_ptr<mlir::MLIRContext> context = pattern::makePatternContext();
  pattern::Parsed parsed = pattern::parsePatterns(*context, job.patternText, "pattern");
  if (!parsed.ok())
    return Error{ErrorCode::InvalidPattern, parsed.str()};
  std::string why;
  pattern::DefOp def = pattern::findPattern(*parsed.module, job.patternName, why);
  if (!def)
    return Error{ErrorCode::NotFound, why};

  Oracle oracle;
  oracle.arithmetic = arithmeticOf(job.dtype);
  mlir::OperandRange returned = def.returned().getResults();
  for (mlir::Value value : returned)
    oracle.isLse.push_back(holdsLse(value));
  HEDDLE_TRY(shape, rowShape(def, job.bindings));
  oracle.totalRows = shape[0] * shape[1] * shape[2];
  HEDDLE_TRY(work, measureWork(def, job.bindings));
  if (work.oracle > job.budget && oracle.totalRows > 0) {
    double perRow = work.oracle / static_cast<double>(oracle.totalRows);
    int64_t affordable = static_cast<int64_t>(job.budget / std::max(1.0, perRow));
    oracle.rows = sampleRows(shape[0], shape[2], shape[1], job.tile,
                             std::clamp<int64_t>(affordable, 16, job.mostRows), job.seed);
  }
  HEDDLE_TRY(outputs, interpret(def, job.bindings, RowSelection{oracle.rows}));
  oracle.expected = std::move(outputs);
  return oracle;
}

Result<OracleReport> Oracle::compare(const std::map<std::string, TensorView> &found) const {
  OracleReport report;
  report.sampled = !rows.empty();
  report.totalRows = totalRows;
  report.rows = report.sampled ? static_cast<int64_t>(rows.size()) : totalRows;
  for (size_t n = 0; n < expected.results.size(); ++n) {
    const Output &output = expected.results[n];
    auto entry = found.find(output.name);
    if (entry == found.end())
      continue;
    HEDDLE_TRY(values, gather(entry->second, output, rows));
    OracleResult result{output.name, {}, isLse[n] ? lseLimit(arithmetic) : rmsLimit(arithmetic)};
    auto count = static_cast<int64_t>(values.size());
    auto *compareAs = isLse[n] ? compareLse : compareValues;
    result.comparison = compareAs(values.data(), output.values.data(), count, result.limit);
    report.passed &= result.comparison.pass;
    report.results.push_back(std::move(result));
  }
  return report;
}

std::string OracleReport::toString() const {
  std::string text;
  for (const OracleResult &result : results)
    text += fmt::format("{}{}: max {:.2g}, rms {:.2g}, limit {:.0e}{}", text.empty() ? "" : "\n",
                        result.name, result.comparison.maxAbs, result.comparison.rms, result.limit,
                        result.comparison.pass ? "" : "  FAILED");
  return text;
}

} // namespace heddle::compiler
