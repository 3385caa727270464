// Runs a mix: chooses the evaluator, walks sequences, heads and rows, and puts each result where
// the layout wants it. Example: a packed batch of lengths 3, 0, 2 is three sequences whose rows
// land at 0..2 and 3..4 of o.
#include "compiler/interpreter/Mix.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace heddle::compiler {

namespace {

Error unsupported(std::string message) { return {ErrorCode::Unsupported, std::move(message)}; }

class MixRun {
public:
  MixRun(pattern::MixOp op, Environment &environment, MixHead head)
      : op(op), environment(environment), head(std::move(head)) {}

  Status choose(Evaluator wanted) {
    std::optional<std::string> notPair = whyNotPair(op), notScan = whyNotScan(op);
    if (!notPair && needsScan())
      notPair = "its results hold what only a scan carries";
    if (wanted == Evaluator::Pair && notPair)
      return unsupported("the mix cannot be run by pairs: " + *notPair);
    if (wanted == Evaluator::Scan && notScan)
      return unsupported("the mix cannot be run as a scan: " + *notScan);
    if (notPair && notScan)
      return unsupported("the mix cannot be run by pairs: " + *notPair +
                         "; nor as a scan: " + *notScan);
    scan = wanted == Evaluator::Scan || (wanted == Evaluator::Auto && notPair.has_value());
    return {};
  }

  Status runAll() {
    HEDDLE_CHECK(makeResults(/*rowsOnly=*/false));
    for (int64_t n = 0; n < head.in.sequences(); ++n)
      for (int64_t h = 0; h < head.in.heads; ++h) {
        HEDDLE_CHECK(head.enter(n, h));
        MixFinal final;
        if (scan) {
          std::vector<double> o;
          HEDDLE_CHECK(scanHead(head, {}, o, final));
          for (int64_t row = 0; row < head.s.lenQ; ++row)
            put(row, o.data() + row * head.in.readouts * head.in.widthV, nullptr);
        } else {
          MixRow one;
          for (int64_t row = 0; row < head.s.lenQ; ++row) {
            HEDDLE_CHECK(pairRow(head, row, one));
            put(row, one.o.data(), one.lse.data());
          }
          if (wantsFinal())
            HEDDLE_CHECK(pairFinal(head, final));
        }
        HEDDLE_CHECK(putFinal(final));
      }
    defineResults();
    return {};
  }

  /// Only some rows, head by head.
  Status runRows(const RowSelection &selection) {
    HEDDLE_CHECK(makeResults(/*rowsOnly=*/true));
    std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> byHead;
    for (const Row &row : selection.rows)
      if (row.b >= 0 && row.b < head.in.sequences() && row.h >= 0 && row.row >= 0 &&
          row.row < head.in.sequence(row.b).lenQ)
        byHead[{row.b, row.h % head.in.heads}].push_back(row.row);
    for (auto &[place, rows] : byHead) {
      std::sort(rows.begin(), rows.end());
      rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
      HEDDLE_CHECK(head.enter(place.first, place.second));
      HEDDLE_CHECK(runRowsOfHead(rows, selection.finals));
    }
    defineResults();
    return {};
  }

private:
  bool needsScan() {
    return op.output("bank") || op.output("pool") || op.output("position") || op.output("run_pool");
  }
  bool wantsFinal() { return op.output("state") || op.output("z") || op.output("k_last"); }

  Status runRowsOfHead(const std::vector<int64_t> &rows, bool finals) {
    MixFinal final;
    std::vector<double> o;
    ScanPart part;
    part.toEnd = finals && (wantsFinal() || needsScan());
    if (scan) {
      part.rows.assign(head.s.lenQ, false);
      for (int64_t row : rows)
        part.rows[row] = true;
      HEDDLE_CHECK(scanHead(head, part, o, final));
    }
    MixRow one;
    for (int64_t row : rows) {
      if (scan) {
        put(row, o.data() + row * head.in.readouts * head.in.widthV, nullptr);
        continue;
      }
      HEDDLE_CHECK(pairRow(head, row, one));
      put(row, one.o.data(), one.lse.data());
    }
    if (!part.toEnd)
      return {};
    if (!scan)
      HEDDLE_CHECK(pairFinal(head, final));
    return putFinal(final);
  }

  /// True if nothing reads the result but `return`.
  static bool isOnlyReturned(mlir::Value value) {
    return llvm::all_of(value.getUsers(),
                        [](mlir::Operation *user) { return mlir::isa<pattern::ReturnOp>(user); });
  }

  /// With `rowsOnly`, o and lse are sparse where they are only returned, and everything else is NaN
  /// until it is known.
  Status makeResults(bool rowsOnly) {
    for (size_t n = 0; n < op.getOutputs().size(); ++n) {
      std::string role = mlir::cast<mlir::StringAttr>(op.getResultRoles()[n]).str();
      if (rowsOnly && (role == "o" || role == "lse") && isOnlyReturned(op.getOutputs()[n])) {
        rowsOf[role] = SparseValue();
        continue;
      }
      HEDDLE_TRY(shape, environment.shapeOf(pattern::arrayType(op.getOutputs()[n])));
      double fill = role == "lse" ? -std::numeric_limits<double>::infinity() : 0;
      results[role] =
          Value::make(shape, rowsOnly ? std::numeric_limits<double>::quiet_NaN() : fill);
    }
    return {};
  }

  void defineResults() {
    for (const auto &[role, value] : results)
      environment.define(op.output(role), value);
    for (auto &[role, rows] : rowsOf)
      environment.define(op.output(role), std::move(rows));
  }

  Value *result(const char *role) {
    auto found = results.find(role);
    return found == results.end() ? nullptr : &found->second;
  }

  /// Number of the row among all rows of the output: packed or batch by batch.
  int64_t flatRow(int64_t row) {
    bool packed = op.getLayout() == pattern::LayoutKind::varlen;
    return packed ? head.s.firstQ + row : head.s.index * head.s.lenQ + row;
  }

  void put(int64_t row, const double *o, const double *lse) {
    int64_t readouts = head.in.readouts, width = head.in.widthV;
    for (int64_t sub = 0; sub < readouts; ++sub) {
      int64_t at = (flatRow(row) * readouts + sub) * head.in.heads + head.head;
      putAt("o", at * width, o + sub * width, width);
      if (lse)
        putAt("lse", at, lse + sub, 1);
    }
  }

  void putAt(const char *role, int64_t place, const double *values, int64_t count) {
    if (Value *out = result(role))
      std::copy_n(values, count, out->data() + place);
    auto rows = rowsOf.find(role);
    for (int64_t n = 0; n < count && rows != rowsOf.end(); ++n) {
      rows->second.places.push_back(place + n);
      rows->second.values.push_back(values[n]);
    }
  }

  Status putFinal(const MixFinal &final) {
    const std::pair<const char *, const std::vector<double> *> parts[] = {
        {"state", &final.state},         {"z", &final.sums},           {"bank", &final.bank},
        {"k_last", &final.lastKey},      {"v_last", &final.lastValue}, {"pool", &final.pools},
        {"run_pool", &final.runningPool}};
    for (const auto &[role, values] : parts)
      if (Value *out = result(role))
        HEDDLE_CHECK(putPart(role, *values, *out));
    if (Value *out = result("position"))
      out->data()[head.s.index] = final.position;
    return {};
  }

  /// [sequences, lead.., H, rest]: this head's part, H counting states. A bank may have room for
  /// more segments than there are; the rest stays 0.
  Status putPart(const char *role, const std::vector<double> &values, Value &out) {
    int64_t states = head.in.headsOfStates;
    int64_t lead = head.in.leadOf(role) ? out.extent(1) : 1;
    int64_t rest = out.elements() / std::max<int64_t>(1, head.in.sequences() * states * lead);
    int64_t given = rest ? int64_t(values.size()) / rest : 0;
    if (given > lead)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("{} has room for {} states, expected {}", role, lead, given)};
    int64_t state = head.head * states / head.in.heads;
    for (int64_t n = 0; n < given; ++n)
      std::copy_n(values.data() + n * rest, rest,
                  out.data() + ((head.s.index * lead + n) * states + state) * rest);
    return {};
  }

  pattern::MixOp op;
  Environment &environment;
  MixHead head;
  bool scan = false;
  std::map<std::string, Value> results;
  std::map<std::string, SparseValue> rowsOf;
};

} // namespace

void leaveLast(const MixHead &head, MixFinal &out) {
  out.lastKey = head.lastKey;
  out.lastValue = head.lastValue;
  if (head.s.lenK == 0) {
    out.lastKey.resize(head.in.writes * head.features);
    out.lastValue.resize(head.in.writes * head.in.widthV);
    return;
  }
  const double *key = head.key(head.s.lenK - 1, 0), *value = head.value(head.s.lenK - 1, 0);
  out.lastKey.assign(key, key + head.in.writes * head.features);
  out.lastValue.assign(value, value + head.in.writes * head.in.widthV);
}

Status runMix(pattern::MixOp op, Environment &environment, const RowSelection &rows,
              Evaluator evaluator) {
  HEDDLE_TRY(head, MixHead::make(op, environment));
  MixRun run(op, environment, std::move(head));
  HEDDLE_CHECK(run.choose(evaluator));
  return rows.all() ? run.runAll() : run.runRows(rows);
}

} // namespace heddle::compiler
