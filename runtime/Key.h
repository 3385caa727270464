// Names of store entries, computable without the compiler.
#pragma once

#include "runtime/Request.h"

#include <string>
#include <string_view>

namespace heddle {

/// Hash of the whole canonical request: 64 hexadecimal digits.
std::string requestKey(const Request &request);
/// Hash of the request without its schedule: names the winner of a sweep.
std::string winnerKey(const Request &request);
/// Hash of a pattern text and the name of the pattern in it: names its signature.
std::string signatureKey(std::string_view patternText, std::string_view patternName);

} // namespace heddle
