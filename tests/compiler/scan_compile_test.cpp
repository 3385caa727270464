// Recurrent and chunked forms compiled for this processor equal the interpreter: every class of
// scan, lengths around the chunk, head sizes that fill no vector, all element types; forms and
// chunk sizes agree with one another.
#include "compiler/Compiler.h"
#include "runtime/Jit.h"
#include "tests/compiler/ScanClasses.h"

using namespace heddle;
using namespace heddle::test;

namespace {

/// Compiles a case, runs it on random tensors, compares all results; gives them by name.
std::map<std::string, std::vector<double>> runCompiled(const FormCase &c,
                                                       DType dtype = DType::F32) {
  std::shared_ptr<Device> device = std::move(*openDevice("cpu", 2));
  Request request;
  request.patternText = c.text;
  for (const auto &[name, extent] : c.dims)
    if (std::find(c.fixed.begin(), c.fixed.end(), name) != c.fixed.end())
      request.dims[name] = extent;
    else
      request.extents[name] = ExtentClass::of(extent);
  if (c.dims.contains("Hq") && c.dims.contains("Hk"))
    request.dims["G"] = c.dims.at("Hq") / c.dims.at("Hk");
  request.dtypes["*"] = dtype;
  request.form = c.form;
  request.schedule = {{"CHUNK", c.CHUNK}};
  request.target = "cpu";
  request.machine = "host";
  request.deviceFacts = device->facts();
  Result<Artifact> artifact = compiler::compile(request);
  INFO(c.text << c.form << " chunk " << c.CHUNK
              << (artifact ? "" : "\n" + artifact.error().toString()));
  REQUIRE(artifact.ok());
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  std::vector<OwnedTensor> owned;
  std::vector<TensorView> views;
  owned.reserve(artifact->tensors.size());
  for (const TensorInfo &info : artifact->tensors) {
    std::vector<int64_t> shape;
    for (const std::string &dim : info.shape)
      shape.push_back(c.dims.contains(dim) ? c.dims.at(dim) : std::stoll(dim));
    OwnedTensor &tensor = owned.emplace_back(info.dtype, shape);
    tensor.view.data = tensor.bytes.data();
    auto made = c.made.contains(info.name) ? c.made.at(info.name) : +[](double x) { return x; };
    for (int64_t n = 0; n < tensor.view.elements(); ++n)
      storeElement(info.dtype, tensor.view.data, n, made(normal(random)));
    views.push_back(tensor.view);
  }
  auto kernel = Kernel::load(*artifact, {}, device);
  REQUIRE(kernel.ok());
  Result<int64_t> bytes = (*kernel)->workspaceBytes(views, {});
  REQUIRE(bytes.ok());
  Result<AlignedBuffer> workspace = AlignedBuffer::allocate(*bytes);
  REQUIRE(workspace.ok());
  Status status = (*kernel)->launch(views, {}, workspace->workspace());
  INFO((status ? "" : status.error().toString()));
  REQUIRE(status.ok());

  auto context = pattern::makePatternContext();
  pattern::Parsed parsed = pattern::parsePatterns(*context, c.text, "p");
  std::string why;
  pattern::DefOp def = pattern::findPattern(*parsed.module, "", why);
  compiler::Bindings bindings;
  for (size_t n = 0; n < views.size(); ++n)
    if (!artifact->tensors[n].isResult)
      bindings.tensors[artifact->tensors[n].name] = views[n];
  bindings.dims = c.dims;
  Result<compiler::Outputs> expected = compiler::interpret(def, bindings);
  INFO((expected ? "" : expected.error().toString()));
  REQUIRE(expected.ok());
  std::map<std::string, std::vector<double>> results;
  for (size_t n = 0; n < views.size(); ++n) {
    if (!artifact->tensors[n].isResult)
      continue;
    const compiler::Output *output = expected->find(artifact->tensors[n].name);
    std::vector<double> found(output->values.size());
    for (size_t e = 0; e < found.size(); ++e)
      found[e] = loadElement(views[n].dtype, views[n].data, int64_t(e));
    compiler::Comparison result =
        compiler::compareValues(found.data(), output->values.data(), int64_t(found.size()),
                                compiler::rmsLimit(compiler::arithmeticOf(dtype)));
    INFO("result " << output->name << " maxAbs " << result.maxAbs << " rms " << result.rms
                   << " worst " << result.worst);
    CHECK(result.pass);
    results[output->name] = std::move(found);
  }
  return results;
}

std::map<std::string, int64_t> sizes(int64_t T, int64_t K, int64_t V) {
  return {{"B", 1}, {"T", T}, {"H", 2}, {"K", K}, {"V", V}};
}

} // namespace

TEST_CASE("compiled scans: every class in chunks") {
  for (const ScanClass &kind : kScanClasses) {
    INFO(kind.what);
    runCompiled(scanCase(textOf(kind), sizes(77, 24, 40), "chunked", 32));
    runCompiled(scanCase(textOf(kind), sizes(7, 9, 7), "chunked", 16));
  }
}

TEST_CASE("compiled scans: every class token by token") {
  for (const ScanClass &kind : kScanClasses) {
    INFO(kind.what);
    runCompiled(scanCase(textOf(kind), sizes(13, 40, 24), "recurrent", 64));
    runCompiled(scanCase(textOf(kind), sizes(1, 9, 7), "recurrent", 64));
  }
}

TEST_CASE("a pattern that is in no library has all three forms, with the same numbers") {
  // The README's example.
  const char *own = "pattern.def @fading(%q: seq<T x H x K>, %k: seq<T x H x K>, "
                    "%v: seq<T x H x V>, %doubt: seq<T x H>, %s0: seq<f32, H x K x V>) {\n"
                    "  %g = map (t, h) in (T, H) { -0.05 - softplus(doubt[t, h]) / (1 + h) }\n"
                    "  %o, %s = mix %q, %k, %v\n"
                    "    features q [silu]\n    features k [silu]\n"
                    "    decay scalar %g\n    weight id  norm none\n"
                    "    initial state %s0\n  return %o, %s\n}\n";
  std::map<std::string, std::vector<double>> first;
  for (const char *form : {"attention", "recurrent", "chunked"}) {
    auto results = runCompiled(scanCase(own, sizes(77, 24, 20), form, 16));
    if (first.empty())
      first = results;
    for (const auto &[name, values] : results) {
      compiler::Comparison same =
          compiler::compareValues(values.data(), first[name].data(), int64_t(values.size()), 2e-5);
      INFO(form << " " << name << " rms " << same.rms);
      CHECK(same.pass);
    }
  }
}

TEST_CASE("compiled scans: walks with banks, levels and large states") {
  const char *arguments = ", %g: seq<f32, T x H>, %lambda: seq<T x H x L>";
  std::map<std::string, int64_t> dims = sizes(77, 24, 20);
  dims["L"] = 8;
  for (const char *form : {"recurrent", "chunked"})
    for (const char *clauses :
         {"decay scalar %g weight id norm none segments constant { 20 } gate given %lambda bank "
          "frozen reset yes gives o",
          "score { s } decay scalar %g weight id norm none segments fenwick gate given %lambda "
          "bank running gives o",
          "features q [spow(p = 2)] features k [spow(p = 2)] decay scalar %g weight id norm sum "
          "gives o"}) {
      ScanClass kind{"", arguments, clauses, "%o"};
      runCompiled(scanCase(textOf(kind), dims, form, 16));
    }
}
