// A registered pattern: calls of equal keys make equal requests and the other way round, the table
// gives what the long way would, and it forgets when a winner comes.
#include "runtime/Key.h"
#include "runtime/Pattern.h"
#include "tests/runtime/Setting.h"

#include <atomic>
#include <random>
#include <thread>

using namespace heddle;
using namespace heddle::test;

namespace {

/// Grouped heads, two lengths, an integer tensor, constants with and without default.
Signature attentionSignature() {
  Signature s;
  s.name = "p";
  s.tensors = {{"q", false, false, DType::F32, {"B", "Tq", "Hq", "D"}},
               {"k", false, false, DType::F32, {"B", "Tk", "Hk", "D"}},
               {"ids", false, true, DType::I32, {"B", "Tk"}},
               {"o", true, false, DType::F32, {"B", "Tq", "Hq", "D"}}};
  Signature::Parameter cap, window;
  cap.name = "cap";
  cap.isConstant = true;
  cap.defaultValue = 50;
  window.name = "W";
  window.isInteger = true;
  window.defaultValue = 16;
  s.parameters = {cap, window};
  s.staticDims = {"D", "G"};
  s.classDims = {"Tq", "Tk"};
  return s;
}

struct Sizes {
  int64_t b, tq, tk, hq, hk, d;
  DType dtype;
  double cap;
};

alignas(64) char memory[64];

TensorView dense(std::vector<int64_t> shape, DType dtype) {
  TensorView view;
  view.data = memory;
  view.dtype = dtype;
  view.rank = static_cast<int>(shape.size());
  int64_t stride = 1;
  for (int d = view.rank - 1; d >= 0; --d) {
    view.shape[d] = shape[d];
    view.strides[d] = stride;
    stride *= shape[d];
  }
  return view;
}

std::vector<TensorView> tensorsOf(const Sizes &s) {
  return {dense({s.b, s.tq, s.hq, s.d}, s.dtype), dense({s.b, s.tk, s.hk, s.d}, s.dtype),
          dense({s.b, s.tk}, DType::I32), dense({s.b, s.tq, s.hq, s.d}, s.dtype)};
}

Request requestOf(const Signature &signature, const Sizes &sizes) {
  const std::vector<TensorView> tensors = tensorsOf(sizes);
  const Result<Extents> extents = signature.extentsOf(tensors);
  REQUIRE(extents.ok());
  Result<Request> request =
      signature.request("p", *extents, *signature.openDType(tensors), {{"cap", sizes.cap}});
  REQUIRE(request.ok());
  return *request;
}

std::vector<NamedExtent> namedExtents(const Extents &extents) {
  std::vector<NamedExtent> named;
  for (const auto &[name, value] : extents)
    named.push_back({name, value});
  return named;
}

Sizes randomSizes(std::mt19937 &random) {
  const auto oneOf = [&](std::vector<int64_t> values) { return values[random() % values.size()]; };
  const int64_t hk = oneOf({1, 2, 3});
  return {oneOf({1, 2}),
          oneOf({0, 1, 7, 16, 17, 32, 64, 65, 777, 1024, 1537}),
          oneOf({1, 16, 63, 64, 777, 1024}),
          hk * oneOf({1, 2, 4}),
          hk,
          oneOf({64, 72}),
          oneOf({0, 1}) ? DType::F32 : DType::BF16,
          oneOf({0, 1}) ? 50.0 : 30.0};
}

} // namespace

TEST_CASE("two calls have one key just when they make one request") {
  const Signature signature = attentionSignature();
  const ShapeKeys keys(signature);
  std::mt19937 random(1);
  std::vector<std::pair<ShapeKey, std::string>> seen;
  for (int n = 0; n < 400; ++n) {
    const Sizes sizes = randomSizes(random);
    const std::vector<TensorView> tensors = tensorsOf(sizes);
    const std::vector<ParameterValue> parameters = {{"cap", sizes.cap}, {"W", double(n)}};
    const std::optional<ShapeKey> key = keys.of(tensors, parameters);
    REQUIRE(key);
    CHECK(*keys.of(std::span(tensors).first(3), parameters) == *key);
    const Request request = requestOf(signature, sizes);
    const Extents extents = *signature.extentsOf(tensors);
    CHECK(*keys.of(namedExtents(extents), sizes.dtype, parameters) == *key);
    seen.emplace_back(*key, request.serialize());
  }
  int64_t equal = 0;
  for (const auto &[key, text] : seen)
    for (const auto &[other, otherText] : seen) {
      REQUIRE((key == other) == (text == otherText));
      REQUIRE((!(key == other) || key.hash() == other.hash()));
      equal += key == other;
    }
  CHECK(equal > 400); // some pairs besides each with itself
}

TEST_CASE("extents that are not all given make the key of the complete ones") {
  Signature signature = attentionSignature();
  signature.tensors[1].shape.back() = "Dv";
  const ShapeKeys keys(signature);
  const std::vector<std::string> names = {"B", "Tq", "Tk", "T", "Hq", "Hk", "H", "D", "Dv", "X"};
  std::mt19937 random(2);
  int complete = 0, refused = 0;
  for (int n = 0; n < 3000; ++n) {
    Extents given;
    for (const std::string &name : names)
      if (random() % (name == "X" ? 20 : 2) == 0)
        given[name] = std::array<int64_t, 6>{1, 2, 8, 16, 64, -1}[random() % (n % 10 ? 5 : 6)];
    const Result<Extents> whole = signature.completeExtents(given);
    const std::optional<ShapeKey> key = keys.of(namedExtents(given), DType::F32, {});
    REQUIRE(key.has_value() == whole.ok());
    if (whole.ok())
      CHECK(*key == *keys.of(namedExtents(*whole), DType::F32, {}));
    ++(whole.ok() ? complete : refused);
  }
  CHECK(complete > 300);
  CHECK(refused > 300);
}

TEST_CASE("calls that cannot be right have no key") {
  const Signature signature = attentionSignature();
  const ShapeKeys keys(signature);
  const Sizes sizes = {1, 7, 16, 4, 2, 64, DType::F32, 50};
  const auto hasKey = [&](const std::function<void(std::vector<TensorView> &)> &change) {
    std::vector<TensorView> tensors = tensorsOf(sizes);
    change(tensors);
    return keys.of(tensors, {}).has_value();
  };
  CHECK(hasKey([](auto &) {}));
  CHECK(!hasKey([](auto &t) { t.pop_back(), t.pop_back(); }));
  CHECK(!hasKey([](auto &t) { t[0].rank = 3; }));
  CHECK(!hasKey([](auto &t) { t[1].shape[3] = 63; }));
  CHECK(!hasKey([](auto &t) { t[1].shape[2] = 3; }));
  CHECK(!hasKey([](auto &t) { t[0].shape[1] = t[3].shape[1] = -1; }));
  CHECK(!hasKey([](auto &t) { t[1].dtype = DType::BF16; }));
  CHECK(!hasKey([](auto &t) { t[2].dtype = DType::I64; }));
}

TEST_CASE("a registered pattern finds each kernel once and then in its table") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const std::shared_ptr<Pattern> pattern = *Pattern::make(context, "scale");
  ScaleCall call(7, 10), longer(8, 10), wide(7, 12);
  const Result<Pattern::EntryPointer> first = pattern->find(call.tensors, {});
  REQUIRE(first.ok());
  CHECK(*pattern->find(call.tensors, {}) == *first);
  CHECK(*pattern->find(std::span(call.tensors).first(1), {}) == *first);
  const NamedExtent extents[] = {{"T", 7}, {"D", 10}};
  CHECK(*pattern->find(extents, DType::F32, {}) == *first);
  CHECK(*pattern->find(longer.tensors, {}) == *first); // class and bucket of 7
  CHECK(*pattern->find(wide.tensors, {}) != *first);
  CHECK((*pattern->find(wide.tensors, {}))->found.kernel->artifact().staticDims.at("D") == 12);
  PatternOptions other;
  other.schedule = "BM=8";
  CHECK((*pattern->find(call.tensors, {}, other))->found.kernel->scheduleText() == "BM=8");
  CHECK(*pattern->find(call.tensors, {}) == *first);
  CHECK(setting.calls("compile") == 3);
  REQUIRE(call.run(*(*first)->found.kernel).ok());
  CHECK(call.isRight(2));

  REQUIRE(context->setWinner((*first)->found.request, {{"BM", 32}}).ok());
  CHECK((*pattern->find(call.tensors, {}))->found.kernel->scheduleText() == "BM=32");
  CHECK((*pattern->find(call.tensors, {}))->found.request.schedule.at("BM") == 32);
}

TEST_CASE("a pattern's errors are those of the long way") {
  Setting setting;
  const std::shared_ptr<Pattern> pattern = *Pattern::make(setting.open(), "scale");
  ScaleCall call(7, 10);
  const auto refusal = [&](const std::function<void(std::vector<TensorView> &)> &change) {
    std::vector<TensorView> tensors = call.tensors;
    change(tensors);
    const Result<Pattern::EntryPointer> entry = pattern->find(tensors, {});
    return entry.ok() ? "" : entry.error().message;
  };
  CHECK(refusal([](auto &t) { t[1].shape[0] = 8; }).find("T = 7 in x but T = 8 in y") !=
        std::string::npos);
  CHECK(refusal([](auto &t) { t[1].dtype = DType::BF16; }) ==
        "found y of type bf16, expected f32 as x");
  CHECK(refusal([](auto &t) { t[2].dtype = DType::F64; }) == "found s of type f64, expected f32");
  CHECK(pattern->find(call.tensors, {{{"speed", 1}}}).error().message.find("'speed'") !=
        std::string::npos);
}

TEST_CASE("threads that search one table at once all get right kernels", "[threads]") {
  Setting setting;
  const std::shared_ptr<Pattern> pattern = *Pattern::make(setting.open(), "scale");
  std::atomic<int> right = 0;
  std::vector<std::thread> callers;
  for (int n = 0; n < 4; ++n)
    callers.emplace_back([&] {
      for (int64_t turn = 0; turn < 200; ++turn) {
        ScaleCall call(5, 8 + turn % 5);
        const Result<Pattern::EntryPointer> entry = pattern->find(call.tensors, {});
        right += entry.ok() && call.run(*(*entry)->found.kernel).ok() && call.isRight(2);
      }
    });
  for (std::thread &caller : callers)
    caller.join();
  CHECK(right == 800);
  CHECK(setting.calls("compile") == 5);
}
