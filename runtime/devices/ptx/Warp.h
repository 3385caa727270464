// A warp: 32 lanes that run one instruction at a time, split into paths where they diverge.
//
// Lanes that part at a branch become two paths under a join, which holds the place where they meet
// again. Each path can be run by itself, so a lane that waits for another one of its warp (a spin
// lock, a barrier met on both sides of a branch) does not block it.
#pragma once

#include "runtime/devices/ptx/Memory.h"
#include "runtime/devices/ptx/Program.h"
#include "runtime/devices/ptx/Special.h"

#include <bit>
#include <memory>
#include <string>
#include <vector>

namespace heddle::ptx {

class Block;
class Cluster;
class Observer;

/// Registers of one function activation.
struct Frame {
  const Function *function = nullptr;
  std::byte *memory = nullptr; // 64-byte aligned
  uint64_t localBase = 0;      // where its local variables begin
  std::unique_ptr<std::byte[]> owned;
  uint64_t capacity = 0;
  std::vector<uint32_t> defined; // by offset / 4: lanes that hold a value; for the checker
};

/// Where the lanes of a divergent branch, or of a call, come together again.
struct Join {
  uint32_t pc = 0;
  uint32_t waiting = 0, expected = 0; // lanes that are there; lanes that are to come or there
  Join *parent = nullptr;
  Frame *frame = nullptr;
  const Inst *call = nullptr; // of a call: only Return arrives
  Frame *callee = nullptr;
};

struct Path {
  enum class State : uint8_t { Ready, AtBarrier, AtMembers, Waiting };
  uint32_t pc = 0, mask = 0;
  Frame *frame = nullptr;
  Join *join = nullptr;
  State state = State::Ready;
  const Inst *at = nullptr;     // what it waits in
  uint32_t members = 0;         // of AtMembers; the barrier's number of AtBarrier
  bool mayExpire = false;       // of Waiting: the instruction may end without success
  bool expired = false;         // and is to
  const Inst *failed = nullptr; // the last instruction that ended so
};

/// A copy of cp.async that has not taken effect.
struct PendingCopy {
  uint32_t mask;
  uint64_t number; // counts the copies of a warp
  uint8_t bytes;
  uint8_t sourceBytes[kLanes];
  uint32_t group[kLanes];
  const std::byte *from[kLanes];
  std::byte *to[kLanes];
  uint64_t toAddress[kLanes]; // shared addresses
  const Inst *inst;
  bool done = false; // took effect already, though nobody may count on it
};

class Warp {
public:
  // Operands. Reading and writing goes through arrays of 32, element l for lane l.
  template <class T> const T *src(const Operand &o) const {
    return static_cast<const T *>(
        __builtin_assume_aligned(reinterpret_cast<const T *>(bases[o.base] + o.offset), 64));
  }
  template <class T> T *dst(const Operand &o) const {
    return static_cast<T *>(
        __builtin_assume_aligned(reinterpret_cast<T *>(bases[Operand::Frame] + o.offset), 64));
  }
  uint32_t predicate(const Operand &o) const {
    const uint32_t value = *reinterpret_cast<const uint32_t *>(bases[o.base] + o.offset);
    return o.negated ? ~value : value;
  }
  void setPredicate(const Operand &o, uint32_t mask, uint32_t value) const {
    uint32_t *to = reinterpret_cast<uint32_t *>(bases[Operand::Frame] + o.offset);
    *to = (*to & ~mask) | (value & mask);
  }
  /// A source of 16, 32 or 64 bits, widened without sign.
  uint64_t lane(const Operand &o, int l) const {
    return o.bytes == 8   ? src<uint64_t>(o)[l]
           : o.bytes == 4 ? src<uint32_t>(o)[l]
                          : src<uint16_t>(o)[l];
  }

  /// The host memory behind an access of `bytes` bytes by each lane, aligned to `align` (0: to
  /// bytes). Returns the lanes that may go ahead: the others were reported. None after an error.
  enum class Access : uint8_t { Read, Write, Atomic, Async }; // Async: a write still to come
  struct Addresses {
    alignas(64) uint64_t address[kLanes];
    alignas(64) std::byte *host[kLanes];
  };
  uint32_t resolve(const Inst &inst, uint32_t mask, int bytes, Access access, Addresses &out,
                   int align = 0);
  /// The same for another address operand than the instruction's own.
  uint32_t resolveAt(const Inst &inst, uint32_t mask, const Operand &base, int64_t offset,
                     Space space, int bytes, Access access, Addresses &out, int align = 0);
  /// The same for one address of any space.
  std::byte *resolveOne(const Inst &inst, int lane, Space space, uint64_t address, int bytes,
                        int align, Access access);

  /// For instructions that all 32 lanes have to execute together; fails if they do not.
  bool needAllLanes(const Inst &inst, uint32_t mask);

  /// Ends the launch with an error at this instruction.
  void fail(const Inst &inst, uint32_t lanes, std::string message);

  // Life (Execute.cpp).
  void start(Block &block, int index, uint32_t lanes);
  /// Runs until it is finished, blocked on others, or `fuel` instructions are done. True if it did
  /// any instruction.
  bool run(int64_t fuel);
  bool finished() const { return paths.empty(); }
  bool blocked() const;
  void release(Path &path); ///< a path goes on after the instruction it waited in

  std::byte *bases[3] = {nullptr, nullptr, nullptr}; // by Operand::Base, of the path running
  Frame *frame = nullptr;                            // of the path running
  Block *block = nullptr;
  Observer *observer = nullptr;
  int index = 0;
  uint32_t live = 0; // lanes that exist and have not exited
  std::vector<Path> paths;
  uint64_t steps = 0;
  uint64_t clock = 0; // readings of %clock so far
  uint64_t polls = 0; // atomics and volatile loads since lanes last met
  bool stop = false;  // set by fail

  // Asynchronous copies, by lane: groups committed so far, and what is pending.
  uint32_t commits[kLanes] = {};
  std::vector<PendingCopy> copies;
  /// Copies of the lanes of `mask` take effect, but for those of a lane's newest `keep` groups.
  void completeCopies(uint32_t mask, uint32_t keep);
  /// Those of one lane that were issued before copy `number`.
  void completeCopiesBefore(int lane, uint64_t number);
  uint64_t copiesIssued = 0;
  uint32_t bulkCommits[kLanes] = {}; // groups of cp.async.bulk, by lane

  uint32_t productCommits = 0; // groups of wgmma

  // barrier.cluster: lanes that came in this phase, and the phase each lane waits for.
  uint32_t clusterArrived = 0;
  uint64_t clusterPhase[kLanes] = {};

  /// What an instruction of Flow::Wait tells the scheduler.
  enum class Waited : uint8_t { Done, MayExpire, Must };
  Waited waited = Waited::Done;
  const Path &running() const { return paths[current]; }

private:
  friend class Block;
  template <bool Observed> bool runPaths(int64_t fuel);
  void enter(const Path &path);
  void fillSpecials();
  void diverge(uint32_t other, uint32_t target, uint32_t reconverge);
  void arrive(Join *join, uint32_t lanes);
  void leaveJoins(Join *from, const Join *until, uint32_t lanes);
  void resume(Join *join);
  void split(uint32_t others);
  void stopWaiting();
  void settleMembers();
  uint32_t neededMembers(const Path &path) const;
  void call(const Inst &inst, const Function &callee);
  void wait(const Inst &inst);
  void branchIndexed(const Inst &inst, uint32_t mask);
  const Function *calleeOf(const Inst &inst, uint32_t mask);
  void returnLanes(uint32_t mask);
  void exitLanes(uint32_t mask);
  void dropCurrent();
  bool choosePath();
  Frame *takeFrame(const Function &function, uint64_t localBase);
  Join *takeJoin(Join values);
  void giveJoin(Join *join);
  void control(const Inst &inst, uint32_t mask);

  size_t current = 0;
  std::vector<std::unique_ptr<Frame>> frames;
  std::vector<Frame *> freeFrames;
  std::vector<std::unique_ptr<Join>> joins;
  std::vector<Join *> freeJoins;
  alignas(64) std::byte specials[offsetOf(Special::Count)];
};

/// Calls f(l) for the lanes of `mask`; f must do the same for every lane, apart from its data.
template <class F> inline void forLanes(uint32_t mask, F f) {
  if (mask == kAllLanes) {
#pragma clang loop vectorize(assume_safety)
    for (int l = 0; l < kLanes; ++l)
      f(l);
  } else {
    for (uint32_t rest = mask; rest; rest &= rest - 1)
      f(std::countr_zero(rest));
  }
}

} // namespace heddle::ptx
