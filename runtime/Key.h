// Names of store entries, computable without the compiler.
#pragma once

#include "runtime/Request.h"

#include <string>
#include <string_view>

namespace heddle {

/// Hash of the canonical request but for its length buckets: 64 hexadecimal digits.
std::string requestKey(const Request &request);
/// Hash of the request without its schedule: names the winner of a sweep over these lengths.
std::string winnerKey(const Request &request);
/// The same without the length buckets: names the winner for lengths that no sweep has measured.
std::string classWinnerKey(const Request &request);
/// Hash of a pattern text and the name of the pattern in it: names its signature.
std::string signatureKey(std::string_view patternText, std::string_view patternName);

} // namespace heddle
