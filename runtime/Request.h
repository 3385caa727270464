// Request: everything that decides which kernel is made. The compiler is a deterministic function
// of it, its canonical text is what is hashed into the request key, and it is what crosses the
// boundary between libheddle and libheddle-compiler.
#pragma once

#include "runtime/DType.h"
#include "runtime/Result.h"

#include <map>
#include <string>
#include <string_view>

namespace heddle {

/// Class of one run-time extent, fixed without looking at a schedule (a kernel may assume its class
/// and nothing more).
struct ExtentClass {
  enum Bound { One, UpTo16, UpTo64, UpTo4096, Any };
  Bound bound = Any;
  bool multipleOf16 = false;

  /// The narrowest class of an extent; 0 is at most 16 and a multiple of 16.
  static ExtentClass of(int64_t extent);
  bool admits(int64_t extent) const;
  bool operator==(const ExtentClass &) const = default;
};

/// The smallest power of two not below `extent`; 0 for 0 (and below).
int64_t lengthBucket(int64_t extent);

/// "at most 16 and a multiple of 16", ...
std::string toString(const ExtentClass &extents);

/// What to compile. Maps are ordered, so that the canonical text is unique.
struct Request {
  std::string patternText;                    ///< the pattern file's bytes
  std::string patternName;                    ///< which pattern of the text; empty: the only one
  std::map<std::string, int64_t> dims;        ///< static dims: head sizes D, Dv and head group G
  std::map<std::string, DType> dtypes;        ///< by argument name; "*" gives the default
  std::map<std::string, double> constants;    ///< `const` parameters that were overridden
  std::map<std::string, ExtentClass> extents; ///< by run-time dim: B, Tq, Tk, ...
  /// What the caller means to run: each run-time extent as lengthBucket gives it. Chooses among
  /// tuned schedules; code never depends on it, so it is no part of the request key.
  std::map<std::string, int64_t> buckets;
  std::string form = "auto";               ///< auto | attention | recurrent | chunked
  std::map<std::string, int64_t> schedule; ///< knobs given by name; others take their default
  std::string target = "cpu";              ///< cpu | sm_80 | ...
  std::string machine;                     ///< name in compiler/machine, or "host"
  /// CPU: "vendor V; model M; features avx2 fma ...; l1 N; l2 N; l3 N", features as in
  /// /proc/cpuinfo, caches in bytes. CUDA: name, sm, driver.
  std::string deviceFacts;
  std::string compilerBuild; ///< build id of libheddle-compiler
  std::string nvrtc;         ///< CUDA: identity of NVRTC's file, see runtime/CudaFiles.h
  std::string flags;         ///< policy and code-generation flags

  /// Canonical text: one `field length\nbytes\n` record each, ordered. Equal requests, equal text.
  std::string serialize() const;
  /// Fails with CorruptData on every text that serialize() does not write.
  static Result<Request> parse(std::string_view text);
  bool operator==(const Request &) const = default;
};

/// Schedules as text, knobs in alphabetical order: "BM=64,BN=128". compiler/schedule knows which
/// knobs and values make sense; this is the spelling alone.
std::string scheduleText(const std::map<std::string, int64_t> &schedule);
Result<std::map<std::string, int64_t>> parseScheduleText(std::string_view text);

} // namespace heddle
