// Decode: every file of the library that leaves a state, token by token as native code for single
// tokens, each step beginning with what the one before left, equals the interpreter on all tokens
// at once. Files whose mix has a state that they do not give are tested with it in and out.
#include "tests/patterns/CompiledFile.h"

#include <algorithm>

using namespace heddle;
using namespace heddle::test;

namespace {

/// Files that have the recurrent form, and yet no step.
const std::map<std::string, std::string> kNoStep = {
    {"encoder_retention", "each token sees those behind it"},
    {"retention_cross", "each query sees all keys"},
    {"retnet_norm", "its norm asks for the number of the token in the whole sequence"},
    {"mc_soup", "its segments are powers of two of the whole length"},
    {"tree_retention", "nodes have no order"}};

/// A file that gives its state, or whose text is changed so that it does.
struct Carrying {
  const char *pattern, *arguments, *clauses, *results;
};
const Carrying kCarrying[] = {
    {"based", "%s0: seq<f32, H x (1 + K + K * K) x V>, %z0: seq<f32, H x (1 + K + K * K)>",
     "initial state %s0, z %z0 gives o, state, z", ", %s1, %z1"},
    {"rebased",
     "%s0: seq<f32, H x (binom(K + 2 - 1, 2)) x V>, %z0: seq<f32, H x (binom(K + 2 - 1, 2))>",
     "initial state %s0, z %z0 gives o, state, z", ", %s1, %z1"},
    {"power_retention",
     "%s0: seq<f32, Hk x (binom(K + 2 - 1, 2)) x V>, %z0: seq<f32, Hk x (binom(K + 2 - 1, 2))>",
     "initial state %s0, z %z0 gives o, state, z", ", %s1, %z1"},
    {"log_linear", "%bank0: seq<f32, N x H x K x V>, %at0: seq<i32>",
     "initial bank %bank0, position %at0 gives o, bank, position", ", %bank1, %at1"},
    {"log_linear_delta", "%bank0: seq<f32, N x H x K x V>, %at0: seq<i32>",
     "initial bank %bank0, position %at0 gives o, bank, position", ", %bank1, %at1"},
    {"mc_residual", "%s0: seq<f32, H x K x V>, %bank0: seq<f32, N x H x K x V>, %at0: seq<i32>",
     "initial state %s0, bank %bank0, position %at0 gives o, state, bank, position",
     ", %s1, %bank1, %at1"},
    {"mc_grm",
     "%s0: seq<f32, H x K x V>, %bank0: seq<f32, N x H x K x V>, %pool0: seq<f32, N x H x K>, "
     "%at0: seq<i32>, %run0: seq<f32, H x K>",
     "initial state %s0, bank %bank0, pool %pool0, position %at0, run_pool %run0 gives o, state, "
     "bank, pool, position, run_pool",
     ", %s1, %bank1, %pool1, %at1, %run1"},
    {"mc_ssc",
     "%s0: seq<f32, H x K x V>, %bank0: seq<f32, N x H x K x V>, %pool0: seq<f32, N x H x K>, "
     "%at0: seq<i32>, %run0: seq<f32, H x K>",
     "initial state %s0, bank %bank0, pool %pool0, position %at0, run_pool %run0 gives o, state, "
     "bank, pool, position, run_pool",
     ", %s1, %bank1, %pool1, %at1, %run1"}};

void replaceOnce(std::string &text, const std::string &old, const std::string &with) {
  const size_t at = text.find(old);
  INFO(old << " in " << text);
  REQUIRE(at != std::string::npos);
  text.replace(at, old.size(), with);
}

std::string carryingText(const std::string &pattern) {
  std::string text = libraryText(pattern);
  for (const Carrying &file : kCarrying)
    if (pattern == file.pattern) {
      replaceOnce(text, "@" + pattern + "(", "@" + pattern + "(" + file.arguments + ", ");
      replaceOnce(text, "%o = mix", std::string("%o") + file.results + " = mix");
      replaceOnce(text, "gives o", file.clauses);
      replaceOnce(text, "return %o", std::string("return %o") + file.results);
    }
  return text;
}

/// The tokens first .. first + count - 1 of a tensor, along its dimension "T".
TensorView tokensOf(TensorView view, const Signature::Tensor &tensor, int64_t first,
                    int64_t count) {
  for (size_t d = 0; d < tensor.shape.size(); ++d)
    if (tensor.shape[d] == "T") {
      view.shape[d] = count;
      view.data = static_cast<char *>(view.data) + first * view.strides[d] * sizeOf(view.dtype);
    }
  return view;
}

/// A file with its tensors for all tokens at once.
class Decode {
public:
  Decode(const Case &check, int64_t length)
      : file(check.pattern, carryingText(check.pattern)), device(std::move(*openDevice("cpu", 1))) {
    bindCase(bound, check, file.def, length, DType::F32, [&](Problem &problem) {
      problem.dims["N"] = problem.dims.contains("N") ? problem.dims["N"] : 6;
      std::vector<const char *> empty{"bank0", "at0", "run0"}; // no token so far
      if (file.text.find("spow") != std::string::npos)         // a random sum of squares is no sum
        empty.insert(empty.end(), {"s0", "z0"});
      for (const char *name : empty)
        problem.fillers[name] = [](const std::vector<int64_t> &) { return 0.0; };
    });
    memory = resultMemory(file, bound, views, DType::F32);
    length_ = bound.problem.dim("T");
  }

  bool hasState() const {
    for (size_t n = 0; n < views.size(); ++n)
      if (next(n) >= 0)
        return true;
    return false;
  }

  /// Token by token, then the results of all steps beside the interpreter's.
  void check() {
    std::shared_ptr<const Kernel> step = compiled();
    std::vector<std::vector<char>> states(views.size()); // what the last step left
    for (int64_t t = 0; t < length_; ++t) {
      std::vector<TensorView> now;
      for (size_t n = 0; n < views.size(); ++n) {
        now.push_back(tokensOf(views[n], file.signature.tensors[n], t, 1));
        if (!states[n].empty())
          now[n].data = states[n].data();
      }
      launch(*step, now, t);
      for (size_t n = 0; n < views.size(); ++n)
        if (int32_t result = next(n); result >= 0) {
          const char *left = static_cast<const char *>(views[result].data);
          states[n].assign(left, left + views[n].elements() * sizeOf(views[n].dtype));
        }
    }
    compare();
  }

private:
  /// The result that the next step takes as tensor n; -1: none. Angles of mamba3 are no state of
  /// its mix.
  int32_t next(size_t n) const {
    const std::vector<Signature::Tensor> &tensors = file.signature.tensors;
    for (size_t r = 0; tensors[n].name == "theta0" && r < tensors.size(); ++r)
      if (tensors[r].name == "theta1")
        return int32_t(r);
    return tensors[n].next;
  }

  std::shared_ptr<const Kernel> compiled() {
    Request request = requestOf(file, bound, DType::F32, *device);
    request.extents["T"] = ExtentClass::of(1);
    request.form = "recurrent";
    Result<Artifact> artifact = compiler::compile(request);
    INFO((artifact ? "" : artifact.error().toString()));
    REQUIRE(artifact.ok());
    auto kernel = Kernel::load(*artifact, {}, device);
    INFO((kernel ? "" : kernel.error().toString()));
    REQUIRE(kernel.ok());
    return *kernel;
  }

  void launch(const Kernel &step, const std::vector<TensorView> &tensors, int64_t t) {
    std::vector<ParameterValue> parameters;
    for (const Signature::Parameter &parameter : file.signature.parameters)
      if (auto value = bound.problem.params.find(parameter.name);
          value != bound.problem.params.end() && !parameter.isConstant)
        parameters.push_back(
            {parameter.name, value->second + (parameter.name == "start" ? double(t) : 0)});
    Result<int64_t> bytes = step.workspaceBytes(tensors, parameters);
    INFO((bytes ? "" : bytes.error().toString()));
    REQUIRE(bytes.ok());
    Result<DeviceBuffer> workspace = DeviceBuffer::allocate(device, *bytes);
    REQUIRE(workspace.ok());
    Status status = step.launch(tensors, parameters, {workspace->data(), workspace->size()});
    INFO((status ? "" : status.error().toString()));
    REQUIRE(status.ok());
  }

  void compare() {
    Result<compiler::Outputs> expected = compiler::interpret(file.def, bound.bindings);
    INFO((expected ? "" : expected.error().toString()));
    REQUIRE(expected.ok());
    for (size_t n = 0; n < views.size(); ++n) {
      if (!file.signature.tensors[n].isResult)
        continue;
      const compiler::Output *output = expected->find(file.signature.tensors[n].name);
      REQUIRE(output);
      std::vector<double> found(output->values.size());
      for (size_t e = 0; e < found.size(); ++e)
        found[e] = loadElement(views[n].dtype, views[n].data, int64_t(e));
      compiler::Comparison result =
          compiler::compareValues(found.data(), output->values.data(), int64_t(found.size()),
                                  compiler::rmsLimit(compiler::Arithmetic::F32));
      INFO(output->name << " rms " << result.rms << " worst " << result.worst);
      CHECK(result.pass);
    }
  }

  File file;
  std::shared_ptr<Device> device;
  Bound bound;
  std::vector<TensorView> views;
  std::map<std::string, std::vector<double>> memory;
  int64_t length_ = 0;
};

} // namespace

TEST_CASE("steps of single tokens, each from the state that the one before left, are one run") {
  const char *only = std::getenv("HEDDLE_TEST_PATTERN");
  for (const Case &check : allCases()) {
    if ((only && check.pattern != only) ||
        !promisedForms(libraryText(check.pattern)).contains("recurrent"))
      continue;
    DYNAMIC_SECTION(check.pattern) {
      Decode decode(check, 13);
      CHECK(decode.hasState() == !kNoStep.contains(check.pattern));
      if (decode.hasState())
        decode.check();
    }
  }
}
