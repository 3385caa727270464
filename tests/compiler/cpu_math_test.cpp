// Accuracy of the vector functions against double, over the whole range of f32, on every
// instruction set of this machine.
#include "compiler/targets/cpu/VectorMath.h"
#include "tests/support/Test.h"

#include "mlir/IR/MLIRContext.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
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

/// What a function does for the whole vectors of a loop: memory in, memory out, the index.
using Body = std::function<void(VectorBuilder &, Value, Value, Value)>;

/// Functions by name, each a loop over n elements.
std::string imageOf(const Isa &isa, const std::vector<std::pair<std::string, Body>> &functions) {
  using namespace mlir;
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, arith::ArithDialect, scf::SCFDialect,
                      vector::VectorDialect, LLVM::LLVMDialect, math::MathDialect>();
  OpBuilder builder(&context);
  Location loc = builder.getUnknownLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder, loc);
  Type pointer = LLVM::LLVMPointerType::get(&context);
  for (const auto &[name, emit] : functions) {
    builder.setInsertionPointToEnd(module->getBody());
    auto function = func::FuncOp::create(
        builder, loc, name, builder.getFunctionType({pointer, pointer, builder.getI64Type()}, {}));
    Block *body = function.addEntryBlock();
    builder.setInsertionPointToEnd(body);
    VectorBuilder e(builder, loc, isa);
    Value n =
        arith::IndexCastOp::create(builder, loc, builder.getIndexType(), body->getArgument(2));
    e.loop(e.integer(0), n, e.lanes(), {}, [&](Value i, ValueRange) -> Values {
      emit(e, body->getArgument(0), body->getArgument(1), i);
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

/// One function per case: out[i] = f(in[i]).
std::string imageOfAll(const Isa &isa) {
  std::vector<std::pair<std::string, Body>> functions;
  for (const Case &one : kCases)
    functions.emplace_back(one.name, [&](VectorBuilder &e, Value in, Value out, Value i) {
      Value x = e.load(e.floats, e.address(in, e.builder.getF32Type(), i));
      e.store(one.emit(e, x), e.address(out, e.builder.getF32Type(), i));
    });
  return imageOf(isa, functions);
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

TEST_CASE("vectors of integers are divided as C does it", "[cpu]") {
  // Multiples of divisors and their neighbours, up to the bound.
  const int64_t most = int64_t(kMostDividend) - 1;
  std::vector<int64_t> xs, ys;
  for (int64_t y : {int64_t(1), int64_t(2), int64_t(3), int64_t(7), int64_t(64), int64_t(777),
                    (int64_t(1) << 26) + 1, most, int64_t(1) << 53, INT64_MAX})
    for (int64_t multiple : {int64_t(0), int64_t(1), int64_t(5), most / y / 2, most / y})
      for (int64_t near : {-1, 0, 1})
        for (int64_t sign : {-1, 1})
          for (int64_t divisor : {y, -y}) {
            int64_t product = 0;
            bool fits = !__builtin_mul_overflow(multiple, y, &product);
            xs.push_back(fits ? std::clamp(sign * (product + near), -most, most) : sign * most);
            ys.push_back(divisor);
          }
  while (xs.size() % 16) {
    xs.push_back(1);
    ys.push_back(1);
  }
  std::vector<int64_t> found(ys.size()), both(xs);
  both.insert(both.end(), ys.begin(), ys.end()); // the divisors follow
  for (const Isa &isa : hostIsas()) {
    INFO(isa.name());
    auto divide = [&](bool number) -> Body {
      return [&, number](VectorBuilder &e, Value in, Value out, Value i) {
        mlir::Type element = e.builder.getI64Type();
        auto type = mlir::VectorType::get({e.lanes()}, element);
        Value y = number ? Value(mlir::arith::ConstantOp::create(e.builder, e.loc,
                                                                 e.builder.getI64IntegerAttr(-777)))
                         : e.load(type, e.address(in, element, e.plus(i, int64_t(xs.size()))));
        e.store(emitDivide(e, e.load(type, e.address(in, element, i)), y),
                e.address(out, element, i));
      };
    };
    LoadedImage image(imageOf(isa, {{"vectors", divide(false)}, {"number", divide(true)}}));
    for (const char *name : {"vectors", "number"}) {
      auto apply = image.symbol<void (*)(const int64_t *, int64_t *, int64_t)>(name);
      REQUIRE(apply);
      apply(both.data(), found.data(), int64_t(xs.size()));
      for (size_t n = 0; n < xs.size(); ++n) {
        int64_t y = std::string(name) == "number" ? -777 : ys[n];
        INFO(xs[n] << " / " << y);
        REQUIRE(found[n] == xs[n] / y);
      }
    }
  }
}
