// Patterns of the library through the C interface with the real compiler: what a call may not hold
// (pages, offsets, states) is refused with a reason before anything runs, on the CPU by the launch
// itself, for a device with memory of its own by heddle_kernel_check.
#include "runtime/CudaFiles.h"
#include "runtime/heddle.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

using namespace heddle;

namespace {

std::string textOfFile(const std::string &pattern) {
  std::ifstream file(std::string(test::kSourceDir) + "/patterns/" + pattern + ".heddle");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A pattern on a device, with one kernel.
class Abi {
public:
  Abi(const char *device, const std::string &pattern) {
    heddle_context_options options = {};
    options.size = sizeof options;
    options.flags = HEDDLE_NO_STORE;
    options.device = device;
    const std::string compiler = std::string(test::kBinaryDir) + "/lib/libheddle-compiler.so";
    options.compiler = compiler.c_str();
    done(heddle_context_create(&options, &context, &error));
    done(heddle_pattern_create(context, textOfFile(pattern).c_str(), nullptr, &handle, &error));
  }
  ~Abi() {
    heddle_kernel_release(kernel);
    heddle_pattern_destroy(handle);
    heddle_context_destroy(context);
  }
  Abi(const Abi &) = delete;

  void make(const std::vector<heddle_extent> &extents, heddle_dtype dtype) {
    heddle_request request = {};
    request.size = sizeof request;
    request.extents = extents.data();
    request.extent_count = extents.size();
    request.dtype = dtype;
    done(heddle_kernel_get(handle, &request, &kernel, &error));
    for (size_t n = 0; n < heddle_pattern_tensor_count(handle); ++n) {
      heddle_tensor tensor = {};
      done(heddle_pattern_shape(handle, &request, n, &tensor, &error));
      int64_t bytes = 8;
      for (int32_t d = 0; d < tensor.rank; ++d)
        bytes *= tensor.shape[d];
      memory.push_back(std::make_unique<char[]>(size_t(bytes)));
      tensor.data = memory.back().get();
      tensors.push_back(tensor);
    }
  }

  heddle_tensor &tensor(const std::string &name) { return tensors[size_t(infoOf(name, nullptr))]; }
  /// The place of a tensor, and what the pattern says of it.
  int32_t infoOf(const std::string &name, heddle_tensor_info *info) {
    for (size_t n = 0; n < heddle_pattern_tensor_count(handle); ++n) {
      heddle_tensor_info found = {};
      found.size = sizeof found;
      done(heddle_pattern_tensor(handle, n, &found, &error));
      if (found.name == name) {
        if (info)
          *info = found;
        return int32_t(n);
      }
    }
    FAIL("no tensor " << name);
    return 0;
  }
  void set(const std::string &name, std::vector<int32_t> values) {
    std::copy(values.begin(), values.end(), static_cast<int32_t *>(tensor(name).data));
  }

  /// What the call is refused with; empty: it is not.
  std::string launch() {
    heddle_call call = callOf();
    if (heddle_kernel_workspace(kernel, &call, &call.workspace_bytes, &error) != HEDDLE_OK)
      return message();
    const size_t bytes = (size_t(call.workspace_bytes) / 64 + 1) * 64;
    std::unique_ptr<void, void (*)(void *)> workspace(std::aligned_alloc(64, bytes), std::free);
    call.workspace = workspace.get();
    return heddle_kernel_launch(kernel, &call, &error) == HEDDLE_OK ? "" : message();
  }
  std::string check() {
    heddle_call call = callOf();
    return heddle_kernel_check(kernel, &call, &error) == HEDDLE_OK ? "" : message();
  }

  std::vector<heddle_tensor> tensors;

private:
  heddle_call callOf() {
    heddle_call call = {};
    call.size = sizeof call;
    call.tensors = tensors.data();
    call.tensor_count = tensors.size();
    return call;
  }
  std::string message() {
    std::string text = heddle_error_message(error);
    CHECK(heddle_error_status(error) == HEDDLE_INVALID_ARGUMENT);
    heddle_error_destroy(error);
    error = nullptr;
    return text;
  }
  void done(heddle_status status) {
    INFO((status == HEDDLE_OK ? "" : heddle_error_message(error)));
    REQUIRE(status == HEDDLE_OK);
  }

  heddle_context *context = nullptr;
  heddle_pattern *handle = nullptr;
  heddle_kernel *kernel = nullptr;
  heddle_error *error = nullptr;
  std::vector<std::unique_ptr<char[]>> memory;
};

std::vector<heddle_extent> pagedExtents() {
  return {{"B", 2}, {"Tq", 1}, {"Hq", 2},   {"Hk", 1}, {"D", 16},
          {"M", 3}, {"NP", 5}, {"page", 4}, {"Dv", 16}};
}

} // namespace

TEST_CASE("C interface: pages and lengths that lie outside are refused before a launch", "[abi]") {
  using Catch::Contains;
  std::vector<const char *> devices{"cpu"};
  if (findNvrtc().ok())
    devices.push_back("ptx:80");
  for (const char *device : devices) {
    INFO(device);
    Abi abi(device, "paged_kv");
    abi.make(pagedExtents(), std::string(device) == "cpu" ? HEDDLE_F32 : HEDDLE_BF16);
    abi.set("table", {0, 1, 9, 4, -3, 77});
    abi.set("length", {8, 4}); // entries behind the keys may hold anything
    CHECK(abi.check() == "");
    abi.set("length", {9, 4});
    const char *page = "page 9 at entry 2 of table (sequence 0), expected 0 to 4";
    CHECK_THAT(abi.check(), Contains(page));
    if (std::string(device) == "cpu")
      CHECK_THAT(abi.launch(), Contains(page));
    abi.set("length", {8, 5});
    CHECK_THAT(abi.check(), Contains("page -3 at entry 1 of table (sequence 1)"));
    abi.set("length", {8, 13});
    CHECK_THAT(abi.check(), Contains("length[1] = 13, expected 0 to 12"));
    for (const char *unread : {"q", "k", "v", "o", "lse"}) // what lies on a device
      abi.tensor(unread).data = nullptr;
    CHECK_THAT(abi.check(), Contains("length[1] = 13"));
    abi.tensor("length").data = nullptr;
    CHECK(abi.check() == "");
  }
}

TEST_CASE("C interface: a state of another size or type is refused, and names its successor",
          "[abi]") {
  using Catch::Contains;
  Abi abi("cpu", "retnet");
  abi.make({{"B", 1}, {"T", 7}, {"H", 2}, {"K", 16}, {"V", 16}}, HEDDLE_F32);
  CHECK(abi.launch() == "");
  heddle_tensor_info info = {};
  abi.infoOf("s0", &info);
  CHECK(info.next == abi.infoOf("s", nullptr));
  abi.infoOf("q", &info);
  CHECK(info.next == -1);

  heddle_tensor right = abi.tensor("s0");
  abi.tensor("s0").shape[2] = 8;
  CHECK_THAT(abi.launch(), Contains("s0") && Contains("8") && Contains("16"));
  abi.tensor("s0") = right;
  abi.tensor("s0").dtype = HEDDLE_BF16;
  CHECK_THAT(abi.launch(), Contains("s0 of type bf16, expected f32"));
  abi.tensor("s0") = right;
  abi.tensor("s0").rank = 3;
  CHECK_THAT(abi.launch(), Contains("s0 with 3 dimensions, expected 4"));
  abi.tensor("s0") = right;
  CHECK(abi.launch() == "");
}

TEST_CASE("C interface: log-decays above 0 are refused", "[abi]") {
  Abi abi("cpu", "log_linear");
  abi.make({{"B", 1}, {"T", 7}, {"H", 2}, {"K", 16}, {"V", 16}, {"L", 4}}, HEDDLE_F32);
  CHECK(abi.launch() == "");
  static_cast<float *>(abi.tensor("g").data)[5] = 0.5f;
  CHECK_THAT(abi.launch(), Catch::Contains("g[0, 2, 1] = 0.5, expected 0 or less"));
}
