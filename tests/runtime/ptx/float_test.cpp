// Floating point: IEEE results bit for bit, flushes, directed roundings, approximations within the
// bounds that PTX documents.
#include "tests/runtime/ptx/PtxKernel.h"

#include <bit>
#include <cfenv>
#include <cmath>
#include <functional>

using namespace heddle::test;

namespace {

constexpr size_t kCount = 1537;

template <class T> bool same(T x, T y) {
  return (std::isnan(x) && std::isnan(y)) || std::memcmp(&x, &y, sizeof(T)) == 0;
}

template <class T> void check(const std::string &code, const std::function<T(T, T, T)> &reference) {
  const auto a = samples<T>(kCount, 1), b = samples<T>(kCount, 2), c = samples<T>(kCount, 3);
  const auto got = mapPtx<T, T>(code, a, b, c);
  for (size_t i = 0; i < kCount; ++i) {
    INFO(code << " element " << i << ": " << a[i] << " " << b[i] << " " << c[i] << " gives "
              << got[i]);
    REQUIRE(same(got[i], reference(a[i], b[i], c[i])));
  }
}

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

/// Largest error of `code` over [low, high], as error(got, exact).
double worst(const std::string &code, float low, float high,
             const std::function<double(double)> &exact,
             const std::function<double(double, double)> &error) {
  std::vector<float> a(4099);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = low + (high - low) * static_cast<float>(i) / static_cast<float>(a.size() - 1);
  const auto got = mapPtx<float, float>(code, a);
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, error(got[i], exact(a[i])));
  return largest;
}
double relative(double got, double exact) {
  return exact == 0 ? std::fabs(got) : std::fabs(got / exact - 1);
}
double absolute(double got, double exact) { return std::fabs(got - exact); }

} // namespace

TEST_CASE("f32 and f64 arithmetic is IEEE", "[ptx]") {
  check<float>("add.f32 %d, %a, %b;", [](float a, float b, float) { return a + b; });
  check<float>("sub.rn.f32 %d, %a, %b;", [](float a, float b, float) { return a - b; });
  check<float>("mul.f32 %d, %a, %b;", [](float a, float b, float) { return a * b; });
  check<float>("fma.rn.f32 %d, %a, %b, %c;",
               [](float a, float b, float c) { return std::fma(a, b, c); });
  check<float>("div.rn.f32 %d, %a, %b;", [](float a, float b, float) { return a / b; });
  check<float>("sqrt.rn.f32 %d, %a;", [](float a, float, float) { return std::sqrt(a); });
  check<float>("mul.f32 %d, %a, %b; add.f32 %d, %d, %c;", [](float a, float b, float c) {
    volatile float product = a * b; // never contracted
    return product + c;
  });
  check<double>("fma.rn.f64 %d, %a, %b, %c;",
                [](double a, double b, double c) { return std::fma(a, b, c); });
  check<double>("div.rn.f64 %d, %a, %b;", [](double a, double b, double) { return a / b; });
  check<double>("min.f64 %d, %a, %b;", [](double a, double b, double) {
    if (a == 0 && b == 0)
      return std::signbit(a) ? a : b;
    return std::fmin(a, b);
  });
}

TEST_CASE("flush to zero and saturation", "[ptx]") {
  check<float>("mul.ftz.f32 %d, %a, %b;",
               [](float a, float b, float) { return flushed(flushed(a) * flushed(b)); });
  check<float>("add.ftz.sat.f32 %d, %a, %b;", [](float a, float b, float) {
    const float sum = flushed(flushed(a) + flushed(b));
    return std::isnan(sum) || !(sum > 0) ? 0.0f : sum > 1 ? 1.0f : sum;
  });
  // Products that are subnormal: kept without .ftz, zero with it.
  const std::vector<float> tiny = {0x1p-70f, -0x1p-70f, 0x1p-126f},
                           small = {0x1p-70f, 0x1p-60f, 0.5f};
  const auto kept = mapPtx<float, float>("mul.f32 %d, %a, %b;", tiny, small);
  CHECK(kept[0] == 0x1p-140f);
  const auto zero = mapPtx<float, float>("mul.ftz.f32 %d, %a, %b;", tiny, small);
  CHECK(std::bit_cast<uint32_t>(zero[0]) == 0);
  CHECK(std::bit_cast<uint32_t>(zero[1]) == 0x80000000);
  CHECK(zero[2] == 0);
}

TEST_CASE("directed roundings", "[ptx]") {
  const std::pair<const char *, int> modes[] = {
      {"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}};
  for (const auto &[name, mode] : modes) {
    const auto with = [mode = mode](auto f) {
      std::fesetround(mode);
      volatile float result = f();
      std::fesetround(FE_TONEAREST);
      return static_cast<float>(result);
    };
    check<float>(fmt::format("add.{}.f32 %d, %a, %b;", name), [&](float a, float b, float) {
      volatile float x = a, y = b;
      return with([&] { return x + y; });
    });
    check<float>(fmt::format("fma.{}.f32 %d, %a, %b, %c;", name), [&](float a, float b, float c) {
      volatile float x = a, y = b, z = c;
      return with([&] { return std::fma(float(x), float(y), float(z)); });
    });
    check<float>(fmt::format("div.{}.f32 %d, %a, %b;", name), [&](float a, float b, float) {
      volatile float x = a, y = b;
      return with([&] { return x / y; });
    });
  }
}

TEST_CASE("min and max prefer numbers and order zeros", "[ptx]") {
  const float nan = std::nanf(""), inf = INFINITY;
  const std::vector<float> a = {1, nan, nan, -0.0f, 0.0f, inf}, b = {2, 3, nan, 0.0f, -0.0f, -inf};
  const auto low = mapPtx<float, float>("min.f32 %d, %a, %b;", a, b);
  const auto high = mapPtx<float, float>("max.f32 %d, %a, %b;", a, b);
  CHECK(low[0] == 1);
  CHECK(low[1] == 3);
  CHECK(std::bit_cast<uint32_t>(low[2]) == 0x7fffffff);
  CHECK(std::signbit(low[3]));
  CHECK(std::signbit(low[4]));
  CHECK(low[5] == -inf);
  CHECK(high[1] == 3);
  CHECK(!std::signbit(high[3]));
  CHECK(!std::signbit(high[4]));
  CHECK(std::isnan(mapPtx<float, float>("max.NaN.f32 %d, %a, %b;", a, b)[1]));
}

TEST_CASE("approximations keep the documented bounds", "[ptx]") {
  CHECK(worst(
            "ex2.approx.ftz.f32 %d, %a;", -120, 120, [](double x) { return std::exp2(x); },
            relative) < 0x1p-22);
  CHECK(worst(
            "lg2.approx.f32 %d, %a;", 2.5f, 1e6f, [](double x) { return std::log2(x); }, relative) <
        0x1p-22);
  CHECK(worst(
            "rcp.approx.ftz.f32 %d, %a;", 0.01f, 900, [](double x) { return 1 / x; }, relative) <
        0x1p-23);
  CHECK(worst(
            "rsqrt.approx.f32 %d, %a;", 0.01f, 900, [](double x) { return 1 / std::sqrt(x); },
            relative) < 0x1p-22);
  CHECK(worst(
            "tanh.approx.f32 %d, %a;", -6, 6, [](double x) { return std::tanh(x); }, relative) <
        0x1p-11);
  CHECK(worst(
            "sin.approx.f32 %d, %a;", -3, 3, [](double x) { return std::sin(x); }, absolute) <
        0x1p-20);
  CHECK(worst(
            "cos.approx.f32 %d, %a;", -3, 3, [](double x) { return std::cos(x); }, absolute) <
        0x1p-20);
}

TEST_CASE("ex2 at its edges", "[ptx]") {
  const std::vector<float> a = {-INFINITY, INFINITY, NAN, 1e-40f, -130.0f, 0.0f, 300.0f};
  const auto d = mapPtx<float, float>("ex2.approx.ftz.f32 %d, %a;", a);
  CHECK(std::bit_cast<uint32_t>(d[0]) == 0);
  CHECK(std::isinf(d[1]));
  CHECK(std::isnan(d[2]));
  CHECK(d[3] == 1);
  CHECK(std::bit_cast<uint32_t>(d[4]) == 0);
  CHECK(d[5] == 1);
  CHECK(std::isinf(d[6]));
}

TEST_CASE("half arithmetic is rounded once", "[ptx]") {
  const auto a = samples<uint16_t>(kCount, 4), b = samples<uint16_t>(kCount, 5),
             c = samples<uint16_t>(kCount, 6);
  const auto got = mapPtx<uint16_t, uint16_t>("fma.rn.f16 %d, %a, %b, %c;", a, b, c);
  for (size_t i = 0; i < kCount; ++i) {
    // Products and sums of f16 fit long double exactly, so one rounding is left.
    const auto value = [](uint16_t h) {
      return static_cast<long double>(std::bit_cast<_Float16>(h));
    };
    const long double exact = value(a[i]) * value(b[i]) + value(c[i]);
    if (std::isnan(exact)) {
      CHECK((got[i] & 0x7fff) > 0x7c00);
      continue;
    }
    const float f = static_cast<float>(std::bit_cast<_Float16>(got[i]));
    if (std::isinf(f)) {
      CHECK(std::fabs(exact) >= 65520);
      continue;
    }
    const long double step = std::ldexp(1.0L, std::max(std::ilogb(f == 0 ? 1e-8f : f), -14) - 10);
    INFO(i);
    CHECK(std::fabs(exact - f) <= step / 2);
  }
}
