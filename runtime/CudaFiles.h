// Finds NVIDIA's files without loading them: NVRTC, which turns CUDA text into code, and nvdisasm,
// which is optional. Nothing of Heddle links to them, and no CUDA header is needed.
#pragma once

#include "runtime/Result.h"

#include <string>
#include <vector>

namespace heddle {

/// The file of libnvrtc. Looked for, in this order:
///   1. where HEDDLE_NVRTC says, and nowhere else if it is set (a file, or a folder that holds it)
///   2. folders of the loader: LD_LIBRARY_PATH, /etc/ld.so.conf, /usr/lib and its like
///   3. CUDA toolkits: CUDA_HOME, CUDA_PATH, /usr/local/cuda, /usr/local/cuda-*, /opt/cuda
///   4. PyPI's nvidia-cuda-nvrtc in the site-packages of every python3 on the PATH, and where
///      tools/setup.sh puts it
/// The first folder with one wins, in it the newest version. NotFound with every folder that was
/// looked into, and what to install.
Result<std::string> findNvrtc();

/// The program nvdisasm: HEDDLE_NVDISASM, PATH, toolkits, PyPI's nvidia-cuda-nvdisasm.
Result<std::string> findNvdisasm();

/// What stands in a request key for a file: "path size time", the path without links. NotFound if
/// there is no such file.
Result<std::string> fileIdentity(const std::string &path);

/// The path in a fileIdentity().
std::string identityPath(const std::string &identity);

} // namespace heddle
