// The operands of one mix as rows of doubles: where a token's row lies (dense, packed, paged,
// ring), which head reads it, and how it is decoded.
#pragma once

#include "compiler/interpreter/Environment.h"

namespace heddle::compiler {

/// One sequence of a mix: a batch element, or one run of packed tokens.
struct Sequence {
  int64_t index = 0;
  int64_t lenQ = 0, lenK = 0;
  int64_t firstQ = 0, firstK = 0; ///< in the packed tensors; 0 unless varlen
  int64_t shift = 0; ///< key index of query row 0: lenK - lenQ, or 0 if aligned top left
};

/// Slots of the variables that every expression of a mix may name.
struct MixSlots {
  enum : int { Row, Position, Key, Batch, Head, KeyHead, LenQ, LenK, Score, X, D, F, Count };
};

/// A tensor with one entry a token and head: [T, (sub-token), H, rest...], batch first if it has
/// one.
struct TokenTensor {
  Value value;
  bool present = false;
  bool batched = false;
  bool querySide = false; ///< T counts query rows, not keys
  bool subAxis = false;
  int64_t heads = 1;
  int64_t width = 1; ///< product of the rest
};

class MixInputs {
public:
  static Result<MixInputs> make(pattern::MixOp op, const Environment &environment);

  int64_t sequences() const { return sequenceCount; }
  Sequence sequence(int64_t index) const;

  /// Key index of a query row, the one its decay is read at.
  int64_t keyOf(const Sequence &sequence, int64_t row) const { return row + sequence.shift; }
  /// Position of a query row: its key index, or in a tree the prefix's length plus its depth.
  int64_t positionOf(const Sequence &sequence, int64_t row) const;
  /// Key index of the step before key j on its path: j - 1, or in a tree its parent; -1: none.
  int64_t before(const Sequence &sequence, int64_t key) const;
  bool isTree() const { return parents.present; }

  /// Raw rows, decoded. `sub` is the sub-token, `head` the head of the output.
  void loadQ(const Sequence &s, int64_t row, int64_t sub, int64_t head, double *out);
  void loadK(const Sequence &s, int64_t key, int64_t sub, int64_t head, double *out);
  void loadV(const Sequence &s, int64_t key, int64_t sub, int64_t head, double *out);
  /// False if a ring cache no longer holds the key.
  bool holds(const Sequence &s, int64_t key) const;

  /// The `width` entries of a token; `token` counts as the tensor does (rows or keys).
  void load(const TokenTensor &tensor, const Sequence &s, int64_t token, int64_t sub, int64_t head,
            double *out) const;
  /// What enters or stays with a head: the entries of that head of a tensor [.., H, rest..]. With
  /// `perSequence` its first dim counts sequences; `lead` dims stand between it and the heads.
  std::vector<double> loadHead(const Value &value, bool perSequence, int lead, const Sequence &s,
                               int64_t head) const;
  /// Dims between the sequence and the heads of a state's part: bank, pool, and the last keys and
  /// values of several sub-tokens have one.
  int leadOf(llvm::StringRef part) const;
  TokenTensor tokens(llvm::StringRef role, bool subAxis) const;

  /// A scope with the variables of MixSlots, the tensors read and the tree.
  ExprScope scope(std::initializer_list<int> lanes) const;
  /// Sets the variables that do not change within a head of a sequence.
  void setHead(ExprProgram &program, const Sequence &s, int64_t head) const;
  void setRow(ExprProgram &program, const Sequence &s, int64_t row) const;

  mutable pattern::MixOp op;
  const Environment *environment;
  int64_t heads = 1;         ///< of the output
  int64_t headsOfStates = 1; ///< which several output heads may share
  int64_t headsQ = 1, headsK = 1, headsV = 1;
  int64_t widthQ = 0, widthK = 0, widthV = 0; ///< as given, before feature maps
  int64_t writes = 1, readouts = 1;           ///< sub-tokens

private:
  struct Rows {
    Value value;
    bool batched = false, subAxis = false, pooled = false;
    int64_t heads = 1, width = 0;
    std::optional<ExprProgram> codec;
  };
  Status describe(Rows &rows, mlir::Value value, bool subAxis, bool pooled,
                  pattern::ExprAttr codec);
  Status checkPages() const;
  Status checkLayout() const;
  int64_t offsetOf(const Rows &rows, const Sequence &s, int64_t token, int64_t packed, int64_t sub,
                   int64_t head) const;
  int64_t pageOffset(const Rows &rows, const Sequence &s, int64_t key, int64_t head) const;
  void decode(Rows &rows, const Sequence &s, int64_t token, int64_t head, int64_t codeHead,
              int64_t offset, double *out);
  int64_t integerOf(llvm::StringRef role, int64_t first, int64_t second = -1) const;

  Rows q, k, v;
  TokenTensor parents;
  int64_t sequenceCount = 0;
  int64_t ringSize = 0, ringKeep = 0;
  int64_t aliasFirst = 0;
  bool aliased = false;
  std::vector<double> buffer, index;
};

} // namespace heddle::compiler
