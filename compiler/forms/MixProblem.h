// A mix, as a form wants to see it: its operands (a tensor, or what an expression makes of
// tensors), its lengths and heads, every expression with static dims, constants and lets put in.
#pragma once

#include "compiler/forms/PatternProblem.h"

namespace heddle::compiler {

/// q, k or v of a mix: a tensor [B, T, H, width], or an expression of other tensors that is
/// computed where the operand is read.
struct Operand {
  std::string tensor; ///< empty: `value` alone
  /// An element in terms of `row` (q) or `j`, the operand's head `hq`, `hk` or `hv`, the feature
  /// `d`; null: the tensor's element.
  Expr value;
  Extent heads;
  int64_t width = 0;
  int64_t first = 0; ///< feature of the tensor where the operand begins
};

/// Keys that lie in pages: key j of sequence b is slot j mod `block` of page table[b, j / block].
struct Paging {
  std::string table;       ///< [B, pages of a sequence], or one list of pages for all (rows of it
                           ///< begin at `first`)
  Expr first;              ///< entry of the list where a sequence's pages begin; null: 0
  int64_t block = 0;       ///< 0: not paged
  bool headsFirst = false; ///< a page is [heads, slots, width] instead of [slots, heads, width]
};

/// Keys that a list names for each query row. Entries are distinct; free places, last, are below 0.
struct KeyList {
  std::string tensor;           ///< i32 [B, Tq, (heads), count]; empty: none
  llvm::SmallVector<Expr> at;   ///< variables: its indices but the last
  int64_t count = 0, block = 1; ///< entries, and keys of an entry
  bool perHead = false;         ///< each query head has lists of its own
};

struct MixProblem : PatternProblem {
  pattern::MixOp mix;
  Operand q, k, v;
  mlir::Type element;          ///< of the operands in products: f32, bf16 or f16
  std::string o, lse;          ///< names of the results; lse may be empty
  std::string notState;        ///< why it is weights of pairs in a form that carries states
  Extent B, Tq, Tk, H, Hq, Hk; ///< H: heads of the output
  int64_t D = 0, Dv = 0, G = 1;
  int64_t firstColumn = 0; ///< of o, where only some of its columns are summed
  bool bottomRight = true;
  /// Lengths of sequence b, and where its rows begin, as expressions of `b`; null: Tq, Tk and 0.
  Expr lenQ, lenK, startQ, startK;
  Expr seenK; ///< keys so far, by which positions count, where not all of them are kept; null: lenK
  Paging paging;
  Expr keyHead;                       ///< head of k that head h of the output reads
  Expr support, score, sink, normArg; ///< sink and normArg may be null
  Expr decay;                         ///< log-decay of the pair (i, j); null: none
  Expr gate;                          ///< a further factor of the weight; null: 1
  /// What stands for `s` in the score instead of the product of q and k: a decay for each feature
  /// stands inside the sum over features. Null: the product.
  Expr product;
  /// Whether weights are powers of products of rows that were computed: those cancel, so that
  /// roundings of the rows show.
  bool powers = false;
  /// Weight of the state on entry for row i: the score of 1 times the decay since the start.
  Expr entry;
  std::string state0, z0; ///< tensors of the state on entry; may be empty
  /// Workspace [B, tiles of rows, (heads), blocks] that says which blocks of `block` keys the lists
  /// and masks of the support let anybody of a tile of rows see; empty: none.
  std::string seen;
  int64_t block = 0;
  Expr supportInBlock; ///< the support where `j div block` is the block n'
  Expr always;         ///< the support without its lists and masks
  int64_t listed = 0;  ///< keys that lists let a row see at most; 0: not known
  /// The keys are those of a list; where its entries are single keys, `j` counts entries.
  KeyList list;
};

} // namespace heddle::compiler
