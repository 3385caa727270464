// Text forms, builders and small queries of the tile ops. Verifiers are in TileVerify.cpp (one op
// at a time) and TileVerifyKernel.cpp (rules of a whole kernel).
#include "ir/tile/TileAssembly.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;
using namespace heddle::tile;

namespace {

using Unresolved = OpAsmParser::UnresolvedOperand;

ArrayAttr names(OpBuilder &builder, ArrayRef<StringRef> list) {
  return builder.getStrArrayAttr(list);
}

/// Splits offsets into constants and values, as DynamicIndexList prints them.
void splitOffsets(ArrayRef<OpFoldResult> offsets, SmallVectorImpl<Value> &dynamic,
                  SmallVectorImpl<int64_t> &fixed) {
  for (OpFoldResult offset : offsets) {
    if (Attribute attribute = dyn_cast<Attribute>(offset)) {
      fixed.push_back(cast<IntegerAttr>(attribute).getInt());
    } else {
      fixed.push_back(ShapedType::kDynamic);
      dynamic.push_back(cast<Value>(offset));
    }
  }
}

ParseResult parseRegionWithYield(OpAsmParser &parser, OperationState &state,
                                 ArrayRef<OpAsmParser::Argument> arguments) {
  Region *body = state.addRegion();
  if (parser.parseRegion(*body, arguments))
    return failure();
  if (body->empty())
    body->emplaceBlock();
  Block &block = body->front();
  if (block.empty() || !block.back().hasTrait<OpTrait::IsTerminator>()) {
    OpBuilder builder(parser.getContext());
    builder.setInsertionPointToEnd(&block);
    YieldOp::create(builder, parser.getEncodedSourceLoc(parser.getCurrentLocation()));
  }
  return success();
}

void printRegionBody(OpAsmPrinter &printer, Region &region, bool terminator) {
  printer << " ";
  printer.printRegion(region, /*printEntryBlockArgs=*/false, terminator);
}

void dropAttributes(OpAsmPrinter &printer, Operation *op, ArrayRef<StringRef> shown) {
  printer.printOptionalAttrDictWithKeyword(op->getAttrs(), shown);
}

} // namespace

#define GET_OP_CLASSES
#include "ir/tile/TileOps.cpp.inc"

namespace heddle::tile {

//===------------------------------------------------------------------------------------------===//
// program, kernel
//===------------------------------------------------------------------------------------------===//

Operation *ProgramOp::findScalar(StringRef name) {
  for (Operation &op : getBody().front()) {
    if (ExtentOp extent = dyn_cast<ExtentOp>(op); extent && extent.getName() == name)
      return &op;
    if (ParamOp param = dyn_cast<ParamOp>(op); param && param.getName() == name)
      return &op;
  }
  return nullptr;
}

Operation *ProgramOp::findTensor(StringRef name) {
  for (Operation &op : getBody().front()) {
    if (TensorOp tensor = dyn_cast<TensorOp>(op); tensor && tensor.getName() == name)
      return &op;
    if (BufferOp buffer = dyn_cast<BufferOp>(op); buffer && buffer.getName() == name)
      return &op;
  }
  return nullptr;
}

void KernelOp::build(OpBuilder &builder, OperationState &state, StringRef name,
                     ArrayRef<FormulaAttr> grid, ArrayRef<bool> descending, Stage stage) {
  SmallVector<Attribute> formulas(grid.begin(), grid.end());
  state.addAttribute(getSymNameAttrName(state.name), builder.getStringAttr(name));
  state.addAttribute(getGridAttrName(state.name), builder.getArrayAttr(formulas));
  state.addAttribute(getDescendingAttrName(state.name), builder.getDenseBoolArrayAttr(descending));
  state.addAttribute(getStageAttrName(state.name), StageAttr::get(builder.getContext(), stage));
  Block &block = state.addRegion()->emplaceBlock();
  for (size_t dim = 0; dim < grid.size(); ++dim)
    block.addArgument(builder.getIndexType(), state.location);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&block);
  YieldOp::create(builder, state.location);
}

/// `%name = formula`
static ParseResult parseGridIndex(OpAsmParser &parser,
                                  SmallVectorImpl<OpAsmParser::Argument> &arguments,
                                  FormulaAttr &formula) {
  OpAsmParser::Argument &argument = arguments.emplace_back();
  if (parser.parseArgument(argument) || parser.parseEqual())
    return failure();
  argument.type = parser.getBuilder().getIndexType();
  formula = FormulaAttr::parseText(parser);
  return failure(!formula);
}

ParseResult KernelOp::parse(OpAsmParser &parser, OperationState &state) {
  StringAttr name;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<Attribute> grid;
  SmallVector<bool> descending;
  auto gridIndex = [&]() -> ParseResult {
    FormulaAttr formula;
    if (parseGridIndex(parser, arguments, formula))
      return failure();
    grid.push_back(formula);
    descending.push_back(succeeded(parser.parseOptionalKeyword("desc")));
    return success();
  };
  if (parser.parseSymbolName(name, getSymNameAttrName(state.name), state.attributes) ||
      parser.parseKeyword("grid") ||
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, gridIndex))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("repeat"))) {
    FormulaAttr formula;
    if (parser.parseLParen() || parseGridIndex(parser, arguments, formula) || parser.parseRParen())
      return failure();
    state.addAttribute(getRepeatAttrName(state.name), formula);
  }
  StringRef word;
  if (parser.parseKeyword("stage") || parser.parseLParen() || parser.parseKeyword(&word))
    return failure();
  std::optional<Stage> stage = symbolizeStage(word);
  if (!stage)
    return parser.emitError(parser.getNameLoc())
           << "stage '" << word << "' is neither abstract nor concrete";
  Builder &builder = parser.getBuilder();
  state.addAttribute(getGridAttrName(state.name), builder.getArrayAttr(grid));
  state.addAttribute(getDescendingAttrName(state.name), builder.getDenseBoolArrayAttr(descending));
  state.addAttribute(getStageAttrName(state.name), StageAttr::get(builder.getContext(), *stage));
  if (parser.parseRParen() || parser.parseOptionalAttrDictWithKeyword(state.attributes))
    return failure();
  return parseRegionWithYield(parser, state, arguments);
}

void KernelOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printSymbolName(getSymName());
  printer << " grid(";
  unsigned dim = 0;
  llvm::interleaveComma(getGrid().getAsRange<FormulaAttr>(), printer, [&](FormulaAttr formula) {
    printer << getBody().getArgument(dim) << " = ";
    formula.printText(printer.getStream());
    printer << (getDescending()[dim++] ? " desc" : "");
  });
  printer << ") ";
  if (FormulaAttr repeat = getRepeatAttr()) {
    printer << "repeat(" << getBody().getArgument(dim) << " = ";
    repeat.printText(printer.getStream());
    printer << ") ";
  }
  printer << "stage(" << stringifyStage(getStage()) << ")";
  dropAttributes(printer, *this, {"sym_name", "grid", "descending", "repeat", "stage"});
  printRegionBody(printer, getBody(), /*terminator=*/false);
}

//===------------------------------------------------------------------------------------------===//
// Memory
//===------------------------------------------------------------------------------------------===//

void ViewOp::build(OpBuilder &builder, OperationState &state, ViewType type, StringRef name,
                   ArrayRef<Value> indices, Value table) {
  SmallVector<Value> fixed;
  SmallVector<bool> kept;
  for (Value index : indices) {
    kept.push_back(!index);
    if (index)
      fixed.push_back(index);
  }
  build(builder, state, type, builder.getStringAttr(name), fixed,
        builder.getDenseBoolArrayAttr(kept), table);
}

ParseResult ViewOp::parse(OpAsmParser &parser, OperationState &state) {
  StringAttr name;
  SmallVector<Unresolved> indices;
  SmallVector<bool> kept;
  auto index = [&]() -> ParseResult {
    kept.push_back(succeeded(parser.parseOptionalColon()));
    return kept.back() ? success() : parser.parseOperand(indices.emplace_back());
  };
  if (parser.parseAttribute(name, getNameAttrName(state.name), state.attributes) ||
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, index))
    return failure();
  Builder &builder = parser.getBuilder();
  state.addAttribute(getKeptAttrName(state.name), builder.getDenseBoolArrayAttr(kept));
  if (parser.resolveOperands(indices, builder.getIndexType(), state.operands))
    return failure();
  int32_t tables = 0;
  if (succeeded(parser.parseOptionalKeyword("table"))) {
    Unresolved table;
    Type type;
    if (parser.parseLParen() || parser.parseOperand(table) || parser.parseColonType(type) ||
        parser.parseRParen() || parser.resolveOperand(table, type, state.operands))
      return failure();
    tables = 1;
  }
  state.addAttribute(getOperandSegmentSizesAttrName(state.name),
                     builder.getDenseI32ArrayAttr({static_cast<int32_t>(indices.size()), tables}));
  Type type;
  if (parser.parseOptionalAttrDict(state.attributes) || parser.parseColonType(type))
    return failure();
  state.addTypes(type);
  return success();
}

void ViewOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printAttributeWithoutType(getNameAttr());
  printer << " [";
  size_t next = 0;
  llvm::interleaveComma(getKept(), printer, [&](bool kept) {
    if (kept)
      printer << ":";
    else
      printer << getIndices()[next++];
  });
  printer << "]";
  if (Value table = getTable())
    printer << " table(" << table << " : " << table.getType() << ")";
  printer.printOptionalAttrDict((*this)->getAttrs(), {"name", "kept", "operandSegmentSizes"});
  printer << " : " << getType();
}

void LoadOp::build(OpBuilder &builder, OperationState &state, TileType type, Value view,
                   ArrayRef<OpFoldResult> offsets, ValueRange valid, std::optional<double> fill) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, type, view, dynamic, builder.getDenseI64ArrayAttr(fixed), valid,
        fill ? builder.getF64FloatAttr(*fill) : FloatAttr());
}

void StoreOp::build(OpBuilder &builder, OperationState &state, Value tile, Value view,
                    ArrayRef<OpFoldResult> offsets, ValueRange valid) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, tile, view, dynamic, builder.getDenseI64ArrayAttr(fixed), valid);
}

void ReadOp::build(OpBuilder &builder, OperationState &state, Value view,
                   ArrayRef<OpFoldResult> offsets) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, cast<ViewType>(view.getType()).getElementType(), view, dynamic,
        builder.getDenseI64ArrayAttr(fixed));
}

void SliceOp::build(OpBuilder &builder, OperationState &state, TileType type, Value tile,
                    ArrayRef<OpFoldResult> offsets) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, type, tile, dynamic, builder.getDenseI64ArrayAttr(fixed));
}

SmallVector<OpFoldResult> LoadOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
}
SmallVector<OpFoldResult> StoreOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
}
SmallVector<OpFoldResult> ReadOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
}
SmallVector<OpFoldResult> SliceOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
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
  dropAttributes(printer, *this, {"inputDims", "dims", "mask"});
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

//===------------------------------------------------------------------------------------------===//
// for
//===------------------------------------------------------------------------------------------===//

void ForOp::build(OpBuilder &builder, OperationState &state, ValueRange bounds, int64_t step,
                  ValueRange inits, LoopKind kind,
                  llvm::function_ref<void(OpBuilder &, Location, Value, ValueRange)> body) {
  state.addOperands(bounds);
  state.addOperands(inits);
  state.addTypes(inits.getTypes());
  state.addAttribute(getOperandSegmentSizesAttrName(state.name),
                     builder.getDenseI32ArrayAttr({static_cast<int32_t>(bounds.size()),
                                                   static_cast<int32_t>(inits.size()), 0}));
  state.addAttribute(getStepAttrName(state.name), builder.getI64IntegerAttr(step));
  state.addAttribute(getKindAttrName(state.name), LoopKindAttr::get(builder.getContext(), kind));
  Block &block = state.addRegion()->emplaceBlock();
  block.addArgument(builder.getIndexType(), state.location);
  for (Value init : inits)
    block.addArgument(init.getType(), state.location);
  if (!body)
    return;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&block);
  body(builder, state.location, block.getArgument(0), block.getArguments().drop_front());
}

/// `[%lo, %hi)`
static ParseResult parseInterval(OpAsmParser &parser, SmallVectorImpl<Unresolved> &bounds) {
  return failure(parser.parseLSquare() || parser.parseOperand(bounds.emplace_back()) ||
                 parser.parseComma() || parser.parseOperand(bounds.emplace_back()) ||
                 parser.parseRParen());
}

/// `support(attr) at(%x, ..)`, all of it optional.
static ParseResult parseSupport(OpAsmParser &parser, Attribute &support,
                                SmallVectorImpl<Unresolved> &arguments) {
  if (failed(parser.parseOptionalKeyword("support")))
    return success();
  if (parser.parseLParen() || parser.parseAttribute(support) || parser.parseRParen())
    return failure();
  if (failed(parser.parseOptionalKeyword("at")))
    return success();
  return parser.parseOperandList(arguments, OpAsmParser::Delimiter::Paren);
}

ParseResult ForOp::parse(OpAsmParser &parser, OperationState &state) {
  Builder &builder = parser.getBuilder();
  SmallVector<OpAsmParser::Argument> arguments(1);
  SmallVector<Unresolved> bounds, inits, supportArgs;
  arguments[0].type = builder.getIndexType();
  int64_t step = 0;
  if (parser.parseArgument(arguments[0]) || parser.parseEqual() || parseInterval(parser, bounds) ||
      (succeeded(parser.parseOptionalPlus()) && parseInterval(parser, bounds)) ||
      parser.parseKeyword("step") || parser.parseInteger(step))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("iter")) &&
      parser.parseAssignmentList(arguments, inits))
    return failure();
  LoopKind kind = LoopKind::Any;
  if (succeeded(parser.parseOptionalKeyword("kind"))) {
    StringRef word;
    llvm::SMLoc loc = parser.getCurrentLocation();
    if (parser.parseLParen() || parser.parseKeyword(&word) || parser.parseRParen())
      return failure();
    std::optional<LoopKind> found = symbolizeLoopKind(word);
    if (!found)
      return parser.emitError(loc) << "kind '" << word << "' is none of any, edge, full";
    kind = *found;
  }
  Attribute support;
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parseSupport(parser, support, supportArgs) ||
      parser.parseOptionalArrowTypeList(state.types) ||
      parser.parseOptionalAttrDictWithKeyword(state.attributes))
    return failure();
  SmallVector<Type> types(state.types.begin(), state.types.end());
  if (parser.resolveOperands(bounds, builder.getIndexType(), state.operands) ||
      parser.resolveOperands(inits, types, loc, state.operands) ||
      parser.resolveOperands(supportArgs, builder.getIndexType(), state.operands))
    return failure();
  for (auto [argument, type] : llvm::zip(llvm::drop_begin(arguments), types))
    argument.type = type;
  state.addAttribute(getOperandSegmentSizesAttrName(state.name),
                     builder.getDenseI32ArrayAttr({static_cast<int32_t>(bounds.size()),
                                                   static_cast<int32_t>(inits.size()),
                                                   static_cast<int32_t>(supportArgs.size())}));
  state.addAttribute(getStepAttrName(state.name), builder.getI64IntegerAttr(step));
  state.addAttribute(getKindAttrName(state.name), LoopKindAttr::get(builder.getContext(), kind));
  if (support)
    state.addAttribute(getSupportAttrName(state.name), support);
  return parseRegionWithYield(parser, state, arguments);
}

void ForOp::print(OpAsmPrinter &printer) {
  OperandRange bounds = getBounds();
  printer << " " << getIndex() << " = [" << bounds[0] << ", " << bounds[1] << ")";
  if (hasTwoIntervals())
    printer << " + [" << bounds[2] << ", " << bounds[3] << ")";
  printer << " step " << getStep();
  if (!getInits().empty()) {
    printer << " iter(";
    llvm::interleaveComma(llvm::zip(getIterArgs(), getInits()), printer, [&](auto pair) {
      printer << std::get<0>(pair) << " = " << std::get<1>(pair);
    });
    printer << ")";
  }
  if (getKind() != LoopKind::Any)
    printer << " kind(" << stringifyLoopKind(getKind()) << ")";
  if (Attribute support = getSupportAttr()) {
    printer << " support(" << support << ")";
    if (!getSupportArgs().empty())
      printer << " at(" << getSupportArgs() << ")";
  }
  printer.printOptionalArrowTypeList(getResultTypes());
  dropAttributes(printer, *this, {"operandSegmentSizes", "step", "kind", "support"});
  printRegionBody(printer, getBody(), /*terminator=*/!getInits().empty());
}

YieldOp ForOp::getYield() { return cast<YieldOp>(getBody().front().getTerminator()); }

//===------------------------------------------------------------------------------------------===//
// roles
//===------------------------------------------------------------------------------------------===//

/// `name(x2, warps 4, regs 240)`; x1 is not written.
static ParseResult parseRole(OpAsmParser &parser, RoleAttr &role) {
  StringRef name, count;
  int64_t instances = 1, warps = 0, regs = 0;
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&name) || parser.parseLParen())
    return failure();
  llvm::SMLoc countLoc = parser.getCurrentLocation();
  if (failed(parser.parseOptionalKeyword("warps"))) {
    if (parser.parseKeyword(&count) || parser.parseComma() || parser.parseKeyword("warps"))
      return failure();
    if (!count.consume_front("x") || count.getAsInteger(10, instances))
      return parser.emitError(countLoc) << "found '" << count << "', expected instances as in x2";
  }
  if (parser.parseInteger(warps) || parser.parseComma() || parser.parseKeyword("regs") ||
      parser.parseInteger(regs) || parser.parseRParen())
    return failure();
  MLIRContext *context = parser.getContext();
  role = RoleAttr::getChecked([&] { return parser.emitError(loc); }, context,
                              StringAttr::get(context, name), instances, warps, regs);
  return failure(!role);
}

ParseResult RolesOp::parse(OpAsmParser &parser, OperationState &state) {
  SmallVector<Attribute> roles;
  if (parser.parseOptionalAttrDictWithKeyword(state.attributes) || parser.parseLBrace())
    return failure();
  while (failed(parser.parseOptionalRBrace())) {
    RoleAttr role;
    if (parseRole(parser, role) || parseRegionWithYield(parser, state, {}))
      return failure();
    roles.push_back(role);
  }
  state.addAttribute(getRolesAttrName(state.name), parser.getBuilder().getArrayAttr(roles));
  return success();
}

void RolesOp::print(OpAsmPrinter &printer) {
  dropAttributes(printer, *this, {"roles"});
  printer << " {";
  printer.increaseIndent();
  for (auto [attribute, region] : llvm::zip(getRoles(), getBodies())) {
    RoleAttr role = cast<RoleAttr>(attribute);
    printer.printNewline();
    printer << role.getName().getValue() << "(";
    if (role.getCount() != 1)
      printer << "x" << role.getCount() << ", ";
    printer << "warps " << role.getWarps() << ", regs " << role.getRegs() << ")";
    printRegionBody(printer, region, /*terminator=*/false);
  }
  printer.decreaseIndent();
  printer.printNewline();
  printer << "}";
}

} // namespace heddle::tile
