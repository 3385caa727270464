// What Heddle tells its caller while it works: slower paths taken, kernels compiled, a store that
// cannot be used. There is no global logger; whoever makes a Context gives the sink.
#pragma once

#include <functional>
#include <string_view>

namespace heddle {

enum class LogLevel : int {
  Info = 1,    ///< normal but slow: "compiling ..."
  Warning = 2, ///< work goes on, but not as asked
};

/// May be called from several threads at once; must not call back into the Context. May be empty.
using LogSink = std::function<void(LogLevel, std::string_view)>;

} // namespace heddle
