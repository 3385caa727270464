// Words, numbers and punctuation of PTX text.
#pragma once

#include "runtime/devices/ptx/Types.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace heddle::ptx {

struct Token {
  enum class Kind { Word, Integer, Real, String, Punct, End, Bad };
  Kind kind = Kind::End;
  std::string_view text = {}; // of a word, string or punctuation; of Bad, the reason
  uint64_t bits = 0;          // an integer; the bits of a float or double
  Type type = Type::None;     // of a Real: F32 (0f...), F64 (0d...), None (a decimal, double bits)
  int line = 1, column = 1;

  bool is(char c) const { return kind == Kind::Punct && text.size() == 1 && text[0] == c; }
  bool is(std::string_view w) const { return kind == Kind::Word && text == w; }
};

/// Reads one token at a time; comments and blanks are skipped.
class Lexer {
public:
  explicit Lexer(std::string_view text) : text(text) {}
  Token next();

private:
  char at(size_t i) const { return i < text.size() ? text[i] : '\0'; }
  void skipBlanks();
  void advance(size_t count);
  Token number(Token token);

  std::string_view text;
  size_t pos = 0;
  int line = 1, column = 1;
};

} // namespace heddle::ptx
