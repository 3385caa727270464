// One register block of a product with lanes along a result dimension; private to this folder.
#pragma once

#include "compiler/targets/cpu/Evaluator.h"

namespace heddle::compiler::cpu {

/// OuterProduct(evaluator, op).emit() makes the evaluator's block of the product and has it
/// remembered.
class OuterProduct {
public:
  OuterProduct(Evaluator &evaluator, tile::MmaOp op);
  void emit();

private:
  bool arePacked();
  void askForNext();
  Value commonClip();
  void findRange(Value clip);
  void findRows();
  void findLines();
  void planAsking();
  const LocalPlace *weightsInPairs();
  /// What is asked for when that row is read.
  void askWith(Value row);
  Values lanesAt(const Coord &sum);
  Value factorAt(size_t k, const Coord &sum);
  /// The sums with one more row, or pair of rows, of the operands.
  Values add(Value c, mlir::ValueRange carried);
  Values addPairs(const LocalPlace &weights, Value c, mlir::ValueRange carried);

  Evaluator &v;
  VectorBuilder &e;
  const RegisterBlock &block;
  tile::MmaOp op;
  Roles roles;
  bool pairs;                              ///< of bf16, by dot products
  int64_t step, extent;                    ///< of the sum
  Value begin, end;                        ///< what of it is not masked
  std::vector<Evaluator::Share> shares;    ///< asked for in the turns of the loop
  bool walksRows = false;                  ///< .. of the lanes' operand, and once
  int64_t part = 0, parts = 1;             ///< which of a row's parts the block reads
  const GlobalPlace *walkedRows = nullptr; ///< where those rows lie in memory
  const GlobalPlace *words = nullptr;      ///< .. read as words of two bf16
  Values lines;                            ///< addresses of the other operand's rows
  Later later;
};

} // namespace heddle::compiler::cpu
