// The PTX machine as the device of a test, with its checker on.
#pragma once

#include "runtime/Device.h"
#include "runtime/devices/ptx/DriverControl.h"
#include "tests/support/Test.h"

#include <memory>
#include <string>

namespace heddle::test {

inline std::shared_ptr<Device> ptxMachine(const std::string &target) {
  Result<std::unique_ptr<Device>> device = openDevice("ptx:" + target.substr(3), 1);
  INFO((device ? "" : device.error().toString()));
  REQUIRE(device.ok());
  return std::move(*device);
}

/// From here on launches are checked, asynchronous copies as late as they may be.
inline void checkLaunches() {
  ptx::LaunchOptions options;
  options.check = true;
  options.copies = ptx::CopyTime::Late;
  ptx::setDriverOptions(options);
}

/// Launches since the last call; a clean run has no findings, and nothing is left out.
inline void checkVerdict() {
  const std::vector<ptx::LaunchRecord> launches = ptx::takeLaunches();
  CHECK(!launches.empty());
  for (const ptx::LaunchRecord &launch : launches) {
    INFO(launch.kernel);
    for (const ptx::Finding &finding : launch.report.findings)
      UNSCOPED_INFO(finding.toString());
    for (const std::string &what : launch.report.unmodelled)
      UNSCOPED_INFO("not modelled: " << what);
    CHECK(std::string(launch.report.verdict()) == "clean");
  }
}

} // namespace heddle::test
