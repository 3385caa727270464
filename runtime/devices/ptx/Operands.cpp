// How the decoder of an opcode takes modifiers and operands.
#include "runtime/devices/ptx/Decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace heddle::ptx {

using Kind = OperandSyntax::Kind;

bool Decoder::refuse(std::string why) {
  if (reason.empty())
    reason = std::move(why);
  return false;
}

void Decoder::noteUnmodelled() {
  program.unmodelled.push_back(fmt::format("{} (line {})", text->spelling(), text->line));
}

bool Decoder::take(std::string_view modifier) {
  const auto found = std::find(left.begin(), left.end(), modifier);
  if (found == left.end())
    return false;
  left.erase(found);
  return true;
}

bool Decoder::has(std::string_view modifier) const {
  return std::find(left.begin(), left.end(), modifier) != left.end();
}

Type Decoder::peekType() const {
  for (const std::string &m : left)
    if (const Type type = parseType(m); type != Type::None)
      return type;
  return Type::None;
}

std::string Decoder::takePrefix(std::string_view prefix) {
  const auto found = std::find_if(left.begin(), left.end(), [&](const std::string &m) {
    return std::string_view(m).starts_with(prefix);
  });
  if (found == left.end())
    return "";
  std::string result = std::move(*found);
  left.erase(found);
  return result;
}

Type Decoder::takeType() {
  for (auto it = left.begin(); it != left.end(); ++it) {
    const Type type = parseType(*it);
    if (type == Type::None)
      continue;
    left.erase(it);
    return type;
  }
  return Type::None;
}

int Decoder::takeOneOf(std::initializer_list<std::string_view> names) {
  int index = 0;
  for (const std::string_view name : names) {
    if (take(name))
      return index;
    ++index;
  }
  return -1;
}

Rounding Decoder::takeRounding(bool integral) {
  constexpr Rounding kModes[] = {Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up,
                                 Rounding::Away};
  const int found = integral ? takeOneOf({"rni", "rzi", "rmi", "rpi"})
                             : takeOneOf({"rn", "rz", "rm", "rp", "rna"});
  return found < 0 ? Rounding::None : kModes[found];
}

Space Decoder::takeSpace() {
  if (take("global"))
    return Space::Global;
  if (take("shared") || take("shared::cta") || take("shared::cluster"))
    return Space::Shared;
  if (take("local"))
    return Space::Local;
  if (take("const"))
    return Space::Const;
  if (take("param") || take("param::entry") || take("param::func"))
    return Space::Param;
  return Space::Generic;
}

bool Decoder::done() {
  if (!reason.empty())
    return false;
  if (!left.empty())
    return refuse(fmt::format("the machine does not know the modifier '.{}' here", left.front()));
  if (!inst.run && inst.flow == Flow::Plain)
    return refuse("the machine does not know this form");
  return true;
}

bool Decoder::expectOperands(size_t least, size_t most) {
  const size_t count = operandCount();
  if (count >= least && count <= most)
    return true;
  return refuse(least == most
                    ? fmt::format("it takes {} operands, and has {}", least, count)
                    : fmt::format("it takes {} to {} operands, and has {}", least, most, count));
}

bool Decoder::push(Operand o, bool isResult) {
  if (operands.size() >= 250)
    return refuse("more operands than an instruction has");
  operands.push_back(o);
  (isResult ? inst.results : inst.sources) += 1;
  return true;
}

static bool widthFits(Type have, Type want, bool wider) {
  if ((have == Type::Pred) != (want == Type::Pred))
    return false;
  return have == Type::Pred || laneBytes(have) == laneBytes(want) ||
         (wider && laneBytes(have) > laneBytes(want));
}

bool Decoder::result(const OperandSyntax &o, Type type, bool wider) {
  if (o.kind == Kind::Sink)
    return push({sinkAt, Operand::Frame, laneBytes(type)}, true);
  if (o.kind != Kind::Register)
    return refuse(o.name.empty()
                      ? std::string("a result has to be a register")
                      : fmt::format("a result has to be a register, and '{}' is none", o.name));
  const RegisterSyntax &reg = currentText->registers[static_cast<size_t>(o.reg)];
  if (!widthFits(reg.type, type, wider))
    return refuse(fmt::format("register {} is .{}, and the result is .{}", reg.name,
                              toString(reg.type), toString(type)));
  return push({registerAt[static_cast<size_t>(o.reg)], Operand::Frame, laneBytes(reg.type)}, true);
}

/// The bits of a constant as a value of `type`.
bool Decoder::immediate(const OperandSyntax &o, Type type, uint64_t &value) {
  value = static_cast<uint64_t>(o.integer);
  if (o.kind == Kind::Real) {
    double real = o.type == Type::F32 ? std::bit_cast<float>(static_cast<uint32_t>(value))
                                      : std::bit_cast<double>(value);
    if (bitsOf(type) == 32)
      value = o.type == Type::F32 ? value : std::bit_cast<uint32_t>(static_cast<float>(real));
    else if (bitsOf(type) == 64)
      value = std::bit_cast<uint64_t>(real);
    else
      return refuse(
          fmt::format("a floating-point constant is no operand of type .{}", toString(type)));
    return true;
  }
  if (type == Type::Pred)
    value = value & 1 ? kAllLanes : 0;
  else if (type == Type::F32)
    value = std::bit_cast<uint32_t>(static_cast<float>(o.integer));
  else if (type == Type::F64)
    value = std::bit_cast<uint64_t>(static_cast<double>(o.integer));
  else if (laneBytes(type) < 8)
    value &= (uint64_t{1} << (8 * laneBytes(type))) - 1;
  return true;
}

bool Decoder::symbolAddress(const OperandSyntax &o, uint64_t &value, bool &local) {
  const uint64_t offset = static_cast<uint64_t>(o.integer);
  local = false;
  const auto shared = [&](const VariableSyntax &v) {
    const auto found = sharedAddress.find(&v);
    value = (found == sharedAddress.end() ? 0 : found->second) + offset;
    return true;
  };
  if (o.reg >= 0) {
    const VariableSyntax &v = currentText->variables[static_cast<size_t>(o.reg)];
    if (v.space == Space::Shared)
      return shared(v);
    if (v.space == Space::Local) {
      local = true;
      value = static_cast<uint64_t>(localAt[static_cast<size_t>(o.reg)]) + offset;
      return true;
    }
    if (v.space == Space::Param)
      return refuse(fmt::format("the address of .param variable '{}' is not supported", o.name));
  }
  if (currentText->entry)
    for (const KernelParam &p : program.params)
      if (p.name == o.name) {
        value = kParamBase + static_cast<uint64_t>(p.offset) + offset;
        return true;
      }
  for (const VariableSyntax &v : module.text.variables)
    if (v.name == o.name && v.space == Space::Shared)
      return shared(v);
  if (const Buffer *buffer = module.variable(o.name)) {
    value = buffer->address + offset;
    return true;
  }
  if (const auto f = module.functionIndex.find(o.name); f != module.functionIndex.end()) {
    value = codeAddress(f->second);
    return true;
  }
  return refuse(fmt::format("'{}' is not declared", o.name));
}

bool Decoder::source(const OperandSyntax &o, Type type, bool wider) {
  Operand result;
  switch (o.kind) {
  case Kind::Register: {
    const RegisterSyntax &reg = currentText->registers[static_cast<size_t>(o.reg)];
    if (!widthFits(reg.type, type, wider))
      return refuse(fmt::format("register {} is .{}, and the operand is .{}", reg.name,
                                toString(reg.type), toString(type)));
    result = {registerAt[static_cast<size_t>(o.reg)], Operand::Frame, laneBytes(reg.type)};
    break;
  }
  case Kind::Integer:
  case Kind::Real: {
    uint64_t value = 0;
    if (!immediate(o, type, value))
      return false;
    result = constant(value, laneBytes(type));
    break;
  }
  case Kind::Special: {
    const auto special = findSpecial(o.name);
    if (!special)
      return refuse(fmt::format("'{}' is no register that is declared, nor a special one that the "
                                "machine knows",
                                o.name));
    if (special->bytes != laneBytes(type))
      return refuse(
          fmt::format("special register {} has another width than .{}", o.name, toString(type)));
    result = {special->offset, Operand::Specials, special->bytes};
    break;
  }
  case Kind::Symbol: {
    uint64_t value = 0;
    if (!symbolAddress(o, value, localSymbol))
      return false;
    if (localSymbol) {
      localOffset = static_cast<int64_t>(value);
      result = {offsetOf(Special::LocalBase), Operand::Specials, 8};
    } else {
      result = constant(laneBytes(type) == 4 ? value & 0xffffffff : value, laneBytes(type));
    }
    break;
  }
  default:
    return refuse("an operand of this kind is not expected here");
  }
  result.negated = o.negated;
  if (o.negated && type != Type::Pred)
    return refuse("'!' stands before predicates only");
  return push(result, false);
}

bool Decoder::results(size_t i, Type type, size_t count, bool wider) {
  const OperandSyntax &o = operand(i);
  if (o.kind != Kind::Vector)
    return count == 1 ? result(o, type, wider) : refuse("expected a list of registers in braces");
  if (o.parts.size() != count)
    return refuse(
        fmt::format("{} registers in braces, and {} are expected", o.parts.size(), count));
  return std::all_of(o.parts.begin(), o.parts.end(),
                     [&](const OperandSyntax &part) { return result(part, type, wider); });
}

bool Decoder::sources(size_t i, Type type, size_t count, bool wider) {
  const OperandSyntax &o = operand(i);
  if (o.kind != Kind::Vector)
    return count == 1 ? source(o, type, wider) : refuse("expected a list of registers in braces");
  if (o.parts.size() != count)
    return refuse(
        fmt::format("{} registers in braces, and {} are expected", o.parts.size(), count));
  return std::all_of(o.parts.begin(), o.parts.end(),
                     [&](const OperandSyntax &part) { return source(part, type, wider); });
}

bool Decoder::isPredicate(const OperandSyntax &o) const {
  return o.kind == Kind::Register &&
         currentText->registers[static_cast<size_t>(o.reg)].type == Type::Pred;
}

bool Decoder::frameVariableOf(const OperandSyntax &o, FrameVariable &variable) {
  if (o.kind == Kind::Register) {
    const Type type = currentText->registers[static_cast<size_t>(o.reg)].type;
    variable.inRegister = true;
    variable.reg = {registerAt[static_cast<size_t>(o.reg)], Operand::Frame, laneBytes(type)};
    variable.bytes = laneBytes(type);
    return type != Type::Pred;
  }
  if (o.kind != Kind::Symbol)
    return false;
  if (o.reg >= 0) {
    variable = variableAt[static_cast<size_t>(o.reg)];
    return currentText->variables[static_cast<size_t>(o.reg)].space == Space::Param;
  }
  if (currentText->entry)
    return false;
  for (const bool results : {false, true}) {
    const std::vector<VariableSyntax> &list = results ? currentText->results : currentText->params;
    for (size_t i = 0; i < list.size(); ++i)
      if (list[i].name == o.name && list[i].space == Space::Param) {
        variable = (results ? current->results : current->params)[i];
        return true;
      }
  }
  return false;
}

bool Decoder::address(size_t i, Space space) {
  const OperandSyntax &o = operand(i);
  if (o.kind != Kind::Address || o.parts.empty())
    return refuse("expected an address in brackets");
  const OperandSyntax &base = o.parts[0];
  inst.space = space;
  inst.address = static_cast<uint8_t>(operands.size());
  inst.imm = o.integer;
  FrameVariable variable;
  if (space == Space::Param && frameVariableOf(base, variable) && !variable.inRegister) {
    frameVariable = true;
    inst.imm += base.integer;
    inst.extra = 0;
    inst.table = variable.bytes;
    return push({variable.offset, Operand::Frame, 8}, false);
  }
  if (space == Space::Param && base.kind == Kind::Symbol && currentText->entry)
    for (const KernelParam &p : program.params)
      if (p.name == base.name) {
        kernelParam = true;
        inst.imm += base.integer + p.offset;
        return true;
      }
  if (base.kind == Kind::Register) {
    const Type type = currentText->registers[static_cast<size_t>(base.reg)].type;
    if (laneBytes(type) != 4 && laneBytes(type) != 8)
      return refuse("an address is a register of 32 or 64 bits");
    return source(base, type);
  }
  if (!source(base, Type::U64))
    return false;
  if (localSymbol)
    inst.imm += localOffset;
  return true;
}

bool Decoder::branchTable(const OperandSyntax &o) {
  for (const FunctionSyntax::Targets &targets : currentText->branchTargets) {
    if (targets.name != o.name)
      continue;
    inst.table = static_cast<uint32_t>(current->branchTables.size());
    inst.imm = static_cast<int64_t>(targets.labels.size());
    for (int label : targets.labels)
      current->branchTables.push_back(static_cast<uint32_t>(label));
    return true;
  }
  return refuse(fmt::format("no .branchtargets '{}'", o.name));
}

bool Decoder::callSite(const OperandSyntax *results, const OperandSyntax *arguments) {
  CallSite site;
  const auto collect = [&](const OperandSyntax *list, std::vector<FrameVariable> &into) {
    for (const OperandSyntax &o : list ? list->parts : std::vector<OperandSyntax>()) {
      FrameVariable variable;
      if (!frameVariableOf(o, variable))
        return refuse("an argument of a call has to be a .param variable or a register");
      into.push_back(variable);
    }
    return true;
  };
  if (!collect(results, site.results) || !collect(arguments, site.arguments))
    return false;
  inst.table = static_cast<uint32_t>(current->calls.size());
  current->calls.push_back(std::move(site));
  return true;
}

bool Decoder::functionIndex(const std::string &name, uint32_t &index) {
  const auto found = module.functionIndex.find(name);
  if (found == module.functionIndex.end() || !programIndex.contains(found->second))
    return refuse(fmt::format("function '{}' is not declared", name));
  index = programIndex.at(found->second);
  return true;
}

} // namespace heddle::ptx
