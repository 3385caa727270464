// What the readers of patterns answer to a clause that no form here lowers.
#pragma once

#include "runtime/Error.h"

#include <fmt/format.h>

#include <utility>

namespace heddle::compiler {

template <typename... Args> Error unsupported(fmt::format_string<Args...> text, Args &&...args) {
  return {ErrorCode::Unsupported, fmt::format(text, std::forward<Args>(args)...)};
}

} // namespace heddle::compiler
