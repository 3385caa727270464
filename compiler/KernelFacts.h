// What is known of a GPU kernel without running it: registers, spills and
// shared memory from ptxas, blocks at once from the machine, and what its main
// loop is made of where nvdisasm is there.
#pragma once

#include "compiler/machine/Occupancy.h"
#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Result.h"

#include <map>
#include <string>
#include <vector>

namespace heddle::compiler {

/// One loop of the machine code. Counts are static: each instruction of the
/// body once, both sides of a branch.
struct LoopFacts {
  int64_t begin = 0, end = 0; ///< addresses
  int64_t instructions = 0;
  std::map<std::string, int64_t> classes; ///< by what they are for: mma, ex2, ffma, mov, ...
  int64_t mmaFlops = 0;                   ///< of one warp, a multiply-add as 2
  double otherPerMma = 0; ///< slots other than tensor-core ones per m16n8k16; 0 without any

  int64_t count(const std::string &name) const {
    const auto found = classes.find(name);
    return found == classes.end() ? 0 : found->second;
  }
  int64_t localMemory() const { return count("spill"); }
};

struct KernelFacts {
  std::string entry;
  int64_t threads = 0;
  int64_t sharedBytes = 0; ///< static and dynamic
  Resources resources;
  Occupancy occupancy;
  std::vector<LoopFacts> loops; ///< those with tensor-core instructions, by address
  int main = -1;                ///< the unmasked one of them
  std::string noLoops;          ///< why there are none

  const LoopFacts *mainLoop() const { return main < 0 ? nullptr : &loops[main]; }
};

/// Facts of each launch of an artifact made for a GPU, in order. Loops are told
/// only if `sass`, and a missing nvdisasm is no error but a reason in noLoops.
/// Unsupported for code of a CPU and for an artifact that holds PTX alone.
Result<std::vector<KernelFacts>> inspect(const Request &request, const Artifact &artifact,
                                         bool sass);

} // namespace heddle::compiler
