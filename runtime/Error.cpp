#include "runtime/Error.h"

#include <fmt/format.h>

namespace heddle {

const char *toString(ErrorCode code) {
  switch (code) {
  case ErrorCode::InvalidArgument:
    return "invalid argument";
  case ErrorCode::InvalidPattern:
    return "invalid pattern";
  case ErrorCode::Unsupported:
    return "unsupported";
  case ErrorCode::NotFound:
    return "not found";
  case ErrorCode::CorruptData:
    return "corrupt data";
  case ErrorCode::ResourceExhausted:
    return "resource exhausted";
  case ErrorCode::IoError:
    return "input/output error";
  case ErrorCode::CompilerFailure:
    return "compiler failure";
  case ErrorCode::CheckFailed:
    return "check failed";
  case ErrorCode::Internal:
    return "internal error";
  }
  return "unknown error";
}

std::string Error::toString() const {
  std::string text = where.empty() ? std::string() : where + ": ";
  text += fmt::format("{}: {}", heddle::toString(code), message);
  for (const std::string &note : notes)
    text += fmt::format("\n  note: {}", note);
  return text;
}

} // namespace heddle
