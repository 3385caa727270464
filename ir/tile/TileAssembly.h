// Pieces of text that several ops share: used by the generated parsers of TileOps.cpp.inc and by
// the hand-written ones.
#pragma once

#include "ir/tile/TileDialect.h"

namespace heddle::tile {

/// [f, g, ..] as an array of FormulaAttr.
mlir::ParseResult parseFormulas(mlir::AsmParser &parser, mlir::ArrayAttr &formulas);
void printFormulas(mlir::AsmPrinter &printer, mlir::Operation *, mlir::ArrayAttr formulas);

/// 0.0, 1.5e-3, 7, -inf, inf or nan as an f64 attribute.
mlir::ParseResult parseNumber(mlir::AsmParser &parser, mlir::FloatAttr &value);
mlir::OptionalParseResult parseOptionalNumber(mlir::AsmParser &parser, mlir::FloatAttr &value);
void printNumber(mlir::AsmPrinter &printer, mlir::Operation *, mlir::FloatAttr value);

/// dim(1)
mlir::ParseResult parseDim(mlir::AsmParser &parser, mlir::IntegerAttr &dim);
void printDim(mlir::AsmPrinter &printer, mlir::Operation *, mlir::IntegerAttr dim);

/// permute(1, 0), or nothing.
mlir::OptionalParseResult parsePermutation(mlir::AsmParser &parser,
                                           mlir::DenseI64ArrayAttr &permute);
void printPermutation(mlir::AsmPrinter &printer, mlir::Operation *,
                      mlir::DenseI64ArrayAttr permute);

/// [i, j] as an array of strings.
mlir::ParseResult parseNames(mlir::AsmParser &parser, mlir::ArrayAttr &names);
void printNames(mlir::AsmPrinter &printer, mlir::ArrayAttr names);

/// A region with these arguments; a missing terminator becomes an empty tile.yield.
mlir::ParseResult parseRegionWithYield(mlir::OpAsmParser &parser, mlir::OperationState &state,
                                       llvm::ArrayRef<mlir::OpAsmParser::Argument> arguments);
void printRegionBody(mlir::OpAsmPrinter &printer, mlir::Region &region, bool terminator);

/// `attributes {..}` with all but those that the op's own text shows.
void printOtherAttributes(mlir::OpAsmPrinter &printer, mlir::Operation *op,
                          llvm::ArrayRef<llvm::StringRef> shown);

} // namespace heddle::tile
