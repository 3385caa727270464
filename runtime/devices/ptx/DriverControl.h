// What a program that runs kernels through the machine's driver functions may
// set and ask besides: checks and counts. Reached by name, as the driver's
// functions are (heddlePtx... below).
#pragma once

#include "runtime/devices/ptx/Machine.h"

#include <map>
#include <string>
#include <vector>

namespace heddle::ptx {

/// A launch that ran through cuLaunchKernel.
struct LaunchRecord {
  std::string kernel;
  std::map<std::string, uint64_t> classes; // warp instructions by class, if counts were on
  Report report;
};

/// Options of launches from now on; from the first call on, launches are
/// recorded.
void setDriverOptions(const LaunchOptions &options);
LaunchOptions driverOptions();
/// The launches since the last call.
std::vector<LaunchRecord> takeLaunches();

/// Warp instructions by class ("float", "tensor", "shared load", ..).
std::map<std::string, uint64_t> countByClass(const Program &program,
                                             const std::vector<uint64_t> &counts);

} // namespace heddle::ptx

/// For callers that load the library by name. `options` is text: "check counts
/// faithful late seed=7 threads=2". Returns 0, or 1 for a word it does not
/// know.
extern "C" int heddlePtxSetOptions(const char *options);
/// The launches since the last call, as JSON; valid until the next call on this
/// thread:
///   [{"kernel":..,"verdict":..,"instructions":..,"findings":[{"kind":..,"message":..,"line":..,
///     "cuda":..,"times":..}],"unmodelled":[..],"classes":{..},"traffic":{..}}]
extern "C" const char *heddlePtxTakeReport();
