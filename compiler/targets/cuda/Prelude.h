// The prelude of emitted files: types and wrappers around single instructions, of which a file gets
// those it uses. Nothing is included by it.
#pragma once

#include <string>
#include <string_view>

namespace heddle::compiler::cuda {

/// The definitions that `body` uses, and what those use, in the prelude's order.
std::string preludeFor(std::string_view body);

} // namespace heddle::compiler::cuda
