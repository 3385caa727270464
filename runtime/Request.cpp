// The canonical text of a request and back. One record a field, always all of them, in one order:
//   dims 12\nD=128\nDv=128\n\n   (name, byte count, bytes, newline; a map is one name=value a line)
// Names are escaped and numbers have one spelling, so that two requests never share a text; parse
// refuses every text that serialize would not have written.
#include "runtime/Request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>

namespace heddle {
namespace {

constexpr std::string_view kHeader = "heddle-request 2\n";

Error malformed(std::string_view field, std::string_view what) {
  return {ErrorCode::CorruptData,
          fmt::format("found a request whose field '{}' {}, expected the canonical text of this "
                      "version; was it written by another version of heddle?",
                      field, what)};
}

// --- values ------------------------------------------------------------------------------------

bool isPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '*' || c == '-';
}

std::string escape(std::string_view name) {
  std::string text;
  for (char c : name)
    text += isPlain(c) ? std::string(1, c) : fmt::format("%{:02x}", static_cast<uint8_t>(c));
  return text;
}

bool unescape(std::string_view text, std::string &name) {
  name.clear();
  while (!text.empty()) {
    size_t used = 1;
    if (text[0] == '%') {
      uint8_t byte = 0;
      const char *end = text.data() + 3;
      if (text.size() < 3 || std::from_chars(text.data() + 1, end, byte, 16).ptr != end)
        return false;
      name += static_cast<char>(byte);
      used = 3;
    } else {
      name += text[0];
    }
    text.remove_prefix(used);
  }
  return true;
}

std::string spell(int64_t value) { return fmt::format("{}", value); }
std::string spell(DType value) { return toString(value); }

/// Hexadecimal: exact, and the same in every locale.
std::string spell(double value) { return fmt::format("{:a}", value); }

std::string spell(const ExtentClass &value) {
  constexpr std::array bounds = {"one", "to16", "to64", "to4096", "any"};
  return std::string(bounds[value.bound]) + (value.multipleOf16 ? "x16" : "");
}

bool read(std::string_view text, int64_t &value) {
  const char *end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  return result.ec == std::errc() && result.ptr == end;
}

bool read(std::string_view text, DType &value) {
  Result<DType> type = parseDType(text);
  if (type.ok())
    value = *type;
  return type.ok();
}

bool read(std::string_view text, double &value) {
  const bool negative = text.starts_with('-');
  text.remove_prefix(negative);
  if (text.starts_with("0x"))
    text.remove_prefix(2);
  const char *end = text.data() + text.size();
  if (std::from_chars(text.data(), end, value, std::chars_format::hex).ptr != end)
    return false;
  value = negative ? -value : value;
  return true;
}

bool read(std::string_view text, ExtentClass &value) {
  for (int bound = ExtentClass::One; bound <= ExtentClass::Any; ++bound)
    for (bool multiple : {false, true}) {
      value = {static_cast<ExtentClass::Bound>(bound), multiple};
      if (spell(value) == text)
        return true;
    }
  return false;
}

template <typename T> std::string spell(const std::map<std::string, T> &values) {
  std::string text;
  for (const auto &[name, value] : values)
    text += escape(name) + "=" + spell(value) + "\n";
  return text;
}

template <typename T> bool read(std::string_view text, std::map<std::string, T> &values) {
  values.clear();
  while (!text.empty()) {
    const size_t equals = text.find('='), end = text.find('\n');
    if (end == text.npos || equals > end)
      return false;
    std::string name;
    T value{};
    if (!unescape(text.substr(0, equals), name) ||
        !read(text.substr(equals + 1, end - equals - 1), value))
      return false;
    values[name] = value;
    text.remove_prefix(end + 1);
  }
  return true;
}

std::string spell(const std::string &text) { return text; }
bool read(std::string_view text, std::string &value) {
  value = text;
  return true;
}

// --- records -----------------------------------------------------------------------------------

/// Every field in the canonical order; `visit(name, field)` returns false to stop.
template <typename R, typename Visit> bool eachField(R &request, Visit visit) {
  return visit("patternText", request.patternText) && visit("patternName", request.patternName) &&
         visit("dims", request.dims) && visit("dtypes", request.dtypes) &&
         visit("constants", request.constants) && visit("extents", request.extents) &&
         visit("buckets", request.buckets) && visit("form", request.form) &&
         visit("schedule", request.schedule) && visit("target", request.target) &&
         visit("machine", request.machine) && visit("deviceFacts", request.deviceFacts) &&
         visit("compilerBuild", request.compilerBuild) && visit("nvrtc", request.nvrtc) &&
         visit("flags", request.flags);
}

/// Takes `name length\nbytes\n` off the front of the text.
bool takeRecord(std::string_view &text, std::string_view name, std::string_view &bytes) {
  if (!text.starts_with(name) || text.substr(name.size(), 1) != " ")
    return false;
  text.remove_prefix(name.size() + 1);
  uint64_t length = 0;
  const char *begin = text.data();
  const char *end = std::from_chars(begin, begin + text.size(), length).ptr;
  text.remove_prefix(end - begin);
  if (end == begin || text.empty() || text[0] != '\n' || length > text.size() - 1 ||
      text.size() - 1 - length < 1 || text[1 + length] != '\n')
    return false;
  bytes = text.substr(1, length);
  text.remove_prefix(length + 2);
  return true;
}

} // namespace

ExtentClass ExtentClass::of(int64_t extent) {
  const bool multiple = extent % 16 == 0;
  if (extent == 1)
    return {One, false};
  if (extent <= 16)
    return {UpTo16, multiple};
  if (extent <= 64)
    return {UpTo64, multiple};
  return {extent <= 4096 ? UpTo4096 : Any, multiple};
}

bool ExtentClass::admits(int64_t extent) const {
  constexpr std::array<int64_t, 4> largest = {1, 16, 64, 4096};
  if (multipleOf16 && extent % 16 != 0)
    return false;
  if (bound == One)
    return extent == 1;
  return extent >= 0 && (bound == Any || extent <= largest[bound]);
}

int64_t lengthBucket(int64_t extent) {
  return extent <= 0 ? 0 : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(extent)));
}

std::string toString(const ExtentClass &extents) {
  constexpr std::array bounds = {"exactly 1", "at most 16", "at most 64", "at most 4096",
                                 "any length"};
  return std::string(bounds[extents.bound]) + (extents.multipleOf16 ? " and a multiple of 16" : "");
}

std::string Request::serialize() const {
  std::string text(kHeader);
  eachField(*this, [&](const char *name, const auto &field) {
    const std::string value = spell(field);
    text += fmt::format("{} {}\n{}\n", name, value.size(), value);
    return true;
  });
  return text;
}

Result<Request> Request::parse(std::string_view text) {
  const std::string_view whole = text;
  if (!text.starts_with(kHeader))
    return malformed("header", "is missing or of another version");
  text.remove_prefix(kHeader.size());
  Request request;
  Error error;
  const bool complete = eachField(request, [&](const char *name, auto &field) {
    std::string_view bytes;
    const bool found = takeRecord(text, name, bytes);
    if (!found || !read(bytes, field))
      error =
          malformed(name, found ? "has a value that cannot be read" : "is missing or cut short");
    return found && error.message.empty();
  });
  if (!complete)
    return error;
  if (request.serialize() != whole)
    return malformed("end", "is followed by more, or is not in canonical form");
  return request;
}

std::string scheduleText(const std::map<std::string, int64_t> &schedule) {
  std::string text;
  for (const auto &[knob, value] : schedule)
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", knob, value);
  return text;
}

Result<std::map<std::string, int64_t>> parseScheduleText(std::string_view text) {
  std::map<std::string, int64_t> schedule;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    const size_t equals = item.find('=');
    const std::string name = escape(item.substr(0, equals));
    int64_t value = 0;
    const bool good = equals != item.npos && !name.empty() && name == item.substr(0, equals) &&
                      equals + 1 < item.size() && read(item.substr(equals + 1), value);
    if (!good || item.size() + 1 == text.size())
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found '{}' in a schedule, expected KNOB=NUMBER[,KNOB=NUMBER ...], "
                               "for example BM=64,BN=128",
                               item)};
    if (!schedule.emplace(name, value).second)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found the knob {} twice in a schedule, expected it once", name)};
    text.remove_prefix(std::min(item.size() + 1, text.size()));
  }
  return schedule;
}

} // namespace heddle
