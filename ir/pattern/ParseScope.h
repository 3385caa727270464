// What is known about a pattern while its text is being parsed: values with their types, scalars,
// dims, and which of them were used. Internal to ir/pattern.
#pragma once

#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/PatternDialect.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

#include <string>
#include <vector>

namespace heddle::pattern {

class ParseScope {
public:
  struct Scalar {
    ExprType type;
    llvm::SMLoc loc;
  };
  struct Entry {
    ArrayType type;
    llvm::SMLoc loc;
  };

  std::vector<std::string> valueNames; ///< in order of definition
  llvm::StringMap<Entry> values;
  llvm::StringMap<std::string> spellings;
  std::vector<std::string> scalarNames; ///< parameters, constants and lets in order
  llvm::StringMap<Scalar> scalars;
  std::vector<std::string> dims;            ///< dims that stand bare in an argument's type
  llvm::StringMap<llvm::SMLoc> inexactDims; ///< first use of dims inside expressions of types
  std::vector<LetAttr> lets;
  llvm::StringSet<> used; ///< scalars and values that something reads

  /// Adds a value; its name is new.
  void defineValue(llvm::StringRef name, ArrayType type, llvm::SMLoc loc);
  /// "%name", stored as long as the scope lives.
  llvm::StringRef spelling(llvm::StringRef name) const;
  bool hasDim(llvm::StringRef name) const;
  /// `extent` with lets replaced, simplified: equal extents are the same pointer.
  ExprAttr canonical(ExprAttr extent) const;
  /// Dims, with B, and with G where Hq and Hk are known.
  bool isExtent(llvm::StringRef name) const;
};

/// The scope of the pattern being parsed; null outside one.
ParseScope *scopeOf(mlir::MLIRContext *context);

/// ", did you mean W?" if a candidate is near `name`, else the list of candidates.
std::string suggest(llvm::StringRef name, llvm::ArrayRef<std::string> candidates);

} // namespace heddle::pattern
