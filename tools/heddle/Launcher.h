// A C++ host program that launches a CUDA kernel through the driver API alone:
// for those who take a kernel away.
#pragma once

#include "runtime/Artifact.h"

#include <string>

namespace heddle::tool {

/// The program's text. `image` is the file of the code beside it. With CUDA's
/// cuda.h in reach it uses that, else declarations of its own; both need
/// libcuda to link.
std::string launcherText(const Artifact &artifact, const std::string &image);

} // namespace heddle::tool
