// Bundles: what was written is read, anything changed is noticed, and an engine with a bundle needs
// neither compiler nor store.
#include "runtime/Bundle.h"
#include "runtime/Key.h"
#include "tests/runtime/Mutate.h"
#include "tests/runtime/Samples.h"
#include "tests/runtime/Setting.h"
#include "tests/support/Files.h"

#include <sys/stat.h>

using namespace heddle;
using namespace heddle::test;

namespace {

BundleContents sampleContents() {
  BundleContents contents;
  contents.manifest = "{\"patterns\":[]}";
  contents.targets = {sampleRequest(), Request()};
  contents.entries = {{EntryKind::Winner, "k", "BM=64"},
                      {EntryKind::Artifact, "k", std::string("\0\xff\n", 3)},
                      {EntryKind::Artifact, "empty", ""}};
  return contents;
}

} // namespace

TEST_CASE("a bundle gives back what was put into it") {
  ScratchFolder folder;
  const std::string path = folder / "b";
  REQUIRE(writeBundle(path, sampleContents()).ok());
  REQUIRE(writeBundle(path, sampleContents()).ok()); // over the old one
  const Result<Bundle> bundle = Bundle::open(path);
  REQUIRE(bundle.ok());
  CHECK(bundle->manifest() == "{\"patterns\":[]}");
  CHECK(bundle->targets() == sampleContents().targets);
  CHECK(bundle->index().size() == 3);
  for (const BundleEntry &entry : sampleContents().entries)
    CHECK(*bundle->get(entry.kind, entry.key) == entry.payload);
  CHECK(bundle->get(EntryKind::Signature, "k").error().code == ErrorCode::NotFound);
  CHECK(Bundle::open(folder / "none").error().code == ErrorCode::NotFound);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  BundleContents twice = sampleContents();
  twice.entries.push_back(twice.entries[0]);
  CHECK(writeBundle(path, twice).error().code == ErrorCode::InvalidArgument);
  CHECK(!writeBundle(folder / "no/such/folder/b", sampleContents()).ok());
}

TEST_CASE("a bundle cut short or changed anywhere never gives wrong bytes") {
  ScratchFolder folder;
  const std::string path = folder / "b";
  REQUIRE(writeBundle(path, sampleContents()).ok());
  const std::string whole = readFile(path);
  const auto harmless = [&](const std::string &bytes) {
    writeFile(path, bytes);
    const Result<Bundle> bundle = Bundle::open(path);
    if (!bundle.ok())
      return bundle.error().code == ErrorCode::CorruptData;
    for (const BundleEntry &entry : sampleContents().entries) {
      const Result<std::string> got = bundle->get(entry.kind, entry.key);
      if (got.ok() ? *got != entry.payload : got.error().code != ErrorCode::CorruptData)
        return false;
    }
    return true;
  };
  for (size_t n = 0; n < whole.size(); ++n) {
    INFO(n);
    REQUIRE(harmless(whole.substr(0, n)));
    std::string changed = whole;
    changed[n] ^= 0x40;
    REQUIRE(harmless(changed));
  }
  forEachMutation(whole, 2000, [&](const std::string &bytes) { REQUIRE(harmless(bytes)); });
}

TEST_CASE("a bundle that others can write to is refused unless asked for") {
  ScratchFolder folder;
  const std::string path = folder / "b";
  REQUIRE(writeBundle(path, sampleContents()).ok());
  ::chmod(path.c_str(), 0666);
  CHECK(Bundle::open(path).error().message.find("can be written to by others") !=
        std::string::npos);
  CHECK(Bundle::open(path, true).ok());
}

TEST_CASE("an engine with a bundle needs no compiler and no store") {
  Setting setting;
  const std::string path = setting.folder / "kernels.bundle";
  BundleContents contents;
  {
    const std::shared_ptr<Context> context = setting.open();
    Request request = scaleRequest(*context);
    // Two targets: the first needs what no processor has; each key from the target's own facts.
    Request rare = *context->complete(request), plain = rare;
    rare.machine = "rare";
    plain.machine = "plain";
    rare.deviceFacts = plain.deviceFacts = "";
    contents.targets = {rare, plain};
    contents.entries.push_back(
        {EntryKind::Signature, signatureKey("scale", ""), scaleSignature().serialize()});
    Artifact artifact = scaleArtifact(10);
    artifact.requiredFeatures = {"avx9000"};
    contents.entries.push_back({EntryKind::Artifact, requestKey(rare), artifact.serialize()});
    Request tuned = plain;
    tuned.schedule = {{"BM", 8}};
    contents.entries.push_back({EntryKind::Winner, winnerKey(plain), "BM=8"});
    artifact = scaleArtifact(10);
    artifact.schedule = tuned.schedule;
    contents.entries.push_back({EntryKind::Artifact, requestKey(tuned), artifact.serialize()});
    Request wide = plain; // of another width, for any length
    wide.dims["D"] = 12;
    wide.extents["T"] = {};
    contents.entries.push_back(
        {EntryKind::Artifact, requestKey(wide), scaleArtifact(12).serialize()});
  }
  REQUIRE(writeBundle(path, contents).ok());
  setting.options.useStore = false;
  setting.options.compilerPath = "/nowhere/libheddle-compiler.so";
  setting.options.bundles = {path};
  const std::shared_ptr<Context> context = setting.open();
  const Result<std::shared_ptr<const Kernel>> kernel = context->kernel(scaleRequest(*context));
  REQUIRE(kernel.ok());
  CHECK((*kernel)->origin().source == KernelOrigin::Bundle);
  CHECK((*kernel)->origin().tuned);
  CHECK((*kernel)->scheduleText() == "BM=8");
  ScaleCall call(7, 10);
  REQUIRE(call.run(**kernel).ok());
  CHECK(call.isRight(2));
  const Result<std::shared_ptr<const Kernel>> wide = context->kernel(scaleRequest(*context, 12));
  REQUIRE(wide.ok()); // its own class is not there, and nothing can make it
  ScaleCall wideCall(7, 12);
  REQUIRE(wideCall.run(**wide).ok());
  CHECK(wideCall.isRight(2));
  const Result<std::shared_ptr<const Kernel>> absent = context->kernel(scaleRequest(*context, 11));
  REQUIRE(!absent.ok());
  CHECK(absent.error().code == ErrorCode::NotFound);
  CHECK(!context->compiler().loaded());
  CHECK(!context->signature("unknown").ok());

  setting.options.bundles = {setting.folder / "none"};
  CHECK(Context::create(setting.options).error().code == ErrorCode::NotFound);
}
