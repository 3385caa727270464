// Sub-tokens as rows of pairs: what a token writes R times are R keys side by side, what it reads R
// times are R rows, and every expression sees a row's token:
//
//   k [T, R, H, D]   ->   a map to [T R, H, D], row t R + r;    j   ->   j div R
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// Both lengths are those of the tokens until the mix is read.
Status MixReader::readSubtokens() {
  auto count = [&](bool has, Expr expr, const char *what, int64_t &out) -> Status {
    return has ? reader.fixed(what, graph.extentOf(graph.specialise(expr)), out) : Status();
  };
  HEDDLE_CHECK(
      count(mix.hasWriteAxis(), mix.getWritesAttr(), "number of sub-tokens written", writes));
  HEDDLE_CHECK(
      count(mix.hasReadAxis(), mix.getReadoutsAttr(), "number of sub-tokens read", readouts));
  if (!writes && !readouts)
    return {};
  bool plain = mix.getWeight() == pattern::WeightKind::id && problem.Tq == problem.Tk &&
               mix.getLayout() == pattern::LayoutKind::dense && !mix.input("parent") &&
               mix.getSegment() == pattern::SegmentKind::None && !mix.getAliasSize() &&
               mix.getRead() == pattern::ReadKind::post &&
               mix.getDecay() != pattern::DecayKind::diag;
  if (!plain || writes < 0 || readouts < 0)
    return unsupported("subtokens beside weights other than id, trees, segments, a bonus, a decay "
                       "for each feature, a layout or two lengths have no weights of pairs yet");
  problem.bottomRight = false; // both ends are the same token's
  return {};
}

/// An expression of rows i, row and j as one of their tokens.
Expr MixReader::inTokens(Expr expr) {
  auto token = [&](const char *name, int64_t rows) {
    Expr row = makeVar(context, name);
    return rows ? makeBinary(ExprKind::FloorDiv, row, makeInteger(context, rows)) : row;
  };
  return expr ? graph.specialise(rename(expr, {{"i", token("i", readouts)},
                                               {"row", token("row", readouts)},
                                               {"j", token("j", writes)}}))
              : expr;
}

/// From here on lengths and names are those of rows; the output is a map of the rows.
Status MixReader::leaveSubtokens() {
  if (!writes && !readouts)
    return {};
  for (Expr *expr : {&problem.score, &problem.normArg, &problem.decay, &problem.gate,
                     &problem.entry, &problem.support})
    *expr = inTokens(*expr);
  auto rows = [&](const Extent &tokens, int64_t each) {
    return each ? graph.extentOf(
                      graph.specialise(times(graph.lengthExpr(tokens), makeInteger(context, each))))
                : tokens;
  };
  problem.Tq = rows(problem.Tq, readouts), problem.Tk = rows(problem.Tk, writes);
  if (!readouts)
    return {};
  std::string o = problem.o;
  problem.o = reader.freshName(o + "_rows");
  HEDDLE_CHECK(reader.addBuffer(
      problem.o, true, {problem.Tq, problem.H, graph.extentOf(makeInteger(context, problem.Dv))},
      Float32Type::get(context)));
  Expr t = makeVar(context, "t'"), r = makeVar(context, "r'"), h = makeVar(context, "h");
  Expr row = sumOf(times(t, makeInteger(context, readouts)), r);
  result = MapStage{o,
                    {"t'", "r'", "h", "d"},
                    read(problem.o, {row, h, makeVar(context, "d")}),
                    "rows of a token's reads"};
  return {};
}

} // namespace heddle::compiler
