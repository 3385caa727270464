// Texts of errors, and errors as bytes for the boundary between the libraries.
//   Error{NotFound, "found no machine 'x'", "", {"see heddle machines"}}.toString()
//     -> "not found: found no machine 'x'\n  note: see heddle machines"
#include "runtime/Error.h"

#include "runtime/Bytes.h"
#include "runtime/NotReady.h"

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
  return code == kNotReady ? "not ready" : "unknown error";
}

std::string Error::toString() const {
  std::string text = where.empty() ? std::string() : where + ": ";
  text += fmt::format("{}: {}", heddle::toString(code), message);
  for (const std::string &note : notes)
    text += fmt::format("\n  note: {}", note);
  return text;
}

template <typename Archive> static void transfer(Archive &archive, Error &error) {
  archive(error.code, error.message, error.where, error.notes);
}

std::string Error::serialize() const {
  ByteWriter writer;
  writer(*this);
  return writer.take();
}

Error Error::parse(std::string_view bytes) {
  Error error;
  ByteReader reader(bytes);
  reader(error);
  const bool known = error.code >= ErrorCode::InvalidArgument && error.code <= ErrorCode::Internal;
  if (!reader.atEnd() || !known)
    return {ErrorCode::Internal,
            "found an error report that cannot be read, expected one of this "
            "version; libheddle and libheddle-compiler may not belong together"};
  return error;
}

} // namespace heddle
