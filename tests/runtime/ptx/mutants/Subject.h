// A kernel that mutants are made of: PTX, launches and inputs; runs it, or a mutant, on the PTX
// machine under the checker.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/devices/ptx/Machine.h"
#include "runtime/devices/ptx/TensorMap.h"
#include "tests/runtime/ptx/mutants/Mutate.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace heddle::test {

/// Sets of inputs: numbers as they come; with large scores, where a maximum counts, or keys that
/// are much alike; with nothing in the first token, and NaN in the last token and the last head,
/// which must not reach the others.
constexpr int kInputSets = 3;

struct Subject {
  struct Tensor {
    std::string name;
    DType dtype = DType::F32;
    bool isResult = false;
    int64_t size = 0;                         ///< bytes
    std::vector<std::byte> bytes[kInputSets]; ///< of an input; workspace and results have none
  };
  /// Where a launch's arguments hold the address of a tensor, or a tensor map of it.
  struct Pointer {
    size_t offset = 0, tensor = 0;
    std::optional<ptx::TensorMap> map;
  };
  struct Step {
    std::string entry;
    ptx::LaunchConfig config;
    std::vector<std::byte> params;
    std::vector<Pointer> pointers;
  };
  std::string name, ptx;
  std::vector<Tensor> tensors;
  std::vector<Step> steps;

  // Of the kernel as it is, by input set; set by prove().
  std::vector<std::vector<double>> expected[kInputSets]; ///< by tensor
  std::set<int> executed;                                ///< lines of the PTX
  int64_t stepLimit = int64_t{1} << 24;

  struct Outcome {
    std::string found;                        ///< what the machine says against it; or nothing
    std::vector<std::vector<double>> results; ///< by tensor
  };
  Outcome run(const std::string &text, int inputs, ptx::CopyTime copies,
              std::set<int> *lines = nullptr) const;

  /// Runs the kernel as it is. Returns what the machine says against it, or nothing.
  std::string prove();
  /// How a mutant is caught: a finding, or a result that is not the kernel's. Empty if it is not.
  std::string judge(const std::string &text) const;
  /// How far a mutant's results are from the kernel's, as a share of the largest.
  double distance(const std::string &text) const;
  /// Whether a mutant's instruction ever does something else than the kernel's, as far as its probe
  /// tells.
  bool matters(const Mutant &mutant) const;
  /// Whether the value of its instruction reaches a result at all, as far as its poison tells.
  bool reachesResults(const Mutant &mutant) const;
};

/// A kernel of the library; "--form .. --schedule .." as the command line has them. Its results
/// have been compared with the pattern's definition.
struct LibraryKernel {
  const char *pattern, *shape, *dtype;
  const char *target = "sm_80", *form = "auto", *schedule = "";
  double spread = 32;  ///< of queries and keys of the second set, of attention
  int64_t nanFrom = 0; ///< keys and values of the third set are NaN from this token on; 0: the last
  std::string toString() const;
};
Result<Subject> librarySubject(const LibraryKernel &kernel);

/// A matrix product by tensor copies: a warp fills a ring of swizzled tiles and mbarriers, four
/// others multiply, and the result leaves by a tensor copy.
Result<Subject> tensorCopySubject();

} // namespace heddle::test
