// Text of array types: seq<f32, T x H x D>, tensor<M x r>. Internal to ir/pattern.
#pragma once

#include "ir/pattern/PatternDialect.h"

namespace heddle::pattern {

class ParseScope;

/// Parses from `<` to `>`. With a scope, unknown names of dims become dims of the pattern; without
/// one, the text is that of a type attribute.
mlir::ParseResult parseArray(mlir::AsmParser &parser, ParseScope *scope, bool batched,
                             ArrayType &out);
/// Prints "<f32, T x H x D>".
void printArray(ArrayType type, llvm::raw_ostream &os, bool marked);

} // namespace heddle::pattern
