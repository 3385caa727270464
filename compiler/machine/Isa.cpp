// Reads the feature words of a machine and picks the instruction set level, e.g. a list with
// avx512f .. avx512vl and avx512_bf16 gives AVX-512 with bf16 dot products. Two levels are enough:
// any processor with AVX-512 that is not a Xeon Phi has F, BW, DQ and VL together.
#include "compiler/machine/Isa.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace heddle::compiler::cpu {
namespace {

constexpr const char *kAvx2Features[] = {"avx2", "fma", "f16c", "bmi2"};
constexpr const char *kAvx512Features[] = {"avx512f", "avx512bw", "avx512dq", "avx512vl"};

/// Words of `facts`; any of space, comma, colon, semicolon and equals sign parts them.
std::set<std::string> words(std::string facts) {
  for (char &c : facts)
    if (std::string_view(",:;=\n\t").find(c) != std::string_view::npos)
      c = ' ';
  std::istringstream stream(facts);
  std::set<std::string> result;
  for (std::string word; stream >> word;)
    result.insert(word);
  return result;
}

template <size_t N>
std::string missing(const std::set<std::string> &present, const char *const (&features)[N]) {
  std::string result;
  for (const char *feature : features)
    if (!present.count(feature))
      result += (result.empty() ? "" : ", ") + std::string(feature);
  return result;
}

/// Latencies matter to the scheduler alone, so a family's representative is enough.
std::string tuneFor(const std::set<std::string> &present, const Isa &isa) {
  bool amd = present.count("AMD") || present.count("AuthenticAMD");
  if (isa.level == Isa::Avx512)
    return amd || !present.count("amx_tile") ? "znver4" : "sapphirerapids";
  return amd ? "znver3" : "haswell";
}

} // namespace

std::string Isa::llvmCpu() const { return level == Avx512 ? "x86-64-v4" : "x86-64-v3"; }

std::string Isa::llvmFeatures() const {
  if (level != Avx512 || !bf16Dot)
    return "";
  return std::string("+avx512bf16,-prefer-256-bit") + (amx ? ",+amx-tile,+amx-bf16" : "");
}

std::vector<std::string> Isa::requiredFeatures() const {
  std::vector<std::string> result(std::begin(kAvx2Features), std::end(kAvx2Features));
  if (level == Avx512)
    result.insert(result.end(), std::begin(kAvx512Features), std::end(kAvx512Features));
  if (bf16Dot)
    result.push_back("avx512_bf16");
  if (amx)
    result.insert(result.end(), {"amx_bf16", "amx_tile"});
  return result;
}

const char *Isa::name() const {
  if (level == Avx512)
    return amx ? "avx512+bf16+amx" : bf16Dot ? "avx512+bf16" : "avx512";
  return "avx2";
}

Result<Isa> chooseIsa(const std::string &deviceFacts, int64_t isaKnob) {
  std::set<std::string> present = words(deviceFacts);
  if (isaKnob != 0 && isaKnob != Isa::Avx2 && isaKnob != Isa::Avx512)
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("knob ISA is {}, expected 0 (widest), 2 (AVX2) or 5 (AVX-512)", isaKnob)};
  std::string noAvx2 = missing(present, kAvx2Features);
  if (!noAvx2.empty())
    return Error{
        ErrorCode::Unsupported,
        fmt::format("the processor lacks {}; CPU kernels need at least AVX2 with FMA", noAvx2)};
  std::string noAvx512 = missing(present, kAvx512Features);
  if (isaKnob == Isa::Avx512 && !noAvx512.empty())
    return Error{
        ErrorCode::Unsupported,
        fmt::format("knob ISA asks for AVX-512 but the processor lacks {}; use ISA=2", noAvx512)};
  Isa isa;
  isa.level = isaKnob != Isa::Avx2 && noAvx512.empty() ? Isa::Avx512 : Isa::Avx2;
  isa.bf16Dot = isa.level == Isa::Avx512 && present.count("avx512_bf16");
  // Cores with tiles start one such dot product in two cycles, but two f32 multiply-adds a cycle
  // (measured on Emerald Rapids): half of the FLOP. Zen 4 and 5 do both at one rate.
  isa.dotPays = isa.bf16Dot && !present.count("amx_tile");
  isa.amx = isa.bf16Dot && present.count("amx_tile") && present.count("amx_bf16");
  isa.tuneCpu = tuneFor(present, isa);
  return isa;
}

} // namespace heddle::compiler::cpu
