// Text, builders and queries of map and mma, the two ops that name dimensions.
//   tile.map (%x = %S[i, j], %y = %M[i]) -> [i, j] : (T0, T1) -> T2 { .. }
//   tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : T0, T1, T2
#include "ir/tile/TileAssembly.h"

using namespace mlir;

namespace heddle::tile {
using Unresolved = OpAsmParser::UnresolvedOperand;

static ArrayAttr names(OpBuilder &builder, ArrayRef<StringRef> list) {
  return builder.getStrArrayAttr(list);
}

//===------------------------------------------------------------------------------------------===//
// map
//===------------------------------------------------------------------------------------------===//

void MapOp::build(OpBuilder &builder, OperationState &state, TypeRange results, ValueRange inputs,
                  ArrayAttr inputDims, ArrayAttr dims) {
  state.addTypes(results);
  state.addOperands(inputs);
  state.addAttribute(getInputDimsAttrName(state.name), inputDims);
  state.addAttribute(getDimsAttrName(state.name), dims);
  Block &block = state.addRegion()->emplaceBlock();
  for (Value input : inputs)
    block.addArgument(cast<TileType>(input.getType()).getElementType(), state.location);
}

void MapOp::build(OpBuilder &builder, OperationState &state, TypeRange results, ValueRange inputs,
                  ArrayRef<SmallVector<StringRef>> inputDims, ArrayRef<StringRef> dims,
                  llvm::function_ref<void(OpBuilder &, Location, ValueRange)> body) {
  SmallVector<Attribute> lists;
  for (const SmallVector<StringRef> &list : inputDims)
    lists.push_back(names(builder, list));
  build(builder, state, results, inputs, builder.getArrayAttr(lists), names(builder, dims));
  Block &block = state.regions.front()->front();
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&block);
  body(builder, state.location, block.getArguments());
}

ParseResult MapOp::parse(OpAsmParser &parser, OperationState &state) {
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<Unresolved> inputs;
  SmallVector<Attribute> inputDims;
  ArrayAttr dims;
  Builder &builder = parser.getBuilder();
  if (succeeded(parser.parseOptionalKeyword("mask")))
    state.addAttribute(getMaskAttrName(state.name), builder.getUnitAttr());
  auto input = [&]() -> ParseResult {
    ArrayAttr list;
    if (parser.parseArgument(arguments.emplace_back()) || parser.parseEqual() ||
        parser.parseOperand(inputs.emplace_back()) || parseNames(parser, list))
      return failure();
    inputDims.push_back(list);
    return success();
  };
  FunctionType type;
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, input) || parser.parseArrow() ||
      parseNames(parser, dims) || parser.parseColonType(type) ||
      parser.parseOptionalAttrDictWithKeyword(state.attributes) ||
      parser.resolveOperands(inputs, type.getInputs(), loc, state.operands))
    return failure();
  for (auto [argument, inputType] : llvm::zip(arguments, type.getInputs())) {
    TileType tile = dyn_cast<TileType>(inputType);
    if (!tile)
      return parser.emitError(loc) << "map of " << inputType << ", expected tiles";
    argument.type = tile.getElementType();
  }
  state.addAttribute(getInputDimsAttrName(state.name), builder.getArrayAttr(inputDims));
  state.addAttribute(getDimsAttrName(state.name), dims);
  state.addTypes(type.getResults());
  return parser.parseRegion(*state.addRegion(), arguments);
}

void MapOp::print(OpAsmPrinter &printer) {
  printer << (getMask() ? " mask (" : " (");
  unsigned input = 0;
  llvm::interleaveComma(getInputs(), printer, [&](Value value) {
    printer << getBody().getArgument(input) << " = " << value;
    printNames(printer, cast<ArrayAttr>(getInputDims()[input++]));
  });
  printer << ") -> ";
  printNames(printer, getDims());
  printer << " : ";
  printer.printFunctionalType(*this);
  printOtherAttributes(printer, *this, {"inputDims", "dims", "mask"});
  printRegionBody(printer, getBody(), /*terminator=*/true);
}

SmallVector<int64_t> MapOp::getInputPositions(unsigned input) {
  SmallVector<int64_t> positions;
  for (Attribute name : cast<ArrayAttr>(getInputDims()[input]))
    positions.push_back(llvm::find(getDims(), name) - getDims().begin());
  return positions;
}

ArrayRef<int64_t> MapOp::getExtents() { return cast<TileType>(getResult(0).getType()).getShape(); }

YieldOp MapOp::getYield() { return cast<YieldOp>(getBody().front().getTerminator()); }

//===------------------------------------------------------------------------------------------===//
// mma
//===------------------------------------------------------------------------------------------===//

void MmaOp::build(OpBuilder &builder, OperationState &state, Value a, ArrayRef<StringRef> aDims,
                  Value b, ArrayRef<StringRef> bDims, Value init, ArrayRef<StringRef> cDims,
                  std::optional<Precision> precision) {
  Type element = cast<TileType>(a.getType()).getElementType();
  Precision chosen = precision ? *precision : defaultPrecision(element).value_or(Precision::F32);
  state.addOperands({a, b, init});
  state.addTypes(init.getType());
  state.addAttribute(getADimsAttrName(state.name), names(builder, aDims));
  state.addAttribute(getBDimsAttrName(state.name), names(builder, bDims));
  state.addAttribute(getCDimsAttrName(state.name), names(builder, cDims));
  state.addAttribute(getPrecisionAttrName(state.name),
                     PrecisionAttr::get(builder.getContext(), chosen));
}

static SmallVector<StringRef> contracted(ArrayAttr a, ArrayAttr b, ArrayAttr c) {
  SmallVector<StringRef> list;
  for (Attribute name : a)
    if (llvm::is_contained(b, name) && !llvm::is_contained(c, name))
      list.push_back(cast<StringAttr>(name).getValue());
  return list;
}

SmallVector<StringRef> MmaOp::getContracted() {
  return contracted(getADims(), getBDims(), getCDims());
}

/// `contract(d)` repeats what the names say; a difference is a mistake worth an error.
static ParseResult parseContract(OpAsmParser &parser, ArrayRef<StringRef> expected) {
  SmallVector<StringRef> found;
  auto one = [&] { return parser.parseKeyword(&found.emplace_back()); };
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword("contract") ||
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, one))
    return failure();
  if (ArrayRef<StringRef>(found) == expected)
    return success();
  return parser.emitError(loc) << "contract(" << llvm::join(found, ", ")
                               << ") but the operands share (" << llvm::join(expected, ", ")
                               << ") and the result lacks exactly these";
}

ParseResult MmaOp::parse(OpAsmParser &parser, OperationState &state) {
  Unresolved a, b, init;
  ArrayAttr aDims, bDims, cDims;
  bool async = succeeded(parser.parseOptionalKeyword("async"));
  if (parser.parseOperand(a) || parseNames(parser, aDims) || parser.parseComma() ||
      parser.parseOperand(b) || parseNames(parser, bDims) || parser.parseKeyword("init") ||
      parser.parseOperand(init) || parseNames(parser, cDims) ||
      parseContract(parser, contracted(aDims, bDims, cDims)))
    return failure();
  std::optional<Precision> precision;
  if (succeeded(parser.parseOptionalKeyword("precision"))) {
    StringRef word;
    llvm::SMLoc loc = parser.getCurrentLocation();
    if (parser.parseLParen() || parser.parseKeyword(&word) || parser.parseRParen())
      return failure();
    precision = symbolizePrecision(word);
    if (!precision)
      return parser.emitError(loc)
             << "precision '" << word << "' is none of f32, tf32, tf32x3, bf16, f16, fp8, s8";
  }
  Type aType, bType, cType;
  if (parser.parseOptionalAttrDict(state.attributes) || parser.parseColonType(aType) ||
      parser.parseComma() || parser.parseType(bType) || parser.parseComma() ||
      parser.parseType(cType) || parser.resolveOperand(a, aType, state.operands) ||
      parser.resolveOperand(b, bType, state.operands) ||
      parser.resolveOperand(init, cType, state.operands))
    return failure();
  if (TileType tile = dyn_cast<TileType>(aType); tile && !precision)
    precision = defaultPrecision(tile.getElementType());
  MLIRContext *context = parser.getContext();
  state.addAttribute(getADimsAttrName(state.name), aDims);
  state.addAttribute(getBDimsAttrName(state.name), bDims);
  state.addAttribute(getCDimsAttrName(state.name), cDims);
  state.addAttribute(getPrecisionAttrName(state.name),
                     PrecisionAttr::get(context, precision.value_or(Precision::F32)));
  state.addTypes(cType);
  if (async)
    state.addTypes(TokenType::get(context));
  return success();
}

void MmaOp::print(OpAsmPrinter &printer) {
  printer << (isAsync() ? " async " : " ") << getA();
  printNames(printer, getADims());
  printer << ", " << getB();
  printNames(printer, getBDims());
  printer << " init " << getInit();
  printNames(printer, getCDims());
  printer << " contract(" << llvm::join(getContracted(), ", ") << ")";
  if (getPrecision() != defaultPrecision(getA().getType().getElementType()))
    printer << " precision(" << stringifyPrecision(getPrecision()) << ")";
  printer.printOptionalAttrDict((*this)->getAttrs(), {"aDims", "bDims", "cDims", "precision"});
  printer << " : " << getA().getType() << ", " << getB().getType() << ", " << getInit().getType();
}

} // namespace heddle::tile
