// Parses, chooses rows, interprets, gathers the same rows of the kernel's results, compares.
#include "compiler/Oracle.h"

#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>
#include <tuple>

namespace heddle::compiler {
namespace {

constexpr int64_t kManyTokens = 1024;

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

/// The numbers of the kernel's result, in the order of the interpreter's output.
Result<std::vector<double>> gather(const TensorView &found, const Output &output) {
  bool same = found.rank == static_cast<int>(output.shape.size());
  for (int d = 0; same && d < found.rank; ++d)
    same = found.shape[d] == output.shape[d];
  if (!same)
    return Error{ErrorCode::Internal,
                 fmt::format("result '{}' has another shape than the interpreter's", output.name)};
  std::vector<double> values;
  values.reserve(output.values.size());
  for (size_t n = 0; n < output.values.size(); ++n) {
    int64_t place = output.places.empty() ? int64_t(n) : output.places[n], offset = 0;
    for (int d = found.rank; d-- > 0; place /= found.shape[d])
      offset += place % found.shape[d] * found.strides[d];
    values.push_back(loadElement(found.dtype, found.data, offset));
  }
  return values;
}

struct RowShape {
  int64_t batch = 0, rows = 0, heads = 0;
  int64_t all() const { return batch * rows * heads; }
};

/// Batch, rows and heads of the first result that has rows and heads: what is sampled. Packed
/// sequences count as one of all rows.
Result<RowShape> rowShape(pattern::DefOp def, const Bindings &bindings) {
  HEDDLE_TRY(dims, inferDims(def, bindings));
  auto lookup = [&](llvm::StringRef name) -> std::optional<int64_t> {
    auto found = dims.find(name.str());
    return found == dims.end() ? std::nullopt : std::optional(found->second);
  };
  for (mlir::Value value : def.returned().getResults()) {
    auto type = llvm::cast<pattern::ArrayType>(value.getType());
    auto mix = value.getDefiningOp<pattern::MixOp>();
    bool isFinal = mix && value != mix.output("o") && value != mix.output("lse");
    if (type.rank() < 2 || isFinal)
      continue;
    auto batch = type.getBatched() ? lookup("B") : std::optional<int64_t>(1);
    auto rows = pattern::evaluateInteger(type.dim(0), lookup);
    auto heads = pattern::evaluateInteger(type.dim(1), lookup);
    if (batch && rows && heads)
      return RowShape{*batch, *rows, *heads};
  }
  return RowShape{};
}

/// Lengths of the packed query sequences, if the first mix has such.
std::vector<int64_t> packedLengths(pattern::DefOp def, const Bindings &bindings) {
  std::vector<int64_t> lengths;
  for (auto mix : def.getBody().front().getOps<pattern::MixOp>()) {
    mlir::Value offsets = mix.input("cu_q");
    auto tensor =
        offsets ? bindings.tensors.find(pattern::valueName(offsets).str()) : bindings.tensors.end();
    if (tensor == bindings.tensors.end())
      continue;
    auto at = [&](int64_t n) {
      const TensorView &view = tensor->second;
      return int64_t(loadElement(view.dtype, view.data, n * view.strides[0]));
    };
    for (int64_t n = 0; n + 1 < tensor->second.shape[0]; ++n)
      lengths.push_back(at(n + 1) - at(n));
    break;
  }
  return lengths;
}

/// Rows counted over all packed sequences -> rows of their sequences.
void unpack(std::vector<Row> &rows, const std::vector<int64_t> &lengths) {
  for (Row &row : rows)
    for (row.b = 0; row.b < int64_t(lengths.size()) && row.row >= lengths[row.b]; ++row.b)
      row.row -= lengths[row.b];
}

/// Every head of the (b, row) pairs in `rows`.
std::vector<Row> wholeRows(const std::vector<Row> &rows, int64_t heads) {
  std::vector<Row> all;
  for (const Row &row : rows)
    for (int64_t h = 0; h < heads; ++h)
      all.push_back({row.b, h, row.row});
  return all;
}

/// True if a selection reads what a mix made: its scores join heads, so all heads are needed.
bool selectsFromMixes(pattern::DefOp def) {
  llvm::SmallVector<mlir::Value> open;
  for (auto select : def.getBody().front().getOps<pattern::SelectOp>())
    open.append(select->operand_begin(), select->operand_end());
  while (!open.empty()) {
    mlir::Operation *maker = open.pop_back_val().getDefiningOp();
    if (maker && llvm::isa<pattern::MixOp>(maker))
      return true;
    if (maker)
      open.append(maker->operand_begin(), maker->operand_end());
  }
  return false;
}

/// Chooses samples and evaluates them: first rows of a few heads; if these say nothing about some
/// result (a map joins heads), whole rows.
class Sampler {
public:
  Sampler(pattern::DefOp def, const OracleJob &job, const RowShape &shape, const Work &work)
      : def(def), job(job), shape(shape), work(work), lengths(packedLengths(def, job.bindings)) {}

  Result<Outputs> run(std::vector<Row> &rows) {
    if (!selectsFromMixes(def)) {
      HEDDLE_TRY(outputs, evaluate(shape.heads, 1, rows));
      if (llvm::all_of(outputs.results, [](const Output &o) { return !o.values.empty(); }))
        return outputs;
    }
    return evaluate(1, shape.heads, rows);
  }

private:
  /// Samples as if there were `heads`, each standing for `each` real ones.
  Result<Outputs> evaluate(int64_t heads, int64_t each, std::vector<Row> &rows) {
    double perPlace = work.scans / double(shape.batch * heads),
           most = double(job.mostRows) / double(each);
    double perRow = (work.oracle - work.scans) / double(shape.batch * heads * shape.rows);
    double affordable = (job.budget - perPlace) / std::max(1.0, perRow);
    int64_t count = int64_t(std::clamp(affordable, 16.0, std::max(16.0, most)));
    int64_t places = INT64_MAX, reach = shape.rows;
    bool finals = work.finals;
    if (work.scans > 0 || finals)
      places = int64_t(std::clamp(job.budget / std::max(1.0, perPlace), 1.0, 4.0));
    // One sequence may take four times the budget before it is cut short.
    if (perPlace > 4 * job.budget) {
      reach = std::max<int64_t>(1, int64_t(double(shape.rows) * job.budget / perPlace));
      finals = false;
    }
    rows = sampleRows(shape.batch, heads, reach, job.tile, count, job.seed, places);
    if (each > 1)
      rows = wholeRows(rows, each);
    if (!lengths.empty())
      unpack(rows, lengths);
    return interpret(def, job.bindings, RowSelection{rows, finals});
  }

  pattern::DefOp def;
  const OracleJob &job;
  const RowShape &shape;
  const Work &work;
  std::vector<int64_t> lengths;
};

} // namespace

std::vector<Row> sampleRows(int64_t batch, int64_t heads, int64_t rows, int64_t tile, int64_t most,
                            uint64_t seed, int64_t places) {
  std::vector<Row> chosen;
  int64_t total = batch * heads * rows;
  if (total <= most && batch * heads <= places) {
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
  std::vector<std::pair<int64_t, int64_t>> allowed{{0, 0}};
  if (places > 1 && batch * heads > 1)
    allowed.push_back({batch - 1, heads - 1});
  auto anyHead = [&] {
    std::pair drawn(int64_t(random() % batch), int64_t(random() % heads));
    if (places == INT64_MAX)
      return drawn;
    if (int64_t(allowed.size()) < std::min(places, batch * heads))
      allowed.push_back(drawn); // may repeat one: then fewer take part
    return allowed[random() % allowed.size()];
  };
  for (auto [b, h] : std::vector(allowed)) {
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
  oracle.totalRows = shape.all();
  HEDDLE_TRY(work, measureWork(def, job.bindings));
  // Sums that a state carries over thousands of tokens have a limit of their own.
  if (oracle.arithmetic == Arithmetic::F32 && work.inChunk > 0 && shape.rows > kManyTokens)
    oracle.arithmetic = Arithmetic::F32LongChunks;
  bool sample = work.oracle > job.budget && oracle.totalRows > 0;
  HEDDLE_TRY(outputs, sample ? Sampler(def, job, shape, work).run(oracle.rows)
                             : interpret(def, job.bindings));
  if (llvm::all_of(outputs.results, [](const Output &o) { return o.values.empty(); }) && sample)
    return Error{ErrorCode::Unsupported,
                 "no row of the results follows from some rows of the mixes alone, and all of them "
                 "are over the budget of the check: check a shorter sequence"};
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
    HEDDLE_TRY(values, gather(entry->second, output));
    auto count = static_cast<int64_t>(values.size());
    OracleResult result{output.name,
                        {},
                        isLse[n] ? lseLimit(arithmetic) : rmsLimit(arithmetic),
                        count,
                        entry->second.elements()};
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
