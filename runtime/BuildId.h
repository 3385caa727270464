// Which build a library file is, told without loading it.
#pragma once

#include "runtime/Result.h"

#include <string>

namespace heddle {

/// The GNU build id in the file's ELF notes as "gnu:hex", else "file:" with size, time and path.
/// NotFound if there is no such file.
Result<std::string> buildIdOf(const std::string &path);

} // namespace heddle
