// Small PTX kernels for tests: written here, run on the machine, compared with plain code.
#pragma once

#include "runtime/devices/ptx/Machine.h"
#include "tests/support/Test.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace heddle::test {

/// ".version ... .entry name(params) { registers; body }" for the given target.
inline std::string ptxModule(const std::string &params, const std::string &body,
                             const std::string &target = "sm_90", const std::string &outside = "") {
  return ".version 8.5\n.target " + target + "\n.address_size 64\n" + outside +
         "\n.visible .entry kernel(" + params + ")\n{\n" + body + "\nret;\n}\n";
}

using Bytes = std::vector<std::byte>;
template <class T> Bytes bytesOf(const std::vector<T> &values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
template <class T> std::vector<T> valuesOf(const Bytes &bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

struct PtxLaunch {
  int64_t grid[3] = {1, 1, 1}, block[3] = {32, 1, 1};
  int64_t shared = 0;
  ptx::LaunchOptions options = {};
};

/// Runs kernel "kernel" of `text`: each buffer is a pointer argument, in order, and holds what the
/// kernel left in it afterwards.
inline Result<ptx::Report> runPtx(const std::string &text, std::vector<Bytes> &buffers,
                                  const PtxLaunch &launch = {}) {
  ptx::Machine machine;
  HEDDLE_TRY(module, machine.load(text, "test.ptx"));
  HEDDLE_TRY(kernel, module->kernel("kernel"));
  ptx::ParamBlock params(*kernel);
  std::vector<uint64_t> addresses;
  for (size_t i = 0; i < buffers.size(); ++i) {
    HEDDLE_TRY(buffer, machine.memory.allocate(buffers[i].size(), ""));
    HEDDLE_CHECK(machine.memory.write(buffer->address, buffers[i]));
    HEDDLE_CHECK(params.set(i, buffer->address));
    addresses.push_back(buffer->address);
  }
  ptx::LaunchConfig config;
  std::copy_n(launch.grid, 3, config.grid);
  std::copy_n(launch.block, 3, config.block);
  config.sharedBytes = launch.shared;
  config.params = params.bytes();
  HEDDLE_TRY(report, machine.launch(*kernel, config, launch.options));
  for (size_t i = 0; i < buffers.size(); ++i)
    HEDDLE_CHECK(machine.memory.read(addresses[i], buffers[i]));
  return report;
}

/// The e4m3 or e5m2 number of these bits, as if all of them meant numbers.
inline double byteValue(int bits, int exponentBits, int mantissa, int bias) {
  const int e = bits >> mantissa & ((1 << exponentBits) - 1), f = bits & ((1 << mantissa) - 1);
  const double size =
      e ? std::ldexp(1 + std::ldexp(f, -mantissa), e - bias) : std::ldexp(f, 1 - bias - mantissa);
  return bits & 0x80 ? -size : size;
}

template <class T> const char *registerType() {
  return sizeof(T) == 2              ? "b16"
         : std::is_same_v<T, float>  ? "f32"
         : std::is_same_v<T, double> ? "f64"
         : sizeof(T) == 4            ? "b32"
                                     : "b64";
}

/// Runs `code` once for every element: %a, %b, %c hold inputs, %d the result, %p a predicate.
template <class D, class A, class B = A, class C = A>
std::vector<D> mapPtx(const std::string &code, const std::vector<A> &a, std::vector<B> b = {},
                      std::vector<C> c = {}, const std::string &target = "sm_90") {
  b.resize(a.size());
  c.resize(a.size());
  const auto load = [&](const char *name, int index, const char *type, size_t size) {
    return fmt::format(".reg .{1} %{0}; ld.param.u64 %q, [p{2}]; mad.wide.u32 %q, %i, {3}, %q;\n"
                       "ld.global.{1} %{0}, [%q];\n",
                       name, type, index, size);
  };
  const std::string text = ptxModule(
      ".param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3",
      ".reg .b32 %i, %n; .reg .b64 %q; .reg .pred %p, %r;\n"
      "mov.u32 %i, %ctaid.x; mov.u32 %n, %ntid.x; mul.lo.u32 %i, %i, %n; mov.u32 %n, %tid.x;\n"
      "add.u32 %i, %i, %n;\n" +
          fmt::format("setp.ge.u32 %p, %i, {}; @%p exit;\n", a.size()) +
          load("a", 0, registerType<A>(), sizeof(A)) + load("b", 1, registerType<B>(), sizeof(B)) +
          load("c", 2, registerType<C>(), sizeof(C)) +
          fmt::format(".reg .{0} %d;\n{1}\nld.param.u64 %q, [p3]; mad.wide.u32 %q, %i, {2}, %q;\n"
                      "st.global.{0} [%q], %d;\n",
                      registerType<D>(), code, sizeof(D)),
      target);
  std::vector<Bytes> buffers = {bytesOf(a), bytesOf(b), bytesOf(c), Bytes(a.size() * sizeof(D))};
  PtxLaunch launch;
  launch.grid[0] = static_cast<int64_t>((a.size() + 63) / 64);
  launch.block[0] = 64;
  const auto report = runPtx(text, buffers, launch);
  if (!report.ok())
    FAIL(report.error().toString() << "\nin: " << code);
  return valuesOf<D>(buffers[3]);
}

/// Numbers of a type, extremes among them; always the same.
template <class T> std::vector<T> samples(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<T> values(count);
  for (T &value : values) {
    const uint64_t bits = random();
    const int kind = static_cast<int>(random() % 4);
    if constexpr (std::is_floating_point_v<T>) {
      using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
      value = kind == 0 ? std::bit_cast<T>(static_cast<U>(bits))
                        : static_cast<T>(static_cast<double>(static_cast<int64_t>(bits)) *
                                         (kind == 1 ? 0x1p-63 : 0x1p-55));
      if (kind == 3 && bits % 16 == 0)
        value = bits & 16 ? T{0} : -T{0};
    } else {
      value = kind == 0   ? static_cast<T>(bits % 40)
              : kind == 1 ? static_cast<T>(T{1} << (bits % (8 * sizeof(T))))
                          : static_cast<T>(bits);
      if (kind == 3 && bits % 4 == 0)
        value = static_cast<T>(~T{0} - static_cast<T>(bits % 3));
    }
  }
  return values;
}

} // namespace heddle::test
