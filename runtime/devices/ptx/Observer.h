// What watches a launch: the checker and the counts of memory traffic.
#pragma once

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
  virtual void barrierRelease(int number, const std::vector<uint32_t> &waiting) {}
  /// A pending copy of these lanes is complete for its thread.
  virtual void copied(Warp &, const PendingCopy &, uint32_t lanes) {}
  virtual void called(Warp &, Frame &callee, const Function &) {}
  virtual void returned(Frame &caller, const CallSite &, uint32_t mask) {}
};

/// printf and assert of device code (Intrinsics.cpp).
void runIntrinsic(Warp &warp, const Inst &inst, const Function &callee, uint32_t mask);

} // namespace heddle::ptx
