// What the parsers and printers of the ops share. Internal to ir/pattern.
#pragma once

#include "ir/pattern/ExprParser.h"
#include "ir/pattern/ParseScope.h"

#include <functional>
#include <map>

namespace heddle::pattern {

/// Names a user may not give to scalars and dims: they have a meaning inside expressions.
bool isReserved(llvm::StringRef name);
/// Reduction words may not name values: sum[..] would read both ways.
bool isReductionWord(llvm::StringRef name);

/// Parses one op inside a pattern: operands by name with their types from the scope, expressions
/// with the tensors they read, names of the results.
class OpReader {
public:
  OpReader(mlir::OpAsmParser &parser, mlir::OperationState &state)
      : parser(parser), state(state), context(parser.getContext()), scope(scopeOf(context)) {}

  /// Refuses an op outside a pattern and unnamed results; takes between `least` and `most` names.
  mlir::ParseResult begin(llvm::StringRef op, size_t least, size_t most);
  /// %name; gives its type and appends the value to `values`.
  mlir::ParseResult operand(llvm::SmallVectorImpl<mlir::Value> &values, ArrayType &type);
  /// { expr } of that type. Notes the tensors it reads.
  mlir::ParseResult block(const std::vector<ContextName> &names, ExprType type,
                          const llvm::Twine &what, ExprAttr &out);
  /// The same with an optional header of names before it: (i, j) { expr }.
  mlir::ParseResult headedBlock(const std::vector<ContextName> &names, ExprType type,
                                const llvm::Twine &what, ExprAttr &out);
  /// A positive integer in parentheses or braces: top(k), top { k }.
  mlir::ParseResult bracketed(const llvm::Twine &what, ExprAttr &out);
  /// An expression without braces.
  mlir::ParseResult expr(const std::vector<ContextName> &names, ExprType type,
                         const llvm::Twine &what, ExprAttr &out);
  /// (t, h) in (T, H)
  mlir::ParseResult ranges(llvm::SmallVectorImpl<std::string> &vars,
                           llvm::SmallVectorImpl<ExprAttr> &extents);
  /// One of `words`; its index.
  mlir::ParseResult word(llvm::StringRef what, llvm::ArrayRef<llvm::StringRef> words,
                         size_t &index);
  /// Resolves the tensors read by the expressions so far, in order of name.
  mlir::ParseResult finishReads(llvm::SmallVectorImpl<mlir::Value> &values,
                                llvm::SmallVectorImpl<std::string> &names);
  /// Adds the results' types and defines their names in the scope.
  void define(llvm::ArrayRef<ArrayType> types);

  void setExpr(llvm::StringRef attribute, ExprAttr expr) { state.addAttribute(attribute, expr); }
  void setStrings(llvm::StringRef attribute, llvm::ArrayRef<std::string> strings);
  void setExprs(llvm::StringRef attribute, llvm::ArrayRef<ExprAttr> exprs);
  void setSegments(llvm::ArrayRef<int32_t> sizes);
  mlir::InFlightDiagnostic error(llvm::SMLoc loc) { return errorAt(parser, loc); }

  mlir::OpAsmParser &parser;
  mlir::OperationState &state;
  mlir::MLIRContext *context;
  ParseScope *scope;
  std::vector<std::string> names; ///< of the results
  bool inTree = false;
  llvm::SMLoc start;
  std::string last;                      ///< name of the operand read last
  ExprType lastType = ExprType::Integer; ///< of the expression read last

private:
  std::map<std::string, llvm::SMLoc> readNames;
};

/// True if an expression of a map needs the batch index: reads a seq without giving it, or names b.
bool usesBatch(ExprAttr expr, llvm::function_ref<ArrayType(llvm::StringRef)> typeOfTensor);

/// Expressions of an op as they print: tensors under the names their values have now.
class OpWriter {
public:
  OpWriter(mlir::OpAsmPrinter &printer, mlir::ValueRange reads, mlir::ArrayAttr readNames);
  void expr(ExprAttr expr);
  void block(ExprAttr expr);
  /// (t, h) in (T, H)
  void ranges(mlir::ArrayAttr vars, mlir::ArrayAttr extents);
  void values(mlir::ValueRange values);

  mlir::OpAsmPrinter &printer;

private:
  llvm::StringMap<std::string> renamed;
};

/// String at `index` of an array of strings.
llvm::StringRef stringAt(mlir::ArrayAttr array, size_t index);
/// The operand of `values` whose entry in `names` is `name`, or null.
mlir::Value valueNamed(mlir::ValueRange values, mlir::ArrayAttr names, llvm::StringRef name);

} // namespace heddle::pattern
