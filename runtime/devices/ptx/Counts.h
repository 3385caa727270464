// What a counted launch executed: warp instructions by class, and by loop.
#pragma once

#include "runtime/devices/ptx/Program.h"

#include <map>

namespace heddle::ptx {

using ClassCounts = std::map<std::string, uint64_t>; // "float", "tensor", "shared load", ..

/// A loop of a kernel, from the target of a backward branch to the last such branch.
struct LoopCount {
  int firstLine = 0, lastLine = 0; // of the PTX
  int cudaLine = 0;                // of the CUDA source, where .loc says it
  int depth = 1;
  uint64_t iterations = 0; // by warps: how often its first instruction was executed
  /// Of the instructions in this loop and in none inside it.
  uint64_t instructions = 0, tensorFlops = 0;
  ClassCounts classes;

  /// Instructions other than tensor-core ones for each of these; 0 without any.
  double otherPerTensor() const;
};

ClassCounts countByClass(const Function &function, const std::vector<uint64_t> &counts);

/// In the order of the text; loops that were never entered are left out.
std::vector<LoopCount> countByLoop(const Function &function, const std::vector<uint64_t> &counts);

} // namespace heddle::ptx
