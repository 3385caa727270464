// MixOp's readers, its printer, and the names and defaults its parts share.
// The printer writes clauses in a fixed order and leaves out those that have their default.
#include "ir/pattern/Mix.h"

#include "ir/pattern/Check.h"
#include "ir/pattern/Features.h"
#include "ir/pattern/OpText.h"

using namespace mlir;

namespace heddle::pattern {

//===--- names and defaults ---===//

static std::vector<ContextName> integers(std::initializer_list<const char *> words) {
  std::vector<ContextName> names;
  for (const char *word : words)
    names.push_back({word, ExprType::Integer});
  return names;
}

std::vector<ContextName> supportNames() {
  return integers({"i", "j", "row", "b", "h", "hk", "len_q", "len_k"});
}

std::vector<ContextName> scoreNames() {
  std::vector<ContextName> names = supportNames();
  names.insert(names.begin(), {"s", ExprType::Real});
  return names;
}

std::vector<ContextName> rowNames() {
  return integers({"i", "row", "b", "h", "hk", "len_q", "len_k"});
}

std::vector<ContextName> headNames() { return integers({"h", "hk", "b"}); }
std::vector<ContextName> segmentNames() { return integers({"j", "b", "len_k"}); }

std::vector<ContextName> codecNames(char operand) {
  std::vector<ContextName> names =
      operand == 'q' ? integers({"row", "h", "d", "b"}) : integers({"j", "hk", "d", "b"});
  names.insert(names.begin(), {"x", ExprType::Real});
  return names;
}

ExprAttr defaultSupport(MLIRContext *context) {
  return makeBinary(ExprKind::Le, makeVar(context, "j"), makeVar(context, "i"));
}

ExprAttr defaultScore(ExprAttr width) {
  MLIRContext *context = width.getContext();
  return makeBinary(ExprKind::Mul, makeVar(context, "s"), makeCall(context, "rsqrt", {width}));
}

ArrayRef<StringRef> resultRoles() {
  static constexpr StringRef kRoles[] = {"o",      "lse",  "state", "z",        "k_last",
                                         "v_last", "bank", "pool",  "position", "run_pool"};
  return kRoles;
}

SmallVector<std::string> defaultResultRoles(WeightKind weight, size_t count) {
  SmallVector<std::string> roles = {"o", weight == WeightKind::exp ? "lse" : "state"};
  if (count < roles.size())
    roles.resize(count);
  return roles;
}

//===--- readers ---===//

Value MixOp::input(StringRef role) { return valueNamed(getInputs(), getRoles(), role); }
Value MixOp::output(StringRef role) { return valueNamed(getOutputs(), getResultRoles(), role); }
Value MixOp::read(StringRef name) { return valueNamed(getReads(), getReadNames(), name); }
bool MixOp::hasWriteAxis() { return bool(getWritesAttr()); }
bool MixOp::hasReadAxis() { return bool(getReadoutsAttr()); }

static MixShape shapeOfOp(MixOp op) {
  auto def = op->getParentOfType<DefOp>();
  return std::get<MixShape>(
      shapeOf(factsOf(op), [&](ExprAttr extent) { return canonicalExtent(def, extent); }));
}

ExprAttr MixOp::queryLength() { return shapeOfOp(*this).queryLength; }
ExprAttr MixOp::keyLength() { return shapeOfOp(*this).keyLength; }
ExprAttr MixOp::queryHeads() { return shapeOfOp(*this).queryHeads; }
ExprAttr MixOp::keyHeads() { return shapeOfOp(*this).keyHeads; }
ExprAttr MixOp::valueHeads() { return shapeOfOp(*this).valueHeads; }
ExprAttr MixOp::outputHeads() { return shapeOfOp(*this).outputHeads; }
ExprAttr MixOp::stateHeads() { return shapeOfOp(*this).stateHeads; }
ExprAttr MixOp::keyWidth() { return shapeOfOp(*this).keyWidth; }
ExprAttr MixOp::valueWidth() { return shapeOfOp(*this).valueWidth; }
ExprAttr MixOp::featureWidth() { return shapeOfOp(*this).featureWidth; }

void MixOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  for (Value output : getOutputs())
    setName(output, valueName(output));
}

//===--- printing ---===//

namespace {

class MixPrinter {
public:
  MixPrinter(MixOp op, OpAsmPrinter &printer)
      : op(op), printer(printer), writer(printer, op.getReads(), op.getReadNames()) {}

  void print() {
    printer << " " << op.getQ() << ", " << op.getK();
    if (Value v = op.getV())
      printer << ", " << v;
    printer.increaseIndent();
    printSupport();
    printWeight();
    printScan();
    printSegments();
    printStorage();
    printer.decreaseIndent();
  }

private:
  raw_ostream &clause(StringRef words) {
    printer.printNewline();
    printer << words;
    return printer.getStream();
  }

  void block(StringRef words, ExprAttr expr) {
    if (!expr)
      return;
    clause(words) << " ";
    writer.block(expr);
  }

  void values(std::initializer_list<const char *> roles) {
    const char *separator = " ";
    for (const char *role : roles) {
      printer << separator << op.input(role);
      separator = ", ";
    }
  }

  void printSupport() {
    if (op.input("parent")) {
      clause("tree");
      values({"parent"});
    }
    if (op.getAlign() != Align::bottom_right)
      clause("align ") << stringifyAlign(op.getAlign());
    if (op.getSupport() != defaultSupport(op.getContext()))
      block("support", op.getSupport());
    for (bool query : {true, false}) {
      ArrayAttr features = query ? op.getFeaturesQ() : op.getFeaturesK();
      if (features.empty())
        continue;
      clause(query ? "features q " : "features k ");
      printFeatures(writer, features);
    }
    ArrayType q = arrayType(op.getQ());
    if (op.getScore() != defaultScore(q.dim(q.rank() - 1)))
      block("score", op.getScore());
  }

  void printWeight() {
    clause("weight ") << stringifyWeightKind(op.getWeight());
    if (op.getWeightPower() != 1)
      printer << "(" << op.getWeightPower() << ")";
    if (op.getDecay() != DecayKind::None) {
      clause("decay ") << stringifyDecayKind(op.getDecay());
      printer << (op.getDecaySymmetric() ? " symmetric" : "");
      if (op.getDecayExprAttr()) {
        printer << " ";
        writer.block(op.getDecayExprAttr());
      } else {
        values({"decay"});
      }
    }
    // Under exp the absence of a norm is written out, so that it is never an oversight.
    if (op.getNorm() != NormKind::None || op.getWeight() == WeightKind::exp) {
      clause("norm ") << stringifyNormKind(op.getNorm());
      if (op.getNormArgAttr()) {
        printer << " ";
        writer.block(op.getNormArgAttr());
      }
    }
    block("sink", op.getSinkAttr());
  }

  void printScan() {
    if (op.getUpdate() == UpdateKind::delta) {
      clause("update delta");
      values({"beta"});
    }
    if (op.getUpdate() == UpdateKind::dplr) {
      clause("update dplr");
      values({"a", "y"});
    }
    if (op.getWritesAttr() || op.getReadoutsAttr()) {
      clause("subtokens");
      printCount(" write (", op.getWritesAttr());
      printCount(" read (", op.getReadoutsAttr());
    }
    if (op.input("tap_prev")) {
      clause("taps");
      values({"tap_prev", "tap_here"});
    }
    if (op.getRead() == ReadKind::bonus) {
      clause("read bonus");
      values({"bonus"});
    }
  }

  void printCount(StringRef words, ExprAttr expr) {
    if (!expr)
      return;
    printer << words;
    writer.expr(expr);
    printer << ")";
  }

  void printSegments() {
    if (op.getSegment() != SegmentKind::None) {
      clause("segments ") << stringifySegmentKind(op.getSegment());
      if (op.getSegmentArgAttr()) {
        printer << " ";
        writer.block(op.getSegmentArgAttr());
      }
    }
    if (op.getGate() != GateKind::ones)
      printGate();
    bool running = op.getSegment() == SegmentKind::fenwick;
    if (op.getBank() != (running ? BankKind::running : BankKind::frozen))
      clause("bank ") << stringifyBankKind(op.getBank());
    if (!op.getReset())
      clause("reset no");
  }

  void printGate() {
    clause("gate ") << stringifyGateKind(op.getGate());
    printCount("(", op.getGateTopAttr());
    if (op.getGate() == GateKind::given)
      return values({"gate"});
    if (op.input("router"))
      values({"router"});
    if (op.getPool() != PoolKind::mean_k)
      printer << " pool " << stringifyPoolKind(op.getPool());
    if (op.input("pooled"))
      values({"pooled"});
    if (op.getRenorm() != RenormKind::selected)
      printer << " renorm " << stringifyRenormKind(op.getRenorm());
  }

  void printStorage() {
    if (op.getLayout() != LayoutKind::dense)
      printLayout();
    block("codec q", op.getCodecQAttr());
    block("codec k", op.getCodecKAttr());
    block("codec v", op.getCodecVAttr());
    if (op.getAliasSizeAttr()) {
      clause("alias v { ");
      writer.expr(op.getAliasFirstAttr());
      printer << ", ";
      writer.expr(op.getAliasSizeAttr());
      printer << " }";
    }
    if (op.getStateType())
      clause("state ") << elementWord(*op.getStateType());
    printInitial();
    SmallVector<std::string> usual = defaultResultRoles(op.getWeight(), op.getOutputs().size());
    bool isUsual = usual.size() == op.getResultRoles().size();
    for (size_t n = 0; isUsual && n < usual.size(); ++n)
      isUsual = usual[n] == stringAt(op.getResultRoles(), n);
    if (isUsual)
      return;
    clause("gives");
    for (size_t n = 0; n < op.getResultRoles().size(); ++n)
      printer << (n ? ", " : " ") << stringAt(op.getResultRoles(), n);
  }

  void printLayout() {
    clause("layout ") << stringifyLayoutKind(op.getLayout());
    if (op.getLayout() == LayoutKind::varlen)
      return values({"cu_q", "cu_k"});
    if (op.getLayout() == LayoutKind::paged)
      values({"table"});
    if (op.input("indptr")) {
      printer << " indptr";
      values({"indptr"});
    }
    printer << " len";
    values({"len"});
    if (op.getPageOrder() != PageOrder::nhd)
      printer << " order " << stringifyPageOrder(op.getPageOrder());
    if (op.getRingKeepAttr()) {
      printer << " keep ";
      writer.block(op.getRingKeepAttr());
    }
  }

  void printInitial() {
    const char *separator = "initial ";
    bool first = true;
    for (StringRef role : resultRoles().drop_front(2)) {
      Value value = op.input("in_" + role.str());
      if (!value)
        continue;
      if (first)
        printer.printNewline();
      first = false;
      printer << separator << role << " " << value;
      separator = ", ";
    }
  }

  MixOp op;
  OpAsmPrinter &printer;
  OpWriter writer;
};

} // namespace

void MixOp::print(OpAsmPrinter &printer) { MixPrinter(*this, printer).print(); }

} // namespace heddle::pattern
