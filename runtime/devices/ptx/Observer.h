// What watches a launch: the checker and the counts of memory traffic.
#pragma once

#include "runtime/devices/ptx/Bulk.h"
#include "runtime/devices/ptx/Machine.h"
#include "runtime/devices/ptx/Warp.h"

namespace heddle::ptx {

/// One for each block that runs. Called before and after every instruction of a
/// watched launch.
class Observer {
public:
  virtual ~Observer() = default;
  virtual void start() {}  ///< of a block
  virtual void finish() {} ///< of a block that ran to its end
  virtual void addTo(Report &) const {}
  virtual void before(Warp &, const Inst &, uint32_t mask) {}
  virtual void after(Warp &, const Inst &, uint32_t mask) {}
  /// An access that resolved: `count` bytes by each lane of `mask`.
  virtual void access(Warp &, const Inst &, uint32_t mask, const Warp::Addresses &, int bytes,
                      Warp::Access) {}
  virtual void warpBarrier(Warp &, uint32_t lanes) {}
  virtual void barrierArrive(Warp &, const Inst &, uint32_t mask, int number) {}
  /// `waiting`: the lanes of each warp that go on.
  virtual void barrierRelease(Block &, int number, const std::vector<uint32_t> &waiting) {}
  // mbarriers, by their block and offset in its shared memory.
  virtual void mbarrierInit(Warp &, int lane, Block &, uint32_t offset) {}
  virtual void mbarrierArrive(Warp &, int lane, Block &, uint32_t offset) {}
  virtual void mbarrierPhase(Block &, uint32_t offset, uint64_t phase) {} ///< that many complete
  virtual void mbarrierWait(Warp &, const Inst &, int lane, Block &, uint32_t offset) {}
  // barrier.cluster
  virtual void clusterArrive(Warp &, uint32_t mask) {}
  virtual void clusterRelease() {}
  virtual void clusterWait(Warp &, uint32_t mask) {}
  // The asynchronous engines.
  virtual void proxyFence(Warp &, uint32_t mask) {}
  virtual void mbarrierFence(Warp &, uint32_t mask) {} ///< of mbarriers that were initialised
  virtual void bulkIssued(const BulkCopy &) {}
  /// The bytes of a load are there; the mbarrier of this signal hears of it in this phase.
  virtual void bulkDone(const BulkCopy &, const BulkCopy::Signal &, uint64_t phase) {}
  /// Bulk groups of these lanes are waited for, but for the newest `keep`.
  virtual void bulkWaited(Warp &, uint32_t mask, uint32_t keep) {}
  /// A pending copy of these lanes is complete for its thread.
  virtual void copied(Warp &, const PendingCopy &, uint32_t lanes) {}
  /// wgmma reads shared memory; its accumulators are not to be touched before the wait.
  virtual void engineRead(Warp &, const Inst &, const std::byte *, int bytes) {}
  virtual void groupProduct(Warp &, const Inst &) {}
  virtual void groupWaited(Warp &, uint32_t keep) {}
  virtual void called(Warp &, Frame &callee, const Function &) {}
  virtual void returned(Frame &caller, const CallSite &, uint32_t mask) {}
};

/// printf and assert of device code (Intrinsics.cpp).
void runIntrinsic(Warp &warp, const Inst &inst, const Function &callee, uint32_t mask);

} // namespace heddle::ptx
