// Control flow, barriers of the block, fences.
#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <fmt/format.h>

namespace heddle::ptx {

namespace {

void doNothing(Warp &, const Inst &, uint32_t) {}

bool decodeBra(Decoder &d) {
  d.take("uni");
  if (!d.expectOperands(1, 1) || d.operand(0).kind != OperandSyntax::Kind::Label)
    return d.refuse("expected a label");
  d.inst.flow = Flow::Branch;
  d.inst.kind = Class::Control;
  d.inst.target = static_cast<uint32_t>(d.operand(0).integer);
  return true;
}

bool decodeBrx(Decoder &d) {
  d.take("uni");
  if (!d.take("idx") || !d.expectOperands(2, 2))
    return d.refuse("expected brx.idx index, targets");
  d.inst.flow = Flow::BranchIndexed;
  d.inst.kind = Class::Control;
  return d.source(0, Type::U32) && d.branchTable(d.operand(1));
}

/// call (results), callee, (arguments), prototype
bool decodeCall(Decoder &d) {
  using Kind = OperandSyntax::Kind;
  d.take("uni");
  if (!d.expectOperands(1, 4))
    return false;
  size_t at = 0;
  const OperandSyntax *results = nullptr, *arguments = nullptr;
  if (d.operand(at).kind == Kind::List)
    results = &d.operand(at++);
  if (at >= d.operandCount())
    return d.refuse("expected a function to call");
  const OperandSyntax &callee = d.operand(at++);
  if (at < d.operandCount() && d.operand(at).kind == Kind::List)
    arguments = &d.operand(at);
  d.inst.kind = Class::Control;
  if (callee.kind == Kind::Register) {
    d.inst.flow = Flow::CallIndirect;
    if (!d.source(callee, Type::B64))
      return false;
  } else {
    d.inst.flow = Flow::Call;
    if (callee.kind != Kind::Symbol || !d.functionIndex(callee.name, d.inst.target))
      return d.refuse("expected the name of a function");
  }
  return d.callSite(results, arguments);
}

template <Flow flow> bool decodeLeave(Decoder &d) {
  d.take("uni");
  d.inst.flow = flow;
  d.inst.kind = Class::Control;
  return d.expectOperands(0, 0);
}

void breakpoint(Warp &w, const Inst &i, uint32_t mask) {
  w.fail(i, mask, "the kernel executed brkpt");
}

bool decodeBrkpt(Decoder &d) {
  d.inst.run = &breakpoint;
  return true;
}

/// bar.sync 0;  barrier.cta.sync.aligned 1, 128;  bar.red.popc.u32 d, 0, p;
bool decodeBar(Decoder &d) {
  const bool barrier = d.syntax().opcode == "barrier";
  if (!barrier && d.take("warp")) {
    if (!d.take("sync") || !d.expectOperands(1, 1))
      return d.refuse("expected bar.warp.sync mask");
    d.inst.flow = Flow::WarpBarrier;
    d.inst.kind = Class::Barrier;
    return d.source(0, Type::B32);
  }
  if (barrier && d.take("cluster"))
    return decodeClusterBarrier(d);
  d.take("cta");
  const int kind = d.takeOneOf({"sync", "arrive", "red"});
  // bar is aligned: all lanes of the warp come together; barrier only if it says so.
  d.inst.extra = d.take("aligned") || !barrier;
  d.inst.flow = Flow::Barrier;
  d.inst.kind = Class::Barrier;
  d.inst.variant = static_cast<uint8_t>(kind);
  size_t at = 0;
  if (kind == 2) {
    const int reduction = d.takeOneOf({"popc", "and", "or"});
    const Type type = d.takeType();
    if (reduction < 0 || !d.expectOperands(3, 4) ||
        !d.result(at++, reduction == 0 ? Type::U32 : Type::Pred) || type == Type::None)
      return d.refuse("expected .popc.u32, .and.pred or .or.pred");
    d.inst.variant = static_cast<uint8_t>(2 + reduction);
  } else if (kind < 0 || !d.expectOperands(kind == 1 ? 2 : 1, 2)) {
    return d.refuse("expected .sync, .arrive or .red, a barrier, and for .arrive a count");
  }
  if (!d.source(at++, Type::U32))
    return false;
  const bool counted = at + (kind == 2 ? 1 : 0) < d.operandCount();
  if (counted) {
    if (!d.source(at++, Type::U32))
      return false;
  } else {
    d.constantSource(0, 4);
  }
  return kind != 2 || d.source(at, Type::Pred);
}

void fenceProxy(Warp &w, const Inst &, uint32_t mask) {
  if (w.observer)
    w.observer->proxyFence(w, mask);
}

void fenceMbarriers(Warp &w, const Inst &, uint32_t mask) {
  if (w.observer)
    w.observer->mbarrierFence(w, mask);
}

/// Fences: the accesses of a block take effect in order here, so nothing is left to do but to tell
/// the checker of those between the generic and the asynchronous proxy. Inst::variant: one of them,
/// or fence.mbarrier_init.
bool decodeFence(Decoder &d) {
  const bool proxy = d.take("proxy"), init = d.take("mbarrier_init");
  if (proxy && d.takeOneOf({"alias", "async", "async.global"}) < 0 &&
      d.takePrefix("async").empty() && d.takePrefix("tensormap").empty())
    return d.refuse("the machine does not know the fence of this proxy");
  for (const char *word : {"cta", "gl", "sys", "gpu", "cluster", "sc", "acq_rel", "acquire",
                           "release", "relaxed", "alias", "async", "global"})
    d.take(word);
  while (!d.takePrefix("async::").empty() || !d.takePrefix("sync_restrict::").empty() ||
         !d.takePrefix("shared::").empty())
    ;
  d.inst.variant = proxy || init;
  d.inst.run = proxy ? &fenceProxy : init ? &fenceMbarriers : &doNothing;
  d.inst.kind = Class::Barrier;
  return true;
}

bool decodeNanosleep(Decoder &d) {
  d.takeType();
  d.inst.flow = Flow::Yield;
  d.inst.run = &doNothing;
  d.inst.kind = Class::Control;
  return d.expectOperands(1, 1) && d.source(0, Type::U32);
}

/// pmevent triggers a counter; griddepcontrol orders grids, and each runs by itself here.
bool decodeNothing(Decoder &d) {
  d.take("launch_dependents");
  d.take("wait");
  d.inst.run = &doNothing;
  d.inst.kind = Class::Control;
  return true;
}

/// setmaxnreg.inc.sync.aligned.u32 n: registers are not scarce here. What the machine does not
/// model: an increase that waits for ever.
bool decodeRegisters(Decoder &d) {
  const int way = d.takeOneOf({"inc", "dec"});
  if (way < 0 || !d.take("sync") || !d.take("aligned") || d.takeType() != Type::U32 ||
      !d.expectOperands(1, 1) || d.operand(0).kind != OperandSyntax::Kind::Integer)
    return d.refuse("expected setmaxnreg.inc or .dec .sync.aligned.u32 and a constant");
  const int64_t count = d.operand(0).integer;
  if (count < 24 || count > 256 || count % 8 != 0)
    return d.refuse(fmt::format("{} registers: a multiple of 8 from 24 to 256 can be had", count));
  d.noteUnmodelled();
  d.inst.run = &doNothing;
  d.inst.kind = Class::Control;
  return true;
}

constexpr Opcode kOpcodes[] = {{"bra", decodeBra},
                               {"brx", decodeBrx},
                               {"call", decodeCall},
                               {"ret", decodeLeave<Flow::Return>},
                               {"exit", decodeLeave<Flow::Exit>},
                               {"trap", decodeLeave<Flow::Trap>},
                               {"brkpt", decodeBrkpt},
                               {"bar", decodeBar},
                               {"barrier", decodeBar},
                               {"membar", decodeFence},
                               {"fence", decodeFence},
                               {"nanosleep", decodeNanosleep},
                               {"pmevent", decodeNothing},
                               {"setmaxnreg", decodeRegisters},
                               {"griddepcontrol", decodeNothing}};

} // namespace

std::span<const Opcode> controlOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
