// Artifact: code plus how to launch it. One code image, an ordered list of launches, workspace
// formulas, one argument table. Every device evaluates the same formulas over the same run-time
// scalars, without the compiler.
#pragma once

#include "runtime/DType.h"
#include "runtime/Request.h"
#include "runtime/Result.h"
#include "runtime/ValueRule.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

/// An integer formula over run-time scalars in postfix order, e.g. Tq 64 ceildiv Hq * .
struct Formula {
  enum Op : uint8_t { Constant, Scalar, Add, Sub, Mul, CeilDiv, FloorDiv, Min, Max };
  struct Step {
    Op op;
    int64_t value = 0; ///< Constant: the value; Scalar: index into Artifact::scalars
    bool operator==(const Step &) const = default;
  };
  std::vector<Step> steps;

  /// Values that may wait for their operator at once, so that evaluation needs no allocation.
  static constexpr int kMaxDepth = 32;

  static Formula constant(int64_t value) { return {{{Constant, value}}}; }
  static Formula scalar(int64_t index) { return {{{Scalar, index}}}; }
  /// this op right; CeilDiv and FloorDiv round towards plus and minus infinity.
  Formula combine(Op op, const Formula &right) const;

  /// `scalars` in the order of Artifact::scalars; a float parameter's place is never read. Fails on
  /// a malformed formula, division by zero or overflow. Does not allocate when it succeeds.
  Result<int64_t> evaluate(std::span<const int64_t> scalars) const;
  bool readsScalars() const;
  /// As one writes it: "ceildiv(Tq, 64) * Hq". A malformed formula gives "malformed".
  std::string toString(std::span<const std::string> names) const;
  bool operator==(const Formula &) const = default;
};

/// Fields, for Bytes.h.
template <typename Archive> void transfer(Archive &archive, Formula::Step &step) {
  archive(step.op, step.value);
}
template <typename Archive> void transfer(Archive &archive, Formula &formula) {
  archive(formula.steps);
}

/// A run-time scalar: the extent of a named dim or a parameter of the pattern.
struct ScalarInfo {
  enum Kind : uint8_t { Extent, IntParameter, FloatParameter };
  std::string name; ///< "Tq", "W", ...
  Kind kind = Extent;
  double defaultValue = 0; ///< of a parameter
  bool operator==(const ScalarInfo &) const = default;
};

/// A tensor of the pattern's signature, in the order callers pass it: inputs, then results.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  bool isResult = false;
  /// One per dimension: the name of a dim in `dims` or a literal number.
  std::vector<std::string> shape;
  bool operator==(const TensorInfo &) const = default;
};

/// A tensor map of TMA (cuTensorMapEncodeTiled), by which kernels copy tiles of tensors[tensor] to
/// shared memory. It holds address and extents, so it is made anew for each call. What lies outside
/// the tensor is copied as zeros.
struct TensorMapInfo {
  static constexpr size_t kMaxDims = 5;
  /// A dimension of the tensor, or a step within its last one.
  struct Dim {
    int32_t dim = -1;   ///< of the tensor, which gives extent and stride; -1: those below
    int64_t extent = 1; ///< elements
    int64_t stride = 1; ///< elements
    int64_t box = 1;    ///< elements that one copy takes
    bool operator==(const Dim &) const = default;
  };
  int32_t tensor = 0;
  std::vector<Dim> dims;    ///< the contiguous one first
  int64_t swizzleBytes = 0; ///< 0 (none), 32, 64 or 128: how rows of the box lie in shared memory
  bool operator==(const TensorMapInfo &) const = default;
};

/// What lies at `offset` of the parameter block every kernel gets.
struct Argument {
  enum Kind : uint8_t {
    TensorPointer,    ///< 8 bytes: base of tensors[index]
    TensorStride,     ///< 8 bytes: stride of dimension `dim` of tensors[index], in elements
    ScalarValue,      ///< 8 bytes: scalars[index] as int64, or as double for a float parameter
    WorkspacePointer, ///< 8 bytes: start of workspace buffer `index`
    RepeatIndex,      ///< 8 bytes: which repetition of the launch this is, from 0
    TensorMap ///< 128 bytes at a multiple of 64: tensorMaps[index], as the driver encodes it
  };
  Kind kind = TensorPointer;
  int32_t index = 0;
  int32_t dim = 0;
  int64_t offset = 0;
  bool operator==(const Argument &) const = default;
};

/// One kernel launch. CPU: `entry` has type void(const void *block, int64_t first, int64_t last,
/// void *scratch) and runs grid points [first, last) of grid[0]*grid[1]*grid[2], x fastest.
struct Launch {
  std::string entry;
  Formula grid[3];
  int64_t block[3] = {1, 1, 1}; ///< CUDA: threads
  Formula sharedBytes;          ///< CUDA: dynamic shared memory; CPU: scratch bytes of one worker
  Formula repeat = Formula::constant(1);
  bool longestFirst = false; ///< grid points cost less as x grows: hand them out in order
  bool operator==(const Launch &) const = default;
};

/// What one CUDA entry takes of a multiprocessor, as ptxas reports it. Bytes are of one thread, but
/// for sharedBytes and constantBytes.
struct Resources {
  int64_t registers = 0; ///< of one thread
  int64_t stackBytes = 0;
  int64_t spillStoreBytes = 0; ///< static: each spilling instruction counts once
  int64_t spillLoadBytes = 0;
  int64_t sharedBytes = 0; ///< static shared memory of a block
  int64_t constantBytes = 0;
  bool operator==(const Resources &) const = default;
};

/// Predicate on a run-time extent that the code assumes.
struct ClassPredicate {
  std::string dim;
  ExtentClass extent;
  bool operator==(const ClassPredicate &) const = default;
};

/// What the code assumes of the scalars beyond classes: left = right, or left <= right.
struct Constraint {
  enum Kind : uint8_t { Equal, AtMost };
  Kind kind = Equal;
  Formula left, right;
  std::string text; ///< for the caller: "Hq = G * Hk"
  bool operator==(const Constraint &) const = default;
};

/// Fields, for Bytes.h.
template <typename Archive> void transfer(Archive &archive, Constraint &constraint) {
  archive(constraint.kind, constraint.left, constraint.right, constraint.text);
}

/// InvalidArgument if the scalars of a call of `pattern` break a condition that it asks for.
Status checkCondition(const Constraint &condition, std::span<const int64_t> scalars,
                      std::string_view pattern);

inline constexpr size_t kMaxLaunches = 64;
inline constexpr size_t kMaxBuffers = 64; ///< of workspace

struct Artifact {
  std::string name;                          ///< pattern name
  std::string target;                        ///< cpu | sm_80 | ...
  std::string form;                          ///< attention | recurrent | chunked
  std::map<std::string, int64_t> schedule;   ///< every knob with its value
  std::map<std::string, int64_t> staticDims; ///< dims the code has built in
  std::vector<std::string>
      requiredFeatures; ///< cpu: names as in /proc/cpuinfo; cuda: sm and driver
  std::vector<ScalarInfo> scalars;
  std::vector<TensorInfo> tensors;
  std::vector<TensorMapInfo> tensorMaps; ///< CUDA with TMA
  std::vector<Argument> arguments;
  int64_t blockBytes = 0;              ///< size of the parameter block
  std::vector<Formula> workspaceBytes; ///< one per workspace buffer; each 64-byte aligned
  std::vector<Launch> launches;
  std::vector<ClassPredicate> predicates;
  std::vector<Constraint> constraints;
  std::vector<ValueRule> valueRules;          ///< of inputs, checked where they lie in host memory
  std::string image;                          ///< CPU: a shared object; CUDA: cubin
  std::map<std::string, Resources> resources; ///< CUDA: by entry; empty where only PTX was made
  std::map<std::string, std::string> sources; ///< "cu", "ptx": by the suffix of their file
  std::map<std::string, std::string>
      provenance;                 ///< hashes of IR, source and image; versions; times
  std::vector<std::string> notes; ///< slower paths taken, forms refused: "form chunked: reason"

  /// Whether every index, offset, rank and formula is in range: what launching relies on. Internal
  /// error naming the field otherwise.
  Status validate() const;

  /// Binary form with magic, version and checksum. parse refuses with CorruptData what is cut
  /// short, changed or of another version, and what validate() refuses.
  std::string serialize() const;
  static Result<Artifact> parse(std::string_view bytes);
  bool operator==(const Artifact &) const = default;
};

} // namespace heddle
