// The parser of expressions and the small lexical helpers the ops share. Internal to ir/pattern.
#pragma once

#include "ir/pattern/ExprUtils.h"

#include "llvm/ADT/StringMap.h"
#include "mlir/IR/OpImplementation.h"

#include <string>
#include <vector>

namespace heddle::pattern {

class ParseScope;

/// Trees are at most this deep, so that no recursive visitor can overflow the stack.
inline constexpr int64_t kMaxDepth = 200;

/// A name that an expression may use besides scalars, dims and tensors.
struct ContextName {
  std::string name;
  ExprType type;
};

/// An expression as parsed: the tree, its type, where it starts, how deep it is.
struct ParsedExpr {
  ExprAttr expr;
  ExprType type = ExprType::Integer;
  llvm::SMLoc loc;
  int64_t depth = 1;
};

/// Parses one expression. `scope` null: the text of an attribute, where parameters and dims are
/// marked and types are not checked.
struct ExprOptions {
  ParseScope *scope = nullptr;
  std::vector<ContextName> names;
  /// In a type of an argument, unknown names are dims.
  bool unknownIsDim = false;
  /// Where the op starts, if known: a comment since then may have swallowed a part.
  llvm::SMLoc start;
  /// A tree clause: depth and ancestor may be called.
  bool inTree = false;
};
mlir::ParseResult parseExpr(mlir::AsmParser &parser, const ExprOptions &options, ParsedExpr &out);

/// The same, and demands a type: Real takes integers too. `what` is the subject of the message.
mlir::ParseResult parseExprOf(mlir::AsmParser &parser, const ExprOptions &options, ExprType type,
                              const llvm::Twine &what, ParsedExpr &out);

/// An error at `loc` in our words only (the parser's own method puts the op's name before them).
mlir::InFlightDiagnostic errorAt(mlir::AsmParser &parser, llvm::SMLoc loc);
/// A hint if a comment stands between `start` and `loc`: // is no division. Else empty.
llvm::StringRef commentHint(llvm::SMLoc start, llvm::SMLoc loc);
/// The word (identifier) at the parser's next token, or empty; nothing is consumed.
llvm::StringRef peekWord(mlir::AsmParser &parser);
/// The characters from the next token on, at most `count`.
llvm::StringRef peekText(mlir::AsmParser &parser, size_t count);
/// True, and consumed, if the next token is that word.
bool takeWord(mlir::AsmParser &parser, llvm::StringRef word);

/// Shortest text that reads back as `value`, with a dot.
std::string floatText(double value);

} // namespace heddle::pattern
