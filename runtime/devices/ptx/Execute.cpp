// Runs the instructions of a warp, path by path.
//
//   @%p bra A   with lanes 0-3 of 0-7 taking it:   path {0-7}  ->  join at the post-dominator
//                                                                  +- path {4-7} at the next line
//                                                                  +- path {0-3} at A
// A path that reaches its join's place waits there; the last one to come goes on with all lanes.
#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace heddle::ptx {

namespace {

/// Instructions that one path may do while others of its warp are ready too.
constexpr int64_t kSlice = 4096;
/// Atomics and volatile loads after which lanes that wait at a join go on by themselves: the ones
/// they wait for may be spinning on something that one of them has yet to do.
constexpr uint64_t kPatience = 1 << 14;

} // namespace

void Warp::enter(const Path &path) {
  frame = path.frame;
  bases[Operand::Frame] = path.frame->memory;
  std::fill_n(reinterpret_cast<uint64_t *>(specials + offsetOf(Special::LocalBase)), kLanes,
              path.frame->localBase);
}

Frame *Warp::takeFrame(const Function &function, uint64_t localBase) {
  Frame *frame = nullptr;
  for (size_t i = 0; i < freeFrames.size() && !frame; ++i) {
    if (freeFrames[i]->capacity >= function.frameBytes) {
      frame = freeFrames[i];
      freeFrames.erase(freeFrames.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  if (!frame) {
    frames.push_back(std::make_unique<Frame>());
    frame = frames.back().get();
    frame->capacity = function.frameBytes;
    frame->owned.reset(new std::byte[function.frameBytes + 64]);
    const uint64_t misfit = reinterpret_cast<uint64_t>(frame->owned.get()) % 64;
    frame->memory = frame->owned.get() + (64 - misfit) % 64;
  }
  frame->function = &function;
  frame->localBase = localBase;
  std::memset(frame->memory, 0, function.frameBytes);
  if (observer)
    frame->defined.assign(function.frameBytes / 4, 0);
  return frame;
}

Join *Warp::takeJoin(Join values) {
  if (freeJoins.empty()) {
    joins.push_back(std::make_unique<Join>());
    freeJoins.push_back(joins.back().get());
  }
  Join *join = freeJoins.back();
  freeJoins.pop_back();
  *join = values;
  return join;
}

void Warp::giveJoin(Join *join) {
  if (join->callee)
    freeFrames.push_back(join->callee);
  freeJoins.push_back(join);
}

void Warp::dropCurrent() {
  paths[current] = paths.back();
  paths.pop_back();
}

bool Warp::choosePath() {
  for (size_t tried = 0; tried < paths.size(); ++tried) {
    current = (current + 1) % paths.size();
    if (paths[current].state == Path::State::Ready)
      return true;
  }
  return false;
}

bool Warp::blocked() const {
  return std::none_of(paths.begin(), paths.end(),
                      [](const Path &p) { return p.state == Path::State::Ready; });
}

/// All lanes of a join are there: they go on as one path.
void Warp::resume(Join *join) {
  polls = 0;
  paths.push_back({join->pc, join->waiting, join->frame, join->parent});
  giveJoin(join);
}

void Warp::arrive(Join *join, uint32_t lanes) {
  join->waiting |= lanes;
  if (join->waiting == join->expected)
    resume(join);
}

/// Lanes that will not come: they leave every join from `from` up to `until`.
void Warp::leaveJoins(Join *from, const Join *until, uint32_t lanes) {
  for (Join *j = from; j != until; j = j->parent)
    j->expected &= ~lanes;
  for (Join *j = from; j != until;) {
    Join *parent = j->parent;
    if (j->expected == 0) {
      giveJoin(j);
    } else {
      if (j->waiting == j->expected)
        resume(j);
      return;
    }
    j = parent;
  }
}

/// The current path parts: `others` go to `target`, the rest to the next instruction.
void Warp::diverge(uint32_t others, uint32_t target, uint32_t reconverge) {
  Path &path = paths[current];
  Join *join = path.join;
  if (reconverge != Inst::kNever && !(join && !join->call && join->pc == reconverge))
    join = takeJoin({.pc = reconverge, .expected = path.mask, .parent = join, .frame = path.frame});
  const uint32_t rest = path.mask & ~others;
  const uint32_t next = path.pc + 1;
  path.join = join;
  path.pc = next;
  path.mask = rest;
  Path second{target, others, path.frame, join};
  paths.push_back(second);
}

/// Lanes that wait at a join of any path go on by themselves.
void Warp::stopWaiting() {
  polls = 0;
  for (size_t i = 0, count = paths.size(); i < count; ++i) {
    for (Join *join = paths[i].join; join; join = join->parent) {
      if (join->waiting == 0)
        continue;
      paths.push_back({join->pc, join->waiting, join->frame, join->parent});
      join->expected &= ~join->waiting;
      join->waiting = 0;
    }
  }
}

/// Lanes that the guard keeps out of an instruction that may wait go on by themselves.
void Warp::split(uint32_t others) {
  Path &path = paths[current];
  const uint32_t next = path.pc + 1;
  Join *join = path.join;
  if (!(join && !join->call && join->pc == next))
    join = takeJoin({.pc = next, .expected = path.mask, .parent = join, .frame = path.frame});
  path.join = join;
  path.mask &= ~others;
  arrive(join, others);
}

uint32_t Warp::neededMembers(const Path &path) const {
  const Operand &mask = path.at->ops[path.at->results + path.at->sources - 1];
  const uint32_t *values = reinterpret_cast<const uint32_t *>(
      (mask.base == Operand::Frame ? path.frame->memory : bases[mask.base]) + mask.offset);
  uint32_t needed = 0;
  for (uint32_t rest = path.mask; rest; rest &= rest - 1)
    needed |= values[std::countr_zero(rest)];
  return needed & live;
}

/// Runs the collective instructions whose members have all come.
void Warp::settleMembers() {
  for (size_t i = 0; i < paths.size(); ++i) {
    if (paths[i].state != Path::State::AtMembers)
      continue;
    const Inst &inst = *paths[i].at;
    const auto together = [&](const Path &p) {
      return p.state == Path::State::AtMembers && p.frame == paths[i].frame &&
             (p.at == &inst || (p.at->flow == Flow::WarpBarrier && inst.flow == Flow::WarpBarrier));
    };
    uint32_t present = 0, needed = 0;
    for (const Path &p : paths)
      if (together(p)) {
        present |= p.mask;
        needed |= neededMembers(p);
      }
    if (needed & ~present)
      continue;
    if (inst.run) {
      enter(paths[i]);
      if (observer)
        observer->before(*this, inst, present);
      inst.run(*this, inst, present);
      if (observer)
        observer->after(*this, inst, present);
    }
    if (observer)
      observer->warpBarrier(*this, present);
    for (Path &p : paths)
      if (p.state == Path::State::AtMembers && (present & p.mask))
        release(p);
  }
}

void Warp::release(Path &path) {
  path.state = Path::State::Ready;
  ++path.pc;
}

/// Copies variable bytes of the lanes of `mask` between frames.
static void handOver(const Frame &to, const FrameVariable &toVariable, const Frame &from,
                     const FrameVariable &fromVariable, uint32_t mask) {
  const auto place = [](const Frame &f, const FrameVariable &v, int lane) {
    return v.inRegister ? f.memory + v.reg.offset + lane * v.reg.bytes
                        : f.memory + v.offset + static_cast<uint32_t>(lane) * v.bytes;
  };
  const size_t bytes = std::min(toVariable.bytes, fromVariable.bytes);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    std::memcpy(place(to, toVariable, lane), place(from, fromVariable, lane), bytes);
  }
}

void Warp::call(const Inst &inst, const Function &callee) {
  Path &path = paths[current];
  size_t depth = 0;
  for (const Join *j = path.join; j; j = j->parent)
    depth += j->call != nullptr;
  const uint64_t localBase =
      path.frame->localBase + static_cast<uint64_t>((path.frame->function->localBytes + 15) & ~15);
  if (depth > 512 || localBase + static_cast<uint64_t>(callee.localBytes) >
                         kLocalBase + static_cast<uint64_t>(block->localBytes)) {
    fail(inst, path.mask,
         fmt::format("calls nested {} deep: the stack of {} bytes a thread is full", depth,
                     block->localBytes));
    return;
  }
  Frame *frame = takeFrame(callee, localBase);
  const CallSite &site = path.frame->function->calls[inst.table];
  const size_t given = std::min(site.arguments.size(), callee.params.size());
  for (size_t i = 0; i < given; ++i)
    handOver(*frame, callee.params[i], *path.frame, site.arguments[i], path.mask);
  if (observer)
    observer->called(*this, *frame, callee);
  path.join = takeJoin({.pc = path.pc + 1,
                        .expected = path.mask,
                        .parent = path.join,
                        .frame = path.frame,
                        .call = &inst,
                        .callee = frame});
  path.frame = frame;
  path.pc = 0;
}

void Warp::returnLanes(uint32_t mask) {
  Path &path = paths[current];
  Join *call = path.join;
  while (call && !call->call)
    call = call->parent;
  if (!call) {
    exitLanes(mask);
    return;
  }
  const CallSite &site = call->frame->function->calls[call->call->table];
  const Function &callee = *path.frame->function;
  for (size_t i = 0; i < std::min(site.results.size(), callee.results.size()); ++i)
    handOver(*call->frame, site.results[i], *path.frame, callee.results[i], mask);
  if (observer)
    observer->returned(*call->frame, site, mask);
  Join *inner = path.join;
  path.mask &= ~mask;
  ++path.pc;
  if (path.mask == 0)
    dropCurrent();
  leaveJoins(inner, call, mask);
  arrive(call, mask);
}

void Warp::exitLanes(uint32_t mask) {
  Path &path = paths[current];
  Join *join = path.join;
  live &= ~mask;
  path.mask &= ~mask;
  ++path.pc;
  if (path.mask == 0)
    dropCurrent();
  leaveJoins(join, nullptr, mask);
  settleMembers();
  block->exited(*this);
}

void Warp::branchIndexed(const Inst &inst, uint32_t mask) {
  const uint32_t *index = src<uint32_t>(inst.ops[0]);
  const std::vector<uint32_t> &tables = paths[current].frame->function->branchTables;
  if (mask != paths[current].mask) {
    split(paths[current].mask & ~mask);
    return;
  }
  // One target at a time: the lanes with another index stay and come here again.
  const uint32_t first = index[std::countr_zero(mask)];
  uint32_t same = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    same |= index[std::countr_zero(rest)] == first ? rest & -rest : 0;
  if (first >= static_cast<uint32_t>(inst.imm)) {
    fail(inst, same, fmt::format("brx.idx with index {} of {} targets", first, inst.imm));
    return;
  }
  const uint32_t target = tables[inst.table + first];
  if (same == mask) {
    paths[current].pc = target;
    return;
  }
  diverge(same, target, inst.reconverge);
  --paths[current].pc;
}

const Function *Warp::calleeOf(const Inst &inst, uint32_t mask) {
  const Program &program = block->program;
  if (inst.flow == Flow::Call)
    return program.functions[inst.target].get();
  const uint64_t *address = src<uint64_t>(inst.ops[0]);
  const auto found = program.byAddress.find(address[std::countr_zero(mask)]);
  if (found != program.byAddress.end())
    return program.functions[static_cast<size_t>(found->second)].get();
  fail(inst, mask,
       fmt::format("call of address {:#x}, where no function is", address[std::countr_zero(mask)]));
  return nullptr;
}

/// An instruction that waits for what others do. A checked run lets the first try of a wait that
/// may end without success end so: a kernel that does not try again has a bug.
void Warp::wait(const Inst &inst) {
  Path &path = paths[current];
  waited = Waited::Done;
  inst.run(*this, inst, path.mask);
  if (stop)
    return;
  const bool over =
      waited == Waited::MayExpire && (path.expired || (observer && path.failed != &inst));
  path.at = &inst;
  if (waited != Waited::Done && !over) {
    path.state = Path::State::Waiting;
    path.mayExpire = waited == Waited::MayExpire;
    return;
  }
  path.failed = over ? &inst : nullptr;
  path.expired = false;
  if (observer)
    observer->after(*this, inst, path.mask);
  ++path.pc;
}

/// Whatever may change the paths. The path's pc is that of `inst`.
void Warp::control(const Inst &inst, uint32_t mask) {
  Path &path = paths[current];
  switch (inst.flow) {
  case Flow::Branch:
    diverge(mask, inst.target, inst.reconverge);
    return;
  case Flow::BranchIndexed:
    branchIndexed(inst, mask);
    return;
  case Flow::Call:
  case Flow::CallIndirect: {
    uint32_t same = mask;
    if (inst.flow == Flow::CallIndirect) {
      const uint64_t *address = src<uint64_t>(inst.ops[0]);
      for (uint32_t rest = mask; rest; rest &= rest - 1)
        if (address[std::countr_zero(rest)] != address[std::countr_zero(mask)])
          same &= ~(rest & -rest);
    }
    if (mask != path.mask) {
      split(path.mask & ~mask);
      return;
    }
    if (same != mask) { // lanes with another callee stay here, in a path of their own
      diverge(mask & ~same, path.pc, path.pc + 1);
      --paths[current].pc;
      return;
    }
    const Function *callee = calleeOf(inst, mask);
    if (!callee)
      return;
    if (callee->intrinsic != Function::Intrinsic::None) {
      runIntrinsic(*this, inst, *callee, mask);
      ++paths[current].pc;
      return;
    }
    call(inst, *callee);
    return;
  }
  case Flow::Return:
    returnLanes(mask);
    return;
  case Flow::Exit:
    exitLanes(mask);
    return;
  case Flow::Barrier:
    if (mask != path.mask) {
      split(path.mask & ~mask);
      return;
    }
    if (inst.run)
      inst.run(*this, inst, mask);
    path.at = &inst;
    if (!block->arriveAtBarrier(*this, inst, mask))
      ++paths[current].pc;
    return;
  case Flow::Collective:
  case Flow::WarpBarrier:
    if (mask != path.mask) {
      split(path.mask & ~mask);
      return;
    }
    path.at = &inst;
    path.state = Path::State::AtMembers;
    settleMembers();
    return;
  case Flow::Wait:
    if (mask != path.mask) {
      split(path.mask & ~mask);
      return;
    }
    wait(inst);
    return;
  case Flow::Trap:
    fail(inst, mask, "the kernel executed trap");
    return;
  default:
    return;
  }
}

template <bool Observed> bool Warp::runPaths(int64_t fuel) {
  bool progress = false;
  int64_t slice = kSlice;
  while (!paths.empty()) {
    if (current >= paths.size() || paths[current].state != Path::State::Ready || slice <= 0) {
      if (fuel <= 0 || !choosePath())
        return progress;
      slice = kSlice;
    }
    Path &path = paths[current];
    enter(path);
    const Inst *code = path.frame->function->code.data();
    const uint32_t mask = path.mask;
    const uint32_t meeting = path.join && !path.join->call ? path.join->pc : Inst::kNever;
    const std::byte *registers = bases[Operand::Frame];
    uint64_t *counts = Observed && !block->counts.empty() &&
                               path.frame->function == block->program.functions[0].get()
                           ? block->counts.data()
                           : nullptr;
    uint32_t pc = path.pc;
    int64_t left = std::min(fuel, paths.size() > 1 ? slice : fuel);
    const int64_t given = left;
    const Inst *event = nullptr;
    uint32_t active = 0;
    bool yielded = false;
    for (; left > 0; --left) {
      if (pc == meeting)
        break;
      const Inst &inst = code[pc];
      active = mask;
      if (inst.guard != Inst::kNever)
        active &= *reinterpret_cast<const uint32_t *>(registers + inst.guard) ^ inst.guardFlip;
      if (Observed && counts)
        ++counts[pc];
      if (inst.flow == Flow::Plain) {
        if (active) {
          if (Observed && observer)
            observer->before(*this, inst, active);
          inst.run(*this, inst, active);
          if (Observed && observer)
            observer->after(*this, inst, active);
        }
        ++pc;
        if (stop) [[unlikely]]
          break;
        continue;
      }
      if (active == 0) {
        ++pc;
        continue;
      }
      if (Observed && observer)
        observer->before(*this, inst, active);
      if (inst.flow == Flow::Branch && active == mask) {
        pc = inst.target;
        continue;
      }
      if (inst.flow == Flow::Yield) {
        path.pc = pc;
        inst.run(*this, inst, active);
        if (Observed && observer)
          observer->after(*this, inst, active);
        ++pc;
        --left;
        yielded = true;
        break;
      }
      --left;
      event = &inst;
      break;
    }
    path.pc = pc;
    const int64_t done = given - left;
    progress = progress || done > 0 || pc == meeting;
    steps += static_cast<uint64_t>(done);
    fuel -= done;
    slice -= done;
    if (stop || yielded)
      return true;
    if (event) {
      control(*event, active);
      if (stop)
        return true;
    } else if (pc == meeting) {
      Join *join = path.join;
      dropCurrent();
      arrive(join, mask);
      current = paths.size() - 1; // go on with what just met
    }
    if (polls > kPatience)
      stopWaiting();
    if (fuel <= 0)
      return progress;
  }
  return progress;
}

bool Warp::run(int64_t fuel) {
  const bool watched = observer || !block->counts.empty();
  const bool progress = watched ? runPaths<true>(fuel) : runPaths<false>(fuel);
  if (!stop && !paths.empty() && steps > static_cast<uint64_t>(block->launch.options.stepLimit)) {
    const Path &path = paths[std::min(current, paths.size() - 1)];
    const Function &f = *path.frame->function;
    fail(f.code[std::min<size_t>(path.pc, f.code.size() - 1)], path.mask,
         fmt::format("an endless loop: {} instructions of one warp are done and it is still here",
                     steps));
  }
  return progress;
}

void Warp::start(Block &owner, int number, uint32_t lanes) {
  block = &owner;
  observer = owner.observer;
  index = number;
  live = lanes;
  steps = 0;
  stop = false;
  polls = 0;
  paths.clear();
  copies.clear();
  std::fill_n(commits, kLanes, 0u);
  std::fill_n(bulkCommits, kLanes, 0u);
  clusterArrived = 0;
  productCommits = 0;
  copiesIssued = 0;
  freeFrames.clear();
  for (const auto &frame : frames)
    freeFrames.push_back(frame.get());
  freeJoins.clear();
  for (const auto &join : joins)
    freeJoins.push_back(join.get());
  bases[Operand::Constants] = const_cast<std::byte *>(owner.constants);
  bases[Operand::Specials] = specials;
  const Function &kernel = *owner.program.functions[0];
  paths.push_back({0, lanes, takeFrame(kernel, kLocalBase), nullptr});
  current = 0;
  fillSpecials();
}

} // namespace heddle::ptx
