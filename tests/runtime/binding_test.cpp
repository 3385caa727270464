// Calls that cannot be right are refused before anything runs, and the message helps.
#include "runtime/Binding.h"
#include "tests/support/Test.h"

#include <cmath>
#include <functional>

using namespace heddle;

namespace {

/// q[B, Tq, Hq, 64], k[B, Tk, Hk, 64], o like q, lse[B, Tq, Hq]; window W, float scale.
Artifact attention() {
  Artifact a;
  a.name = "attention";
  a.target = "cpu";
  a.staticDims = {{"D", 64}, {"G", 4}};
  a.scalars = {{"Tq", ScalarInfo::Extent, 0},
               {"Tk", ScalarInfo::Extent, 0},
               {"W", ScalarInfo::IntParameter, 128},
               {"scale", ScalarInfo::FloatParameter, 0.5}};
  a.tensors = {{"q", DType::F32, false, {"B", "Tq", "Hq", "D"}},
               {"k", DType::F32, false, {"B", "Tk", "Hk", "D"}},
               {"o", DType::F32, true, {"B", "Tq", "Hq", "D"}},
               {"lse", DType::F32, true, {"B", "Tq", "Hq"}}};
  a.predicates = {{"Tk", {ExtentClass::Any, true}}};
  a.constraints = {{Constraint::AtMost, Formula::scalar(0), Formula::scalar(1), "Tq <= Tk"}};
  Launch launch;
  launch.entry = "f";
  for (Formula &extent : launch.grid)
    extent = Formula::constant(1);
  launch.sharedBytes = Formula::constant(0);
  a.launches = {launch};
  return a;
}

struct Call {
  alignas(64) std::array<float, 65536> memory;
  std::vector<TensorView> tensors;
  std::vector<ParameterValue> parameters;

  Call() {
    add({1, 16, 8, 64});
    add({1, 32, 2, 64});
    add({1, 16, 8, 64});
    add({1, 16, 8});
  }
  void add(std::vector<int64_t> shape) {
    TensorView view;
    view.data = memory.data() + 16384 * tensors.size();
    view.rank = static_cast<int>(shape.size());
    int64_t stride = 1;
    for (int d = view.rank - 1; d >= 0; --d) {
      view.shape[d] = shape[d];
      view.strides[d] = stride;
      stride *= shape[d];
    }
    tensors.push_back(view);
  }
};

std::string refusal(const Artifact &artifact, const std::function<void(Call &)> &change) {
  Call call;
  change(call);
  const Result<Binding> binding = Binding::make(artifact);
  REQUIRE(binding.ok());
  ScalarValues values;
  const Status bound = binding->bind(call.tensors, call.parameters, values);
  if (bound.ok())
    return "";
  CHECK(bound.error().code == ErrorCode::InvalidArgument);
  return bound.error().message;
}

} // namespace

TEST_CASE("a right call gives its scalars") {
  const Artifact artifact = attention();
  const Result<Binding> binding = Binding::make(artifact);
  REQUIRE(binding.ok());
  Call call;
  call.parameters = {{"scale", 0.25}};
  ScalarValues values;
  REQUIRE(binding->bind(call.tensors, call.parameters, values).ok());
  CHECK(values.count == 4);
  CHECK(values.integers[0] == 16);
  CHECK(values.integers[1] == 32);
  CHECK(values.integers[2] == 128); // the default
  CHECK(values.floats[2] == 0);
  CHECK(values.integers[3] == 0);
  CHECK(values.floats[3] == 0.25);
  REQUIRE(binding->bindExtents({{"Tq", 5}, {"Tk", 16}}, {}, values).ok());
  CHECK(values.integers[0] == 5);
  CHECK(!binding->bindExtents({{"Tq", 5}}, {}, values).ok());
  CHECK(!binding->bindExtents({{"Tq", 5}, {"Tk", 16}, {"D", 32}}, {}, values).ok());
}

TEST_CASE("wrong calls are refused with what was found and what was expected") {
  const Artifact a = attention();
  const std::pair<const char *, std::function<void(Call &)>> mistakes[] = {
      {"found 3 tensors, expected 4: q, k, o, lse", [](Call &c) { c.tensors.pop_back(); }},
      {"found q with 3 dimensions, expected 4: [B, Tq, Hq, D]",
       [](Call &c) { c.tensors[0].rank = 3; }},
      {"found q of type bf16, expected f32", [](Call &c) { c.tensors[0].dtype = DType::BF16; }},
      {"found q of shape [1, -3, 8, 64], expected no negative extent",
       [](Call &c) { c.tensors[0].shape[1] = -3; }},
      {"found stride -512 in dimension 1 of k", [](Call &c) { c.tensors[1].strides[1] = -512; }},
      {"larger than any memory", [](Call &c) { c.tensors[0].shape[1] = int64_t(1) << 60; }},
      {"larger than any memory", [](Call &c) { c.tensors[0].strides[1] = INT64_MAX; }},
      {"found a null pointer for k", [](Call &c) { c.tensors[1].data = nullptr; }},
      {"found stride 2 in the innermost dimension (D) of q",
       [](Call &c) { c.tensors[0].strides[3] = 2; }},
      {"found q at an address that is no multiple of the 4 bytes",
       [](Call &c) { c.tensors[0].data = static_cast<char *>(c.tensors[0].data) + 2; }},
      {"found the result o with strides that write one element twice",
       [](Call &c) { c.tensors[2].strides[1] = 0; }},
      {"found D = 32 in q of shape [1, 16, 8, 32], expected 64, which is built into this kernel",
       [](Call &c) { c.tensors[0].shape[3] = 32; }},
      {"found Tq = 15 in o of shape [1, 15, 8, 64], expected 16",
       [](Call &c) { c.tensors[2].shape[1] = 15; }},
      {"found B = 2 in k of shape [2, 32, 2, 64], expected 1",
       [](Call &c) { c.tensors[1].shape[0] = 2; }},
      {"found Tk = 31, expected any length and a multiple of 16",
       [](Call &c) { c.tensors[1].shape[1] = 31; }},
      {"found Hq = 8 and Hk = 4, expected Hq = 4 * Hk", [](Call &c) { c.tensors[1].shape[2] = 4; }},
      {"expected Tq <= Tk", [](Call &c) { c.tensors[1].shape[1] = 0; }},
      {"found the result o in memory that q lies in",
       [](Call &c) { c.tensors[2].data = c.tensors[0].data; }},
      {"found the result o in memory that lse lies in",
       [](Call &c) { c.tensors[3].data = static_cast<float *>(c.tensors[2].data) + 100; }},
      {"found the parameter 'w', which this kernel has not",
       [](Call &c) { c.parameters = {{"w", 1}}; }},
      {"found the parameter 'Tq'", [](Call &c) { c.parameters = {{"Tq", 1}}; }},
      {"found scale = nan, expected a finite number",
       [](Call &c) { c.parameters = {{"scale", std::nan("")}}; }},
      {"found scale = inf, expected a finite number",
       [](Call &c) { c.parameters = {{"scale", HUGE_VAL}}; }},
      {"found W = 1.5, expected an integer", [](Call &c) { c.parameters = {{"W", 1.5}}; }},
      {"found W = 1e+300, expected an integer", [](Call &c) { c.parameters = {{"W", 1e300}}; }},
  };
  for (const auto &[expected, change] : mistakes) {
    const std::string found = refusal(a, change);
    INFO(found);
    CHECK(found.find(expected) != std::string::npos);
  }
}

TEST_CASE("what looks odd but is right is taken") {
  const Artifact a = attention();
  CHECK(refusal(a, [](Call &c) { c.tensors[0].strides[0] = 7; }) == ""); // one batch: never used
  CHECK(refusal(a, [](Call &c) { c.tensors[1].strides[2] = 0; }) == ""); // heads share their keys
  CHECK(refusal(a, [](Call &c) { c.tensors[1].data = c.tensors[0].data; }) == ""); // inputs overlap
  CHECK(refusal(a, [](Call &c) {
          for (int t : {0, 2, 3}) {
            c.tensors[t].shape[1] = 0;
            c.tensors[t].data = nullptr; // nothing to read or write
          }
        }) == "");
  CHECK(refusal(a, [](Call &c) { c.parameters = {{"W", -3}}; }) == "");
}

TEST_CASE("rows of whole chunks of 8 and 16 bits must be aligned for a GPU kernel") {
  Artifact a = attention();
  a.tensors[0].dtype = DType::BF16;
  const auto call = [](int64_t elements, int64_t stride) {
    return [=](Call &c) {
      c.tensors[0].dtype = DType::BF16;
      c.tensors[0].data = static_cast<char *>(c.tensors[0].data) + 2 * elements;
      c.tensors[0].strides[1] += stride;
    };
  };
  CHECK(refusal(a, call(4, 0)) == "");
  a.target = "sm_80";
  CHECK(refusal(a, call(0, 0)) == "");
  CHECK(refusal(a, call(8, 8)) == "");
  const std::string expected = "rows that do not start at multiples of 16 bytes";
  CHECK(refusal(a, call(4, 0)).find(expected) != std::string::npos);
  CHECK(refusal(a, call(0, 4)).find(expected) != std::string::npos);
  a.staticDims["D"] = 64 + 4; // no whole chunks: read by elements
  CHECK(refusal(a, call(4, 0)).find(expected) == std::string::npos);

  const auto codes = [](int64_t elements) {
    return [=](Call &c) {
      c.tensors[0].dtype = DType::I8;
      c.tensors[0].data = static_cast<char *>(c.tensors[0].data) + elements;
    };
  };
  a.tensors[0].dtype = DType::I8;
  a.staticDims["D"] = 64;
  CHECK(refusal(a, codes(8)) == "");
  CHECK(refusal(a, codes(4)).find("rows that do not start at multiples of 8 bytes") !=
        std::string::npos);
}

TEST_CASE("an innermost stride that the code is told may be any") {
  Artifact a = attention();
  a.blockBytes = 8;
  a.arguments = {{Argument::TensorStride, 1, 3, 0}};
  CHECK(refusal(a, [](Call &c) { c.tensors[1].strides[3] = 2; }) == "");
}

TEST_CASE("an artifact whose extents no tensor gives is refused") {
  Artifact a = attention();
  a.scalars.push_back({"N", ScalarInfo::Extent, 0});
  const Result<Binding> binding = Binding::make(a);
  REQUIRE(!binding.ok());
  CHECK(binding.error().code == ErrorCode::CorruptData);
}
