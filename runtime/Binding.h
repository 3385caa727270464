// Binding: checks a call against an artifact before anything runs, and turns it into scalars,
// grids and parameter blocks. All devices use it. Everything that can be looked up once per kernel
// is looked up in make(); a call compares numbers and allocates nothing unless it fails.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Device.h"
#include "runtime/FoldedFormula.h"
#include "runtime/Result.h"
#include "runtime/Tensor.h"

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

/// A run-time parameter of a call. Integer parameters must have an integral value.
struct ParameterValue {
  std::string_view name;
  double value = 0;
};

inline constexpr int kMaxScalars = 64;
inline constexpr int kMaxDims = 64;
inline constexpr int kMaxTensors = 64;

/// The run-time scalars of one call, in the order of Artifact::scalars: the first `count` are set.
struct ScalarValues {
  std::array<int64_t, kMaxScalars> integers; ///< 0 for float parameters
  std::array<double, kMaxScalars> floats;    ///< 0 for the others
  int count = 0;
  std::span<const int64_t> span() const { return {integers.data(), static_cast<size_t>(count)}; }
};

class Binding {
public:
  /// Fails with CorruptData if the artifact needs more than Binding can hold, or a scalar that no
  /// tensor or parameter gives.
  static Result<Binding> make(const Artifact &artifact);

  /// Scalars of a call. Errors name tensor and dimension: wrong count or rank, a dim with two
  /// extents, a static dim or class that the code does not have, dtype, null pointer, stride,
  /// alignment, results that overlap; unknown, fractional, NaN or infinite parameters.
  Status bind(std::span<const TensorView> tensors, std::span<const ParameterValue> parameters,
              ScalarValues &values) const;
  /// The same from extents alone, to size a workspace before there are tensors.
  Status bindExtents(const std::map<std::string, int64_t> &extents,
                     std::span<const ParameterValue> parameters, ScalarValues &values) const;

private:
  struct Dim {
    std::string name;
    int scalar = -1;    ///< index into scalars, or -1
    int64_t fixed = -1; ///< the extent built into the code, or -1
    ExtentClass extent; ///< class that the code assumes
  };
  /// What a tensor is compared with, beside its names in the artifact.
  struct TensorRule {
    std::array<int, kMaxRank> dims; ///< index into dims
    int rank = 0;
    DType dtype = DType::F32;
    int64_t elementBytes = 0;
    bool isResult = false;
    bool innermostStrided = false; ///< the code is told the innermost stride, so it may be any
    uint64_t rowAlignment = 1;     ///< the code assumes rows at multiples of so many bytes
  };
  /// What is wrong with a tensor, and in which dimension. Looking costs comparisons; the words come
  /// from tell(), once something was found.
  struct Fault {
    enum Kind : uint8_t {
      None,
      Rank,
      Type,
      Negative,
      Backwards,
      TooLarge,
      NoMemory,
      Strided,
      Misaligned,
      UnalignedRows,
      WritesTwice,
      Extent
    } kind = None;
    int dim = 0;
  };
  /// First and one past the last byte that a tensor touches; empty ones touch none.
  struct Range {
    uintptr_t begin, end;
  };
  struct Sides {
    FoldedFormula left, right;
  };
  /// A dim that a scalar or a class depends on.
  struct UsedDim {
    int dim, scalar;
    bool any; ///< the code takes every extent
  };
  using Known = std::array<int64_t, kMaxDims>; ///< extents by dim, -1 while unknown

  static Fault measure(const TensorView &view, int64_t &span);
  static Fault look(const TensorRule &rule, const TensorView &view, Range &range);
  static Fault unify(const TensorRule &rule, const TensorView &view, Known &known);
  Error tell(Fault fault, int index, const TensorView &view, const Known &known) const;
  Status checkOverlap(std::span<const Range> ranges) const;
  Status setExtents(const Known &known, ScalarValues &values) const;
  Status setParameter(const ParameterValue &parameter, ScalarValues &values) const;
  Status finish(const Known &known, std::span<const ParameterValue> parameters,
                ScalarValues &values) const;
  Known nothingKnown() const;

  const Artifact *artifact = nullptr; ///< outlives the binding
  std::vector<Dim> dims;
  std::vector<int64_t> fixedExtents; ///< of dims
  std::vector<UsedDim> usedDims;
  std::vector<TensorRule> rules;
  std::vector<Sides> constraints;                 ///< of Artifact::constraints
  ScalarValues defaults;                          ///< of the parameters
  size_t firstResult = 0;                         ///< inputs come before it
  int group = -1, queryHeads = -1, keyHeads = -1; ///< dims G, Hq, Hk: Hq = G * Hk
};

} // namespace heddle
