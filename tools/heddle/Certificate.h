// What was proved about a kernel: run on the PTX machine, checked, and compared with the pattern's
// definition. Kept in the store beside the kernel, under the kernel's own key.
#pragma once

#include "tools/heddle/Problem.h"

namespace heddle::tool {

struct VerifySettings {
  std::string copies = "late"; ///< early, late or random
  uint64_t seed = 0;           ///< of inputs, sampled rows and copies
  bool faithful = false;       ///< sums of tensor cores as the hardware makes them
};

/// The options with the PTX machine of their target as the device. Fails for a target that is no
/// GPU's.
Result<ProblemOptions> onPtxMachine(ProblemOptions options);

/// Runs and checks the problem's kernel. The report: pattern, shape, schedule, verdict, check
/// (errors of each result), launches (findings, counts).
Result<nlohmann::json> verifyKernel(const Problem &problem, const VerifySettings &settings);

/// Whether a report says that the kernel is right: clean, and numbers within their limits.
bool isProved(const nlohmann::json &report);

/// Keeps what a report proves in the context's store: shape, verdict, errors, counts, versions.
/// Returns it. A kernel that is not right keeps none.
Result<nlohmann::json> storeCertificate(const Problem &problem, const nlohmann::json &report);

// Dynamic counts of a problem's kernel, for a problem whose device is the PTX machine: from,
// launches (as PtxReport.h has them).

/// Runs the kernel unchecked, blocks (x, 0, 0) of each grid alone, and counts for all: heads and
/// sequences are much alike.
Result<nlohmann::json> countLaunches(const Problem &problem);
/// What the kernel's certificate has of this very shape, or null.
nlohmann::json certifiedCounts(const Problem &problem);

/// Keys of certificates in the store begin so.
inline constexpr std::string_view kCertificateKey = "certificate-";
/// "B=1 T=200 .., bf16: clean, error of o 0.0012; 51234 instructions, 0 bank conflicts"
std::string certificateText(const nlohmann::json &certificate);

} // namespace heddle::tool
