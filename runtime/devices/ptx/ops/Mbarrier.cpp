// mbarrier: init, inval, arrive and its variants, expect_tx, complete_tx, test_wait, try_wait,
// pending_count; cp.async.mbarrier.arrive.
#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <fmt/format.h>

#include <cstring>

namespace heddle::ptx {

namespace {

enum Action : uint8_t { Init, Inval, Arrive, Drop, Expect, Complete };
enum : uint8_t { Expects = 1, Relaxed = 2, Parity = 4 }; // Inst::extra

struct Place {
  Block *block = nullptr;
  uint32_t offset = 0;
};

/// Which mbarrier a lane means; no block after an error.
Place placeOf(Warp &w, const Inst &i, int lane, const std::byte *host) {
  const auto at = w.block->cluster.sharedOffset(host);
  if (!at) {
    w.fail(i, uint32_t{1} << lane, "an mbarrier lies in shared memory, and this address does not");
    return {};
  }
  Block &block = w.block->cluster.blockAt(*at);
  return {&block, static_cast<uint32_t>(host - block.shared)};
}

/// What one lane does to its mbarrier; an empty text if it may.
std::string act(Warp &w, const Inst &i, int l, const Place &at, Mbarrier &m, uint64_t operand) {
  const auto action = static_cast<Action>(i.variant);
  const int64_t bytes = static_cast<int64_t>(operand);
  if (action == Expect)
    return m.expectBytes(bytes);
  if (action == Complete)
    return m.completeBytes(bytes);
  if (i.results)
    w.dst<uint64_t>(i.ops[0])[l] = m.token();
  if (w.observer && !(i.extra & Relaxed))
    w.observer->mbarrierArrive(w, l, *at.block, at.offset);
  if (i.extra & Expects)
    if (std::string wrong = m.expectBytes(bytes); !wrong.empty())
      return wrong;
  return m.arrive(i.extra & Expects ? 1 : operand, action == Drop);
}

/// ops: [state,] address, [count or bytes].
void runAction(Warp &w, const Inst &i, uint32_t mask) {
  const auto action = static_cast<Action>(i.variant);
  const bool whole = action == Init || action == Inval;
  Warp::Addresses hosts;
  mask = w.resolve(i, mask, 8, whole ? Warp::Access::Write : Warp::Access::Atomic, hosts);
  for (uint32_t rest = mask; rest && !w.stop; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const Place at = placeOf(w, i, l, hosts.host[l]);
    if (!at.block)
      return;
    const uint64_t operand =
        i.sources > 1 ? static_cast<uint32_t>(w.lane(i.ops[i.address + 1], l)) : 1;
    std::string wrong;
    if (action == Init) {
      Mbarrier &m = at.block->mbarriers[at.offset];
      wrong = m.init(operand);
      at.block->noteMbarrier(at.offset, m, m.phase);
      if (w.observer)
        w.observer->mbarrierInit(w, l, *at.block, at.offset);
    } else {
      Mbarrier *m = at.block->findMbarrier(w, i, l, at.offset);
      if (!m)
        return;
      if (action == Inval) {
        at.block->mbarriers.erase(at.offset);
        std::memset(at.block->shared + at.offset, 0, 8);
        continue;
      }
      const uint64_t before = m->phase;
      wrong = act(w, i, l, at, *m, operand);
      at.block->noteMbarrier(at.offset, *m, before);
    }
    if (!wrong.empty()) {
      w.fail(i, uint32_t{1} << l, wrong);
      return;
    }
  }
}

/// ops: predicate, address, state or parity.
void runWait(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses hosts;
  mask = w.resolve(i, mask, 8, Warp::Access::Atomic, hosts);
  uint32_t complete = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const Place at = placeOf(w, i, l, hosts.host[l]);
    const Mbarrier *m = at.block ? at.block->findMbarrier(w, i, l, at.offset) : nullptr;
    if (!m)
      return;
    const uint64_t wanted = w.lane(i.ops[i.address + 1], l);
    if (!(i.extra & Parity ? m->completedParity(static_cast<uint32_t>(wanted))
                           : m->completed(wanted)))
      continue;
    complete |= rest & -rest;
    if (w.observer && !(i.extra & Relaxed))
      w.observer->mbarrierWait(w, i, l, *at.block, at.offset);
  }
  w.setPredicate(i.ops[0], mask, complete);
  w.waited = complete == mask ? Warp::Waited::Done : Warp::Waited::MayExpire;
}

void pendingCount(Warp &w, const Inst &i, uint32_t mask) {
  const uint64_t *state = w.src<uint64_t>(i.ops[1]);
  forLanes(mask, [&](int l) { w.dst<uint32_t>(i.ops[0])[l] = Mbarrier::pendingOf(state[l]); });
}

/// Orders and scopes; true if it is to order nothing.
bool takeOrder(Decoder &d) {
  for (const char *word : {"release", "acquire", "cta", "cluster"})
    d.take(word);
  return d.take("relaxed");
}

bool decodeWait(Decoder &d) {
  d.inst.flow = Flow::Wait;
  const bool parity = d.take("parity");
  d.inst.extra = static_cast<uint8_t>((takeOrder(d) ? Relaxed : 0) | (parity ? Parity : 0));
  const Space space = d.takeSpace();
  if (d.takeType() != Type::B64 || !d.expectOperands(3, 4))
    return d.refuse("expected p, [mbarrier], state or parity [, time]");
  d.inst.run = &runWait;
  return d.result(0, Type::Pred) && d.address(1, space) &&
         d.source(2, parity ? Type::B32 : Type::B64);
}

bool decodeArrive(Decoder &d, Action action) {
  using Kind = OperandSyntax::Kind;
  const bool expects = d.take("expect_tx");
  d.take("noComplete");
  d.inst.variant = action;
  d.inst.extra = static_cast<uint8_t>((takeOrder(d) ? Relaxed : 0) | (expects ? Expects : 0));
  const Space space = d.takeSpace();
  const bool returns = d.operandCount() > 0 && d.operand(0).kind != Kind::Address;
  const size_t at = returns ? 1 : 0;
  if (d.takeType() != Type::B64 || !d.expectOperands(at + 1, at + 2) ||
      (expects && d.operandCount() != at + 2))
    return d.refuse("expected [state,] [mbarrier] and a count");
  if (returns && d.operand(0).kind != Kind::Sink && !d.result(0, Type::B64))
    return false;
  return d.address(at, space) && (d.operandCount() == at + 1 || d.source(at + 1, Type::B32));
}

bool decodeMbarrier(Decoder &d) {
  d.inst.kind = Class::Mbarrier;
  if (d.take("pending_count")) {
    d.inst.run = &pendingCount;
    return d.takeType() == Type::B64 && d.expectOperands(2, 2) && d.result(0, Type::B32) &&
           d.source(1, Type::B64);
  }
  if (d.take("test_wait") || d.take("try_wait"))
    return decodeWait(d);
  d.inst.run = &runAction;
  if (d.take("arrive"))
    return decodeArrive(d, Arrive);
  if (d.take("arrive_drop"))
    return decodeArrive(d, Drop);
  const int action = d.takeOneOf({"init", "inval", "expect_tx", "complete_tx"});
  if (action < 0)
    return d.refuse("the machine does not know this form of mbarrier");
  constexpr Action kActions[] = {Init, Inval, Expect, Complete};
  d.inst.variant = kActions[action];
  takeOrder(d);
  const Space space = d.takeSpace();
  const size_t operands = action == 1 ? 1 : 2;
  return d.takeType() == Type::B64 && d.expectOperands(operands, operands) && d.address(0, space) &&
         (operands == 1 || d.source(1, Type::B32));
}

/// The arrival comes once the lane's copies of cp.async are complete.
void issueArrive(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses hosts;
  mask = w.resolve(i, mask, 8, Warp::Access::Atomic, hosts);
  for (uint32_t rest = mask; rest && !w.stop; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const Place at = placeOf(w, i, l, hosts.host[l]);
    Mbarrier *m = at.block ? at.block->findMbarrier(w, i, l, at.offset) : nullptr;
    if (!m)
      return;
    if (i.variant == 0) { // not .noinc: the count of the phase makes room for it
      const std::string wrong = m->addPending();
      at.block->noteMbarrier(at.offset, *m, m->phase);
      if (!wrong.empty())
        return w.fail(i, uint32_t{1} << l, wrong);
    }
    BulkCopy arrival;
    arrival.kind = BulkCopy::Kind::Arrive;
    arrival.warp = &w;
    arrival.lane = l;
    arrival.inst = &i;
    arrival.copies = w.copiesIssued;
    arrival.signals.push_back({at.block, at.offset, 0});
    w.block->cluster.submit(std::move(arrival));
  }
}

constexpr Opcode kOpcodes[] = {{"mbarrier", decodeMbarrier}};

} // namespace

/// cp.async.mbarrier.arrive[.noinc].shared.b64 [mbarrier]
bool decodeCopyArrive(Decoder &d) {
  if (!d.take("arrive"))
    return d.refuse("the machine does not know this form of cp.async.mbarrier");
  d.inst.variant = d.take("noinc");
  d.inst.kind = Class::Mbarrier;
  d.inst.run = &issueArrive;
  const Space space = d.takeSpace();
  return d.takeType() == Type::B64 && d.expectOperands(1, 1) && d.address(0, space);
}

std::span<const Opcode> mbarrierOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
