// The most this processor can do, measured: what kernels are compared with. No LLVM, no tables of
// chips: a loop of independent instructions in inline assembly, chosen by what the processor has.
#pragma once

#include "runtime/Result.h"

#include <string>

namespace heddle {

/// What is measured.
enum class PeakKind {
  Fma32,   ///< f32 multiply-adds in vectors: AVX-512, else AVX2 with FMA
  Bf16Dot, ///< bf16 pairs multiplied and added to f32: AMX (tdpbf16ps), else AVX512-BF16
  Read,    ///< bytes read from memory, beyond all caches
};

struct PeakOptions {
  int threads = 1;        ///< threads that run the loop at the same time
  double seconds = 0.03;  ///< how long to measure, per kind
  int64_t cacheBytes = 0; ///< Read: last-level cache to get past; 0 = as the system says
};

/// A rate in operations (a multiply-add counts 2) or bytes a second, all threads together.
struct PeakRate {
  double best = 0;         ///< of the fastest rounds: the peak
  double median = 0;       ///< of the median rounds: far below `best` when others use the machine
  int rounds = 0;          ///< rounds of the thread that had fewest
  std::string instruction; ///< "vfmadd231ps zmm", ...
};

/// Measures. Rounds take about half a millisecond, so that one undisturbed round gives the peak on
/// a busy machine too. Operations: each thread's rounds by themselves, added up. Read: rounds of
/// all threads together, from the first to the last (as STREAM, McCalpin 1995), in large pages
/// where the system gives them. Fails with Unsupported if the processor lacks every instruction for
/// it, InvalidArgument on options that make no sense, ResourceExhausted without memory to read.
Result<PeakRate> measurePeak(PeakKind kind, const PeakOptions &options = {});

} // namespace heddle
