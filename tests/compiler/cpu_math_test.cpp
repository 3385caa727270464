// Accuracy of the vector functions against double, over the whole range of f32, on every
// instruction set of this machine.
#include "compiler/targets/cpu/VectorMath.h"
#include "tests/support/Test.h"

#include "mlir/IR/MLIRContext.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "CpuSupport.h"

using namespace heddle::compiler::cpu;

namespace {

using Emit = Value (*)(VectorBuilder &, Value);
using Exact = double (*)(double);
using Apply = void (*)(const float *, float *, int64_t);

struct Case {
  const char *name;
  Emit emit;
  Exact exact;
  double ulps;
  double lo, hi; ///< where the bound holds
};

constexpr double kInf = std::numeric_limits<double>::infinity();
const Case kCases[] = {
    {"exp2", emitExp2, std::exp2, 3, -kInf, kInf},
    {"exp", emitExp, std::exp, 2, -kInf, kInf},
    {"expm1", emitExpm1, std::expm1, 3, -kInf, kInf},
    {"log", emitLog, std::log, 2, -kInf, kInf},
    {"log2", emitLog2, std::log2, 3, -kInf, kInf},
    {"log1p", emitLog1p, std::log1p, 3, -kInf, kInf},
    {"tanh", emitTanh, std::tanh, 4, -kInf, kInf},
    {"sin", emitSin, std::sin, 3, -1e4, 1e4},
    {"cos", emitCos, std::cos, 3, -1e4, 1e4},
};

/// One function per case: out[i] = f(in[i]) for whole vectors up to n.
std::string imageOfAll(const Isa &isa) {
  using namespace mlir;
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, arith::ArithDialect, scf::SCFDialect,
                      vector::VectorDialect, LLVM::LLVMDialect, math::MathDialect>();
  OpBuilder builder(&context);
  Location loc = builder.getUnknownLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder, loc);
  Type pointer = LLVM::LLVMPointerType::get(&context);
  for (const Case &one : kCases) {
    builder.setInsertionPointToEnd(module->getBody());
    auto function =
        func::FuncOp::create(builder, loc, one.name,
                             builder.getFunctionType({pointer, pointer, builder.getI64Type()}, {}));
    Block *body = function.addEntryBlock();
    builder.setInsertionPointToEnd(body);
    VectorBuilder e(builder, loc, isa);
    Value n =
        arith::IndexCastOp::create(builder, loc, builder.getIndexType(), body->getArgument(2));
    e.loop(e.integer(0), n, e.lanes(), {}, [&](Value i, ValueRange) -> Values {
      Value x = e.load(e.floats, e.address(body->getArgument(0), builder.getF32Type(), i));
      e.store(one.emit(e, x), e.address(body->getArgument(1), builder.getF32Type(), i));
      return {};
    });
    func::ReturnOp::create(builder, loc);
  }
  heddle::Result<std::vector<std::string>> objects = emitObjects(*module, isa);
  REQUIRE(objects.ok());
  heddle::Result<std::string> image = linkSharedObject(*objects);
  INFO((image.ok() ? std::string() : image.error().message));
  REQUIRE(image.ok());
  return *image;
}

/// Every sign and exponent with many mantissas, small and large steps, and the special values.
std::vector<float> inputs() {
  std::vector<float> x = {0.0f,
                          -0.0f,
                          1.0f,
                          -1.0f,
                          1e4f,
                          -1e4f,
                          1e-45f,
                          -1e-45f,
                          88.7228f,
                          88.73f,
                          -87.33f,
                          -103.9f,
                          -104.1f,
                          127.999f,
                          128.0f,
                          -126.0f,
                          -149.0f,
                          -150.1f,
                          static_cast<float>(kInf),
                          -static_cast<float>(kInf),
                          std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::max(),
                          0x1p-126f};
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += 8191)
    for (uint32_t sign : {0u, 0x80000000u}) {
      uint32_t pattern = bits | sign;
      float value;
      std::memcpy(&value, &pattern, 4);
      x.push_back(value);
    }
  for (int i = -40000; i <= 40000; ++i)
    x.push_back(i * 0.00377f);
  while (x.size() % 16)
    x.push_back(1.0f);
  return x;
}

/// |got - want| in units in the last place of f32 at `want`; denormals count as 2^-149.
double errorInUlps(float got, double want) {
  float rounded = static_cast<float>(want);
  if (std::isnan(want))
    return std::isnan(got) ? 0 : kInf;
  if (got == rounded)
    return 0;
  if (std::isinf(got) || std::isnan(got) || std::isinf(rounded))
    return std::isinf(rounded) && std::abs(got) > 3.4e38 ? 0 : kInf;
  int exponent = std::max(std::ilogb(want), -126);
  return std::abs(got - want) / std::ldexp(1.0, exponent - 23);
}

} // namespace

TEST_CASE("vector functions are accurate over the whole range", "[cpu]") {
  std::vector<float> x = inputs(), y(x.size());
  for (const Isa &isa : hostIsas()) {
    LoadedImage image(imageOfAll(isa));
    for (const Case &one : kCases) {
      Apply apply = image.symbol<Apply>(one.name);
      REQUIRE(apply);
      apply(x.data(), y.data(), x.size());
      double worst = 0;
      float where = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        bool inRange = std::isnan(x[i]) || (x[i] >= one.lo && x[i] <= one.hi);
        double want = one.exact(x[i]);
        bool mayFlush = one.emit == emitExp2 && isa.level == Isa::Avx2 && x[i] < -126;
        double error = mayFlush && y[i] == 0 ? 0 : errorInUlps(y[i], want);
        if (inRange && error > worst) {
          worst = error;
          where = x[i];
        }
      }
      INFO(isa.name() << " " << one.name << ": " << worst << " ulp at " << where);
      CHECK(worst <= one.ulps);
    }
  }
}
