// Keys are SHA-256 digests of canonical texts, so they need no compiler and no parser.
//   winnerKey(r) == winnerKey(r with another schedule), requestKey differs
//   requestKey(r) == requestKey(r for other lengths of its class), winnerKey differs
#include "runtime/Key.h"

#include "runtime/Sha256.h"

#include <fmt/format.h>

namespace heddle {

std::string requestKey(const Request &request) {
  Request any = request;
  any.buckets.clear();
  return sha256Hex(any.serialize());
}

std::string winnerKey(const Request &request) {
  Request open = request;
  open.schedule.clear();
  return sha256Hex("winner\n" + open.serialize());
}

std::string classWinnerKey(const Request &request) {
  Request any = request;
  any.buckets.clear();
  return winnerKey(any);
}

std::string signatureKey(std::string_view patternText, std::string_view patternName) {
  return sha256Hex(
      fmt::format("signature\n{}\n{}\n{}", patternName.size(), patternName, patternText));
}

} // namespace heddle
