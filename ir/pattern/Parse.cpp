// Text of a pattern file to a verified module, with diagnostics collected.
// Before MLIR sees the text it is scanned once: characters the language has no use for, brackets
// that nest too deep, and anything at the top that is not pattern.def get a message of their own.
#include "ir/pattern/Parse.h"

#include "ir/pattern/PatternDialect.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <fmt/format.h>

using namespace mlir;

namespace heddle::pattern {

std::string Diagnostic::str() const {
  static constexpr const char *kWords[] = {"error", "warning", "note"};
  std::string place = line           ? fmt::format("{}:{}:{}: ", file, line, column)
                      : file.empty() ? ""
                                     : file + ": ";
  return fmt::format("{}{}: {}", place, kWords[severity], message);
}

std::string Parsed::str() const {
  std::string text;
  for (const Diagnostic &diagnostic : diagnostics)
    text += diagnostic.str() + "\n";
  return text;
}

std::unique_ptr<MLIRContext> makePatternContext() {
  auto context = std::make_unique<MLIRContext>(MLIRContext::Threading::DISABLED);
  context->loadDialect<PatternDialect>();
  return context;
}

//===--- the scan ---===//

namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr int kMaxBrackets = 250;

class Scanner {
public:
  explicit Scanner(StringRef text) : text(text) {}

  // The first thing wrong, or nullopt.
  std::optional<Diagnostic> scan() {
    if (text.size() > kMaxBytes)
      return mistake(
          fmt::format("the file has {} bytes, patterns have at most {}", text.size(), kMaxBytes));
    while (at < text.size() && !found)
      step();
    if (!found && depth > 0)
      return mistake("the file ends inside brackets: a '}', ')' or ']' is missing");
    if (!found && !anyDef)
      return mistake("the file holds no pattern: expected pattern.def @name(..) { .. }");
    return found;
  }

private:
  Diagnostic mistake(std::string message) {
    return {Diagnostic::Error, "", line, int64_t(at - lineStart) + 1, std::move(message)};
  }
  void wrong(std::string message) { found = mistake(std::move(message)); }

  void step() {
    char c = text[at];
    if (c == '\n') {
      ++line;
      lineStart = ++at;
    } else if (text.substr(at).starts_with("//")) {
      at = std::min(text.find('\n', at), text.size());
    } else if (llvm::isAlpha(c) || c == '_') {
      word();
    } else {
      character(c);
      ++at;
    }
  }

  void word() {
    size_t end = at;
    while (end < text.size() && (llvm::isAlnum(text[end]) || text[end] == '_' || text[end] == '.'))
      ++end;
    StringRef name = text.slice(at, end);
    bool value = at > 0 && (text[at - 1] == '%' || text[at - 1] == '@');
    if (depth == 0 && !value && !inHead) {
      if (name != "pattern.def")
        return wrong(fmt::format("expected pattern.def, found '{}'", name.str()));
      anyDef = inHead = true;
    } else if (depth > 0 && name.contains('.') && !value) {
      return wrong(fmt::format("'{}' is no word of the language", name.str()));
    }
    at = end;
  }

  void character(char c) {
    if (c == '(' || c == '[' || c == '{') {
      if (++depth > kMaxBrackets)
        wrong(fmt::format("brackets nest deeper than {}", kMaxBrackets));
      return;
    }
    if (c == ')' || c == ']' || c == '}') {
      if (--depth < 0)
        wrong(fmt::format("'{}' closes nothing", c));
      inHead = inHead && !(c == '}' && depth == 0);
      return;
    }
    if (llvm::isSpace(c) || llvm::isDigit(c) || StringRef("%@,:=<>+-*/.").contains(c))
      return;
    const char *hint = c == '!'   ? ": write a <> b, or not"
                       : c == '&' ? ": write and"
                       : c == '|' ? ": write or, or abs(x)"
                       : c == '^' ? ": write pow(x, y)"
                       : c == '?' ? ": write select(c, a, b)"
                       : c == ';' ? ": ops end with the line"
                                  : "";
    bool printable = c > ' ' && c < 127;
    wrong(printable ? fmt::format("the character '{}' is not part of the language{}", c, hint)
                    : fmt::format("the byte 0x{:02x} is not part of the language: patterns are "
                                  "ASCII outside comments",
                                  uint8_t(c)));
  }

  StringRef text;
  size_t at = 0, lineStart = 0;
  int64_t line = 1;
  int depth = 0;
  bool inHead = false, anyDef = false;
  std::optional<Diagnostic> found;
};

Diagnostic convert(mlir::Diagnostic &diagnostic, StringRef filename) {
  Diagnostic out;
  out.severity = diagnostic.getSeverity() == DiagnosticSeverity::Error     ? Diagnostic::Error
                 : diagnostic.getSeverity() == DiagnosticSeverity::Warning ? Diagnostic::Warning
                                                                           : Diagnostic::Note;
  out.file = filename.str();
  if (auto loc = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>()) {
    out.line = loc.getLine();
    out.column = loc.getColumn();
  }
  out.message = diagnostic.str();
  return out;
}

} // namespace

Parsed parsePatterns(MLIRContext &context, StringRef text, StringRef filename) {
  Parsed parsed;
  if (auto mistake = Scanner(text).scan()) {
    mistake->file = filename.str();
    parsed.diagnostics.push_back(*mistake);
    return parsed;
  }
  ScopedDiagnosticHandler collect(&context, [&](mlir::Diagnostic &diagnostic) {
    parsed.diagnostics.push_back(convert(diagnostic, filename));
    for (mlir::Diagnostic &note : diagnostic.getNotes())
      parsed.diagnostics.push_back(convert(note, filename));
    return success();
  });
  ParserConfig config(&context);
  // A copy ends with a zero byte, which the look-ahead of the parser relies on.
  auto sources = std::make_shared<llvm::SourceMgr>();
  sources->AddNewSourceBuffer(llvm::MemoryBuffer::getMemBufferCopy(text, filename), SMLoc());
  parsed.module = parseSourceFile<ModuleOp>(sources, config);
  return parsed;
}

//===--- finding and printing ---===//

DefOp findPattern(ModuleOp module, StringRef name, std::string &why) {
  SmallVector<DefOp> defs(module.getOps<DefOp>());
  std::string names;
  for (DefOp def : defs)
    names += (names.empty() ? "" : ", ") + def.getSymName().str();
  if (name.empty() && defs.size() == 1)
    return defs[0];
  for (DefOp def : defs)
    if (!name.empty() && def.getSymName() == name)
      return def;
  why = defs.empty()   ? "the file holds no pattern"
        : name.empty() ? "the file holds several patterns, name one of: " + names
                       : "no pattern '" + name.str() + "' in the file, it holds: " + names;
  return {};
}

std::string canonicalText(DefOp def) {
  std::string text;
  llvm::raw_string_ostream os(text);
  def->print(os, OpPrintingFlags().useLocalScope(false));
  return text + "\n";
}

} // namespace heddle::pattern
