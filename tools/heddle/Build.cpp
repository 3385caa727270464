// heddle build: kernels made ahead of time, into one file that an engine opens read-only.
//   --for cpu,x86-avx2 --patterns causal_softmax --shapes shapes.txt -o kernels.bundle
// A line of the file is a problem: extents, parameters and dtype by name. For each pattern, problem
// and target there is the kernel of the problem's own class, and one that any lengths can use.
#include "runtime/Bundle.h"
#include "runtime/Key.h"
#include "runtime/Version.h"
#include "tools/heddle/Assignments.h"
#include "tools/heddle/Problem.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <set>

namespace heddle::tool {
namespace {

struct BuildOptions {
  std::vector<std::string> targets, patterns;
  std::string shapes, dtype = "f32", output, form = "auto";
  bool quiet = false, json = false;
};

/// A line of the shapes file.
struct ProblemLine {
  std::string text;
  std::map<std::string, double> values; ///< extents and parameters
  std::string dtype;
};

Result<std::vector<ProblemLine>> readShapes(const BuildOptions &options) {
  std::ifstream file(options.shapes);
  if (!file)
    return Error{ErrorCode::NotFound, fmt::format("cannot read '{}'", options.shapes)};
  std::vector<ProblemLine> problems;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    line = line.substr(0, line.find('#'));
    std::replace_if(line.begin(), line.end(), [](char c) { return std::isspace(c) != 0; }, ',');
    std::string text, dtype = options.dtype;
    for (size_t begin = 0, end; begin < line.size(); begin = end + 1) {
      end = std::min(line.find(',', begin), line.size());
      const std::string item = line.substr(begin, end - begin);
      if (item.starts_with("dtype="))
        dtype = item.substr(6);
      else if (!item.empty())
        text += (text.empty() ? "" : ",") + item;
    }
    if (text.empty())
      continue;
    HEDDLE_TRY(values, parseNumbers(fmt::format("{}:{}", options.shapes, number), text));
    problems.push_back({text, std::move(values), dtype});
  }
  if (problems.empty())
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found no problem in '{}', expected lines like Hq=8,Hk=2,T=1024,D=128",
                             options.shapes)};
  return problems;
}

/// "cpu": this computer. A machine's name: that machine. "sm_80": the first machine of that target.
Result<std::vector<Request>> targetsOf(const BuildOptions &options, Context &context) {
  HEDDLE_TRY(listing, context.compiler().machines());
  const nlohmann::json machines = nlohmann::json::parse(listing);
  std::vector<Request> targets;
  for (const std::string &name : options.targets) {
    Request target;
    target.machine = name == "cpu" ? "host" : "";
    for (const nlohmann::json &machine : machines) {
      const std::string code = machine["target"]; // sm_90 and sm_90a are code for one chip
      const bool isTarget = code == name || code == name + "a";
      if (target.machine.empty() && (machine["name"] == name || isTarget)) {
        target.machine = machine["name"];
        target.target = isTarget ? name : code;
      }
    }
    if (target.machine.empty())
      return Error{ErrorCode::NotFound,
                   fmt::format("--for: found '{}', expected cpu, a target like sm_80 or a machine "
                               "that `heddle machines` lists",
                               name)};
    HEDDLE_TRY(complete, context.complete(std::move(target)));
    Request part;
    targets.push_back(forTarget(std::move(part), complete));
  }
  return targets;
}

Result<Request> requestOf(const Signature &signature, const PatternFile &pattern,
                          const ProblemLine &problem, const BuildOptions &options) {
  std::map<std::string, double> parameters;
  Extents extents;
  for (const auto &[name, value] : problem.values) {
    const bool isParameter =
        std::any_of(signature.parameters.begin(), signature.parameters.end(),
                    [&name = name](const Signature::Parameter &p) { return p.name == name; });
    if (isParameter)
      parameters[name] = value;
    else
      extents[name] = static_cast<int64_t>(value);
  }
  HEDDLE_TRY(all, signature.completeExtents(extents, parameters));
  HEDDLE_TRY(dtype, parseDType(problem.dtype));
  HEDDLE_TRY(request, signature.request(pattern.text, all, dtype, parameters));
  request.form = options.form;
  return request;
}

class Builder {
public:
  Builder(Context &context, const BuildOptions &options) : context(context), options(options) {}

  Status addSignature(const PatternFile &pattern, const Signature &signature) {
    for (const std::string &name : {std::string(), signature.name})
      add(EntryKind::Signature, signatureKey(pattern.text, name), signature.serialize());
    return {};
  }

  Status addKernel(const Request &problem, const Request &target, const std::string &shape) {
    const Request open = forTarget(problem, target);
    HEDDLE_TRY(full, context.complete(open));
    const std::string key = requestKey(full);
    if (!full.schedule.empty() && open.schedule.empty()) {
      add(EntryKind::Winner, winnerKey(open), scheduleText(full.schedule));
      add(EntryKind::Winner, classWinnerKey(open), scheduleText(full.schedule));
    }
    if (!seen.emplace(EntryKind::Artifact, key).second)
      return {};
    if (!options.quiet)
      fmt::print(stderr, "heddle: {} {} for {}\n", problem.patternName, shape, full.machine);
    HEDDLE_TRY(artifact, artifactOf(full, key));
    kernels.push_back({{"pattern", problem.patternName},
                       {"shape", shape},
                       {"dims", full.dims},
                       {"target", full.target},
                       {"machine", full.machine},
                       {"form", artifact.form},
                       {"schedule", artifact.schedule},
                       {"tuned", !full.schedule.empty()},
                       {"features", artifact.requiredFeatures},
                       {"key", key}});
    contents.entries.push_back({EntryKind::Artifact, key, artifact.serialize()});
    return {};
  }

  Status write(const std::vector<Request> &targets) {
    nlohmann::json listed = nlohmann::json::array();
    for (const Request &target : targets)
      listed.push_back({{"target", target.target},
                        {"machine", target.machine},
                        {"facts", target.deviceFacts},
                        {"compiler", target.compilerBuild}});
    manifest = {
        {"what", "heddle build"}, {"version", kVersion}, {"targets", listed}, {"kernels", kernels}};
    contents.targets = targets;
    contents.manifest = manifest.dump();
    return writeBundle(options.output, contents);
  }

  nlohmann::json manifest;
  nlohmann::json kernels = nlohmann::json::array();

private:
  void add(EntryKind kind, const std::string &key, const std::string &payload) {
    if (seen.emplace(kind, key).second)
      contents.entries.push_back({kind, key, payload});
  }

  Result<Artifact> artifactOf(const Request &request, const std::string &key) {
    if (const std::optional<std::string> bytes = context.cache().get(EntryKind::Artifact, key))
      if (Result<Artifact> kept = Artifact::parse(*bytes); kept.ok())
        return kept;
    HEDDLE_TRY(artifact, context.compiler().compile(request));
    if (context.cache().enabled()) // a failure is said by the store
      (void)context.cache().put(EntryKind::Artifact, key, artifact.serialize()).ok();
    return artifact;
  }

  Context &context;
  const BuildOptions &options;
  BundleContents contents;
  std::set<std::pair<EntryKind, std::string>> seen;
};

/// The request whose kernel any lengths can use.
Request widest(Request request) {
  for (auto &[dim, extent] : request.extents)
    extent = {};
  request.buckets.clear();
  return request;
}

Result<int> run(const BuildOptions &options) {
  ContextOptions opening;
  if (!options.quiet)
    opening.log = [](LogLevel, std::string_view message) {
      fmt::print(stderr, "heddle: {}\n", message);
    };
  HEDDLE_TRY(context, Context::create(std::move(opening)));
  HEDDLE_TRY(problems, readShapes(options));
  HEDDLE_TRY(targets, targetsOf(options, *context));
  Builder builder(*context, options);
  for (const std::string &name : options.patterns) {
    HEDDLE_TRY(pattern, findPattern(name));
    HEDDLE_TRY(signature, context->signature(pattern.text));
    HEDDLE_CHECK(builder.addSignature(pattern, signature));
    for (const ProblemLine &problem : problems)
      for (const Request &target : targets) {
        HEDDLE_TRY(request, requestOf(signature, pattern, problem, options));
        HEDDLE_CHECK(builder.addKernel(request, target, problem.text));
        HEDDLE_CHECK(builder.addKernel(widest(request), target, problem.text + ", any length"));
      }
  }
  HEDDLE_CHECK(builder.write(targets));
  if (options.json)
    fmt::print("{}\n", builder.manifest.dump(1));
  else
    fmt::print("{}: {} kernels for {}\n", options.output, builder.kernels.size(),
               fmt::join(options.targets, ", "));
  return 0;
}

} // namespace

void addBuildCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand(
      "build", "make kernels ahead of time, into a bundle that needs no compiler to be used");
  auto options = std::make_shared<BuildOptions>();
  command
      ->add_option("--for", options->targets,
                   "what to build for, the best first: cpu (this computer), machines "
                   "(`heddle machines`) such as x86-avx2, targets such as sm_80")
      ->delimiter(',')
      ->required();
  command->add_option("--patterns", options->patterns, "names of the library, or paths")
      ->delimiter(',')
      ->required();
  command
      ->add_option("--shapes", options->shapes,
                   "a file with one problem a line: extents, parameters and dtype by name, "
                   "Hq=32,Hk=8,T=4096,D=128,dtype=bf16; # begins a comment")
      ->required();
  command->add_option("--dtype", options->dtype, "of problems that name none")
      ->capture_default_str();
  command->add_option("--form", options->form, "auto, attention, recurrent or chunked")
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "the bundle")->required();
  command->add_flag("--quiet", options->quiet, "no progress on stderr");
  addJsonOption(*command, options->json);
  command->callback([=, &action] { action = [=] { return run(*options); }; });
}

} // namespace heddle::tool
