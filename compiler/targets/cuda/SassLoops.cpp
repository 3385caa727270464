// Finds the loops of a kernel: basic blocks from labels and branches, dominators, back edges.
//   .L_1: ... HMMA ...  @P0 BRA `(.L_1)     ->  a loop from .L_1 to the branch
// Source of the dominator algorithm: Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm".
#include "compiler/targets/cuda/Sass.h"

#include <algorithm>
#include <set>

namespace heddle::compiler::cuda {
namespace {

using Blocks = std::vector<int>;

struct Graph {
  std::vector<std::pair<int64_t, int64_t>> blocks; ///< instructions [begin, end)
  std::vector<Blocks> next;
};

bool isOneOf(std::string_view mnemonic, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), mnemonic) != list.end();
}

std::string_view mnemonicOf(const SassInstruction &instruction) {
  return std::string_view(instruction.opcode).substr(0, instruction.opcode.find('.'));
}

/// Index of the instruction at the label in "`(.L_x_3)", or -1.
int64_t targetOf(const SassKernel &kernel, const SassInstruction &instruction) {
  const size_t begin = instruction.operands.find("`(");
  const size_t end = instruction.operands.find(')', begin == std::string::npos ? 0 : begin);
  if (begin == std::string::npos || end == std::string::npos)
    return -1;
  const auto label = kernel.labels.find(instruction.operands.substr(begin + 2, end - begin - 2));
  return label == kernel.labels.end() ? -1 : label->second;
}

/// A predicate in front, or among the operands: "BRA P0, `(..)", "BRA.DIV UR4, `(..)".
bool isConditional(const SassInstruction &branch) {
  std::string_view operands = branch.operands;
  if (operands.starts_with('!'))
    operands.remove_prefix(1);
  return !branch.predicate.empty() || branch.opcode.find(".DIV") != std::string::npos ||
         operands.starts_with("P") || operands.starts_with("UP");
}

bool endsBlock(std::string_view mnemonic) {
  return isOneOf(mnemonic,
                 {"BRA", "JMP", "BRX", "BRXU", "BSYNC", "EXIT", "RET", "BREAK", "CALL", "KILL"});
}

Graph graphOf(const SassKernel &kernel) {
  const int64_t count = static_cast<int64_t>(kernel.instructions.size());
  std::set<int64_t> leaders = {0};
  for (int64_t n = 0; n < count; ++n) {
    const SassInstruction &instruction = kernel.instructions[n];
    const std::string_view mnemonic = mnemonicOf(instruction);
    if (endsBlock(mnemonic))
      leaders.insert(n + 1);
    if (const int64_t target = targetOf(kernel, instruction);
        target >= 0 && isOneOf(mnemonic, {"BRA", "JMP", "BSSY", "WARPSYNC"}))
      leaders.insert(target);
  }
  leaders.erase(leaders.lower_bound(count), leaders.end());
  Graph graph;
  std::map<int64_t, int> blockAt;
  for (auto leader = leaders.begin(); leader != leaders.end(); ++leader) {
    const auto after = std::next(leader);
    blockAt[*leader] = static_cast<int>(graph.blocks.size());
    graph.blocks.push_back({*leader, after == leaders.end() ? count : *after});
  }
  for (const auto &[begin, end] : graph.blocks) {
    const SassInstruction &last = kernel.instructions[end - 1];
    const std::string_view mnemonic = mnemonicOf(last);
    const int64_t target = isOneOf(mnemonic, {"BRA", "JMP"}) ? targetOf(kernel, last) : int64_t(-1);
    const bool leaves = isOneOf(mnemonic, {"EXIT", "RET", "KILL", "BRX", "BRXU"});
    Blocks next;
    if (target >= 0 && target < count)
      next.push_back(blockAt[target]);
    const bool falls = target >= 0 ? isConditional(last) : !leaves || !last.predicate.empty();
    if (falls && end < count)
      next.push_back(blockAt[end]);
    graph.next.push_back(std::move(next));
  }
  return graph;
}

/// Blocks in reverse post order from block 0; unreached ones (behind indirect branches) are left
/// out.
Blocks reversePostOrder(const Graph &graph) {
  Blocks order;
  std::vector<bool> seen(graph.next.size());
  std::vector<std::pair<int, size_t>> stack = {{0, 0}};
  seen[0] = true;
  while (!stack.empty()) {
    auto &[block, edge] = stack.back();
    if (edge < graph.next[block].size()) {
      const int to = graph.next[block][edge++];
      if (!seen[to]) {
        seen[to] = true;
        stack.push_back({to, 0});
      }
      continue;
    }
    order.push_back(block);
    stack.pop_back();
  }
  std::reverse(order.begin(), order.end());
  return order;
}

/// The immediate dominator of every block, -1 for unreached ones.
Blocks dominators(const std::vector<Blocks> &previous, const Blocks &order) {
  Blocks idom(previous.size(), -1), number(previous.size(), -1);
  for (size_t n = 0; n < order.size(); ++n)
    number[order[n]] = static_cast<int>(n);
  idom[0] = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t n = 1; n < order.size(); ++n) {
      int best = -1;
      for (int from : previous[order[n]]) {
        if (idom[from] < 0)
          continue;
        for (int other = best < 0 ? from : best; best = other, from != other;)
          number[from] > number[other] ? from = idom[from] : other = idom[other];
      }
      changed |= idom[order[n]] != best;
      idom[order[n]] = best;
    }
  }
  return idom;
}

/// Blocks of each natural loop, by its head.
std::map<int, std::set<int>> naturalLoops(const Graph &graph) {
  std::vector<Blocks> previous(graph.next.size());
  const Blocks order = reversePostOrder(graph);
  for (int block : order)
    for (int to : graph.next[block])
      previous[to].push_back(block);
  const Blocks idom = dominators(previous, order);
  const auto dominates = [&](int head, int block) {
    while (block != head && block != idom[block])
      block = idom[block];
    return block == head;
  };
  std::map<int, std::set<int>> loops;
  for (int from : order)
    for (int head : graph.next[from]) {
      if (!dominates(head, from))
        continue;
      std::set<int> &body = loops[head];
      body.insert(head);
      Blocks open = {from};
      while (!open.empty()) {
        const int block = open.back();
        open.pop_back();
        if (body.insert(block).second)
          open.insert(open.end(), previous[block].begin(), previous[block].end());
      }
    }
  return loops;
}

void add(InstructionMix &mix, const SassInstruction &instruction) {
  ++mix.instructions;
  ++mix.classes[std::string(classOf(instruction))];
  mix.mmaFlops += mmaFlopsOf(instruction);
}

SassLoop describe(const SassKernel &kernel, const Graph &graph, const std::set<int> &body) {
  SassLoop loop;
  loop.begin = INT64_MAX;
  for (int block : body)
    for (int64_t n = graph.blocks[block].first; n < graph.blocks[block].second; ++n) {
      const SassInstruction &instruction = kernel.instructions[n];
      add(loop.mix, instruction);
      loop.begin = std::min(loop.begin, instruction.address);
      loop.end = std::max(loop.end, instruction.address);
    }
  return loop;
}

int chooseMain(const std::vector<SassLoop> &loops) {
  int64_t most = 0;
  for (const SassLoop &loop : loops)
    if (loop.innermost)
      most = std::max(most, loop.mix.mmaFlops);
  int best = -1;
  const auto better = [&](const SassLoop &a, const SassLoop &b) {
    return most > 0 ? a.mix.otherPerMma() < b.mix.otherPerMma()
                    : a.mix.instructions > b.mix.instructions;
  };
  for (size_t n = 0; n < loops.size(); ++n)
    if (loops[n].innermost && 2 * loops[n].mix.mmaFlops >= most &&
        (best < 0 || better(loops[n], loops[best])))
      best = static_cast<int>(n);
  return best;
}

} // namespace

SassFacts factsOf(const SassKernel &kernel) {
  SassFacts facts;
  for (const SassInstruction &instruction : kernel.instructions)
    add(facts.whole, instruction);
  if (kernel.instructions.empty())
    return facts;
  const Graph graph = graphOf(kernel);
  const std::map<int, std::set<int>> bodies = naturalLoops(graph);
  const bool tensor = facts.whole.mmaFlops > 0;
  for (const auto &[head, body] : bodies) {
    SassLoop loop = describe(kernel, graph, body);
    if (tensor && loop.mix.mmaFlops == 0)
      continue;
    for (const auto &[other, inner] : bodies) {
      const bool within =
          other != head && std::includes(body.begin(), body.end(), inner.begin(), inner.end());
      const bool around =
          other != head && std::includes(inner.begin(), inner.end(), body.begin(), body.end());
      loop.depth += around;
      loop.innermost &= !within || (tensor && describe(kernel, graph, inner).mix.mmaFlops == 0);
    }
    facts.loops.push_back(std::move(loop));
  }
  std::sort(facts.loops.begin(), facts.loops.end(),
            [](const SassLoop &a, const SassLoop &b) { return a.begin < b.begin; });
  facts.main = chooseMain(facts.loops);
  return facts;
}

} // namespace heddle::compiler::cuda
