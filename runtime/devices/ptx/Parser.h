// The recursive-descent parser behind parseModule; one object a text.
#pragma once

#include "runtime/devices/ptx/Lexer.h"
#include "runtime/devices/ptx/Scope.h"
#include "runtime/devices/ptx/Syntax.h"

#include <optional>

namespace heddle::ptx {

/// Every function returns false after fail(), which keeps the first error.
class Parser {
public:
  Parser(std::string_view text, std::string file) : lexer(text) {
    module.file = std::move(file);
    advance();
    advance();
  }
  bool parse();

  ModuleSyntax module;
  std::optional<Error> error;

private:
  // Tokens.
  void advance();
  bool accept(char c);
  bool accept(std::string_view word);
  bool expect(char c, const char *where);
  bool expectWord(std::string &word, const char *what);
  bool expectInteger(int64_t &value, const char *what);
  bool fail(std::string message);
  bool failAt(int line, int column, std::string message);
  std::string found() const;

  // Constant expressions (Expression.cpp).
  bool expression(int64_t &value) { return binary(value, 0, 0); }
  bool binary(int64_t &value, int precedence, int depth);
  bool unary(int64_t &value, int depth);

  // Declarations (Declarations.cpp).
  bool header();
  bool fileDirective();
  bool locDirective();
  bool skipSection();
  bool topLevel();
  bool variables(Space space, bool external, std::vector<VariableSyntax> &into, bool local);
  bool variableType(VariableSyntax &variable, int64_t &elements);
  bool extents(VariableSyntax &variable, int64_t elements);
  bool initializer(VariableSyntax &variable);
  bool initialValues(VariableSyntax &variable, int64_t &offset, int depth);
  bool initialValue(VariableSyntax &variable, int64_t &offset);
  bool function(bool entry, bool external);
  bool parameters(std::vector<VariableSyntax> &into);
  bool performance();

  // Bodies (Body.cpp).
  bool body();
  bool statement();
  bool registers();
  int declareRegister(Type type, const std::string &name);
  bool labelled(const std::string &name);
  bool closeScope();
  bool instruction();
  bool operand(OperandSyntax &into, int depth);
  bool wordOperand(OperandSyntax &into);
  bool address(OperandSyntax &into, int depth);
  bool sequence(OperandSyntax &into, OperandSyntax::Kind kind, char close, int depth);
  void noteLabels(const InstructionSyntax &instruction);
  FunctionSyntax &current() { return module.functions.back(); }

  Lexer lexer;
  Token token, ahead; // the one to judge, and the one after it
  std::vector<Scope> scopes;
  SourcePlace place;
  int64_t variableBytes = 0;
};

} // namespace heddle::ptx
