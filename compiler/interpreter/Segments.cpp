// Cuts a sequence into segments and computes the gates that weigh them.
// Example: 5 tokens in segments of 2 have ends 1, 3, 4; at t = 3 a softmax router weighs segments 0
// and 1 by softmax(u.m0, u.m1), m1 being the mean of keys 2 and 3.
#include "compiler/interpreter/Segments.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace heddle::compiler {

using pattern::GateKind;
using pattern::SegmentKind;

int64_t Segments::level(int64_t t, int64_t j) const {
  return std::bit_width(static_cast<uint64_t>((t + tokensBefore) ^ (j + tokensBefore)));
}

Result<Segments> Segments::make(const MixInputs &in) {
  Segments segments;
  pattern::MixOp op = in.op;
  segments.kind = op.getSegment();
  segments.gate = op.getGate();
  segments.given = in.tokens("gate", false);
  segments.router = in.tokens("router", false);
  segments.pooledInput = in.tokens("pooled", false);
  if (segments.kind == SegmentKind::constant) {
    HEDDLE_TRY(length, in.environment->extent(op.getSegmentArgAttr()));
    if (length == 0)
      return Error{ErrorCode::InvalidArgument, "segments of length 0: expected 1 or more"};
    segments.length = length;
  }
  if (segments.kind == SegmentKind::by) {
    HEDDLE_TRY(by, ExprProgram::compile(op.getSegmentArgAttr(), in.scope({MixSlots::Key})));
    segments.by = std::move(by);
  }
  if (segments.gate == GateKind::top) {
    HEDDLE_TRY(top, in.environment->extent(op.getGateTopAttr()));
    segments.top = top;
  }
  return segments;
}

Status Segments::partition(MixInputs &in, const Sequence &s, int64_t head) {
  segmentOf.assign(s.lenK, 0);
  if (kind == SegmentKind::constant) {
    for (int64_t j = 0; j < s.lenK; ++j)
      segmentOf[j] = (tokensBefore + j) / length;
  } else if (kind == SegmentKind::logarithmic) {
    // The binary expansion of the length, largest first: 37 = 32 + 4 + 1.
    int64_t segment = 0, begin = 0;
    for (int64_t part = int64_t(1) << 62; part > 0; part >>= 1) {
      if (!(s.lenK & part))
        continue;
      std::fill_n(segmentOf.begin() + begin, part, segment++);
      begin += part;
    }
  } else if (by) {
    std::vector<double> keys(s.lenK), values(s.lenK);
    std::iota(keys.begin(), keys.end(), 0.0);
    in.setHead(*by, s, head);
    LaneInput lanes[] = {{MixSlots::Key, keys.data()}};
    by->run(lanes, s.lenK, values.data());
    for (int64_t j = 0; j < s.lenK; ++j)
      segmentOf[j] = static_cast<int64_t>(values[j]);
  }
  for (int64_t j = 0; j < s.lenK; ++j)
    if (segmentOf[j] < (j ? segmentOf[j - 1] : 0))
      return Error{ErrorCode::Unsupported,
                   fmt::format("key {} is in segment {}, key {} in {}: segments must ascend from 0",
                               j - 1, j ? segmentOf[j - 1] : 0, j, segmentOf[j])};
  ends.assign(s.lenK ? segmentOf.back() + 1 : segmentsBefore, -1);
  for (int64_t j = 0; j < s.lenK; ++j)
    ends[segmentOf[j]] = j;
  for (int64_t i = 1; i < count(); ++i) // a segment without keys ends where the one before does
    ends[i] = std::max(ends[i], ends[i - 1]);
  return {};
}

/// The position and pools that an earlier run left; its bank is the walk's.
Status Segments::enterEarlier(MixInputs &in, const Sequence &s, int64_t head) {
  segmentsBefore = tokensBefore = 0;
  earlierPools.clear();
  runningPool.clear();
  bool packed = in.op.getLayout() == pattern::LayoutKind::varlen;
  auto read = [&](const char *role, int lead) {
    mlir::Value value = in.op.input(role);
    return in.loadHead(in.environment->value(value),
                       packed || pattern::arrayType(value).getBatched(), lead, s, head);
  };
  if (mlir::Value position = in.op.input("in_position")) {
    const Value &value = in.environment->value(position);
    tokensBefore =
        static_cast<int64_t>(value.rank() ? value.load(s.index * value.stride(0)) : value.load(0));
  }
  mlir::Value bank = in.op.input("in_bank");
  if ((bank || tokensBefore > 0) && kind != SegmentKind::constant && !fenwick())
    return Error{ErrorCode::Unsupported,
                 "only segments of constant length and Fenwick levels can go on where a run ended"};
  if (kind == SegmentKind::constant) {
    int64_t room = bank ? in.environment->value(bank).extent(1) : 0;
    if (tokensBefore < 0 || (bank && tokensBefore + s.lenK > (room + 1) * length))
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("position {} and {} tokens at hand: a bank of {} segments of {} is "
                               "for {} tokens in all",
                               tokensBefore, s.lenK, room, length, (room + 1) * length)};
    segmentsBefore = std::max<int64_t>(0, tokensBefore - 1) / length;
  }
  if (in.op.input("in_pool"))
    earlierPools = read("in_pool", 1);
  if (in.op.input("in_run_pool"))
    runningPool = read("in_run_pool", 0);
  return {};
}

void Segments::pool(MixInputs &in, const Sequence &s, int64_t head) {
  bool inputs = in.op.getPool() == pattern::PoolKind::mean_x;
  width = inputs ? pooledInput.width : in.widthK;
  perToken = inputs ? 1 : in.writes;
  mean = in.op.getPool() != pattern::PoolKind::sum_k;
  sums.assign((s.lenK + 1) * width, 0.0);
  std::vector<double> row(width);
  for (int64_t j = 0; j < s.lenK; ++j) {
    double *sum = sums.data() + (j + 1) * width;
    std::copy_n(sum - width, width, sum);
    for (int64_t sub = 0; sub < perToken; ++sub) {
      if (inputs)
        in.load(pooledInput, s, j, 0, head, row.data());
      else
        in.loadK(s, j, sub, head, row.data());
      for (int64_t d = 0; d < width; ++d)
        sum[d] += row[d];
    }
  }
}

Status Segments::enter(MixInputs &in, const Sequence &s, int64_t head) {
  if (!present())
    return {};
  HEDDLE_CHECK(enterEarlier(in, s, head));
  if (fenwick())
    return {};
  HEDDLE_CHECK(partition(in, s, head));
  if (gate == GateKind::softmax || gate == GateKind::top)
    pool(in, s, head);
  return {};
}

std::vector<double> Segments::pooled(int64_t segment, int64_t t) const {
  if (segment < segmentsBefore && (segment + 1) * width <= int64_t(earlierPools.size()))
    return {earlierPools.begin() + segment * width, earlierPools.begin() + (segment + 1) * width};
  int64_t begin = segment ? ends[segment - 1] + 1 : 0;
  int64_t end = segment < count() ? std::min(t, ends[segment]) + 1 : begin;
  double rows = double((end - begin) * perToken), earlier = 0;
  if (segment == segmentsBefore && !runningPool.empty())
    earlier = mean ? double((tokensBefore - segmentsBefore * length) * perToken) : 1;
  std::vector<double> m(width);
  for (int64_t d = 0; d < width; ++d) {
    double sum = sums[end * width + d] - sums[begin * width + d];
    sum += earlier > 0 ? earlier * runningPool[d] : 0;
    m[d] = mean && rows + earlier > 0 ? sum / (rows + earlier) : sum;
  }
  return m;
}

/// Softmax over <u, m>, over all segments or over the best `top` and the current one.
void Segments::route(MixInputs &in, const Sequence &s, int64_t head, int64_t row, int64_t t,
                     std::vector<double> &gamma) {
  int64_t current = of(t);
  std::vector<double> u(width), logits(current + 1);
  if (router.present)
    in.load(router, s, router.querySide ? row : t, 0, head, u.data());
  else
    in.loadQ(s, row, 0, head, u.data());
  for (int64_t i = 0; i <= current; ++i) {
    std::vector<double> m = pooled(i, t);
    logits[i] = std::inner_product(u.begin(), u.end(), m.begin(), 0.0);
  }
  std::vector<bool> taken(current + 1, gate == GateKind::softmax);
  if (gate == GateKind::top) {
    std::vector<int64_t> order(current);
    std::iota(order.begin(), order.end(), int64_t(0));
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    order.resize(std::min(top, current));
    for (int64_t i : order)
      taken[i] = true;
    taken[current] = true;
  }
  bool all = gate == GateKind::top && in.op.getRenorm() == pattern::RenormKind::all;
  double most = *std::max_element(logits.begin(), logits.end()), sum = 0;
  gamma.assign(current + 1, 0.0);
  for (int64_t i = 0; i <= current; ++i) {
    double e = std::exp(logits[i] - most);
    sum += taken[i] || all ? e : 0;
    gamma[i] = taken[i] ? e : 0;
  }
  for (double &g : gamma)
    g /= sum;
}

void Segments::gates(MixInputs &in, const Sequence &s, int64_t head, int64_t row, int64_t t,
                     std::vector<double> &gamma) {
  if (gate == GateKind::softmax || gate == GateKind::top)
    return route(in, s, head, row, t, gamma);
  int64_t size = fenwick() ? level(-tokensBefore, s.lenK) + 1 : of(t) + 1;
  if (gate == GateKind::ones) {
    gamma.assign(size, 1.0);
    return;
  }
  gamma.assign(std::max(size, given.width), 0.0); // a level beyond those given weighs 0
  in.load(given, s, given.querySide ? row : t, 0, head, gamma.data());
}

} // namespace heddle::compiler
