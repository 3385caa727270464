// The instruction sets CPU code is made for, and the choice among them by the features of the
// machine the request names.
#pragma once

#include "runtime/Request.h"
#include "runtime/Result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace heddle::compiler::cpu {

/// One instruction set level. All code of a kernel uses one vector width.
struct Isa {
  enum Level : uint8_t { Avx2 = 2, Avx512 = 5 };
  Level level = Avx2;
  bool bf16Dot = false;    ///< vdpbf16ps on vectors of this width
  bool dotPays = false;    ///< .. at the rate of f32 multiply-adds, so that products gain by it
  bool amx = false;        ///< tdpbf16ps on tiles of 16 x 16 sums, 32 deep
  std::string tuneCpu;     ///< LLVM's name of the processor whose latencies are assumed
  bool dropsAsked = false; ///< lines asked for while many are on their way: Machine::prefetch

  int64_t lanes() const { return level == Avx512 ? 16 : 8; } ///< f32 in a vector
  int64_t registers() const { return level == Avx512 ? 32 : 16; }
  std::string llvmCpu() const;      ///< e.g. "x86-64-v4"
  std::string llvmFeatures() const; ///< e.g. "+avx512bf16"
  /// Names as in /proc/cpuinfo, to be checked before code is loaded.
  std::vector<std::string> requiredFeatures() const;
  const char *name() const;
};

/// The widest level that `deviceFacts` (words of /proc/cpuinfo) offers, or the one knob ISA asks
/// for (0: widest, 2: AVX2, 5: AVX-512). Fails with Unsupported where the machine lacks it.
Result<Isa> chooseIsa(const std::string &deviceFacts, int64_t isaKnob);

} // namespace heddle::compiler::cpu
