// Operations of the asynchronous engines: bulk and tensor copies, their reductions, and arrivals
// that wait for cp.async. Each is legal to take effect at any moment after its issue.
#pragma once

#include "runtime/devices/ptx/Program.h"
#include "runtime/devices/ptx/TensorMap.h"

#include <cstddef>
#include <vector>

namespace heddle::ptx {

class Block;
class Cluster;

struct BulkCopy {
  enum class Kind : uint8_t {
    Load,   // into shared memory; says so to an mbarrier
    Store,  // from shared memory; complete by groups of the thread that issued it
    Reduce, // the same, and updates global memory
    Arrive, // cp.async.mbarrier.arrive
  };
  struct Piece {
    std::byte *to;
    const std::byte *from; // null: filled
    uint32_t bytes;
    uint64_t address; // of the end that lies in global memory
  };
  /// An mbarrier that hears of the bytes.
  struct Signal {
    Block *block;
    uint32_t offset; // in the block's shared memory
    int64_t bytes;
  };
  Kind kind = Kind::Load;
  bool generic = false; // st.async: it is not of the asynchronous proxy
  Warp *warp = nullptr; // who issued it
  int lane = 0;
  const Inst *inst = nullptr;
  uint32_t group = 0; // bulk group of the thread
  std::vector<Piece> pieces;
  std::vector<Signal> signals;
  uint8_t operation = 0, type = 0; // of Reduce
  uint8_t fillBytes = 1;           // of an element
  uint64_t fill = 0;               // its bits
  uint64_t copies = 0;             // of Arrive: cp.async of the warp up to this one
  uint64_t number = 0;             // counts the operations of a cluster
};

/// Makes it take effect: the bytes move, the mbarriers hear of it, the observer too.
void perform(Cluster &cluster, const BulkCopy &copy);

class Decoder;
/// st.async (ops/StoreAsync.cpp).
bool decodeStoreAsync(Decoder &d);

/// One element of a reduction: memory at `to` is combined with that at `from` (ops/Atomic.cpp).
void reduceAt(std::byte *to, uint8_t operation, uint8_t type, const std::byte *from);

} // namespace heddle::ptx
