// Which kernel of a pattern a call gets, as a few numbers: comparing them replaces the canonical
// text of a request and its hash on the warm path. Computed without allocation.
//   q[1, 1537, 32, 128], k[1, 1537, 8, 128], ...  ->  D 128 | G 4 | Tq any, 2048 | ... | f32
#pragma once

#include "runtime/Binding.h"
#include "runtime/Signature.h"
#include "runtime/Tensor.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

/// Equal keys, equal requests.
struct ShapeKey {
  static constexpr int kMaxWords = 64;
  std::array<uint64_t, kMaxWords> words; ///< the first `count` of them are set
  int count = 0;

  ShapeKey() {} // leaves the words alone
  void add(uint64_t word) { words[count++] = word; }
  uint64_t hash() const;
  bool operator==(const ShapeKey &other) const;
};

/// An extent as callers give it: of a dim, or of a family of dims ("T", "H").
struct NamedExtent {
  std::string_view name;
  int64_t value = 0;
};

/// Turns calls of one pattern into keys. Names are looked up once, in the constructor.
class ShapeKeys {
public:
  /// The signature must outlive it.
  explicit ShapeKeys(const Signature &signature);

  /// The key of a call on these tensors: all of them, or the inputs alone. Nothing if the call
  /// cannot be right or is too large for a key; Signature::extentsOf and request() say why.
  std::optional<ShapeKey> of(std::span<const TensorView> tensors,
                             std::span<const ParameterValue> parameters) const;
  /// The same from extents, completed as Signature::completeExtents does, for dense tensors of one
  /// type.
  std::optional<ShapeKey> of(std::span<const NamedExtent> extents, DType dtype,
                             std::span<const ParameterValue> parameters) const;

private:
  struct Dim {
    std::string name;
    bool isStatic = false, isClass = false;
    int family = -1;   ///< 0: "T" gives its extent, 1: "H" does
    int fallback = -1; ///< the dim whose extent it takes if none is given for it
  };
  using Known = std::array<int64_t, ShapeKey::kMaxWords>; ///< extents by dim

  bool complete(std::span<const NamedExtent> extents, Known &known) const;
  std::optional<ShapeKey> finish(const Known &known, DType dtype,
                                 std::span<const ParameterValue> parameters) const;

  const Signature &signature;
  std::vector<Dim> dims;
  std::vector<std::array<int, kMaxRank>> shapes; ///< of each tensor: index into dims, or -1
  size_t inputs = 0;                             ///< the tensors before the first result
  bool grouped = false;                          ///< Hq / Hk is built into the code
  int queryHeads = -1, keyHeads = -1;
  bool fits = true; ///< kMaxWords are enough for every call
};

} // namespace heddle
