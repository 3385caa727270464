// Where libheddle lies: other files of the installation are found from there.
#pragma once

#include <string>

namespace heddle {

/// The folder libheddle itself was loaded from, or "." if the loader does not say.
std::string ownFolder();

} // namespace heddle
