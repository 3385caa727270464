// Keys are SHA-256 digests of canonical texts, so they need no compiler and no parser.
//   winnerKey(r) == winnerKey(r with another schedule), requestKey differs
#include "runtime/Key.h"

#include "runtime/Sha256.h"

#include <fmt/format.h>

namespace heddle {

std::string requestKey(const Request &request) { return sha256Hex(request.serialize()); }

std::string winnerKey(const Request &request) {
  Request open = request;
  open.schedule.clear();
  return sha256Hex("winner\n" + open.serialize());
}

std::string signatureKey(std::string_view patternText, std::string_view patternName) {
  return sha256Hex(
      fmt::format("signature\n{}\n{}\n{}", patternName.size(), patternName, patternText));
}

} // namespace heddle
