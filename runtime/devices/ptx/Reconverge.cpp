// Where diverged lanes meet: the immediate post-dominator of each branch, by the iterative
// algorithm of Cooper, Harvey and Kennedy on the reversed control flow of basic blocks.
//   @%p bra A; ...; bra B; A: ...; B: ...      -> lanes that part at the first branch meet at B
#include "runtime/devices/ptx/Program.h"

#include <algorithm>

namespace heddle::ptx {

namespace {

struct Graph {
  std::vector<uint32_t> starts;        // first instruction of each block
  std::vector<int> blockOf;            // by instruction
  std::vector<std::vector<int>> after; // successors; the block one past the last is the exit
  std::vector<std::vector<int>> before;
};

bool endsBlock(const Inst &inst) {
  return inst.flow == Flow::Branch || inst.flow == Flow::BranchIndexed ||
         inst.flow == Flow::Return || inst.flow == Flow::Exit || inst.flow == Flow::Trap;
}

std::vector<uint32_t> targetsOf(const Function &f, const Inst &inst) {
  if (inst.flow == Flow::Branch)
    return {inst.target};
  if (inst.flow == Flow::BranchIndexed)
    return {f.branchTables.begin() + inst.table, f.branchTables.begin() + inst.table + inst.imm};
  return {};
}

Graph makeGraph(const Function &f) {
  const uint32_t size = static_cast<uint32_t>(f.code.size());
  std::vector<bool> leader(size + 1, false);
  leader[0] = true;
  for (uint32_t i = 0; i < size; ++i) {
    for (uint32_t target : targetsOf(f, f.code[i]))
      leader[target] = true;
    if (endsBlock(f.code[i]))
      leader[i + 1] = true;
  }
  Graph g;
  g.blockOf.resize(size + 1);
  for (uint32_t i = 0; i < size; ++i) {
    if (leader[i])
      g.starts.push_back(i);
    g.blockOf[i] = static_cast<int>(g.starts.size()) - 1;
  }
  const int exit = static_cast<int>(g.starts.size());
  g.blockOf[size] = exit;
  g.starts.push_back(size);
  g.after.resize(static_cast<size_t>(exit) + 1);
  g.before.resize(static_cast<size_t>(exit) + 1);
  for (int b = 0; b < exit; ++b) {
    const uint32_t last = g.starts[static_cast<size_t>(b) + 1] - 1;
    const Inst &inst = f.code[last];
    std::vector<int> &next = g.after[static_cast<size_t>(b)];
    for (uint32_t target : targetsOf(f, inst))
      next.push_back(g.blockOf[target]);
    const bool leaves = inst.flow == Flow::Return || inst.flow == Flow::Exit;
    if (leaves || inst.flow == Flow::Trap)
      next.push_back(exit);
    if (!endsBlock(inst) || inst.guard != Inst::kNever)
      next.push_back(b + 1);
    for (int n : next)
      g.before[static_cast<size_t>(n)].push_back(b);
  }
  return g;
}

/// Blocks from which `exit` is reached, in post-order of a walk against the flow.
std::vector<int> reversedPostOrder(const Graph &g, int exit) {
  std::vector<int> order;
  std::vector<bool> seen(g.after.size(), false);
  std::vector<std::pair<int, size_t>> stack = {{exit, 0}};
  seen[static_cast<size_t>(exit)] = true;
  while (!stack.empty()) {
    auto &[block, next] = stack.back();
    const std::vector<int> &before = g.before[static_cast<size_t>(block)];
    if (next == before.size()) {
      order.push_back(block);
      stack.pop_back();
      continue;
    }
    const int to = before[next++];
    if (!seen[static_cast<size_t>(to)]) {
      seen[static_cast<size_t>(to)] = true;
      stack.push_back({to, 0});
    }
  }
  std::reverse(order.begin(), order.end());
  return order;
}

} // namespace

void findReconvergence(Function &f) {
  if (f.code.empty())
    return;
  const Graph g = makeGraph(f);
  const int exit = static_cast<int>(g.after.size()) - 1;
  const std::vector<int> order = reversedPostOrder(g, exit);
  std::vector<int> rank(g.after.size(), -1), dominator(g.after.size(), -1);
  for (size_t i = 0; i < order.size(); ++i)
    rank[static_cast<size_t>(order[i])] = static_cast<int>(i);
  dominator[static_cast<size_t>(exit)] = exit;
  for (bool changed = true; changed;) {
    changed = false;
    for (int block : order) {
      if (block == exit)
        continue;
      int meet = -1;
      for (int next : g.after[static_cast<size_t>(block)]) {
        if (dominator[static_cast<size_t>(next)] < 0)
          continue;
        int other = next;
        while (meet >= 0 && meet != other) {
          int &later =
              rank[static_cast<size_t>(meet)] > rank[static_cast<size_t>(other)] ? meet : other;
          later = dominator[static_cast<size_t>(later)];
        }
        meet = other;
      }
      if (meet >= 0 && dominator[static_cast<size_t>(block)] != meet) {
        dominator[static_cast<size_t>(block)] = meet;
        changed = true;
      }
    }
  }
  for (size_t i = 0; i < f.code.size(); ++i) {
    Inst &inst = f.code[i];
    if (inst.flow != Flow::Branch && inst.flow != Flow::BranchIndexed)
      continue;
    const int meet = dominator[static_cast<size_t>(g.blockOf[i])];
    inst.reconverge = meet < 0 || meet == exit ? Inst::kNever : g.starts[static_cast<size_t>(meet)];
  }
}

} // namespace heddle::ptx
