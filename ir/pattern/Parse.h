// Pattern text in, verified module out, with mistakes collected instead of printed.
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <string>
#include <vector>

namespace heddle::pattern {

class DefOp;

/// One mistake or warning; line and column start at 1 and are 0 where unknown.
struct Diagnostic {
  enum Severity { Error, Warning, Note } severity = Error;
  std::string file;
  int64_t line = 0;
  int64_t column = 0;
  std::string message;

  /// "file:line:column: error: message".
  std::string str() const;
};

struct Parsed {
  /// Null if there was an error.
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<Diagnostic> diagnostics;

  bool ok() const { return bool(module); }
  /// All diagnostics, one a line.
  std::string str() const;
};

/// A context with the pattern dialect loaded and threads off.
std::unique_ptr<mlir::MLIRContext> makePatternContext();

/// Parses and verifies the text of a pattern file. `filename` is used in locations only.
Parsed parsePatterns(mlir::MLIRContext &context, llvm::StringRef text, llvm::StringRef filename);

/// The pattern of that name; with an empty name the only one. Null, with the reason in `why`, if
/// there is none or the choice is not unique.
DefOp findPattern(mlir::ModuleOp module, llvm::StringRef name, std::string &why);

/// The text of a pattern with comments dropped and all defaults in one form: equal texts mean equal
/// patterns, and it parses to the same pattern.
std::string canonicalText(DefOp def);

} // namespace heddle::pattern
