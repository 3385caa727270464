// Tokens and constant expressions of the parser, and its entry: text -> ModuleSyntax.
#include "runtime/devices/ptx/Parser.h"

#include <fmt/format.h>

namespace heddle::ptx {

std::string InstructionSyntax::spelling() const {
  std::string all = opcode;
  for (const std::string &modifier : modifiers)
    all += "." + modifier;
  return all;
}

void Parser::advance() {
  token = ahead;
  ahead = lexer.next();
}

std::string Parser::found() const {
  switch (token.kind) {
  case Token::Kind::End:
    return "the end of the text";
  case Token::Kind::Bad:
    return std::string(token.text);
  case Token::Kind::Integer:
  case Token::Kind::Real:
    return "a number";
  case Token::Kind::String:
    return "a string";
  default:
    return fmt::format("'{}'", token.text.substr(0, 60));
  }
}

bool Parser::failAt(int line, int column, std::string message) {
  if (!error)
    error = Error{ErrorCode::InvalidArgument, std::move(message),
                  fmt::format("{}:{}:{}", module.file, line, column)};
  return false;
}

bool Parser::fail(std::string message) {
  return failAt(token.line, token.column, std::move(message));
}

bool Parser::accept(char c) {
  if (!token.is(c))
    return false;
  advance();
  return true;
}

bool Parser::accept(std::string_view word) {
  if (!token.is(word))
    return false;
  advance();
  return true;
}

bool Parser::expect(char c, const char *where) {
  return accept(c) || fail(fmt::format("expected '{}' {}, found {}", c, where, found()));
}

bool Parser::expectWord(std::string &word, const char *what) {
  if (token.kind != Token::Kind::Word)
    return fail(fmt::format("expected {}, found {}", what, found()));
  word = token.text;
  advance();
  return true;
}

bool Parser::expectInteger(int64_t &value, const char *what) {
  if (token.kind != Token::Kind::Integer)
    return fail(fmt::format("expected {}, found {}", what, found()));
  value = static_cast<int64_t>(token.bits);
  advance();
  return true;
}

bool Parser::unary(int64_t &value, int depth) {
  if (depth > 64)
    return fail("a constant expression nested deeper than 64 levels");
  if (accept('-')) {
    if (!unary(value, depth + 1))
      return false;
    value = static_cast<int64_t>(0 - static_cast<uint64_t>(value));
    return true;
  }
  if (accept('~')) {
    if (!unary(value, depth + 1))
      return false;
    value = ~value;
    return true;
  }
  if (accept('+'))
    return unary(value, depth + 1);
  if (accept('('))
    return binary(value, 0, depth + 1) && expect(')', "after a constant expression");
  if (accept("WARP_SZ")) {
    value = 32;
    return true;
  }
  return expectInteger(value, "a constant");
}

bool Parser::binary(int64_t &value, int precedence, int depth) {
  if (depth > 64)
    return fail("a constant expression nested deeper than 64 levels");
  constexpr std::string_view kLevels[] = {"|", "^", "&", "+-", "*/%"};
  if (precedence == 5)
    return unary(value, depth);
  if (!binary(value, precedence + 1, depth))
    return false;
  while (token.kind == Token::Kind::Punct &&
         kLevels[precedence].find(token.text[0]) != std::string_view::npos) {
    const char op = token.text[0];
    advance();
    int64_t right = 0;
    if (!binary(right, precedence + 1, depth + 1))
      return false;
    const uint64_t a = static_cast<uint64_t>(value), b = static_cast<uint64_t>(right);
    if ((op == '/' || op == '%') && (right == 0 || right == -1))
      return fail("a constant divided by 0 or -1");
    value = op == '|'   ? value | right
            : op == '^' ? value ^ right
            : op == '&' ? value & right
            : op == '+' ? static_cast<int64_t>(a + b)
            : op == '-' ? static_cast<int64_t>(a - b)
            : op == '*' ? static_cast<int64_t>(a * b)
            : op == '/' ? value / right
                        : value % right;
  }
  return true;
}

bool Parser::parse() {
  if (!header())
    return false;
  while (token.kind != Token::Kind::End)
    if (!topLevel())
      return false;
  return true;
}

Result<ModuleSyntax> parseModule(std::string_view text, const std::string &file) {
  // The driver's interface ends text with a zero byte, which some callers count as part of it.
  while (!text.empty() && text.back() == '\0')
    text.remove_suffix(1);
  Parser parser(text, file);
  if (!parser.parse())
    return *parser.error;
  return std::move(parser.module);
}

} // namespace heddle::ptx
