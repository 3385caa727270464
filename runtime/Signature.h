// Signature: what a caller must know of a pattern to bind tensors, found once by the compiler and
// kept in the store under the hash of the pattern's text. With it a warm process goes from extents
// and dtypes to a Request without a parser.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Result.h"
#include "runtime/Tensor.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

/// The extent of every named dim, e.g. {B: 1, Tq: 1537, Hq: 32, D: 128}.
using Extents = std::map<std::string, int64_t>;

struct Signature {
  struct Tensor {
    std::string name;
    bool isResult = false;
    bool fixedDtype = false; ///< the pattern itself says the dtype; else it is the request's
    DType dtype = DType::F32;
    /// Names of dims, numbers, or texts listed in `derived`; a leading B where there is a batch.
    std::vector<std::string> shape;
    /// Of an input that is a state (or another part of what a run leaves): the result that the run
    /// after takes in its place, by index into `tensors`. -1: no state, or no such result.
    int32_t next = -1;
    bool operator==(const Tensor &) const = default;
  };
  struct Parameter {
    std::string name;
    bool isInteger = false;
    bool isConstant = false; ///< fixed at compile time: goes into Request::constants
    bool required = false;   ///< has no default: the caller must give it
    double defaultValue = 0;
    bool operator==(const Parameter &) const = default;
  };

  std::string name;            ///< of the pattern
  std::vector<Tensor> tensors; ///< in calling order: inputs, then results
  std::vector<Parameter> parameters;
  std::vector<ValueRule> valueRules;   ///< what the inputs must hold, by index into `tensors`
  std::vector<std::string> staticDims; ///< fixed at compile time: D, Dv, ... and G
  std::vector<std::string>
      classDims; ///< run-time dims whose extent class may choose other code: T*
  std::map<std::string, std::string>
      notes; ///< form -> "yes", or the reason it cannot do this pattern

  /// Extents that follow from others, by the text that stands in `shape`: "cdiv(Tk, c)". The
  /// formulas' scalars are `derivedNames`, dims and integer parameters.
  std::map<std::string, Formula> derived;
  std::vector<std::string> derivedNames;
  /// What the pattern asks of extents and constants, over the same scalars.
  std::vector<Constraint> conditions;

  /// All named dims, sorted; without G, which follows from Hq and Hk.
  std::vector<std::string> dims() const;

  /// Extents of all dims from those given: "T" sets every dim that begins with T and is not given,
  /// "H" every one that begins with H; B is 1 if not given; Dv is D and Hk is Hq if not given; one
  /// that stands alone beside `==` in a condition (NB == cdiv(Tk, c)) follows from that.
  /// Parameters not given take their default. Fails on an unknown name, a negative extent, one
  /// still missing, or Hq no multiple of Hk.
  Result<Extents> completeExtents(const Extents &given,
                                  const std::map<std::string, double> &parameters = {}) const;

  /// Extents from the tensors of a call (in order; all, or the inputs alone). Fails where two
  /// tensors give a dim two extents.
  Result<Extents> extentsOf(std::span<const TensorView> tensors) const;

  /// The element type of the tensors (as extentsOf takes them) that have none of their own; f32 if
  /// there is none. Fails where one has another type, or not its own.
  Result<DType> openDType(std::span<const TensorView> tensors) const;

  /// The concrete shape of a tensor under complete extents; parameters not given take their
  /// default.
  Result<std::vector<int64_t>> shapeOf(const Tensor &tensor, const Extents &extents,
                                       const std::map<std::string, double> &parameters = {}) const;
  /// InvalidArgument if extents or constants break what the pattern asks for (`where`).
  Status checkConditions(const Extents &extents,
                         const std::map<std::string, double> &parameters = {}) const;
  DType dtypeOf(const Tensor &tensor, DType requested) const;

  /// The request for these extents, with everything that depends on the device or the compiler left
  /// for the Context to fill in. `parameters` may override constants; run-time ones in it are
  /// checked and otherwise ignored.
  Result<Request> request(std::string patternText, const Extents &extents, DType dtype,
                          const std::map<std::string, double> &parameters = {}) const;

  std::string serialize() const;
  static Result<Signature> parse(std::string_view bytes);
  bool operator==(const Signature &) const = default;

private:
  void deriveExtents(Extents &extents, const std::map<std::string, double> &parameters) const;
  /// The scalars of `derivedNames`; parameters not given take their default.
  std::vector<int64_t> scalarsOf(const Extents &extents,
                                 const std::map<std::string, double> &parameters) const;
};

} // namespace heddle
