// SASS: classes, loops and their mixes, on the disassembly of a kernel with two tensor-core loops
// (kTwoLoopsText, by NVRTC 13.0). Counts were read off the text by hand.
#include "compiler/targets/cuda/Nvrtc.h"
#include "compiler/targets/cuda/Sass.h"
#include "runtime/CudaFiles.h"
#include "tests/compiler/cuda/CudaTexts.h"
#include "tests/support/Files.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include <cstdlib>

using namespace heddle;
using namespace heddle::compiler::cuda;

namespace {

std::string sample(const std::string &name) {
  return test::readFile(std::string(test::kSourceDir) + "/tests/compiler/cuda/" + name);
}

SassInstruction instruction(const std::string &opcode, const std::string &operands = "") {
  return {0, "", opcode, operands};
}

} // namespace

TEST_CASE("the text of nvdisasm is read: addresses, predicates, opcodes, labels") {
  const std::vector<SassKernel> kernels = parseSass(sample("two_loops.sm_80.sass"));
  REQUIRE(kernels.size() == 1);
  const SassKernel &kernel = kernels[0];
  CHECK(kernel.name == "two_loops");
  REQUIRE(kernel.instructions.size() == 120);
  const SassInstruction &masked = kernel.instructions[0x330 / 16];
  CHECK(masked.address == 0x330);
  CHECK(masked.predicate == "@!P1");
  CHECK(masked.opcode == "MUFU.EX2");
  CHECK(masked.operands == "R20, R12");
  CHECK(kernel.labels.at(".L_x_3") == 0x460 / 16);
  CHECK(parseSass("").empty());
  CHECK(parseSass("nothing\n of /*the*/ kind\n").empty());
}

TEST_CASE("loops are found with what they are made of; the main one is the unmasked one") {
  struct Expected {
    const char *file;
    int64_t instructions[2], begin[2];
    double other[2];
  };
  for (const Expected &expected :
       {Expected{"two_loops.sm_80.sass", {39, 28}, {0x1a0, 0x460}, {18.5, 13.0}},
        Expected{"two_loops.sm_90.sass", {37, 27}, {0x1d0, 0x480}, {17.5, 12.5}}}) {
    INFO(expected.file);
    const SassFacts facts = factsOf(parseSass(sample(expected.file)).at(0));
    CHECK(facts.whole.instructions == 120);
    CHECK(facts.whole.count("mma") == 4);
    CHECK(facts.whole.mmaFlops == 4 * 4096);
    REQUIRE(facts.loops.size() == 2);
    for (int n = 0; n < 2; ++n) {
      CHECK(facts.loops[n].begin == expected.begin[n]);
      CHECK(facts.loops[n].mix.instructions == expected.instructions[n]);
      CHECK(facts.loops[n].mix.count("mma") == 2);
      CHECK(facts.loops[n].mix.count("ex2") == 4);
      CHECK(facts.loops[n].mix.count("spill") == 0);
      CHECK(facts.loops[n].mix.otherPerMma() == Approx(expected.other[n]));
      CHECK(facts.loops[n].depth == 1);
    }
    CHECK(facts.main == 1);
  }
}

TEST_CASE("a loop inside a loop is deeper, and a loop without an exit is one") {
  const SassFacts facts = factsOf(parseSass(R"(
	.section	.text.k,"ax",@progbits
.L_0:
        /*0000*/                   HMMA.16816.F32 R0, R4, R8, R0 ;
.L_1:
        /*0010*/                   HMMA.1688.F32.TF32 R0, R4, R8, R0 ;
        /*0020*/                   IADD3 R1, R1, 0x1, RZ ;
        /*0030*/               @P0 BRA `(.L_1) ;
        /*0040*/                   BRA P1, `(.L_0) ;
        /*0050*/                   EXIT ;
.L_2:
        /*0060*/                   BRA `(.L_2) ;
)")
                                      .at(0));
  REQUIRE(facts.loops.size() == 2); // the last is no part of the kernel: nothing reaches it
  CHECK(facts.loops[0].depth == 1);
  CHECK(!facts.loops[0].innermost);
  CHECK(facts.loops[0].mix.instructions == 5);
  CHECK(facts.loops[1].depth == 2);
  CHECK(facts.loops[1].innermost);
  CHECK(facts.loops[1].mix.mmaFlops == 2048);
  CHECK(facts.main == 1);
}

TEST_CASE("instructions are sorted by what they are for") {
  CHECK(classOf(instruction("LDGSTS.E.BYPASS.128")) == "ldgsts");
  CHECK(classOf(instruction("LDSM.16.MT88.4")) == "ldsm");
  CHECK(classOf(instruction("STL.64")) == "spill");
  CHECK(classOf(instruction("MUFU.RCP")) == "mufu");
  CHECK(classOf(instruction("IMAD.MOV.U32")) == "mov");
  CHECK(classOf(instruction("IMAD.WIDE.U32")) == "int");
  CHECK(classOf(instruction("HFMA2.MMA", "R4, -RZ, RZ, 1.875, 0")) == "mov");
  CHECK(classOf(instruction("HFMA2.BF16_V2", "R4, R5, R6, R7")) == "half2");
  CHECK(classOf(instruction("UIADD3")) == "uniform");
  CHECK(classOf(instruction("UTMALDG.2D")) == "tma");
  CHECK(classOf(instruction("HGMMA.64x128x16.F32.BF16")) == "mma");
  CHECK(classOf(instruction("FOOBAR")) == "other");
  CHECK(mmaFlopsOf(instruction("HGMMA.64x128x16.F32.BF16")) == 2 * 64 * 128 * 16 / 4);
  CHECK(mmaFlopsOf(instruction("QMMA.16832.F32.E4M3.E4M3")) == 2 * 16 * 8 * 32);
  CHECK(mmaFlopsOf(instruction("FFMA")) == 0);
}

TEST_CASE("what NVRTC makes is disassembled where nvdisasm is there") {
  if (!findNvdisasm().ok())
    HEDDLE_SKIP("no nvdisasm on this computer");
  Result<Nvrtc> nvrtc = Nvrtc::load();
  if (!nvrtc.ok())
    HEDDLE_SKIP("no NVRTC on this computer");
  Result<CudaCode> code = nvrtc->compile(test::kTwoLoopsText, "two_loops.cu", "sm_80");
  REQUIRE(code.ok());
  Result<std::string> text = disassemble(code->cubin);
  INFO((text.ok() ? "" : text.error().toString()));
  REQUIRE(text.ok());
  const SassFacts facts = factsOf(parseSass(*text).at(0));
  CHECK(facts.whole.count("mma") == 4);
  CHECK(facts.loops.size() == 2);
  Result<std::string> nothing = disassemble("no cubin");
  REQUIRE(!nothing.ok());
  CHECK(nothing.error().code == ErrorCode::Unsupported);
}
