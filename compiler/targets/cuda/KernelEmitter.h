// One concrete kernel as the body of a CUDA function. Values of the tile IR get C++ names; scalars
// that are read once are written where they are read.
//
//   KernelEmitter.cpp   scalars, views, loops, branches, waits
//   Tiles.cpp           maps, reductions, loads to and stores from registers
//   Products.cpp        mma, ldmatrix, results turned in shared memory
//   Copies.cpp          rings: cp.async, takes; stores of rows from shared memory
//   TensorCopies.cpp    rings that TMA fills
//   Exchange.cpp        tiles that go from thread to thread through shared memory
//   Scans.cpp           prefix sums, triangular systems
//   Topk.cpp            running lists of the best
#pragma once

#include "compiler/targets/cuda/Fragment.h"
#include "compiler/targets/cuda/Shared.h"
#include "compiler/targets/cuda/Source.h"
#include "ir/tile/TileDialect.h"
#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <map>
#include <set>

namespace heddle::compiler::cuda {

/// Fields of the parameter block by what they hold.
struct Parameters {
  std::string scalar(llvm::StringRef name) const { return "p." + name.str(); }
  std::string pointer(llvm::StringRef name) const { return "p." + name.str(); }
  std::string stride(llvm::StringRef name, int64_t dim) const {
    return fmt::format("p.{}_stride{}", name.str(), dim);
  }
};

/// Whether TMA copies what a ring holds.
bool isFilledByTma(mlir::Value ring);

/// Tensor maps that the kernels of a file take, and their fields in the parameter block.
class TensorMaps {
public:
  explicit TensorMaps(const Artifact &artifact) : artifact(artifact) {}
  /// The field of a map; kernels that read a tensor by the same tiles share one.
  std::string fieldOf(const TensorMapInfo &map);
  /// Adds them to the artifact's arguments, at the end of the block.
  void addTo(Artifact &artifact) const;
  const std::string &name(size_t index) const { return names[index]; }

private:
  const Artifact &artifact;
  std::vector<TensorMapInfo> infos;
  std::vector<std::string> names;
};

class KernelEmitter {
public:
  KernelEmitter(tile::ProgramOp program, tile::KernelOp kernel, TensorMaps &maps);

  /// The body, indented by one level. Unsupported with the op that has no CUDA spelling.
  Result<std::string> run();

  int64_t warps() const { return warpCount; }
  int64_t sharedBytes() const { return shared; }

private:
  struct ViewText {
    std::string pointer;
    std::vector<std::string> strides; ///< in elements, of the kept dimensions
    std::vector<std::string> extents; ///< of the kept dimensions
    std::string table;                ///< pages or entries of a list; empty for none
    std::string tableStride;
  };
  /// Where a row begins, and what must hold for it to be there (empty: nothing).
  struct RowText {
    std::string pointer, condition;
  };
  struct RingText {
    std::string name, filled, taken; ///< variables with the next slot to fill and to take
    std::string source, target, row; ///< where this thread copies from and to, and its row
    std::string barriers;            ///< of slots that TMA fills: their address
  };

  // ---- names and scalars ----
  std::string fresh(const std::string &wish);
  std::string nameFor(mlir::Value value, const std::string &otherwise);
  std::string scalar(mlir::Value value); ///< an operand: a name, a literal, or in parentheses
  std::string distance(mlir::Operation *op);
  std::string rawScalar(mlir::Value value);
  std::string offset(mlir::OpFoldResult value);
  bool isInlined(mlir::Operation *op);
  void declare(mlir::Value value, const std::string &expression);
  std::string formula(tile::FormulaAttr formula);
  Status unsupported(mlir::Operation *op, const std::string &why);

  // ---- control ----
  Status block(mlir::Block &block);
  Status emit(mlir::Operation *op);
  Status emitScalar(mlir::Operation *op);
  Status emitFor(tile::ForOp loop);
  Status emitIf(mlir::scf::IfOp branch);
  void emitYield(tile::ForOp loop);
  void view(tile::ViewOp op);
  Status read(tile::ReadOp op);
  Status gather(tile::GatherOp op);
  /// Row `row` of a view; reads its table where `condition` holds (empty: always).
  RowText rowOf(mlir::Value view, const std::string &row, const std::string &condition);
  /// pointer[(row + ..) * stride + ..]; `inside`: coordinates within the tile, may be empty.
  std::string access(mlir::Value view, llvm::ArrayRef<mlir::OpFoldResult> offsets,
                     llvm::ArrayRef<std::string> inside);

  // ---- tiles in registers ----
  /// A tile that is computed where it is read, not stored: fills and indices.
  bool isLazy(mlir::Value value);
  void declareTile(mlir::Value value, const std::string &name);
  /// The variable of a result: that of `operand` where it dies here, else a new one.
  bool takePlace(mlir::Value result, mlir::Value operand);
  bool diesAt(mlir::Value value, mlir::Operation *op);
  std::string variable(mlir::Value value);
  /// The element of `tile` for the result's loop variables; positions: dims of the result.
  std::string element(mlir::Value tile, llvm::ArrayRef<int64_t> positions, const Fragment &result,
                      const Indices &indices);
  Indices indicesOf(const Fragment &fragment, llvm::ArrayRef<int64_t> positions,
                    const Fragment &result, const Indices &indices);
  std::string coordinate(const Fragment &fragment, int64_t dim, const Indices &indices);
  std::string valueOffset(const Fragment &fragment, int64_t dim, const Indices &indices);
  std::string threadOffset(const Fragment &fragment, int64_t dim);
  std::string replicaCondition(const Fragment &fragment);
  /// Loops over the values but the fastest `inner`; unrolled wholly, or by `copies`.
  int openLoops(const Fragment &fragment, int inner = 0, int64_t copies = 0);
  bool isPacked(mlir::Value value);
  void copyTile(mlir::Value from, const std::string &to, const Fragment &fragment, bool packed);
  void zero(const Fragment &fragment, const std::string &name);
  Status map(tile::MapOp op);
  Result<std::vector<std::string>> mapBody(tile::MapOp op, const Fragment &result,
                                           const Indices &indices);
  bool arePairs(tile::MapOp op, mlir::arith::MulFOp product, const Fragment &fragment);
  Status multiplyPairs(tile::MapOp op, mlir::arith::MulFOp product, const Fragment &fragment);
  Status reduce(tile::ReduceOp op);
  std::string warpAlong(const Fragment &fragment, int64_t dim);
  void exchangeSums(tile::ReduceOp op, const Fragment &fragment, const std::string &sum,
                    int64_t keptDim, int64_t warps);
  void gatherSums(tile::ReduceOp op, const Fragment &fragment, const std::string &sum,
                  int64_t keptDim, int64_t warps,
                  llvm::function_ref<std::string(const std::string &)> combine);
  Status loadTile(tile::LoadOp op);
  int codesInARow(tile::LoadOp op, const Fragment &fragment);
  void loadCodes(tile::LoadOp op, const Fragment &fragment, int run);
  std::pair<std::string, std::string> elementPlace(tile::LoadOp op, const Fragment &fragment,
                                                   const Indices &indices);
  std::string readElement(tile::LoadOp op, const Fragment &fragment, const Indices &indices);
  Status storeTile(tile::StoreOp op);
  void storeClippedRows(tile::StoreOp op, const Fragment &fragment);
  void vote(tile::VoteOp op);

  // ---- products ----
  struct Matrix { ///< a tile in shared memory as ldmatrix reads it
    SharedRows rows;
    std::string name, slot, base; ///< slot: offset in its ring, empty for none
  };
  Matrix matrix(mlir::Value value);
  void slice(tile::SliceOp op);
  struct OperandReader;
  OperandReader readerOf(mlir::Value value, int64_t sumDim, bool isA, const std::string &first,
                         int64_t steps);
  std::string operandAt(const OperandReader &reader, const std::string &outer,
                        const std::string &k);
  std::string laneAddress(const std::string &suffix, const Matrix &matrix, const std::string &row,
                          const std::string &chunk);
  std::string tileAddress(const std::string &lane, const Matrix &matrix);
  Status mma(tile::MmaOp op);
  std::string openVector(tile::MmaOp op, const Fragment &sums);
  void closeVector(tile::MmaOp op, const Fragment &sums, const std::string &rows);
  Status loadFragments(tile::ConvertOp op);
  Status turn(tile::ConvertOp op);

  // ---- exchange ----
  std::string sharedAddress(mlir::Value tile, llvm::ArrayRef<std::string> at);
  std::string loadElement(mlir::Value tile, llvm::ArrayRef<std::string> at);
  Status toShared(tile::ConvertOp op);
  Status fromShared(tile::ConvertOp op);
  Status scan(tile::ScanOp op);
  Status solve(tile::SolveUnitLowerOp op);
  Status topk(tile::TopkOp op);
  /// What the warp's number adds to a coordinate.
  std::string warpOffset(const Fragment &fragment, int64_t dim);

  // ---- copies ----
  struct Walk; ///< how the threads of a block share rows of 16-byte chunks
  Walk walkOver(tile::TileType type);
  void walkRows(const Walk &walk, const std::string &shared, const std::string &global,
                const std::string &stride, const std::string &rowsLeft, int64_t columnsLeft,
                llvm::function_ref<void(const std::string &shared, const std::string &global,
                                        const std::string &valid)>
                    each,
                llvm::function_ref<RowText(const std::string &row, const std::string &condition)>
                    rowAt = nullptr);
  Status put(tile::PutOp op);
  void take(tile::TakeOp op);
  Status ring(tile::RingOp op);
  void tensorRing(tile::RingOp op);
  void tensorPut(tile::PutOp op);
  void tensorTake(tile::TakeOp op);
  void initialiseBarriers(Source &text);
  std::string advance(const std::string &counter, tile::RingType type);
  Status storeRows(tile::StoreOp op);

  /// Declares what holds for the whole kernel before the body, once.
  std::string once(const std::string &name, const std::string &type, const std::string &expression);

  tile::ProgramOp program;
  tile::KernelOp kernel;
  TensorMaps &maps;
  Parameters parameters;
  int64_t warpCount = 1, shared = 0, unnamed = 0;
  Source top{1}, out{1};
  std::set<std::string> taken;
  std::map<std::string, std::string> declaredOnce; ///< by expression
  llvm::DenseMap<mlir::Value, std::string> names;  ///< scalars and tiles in registers
  /// What a thread adds to, and what it adds, in elements of tile.index: (row, 8 * half).
  llvm::DenseMap<mlir::Value, std::pair<std::string, std::string>> splits;
  llvm::DenseMap<mlir::Value, ViewText> views;
  llvm::DenseMap<mlir::Value, RingText> rings;
  llvm::DenseMap<mlir::Value, std::string> slots; ///< offset of a taken tile's slot in its ring
};

} // namespace heddle::compiler::cuda
