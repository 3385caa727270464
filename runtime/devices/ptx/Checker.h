// The checker of a block that runs: reads of what was never written, races,
// copies nobody waited for, barriers that not all lanes reach. It also counts
// the traffic of memory.
//
// Order between threads is kept by vector clocks, one a warp: an access is
// marked with its warp's epoch, and a warp knows up to which epoch of each
// other warp it is in order (and of some lanes, one epoch more: those that
// arrived at an mbarrier by themselves). Barriers join clocks. Within a warp,
// lanes are in order only after a warp barrier (or a block barrier).
//
// Each mbarrier is a component of the clocks too: how many of its phases are
// known to be complete. Bytes that an asynchronous copy brings are marked with
// the phase that hears of them, so nobody reads them before that phase is
// waited for. A second clock says what a proxy fence has made visible to the
// asynchronous engines.
#pragma once

#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"

#include <map>
#include <tuple>
#include <unordered_map>

namespace heddle::ptx {

class Checker : public Observer {
public:
  /// `stride`: bytes of shared memory from one block of the cluster to the next.
  Checker(Cluster &cluster, bool check, bool counts, uint64_t stride);

  void start() override;
  void finish() override;
  void before(Warp &, const Inst &, uint32_t mask) override;
  void after(Warp &, const Inst &, uint32_t mask) override;
  void access(Warp &, const Inst &, uint32_t mask, const Warp::Addresses &, int bytes,
              Warp::Access) override;
  void warpBarrier(Warp &, uint32_t lanes) override;
  void barrierArrive(Warp &, const Inst &, uint32_t mask, int number) override;
  void barrierRelease(Block &, int number, const std::vector<uint32_t> &waiting) override;
  void mbarrierInit(Warp &, int lane, Block &, uint32_t offset) override;
  void mbarrierArrive(Warp &, int lane, Block &, uint32_t offset) override;
  void mbarrierPhase(Block &, uint32_t offset, uint64_t phase) override;
  void mbarrierWait(Warp &, const Inst &, int lane, Block &, uint32_t offset) override;
  void clusterArrive(Warp &, uint32_t mask) override;
  void clusterRelease() override;
  void clusterWait(Warp &, uint32_t mask) override;
  void proxyFence(Warp &, uint32_t mask) override;
  void mbarrierFence(Warp &, uint32_t mask) override;
  void bulkIssued(const BulkCopy &) override;
  void bulkDone(const BulkCopy &, const BulkCopy::Signal &, uint64_t phase) override;
  void bulkWaited(Warp &, uint32_t mask, uint32_t keep) override;
  void engineRead(Warp &, const Inst &, const std::byte *, int bytes) override;
  void groupProduct(Warp &, const Inst &) override;
  void groupWaited(Warp &, uint32_t keep) override;
  void copied(Warp &, const PendingCopy &, uint32_t lanes) override;
  void called(Warp &, Frame &callee, const Function &) override;
  void returned(Frame &caller, const CallSite &, uint32_t mask) override;

  /// Adds what this block's runs found to a report.
  void addTo(Report &report) const override;

private:
  /// The last write to a byte of shared memory.
  struct Write {
    uint32_t epoch = 0;  // of Bulk: the phase that says it is there; kNever: not there yet
    uint16_t thread = 0; // of Bulk: the mbarrier's component
    enum Kind : uint8_t { None, Plain, Atomic, Pending, Bulk } kind = None;
    bool defined = false;
  };
  static constexpr uint32_t kNever = ~uint32_t{0};
  struct GlobalWrite {
    uint32_t epoch;
    uint16_t thread;
  };
  /// Up to which epoch all lanes of a warp are known, and up to which some are.
  struct Known {
    uint32_t all = 0, some = 0, lanes = 0;
    void join(const Known &other);
    bool covers(uint32_t epoch, int lane) const {
      return epoch <= all || (epoch <= some && (lanes >> lane & 1));
    }
  };
  using Clocks = std::vector<Known>; // by warp of the cluster, then by mbarrier
  struct Pair {
    Clocks order, fenced;
  };
  static void join(Clocks &into, const Clocks &from);
  static void join(Pair &into, const Pair &from);
  struct Barrier {
    Pair arrived, complete; // what arrivals of this phase, and of all complete ones, knew
    size_t component = 0;
    Write init;            // who initialised it
    bool fenced = false;   // by fence.mbarrier_init: the asynchronous engines know it
    uint32_t observed = 0; // phases that somebody waited for
    uint32_t loads = 0;    // the last phase that brought bytes
    const Inst *load = nullptr;
    Warp *loader = nullptr;
  };
  /// Bytes that a store of the asynchronous engines may still read.
  struct Reading {
    uint64_t offset, bytes;
    Warp *warp;
    int lane;
    uint32_t group;
    const Inst *inst;
  };

  void find(Warp &, const Inst &, uint32_t lanes, const char *kind, std::string message);
  size_t slotOf(const Warp &warp) const {
    return static_cast<size_t>(warp.block->rank) * warpsEach + static_cast<size_t>(warp.index);
  }
  uint32_t epochOf(size_t slot) const { return pairs[slot].order[slot].all; }
  void advance(size_t slot);                        // what follows is of a new epoch
  Pair released(size_t slot, uint32_t lanes) const; // what these lanes hand over
  bool ordered(size_t slot, int lane, const Write &) const;
  bool ordered(size_t slot, int lane, uint32_t epoch, int otherWarp, int otherLane) const;
  Barrier &barrierOf(Block &, uint32_t offset);
  std::string whoWrote(const Write &) const;
  void checkShared(Warp &, const Inst &, uint32_t mask, const uint64_t *offsets, int bytes,
                   Warp::Access);
  void checkGlobal(Warp &, const Inst &, uint32_t mask, const uint64_t *addresses, int bytes,
                   Warp::Access);
  void synchronise(Warp &, uint32_t mask, const uint64_t *addresses);
  void readShared(Warp &, const Inst &, int lane, uint64_t offset, int bytes, bool atomic);
  void writeShared(Warp &, const Inst &, int lane, uint64_t offset, int bytes, Write::Kind kind);
  void checkFenced(Warp &, const Inst &, int lane, uint64_t offset, uint64_t bytes);
  void checkSignal(const BulkCopy &, const BulkCopy::Signal &);
  void checkAccumulators(Warp &, const Inst &, uint32_t mask);
  void checkBulkGlobal(const BulkCopy &, const BulkCopy::Piece &);
  uint32_t valueDefined(Warp &, const Inst &, uint32_t mask) const;
  uint32_t definedLanes(const Warp &, const Operand &) const;
  std::string sharedPlace(uint64_t offset) const;
  std::string sharedPlaceInBlock(uint64_t offset) const;

  Cluster &cluster;
  const Program &program;
  const bool check, counts;
  const uint64_t stride;
  const size_t warpsEach;
  std::vector<Pair> pairs;        // by warp: what it is in order with
  std::vector<uint32_t> together; // by warp: the epoch since which its lanes have not met
  std::map<std::pair<int, int>, std::vector<Pair>> arrivals; // by block and barrier
  Pair clusterArrivals, clusterComplete;
  std::map<uint64_t, Barrier> mbarriers; // by offset in the cluster's shared memory
  size_t components = 0;                 // of the clocks
  std::vector<Write> writes;             // by byte of shared memory
  std::vector<uint32_t> reads;           // by byte and warp: epoch << 6 | lane, 32: several
  std::vector<Reading> readings;
  /// By warp: registers that a wgmma is still to write, by frame offset, with its group.
  std::vector<std::map<uint32_t, uint32_t>> accumulators;
  std::unordered_map<uint64_t, GlobalWrite> globalWrites; // by address / 4
  std::unordered_map<uint64_t, Pair> atomicClocks;        // by address: released through atomics
  bool fences = false;        // the kernel has fences, so its atomics may hand over other data
  uint32_t sourceDefined = 0; // lanes whose operands all hold values, of the instruction running
  std::map<std::tuple<std::string, uint32_t>, Finding> findings; // by kind and line
  Traffic traffic;
};

} // namespace heddle::ptx
