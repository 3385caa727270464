// Text, builders and queries of program, kernel, for and roles.
//   tile.kernel @attn grid(%qt = ceildiv(Tq, 64) desc, %h = Hq, %b = B) stage(abstract) { .. }
#include "ir/tile/TileAssembly.h"

using namespace mlir;

namespace heddle::tile {
using Unresolved = OpAsmParser::UnresolvedOperand;

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
  printOtherAttributes(printer, *this, {"sym_name", "grid", "descending", "repeat", "stage"});
  printRegionBody(printer, getBody(), /*terminator=*/false);
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
  printOtherAttributes(printer, *this, {"operandSegmentSizes", "step", "kind", "support"});
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
  printOtherAttributes(printer, *this, {"roles"});
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
