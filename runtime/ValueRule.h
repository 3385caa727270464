// ValueRule: what a pattern takes for granted of the numbers in an input, beyond their type. A
// kernel reads memory at page numbers and offsets, so wrong ones must never reach it: a launch
// checks them first wherever they lie in host memory (checkValues), and a device's memory is
// trusted. The check reads each such tensor once: a few hundred nanoseconds for the lengths and
// offsets of a batch, about a nanosecond for each page number or list entry, and the time to read
// dense log-decays from memory.
#pragma once

#include "runtime/Result.h"
#include "runtime/Tensor.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace heddle {

struct ValueRule {
  enum Kind : uint8_t {
    Offsets,     ///< of packed sequences: the first is 0, none falls, the last is at most `limit`
    NotNegative, ///< lengths; or tokens so far, with those of `lengths` in `limit` levels
    Pages,       ///< page numbers below `limit`, as far as the lengths go; see below
    Parents,     ///< of the nodes of a tree: -1, or a node before it
    Ascending,   ///< along the last dimension: no element is less than the one before
    List,        ///< what a support looks up: -1, or below `limit`
    LogDecay,    ///< logarithms of factors: at most 0
    Rate,        ///< of a delta update: 0 to 1 for keys of norm 1, else over their width, the
                 ///< limit, so that the state stays bounded: not checked
    Mask,        ///< 0 or 1: not checked
    Weight,      ///< of a linear map that sums over the dimension of the limit: not checked
    Segments     ///< tokens so far: with those of `lengths` in segments of `limitDivisor`, one more
                 ///< than the extent `limitDim` of `limitOf`
  };
  Kind kind = List;
  int32_t tensor = 0; ///< index into the tensors of the call
  /// `limit` is the extent of dimension `limitDim` of tensor `limitOf`, over `limitDivisor`
  /// (rounded up). -1: none.
  int32_t limitOf = -1, limitDim = 0;
  int64_t limitDivisor = 1;
  /// Pages: tensors of the lengths of sequences, and (or -1: a row of the table each) of where the
  /// pages of each begin; the dimension of `limitOf` that counts the slots of a page.
  int32_t lengths = -1, starts = -1, slotDim = 0;
  bool operator==(const ValueRule &) const = default;
};

/// Fields, for Bytes.h.
template <typename Archive> void transfer(Archive &archive, ValueRule &rule) {
  archive(rule.kind, rule.tensor, rule.limitOf, rule.limitDim, rule.limitDivisor, rule.lengths);
  archive(rule.starts, rule.slotDim);
}

/// The limit of a rule on tensors of these shapes; INT64_MAX if it has none.
int64_t limitOf(const ValueRule &rule, std::span<const TensorView> tensors);

/// InvalidArgument, naming tensor and element, for the first number that breaks a rule. Tensors
/// must be readable, or have no data (then their rules are passed by), and of the ranks that the
/// rules were made for; `nameOf` gives names for errors.
Status checkValues(std::span<const ValueRule> rules, std::span<const TensorView> tensors,
                   const std::function<std::string_view(int32_t)> &nameOf);

} // namespace heddle
