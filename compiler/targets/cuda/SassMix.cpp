// Sorts instructions into classes by their mnemonic:  FFMA -> ffma, MUFU.EX2 -> ex2, LDGSTS ->
// ldgsts Moves are told apart from the arithmetic the assembler writes them with (IMAD.MOV, HFMA2
// of zeros).
#include "compiler/targets/cuda/Sass.h"

#include <algorithm>
#include <charconv>

namespace heddle::compiler::cuda {
namespace {

struct Class {
  std::string_view name;
  std::string_view mnemonics; ///< parted and enclosed by spaces; one that ends in * is a prefix
};

constexpr Class kClasses[] = {
    {"mma", " HMMA IMMA DMMA BMMA QMMA OMMA HGMMA QGMMA IGMMA BGMMA QMMA_SF OMMA_SF UTCHMMA* "
            "UTCIMMA* UTCQMMA* UTCOMMA* UTCMXMMA* UTCMMA* "},
    {"ldsm", " LDSM MOVM "},
    {"stsm", " STSM "},
    {"lds", " LDS "},
    {"sts", " STS "},
    {"ldgsts", " LDGSTS "},
    {"tma", " UTMA* UBLK* "},
    {"ldg", " LDG LD "},
    {"stg", " STG ST "},
    {"spill", " LDL STL "},
    {"tmem", " LDTM STTM UTCCP UTCSHIFT UTCATOMSWS "},
    {"const", " LDC ULDC LDCU "},
    {"atom", " ATOM ATOMS ATOMG RED REDG REDAS "},
    {"ffma", " FFMA FFMA32I "},
    {"fmul", " FMUL FMUL32I "},
    {"fadd", " FADD FADD32I "},
    {"fmnmx", " FMNMX FMNMX3 "},
    {"f32x2", " FFMA2 FADD2 FMUL2 "},
    {"half2", " HFMA2* HADD2* HMUL2* HMNMX2* HSET2* HSETP2* VHMNMX* "},
    {"cvt", " F2F F2FP F2I I2F I2FP F2IP I2I FRND I2IP F2I32I "},
    {"shfl", " SHFL "},
    {"redux", " REDUX CREDUX "},
    {"bar", " BAR UCGABAR_ARV UCGABAR_WAIT DEPBAR LDGDEPBAR WARPSYNC SYNCS ARRIVES FENCE MEMBAR "
            "ERRBAR CCTL WARPGROUP UTCBAR UVIRTCOUNT WARPGROUPSET ACQBULK PREEXIT ACQSHMINIT "
            "NANOSLEEP B2R R2B CGAERRBAR ENDCOLLECTIVE USETMAXREG UTMACMDFLUSH BMOV "},
    {"pred", " ISETP FSETP PLOP3 SEL FSEL P2R R2P VOTE PSETP FCHK VOTEU FSET DSETP "},
    {"branch",
     " BRA EXIT BSSY BSYNC CALL RET BRX JMP JMX BREAK NOP YIELD ELECT BPT KILL BRXU MATCH "
     "RPCMOV LEPC "},
    {"mov", " MOV UMOV R2UR S2R CS2R S2UR MOV32I GETLMEMBASE R2URF "},
    {"int", " IADD3 IADD IMAD LOP3 SHF LEA IMNMX PRMT SGXT BMSK POPC FLO IABS LOP SHL SHR BREV IDP "
            "IADD32I ISCADD VIADD VIMNMX VIADDMNMX IDP4A XMAD LOP32I VABSDIFF IMAD32I VIMNMX3 "
            "VABSDIFF4 "},
};

bool lists(const Class &row, std::string_view mnemonic) {
  std::string_view list = row.mnemonics;
  for (size_t end; (end = list.find(' ', 1)) != list.npos; list.remove_prefix(end)) {
    std::string_view item = list.substr(1, end - 1);
    const bool prefix = item.ends_with('*');
    if (prefix)
      item.remove_suffix(1);
    if (prefix ? mnemonic.starts_with(item) : mnemonic == item)
      return true;
  }
  return false;
}

/// "R4, -RZ, -RZ, 0.5, 0": an HFMA2 that multiplies by nothing is how a constant is moved.
bool movesConstant(std::string_view operands) {
  const size_t first = operands.find(", ");
  std::string_view rest = operands.substr(std::min(first, operands.size()));
  return rest.starts_with(", RZ, RZ,") || rest.starts_with(", -RZ, RZ,") ||
         rest.starts_with(", RZ, -RZ,") || rest.starts_with(", -RZ, -RZ,");
}

/// Takes a number off the front; 0 where there is none.
int64_t takeNumber(std::string_view &text) {
  int64_t number = 0;
  const char *end = std::from_chars(text.data(), text.data() + text.size(), number).ptr;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

/// "64x128x16" at the front: its product.
int64_t takeShape(std::string_view text) {
  int64_t product = takeNumber(text);
  for (int n = 0; n < 2; ++n) {
    if (!text.starts_with("x"))
      return 0;
    text.remove_prefix(1);
    product *= takeNumber(text);
  }
  return product;
}

/// Shapes that HMMA and its kind write without an x. Source: disassembly of mma.sync of each shape.
constexpr struct {
  std::string_view text;
  int64_t product;
} kWarpShapes[] = {{"1688", 16 * 8 * 8}, {"16816", 16 * 8 * 16}, {"16832", 16 * 8 * 32},
                   {"8816", 8 * 8 * 16}, {"8832", 8 * 8 * 32},   {"16864", 16 * 8 * 64},
                   {"884", 8 * 8 * 4}};

} // namespace

std::string_view classOf(const SassInstruction &instruction) {
  const std::string_view opcode = instruction.opcode;
  const std::string_view mnemonic = opcode.substr(0, opcode.find('.'));
  if (mnemonic == "MUFU")
    return opcode.find(".EX2") != opcode.npos ? "ex2" : "mufu";
  if (opcode.starts_with("IMAD.MOV"))
    return "mov";
  for (const Class &row : kClasses)
    if (lists(row, mnemonic))
      return row.name == "half2" && mnemonic == "HFMA2" && movesConstant(instruction.operands)
                 ? "mov"
                 : row.name;
  return mnemonic.starts_with("U") ? "uniform" : "other";
}

int64_t mmaFlopsOf(const SassInstruction &instruction) {
  if (classOf(instruction) != "mma")
    return 0;
  std::string_view opcode = instruction.opcode;
  const bool group = opcode.substr(0, opcode.find('.')).ends_with("GMMA"); // of four warps
  while (opcode.find('.') != opcode.npos) {
    opcode.remove_prefix(opcode.find('.') + 1);
    if (group)
      if (const int64_t product = takeShape(opcode))
        return 2 * product / 4;
    for (const auto &shape : kWarpShapes)
      if (opcode.substr(0, opcode.find('.')) == shape.text)
        return 2 * shape.product;
  }
  return 0;
}

int64_t InstructionMix::count(const std::string &name) const {
  const auto found = classes.find(name);
  return found == classes.end() ? 0 : found->second;
}

double InstructionMix::otherPerMma() const {
  constexpr double kMmaFlops = 4096; // m16n8k16
  if (mmaFlops == 0)
    return 0;
  return static_cast<double>(instructions - count("mma")) /
         (static_cast<double>(mmaFlops) / kMmaFlops);
}

} // namespace heddle::compiler::cuda
