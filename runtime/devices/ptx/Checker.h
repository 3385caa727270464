// The checker of a block that runs: reads of what was never written, races,
// copies nobody waited for, barriers that not all lanes reach. It also counts
// the traffic of memory.
//
// Order between threads is kept by vector clocks, one a warp: an access is
// marked with its warp's epoch, and a warp knows up to which epoch of each
// other warp it is in order. Barriers join clocks. Within a warp, lanes are in
// order only after a warp barrier (or a block barrier).
#pragma once

#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Observer.h"

#include <map>
#include <tuple>
#include <unordered_map>

namespace heddle::ptx {

class Checker : public Observer {
public:
  Checker(Block &block, bool check, bool counts);

  void start() override;
  void finish() override;
  void before(Warp &, const Inst &, uint32_t mask) override;
  void after(Warp &, const Inst &, uint32_t mask) override;
  void access(Warp &, const Inst &, uint32_t mask, const Warp::Addresses &, int bytes,
              Warp::Access) override;
  void warpBarrier(Warp &, uint32_t lanes) override;
  void barrierArrive(Warp &, const Inst &, uint32_t mask, int number) override;
  void barrierRelease(int number, const std::vector<uint32_t> &arrived) override;
  void copied(Warp &, const PendingCopy &, uint32_t lanes) override;
  void called(Warp &, Frame &callee, const Function &) override;
  void returned(Frame &caller, const CallSite &, uint32_t mask) override;

  /// Adds what this block's runs found to a report.
  void addTo(Report &report) const override;

private:
  /// The last write to a byte of shared memory.
  struct Write {
    uint32_t epoch = 0;
    uint16_t thread = 0;
    enum Kind : uint8_t { None, Plain, Atomic, Pending } kind = None;
    bool defined = false;
  };
  struct GlobalWrite {
    uint32_t epoch;
    uint16_t thread;
  };
  using Clocks = std::vector<uint32_t>; // by warp

  void find(Warp &, const Inst &, uint32_t lanes, const char *kind, std::string message);
  bool ordered(const Warp &warp, int lane, uint32_t epoch, int otherWarp, int otherLane) const;
  void checkShared(Warp &, const Inst &, uint32_t mask, const uint64_t *offsets, int bytes,
                   Warp::Access);
  void checkGlobal(Warp &, const Inst &, uint32_t mask, const uint64_t *addresses, int bytes,
                   Warp::Access);
  void synchronise(Warp &, uint32_t mask, const uint64_t *addresses);
  void readShared(Warp &, const Inst &, int lane, uint64_t offset, int bytes);
  void writeShared(Warp &, const Inst &, int lane, uint64_t offset, int bytes, Write::Kind kind);
  uint32_t valueDefined(Warp &, const Inst &, uint32_t mask) const;
  uint32_t definedLanes(const Warp &, const Operand &) const;
  std::string sharedPlace(uint64_t offset) const;

  Block &block;
  const bool check, counts;
  std::vector<Clocks> clocks;                  // by warp: what it is in order with
  std::map<int, std::vector<Clocks>> arrivals; // clocks of the warps at a barrier
  std::vector<Write> writes;                   // by byte of shared memory
  std::vector<uint32_t> reads;                 // by byte and warp: epoch << 6 | lane, 32: several
  std::unordered_map<uint64_t, GlobalWrite> globalWrites; // by address / 4
  std::unordered_map<uint64_t, Clocks> atomicClocks;      // by address: released through atomics
  bool fences = false;        // the kernel has fences, so its atomics may hand over other data
  uint32_t sourceDefined = 0; // lanes whose operands all hold values, of the instruction running
  std::map<std::tuple<std::string, uint32_t>, Finding> findings; // by kind and line
  Traffic traffic;
};

} // namespace heddle::ptx
