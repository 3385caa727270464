// What this computer's processor is and can do, asked of the processor and the operating system.
#pragma once

#include "runtime/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::cpu {

struct HostInfo {
  std::string vendor; ///< "AuthenticAMD"
  std::string model;  ///< "AMD EPYC 9654"
  /// Usable instruction sets, named as in /proc/cpuinfo, sorted; what the operating system does not
  /// save on a switch of tasks is not listed.
  std::vector<std::string> features;
  int64_t l1Bytes = 0, l2Bytes = 0, l3Bytes = 0; ///< data caches; 0 if unknown
  int cores = 1;                                 ///< logical processors this process may run on

  bool has(std::string_view feature) const;
  /// Request::deviceFacts: "vendor AuthenticAMD; model ...; features avx avx2 ...; l1 32768; ...".
  /// Nothing that differs between two processes on one computer.
  std::string facts() const;
};

HostInfo detectHost();

/// AMX tiles may be used only after asking the kernel once per process. Unsupported if refused.
Status requestAmx();

} // namespace heddle::cpu
