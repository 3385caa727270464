// What SimplifyMaps leaves for a second run (operands that became one when equal ops did) changes
// no number of the CPU target: masks that read the same coordinates several times.
#include "tests/compiler/CpuKernel.h"
#include "tests/compiler/FormSupport.h"

using namespace heddle;
using namespace heddle::test;
using compiler::cpu::CpuKernel;
using compiler::cpu::RunTensor;

namespace {

struct Masked {
  const char *arguments, *support;
  std::map<std::string, int64_t> dims;
  std::map<std::string, double> params;
};

const Masked kMasked[] = {{", w = 5, dilation = 3",
                           "support { abs(i - j) <= w * dilation and (i - j) mod dilation == 0 }",
                           {},
                           {{"w", 5}, {"dilation", 3}}},
                          {", %blocks: tensor<i32, Hq x NQ x NK>",
                           "support { blocks[h, row div 16, j div 16] == 1 }",
                           {{"NQ", 3}, {"NK", 5}},
                           {}},
                          {", %global: seq<i32, Tk>, w = 9",
                           "support { global[i] == 0 and (2 * abs(i - j) <= w or global[j] == 1) }",
                           {},
                           {{"w", 9}}},
                          {"", "support { j * 4 + 3 <= i or j == i div 4 }", {}, {}}};

std::string print(mlir::ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream);
  return text;
}

/// The results of a program on the tensors of a run.
std::map<std::string, std::vector<float>> resultsOf(const std::string &program, FormRun &run,
                                                    const Masked &masked,
                                                    const compiler::cpu::Isa &isa) {
  std::map<std::string, double> scalars = masked.params;
  for (const auto &[name, extent] : run.sizes())
    scalars[name] = double(extent);
  std::map<std::string, RunTensor> tensors;
  for (auto &[name, tensor] : run.bound()) {
    if (name == "o" || name == "lse")
      std::fill(tensor.bytes.begin(), tensor.bytes.end(), 0xff);
    tensors[name] = {tensor.view.data,
                     {tensor.view.strides.data(), tensor.view.strides.data() + tensor.view.rank}};
  }
  CpuKernel(program, isa).run(scalars, tensors);
  std::map<std::string, std::vector<float>> results;
  for (const char *name : {"o", "lse"}) {
    const OwnedTensor &tensor = run.bound().at(name);
    const float *values = reinterpret_cast<const float *>(tensor.bytes.data());
    results[name].assign(values, values + tensor.view.elements());
  }
  return results;
}

} // namespace

TEST_CASE("maps that are simplified twice compute the same", "[cpu]") {
  int changed = 0;
  for (const Masked &masked : kMasked) {
    FormCase c;
    c.text = std::string("pattern.def @p(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, "
                         "%v: seq<Tk x Hk x Dv>") +
             masked.arguments + ") {\n  %o, %lse = mix %q, %k, %v\n" + masked.support +
             " weight exp norm sum\n  return %o, %lse\n}\n";
    c.dims = {{"B", 1}, {"Hq", 2}, {"Hk", 1}, {"Tq", 45}, {"Tk", 77}, {"D", 12}, {"Dv", 20}};
    c.dims.insert(masked.dims.begin(), masked.dims.end());
    c.params = masked.params;
    c.BM = 32, c.BN = 16;
    INFO(c.text);
    FormRun run(c);
    run.check(Upto::SimplifiedTwice); // by the plain walker
    const std::string once = print(*run.build(Upto::SimplifyMaps)),
                      twice = print(*run.build(Upto::SimplifiedTwice));
    changed += once != twice;
    for (const compiler::cpu::Isa &isa : compiler::cpu::hostIsas()) {
      INFO(isa.name());
      CHECK(resultsOf(once, run, masked, isa) == resultsOf(twice, run, masked, isa));
    }
  }
  CHECK(changed > 1);
}
