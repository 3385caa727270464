// Function bodies: registers, nested braces, labels, instructions and their operands.
#include "runtime/devices/ptx/Parser.h"

#include <fmt/format.h>

namespace heddle::ptx {

namespace {

constexpr size_t kMaxRegisters = size_t{1} << 18;

} // namespace

int Parser::declareRegister(Type type, const std::string &name) {
  const int id = static_cast<int>(current().registers.size());
  current().registers.push_back({type, name});
  scopes.back().registers[name] = {id, -1};
  return id;
}

/// .reg .b32 %r<8>, %x;
bool Parser::registers() {
  std::string word;
  if (!expectWord(word, "a register type"))
    return false;
  const Type type = word[0] == '.' ? parseType(std::string_view(word).substr(1)) : Type::None;
  if (type == Type::None)
    return fail(fmt::format("registers of type '{}' are not supported", word));
  do {
    if (!expectWord(word, "a register's name"))
      return false;
    if (!accept('<')) {
      declareRegister(type, word);
      continue;
    }
    int64_t count = 0;
    if (!expectInteger(count, "a count of registers") || !expect('>', "after a count"))
      return false;
    if (count < 0 || current().registers.size() + static_cast<size_t>(count) > kMaxRegisters)
      return fail(fmt::format("more than {} registers in a function", kMaxRegisters));
    scopes.back().registers[word] = {static_cast<int>(current().registers.size()),
                                     static_cast<int>(count)};
    for (int64_t i = 0; i < count; ++i)
      current().registers.push_back({type, fmt::format("{}{}", word, i)});
  } while (accept(','));
  return expect(';', "after registers") &&
         (current().registers.size() <= kMaxRegisters || fail("too many registers"));
}

/// After "name:": a table of branch targets, a prototype, or the next instruction.
bool Parser::labelled(const std::string &name) {
  if (accept(".branchtargets")) {
    FunctionSyntax::Targets targets{name, {}};
    const int number = static_cast<int>(current().branchTargets.size());
    do {
      std::string label;
      const int line = token.line, column = token.column;
      if (!expectWord(label, "a label"))
        return false;
      scopes.back().uses.push_back(
          {label, number, -1, static_cast<int>(targets.labels.size()), line, column});
      targets.labels.push_back(-1);
    } while (accept(','));
    current().branchTargets.push_back(std::move(targets));
    return expect(';', "after branch targets");
  }
  if (token.is(".callprototype") || token.is(".calltargets")) {
    while (!token.is(';') && token.kind != Token::Kind::End && token.kind != Token::Kind::Bad)
      advance();
    return expect(';', "after a prototype");
  }
  if (!scopes.back().labels.emplace(name, static_cast<int>(current().code.size())).second)
    return fail(fmt::format("label '{}' stands twice", name));
  return true;
}

/// Settles the labels used in the scope; what it does not declare, the scope around it must.
bool Parser::closeScope() {
  Scope closed = std::move(scopes.back());
  scopes.pop_back();
  for (Scope::LabelUse &use : closed.uses) {
    const auto label = closed.labels.find(use.name);
    if (label == closed.labels.end()) {
      if (scopes.empty())
        return failAt(use.line, use.column, fmt::format("label '{}' is not declared", use.name));
      scopes.back().uses.push_back(std::move(use));
      continue;
    }
    if (use.operand < 0)
      current()
          .branchTargets[static_cast<size_t>(use.instruction)]
          .labels[static_cast<size_t>(use.part)] = label->second;
    else
      current()
          .code[static_cast<size_t>(use.instruction)]
          .operands[static_cast<size_t>(use.operand)]
          .integer = label->second;
  }
  return true;
}

bool Parser::body() {
  advance(); // the opening brace
  while (!scopes.empty())
    if (!statement())
      return false;
  return true;
}

bool Parser::statement() {
  if (token.kind == Token::Kind::End)
    return fail(fmt::format("the body of '{}' lacks its closing brace", current().name));
  if (accept(';'))
    return true;
  if (accept('{')) {
    if (scopes.size() > 200)
      return fail("braces nested deeper than 200 levels");
    scopes.emplace_back();
    return true;
  }
  if (accept('}'))
    return closeScope();
  if (accept(".loc"))
    return locDirective();
  if (accept(".file"))
    return fileDirective();
  if (accept(".reg"))
    return registers();
  if (accept(".pragma")) {
    while (token.kind == Token::Kind::String || token.is(','))
      advance();
    return expect(';', "after .pragma");
  }
  if (accept(".extern"))
    return statement();
  constexpr std::pair<std::string_view, Space> kSpaces[] = {{".shared", Space::Shared},
                                                            {".local", Space::Local},
                                                            {".param", Space::Param},
                                                            {".global", Space::Global},
                                                            {".const", Space::Const}};
  for (const auto &[word, space] : kSpaces)
    if (accept(word))
      return variables(space, false, current().variables, true);
  if (token.kind == Token::Kind::Word && ahead.is(':')) {
    const std::string name(token.text);
    advance();
    advance();
    return labelled(name);
  }
  return instruction();
}

/// Labels and tables that an instruction names are settled when their scope is closed.
void Parser::noteLabels(const InstructionSyntax &instruction) {
  const int number = static_cast<int>(current().code.size());
  for (size_t i = 0; i < instruction.operands.size(); ++i) {
    const OperandSyntax &o = instruction.operands[i];
    if (o.kind == OperandSyntax::Kind::Label)
      scopes.back().uses.push_back(
          {o.name, number, static_cast<int>(i), 0, instruction.line, token.column});
  }
}

bool Parser::instruction() {
  InstructionSyntax result;
  result.line = token.line;
  result.cuda = place;
  if (accept('@')) {
    result.guardNegated = accept('!');
    std::string name;
    const Token at = token;
    if (!expectWord(name, "a predicate after '@'"))
      return false;
    result.guard = findRegister(scopes, name);
    if (result.guard < 0 ||
        current().registers[static_cast<size_t>(result.guard)].type != Type::Pred)
      return failAt(at.line, at.column, fmt::format("'{}' is no predicate register", name));
  }
  if (token.kind != Token::Kind::Word || token.text[0] == '.' || token.text[0] == '%')
    return fail(fmt::format("expected an instruction, found {}", found()));
  std::string_view words = token.text;
  size_t dot = words.find('.');
  result.opcode = words.substr(0, dot);
  while (dot != std::string_view::npos) {
    words.remove_prefix(dot + 1);
    dot = words.find('.');
    result.modifiers.emplace_back(words.substr(0, dot));
  }
  advance();
  if (!token.is(';')) {
    do {
      result.operands.emplace_back();
      if (!operand(result.operands.back(), 0))
        return false;
    } while (accept(','));
  }
  if (!token.is(';'))
    return fail(fmt::format("expected ',' or ';' after an operand of {}, found {}",
                            result.spelling(), found()));
  if (result.opcode == "bra")
    for (OperandSyntax &o : result.operands)
      if (o.kind == OperandSyntax::Kind::Symbol)
        o.kind = OperandSyntax::Kind::Label;
  noteLabels(result);
  advance();
  current().code.push_back(std::move(result));
  return true;
}

/// A register, %tid.x, `_`, or a symbol with an offset.
bool Parser::wordOperand(OperandSyntax &into) {
  const Token at = token;
  into.name = token.text;
  advance();
  if (into.name == "_") {
    into.kind = OperandSyntax::Kind::Sink;
    return true;
  }
  into.reg = findRegister(scopes, into.name);
  if (into.reg >= 0) {
    into.kind = OperandSyntax::Kind::Register;
    return true;
  }
  if (into.name[0] == '.')
    return failAt(at.line, at.column, fmt::format("expected an operand, found '{}'", into.name));
  into.reg = findVariable(scopes, into.name);
  if (into.name[0] == '%' && into.reg < 0) {
    into.kind = OperandSyntax::Kind::Special;
    return true;
  }
  into.kind = OperandSyntax::Kind::Symbol;
  if (token.is('+') || token.is('-')) {
    const bool minus = token.is('-');
    advance();
    if (!expression(into.integer))
      return false;
    if (minus)
      into.integer = static_cast<int64_t>(0 - static_cast<uint64_t>(into.integer));
  }
  return true;
}

bool Parser::sequence(OperandSyntax &into, OperandSyntax::Kind kind, char close, int depth) {
  into.kind = kind;
  if (accept(close))
    return true;
  do {
    into.parts.emplace_back();
    if (!operand(into.parts.back(), depth + 1))
      return false;
  } while (accept(','));
  return expect(close, "after a list of operands");
}

/// [%rd1+8], [sym+4], [%rd1, {%r1, %r2}], [0x100]
bool Parser::address(OperandSyntax &into, int depth) {
  into.kind = OperandSyntax::Kind::Address;
  into.parts.emplace_back();
  if (!operand(into.parts.back(), depth + 1))
    return false;
  if (token.is('+') || token.is('-')) {
    const bool minus = token.is('-');
    advance();
    if (!expression(into.integer))
      return false;
    if (minus)
      into.integer = static_cast<int64_t>(0 - static_cast<uint64_t>(into.integer));
  }
  while (accept(',')) {
    into.parts.emplace_back();
    if (!operand(into.parts.back(), depth + 1))
      return false;
  }
  return expect(']', "after an address");
}

bool Parser::operand(OperandSyntax &into, int depth) {
  if (depth > 8)
    return fail("operands nested deeper than 8 levels");
  if (accept('{'))
    return sequence(into, OperandSyntax::Kind::Vector, '}', depth);
  if (accept('['))
    return address(into, depth);
  if (token.is('(') && ahead.kind != Token::Kind::Integer) {
    advance();
    return sequence(into, OperandSyntax::Kind::List, ')', depth);
  }
  if (token.is('!')) {
    advance();
    into.negated = true;
    if (token.kind != Token::Kind::Word)
      return fail(fmt::format("expected a predicate after '!', found {}", found()));
  }
  if (token.kind == Token::Kind::Word && !token.is("WARP_SZ")) {
    if (!wordOperand(into))
      return false;
    if (accept('|')) { // d|p: two results
      OperandSyntax first = std::move(into);
      into = OperandSyntax();
      into.kind = OperandSyntax::Kind::Vector;
      into.name = "|";
      into.parts.push_back(std::move(first));
      into.parts.emplace_back();
      return operand(into.parts.back(), depth + 1);
    }
    return true;
  }
  if (token.kind == Token::Kind::Real || (token.is('-') && ahead.kind == Token::Kind::Real)) {
    const bool negative = accept('-');
    into.kind = OperandSyntax::Kind::Real;
    into.type = token.type;
    const uint64_t sign = token.type == Type::F32 ? uint64_t{1} << 31 : uint64_t{1} << 63;
    into.integer = static_cast<int64_t>(token.bits ^ (negative ? sign : 0));
    advance();
    return true;
  }
  into.kind = OperandSyntax::Kind::Integer;
  return expression(into.integer);
}

} // namespace heddle::ptx
