// Evaluates one query row of a mix by pairs: for each key that the support admits, the product of
// features, the score's chain, the weight, decay and gate; then the norm.
// Example, causal softmax at row 2: s_j = q_2.k_j / sqrt D for j = 0, 1, 2; m = max s;
// o = sum exp(s_j - m) v_j / l, L = m + ln l with l = sum exp(s_j - m).
#include "compiler/interpreter/Mix.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace heddle::compiler {

using pattern::DecayKind;
using pattern::NormKind;
using pattern::WeightKind;

namespace {

/// One summand: key j (sub-token `sub`) weighed by `gate`, decayed from prefix `source` to prefix
/// `reference`. Without segments and taps: source = j, reference = the query's time, gate = 1.
struct Term {
  int64_t key, sub, reference, source;
  double gate;
  bool bonus = false; ///< the current key of a read before the update
};

/// Four sums, so that the compiler may use vector registers.
double dot(const double *x, const double *y, int64_t count) {
  double sums[8] = {};
  int64_t n = 0;
  for (; n + 8 <= count; n += 8)
    for (int lane = 0; lane < 8; ++lane)
      sums[lane] += x[n + lane] * y[n + lane];
  for (; n < count; ++n)
    sums[0] += x[n] * y[n];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

void addScaled(double weight, const double *x, int64_t count, double *sum) {
  for (int64_t n = 0; n < count; ++n)
    sum[n] += weight * x[n];
}

double power(double x, int64_t exponent) {
  double product = 1;
  for (int64_t n = 0; n < exponent; ++n)
    product *= x;
  return product;
}

/// Evaluates one row; holds what its steps hand on.
class PairRow {
public:
  PairRow(MixHead &head, int64_t row) : head(head), row(row), t(head.time(row)) {}

  Status run(MixRow &out) {
    listTerms();
    for (int64_t sub = 0; sub < head.in.readouts; ++sub) {
      query = head.query(row, sub);
      double lse = -kInfinity;
      double *o = out.o.data() + sub * head.in.widthV;
      if (head.op.getDecay() == DecayKind::channel)
        sumChannels(o);
      else if (head.op.getWeight() == WeightKind::exp)
        lse = sumExponentials(o);
      else
        sumWeights(o);
      out.lse[sub] = lse;
    }
    return {};
  }

private:
  // ---- which summands there are

  void listTerms() {
    const std::vector<double> &visible = head.visible(row);
    // Every path of a tree begins where the state on entry is.
    seesStart = head.in.isTree() || (!visible.empty() && visible.front() == 0);
    bool segmented = head.segments.present();
    if (segmented && t >= 0)
      head.segments.gates(head.in, head.s, head.head, row, t, gates);
    for (double j : visible)
      for (int64_t sub = 0; sub < head.in.writes; ++sub) {
        int64_t key = static_cast<int64_t>(j);
        if (segmented)
          listSegments(key, sub);
        else if (!head.tapHere.empty())
          listTaps(key, sub);
        else
          listPlain(key, sub);
      }
  }

  void listPlain(int64_t key, int64_t sub) {
    bool early = head.op.getRead() == pattern::ReadKind::bonus;
    if (early && key == t)
      terms.push_back({key, sub, t, t, 1.0, true});
    else
      terms.push_back({key, sub, early ? head.in.before(head.s, t) : t, key, 1.0});
  }

  /// S += previous_t k_{t-1} v_{t-1}' + here_t k_t v_t' after the decay of step t.
  void listTaps(int64_t key, int64_t sub) {
    terms.push_back({key, sub, t, key, head.tapHere[key]});
    if (key < t)
      terms.push_back({key, sub, t, key + 1, head.tapPrevious[key + 1]});
  }

  void listSegments(int64_t key, int64_t sub) {
    if (head.segments.fenwick()) {
      terms.push_back({key, sub, t, key, gateOf(head.segments.level(t, key))});
      return;
    }
    for (int64_t i = head.segments.of(key); i <= lastSegment(head.segments.of(key)); ++i)
      terms.push_back({key, sub, referenceOf(i), key, gateOf(i)});
  }

  /// Fresh states hold their own segment's keys; carried ones are part of all later states too.
  int64_t lastSegment(int64_t first) const {
    return head.op.getReset() ? first : head.segments.of(t);
  }
  double gateOf(int64_t i) const { return i < int64_t(gates.size()) ? gates[i] : 0; }
  /// A frozen bank stops decaying where its segment ends.
  int64_t referenceOf(int64_t i) const {
    bool frozen = head.op.getBank() == pattern::BankKind::frozen;
    return frozen ? std::min(t, head.segments.last(i)) : t;
  }

  // ---- products, chain and decay

  /// sum_d q_d k_d e^{b_ref,d - b_src,d}, the exponential only for a decay by feature.
  double product(const Term &term) const {
    const double *k = head.key(term.key, term.sub);
    if (term.bonus) {
      double sum = 0;
      for (int64_t d = 0; d < head.features; ++d)
        sum += query[d] * head.bonus[d] * k[d];
      return sum;
    }
    if (head.op.getDecay() != DecayKind::diag)
      return dot(query.data(), k, head.features);
    double sum = 0;
    for (int64_t d = 0; d < head.features; ++d)
      sum += query[d] * k[d] * std::exp(exponent(term, d));
    return sum;
  }

  double exponent(const Term &term, int64_t d) const {
    double delta = head.decay.at(term.reference)[d] - head.decay.at(term.source)[d];
    // A query may stand before the first key or behind the last: there a constant decay goes on.
    if (head.op.getDecay() == DecayKind::constant && term.reference == t && !head.in.isTree())
      delta += double(head.in.positionOf(head.s, row) - t) * head.decay.at(0)[d];
    return head.op.getDecaySymmetric() ? -std::fabs(delta) : delta;
  }
  /// Log of the decay that multiplies the whole weight.
  double logDecay(const Term &term) const {
    bool outside = head.decay.width == 1 && head.op.getDecay() != DecayKind::diag;
    return outside && !term.bonus ? exponent(term, 0) : 0;
  }

  void computeScores() {
    scores.resize(terms.size());
    keys.resize(terms.size());
    for (size_t n = 0; n < terms.size(); ++n) {
      scores[n] = product(terms[n]);
      keys[n] = static_cast<double>(terms[n].key);
    }
    head.chain(row, keys.data(), scores.data(), int64_t(terms.size()));
  }

  // ---- weights and norms

  double sumExponentials(double *o) {
    computeScores();
    double sink = head.sink ? head.at(head.sink, row, 0) : -kInfinity;
    double most = sink;
    for (size_t n = 0; n < terms.size(); ++n) {
      scores[n] += logDecay(terms[n]);
      most = std::max(most, scores[n]);
    }
    double base = std::isinf(most) && most < 0 ? 0 : most;
    double sum = 0;
    std::fill_n(o, head.in.widthV, 0.0);
    for (size_t n = 0; n < terms.size(); ++n) {
      double weight = terms[n].gate * std::exp(scores[n] - base);
      sum += weight;
      addScaled(weight, head.value(terms[n].key, terms[n].sub), head.in.widthV, o);
    }
    double all = sum + (head.sink ? std::exp(sink - base) : 0.0);
    divide(o, all, std::exp(base));
    return all > 0 ? base + std::log(all) : all == 0 ? -kInfinity : all;
  }

  void sumWeights(double *o) {
    computeScores();
    double sum = 0;
    std::fill_n(o, head.in.widthV, 0.0);
    for (size_t n = 0; n < terms.size(); ++n) {
      double weight = terms[n].gate * weigh(scores[n]) * std::exp(logDecay(terms[n]));
      sum += weight;
      addScaled(weight, head.value(terms[n].key, terms[n].sub), head.in.widthV, o);
    }
    addEntry(o, sum);
    divide(o, sum, 1.0);
  }

  double weigh(double score) const {
    switch (head.op.getWeight()) {
    case WeightKind::sigmoid:
      return 1 / (1 + std::exp(-score));
    case WeightKind::relu:
      return power(std::max(score, 0.0), head.op.getWeightPower());
    default:
      return score;
    }
  }

  /// Norms o, whose terms and sum carry the common factor 1 / unit (the exponential of the row's
  /// maximum, which may be 0 or infinite as a double).
  void divide(double *o, double sum, double unit) {
    auto scaled = [&](double x) { return x == 0 ? 0 : x / unit; };
    double divisor = scaled(1);
    if (head.op.getNorm() == NormKind::sum)
      divisor = sum + scaled(head.at(head.normArgument, row, 0));
    else if (head.op.getNorm() == NormKind::max_abs)
      divisor = std::max(std::fabs(sum), scaled(head.at(head.normArgument, row, 1)));
    bool plain = head.op.getNorm() == NormKind::None;
    for (int64_t e = 0; e < head.in.widthV; ++e)
      o[e] = plain ? o[e] * unit : divisor == 0 ? 0 : o[e] / divisor;
  }

  // ---- the state on entry: a key before all others

  void addEntry(double *o, double &sum) {
    bool taps = !head.tapHere.empty() && !head.lastKey.empty();
    if (t < 0 || !seesStart || !(head.hasState() || !head.sums.empty() || taps))
      return;
    double factor = head.factor(row);
    if (!head.segments.present()) {
      bool early = head.op.getRead() == pattern::ReadKind::bonus;
      addEntryAt(o, sum, early ? head.in.before(head.s, t) : t, factor);
    } else {
      for (int64_t i = 0; i <= lastSegment(0); ++i)
        addEntryAt(o, sum, referenceOf(i), factor * gateOf(i));
    }
    if (!taps)
      return;
    for (int64_t sub = 0; sub < head.in.writes; ++sub) {
      const double *k = head.lastKey.data() + sub * head.features;
      double weight = factor * dot(query.data(), k, head.features) * head.tapPrevious[0] *
                      std::exp(logDecay({0, 0, t, 0, 1.0}));
      addScaled(weight, head.lastValue.data() + sub * head.in.widthV, head.in.widthV, o);
      sum += weight;
    }
  }

  void addEntryAt(double *o, double &sum, int64_t reference, double factor) {
    const double *b = head.decay.at(reference);
    for (int64_t d = 0; d < head.features; ++d) {
      double log = head.decay.width == 0 ? 0 : b[head.decay.width == 1 ? 0 : d];
      double weight = factor * query[d] * std::exp(log);
      if (head.hasState())
        addScaled(weight, head.state.data() + d * head.in.widthV, head.in.widthV, o);
      if (!head.sums.empty())
        sum += weight * head.sums[d];
    }
  }

  /// A decay of its own for each key feature and value column: one chain a column.
  void sumChannels(double *o) {
    std::vector<double> column(terms.size());
    keys.resize(terms.size());
    for (int64_t e = 0; e < head.in.widthV; ++e) {
      for (size_t n = 0; n < terms.size(); ++n) {
        const double *k = head.key(terms[n].key, terms[n].sub);
        keys[n] = static_cast<double>(terms[n].key);
        column[n] = 0;
        for (int64_t d = 0; d < head.features; ++d)
          column[n] += query[d] * k[d] * std::exp(exponent(terms[n], d * head.in.widthV + e));
      }
      head.chain(row, keys.data(), column.data(), int64_t(terms.size()));
      o[e] = 0;
      for (size_t n = 0; n < terms.size(); ++n)
        o[e] += terms[n].gate * column[n] * head.value(terms[n].key, terms[n].sub)[e];
      if (t < 0 || !seesStart || !head.hasState())
        continue;
      for (int64_t d = 0; d < head.features; ++d)
        o[e] += head.factor(row) * query[d] * std::exp(head.decay.at(t)[d * head.in.widthV + e]) *
                head.state[d * head.in.widthV + e];
    }
  }

  MixHead &head;
  int64_t row, t;
  bool seesStart = false;
  std::vector<Term> terms;
  std::vector<double> query, gates, scores, keys;
};

} // namespace

Status pairRow(MixHead &head, int64_t row, MixRow &out) {
  out.o.assign(head.in.readouts * head.in.widthV, 0.0);
  out.lse.assign(head.in.readouts, -kInfinity);
  return PairRow(head, row).run(out);
}

/// S = sum over the keys of the last row (of the last segment, if segments start afresh) of
/// e^{b_last - b_j} k_j v_j', and what is left of the state on entry.
Status pairFinal(MixHead &head, MixFinal &out) {
  int64_t features = head.features, width = head.in.widthV, last = head.s.lenK - 1;
  out.state.assign(features * width, 0.0);
  out.sums.assign(features, 0.0);
  if (head.in.isTree() || head.op.getDecaySymmetric())
    return Error{ErrorCode::Unsupported, "a tree and a two-way mix have no one final state"};
  auto add = [&](const double *k, const double *v, double weight, int64_t source) {
    int64_t entries = head.decay.width;
    for (int64_t d = 0; d < features; ++d)
      for (int64_t e = 0; e < width; ++e) {
        int64_t n = entries <= 1 ? 0 : entries == features ? d : d * width + e;
        double log = entries == 0 ? 0 : head.decay.at(last)[n] - head.decay.at(source)[n];
        out.state[d * width + e] += weight * std::exp(log) * k[d] * v[e];
        out.sums[d] += e == 0 ? weight * std::exp(log) * k[d] : 0;
      }
  };
  bool fresh = head.segments.present() && head.op.getReset();
  int64_t begin = 0;
  if (fresh && last >= 0 && head.segments.of(last) > 0)
    begin = head.segments.last(head.segments.of(last) - 1) + 1;
  std::vector<double> visible;
  if (int64_t row = last - head.s.shift; last >= 0 && row >= 0 && row < head.s.lenQ)
    visible = head.visible(row);
  for (double j : visible)
    for (int64_t sub = 0; sub < head.in.writes && j >= begin; ++sub) {
      int64_t key = static_cast<int64_t>(j);
      double here = head.tapHere.empty() ? 1 : head.tapHere[key];
      add(head.key(key, sub), head.value(key, sub), here, key);
      if (!head.tapHere.empty() && key < last)
        add(head.key(key, sub), head.value(key, sub), head.tapPrevious[key + 1], key + 1);
    }
  bool entered = last < 0 || (begin == 0 && !visible.empty() && visible.front() == 0);
  for (int64_t sub = 0; sub < head.in.writes && entered && !head.lastKey.empty(); ++sub)
    if (last >= 0)
      add(head.lastKey.data() + sub * features, head.lastValue.data() + sub * width,
          head.tapPrevious[0], 0);
  for (int64_t d = 0; d < features && entered; ++d) {
    std::vector<double> unit(features, 0.0);
    unit[d] = 1;
    std::vector<double> before = out.sums;
    if (head.hasState())
      add(unit.data(), head.state.data() + d * width, 1, -1);
    out.sums = before;
    double log = head.decay.width == 0 ? 0 : head.decay.at(last)[head.decay.width == 1 ? 0 : d];
    out.sums[d] += head.sums.empty() ? 0 : std::exp(log) * head.sums[d];
  }
  leaveLast(head, out);
  return {};
}

std::optional<std::string> whyNotPair(pattern::MixOp op) {
  if (op.getUpdate() != pattern::UpdateKind::add)
    return "an update by delta or dplr reads the state it writes, which no sum over pairs does";
  bool bonus = op.getRead() == pattern::ReadKind::bonus;
  bool taps = bool(pattern::MixOp(op).input("tap_prev"));
  bool segments = op.getSegment() != pattern::SegmentKind::None;
  bool plain = op.getDecay() == DecayKind::None || op.getDecay() == DecayKind::constant ||
               op.getDecay() == DecayKind::scalar;
  if (bonus + taps + segments > 1)
    return "segments, taps and a bonus read have no joint sum over pairs";
  if (taps && !plain)
    return "two taps have a sum over pairs only under a decay by head or token";
  bool special =
      segments || bonus || op.getNorm() != NormKind::None || op.getWeight() != WeightKind::id;
  if (op.getDecay() == DecayKind::channel && special)
    return "a decay by channel has a sum over pairs only with weight id, no norm, no segments and "
           "the read post";
  if (op.input("in_bank") || op.input("in_position"))
    return "a bank of states on entry holds no keys to sum over";
  return std::nullopt;
}

} // namespace heddle::compiler
