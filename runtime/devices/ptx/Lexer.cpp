// Splits PTX text into tokens:  @%p1 ld.global.v2.f32 {%f1, %f2}, [%rd1+8];
//   -> @  %p1  ld.global.v2.f32  {  %f1  ,  %f2  }  ,  [  %rd1  +  8  ]  ;
// An instruction with its modifiers is one word; "::" inside a modifier belongs to it.
#include "runtime/devices/ptx/Lexer.h"

#include <bit>
#include <charconv>

namespace heddle::ptx {

namespace {

bool isWordStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' ||
         c == '.';
}
bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isWordPart(char c) { return isWordStart(c) || isDigit(c); }

int digitValue(char c) {
  if (isDigit(c))
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return 99;
}

} // namespace

void Lexer::advance(size_t count) {
  for (; count > 0 && pos < text.size(); --count, ++pos) {
    if (text[pos] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
}

void Lexer::skipBlanks() {
  while (pos < text.size()) {
    if (at(pos) == ' ' || at(pos) == '\t' || at(pos) == '\n' || at(pos) == '\r') {
      advance(1);
    } else if (at(pos) == '/' && at(pos + 1) == '/') {
      while (pos < text.size() && at(pos) != '\n')
        advance(1);
    } else if (at(pos) == '/' && at(pos + 1) == '*') {
      const size_t end = text.find("*/", pos + 2);
      advance(end == std::string_view::npos ? text.size() - pos : end + 2 - pos);
    } else {
      return;
    }
  }
}

/// 12, 0x1F, 017, 0b101, each with an optional U; 0f3F800000, 0d3FF0000000000000; 1.5e-3.
Token Lexer::number(Token token) {
  const auto bad = [&](const char *reason) {
    token.kind = Token::Kind::Bad;
    token.text = reason;
    advance(1);
    return token;
  };
  const auto digits = [&](size_t from, int base, size_t &end, uint64_t &value) {
    value = 0;
    bool fits = true;
    for (end = from; digitValue(at(end)) < base; ++end) {
      const uint64_t d = static_cast<uint64_t>(digitValue(at(end)));
      fits = fits && value <= (UINT64_MAX - d) / static_cast<uint64_t>(base);
      value = value * static_cast<uint64_t>(base) + d;
    }
    return fits && end > from;
  };
  const char second = at(pos + 1);
  size_t end = pos;
  token.kind = Token::Kind::Integer;
  if (at(pos) == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
    const bool single = second == 'f' || second == 'F';
    if (!digits(pos + 2, 16, end, token.bits) || end - pos - 2 != (single ? 8u : 16u))
      return bad(single ? "0f takes 8 hexadecimal digits" : "0d takes 16 hexadecimal digits");
    token.kind = Token::Kind::Real;
    token.type = single ? Type::F32 : Type::F64;
  } else if (at(pos) == '0' && (second == 'x' || second == 'X')) {
    if (!digits(pos + 2, 16, end, token.bits))
      return bad("a hexadecimal number without digits or beyond 64 bits");
  } else if (at(pos) == '0' && (second == 'b' || second == 'B')) {
    if (!digits(pos + 2, 2, end, token.bits))
      return bad("a binary number without digits or beyond 64 bits");
  } else {
    for (end = pos; isDigit(at(end)); ++end)
      ;
    if (at(end) == '.' || at(end) == 'e' || at(end) == 'E') {
      double value = 0;
      const auto parsed = std::from_chars(text.data() + pos, text.data() + text.size(), value);
      if (parsed.ec != std::errc())
        return bad("a decimal number that no double holds");
      end = static_cast<size_t>(parsed.ptr - text.data());
      token.kind = Token::Kind::Real;
      token.bits = std::bit_cast<uint64_t>(value);
    } else if (!digits(pos, at(pos) == '0' ? 8 : 10, end, token.bits)) {
      return bad("a number beyond 64 bits");
    }
  }
  if (token.kind == Token::Kind::Integer && (at(end) == 'U' || at(end) == 'u'))
    ++end;
  if (isWordPart(at(end)))
    return bad("a number that runs into a word");
  advance(end - pos);
  return token;
}

Token Lexer::next() {
  skipBlanks();
  Token token;
  token.line = line;
  token.column = column;
  if (pos >= text.size())
    return token;
  const char c = at(pos);
  if (isDigit(c))
    return number(token);
  size_t end = pos + 1;
  if (isWordStart(c)) {
    // A directive ends at the next dot: ".reg.b32" is two words.
    while ((isWordPart(at(end)) && !(c == '.' && at(end) == '.')) ||
           (at(end) == ':' && at(end + 1) == ':' && isWordPart(at(end + 2))))
      end += at(end) == ':' ? 2 : 1;
    token.kind = Token::Kind::Word;
    token.text = text.substr(pos, end - pos);
  } else if (c == '"') {
    while (end < text.size() && at(end) != '"' && at(end) != '\n')
      end += at(end) == '\\' ? 2 : 1;
    if (at(end) != '"') {
      token.kind = Token::Kind::Bad;
      token.text = "a string without its closing quote";
      advance(text.size() - pos);
      return token;
    }
    token.kind = Token::Kind::String;
    token.text = text.substr(pos + 1, end - pos - 1);
    ++end;
  } else if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
    token.kind = Token::Kind::Bad;
    token.text = "a byte that is no PTX";
  } else {
    token.kind = Token::Kind::Punct;
    token.text = text.substr(pos, 1);
  }
  advance(end - pos);
  return token;
}

} // namespace heddle::ptx
