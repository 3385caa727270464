// The checks of ValueRule.h. Example: cu_q = 0, 5, 3 -> "found cu_q[2] = 3 after 5, expected
// offsets that never fall".
#include "runtime/ValueRule.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace heddle {
namespace {

Error fault(std::string message) { return {ErrorCode::InvalidArgument, std::move(message)}; }

int64_t integerAt(const TensorView &view, int64_t offset) {
  switch (view.dtype) {
  case DType::I32: {
    int32_t value = 0;
    std::memcpy(&value, static_cast<const char *>(view.data) + offset * 4, 4);
    return value;
  }
  case DType::I64: {
    int64_t value = 0;
    std::memcpy(&value, static_cast<const char *>(view.data) + offset * 8, 8);
    return value;
  }
  default:
    return static_cast<int64_t>(loadElement(view.dtype, view.data, offset));
  }
}

/// Whether the elements lie one after another in row-major order.
bool isDense(const TensorView &view) {
  int64_t step = 1;
  for (int d = view.rank - 1; d >= 0; step *= view.shape[d--])
    if (view.shape[d] != 1 && view.strides[d] != step)
      return false;
  return true;
}

/// Whether no float of a dense tensor is positive or no number, by its bits: 0, or from the sign
/// bit alone (-0) up to minus infinity. Without an early end, so that it becomes vector code.
template <typename Bits, Bits MinusInfinity> bool areAtMostZero(const TensorView &view) {
  constexpr Bits kSign = static_cast<Bits>(1) << (8 * sizeof(Bits) - 1);
  const char *bytes = static_cast<const char *>(view.data);
  Bits wrong = 0;
  for (int64_t n = 0, count = view.elements(); n < count; ++n) {
    Bits bits;
    std::memcpy(&bits, bytes + n * sizeof(Bits), sizeof(Bits));
    wrong |= (bits != 0) & (static_cast<Bits>(bits - kSign) > MinusInfinity - kSign);
  }
  return wrong == 0;
}

/// One check at work: its rule, its tensor and what to call it.
class RuleCheck {
public:
  RuleCheck(const ValueRule &rule, std::span<const TensorView> tensors,
            const std::function<std::string_view(int32_t)> &nameOf)
      : rule(rule), tensors(tensors), view(tensors[rule.tensor]), nameOf(nameOf),
        limit(limitOf(rule, tensors)) {}

  Status run() const {
    switch (rule.kind) {
    case ValueRule::Offsets:
      return offsets();
    case ValueRule::NotNegative:
      return rule.lengths < 0 ? each(0, INT64_MAX, "a length of 0 or more") : position();
    case ValueRule::Segments:
      return segments();
    case ValueRule::Pages:
      return rule.starts < 0 ? table() : pageList();
    case ValueRule::Parents:
      return parents();
    case ValueRule::Ascending:
      return ascending();
    case ValueRule::List:
      return each(-1, limit - 1, fmt::format("-1, or 0 to {}", limit - 1));
    case ValueRule::LogDecay:
      return logDecays();
    case ValueRule::Rate:
    case ValueRule::Mask:
    case ValueRule::Weight:
      break;
    }
    return {};
  }

private:
  std::string element(std::span<const int64_t> index) const {
    return fmt::format("{}[{}]", nameOf(rule.tensor), fmt::join(index, ", "));
  }

  /// Calls `check(index, offset)` for each element in row-major order until it fails.
  template <typename F> Status walk(F check) const {
    std::array<int64_t, kMaxRank> index{};
    int64_t elements = view.elements(), inner = view.shape[view.rank - 1];
    for (int64_t done = 0; done < elements; done += inner) {
      int64_t offset = 0;
      for (int d = 0; d + 1 < view.rank; ++d)
        offset += index[d] * view.strides[d];
      for (int64_t n = 0; n < inner; ++n) {
        index[view.rank - 1] = n;
        HEDDLE_CHECK(check(std::span<const int64_t>(index.data(), view.rank),
                           offset + n * view.strides[view.rank - 1]));
      }
      for (int d = view.rank - 2; d >= 0 && ++index[d] == view.shape[d]; --d)
        index[d] = 0;
    }
    return {};
  }

  Status each(int64_t least, int64_t most, std::string_view expected) const {
    return walk([&](std::span<const int64_t> index, int64_t offset) -> Status {
      int64_t value = integerAt(view, offset);
      if (value >= least && value <= most)
        return {};
      return fault(fmt::format("found {} = {}, expected {}", element(index), value, expected));
    });
  }

  Status offsets() const {
    int64_t last = 0;
    for (int64_t n = 0; n < view.shape[0]; ++n) {
      int64_t value = integerAt(view, n * view.strides[0]);
      if (n == 0 && value != 0)
        return fault(fmt::format("found {}[0] = {}, expected 0: offsets count from the first token",
                                 nameOf(rule.tensor), value));
      if (value < last)
        return fault(fmt::format("found {}[{}] = {} after {}, expected offsets that never fall",
                                 nameOf(rule.tensor), n, value, last));
      last = value;
    }
    if (last > limit)
      return fault(fmt::format("found {}[{}] = {}, expected at most {}, the number of tokens",
                               nameOf(rule.tensor), view.shape[0] - 1, last, limit));
    return {};
  }

  /// Tokens so far: levels 0 to n hold 2^n of them, those at hand with them.
  Status position() const {
    const int64_t tokens = tensors[rule.lengths].shape[rule.slotDim];
    const int64_t most = (int64_t(1) << std::clamp<int64_t>(limit - 1, 0, 62)) - tokens;
    return each(0, most,
                fmt::format("0 to {}: {} levels are for {} tokens, {} of them at hand", most, limit,
                            most + tokens, tokens));
  }

  Status segments() const {
    const int64_t tokens = tensors[rule.lengths].shape[rule.slotDim];
    const int64_t room = tensors[rule.limitOf].shape[rule.limitDim];
    const int64_t most = (room + 1) * rule.limitDivisor - tokens;
    return each(0, most,
                fmt::format("0 to {}: a bank of {} segments of {} is for {} tokens, {} of them at "
                            "hand",
                            most, room, rule.limitDivisor, most + tokens, tokens));
  }

  int64_t slots() const { return tensors[rule.limitOf].shape[rule.slotDim]; }

  /// Pages of sequence `n` of a table row that starts at `offset` and has `room` entries.
  Status pages(int64_t n, int64_t offset, int64_t stride, int64_t room, int64_t first) const {
    const TensorView &lengths = tensors[rule.lengths];
    int64_t length = integerAt(lengths, n * lengths.strides[0]);
    int64_t most = room < 0 ? -1 : room * slots();
    if (length < 0 || length > most)
      return fault(fmt::format("found {}[{}] = {}, expected 0 to {}: its part of {} has room for "
                               "{} pages of {}",
                               nameOf(rule.lengths), n, length, most, nameOf(rule.tensor),
                               std::max<int64_t>(room, 0), slots()));
    int64_t count = slots() == 0 ? 0 : (length + slots() - 1) / slots();
    for (int64_t p = 0; p < count; ++p) {
      int64_t page = integerAt(view, offset + p * stride);
      if (page < 0 || page >= limit)
        return fault(fmt::format("found page {} at entry {} of {} (sequence {}), expected 0 to {}: "
                                 "{} has {} pages",
                                 page, first + p, nameOf(rule.tensor), n, limit - 1,
                                 nameOf(rule.limitOf), limit));
    }
    return {};
  }

  Status table() const {
    for (int64_t n = 0; n < tensors[rule.lengths].shape[0]; ++n)
      HEDDLE_CHECK(pages(n, n * view.strides[0], view.strides[1], view.shape[1], 0));
    return {};
  }

  Status pageList() const {
    const TensorView &starts = tensors[rule.starts];
    for (int64_t n = 0; n < tensors[rule.lengths].shape[0]; ++n) {
      int64_t first = integerAt(starts, n * starts.strides[0]);
      if (first < 0 || first > view.shape[0])
        return fault(fmt::format("found {}[{}] = {}, expected 0 to {}", nameOf(rule.starts), n,
                                 first, view.shape[0]));
      HEDDLE_CHECK(
          pages(n, first * view.strides[0], view.strides[0], view.shape[0] - first, first));
    }
    return {};
  }

  Status parents() const {
    return walk([&](std::span<const int64_t> index, int64_t offset) -> Status {
      int64_t value = integerAt(view, offset), node = index.back();
      if (value >= -1 && value < node)
        return {};
      return fault(fmt::format("found {} = {}, expected -1 (a root) or a node before {}",
                               element(index), value, node));
    });
  }

  Status ascending() const {
    int64_t last = 0;
    return walk([&](std::span<const int64_t> index, int64_t offset) -> Status {
      int64_t value = integerAt(view, offset);
      if (index.back() > 0 && value < last)
        return fault(fmt::format("found {} = {} after {}, expected values that never fall, as the "
                                 "pattern promises",
                                 element(index), value, last));
      last = value;
      return {};
    });
  }

  Status logDecays() const {
    if (areAllAtMostZero())
      return {};
    return walk([&](std::span<const int64_t> index, int64_t offset) -> Status {
      double value = loadElement(view.dtype, view.data, offset);
      if (value <= 0)
        return {};
      return fault(fmt::format("found {} = {}, expected 0 or less: it is the logarithm of a decay, "
                               "a factor of at most 1",
                               element(index), value));
    });
  }

  /// A quick look at dense 16-bit and 32-bit floats: there may be one for each channel.
  bool areAllAtMostZero() const {
    if (isDense(view) && view.dtype == DType::F32)
      return areAtMostZero<uint32_t, 0xff800000>(view);
    if (isDense(view) && view.dtype == DType::BF16)
      return areAtMostZero<uint16_t, 0xff80>(view);
    if (isDense(view) && view.dtype == DType::F16)
      return areAtMostZero<uint16_t, 0xfc00>(view);
    return false;
  }

  const ValueRule &rule;
  std::span<const TensorView> tensors;
  const TensorView &view;
  const std::function<std::string_view(int32_t)> &nameOf;
  int64_t limit;
};

} // namespace

int64_t limitOf(const ValueRule &rule, std::span<const TensorView> tensors) {
  if (rule.limitOf < 0)
    return INT64_MAX;
  int64_t extent = tensors[rule.limitOf].shape[rule.limitDim];
  return (extent + rule.limitDivisor - 1) / rule.limitDivisor;
}

Status checkValues(std::span<const ValueRule> rules, std::span<const TensorView> tensors,
                   const std::function<std::string_view(int32_t)> &nameOf) {
  const auto isThere = [&](int32_t tensor) { return tensor < 0 || tensors[tensor].data; };
  for (const ValueRule &rule : rules)
    if (tensors[rule.tensor].elements() > 0 && isThere(rule.tensor) &&
        (rule.kind != ValueRule::Pages || (isThere(rule.lengths) && isThere(rule.starts))))
      HEDDLE_CHECK(RuleCheck(rule, tensors, nameOf).run());
  return {};
}

} // namespace heddle
