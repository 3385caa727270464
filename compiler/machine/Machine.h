// Machine: facts about a chip, one .toml file each in this folder, built into the library. Passes,
// legality rules and the cost estimate ask here; nothing else knows numbers of chips.
#pragma once

#include "runtime/Request.h"
#include "runtime/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::compiler {

/// What a SIMD instruction set offers, for the CPU.
struct VectorUnit {
  int64_t bits = 0;            ///< width of a register
  int64_t registers = 0;       ///< architectural vector registers
  double fmaPerCycle = 0;      ///< f32 FMA instructions a core starts in a cycle
  double bf16DotPerCycle = 0;  ///< vdpbf16ps a core starts in a cycle; 0 = has none
  double expCyclesPerLane = 0; ///< cost of one exp2 by polynomial, in cycles
};

/// What one streaming multiprocessor of a GPU offers.
struct GpuUnit {
  int64_t multiprocessors = 0;
  int64_t sharedBytesPerBlock = 0;
  int64_t sharedBytesPerMultiprocessor = 0;
  int64_t registersPerMultiprocessor = 0;
  int64_t warps = 0;             ///< resident at most
  int64_t blocks = 0;            ///< resident at most
  int64_t tensorF16PerCycle = 0; ///< FLOP a cycle, f16 or bf16 in, f32 accumulate
  int64_t tensorTf32PerCycle = 0;
  int64_t tensorFp8PerCycle = 0;
  int64_t fmaPerCycle = 0;     ///< f32 FMA a cycle
  int64_t specialPerCycle = 0; ///< exp2, log2, ... a cycle
  int64_t sharedBytesPerCycle = 0;
};

/// What becomes of lines of memory that a program asks for before it reads them.
struct PrefetchUnit {
  /// They are forgotten while the core waits for as many as it can; else the program waits.
  bool dropped = false;
};

struct Machine {
  std::string name;                  ///< the file's: "x86-avx512", "h100", ...
  std::string title;                 ///< for people
  std::string target;                ///< cpu | sm_80 | ...
  std::vector<std::string> features; ///< as in /proc/cpuinfo: avx2, fma, avx512f, avx512_bf16, ...
  std::vector<std::string> sources;  ///< where the numbers come from
  double clockGHz = 0;
  int64_t l1Bytes = 0, l2Bytes = 0, l3Bytes = 0; ///< a core's own, a core's own, shared
  double memoryGBs = 0;                          ///< bandwidth to DRAM, GB/s
  VectorUnit vector;                             ///< target cpu
  PrefetchUnit prefetch;                         ///< target cpu
  GpuUnit gpu;                                   ///< targets sm_*

  bool has(std::string_view feature) const;
  /// Lanes of one register for elements of this many bytes.
  int64_t lanes(int64_t elementBytes) const { return vector.bits / (8 * elementBytes); }
};

/// Names of all built-in machines, sorted.
std::vector<std::string> machineNames();
/// A built-in machine. NotFound with the list of names.
Result<Machine> loadMachine(std::string_view name);
/// One machine from the text of a .toml file; CorruptData names the key that is wrong.
Result<Machine> parseMachine(std::string_view name, std::string_view toml);

/// The machine of a request. "host" (or empty): the built-in file that fits best among those whose
/// features are all present, with features, caches and title replaced by what Request::deviceFacts
/// says. A host whose facts lack avx2 and fma is Unsupported. For a GPU's target: the first file of
/// that target, with the numbers that the facts have.
Result<Machine> machineOf(const Request &request);

} // namespace heddle::compiler
