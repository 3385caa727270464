// Splits at commas, then at the first '='.
#include "tools/heddle/Assignments.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace heddle::tool {
namespace {

Error wrong(const std::string &option, const std::string &piece, const std::string &expected) {
  return {ErrorCode::InvalidArgument,
          fmt::format("{}: found '{}', expected {}", option, piece, expected)};
}

} // namespace

Result<std::map<std::string, std::string>> parseTexts(const std::string &option,
                                                      const std::string &text) {
  std::map<std::string, std::string> values;
  for (size_t at = 0; at < text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    std::string piece = text.substr(at, comma - at);
    size_t equals = piece.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == piece.size())
      return wrong(option, piece, "NAME=VALUE, several separated by commas");
    if (!values.emplace(piece.substr(0, equals), piece.substr(equals + 1)).second)
      return wrong(option, piece, "each name once");
    at = comma + 1;
  }
  return values;
}

Result<std::map<std::string, int64_t>> parseIntegers(const std::string &option,
                                                     const std::string &text, int64_t least) {
  HEDDLE_TRY(texts, parseTexts(option, text));
  std::map<std::string, int64_t> values;
  for (const auto &[name, value] : texts) {
    int64_t number = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size())
      return wrong(option, name + "=" + value, "a whole number");
    if (number < least)
      return wrong(option, name + "=" + value, fmt::format("a number of at least {}", least));
    values[name] = number;
  }
  return values;
}

Result<std::map<std::string, double>> parseNumbers(const std::string &option,
                                                   const std::string &text) {
  HEDDLE_TRY(texts, parseTexts(option, text));
  std::map<std::string, double> values;
  for (const auto &[name, value] : texts) {
    double number = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || !std::isfinite(number))
      return wrong(option, name + "=" + value, "a finite number");
    values[name] = number;
  }
  return values;
}

} // namespace heddle::tool
