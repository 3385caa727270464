// cp.async with its groups. A copy is legal to take effect at any moment between its issue and the
// wait of its thread that covers it; LaunchOptions::copies says when it does here.
#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace heddle::ptx {

namespace {

void copyLane(const PendingCopy &copy, int l) {
  if (copy.sourceBytes[l] > 0) // else the source may be null
    std::memcpy(copy.to[l], copy.from[l], copy.sourceBytes[l]);
  std::memset(copy.to[l] + copy.sourceBytes[l], 0,
              static_cast<size_t>(copy.bytes - copy.sourceBytes[l]));
}

/// ops: shared address, global address, bytes of the source. variant: bytes of the copy.
void issueCopy(Warp &w, const Inst &i, uint32_t mask) {
  const int bytes = i.variant;
  Warp::Addresses to, from;
  if (!w.resolveAt(i, mask, i.ops[0], i.imm, Space::Shared, bytes, Warp::Access::Async, to))
    return;
  PendingCopy copy;
  copy.mask = mask;
  copy.number = w.copiesIssued++;
  copy.bytes = static_cast<uint8_t>(bytes);
  copy.inst = &i;
  const uint32_t *sizes = i.extra ? nullptr : w.src<uint32_t>(i.ops[2]);
  const uint32_t ignored = i.extra ? w.predicate(i.ops[2]) : 0;
  uint32_t whole = 0, partial = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const uint32_t size = !i.extra ? sizes[l] : ignored >> l & 1 ? 0 : static_cast<uint32_t>(bytes);
    if (size > static_cast<uint32_t>(bytes)) {
      w.fail(i, uint32_t{1} << l,
             fmt::format("cp.async of {} bytes with {} bytes of source", bytes, size));
      return;
    }
    copy.sourceBytes[l] = static_cast<uint8_t>(size);
    copy.to[l] = to.host[l];
    copy.toAddress[l] = to.address[l];
    copy.group[l] = w.commits[l];
    copy.from[l] = nullptr;
    (size == static_cast<uint32_t>(bytes) ? whole : size ? partial : copy.mask) |= rest & -rest;
  }
  if (whole &&
      !w.resolveAt(i, whole, i.ops[1], i.imm2, Space::Global, bytes, Warp::Access::Read, from))
    return;
  for (uint32_t rest = whole; rest; rest &= rest - 1)
    copy.from[std::countr_zero(rest)] = from.host[std::countr_zero(rest)];
  for (uint32_t rest = partial; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    if (!w.resolveAt(i, rest & -rest, i.ops[1], i.imm2, Space::Global, copy.sourceBytes[l],
                     Warp::Access::Read, from, bytes))
      return;
    copy.from[l] = from.host[l];
  }
  const CopyTime time = w.block->launch.options.copies;
  bool now = time == CopyTime::Early;
  if (time == CopyTime::Random)
    now = w.block->random() & 1;
  if (now) {
    for (uint32_t rest = mask; rest; rest &= rest - 1)
      copyLane(copy, std::countr_zero(rest));
    copy.done = true;
  }
  if (!now || w.observer)
    w.copies.push_back(copy);
}

void commitGroup(Warp &w, const Inst &, uint32_t mask) {
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    ++w.commits[std::countr_zero(rest)];
}

void waitGroup(Warp &w, const Inst &i, uint32_t mask) {
  if (i.variant)
    commitGroup(w, i, mask);
  w.completeCopies(mask, static_cast<uint32_t>(i.imm));
}

bool decodeWait(Decoder &d, bool all) {
  d.inst.kind = Class::AsyncCopy;
  d.inst.run = &waitGroup;
  d.inst.variant = all;
  if (all)
    return d.expectOperands(0, 0);
  if (!d.expectOperands(1, 1) || d.operand(0).kind != OperandSyntax::Kind::Integer ||
      d.operand(0).integer < 0)
    return d.refuse("expected cp.async.wait_group with a constant");
  d.inst.imm = std::min<int64_t>(d.operand(0).integer, INT32_MAX);
  return true;
}

/// cp.async.cg.shared.global [to], [from], bytes [, source bytes or ignore predicate] [, policy]
bool decodeCp(Decoder &d) {
  const bool reduces = d.take("reduce");
  if (!d.take("async"))
    return d.refuse("the machine does not know this opcode");
  if (reduces || d.has("bulk"))
    return decodeBulk(d, reduces);
  if (d.take("mbarrier"))
    return decodeCopyArrive(d);
  if (d.take("commit_group")) {
    d.inst.kind = Class::AsyncCopy;
    d.inst.run = &commitGroup;
    return d.expectOperands(0, 0);
  }
  if (d.take("wait_group"))
    return decodeWait(d, false);
  if (d.take("wait_all"))
    return decodeWait(d, true);
  const int cache = d.takeOneOf({"ca", "cg"});
  const bool policy = d.take("L2::cache_hint");
  while (!d.takePrefix("L2::").empty())
    ;
  if (cache < 0 || !(d.take("shared") || d.take("shared::cta")) || !d.take("global"))
    return d.refuse("the machine does not know this form of cp.async");
  if (!d.expectOperands(3, 5) || d.operand(2).kind != OperandSyntax::Kind::Integer)
    return d.refuse("expected [to], [from], bytes");
  const int64_t bytes = d.operand(2).integer;
  if (bytes != 16 && (cache == 1 || (bytes != 4 && bytes != 8)))
    return d.refuse("it copies 4, 8 or 16 bytes, with .cg 16");
  d.inst.kind = Class::AsyncCopy;
  d.inst.run = &issueCopy;
  if (!d.address(0, Space::Shared))
    return false;
  const int64_t to = d.inst.imm;
  if (!d.address(1, Space::Global))
    return false;
  d.inst.imm2 = d.inst.imm;
  d.inst.imm = to;
  d.inst.address = 0;
  d.inst.variant = static_cast<uint8_t>(bytes);
  const size_t sizeAt = 3;
  const bool sized = d.operandCount() > sizeAt + (policy ? 1 : 0);
  if (!sized) {
    d.constantSource(static_cast<uint64_t>(bytes), 4);
    return true;
  }
  d.inst.extra = d.isPredicate(d.operand(sizeAt)); // a predicate: to ignore the source
  return d.source(sizeAt, d.inst.extra ? Type::Pred : Type::U32);
}

constexpr Opcode kOpcodes[] = {{"cp", decodeCp}};

} // namespace

namespace {

/// Lanes of a pending copy are complete for their threads.
void complete(Warp &w, PendingCopy &copy, uint32_t ready) {
  if (!copy.done)
    for (uint32_t rest = ready; rest; rest &= rest - 1)
      copyLane(copy, std::countr_zero(rest));
  if (w.observer)
    w.observer->copied(w, copy, ready);
  copy.mask &= ~ready;
}

} // namespace

void Warp::completeCopies(uint32_t mask, uint32_t keep) {
  for (PendingCopy &copy : copies) {
    uint32_t ready = 0;
    for (uint32_t rest = copy.mask & mask; rest; rest &= rest - 1) {
      const int l = std::countr_zero(rest);
      if (copy.group[l] + keep < commits[l])
        ready |= rest & -rest;
    }
    if (ready)
      complete(*this, copy, ready);
  }
  std::erase_if(copies, [](const PendingCopy &copy) { return copy.mask == 0; });
}

void Warp::completeCopiesBefore(int lane, uint64_t number) {
  const uint32_t bit = uint32_t{1} << lane;
  for (PendingCopy &copy : copies)
    if (copy.number < number && (copy.mask & bit))
      complete(*this, copy, bit);
  std::erase_if(copies, [](const PendingCopy &copy) { return copy.mask == 0; });
}

std::span<const Opcode> asyncOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
