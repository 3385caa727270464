// The pattern dialect: what to compute, before an algorithm or a machine is chosen.
// README.md in this folder gives the language; the names of the nine attributes of `mix` follow it.
include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Pattern_Dialect : Dialect {
  let name = "pattern";
  let cppNamespace = "::heddle::pattern";
  let summary = "attention and retention patterns as small graphs of mix, select, merge and map";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    /// Names visible at the point the parser has reached; null outside pattern.def.
    class ParseScope *scope = nullptr;
  }];
}

//===------------------------------ enumerations ------------------------------===//

class Pattern_Enum<string name, list<string> words>
    : I32EnumAttr<name, "", !foreach(i, !range(!size(words)),
                  I32EnumAttrCase<!cond(!eq(words[i], "none"): "None", true: words[i]), i, words[i]>)> {
  let cppNamespace = "::heddle::pattern";
}
// Where query 0 stands: p(i) = i + Tk - Tq, or p(i) = i.
def Pattern_Align : Pattern_Enum<"Align", ["bottom_right", "top_left"]>;
def Pattern_Weight : Pattern_Enum<"WeightKind", ["exp", "sigmoid", "relu", "id"]>;
// constant: per head; scalar: per token and head; diag: and key feature; channel: and value feature.
def Pattern_Decay : Pattern_Enum<"DecayKind", ["none", "constant", "scalar", "diag", "channel"]>;
def Pattern_Norm : Pattern_Enum<"NormKind", ["none", "sum", "max_abs"]>;
def Pattern_Update : Pattern_Enum<"UpdateKind", ["add", "delta", "dplr"]>;
def Pattern_Read : Pattern_Enum<"ReadKind", ["post", "bonus"]>;
def Pattern_Segment : Pattern_Enum<"SegmentKind", ["none", "constant", "fenwick", "logarithmic", "by"]>;
def Pattern_Gate : Pattern_Enum<"GateKind", ["ones", "given", "softmax", "top"]>;
def Pattern_Pool : Pattern_Enum<"PoolKind", ["mean_k", "sum_k", "mean_x"]>;
def Pattern_Renorm : Pattern_Enum<"RenormKind", ["selected", "all"]>;
def Pattern_Bank : Pattern_Enum<"BankKind", ["frozen", "running"]>;
def Pattern_Layout : Pattern_Enum<"LayoutKind", ["dense", "varlen", "paged", "ring"]>;
def Pattern_PageOrder : Pattern_Enum<"PageOrder", ["nhd", "hnd"]>;
def Pattern_Strategy : Pattern_Enum<"SelectStrategy", ["top", "bucket", "tree"]>;
def Pattern_Merge : Pattern_Enum<"MergeKind", ["lse", "sum"]>;

//===------------------------- attributes and types -------------------------===//

class Pattern_AttrDef<string name, string word> : AttrDef<Pattern_Dialect, name> {
  let mnemonic = word;
}

// Use the factories and readers of Expr.h; they keep the invariants that the parameters alone do not.
def Pattern_ExprAttr : Pattern_AttrDef<"Expr", "expr"> {
  let summary = "immutable expression, uniqued by the context";
  let parameters = (ins "::heddle::pattern::ExprKind":$kind, "::mlir::StringAttr":$symbol,
                        "::mlir::Attribute":$value,
                        OptionalArrayRefParameter<"::mlir::Attribute">:$operands);
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// Number of children, and the child at `index`.
    size_t size() const { return getOperands().size(); }
    ExprAttr operator[](size_t index) const;
    /// The children in order.
    std::vector<ExprAttr> children() const;
    /// Name of a Var, Param, Dim, Read, Call or Let; empty for others.
    llvm::StringRef getName() const;
    /// Value of an Integer, a Float, a Bool.
    int64_t integer() const;
    double number() const;
    bool boolean() const;
    bool is(ExprKind kind) const { return getKind() == kind; }
    /// True if this is the integer `value`.
    bool isInteger(int64_t value) const;
    /// The text of the expression as the parser reads it.
    std::string str() const;
  }];
}

def Pattern_FeatureAttr : Pattern_AttrDef<"Feature", "feature"> {
  let summary = "one feature map of q or k: its name and named arguments";
  let parameters = (ins "::mlir::StringAttr":$name, "::mlir::DictionaryAttr":$arguments);
  let assemblyFormat = "`<` $name `,` $arguments `>`";
  let extraClassDeclaration = [{
    /// The expression argument of that name, or null.
    ExprAttr expr(llvm::StringRef argument) const;
    /// The word argument of that name (pairing = half), or empty.
    llvm::StringRef word(llvm::StringRef argument) const;
  }];
}

def Pattern_ParamAttr : Pattern_AttrDef<"Param", "param"> {
  let summary = "a scalar of a pattern: run-time parameter or compile-time constant";
  let parameters = (ins "::mlir::StringAttr":$name, "bool":$constant, "bool":$integer,
                        OptionalParameter<"::mlir::Attribute">:$initial);
  let assemblyFormat = "`<` $name `,` $constant `,` $integer (`,` $initial^)? `>`";
  let extraClassDeclaration = [{
    /// True if a value must be given by the caller.
    bool required() const { return !getInitial(); }
    /// The default as a double; only if not required().
    double number() const;
  }];
}

def Pattern_LetAttr : Pattern_AttrDef<"Let", "let"> {
  let summary = "a derived scalar: let NB = cdiv(Tk, c)";
  let parameters = (ins "::mlir::StringAttr":$name, "::heddle::pattern::ExprAttr":$expr);
  let assemblyFormat = "`<` $name `,` $expr `>`";
}

def Pattern_ArrayType : TypeDef<Pattern_Dialect, "Array"> {
  let mnemonic = "array";
  let summary = "a value of a pattern: seq<..> has an implicit leading dim B, tensor<..> has none";
  let parameters = (ins "bool":$batched, OptionalParameter<"::mlir::Type">:$element,
                        OptionalArrayRefParameter<"::mlir::Attribute">:$dims);
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// Rank without the batch dim.
    size_t rank() const { return getDims().size(); }
    /// Extent `index` (batch not counted): an integer, a Dim, or an expression over dims.
    ExprAttr dim(size_t index) const;
    /// True if elements are integers or booleans.
    bool holdsIntegers() const;
    /// "seq<f32, T x H x D>".
    std::string str() const;
  }];
}

//===-------------------------------- operations --------------------------------===//

class Pattern_Op<string mnemonic, list<Trait> traits = []> : Op<Pattern_Dialect, mnemonic, traits> {
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}
// Ops with values: results carry their names, operands that expressions read carry theirs.
class Pattern_ValueOp<string mnemonic, list<Trait> traits = []>
    : Pattern_Op<mnemonic, !listconcat(traits, [Pure, ParentOneOf<["DefOp"]>,
          DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>])>;
defvar Reads = Variadic<Pattern_ArrayType>;

def Pattern_DefOp : Pattern_Op<"def", [Symbol, IsolatedFromAbove, SingleBlock,
    DeclareOpInterfaceMethods<OpAsmOpInterface, ["getDefaultDialect", "getAsmBlockArgumentNames"]>]> {
  let summary = "a pattern: its tensors, scalars and graph";
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$argNames,
      DefaultValuedAttr<TypedArrayAttrBase<Pattern_ParamAttr, "scalars">, "{}">:$params,
      DefaultValuedAttr<TypedArrayAttrBase<Pattern_LetAttr, "derived scalars">, "{}">:$lets,
      DefaultValuedAttr<TypedArrayAttrBase<Pattern_ExprAttr, "conditions on dims">, "{}">:$conditions);
  let regions = (region SizedRegion<1>:$body);
  let extraClassDeclaration = [{
    /// The tensor argument of that name, or null; its position among the arguments, or -1.
    mlir::BlockArgument argument(llvm::StringRef name);
    int64_t argumentIndex(llvm::StringRef name);
    llvm::StringRef argumentName(size_t index);
    size_t numArguments();
    ArrayType argumentType(size_t index);
    /// The scalar or derived scalar of that name, or null.
    ParamAttr param(llvm::StringRef name);
    LetAttr let(llvm::StringRef name);
    /// Dims named by the argument types, in order of first appearance; B first if any seq is among
    /// them. G is not listed (it is Hq / Hk).
    llvm::SmallVector<std::string> dimNames();
    /// The closing return: its operands are the results, its names their names.
    class ReturnOp returned();
  }];
}

def Pattern_MixOp : Pattern_ValueOp<"mix", [AttrSizedOperandSegments]> {
  let summary = "attention or retention: mixes the rows of v by a weight of q and k";
  // Roles of inputs: q k v, decay, beta, a, y, bonus, tap_prev, tap_here, gate, router, pooled,
  // cu_q, cu_k, table, indptr, len, parent, in_state, in_z, in_k_last, in_v_last, in_bank,
  // in_pool, in_position, in_run_pool. Roles of results: o, lse, state, z, k_last, v_last, bank,
  // pool, position, run_pool.
  let arguments = (ins Reads:$inputs, Reads:$reads,
      StrArrayAttr:$roles, StrArrayAttr:$readNames, StrArrayAttr:$names, StrArrayAttr:$resultRoles,
      DefaultValuedAttr<Pattern_Align, "Align::bottom_right">:$align,
      Pattern_ExprAttr:$support,
      TypedArrayAttrBase<Pattern_FeatureAttr, "feature maps of q">:$featuresQ,
      TypedArrayAttrBase<Pattern_FeatureAttr, "feature maps of k">:$featuresK,
      Pattern_ExprAttr:$score,
      Pattern_Weight:$weight, DefaultValuedAttr<I64Attr, "1">:$weightPower,
      DefaultValuedAttr<Pattern_Decay, "DecayKind::None">:$decay,
      OptionalAttr<Pattern_ExprAttr>:$decayExpr, UnitAttr:$decaySymmetric,
      DefaultValuedAttr<Pattern_Norm, "NormKind::None">:$norm,
      OptionalAttr<Pattern_ExprAttr>:$normArg, OptionalAttr<Pattern_ExprAttr>:$sink,
      DefaultValuedAttr<Pattern_Update, "UpdateKind::add">:$update,
      OptionalAttr<Pattern_ExprAttr>:$writes, OptionalAttr<Pattern_ExprAttr>:$readouts,
      DefaultValuedAttr<Pattern_Read, "ReadKind::post">:$read,
      DefaultValuedAttr<Pattern_Segment, "SegmentKind::None">:$segment,
      OptionalAttr<Pattern_ExprAttr>:$segmentArg,
      DefaultValuedAttr<Pattern_Gate, "GateKind::ones">:$gate,
      OptionalAttr<Pattern_ExprAttr>:$gateTop,
      DefaultValuedAttr<Pattern_Pool, "PoolKind::mean_k">:$pool,
      DefaultValuedAttr<Pattern_Renorm, "RenormKind::selected">:$renorm,
      DefaultValuedAttr<Pattern_Bank, "BankKind::frozen">:$bank,
      DefaultValuedAttr<BoolAttr, "true">:$reset,
      DefaultValuedAttr<Pattern_Layout, "LayoutKind::dense">:$layout,
      DefaultValuedAttr<Pattern_PageOrder, "PageOrder::nhd">:$pageOrder,
      OptionalAttr<Pattern_ExprAttr>:$ringKeep,
      OptionalAttr<Pattern_ExprAttr>:$codecQ, OptionalAttr<Pattern_ExprAttr>:$codecK,
      OptionalAttr<Pattern_ExprAttr>:$codecV,
      OptionalAttr<Pattern_ExprAttr>:$aliasFirst, OptionalAttr<Pattern_ExprAttr>:$aliasSize,
      OptionalAttr<TypeAttr>:$stateType);
  let results = (outs Variadic<Pattern_ArrayType>:$outputs);
  let extraClassDeclaration = [{
    /// The operand (result) of that role, or null.
    mlir::Value input(llvm::StringRef role);
    mlir::Value output(llvm::StringRef role);
    mlir::Value getQ() { return input("q"); }
    mlir::Value getK() { return input("k"); }
    /// Null when v is an alias of features of k: aliasFirst, aliasSize.
    mlir::Value getV() { return input("v"); }
    /// The tensor of log-decays; null for none and for `constant`, whose value is getDecayExpr().
    mlir::Value getDecayInput() { return input("decay"); }
    mlir::Value getBeta() { return input("beta"); }
    mlir::Value getStateInit() { return input("in_state"); }
    mlir::Value getZInit() { return input("in_z"); }
    mlir::Value getPageTable() { return input("table"); }
    /// The value that reads of `name` in the expressions of this op mean, or null.
    mlir::Value read(llvm::StringRef name);
    /// True if the q and k operands carry a sub-token axis after the length: writes > 1 (readouts).
    bool hasWriteAxis();
    bool hasReadAxis();
    /// Extents: lengths (Var len_k for paged and ring keys), heads of q, k, v, of the output (the
    /// largest) and of the state (k's and v's), widths of k before and after its feature maps.
    ExprAttr queryLength();
    ExprAttr keyLength();
    ExprAttr queryHeads();
    ExprAttr keyHeads();
    ExprAttr valueHeads();
    ExprAttr outputHeads();
    ExprAttr stateHeads();
    ExprAttr keyWidth();
    ExprAttr featureWidth();
    ExprAttr valueWidth();
  }];
}

def Pattern_SelectOp : Pattern_ValueOp<"select", [AttrSizedOperandSegments]> {
  let summary = "lists of the best candidates per query, ascending, padded with -1";
  // Roles of inputs (bucket and tree only): route, key, centroids.
  let arguments = (ins Reads:$inputs, Reads:$reads, StrArrayAttr:$roles, StrArrayAttr:$readNames,
      StrArrayAttr:$names, Pattern_Strategy:$strategy, Pattern_ExprAttr:$count,
      StrArrayAttr:$vars, TypedArrayAttrBase<Pattern_ExprAttr, "extents">:$extents,
      OptionalAttr<Pattern_ExprAttr>:$score, OptionalAttr<Pattern_ExprAttr>:$visible,
      OptionalAttr<Pattern_ExprAttr>:$forced,
      OptionalAttr<Pattern_ExprAttr>:$visit, OptionalAttr<Pattern_ExprAttr>:$capacity,
      OptionalAttr<Pattern_ExprAttr>:$block, OptionalAttr<Pattern_ExprAttr>:$fanout,
      OptionalAttr<Pattern_ExprAttr>:$beam, OptionalAttr<Pattern_ExprAttr>:$refresh);
  let results = (outs Pattern_ArrayType:$list);
  let extraClassDeclaration = [{
    mlir::Value input(llvm::StringRef role);
    mlir::Value read(llvm::StringRef name);
  }];
}

def Pattern_MergeOp : Pattern_ValueOp<"merge"> {
  let summary = "joins partial results: by log-sum-exp (o, lse pairs) or by a plain sum";
  // lse: inputs are o1, l1, o2, l2, ..., results o and lse. sum: inputs o1, o2, ..., result o.
  let arguments = (ins Variadic<Pattern_ArrayType>:$inputs, StrArrayAttr:$names, Pattern_Merge:$kind);
  let results = (outs Variadic<Pattern_ArrayType>:$outputs);
}

def Pattern_MapOp : Pattern_ValueOp<"map"> {
  let summary = "a tensor given element by element: %y = map (t, h, d) in (T, H, D) { expr }";
  let arguments = (ins Reads:$reads, StrArrayAttr:$readNames, StrArrayAttr:$names,
      StrArrayAttr:$vars, TypedArrayAttrBase<Pattern_ExprAttr, "extents">:$extents,
      Pattern_ExprAttr:$expr);
  let results = (outs Pattern_ArrayType:$output);
  let extraClassDeclaration = [{
    mlir::Value read(llvm::StringRef name);
  }];
}

def Pattern_ReturnOp : Pattern_Op<"return", [Terminator, Pure, ParentOneOf<["DefOp"]>]> {
  let summary = "the results of a pattern; each goes by the name of its value";
  let arguments = (ins Variadic<Pattern_ArrayType>:$results);
}
