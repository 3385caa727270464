// A line of PTX is taken apart, one row of kWays at a time changes it, and it is put together
// again:
//   @%p1 cp.async.wait_group 1;   ->  guard "@%p1", opcode "cp.async.wait_group", operands {"1"}
//   "wait for copies weakened"    ->  @%p1 cp.async.wait_group 2;
// NVRTC writes one instruction a line; lines with several, or with none, have no mutants.
#include "tests/runtime/ptx/mutants/Mutate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <optional>
#include <sstream>
#include <string_view>

namespace heddle::test {
namespace {

struct Instruction {
  std::string guard, opcode;
  std::vector<std::string> operands;
  std::string before; ///< instructions that have to come first, in the same scope

  /// Whether the opcode is `name`, or that with modifiers.
  bool is(std::string_view name) const {
    return opcode.starts_with(name) && (opcode.size() == name.size() || opcode[name.size()] == '.');
  }
  bool has(std::string_view modifier) const {
    const size_t at = opcode.find(fmt::format(".{}", modifier));
    return at != opcode.npos &&
           (at + modifier.size() + 1 == opcode.size() || opcode[at + modifier.size() + 1] == '.');
  }
  std::string type() const { return opcode.substr(opcode.rfind('.') + 1); }
  std::string text() const {
    if (opcode.empty())
      return "";
    const std::string one = fmt::format("{}{}{} {};", guard, guard.empty() ? "" : " ", opcode,
                                        fmt::join(operands, ", "));
    return before.empty() ? one : "{ " + before + " " + one + " }";
  }
};

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == text.npos
             ? ""
             : std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

std::optional<Instruction> parse(std::string_view line) {
  Instruction inst;
  std::string text = trimmed(line);
  if (text.empty() || text.back() != ';' || text[0] == '.' || text.find(';') + 1 != text.size() ||
      text[text.find_first_of(" \t;") - 1] == ':')
    return std::nullopt;
  text.pop_back();
  if (text[0] == '@') {
    const size_t end = text.find_first_of(" \t");
    inst.guard = text.substr(0, end);
    text = trimmed(std::string_view(text).substr(end));
  }
  const size_t end = std::min(text.find_first_of(" \t"), text.size());
  inst.opcode = text.substr(0, end);
  int depth = 0;
  std::string operand;
  for (const char c : text.substr(end) + ",") {
    depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    if (c != ',' || depth > 0) {
      operand += c;
      continue;
    }
    if (std::string word = trimmed(operand); !word.empty())
      inst.operands.push_back(word);
    operand.clear();
  }
  return inst;
}

std::optional<int64_t> numberOf(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                  : std::nullopt;
}

// What becomes of an instruction. False: it has no such mutant.
using Way = bool (*)(Instruction &);

bool remove(Instruction &i) {
  i.opcode.clear();
  return true;
}

/// operands[which] + by, for a number.
template <int which, int by> bool addTo(Instruction &i) {
  const auto value = which < i.operands.size() ? numberOf(i.operands[which]) : std::nullopt;
  if (!value || (by < 0 && *value == 0))
    return false;
  i.operands[which] = std::to_string(*value + by);
  return true;
}

/// [base + n] -> [base + n + bytes]
bool shift(std::string &address, int64_t bytes) {
  const size_t plus = address.find('+');
  const std::string base = address.substr(1, std::min(plus, address.size() - 1) - 1);
  const auto offset =
      plus == address.npos
          ? std::optional<int64_t>(0)
          : numberOf(std::string_view(address).substr(plus + 1, address.size() - plus - 2));
  if (address[0] != '[' || !offset || base.find(',') != base.npos)
    return false;
  address = fmt::format("[{}+{}]", base, *offset + bytes);
  return true;
}

/// Bytes that a load or store moves by each lane.
int64_t width(const Instruction &i) {
  const auto bits = numberOf(i.type().substr(1));
  return bits.value_or(32) / 8 * (i.has("v2") ? 2 : i.has("v4") ? 4 : 1);
}
bool shiftAccess(Instruction &i) {
  for (std::string &operand : i.operands)
    if (operand[0] == '[')
      return !i.has("param") && shift(operand, width(i));
  return false;
}
bool shiftRow(Instruction &i) { return shift(i.operands[1], 16); }
bool shiftTarget(Instruction &i) {
  return shift(i.operands[0], numberOf(i.operands[2]).value_or(16));
}
bool shiftSource(Instruction &i) {
  return shift(i.operands[1], numberOf(i.operands[2]).value_or(16));
}
bool withoutCut(Instruction &i) {
  if (i.operands.size() < 4)
    return false;
  i.operands.pop_back();
  return true;
}

/// d = operands[which] alone.
template <int which> bool keepOnly(Instruction &i) {
  if (which >= i.operands.size())
    return false;
  const std::string type = i.type();
  const bool same = i.operands[which] == i.operands[0];
  i.opcode = "mov." + (type[0] == 'f' ? type : "b" + type.substr(1));
  i.operands = {i.operands[0].substr(0, i.operands[0].find('|')), i.operands[which]};
  return !same;
}
bool withoutSum(Instruction &i) {
  i.opcode = "mul.f32";
  i.operands.resize(3);
  return true;
}

bool otherComparison(Instruction &i) {
  for (const auto &[from, to] :
       {std::pair(".lt.", ".le."), {".le.", ".lt."}, {".gt.", ".ge."}, {".ge.", ".gt."}})
    if (const size_t at = i.opcode.find(from); at != i.opcode.npos && i.type()[0] != 'f') {
      i.opcode.replace(at, 4, to);
      return true;
    }
  return false;
}

/// A mask of bits one more; those of halves of a pair of numbers are no index.
bool nextMask(Instruction &i) { return i.operands[2][0] != '-' && addTo<2, 1>(i); }

/// A distance of whole tiles or rows, 16 bytes off.
bool shiftOffset(Instruction &i) {
  const auto value = i.operands.size() == 3 ? numberOf(i.operands[2]) : std::nullopt;
  return value && *value != 0 && *value % 64 == 0 && addTo<2, 16>(i);
}

bool swapPair(Instruction &i) {
  if (i.operands.size() != 3 || i.operands[1] == i.operands[2])
    return false;
  std::swap(i.operands[1], i.operands[2]);
  return true;
}

/// {a, b, c} -> {b, c, a}
template <int which> bool rotate(Instruction &i) {
  std::string &list = i.operands[which];
  const size_t comma = list.find(',');
  if (list[0] != '{' || comma == list.npos)
    return false;
  list = "{" + trimmed(std::string_view(list).substr(comma + 1, list.size() - comma - 2)) + ", " +
         list.substr(1, comma - 1) + "}";
  return true;
}

bool withoutGuard(Instruction &i) {
  const bool had = !i.guard.empty();
  i.guard.clear();
  return had;
}
bool neverTaken(Instruction &i) { return !i.guard.empty() && remove(i); }

/// A value one off, computed before the instruction.
std::string oneOff(Instruction &i, const std::string &value, const char *operation) {
  i.before = fmt::format(".reg .b32 %mutant; {}.b32 %mutant, {}, 1;", operation, value);
  return "%mutant";
}
bool otherPhase(Instruction &i) {
  if (i.operands.size() < 3)
    return false;
  i.operands[2] = oneOff(i, i.operands[2], "xor");
  return true;
}
bool noWait(Instruction &i) {
  i.opcode = "setp.eq.s32";
  i.operands = {i.operands[0], "0", "0"};
  return true;
}
/// [map, {x, y}] -> [map, {x, y + 1}]
bool nextCoordinate(Instruction &i) {
  for (std::string &operand : i.operands) {
    const size_t end = operand.find('}');
    if (operand[0] != '[' || end == operand.npos)
      continue;
    const size_t first = operand.find_last_of(",{", end - 1) + 1;
    const std::string last = trimmed(std::string_view(operand).substr(first, end - first));
    i.before = fmt::format(".reg .b32 %mutant; add.s32 %mutant, {}, 1;", last);
    operand.replace(first, end - first, " %mutant");
    return true;
  }
  return false;
}
bool shiftTile(Instruction &i) {
  for (std::string &operand : i.operands)
    if (operand[0] == '[' && operand.find('{') == operand.npos)
      return shift(operand, 1024);
  return false;
}

struct Row {
  const char *kind;
  const char *opcode;
  const char *modifier; ///< that it has; empty: any
  Way way;
};

constexpr Row kWays[] = {
    {"barrier removed", "bar", "", remove},
    {"barrier removed", "barrier", "", remove},
    {"wait for copies removed", "cp.async.wait_group", "", remove},
    {"wait for copies removed", "cp.async.wait_all", "", remove},
    {"wait for copies removed", "cp.async.bulk.wait_group", "", remove},
    {"wait for copies weakened", "cp.async.wait_group", "", addTo<0, 1>},
    {"wait for copies weakened", "cp.async.bulk.wait_group", "", addTo<0, 1>},
    {"commit removed", "cp.async.commit_group", "", remove},
    {"commit removed", "cp.async.bulk.commit_group", "", remove},
    {"copy removed", "cp.async.cg", "", remove},
    {"copy removed", "cp.async.ca", "", remove},
    {"copy removed", "cp.async.bulk.tensor", "", remove},
    {"copy's target off by its width", "cp.async.cg", "", shiftTarget},
    {"copy's target off by its width", "cp.async.ca", "", shiftTarget},
    {"copy's source off by its width", "cp.async.cg", "", shiftSource},
    {"copy's source off by its width", "cp.async.ca", "", shiftSource},
    {"copy's tail not cut", "cp.async.cg", "", withoutCut},
    {"copy's tail not cut", "cp.async.ca", "", withoutCut},
    {"box off by a row", "cp.async.bulk.tensor", "", nextCoordinate},
    {"box to another place", "cp.async.bulk.tensor", "", shiftTile},
    {"fence removed", "fence", "", remove},
    {"fence removed", "membar", "", remove},
    {"arrival removed", "mbarrier.arrive", "", remove},
    {"too many bytes expected", "mbarrier.arrive.expect_tx", "", addTo<2, 16>},
    {"too few bytes expected", "mbarrier.arrive.expect_tx", "", addTo<2, -16>},
    {"wait for a phase removed", "mbarrier.try_wait", "", noWait},
    {"waits for the other phase", "mbarrier.try_wait", "", otherPhase},
    {"one arrival too many", "mbarrier.init", "", addTo<1, 1>},
    {"one arrival too few", "mbarrier.init", "", addTo<1, -1>},
    {"store off by its width", "st", "shared", shiftAccess},
    {"store off by its width", "st", "global", shiftAccess},
    {"load off by its width", "ld", "shared", shiftAccess},
    {"load off by its width", "ld", "global", shiftAccess},
    {"matrix load off by a row", "ldmatrix", "", shiftRow},
    {"swizzle on one side", "xor", "", keepOnly<1>},
    {"swizzle on one side", "xor", "", keepOnly<2>},
    {"scale dropped", "mul", "f32", keepOnly<1>},
    {"scale alone", "mul", "f32", keepOnly<2>},
    {"product dropped", "fma", "f32", keepOnly<3>},
    {"sum dropped", "fma", "f32", withoutSum},
    {"term dropped", "add", "f32", keepOnly<1>},
    {"term dropped", "add", "f32", keepOnly<2>},
    {"term dropped", "sub", "f32", keepOnly<1>},
    {"maximum dropped", "max", "f32", keepOnly<1>},
    {"maximum dropped", "max", "f32", keepOnly<2>},
    {"exponential dropped", "ex2", "", keepOnly<1>},
    {"mask dropped", "selp", "", keepOnly<1>},
    {"mask always on", "selp", "", keepOnly<2>},
    {"bound off by one", "setp", "", otherComparison},
    {"reduction one step short", "shfl", "bfly", keepOnly<1>},
    {"scan one step short", "shfl", "up", keepOnly<1>},
    {"scan one step short", "shfl", "down", keepOnly<1>},
    {"index off by one", "add", "s32", addTo<2, 1>},
    {"index off by one", "and", "b32", nextMask},
    {"index off by one", "shr", "", addTo<2, 1>},
    {"stage or tile 16 bytes off", "add", "s32", shiftOffset},
    {"width off by one bit", "shl", "", addTo<2, -1>},
    {"pair swapped", "cvt", "bf16x2", swapPair},
    {"pair swapped", "cvt", "f16x2", swapPair},
    {"fragment rotated", "mma", "", rotate<1>},
    {"fragment rotated", "mma", "", rotate<2>},
    {"fragment rotated", "ldmatrix", "x4", rotate<0>},
    {"guard dropped", "st", "", withoutGuard},
    {"branch always taken", "bra", "", withoutGuard},
    {"branch never taken", "bra", "", neverTaken},
};

/// Whether two floats differ as numbers do: 0 and -0 do not, and NaN does not from itself.
std::string floatsDiffer(const std::string &a, const std::string &b) {
  return fmt::format(
      "setp.ne.b32 %differs, {0}, {1}; setp.neu.and.f32 %differs, {0}, {1}, %differs;", a, b);
}

/// "{%f1, %f2}" -> its registers.
std::vector<std::string> registersOf(const std::string &list) {
  std::vector<std::string> registers;
  std::istringstream stream(list.substr(1, list.size() - 2));
  for (std::string name; std::getline(stream, name, ',');)
    registers.push_back(trimmed(name));
  return registers;
}

/// The same with results of its own, which are compared with those of the instruction.
std::string probeOfProduct(const Instruction &before, Instruction after) {
  const std::vector<std::string> results = registersOf(before.operands[0]);
  std::vector<std::string> aside, compare;
  for (size_t i = 0; i < results.size(); ++i) {
    aside.push_back(fmt::format("%aside{}", i));
    compare.push_back(floatsDiffer(aside[i], results[i]) + " @%differs trap;");
  }
  after.operands[0] = fmt::format("{{{}}}", fmt::join(aside, ", "));
  return fmt::format("{{ .reg .f32 {}; .reg .pred %differs; {} {} {} }}", fmt::join(aside, ", "),
                     after.text(), before.text(), fmt::join(compare, " "));
}

/// The type of an instruction's result, if it has one; NVRTC names registers by their types.
std::string resultType(const Instruction &i) {
  if (i.operands.empty() || !i.guard.empty())
    return "";
  const std::string &d = i.operands[0];
  return d.starts_with("%rd") || d.starts_with("%rs") ? ""
         : d.starts_with("%r") || d.starts_with("%f") ? "b32"
         : d.starts_with("%p")                        ? "pred"
                                                      : "";
}

std::string probeOf(const Instruction &before, const Instruction &after) {
  if (before.is("cp.async") && before.operands.size() == 4 && after.operands.size() == 3)
    return fmt::format(
        "{{ .reg .pred %differs; setp.ne.s32 %differs, {}, {}; @%differs trap; {} }}",
        before.operands[3], before.operands[2], before.text());
  if (before.is("cp.async") && before.operands.size() == 4 && after.operands.size() == 4)
    return fmt::format("{{ .reg .pred %differs; setp.ne.s32 %differs, {}, 0; @%differs trap; {} }}",
                       before.operands[3], before.text()); // copies of zeros come from nowhere
  if (!before.guard.empty() && (after.opcode.empty() || before.guard != after.guard)) {
    // Without its guard the instruction does something for the lanes that are guarded out; gone, it
    // does nothing for those that are not.
    const std::string guard = after.opcode.empty()     ? before.guard
                              : before.guard[1] == '!' ? "@" + before.guard.substr(2)
                                                       : "@!" + before.guard.substr(1);
    return fmt::format("{} trap; {}", guard, before.text());
  }
  if (before.is("mma") && before.operands[0].starts_with("{%f"))
    return probeOfProduct(before, after);
  const std::string type = resultType(before);
  if (type.empty() || after.operands.empty() || after.operands[0] != before.operands[0])
    return "";
  Instruction aside = after;
  aside.operands[0] = "%aside";
  const std::string &d = before.operands[0];
  return fmt::format("{{ .reg .{0} %aside; .reg .pred %differs; {1} {2} {3} @%differs trap; }}",
                     type, aside.text(), before.text(),
                     type == "pred" ? fmt::format("xor.pred %differs, %aside, {};", d)
                     : d[1] == 'f'  ? floatsDiffer("%aside", d)
                                    : fmt::format("setp.ne.b32 %differs, %aside, {};", d));
}

std::string poisonOf(const Instruction &i) {
  // Large in f32, bf16 and f16 alike, and no NaN, which a maximum would pass over.
  constexpr const char *kNonsense = "0x7bff7bff";
  std::string text = i.text();
  if (i.is("ldmatrix") || (i.is("mma") && i.operands[0].starts_with("{%f"))) {
    for (const std::string &d : registersOf(i.operands[0]))
      text += fmt::format(" mov.b32 {}, {};", d, kNonsense);
    return text;
  }
  const std::string type = resultType(i);
  if (type.empty())
    return "";
  const std::string d = i.operands[0].substr(0, i.operands[0].find('|'));
  return text + (type == "pred" ? fmt::format(" not.pred {0}, {0};", d)
                                : fmt::format(" mov.b32 {}, {};", d, kNonsense));
}

std::vector<std::string> linesOf(const std::string &text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    lines.push_back(line);
  return lines;
}

} // namespace

std::vector<Mutant> mutantsOf(const std::string &ptx) {
  std::vector<Mutant> mutants;
  int number = 0;
  for (const std::string &line : linesOf(ptx)) {
    ++number;
    const std::optional<Instruction> inst = parse(line);
    if (!inst)
      continue;
    for (const Row &row : kWays) {
      Instruction wrong = *inst;
      if (inst->is(row.opcode) && (!*row.modifier || inst->has(row.modifier)) && row.way(wrong))
        mutants.push_back(
            {row.kind, number, inst->text(), wrong.text(), probeOf(*inst, wrong), poisonOf(*inst)});
    }
  }
  return mutants;
}

std::string withLine(const std::string &ptx, int line, const std::string &text) {
  std::string changed;
  int number = 0;
  for (const std::string &old : linesOf(ptx))
    changed += (++number == line ? text : old) + "\n";
  return changed;
}

} // namespace heddle::test
