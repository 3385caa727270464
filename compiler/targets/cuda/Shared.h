// Rows of 16-byte chunks in shared memory, as a tile's layout says: swizzled or padded.
//
//   64x128 bf16, S<3,3,4> o (64,128):(128,1)   ->   row * 256 + (chunk ^ row % 8) * 16
//   64x80 bf16, (64,80):(88,1)                 ->   row * 176 + chunk * 16
//   64x80 bf16, S<1,3,3> o (64,(16,5)):(16,(1,1024)), panels of two chunks as TMA writes them
//                ->   row * 32 + chunk / 2 * 2048 + (chunk % 2 ^ row / 4 % 2) * 16
#pragma once

#include "ir/tile/TileDialect.h"

#include <string>

namespace heddle::compiler::cuda {

struct SharedRows {
  explicit SharedRows(tile::TileType type);

  int64_t rows, chunks;   ///< chunks of 16 bytes in a row, padding not counted
  int64_t pitch;          ///< bytes from row to row
  int64_t mask = 0;       ///< of chunk bits that are xored with row bits; 0: no swizzle
  int64_t shift = 0;      ///< row >> shift is what they are xored with
  int64_t panel = 0;      ///< chunks of a panel; 0: rows are in one piece
  int64_t panelBytes = 0; ///< from panel to panel

  /// Byte address of a chunk, as an expression of a row and a chunk that vary by thread.
  std::string address(const std::string &row, const std::string &chunk) const;
  /// `at` moved by `row` * rowFactor rows (a multiple of what the swizzle repeats after) and by
  /// `chunk` * chunkFactor chunks; both loop variables or numbers. The address of a lane must have
  /// chunk 0 or 1, and no row bits beyond its own 16 rows.
  std::string step(const std::string &at, const std::string &row, int64_t rowFactor,
                   const std::string &chunk, int64_t chunkFactor) const;
  /// What the swizzle makes of a constant row that shares no bits with the thread's own row.
  int64_t swizzleOf(int64_t row) const { return (row >> shift & mask) * 16; }
};

/// Bytes of a slot of a ring.
int64_t slotBytes(tile::TileType type);

/// "smem + 4096", the address of what lies `offset` bytes into the block's shared memory.
std::string sharedBase(int64_t offset);

} // namespace heddle::compiler::cuda
