// Evaluates one head of a mix by walking its keys with a state S [features, V].
// Each step: a document or segment may start; S decays; the token is written (add, delta, dplr, two
// taps); queries that stand at this key read. Example, gated delta rule:
// S' = e^g S; S = S' + beta k (v - S'^T k)^T; o = S^T q.
// With a norm (or if z is asked for) S has one more column, written with v = 1.
#include "compiler/interpreter/Mix.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace heddle::compiler {

using pattern::DecayKind;
using pattern::NormKind;
using pattern::ReadKind;
using pattern::UpdateKind;

namespace {

/// [features, columns], row-major.
using State = std::vector<double>;

class ScanHead {
public:
  ScanHead(MixHead &head, const ScanPart &part, std::vector<double> &o, MixFinal &final)
      : head(head), part(part), o(o), final(final), features(head.features), width(head.in.widthV),
        columns(width + (head.op.getNorm() != NormKind::None || head.op.output("z") ? 1 : 0)),
        beta(head.in.tokens("beta", head.op.hasWriteAxis())),
        erase(head.in.tokens("a", head.op.hasWriteAxis())),
        put(head.in.tokens("y", head.op.hasWriteAxis())) {}

  Status run() {
    o.assign(head.s.lenQ * head.in.readouts * width, 0.0);
    HEDDLE_CHECK(planRows());
    enterState();
    if (mode == Mode::Static)
      runStatic();
    else if (mode == Mode::TwoWay)
      runTwoWay();
    else if (head.in.isTree())
      runTree();
    else
      runForward();
    leave();
    return {};
  }

private:
  enum class Mode { Forward, Static, TwoWay };

  // ---- what the support means for a scan

  /// Keys at which a fresh state starts; or one state for all rows; or refusal.
  Status planRows() {
    starts.assign(head.s.lenK + 1, false);
    if (head.in.isTree())
      return {};
    if (head.op.getDecaySymmetric()) {
      mode = Mode::TwoWay;
      return expectAllVisible();
    }
    int64_t full = 0, causal = 0, lastStart = 0;
    // Rows beyond the last step that is made say nothing about where documents start.
    int64_t planned = std::min(head.s.lenQ, std::max<int64_t>(0, lastKey() + 1 - head.s.shift));
    for (int64_t row = 0; row < planned; ++row) {
      const std::vector<double> &keys = head.visible(row);
      int64_t t = head.in.keyOf(head.s, row), count = int64_t(keys.size());
      int64_t first = count ? int64_t(keys.front()) : 0, last = count ? int64_t(keys.back()) : -1;
      full += count == head.s.lenK;
      bool run = last == std::min(t, head.s.lenK - 1) && count == last - first + 1 &&
                 (first == lastStart || first == t || row == 0);
      if (t < 0 ? count == 0 : run) {
        ++causal;
        if (t >= 0 && first != lastStart)
          starts[lastStart = first] = true;
      }
    }
    if (causal == planned)
      return {};
    mode = Mode::Static;
    if (full == planned && head.op.getDecay() == DecayKind::None &&
        head.op.getUpdate() == UpdateKind::add && !head.segments.present())
      return {};
    return Error{ErrorCode::Unsupported,
                 "a scan needs a support of all keys up to the query, of those since the start of "
                 "its document, or (without decay) of all keys; this one is neither: run by pairs"};
  }

  Status expectAllVisible() {
    for (int64_t row = 0; row < head.s.lenQ; ++row)
      if (int64_t(head.visible(row).size()) != head.s.lenK)
        return Error{ErrorCode::Unsupported,
                     "a two-way scan needs a support of all keys: write support { true }"};
    return {};
  }

  // ---- walks

  bool isWanted(int64_t row) const { return part.rows.empty() || part.rows[row]; }

  /// The last key whose step somebody asks for.
  int64_t lastKey() const {
    if (part.toEnd)
      return head.s.lenK - 1;
    int64_t row = head.s.lenQ - 1;
    while (row >= 0 && !isWanted(row))
      --row;
    return row + head.s.shift;
  }

  void runForward() {
    for (int64_t key = 0; key < std::min(head.s.lenK, lastKey() + 1); ++key) {
      if (starts[key])
        startDocument();
      startSegment(key);
      bool early = head.op.getRead() == ReadKind::bonus;
      if (early)
        readAt(key);
      step(key, key - 1, state);
      if (!early)
        readAt(key);
    }
    for (int64_t row = head.s.lenK - head.s.shift; row < head.s.lenQ; ++row)
      if (row >= 0 && head.s.lenK > 0)
        readRow(row, head.s.lenK - 1, state);
  }

  /// One state a node: that of its parent, stepped.
  void runTree() {
    int64_t prefix = head.s.lenK - head.s.lenQ;
    std::vector<State> nodes;
    for (int64_t key = 0; key < prefix; ++key)
      step(key, key - 1, state);
    for (int64_t row = 0; row < head.s.lenQ; ++row) {
      int64_t before = head.in.before(head.s, prefix + row);
      nodes.push_back(before < prefix ? state : nodes[before - prefix]);
      if (head.op.getRead() == ReadKind::bonus)
        readRow(row, prefix + row, nodes.back());
      step(prefix + row, before, nodes.back());
      if (head.op.getRead() != ReadKind::bonus)
        readRow(row, prefix + row, nodes.back());
    }
  }

  /// No decay, all keys: one state, then all reads.
  void runStatic() {
    for (int64_t key = 0; key < head.s.lenK; ++key)
      step(key, key - 1, state);
    for (int64_t row = 0; row < head.s.lenQ; ++row)
      readRow(row, head.s.lenK - 1, state);
  }

  /// e^{-|b_t - b_s|}: a forward scan that includes the token, and a backward one that does not,
  /// whose step from t + 1 to t decays by g_{t+1}.
  void runTwoWay() {
    State forward = state, backward(state.size(), 0.0);
    std::vector<State> ahead(head.s.lenK);
    for (int64_t key = head.s.lenK - 1; key >= 0; --key) {
      if (key + 1 < head.s.lenK) {
        write(key + 1, backward);
        applyDecay(key + 1, key, backward);
      }
      ahead[key] = backward;
    }
    for (int64_t key = 0; key < head.s.lenK; ++key) {
      step(key, key - 1, forward);
      State both = forward;
      for (size_t n = 0; n < both.size(); ++n)
        both[n] += ahead[key][n];
      int64_t row = key - head.s.shift;
      if (row >= 0 && row < head.s.lenQ)
        readRow(row, key, both);
    }
    state = forward;
  }

  // ---- starts

  void enterState() {
    state.assign(features * columns, 0.0);
    for (int64_t d = 0; d < features; ++d) {
      for (int64_t e = 0; e < width && head.hasState(); ++e)
        state[d * columns + e] = head.state[d * width + e];
      if (columns > width && !head.sums.empty())
        state[d * columns + width] = head.sums[d];
    }
    size_t states = head.bank.size();
    if (head.segments.present() && !head.segments.fenwick()) // the others are still free
      states = std::min<size_t>(states, head.segments.before() * features * width);
    for (size_t at = 0; at < states; at += features * width) {
      bank.emplace_back(features * columns, 0.0);
      for (int64_t d = 0; d < features; ++d)
        std::copy_n(head.bank.begin() + at + d * width, width, bank.back().begin() + d * columns);
    }
  }

  void startDocument() { std::fill(state.begin(), state.end(), 0.0); }

  /// The end state of the last segment goes to the bank before the first token of the next decays.
  void startSegment(int64_t key) {
    if (!head.segments.present() || head.segments.fenwick())
      return;
    for (int64_t i = head.segments.of(key - 1); i < head.segments.of(key); ++i) {
      bank.push_back(
          i == head.segments.of(key - 1) || !head.op.getReset() ? state : State(state.size(), 0.0));
      if (head.op.getReset())
        std::fill(state.begin(), state.end(), 0.0);
    }
  }

  // ---- one token

  void step(int64_t key, int64_t before, State &target) {
    std::vector<std::vector<double>> early = projections(key, target);
    applyDecay(key, before, target);
    if (head.op.getBank() == pattern::BankKind::running && head.segments.present())
      for (State &banked : bank)
        applyDecay(key, before, banked);
    if (head.segments.fenwick())
      return stepLevels(key);
    writeAll(key, target, early);
  }

  void applyDecay(int64_t key, int64_t before, State &target) {
    int64_t entries = head.decay.width;
    const double *now = head.decay.at(key), *then = head.decay.at(before);
    bool byChannel = entries > 1 && entries != features;
    for (int64_t d = 0; d < features && entries; ++d) {
      int64_t own = entries == 1 ? 0 : d;
      double factor = byChannel ? 0 : std::exp(now[own] - then[own]);
      for (int64_t e = 0; e < columns; ++e) {
        if (int64_t n = d * width + e; byChannel)
          factor = std::exp(now[n] - then[n]);
        target[d * columns + e] *= factor;
      }
    }
  }

  double valueAt(int64_t key, int64_t sub, int64_t e) const {
    return e < width ? head.value(key, sub)[e] : 1;
  }
  double number(const TokenTensor &tensor, int64_t key, int64_t sub) const {
    double x;
    head.in.load(tensor, head.s, key, sub, head.head, &x);
    return x;
  }
  std::vector<double> vector(const TokenTensor &tensor, int64_t key, int64_t sub) const {
    std::vector<double> x(tensor.width);
    head.in.load(tensor, head.s, key, sub, head.head, x.data());
    return x;
  }

  /// S^T x.
  std::vector<double> project(const State &from, const double *x) const {
    std::vector<double> p(columns, 0.0);
    for (int64_t d = 0; d < features; ++d)
      for (int64_t e = 0; e < columns; ++e)
        p[e] += from[d * columns + e] * x[d];
    return p;
  }
  void addOuter(double weight, const double *x, const std::vector<double> &y, State &target) const {
    for (int64_t d = 0; d < features; ++d)
      for (int64_t e = 0; e < columns; ++e)
        target[d * columns + e] += weight * x[d] * y[e];
  }
  std::vector<double> valueRow(int64_t key, int64_t sub) const {
    std::vector<double> v(columns);
    for (int64_t e = 0; e < columns; ++e)
      v[e] = valueAt(key, sub, e);
    return v;
  }

  /// dplr: a'S of the state before it decays (first sub-token).
  std::vector<std::vector<double>> projections(int64_t key, const State &from) const {
    if (head.op.getUpdate() != UpdateKind::dplr)
      return {};
    return {project(from, vector(erase, key, 0).data())};
  }

  void writeAll(int64_t key, State &target, const std::vector<std::vector<double>> &early) {
    if (!head.tapHere.empty())
      return writeTaps(key, target);
    for (int64_t sub = 0; sub < head.in.writes; ++sub) {
      const double *k = head.key(key, sub);
      std::vector<double> v = valueRow(key, sub);
      if (head.op.getUpdate() == UpdateKind::delta) {
        std::vector<double> held = project(target, k);
        for (int64_t e = 0; e < columns; ++e)
          v[e] -= held[e];
        addOuter(number(beta, key, sub), k, v, target);
        continue;
      }
      if (head.op.getUpdate() == UpdateKind::dplr) {
        std::vector<double> p =
            sub == 0 ? early[0] : project(target, vector(erase, key, sub).data());
        addOuter(1, vector(put, key, sub).data(), p, target);
      }
      addOuter(1, k, v, target);
    }
  }

  void write(int64_t key, State &target) { writeAll(key, target, projections(key, target)); }

  /// After the decay: previous_t k_{t-1} v_{t-1}' + here_t k_t v_t'.
  void writeTaps(int64_t key, State &target) {
    for (int64_t sub = 0; sub < head.in.writes; ++sub) {
      if (key > 0) {
        addOuter(head.tapPrevious[key], head.key(key - 1, sub), valueRow(key - 1, sub), target);
      } else if (!head.lastKey.empty()) {
        std::vector<double> v(columns, 1.0);
        std::copy_n(head.lastValue.data() + sub * width, width, v.begin());
        addOuter(head.tapPrevious[0], head.lastKey.data() + sub * features, v, target);
      }
      addOuter(head.tapHere[key], head.key(key, sub), valueRow(key, sub), target);
    }
  }

  // ---- log-linear attention: a state a level

  /// All levels have decayed; they take the same transition, merge as a binary counter does, and
  /// the token alone becomes level 0.
  void stepLevels(int64_t key) {
    for (int64_t sub = 0; sub < head.in.writes && head.op.getUpdate() == UpdateKind::delta; ++sub)
      for (State &level : bank) {
        const double *k = head.key(key, sub);
        addOuter(-number(beta, key, sub), k, project(level, k), level);
      }
    if (int64_t t = key + head.segments.offset(); t > 0) {
      size_t target = std::countr_zero(static_cast<uint64_t>(t)) + 1;
      if (bank.size() <= target)
        bank.resize(target + 1, State(state.size(), 0.0));
      for (size_t level = 0; level < target; ++level)
        for (size_t n = 0; n < state.size(); ++n) {
          bank[target][n] += bank[level][n];
          bank[level][n] = 0;
        }
    }
    if (bank.empty())
      bank.resize(1, State(state.size(), 0.0));
    bool delta = head.op.getUpdate() == UpdateKind::delta;
    for (int64_t sub = 0; sub < head.in.writes; ++sub)
      addOuter(delta ? number(beta, key, sub) : 1, head.key(key, sub), valueRow(key, sub), bank[0]);
  }

  // ---- reads

  void readAt(int64_t key) {
    int64_t row = key - head.s.shift;
    if (row >= 0 && row < head.s.lenQ)
      readRow(row, key, state);
  }

  void readRow(int64_t row, int64_t key, const State &current) {
    if (!isWanted(row))
      return;
    State gated;
    const State &from = head.segments.present() ? gate(row, key, current, gated) : current;
    for (int64_t sub = 0; sub < head.in.readouts; ++sub) {
      std::vector<double> q = head.query(row, sub);
      double factor = head.factor(row);
      for (double &x : q)
        x *= factor;
      std::vector<double> y = project(from, q.data());
      if (head.op.getRead() == ReadKind::bonus)
        addBonus(key, q, y);
      norm(row, y);
      std::copy_n(y.begin(), width, o.begin() + (row * head.in.readouts + sub) * width);
    }
  }

  const State &gate(int64_t row, int64_t key, const State &current, State &gated) {
    std::vector<double> gamma;
    head.segments.gates(head.in, head.s, head.head, row, key, gamma);
    gated.assign(state.size(), 0.0);
    auto add = [&](double weight, const State &part) {
      for (size_t n = 0; n < gated.size(); ++n)
        gated[n] += weight * part[n];
    };
    for (size_t i = 0; i < bank.size(); ++i)
      add(i < gamma.size() ? gamma[i] : 0, bank[i]);
    if (!head.segments.fenwick())
      add(gamma[head.segments.of(key)], current);
    return gated;
  }

  void addBonus(int64_t key, const std::vector<double> &q, std::vector<double> &y) const {
    for (int64_t sub = 0; sub < head.in.writes; ++sub) {
      double weight = 0;
      for (int64_t d = 0; d < features; ++d)
        weight += q[d] * head.bonus[d] * head.key(key, sub)[d];
      for (int64_t e = 0; e < columns; ++e)
        y[e] += weight * valueAt(key, sub, e);
    }
  }

  void norm(int64_t row, std::vector<double> &y) {
    if (head.op.getNorm() == NormKind::None)
      return;
    double sum = y[width];
    double divisor = head.op.getNorm() == NormKind::sum
                         ? sum + head.at(head.normArgument, row, 0)
                         : std::max(std::fabs(sum), head.at(head.normArgument, row, 1));
    for (int64_t e = 0; e < width; ++e)
      y[e] = divisor == 0 ? 0 : y[e] / divisor;
  }

  // ---- what is left

  void leave() {
    final.state.resize(features * width);
    final.sums.assign(features, 0.0);
    for (int64_t d = 0; d < features; ++d) {
      std::copy_n(state.begin() + d * columns, width, final.state.begin() + d * width);
      if (columns > width)
        final.sums[d] = state[d * columns + width];
    }
    for (size_t n = 0; n < bank.size(); ++n)
      for (int64_t d = 0; d < features; ++d)
        final.bank.insert(final.bank.end(), bank[n].begin() + d * columns,
                          bank[n].begin() + d * columns + width);
    leaveLast(head, final);
    leaveSegments();
  }

  void leaveSegments() {
    const Segments &segments = head.segments;
    final.position = double(segments.offset() + head.s.lenK);
    if (!segments.present() || segments.fenwick())
      return;
    int64_t last = head.s.lenK - 1, current = segments.of(last);
    for (int64_t i = 0; segments.pools() && i < current; ++i) {
      std::vector<double> m = segments.pooled(i, last);
      final.pools.insert(final.pools.end(), m.begin(), m.end());
    }
    if (segments.pools())
      final.runningPool = segments.pooled(current, last);
  }

  MixHead &head;
  const ScanPart &part;
  std::vector<double> &o;
  MixFinal &final;
  int64_t features, width, columns;
  TokenTensor beta, erase, put;
  Mode mode = Mode::Forward;
  std::vector<bool> starts;
  State state;
  std::vector<State> bank; ///< end states of segments, or the levels of log-linear attention
};

} // namespace

Status scanHead(MixHead &head, const ScanPart &part, std::vector<double> &o, MixFinal &final) {
  return ScanHead(head, part, o, final).run();
}

std::optional<std::string> whyNotScan(pattern::MixOp op) {
  if (op.getWeight() != pattern::WeightKind::id)
    return "only weight id has a state of fixed size";
  if (!isLinearChain(op.getScoreAttr()))
    return "a scan needs a score that is s times a factor without j";
  if (op.getDecay() == DecayKind::channel && op.getNorm() != NormKind::None)
    return "a decay by channel has no norm";
  bool segments = op.getSegment() != pattern::SegmentKind::None;
  bool tree = bool(op.input("parent"));
  bool taps = bool(op.input("tap_prev"));
  if (op.input("in_bank") && op.getNorm() != NormKind::None)
    return "a bank of states on entry has no sums to norm by";
  if (op.getDecaySymmetric() && (segments || tree || taps || op.getUpdate() != UpdateKind::add))
    return "a two-way scan is of plain updates";
  if (tree && (segments || taps))
    return "a scan over a tree has neither segments nor taps";
  return std::nullopt;
}

} // namespace heddle::compiler
