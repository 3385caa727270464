// What a program that runs kernels through the machine's driver functions may
// set and ask besides: checks and counts.
#pragma once

#include "runtime/devices/ptx/Machine.h"

#include <string>
#include <vector>

namespace heddle::ptx {

/// A launch that ran through cuLaunchKernel.
struct LaunchRecord {
  std::string kernel;
  Report report;
};

/// Options of launches from now on; from the first call on, launches are
/// recorded.
void setDriverOptions(const LaunchOptions &options);
LaunchOptions driverOptions();
/// The launches since the last call.
std::vector<LaunchRecord> takeLaunches();

} // namespace heddle::ptx
