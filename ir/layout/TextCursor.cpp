// Reads numbers and nested tuples from text and says at which column they go wrong.
//
//   "((4,8),2)" --> IntTuple{{4, 8}, 2}          "(4,,8)" --> column 4: found ',', expected ...
#include "ir/layout/TextCursor.h"

#include <charconv>

namespace heddle::layout {

namespace {
/// Deeper nesting is a mistake or an attack on the stack.
constexpr int kMaxNesting = 32;
} // namespace

void TextCursor::skipSpaces() {
  while (position < text.size() && (text[position] == ' ' || text[position] == '\t'))
    ++position;
}

bool TextCursor::take(char wanted) {
  skipSpaces();
  if (position == text.size() || text[position] != wanted)
    return false;
  ++position;
  return true;
}

bool TextCursor::atEnd() {
  skipSpaces();
  return position == text.size();
}

Failure TextCursor::expected(std::string_view wanted) {
  skipSpaces();
  std::string found =
      position == text.size() ? "the end" : "'" + std::string(1, text[position]) + "'";
  return {"column " + std::to_string(position + 1) + ": found " + found + ", expected " +
          std::string(wanted)};
}

Expected<int64_t> TextCursor::number() {
  skipSpaces();
  int64_t number = 0;
  const char *begin = text.data() + position;
  auto [end, error] = std::from_chars(begin, text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range)
    return expected("a number that fits 64 bits");
  if (error != std::errc())
    return expected("a number or '('");
  position += static_cast<size_t>(end - begin);
  return number;
}

Expected<IntTuple> TextCursor::tuple(int nesting) {
  if (!take('(')) {
    Expected<int64_t> leaf = number();
    return leaf.ok() ? Expected<IntTuple>(IntTuple(*leaf)) : Failure{leaf.text()};
  }
  if (nesting == kMaxNesting)
    return expected("at most " + std::to_string(kMaxNesting) + " levels of nesting");
  std::vector<IntTuple> modes;
  do {
    Expected<IntTuple> mode = tuple(nesting + 1);
    if (!mode.ok())
      return mode;
    modes.push_back(*mode);
  } while (take(','));
  if (!take(')'))
    return expected("',' or ')'");
  return IntTuple::tuple(std::move(modes));
}

} // namespace heddle::layout
