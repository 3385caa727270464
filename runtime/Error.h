// The one error type that crosses Heddle's own boundaries.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace heddle {

/// What kind of mistake it was. The values are part of the C ABI (runtime/heddle.h): append only.
enum class ErrorCode : int {
  InvalidArgument = 1,   ///< the caller passed something that cannot be right
  InvalidPattern = 2,    ///< the pattern text is wrong; `where` says file:line:column
  Unsupported = 3,       ///< right, but Heddle cannot do it; the message says why
  NotFound = 4,          ///< a file, pattern, machine, device or entry that does not exist
  CorruptData = 5,       ///< a file or entry that is cut short, damaged or of another version
  ResourceExhausted = 6, ///< memory, disk or a budget of the machine
  IoError = 7,           ///< the operating system refused to read or write
  CompilerFailure = 8,   ///< Heddle's own code did not compile: a bug of Heddle
  CheckFailed = 9,       ///< a result is outside its tolerance
  Internal = 10,         ///< an invariant of Heddle broke: a bug of Heddle
};

/// "invalid argument", "unsupported", ...
const char *toString(ErrorCode code);

/// An error: what was found, what was expected and what to do (message, one lower-case sentence
/// without a full stop), where (file:line:column, or empty), and notes that help.
struct Error {
  ErrorCode code = ErrorCode::Internal;
  std::string message;
  std::string where = {};
  std::vector<std::string> notes = {};

  /// "where: code: message", then one line "  note: ..." for each note.
  std::string toString() const;

  /// Bytes that cross the boundary to the compiler library. Bytes that are no error parse to an
  /// Internal error that says so.
  std::string serialize() const;
  static Error parse(std::string_view bytes);
};

} // namespace heddle
