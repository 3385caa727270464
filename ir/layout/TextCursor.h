// The reading head of ir/layout's parsers. Internal to ir/layout.
#pragma once

#include "ir/layout/Layout.h"

namespace heddle::layout {

/// A position in a text. Spaces are skipped before every token.
class TextCursor {
public:
  explicit TextCursor(std::string_view text) : text(text) {}

  /// Takes the character if it is next.
  bool take(char wanted);
  bool atEnd();
  /// A number, or a tuple of numbers and tuples.
  Expected<IntTuple> tuple(int nesting = 0);
  Expected<int64_t> number();
  /// "column 5: found ')', expected WANTED".
  Failure expected(std::string_view wanted);

private:
  void skipSpaces();

  std::string_view text;
  size_t position = 0;
};

/// A layout from the cursor to the end of the text.
Expected<Layout> parseLayoutAt(TextCursor &cursor);

} // namespace heddle::layout
