// Everything of a module outside function bodies: version, target, variables, signatures.
#include "runtime/devices/ptx/Parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace heddle::ptx {

namespace {

constexpr int64_t kMaxVariableBytes = int64_t{1} << 30;

Space spaceOf(std::string_view word) {
  if (word == ".global")
    return Space::Global;
  if (word == ".const")
    return Space::Const;
  if (word == ".shared")
    return Space::Shared;
  if (word == ".local")
    return Space::Local;
  if (word == ".param")
    return Space::Param;
  return word == ".reg" ? Space::Reg : Space::Generic;
}

} // namespace

bool Parser::header() {
  if (!accept(".version"))
    return fail(fmt::format("PTX begins with .version, found {}", found()));
  if (token.kind != Token::Kind::Real)
    return fail(fmt::format("expected a version such as 8.0, found {}", found()));
  const double version = std::bit_cast<double>(token.bits);
  if (!(version >= 6.0 && version < 10.0))
    return fail(fmt::format("PTX {:.1f} is not known; 6.0 to 9.9 are", version));
  module.versionMajor = static_cast<int>(version);
  module.versionMinor = static_cast<int>(std::lround((version - module.versionMajor) * 10));
  advance();
  if (!accept(".target"))
    return fail(fmt::format("expected .target after .version, found {}", found()));
  if (!expectWord(module.target, "a target such as sm_80"))
    return false;
  std::string option;
  while (accept(','))
    if (!expectWord(option, "a target option"))
      return false;
  if (accept(".address_size")) {
    int64_t bits = 0;
    if (!expectInteger(bits, "an address size"))
      return false;
    if (bits != 64)
      return fail("addresses of 32 bits are not supported: compile for .address_size 64");
  }
  return true;
}

/// .file 1 "kernel.cu" [, time, size]
bool Parser::fileDirective() {
  int64_t number = 0;
  if (!expectInteger(number, "a file number"))
    return false;
  if (number < 0 || number > 65535)
    return fail("a file number beyond 65535");
  if (token.kind != Token::Kind::String)
    return fail(fmt::format("expected a file name, found {}", found()));
  if (module.files.size() <= static_cast<size_t>(number))
    module.files.resize(static_cast<size_t>(number) + 1);
  module.files[static_cast<size_t>(number)] = token.text;
  advance();
  int64_t ignored = 0;
  while (accept(','))
    if (!expectInteger(ignored, "a time or size"))
      return false;
  return true;
}

/// .loc 1 25 3 [, function_name $L__info_string1 [+ 8], inlined_at 1 123 3]
bool Parser::locDirective() {
  int64_t file = 0, line = 0, column = 0;
  if (!expectInteger(file, "a file number") || !expectInteger(line, "a line") ||
      !expectInteger(column, "a column"))
    return false;
  place = {static_cast<int>(file), static_cast<int>(line)};
  while (accept(',')) {
    std::string word;
    if (!expectWord(word, "function_name or inlined_at"))
      return false;
    if (word == "function_name") {
      if (!expectWord(word, "a label"))
        return false;
      if (accept('+') && !expectInteger(column, "an offset"))
        return false;
    } else if (!expectInteger(file, "a file number") || !expectInteger(line, "a line") ||
               !expectInteger(column, "a column")) {
      return false;
    }
  }
  return true;
}

/// .section .debug_str { ... }: debugging data, of no meaning here.
bool Parser::skipSection() {
  std::string name;
  if (!expectWord(name, "a section name") || !expect('{', "to open a section"))
    return false;
  while (!token.is('}')) {
    if (token.kind == Token::Kind::End)
      return fail("a section without its closing brace");
    advance();
  }
  advance();
  return true;
}

bool Parser::topLevel() {
  if (accept(".file"))
    return fileDirective();
  if (accept(".loc"))
    return locDirective();
  if (accept(".section"))
    return skipSection();
  if (accept(".pragma")) {
    while (token.kind == Token::Kind::String || token.is(','))
      advance();
    return expect(';', "after .pragma");
  }
  if (accept(';'))
    return true;
  bool external = false;
  while (token.is(".visible") || token.is(".extern") || token.is(".weak") || token.is(".common")) {
    external = external || token.is(".extern");
    advance();
  }
  if (accept(".entry"))
    return function(true, external);
  if (accept(".func"))
    return function(false, external);
  const Space space = token.kind == Token::Kind::Word ? spaceOf(token.text) : Space::Generic;
  if (space != Space::Global && space != Space::Const && space != Space::Shared)
    return fail(fmt::format(
        "expected .entry, .func, .global, .const or .shared at module level, found {}", found()));
  advance();
  return variables(space, external, module.variables, false);
}

/// [.attribute(..)] [.align 16] [.ptr .global .align 16] [.v4] .f32
bool Parser::variableType(VariableSyntax &variable, int64_t &elements) {
  elements = 1;
  int64_t align = 0, ignored = 0;
  bool pointee = false;
  while (token.kind == Token::Kind::Word) {
    const std::string_view word = token.text;
    if (word == ".align") {
      advance();
      int64_t value = 0;
      if (!expectInteger(value, "an alignment"))
        return false;
      if (value < 1 || value > 4096 || (value & (value - 1)) != 0)
        return fail(fmt::format("an alignment of {} is no power of two up to 4096", value));
      (pointee ? ignored : align) = value;
    } else if (word == ".ptr") {
      pointee = true;
      advance();
    } else if (word == ".v2" || word == ".v4" || word == ".v8") {
      elements = word[2] - '0';
      advance();
    } else if (word == ".attribute") {
      advance();
      while (!token.is(')') && token.kind != Token::Kind::End)
        advance();
      if (!expect(')', "after .attribute"))
        return false;
    } else if (pointee && spaceOf(word) != Space::Generic) {
      advance();
    } else if (word[0] == '.' && parseType(word.substr(1)) != Type::None) {
      if (variable.bytes != 0)
        break;
      variable.type = parseType(word.substr(1));
      variable.bytes = variable.type == Type::Pred ? 4 : bitsOf(variable.type) / 8;
      advance();
    } else {
      break;
    }
  }
  if (variable.bytes == 0)
    return fail(fmt::format("expected a type such as .b32, found {}", found()));
  variable.align = align ? align : variable.bytes * elements;
  return true;
}

bool Parser::extents(VariableSyntax &variable, int64_t elements) {
  int64_t count = elements;
  while (accept('[')) {
    int64_t extent = 0;
    if (!token.is(']')) {
      if (!expression(extent))
        return false;
      if (extent < 0 || extent > kMaxVariableBytes)
        return fail(fmt::format("array '{}' has an extent out of bounds", variable.name));
    }
    count *= extent;
    if (count > kMaxVariableBytes)
      return fail(fmt::format("array '{}' is larger than 1 GiB", variable.name));
    if (!expect(']', "after an extent"))
      return false;
  }
  variable.bytes *= count;
  variableBytes += variable.bytes;
  return variableBytes <= kMaxVariableBytes || fail("variables of more than 1 GiB in all");
}

bool Parser::variables(Space space, bool external, std::vector<VariableSyntax> &into, bool local) {
  VariableSyntax declared;
  declared.space = space;
  declared.external = external;
  int64_t elements = 1;
  if (!variableType(declared, elements))
    return false;
  do {
    VariableSyntax variable = declared;
    variable.line = token.line;
    if (!expectWord(variable.name, "a variable's name") || !extents(variable, elements))
      return false;
    if (accept('=') && !initializer(variable))
      return false;
    if (local)
      scopes.back().variables[variable.name] = static_cast<int>(into.size());
    into.push_back(std::move(variable));
  } while (accept(','));
  return expect(';', "after a declaration");
}

bool Parser::initialValue(VariableSyntax &variable, int64_t &offset) {
  const int64_t width = bitsOf(variable.type) / 8;
  if (width < 1 || width > 8)
    return fail("an initial value of this type is not supported");
  if (offset + width > variable.bytes)
    return fail(fmt::format("'{}' has more initial values than elements", variable.name));
  uint64_t bits = 0;
  if (token.kind == Token::Kind::Word && !token.is("WARP_SZ")) {
    VariableSyntax::Relocation relocation{offset, "", 0, accept("generic")};
    const bool parenthesis = accept('(');
    if (!expectWord(relocation.symbol, "a symbol") ||
        (parenthesis && !expect(')', "after a symbol")))
      return false;
    if (accept('+') && !expression(relocation.addend))
      return false;
    if (width != 8)
      return fail("the address of a symbol takes an element of 64 bits");
    variable.relocations.push_back(std::move(relocation));
  } else if (token.kind == Token::Kind::Real ||
             (token.is('-') && ahead.kind == Token::Kind::Real)) {
    const bool negative = accept('-');
    double value = token.type == Type::F32 ? std::bit_cast<float>(static_cast<uint32_t>(token.bits))
                                           : std::bit_cast<double>(token.bits);
    value = negative ? -value : value;
    bits = token.type == Type::F32 && !negative ? token.bits
           : width == 4                         ? std::bit_cast<uint32_t>(static_cast<float>(value))
                                                : std::bit_cast<uint64_t>(value);
    advance();
  } else {
    int64_t value = 0;
    if (!expression(value))
      return false;
    bits = static_cast<uint64_t>(value);
  }
  std::memcpy(variable.initial.data() + offset, &bits, static_cast<size_t>(width));
  offset += width;
  return true;
}

bool Parser::initialValues(VariableSyntax &variable, int64_t &offset, int depth) {
  if (depth > 8)
    return fail("initial values nested deeper than 8 levels");
  if (!accept('{'))
    return initialValue(variable, offset);
  if (accept('}'))
    return true;
  do {
    if (!initialValues(variable, offset, depth + 1))
      return false;
  } while (accept(','));
  return expect('}', "after initial values");
}

bool Parser::initializer(VariableSyntax &variable) {
  if (variable.space == Space::Shared)
    return fail("a shared variable takes no initial value");
  variable.initial.resize(static_cast<size_t>(variable.bytes));
  int64_t offset = 0;
  return initialValues(variable, offset, 0);
}

/// (.param .align 8 .b8 p_0[96], .reg .b32 %x)
bool Parser::parameters(std::vector<VariableSyntax> &into) {
  if (accept(')'))
    return true;
  do {
    VariableSyntax parameter;
    parameter.line = token.line;
    parameter.space = accept(".reg") ? Space::Reg : Space::Param;
    if (parameter.space == Space::Param && !accept(".param"))
      return fail(fmt::format("expected .param or .reg, found {}", found()));
    int64_t elements = 1;
    if (!variableType(parameter, elements) || !expectWord(parameter.name, "a parameter's name") ||
        !extents(parameter, elements))
      return false;
    if (parameter.space == Space::Reg)
      parameter.reg = declareRegister(parameter.type, parameter.name);
    into.push_back(std::move(parameter));
  } while (accept(','));
  return expect(')', "after parameters");
}

/// .maxntid 256, 1, 1   .reqntid 128   .minnctapersm 2   .reqnctapercluster 2, 1, 1 ...
bool Parser::performance() {
  while (token.kind == Token::Kind::Word) {
    const std::string name(token.text);
    if (name == ".noreturn" || name == ".explicitcluster") {
      advance();
      continue;
    }
    if (name == ".pragma") {
      advance();
      while (token.kind == Token::Kind::String || token.is(','))
        advance();
      if (!expect(';', "after .pragma"))
        return false;
      continue;
    }
    constexpr std::string_view kKnown[] = {".maxntid",        ".reqntid",
                                           ".minnctapersm",   ".maxnctapersm",
                                           ".maxnreg",        ".reqnctapercluster",
                                           ".maxclusterrank", ".blocksareclusters",
                                           ".abi_preserve",   ".abi_preserve_control"};
    if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown))
      return fail(fmt::format("directive {} of a function is not known", name));
    advance();
    int64_t values[3] = {1, 1, 1};
    for (int i = 0; i < 3 && token.kind == Token::Kind::Integer; ++i) {
      if (!expectInteger(values[i], "a count"))
        return false;
      if (values[i] < 0 || values[i] > INT32_MAX)
        return fail(fmt::format("{} is out of bounds", name));
      if (!accept(','))
        break;
    }
    FunctionSyntax &f = current();
    int64_t *into = name == ".maxntid"             ? f.maxThreads
                    : name == ".reqntid"           ? f.requiredThreads
                    : name == ".reqnctapercluster" ? f.cluster
                                                   : nullptr;
    if (into)
      std::copy(values, values + 3, into);
  }
  return true;
}

bool Parser::function(bool entry, bool external) {
  module.functions.emplace_back();
  current().entry = entry;
  current().line = token.line;
  scopes.assign(1, Scope());
  while (accept(".noreturn"))
    ;
  if (!entry && accept('(') && !parameters(current().results))
    return false;
  if (!expectWord(current().name, "a function's name"))
    return false;
  if (accept('(') && !parameters(current().params))
    return false;
  if (!performance())
    return false;
  if (accept(';'))
    return true;
  if (!token.is('{'))
    return fail(fmt::format("expected ';' or the body of '{}', found {}", current().name, found()));
  current().defined = true;
  return body();
}

} // namespace heddle::ptx
