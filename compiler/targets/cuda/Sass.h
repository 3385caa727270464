// SASS, the machine code of NVIDIA's GPUs, as nvdisasm prints it: what a kernel's loops are made
// of. Static counts: each instruction of a loop's body once, both sides of a branch.
#pragma once

#include "runtime/Result.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::compiler::cuda {

struct SassInstruction {
  int64_t address = 0;
  std::string predicate; ///< "@P0", "@!UP1" or empty
  std::string opcode;    ///< with its modifiers: "HMMA.16816.F32.BF16"
  std::string operands;
};

struct SassKernel {
  std::string name;
  std::vector<SassInstruction> instructions;
  std::map<std::string, int64_t> labels; ///< index of the instruction behind the label
};

/// What a stretch of code is made of.
struct InstructionMix {
  int64_t instructions = 0;
  std::map<std::string, int64_t> classes; ///< by classOf(); only classes that occur
  int64_t mmaFlops = 0;                   ///< of one warp, a multiply-add as 2

  int64_t count(const std::string &name) const;
  /// Issue slots other than tensor-core ones per m16n8k16, 4096 FLOP of a warp; 0 without any.
  double otherPerMma() const;
};

/// A natural loop: a back edge to a block that dominates its source.
struct SassLoop {
  int64_t begin = 0, end = 0; ///< addresses of the first and last instruction
  int depth = 1;              ///< 1: not inside another loop
  bool innermost = true;      ///< of those that hold tensor-core instructions
  InstructionMix mix;
};

struct SassFacts {
  InstructionMix whole;
  std::vector<SassLoop> loops; ///< those with tensor-core instructions, else all; by address
  int main = -1;               ///< the main loop: index into loops, or -1

  const SassLoop *mainLoop() const { return main < 0 ? nullptr : &loops[main]; }
};

/// nvdisasm's text of a cubin. NotFound, with what to install, where there is no nvdisasm.
Result<std::string> disassemble(const std::string &cubin);

/// The kernels in nvdisasm's text (-c), in order.
std::vector<SassKernel> parseSass(std::string_view text);

/// mma, ldsm, lds, ldgsts, ldg, spill, ex2, ffma, cvt, int, mov, pred, branch, ... or other.
std::string_view classOf(const SassInstruction &instruction);

/// FLOP of one warp's share of a tensor-core instruction; 0 for others and for unknown shapes.
int64_t mmaFlopsOf(const SassInstruction &instruction);

/// Loops and what they are made of. The main loop is the innermost one with tensor-core
/// instructions that has the fewest other slots per m16n8k16, among those that do at least half as
/// much as the largest (the unmasked one, where edge tiles have a loop of their own); without
/// tensor-core instructions the innermost loop with the most instructions.
SassFacts factsOf(const SassKernel &kernel);

} // namespace heddle::compiler::cuda
