// Finds the parts of a support that only tensors decide, and builds the map that joins them.
#include "compiler/forms/TileSkips.h"

#include "compiler/forms/MapKernels.h"
#include "compiler/forms/Terms.h"

#include <algorithm>

namespace heddle::compiler {

using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

namespace {

bool readsTensors(Expr expr) {
  bool found = false;
  pattern::walk(expr, [&](Expr e) {
    found |= e.is(ExprKind::Read) || e.is(ExprKind::Member);
    return !found;
  });
  return found;
}

/// c if the expression depends on keys by `j div c` alone, 1 if by `j` itself or by several c; 0 if
/// not at all.
int64_t blockOf(Expr expr) {
  if (expr.is(ExprKind::Var))
    return expr.getName() == "j" ? 1 : 0;
  bool quotient = expr.is(ExprKind::FloorDiv) && expr[0].is(ExprKind::Var) &&
                  expr[0].getName() == "j" && expr[1].is(ExprKind::Integer);
  if (quotient)
    return std::max<int64_t>(expr[1].integer(), 1);
  int64_t block = 0;
  for (Expr child : expr.children())
    if (int64_t own = blockOf(child); own > 0)
      block = block == 0 || block == own ? own : 1;
  return block;
}

/// Comparisons and memberships that tensors decide key by key, where they stand unnegated.
void collectAtoms(Expr expr, llvm::SmallVectorImpl<Expr> &atoms) {
  if (expr.is(ExprKind::And) || expr.is(ExprKind::Or)) {
    collectAtoms(expr[0], atoms);
    collectAtoms(expr[1], atoms);
    return;
  }
  bool isLeaf = pattern::isComparison(expr.getKind()) || expr.is(ExprKind::Member);
  if (isLeaf && mentions(expr, "j") && readsTensors(expr) && !llvm::is_contained(atoms, expr))
    atoms.push_back(expr);
}

/// `expr` with `j div block` as the variable n'.
Expr inBlock(Expr expr, int64_t block) {
  bool quotient = expr.is(ExprKind::FloorDiv) && expr[0].is(ExprKind::Var) &&
                  expr[0].getName() == "j" && expr[1].isInteger(block);
  if (quotient)
    return makeVar(expr.getContext(), "n'");
  return pattern::mapChildren(expr, [&](Expr child) { return inBlock(child, block); });
}

class SkipPlanner {
public:
  SkipPlanner(Graph &graph, MixProblem &mix, int64_t rows, bool packed)
      : graph(graph), mix(mix), context(mix.context), rows(rows), packed(packed) {}

  std::optional<MapStage> run(int64_t least) {
    collectAtoms(mix.support, atoms);
    if (atoms.empty() || mix.paging.block || mix.lenQ || mix.lenK || mix.startK)
      return std::nullopt;
    // All atoms must speak of the same blocks.
    int64_t block = blockOf(atoms.front());
    if (block < least || llvm::any_of(atoms, [&](Expr atom) { return blockOf(atom) != block; }))
      return std::nullopt;
    bool byHead = llvm::any_of(atoms, [](Expr atom) {
      return llvm::any_of(pattern::freeVars(atom), [](const std::string &name) {
        return name == "h" || name == "hq" || name == "hk" || name == "hv";
      });
    });
    if (byHead && mix.G == 0)
      return std::nullopt;
    MapStage stage{freeName(),
                   {"t'", "n'"},
                   anyOf(block, byHead),
                   "which blocks of keys the rows of a tile look at"};
    std::vector<Extent> shape{graph.extentOf(call("cdiv", {length(mix.Tq), number(rows)})),
                              graph.extentOf(call("cdiv", {length(mix.Tk), number(block)}))};
    if (byHead) {
      stage.vars.insert(stage.vars.begin() + 1, "h'");
      shape.insert(shape.begin() + 1, packed ? mix.Hk : mix.H);
    }
    if (!declare(stage, shape))
      return std::nullopt;
    mix.seen = stage.name;
    mix.block = block;
    mix.supportInBlock = inBlock(mix.support, block);
    mix.always = assume(mix.support, atoms, false);
    mix.listed = listedKeys();
    return stage;
  }

private:
  Expr number(int64_t n) { return makeInteger(context, n); }
  Expr var(const char *name) { return makeVar(context, name); }
  Expr length(const Extent &extent) { return graph.lengthExpr(extent); }

  std::string freeName() {
    std::string name = (packed ? "seen_by_row_" : "seen_") + mix.o;
    while (graph.find(name))
      name += "'";
    return name;
  }

  /// any[g' < G, r' < rows] { atom at the first key of block n' }, as a number.
  Expr anyOf(int64_t block, bool byHead) {
    Expr row = rows == 1 ? var("t'") : sumOf(times(var("t'"), number(rows)), var("r'"));
    Expr position = row;
    if (mix.bottomRight && mix.Tq != mix.Tk)
      position = sumOf(row, minus(length(mix.Tk), length(mix.Tq)));
    Expr head = packed ? sumOf(times(var("h'"), number(mix.G)), var("g'")) : var("h'");
    if (packed && mix.G == 1)
      head = var("h'");
    Expr keyHead = packed ? var("h'") : makeBinary(ExprKind::FloorDiv, head, number(mix.G));
    Expr any;
    for (Expr atom : atoms) {
      Expr one = rename(inBlock(atom, block), {{"row", row},
                                               {"i", position},
                                               {"j", times(var("n'"), number(block))},
                                               {"h", head},
                                               {"hq", head},
                                               {"hk", keyHead},
                                               {"hv", keyHead}});
      any = any ? makeBinary(ExprKind::Or, any, one) : one;
    }
    if (rows > 1)
      any = over("r'", rows, any);
    if (byHead && packed && mix.G > 1)
      any = over("g'", mix.G, any);
    Expr bit = call("select", {any, number(1), number(0)});
    return graph.specialise(pattern::simplify(bit));
  }

  Expr over(const char *name, int64_t count, Expr body) {
    return pattern::makeReduction(ExprKind::Any, name, number(0), number(count), body);
  }

  /// Blocks that lists and masks hold times their keys; 0 where that is not known.
  int64_t listedKeys() {
    int64_t blocks = 0;
    for (Expr atom : atoms) {
      int64_t own = 0;
      if (atom.is(ExprKind::Member))
        own = mix.find(atom[1].getName())->shape.back().fixed.value_or(0);
      else if (atom.is(ExprKind::Eq) && atom[0].is(ExprKind::Read))
        own = graph.chosen.lookup(atom[0].getName());
      if (!own)
        return 0;
      blocks += own;
    }
    return blocks * mix.block;
  }

  /// Adds the workspace, unless the map has no code.
  bool declare(const MapStage &stage, std::vector<Extent> shape) {
    ProblemTensor tensor;
    tensor.name = stage.name;
    tensor.element = mlir::IntegerType::get(context, 8);
    tensor.batched = true;
    tensor.isBuffer = true;
    tensor.shape = std::move(shape);
    tensor.shape.insert(tensor.shape.begin(), mix.B);
    graph.add(tensor);
    if (refuseMap(graph, stage).empty()) {
      mix.add(tensor);
      return true;
    }
    graph.tensors.pop_back();
    return false;
  }

  Graph &graph;
  MixProblem &mix;
  mlir::MLIRContext *context;
  int64_t rows;
  bool packed;
  llvm::SmallVector<Expr> atoms;
};

} // namespace

std::optional<MapStage> planSkips(Graph &graph, MixProblem &mix, int64_t rows, int64_t least,
                                  bool packed) {
  return SkipPlanner(graph, mix, rows, packed).run(least);
}

} // namespace heddle::compiler
