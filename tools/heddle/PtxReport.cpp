// Reports of the PTX machine: JSON with every field, text with what matters.
#include "tools/heddle/PtxReport.h"

#include <fmt/format.h>

namespace heddle::tool {
namespace {

nlohmann::json toJson(const ptx::Finding &f) {
  return {{"kind", f.kind},   {"message", f.message}, {"line", f.line}, {"cuda", f.cuda},
          {"times", f.times}, {"block", f.block},     {"warp", f.warp}, {"lanes", f.lanes}};
}

nlohmann::json toJson(const ptx::Traffic &t) {
  return {
      {"shared_requests", t.sharedRequests}, {"shared_wavefronts", t.sharedWavefronts},
      {"shared_ideal", t.sharedIdeal},       {"bank_conflicts", t.sharedWavefronts - t.sharedIdeal},
      {"global_requests", t.globalRequests}, {"global_sectors", t.globalSectors},
      {"global_bytes", t.globalBytes},       {"tensor_flops", t.tensorFlops}};
}

nlohmann::json toJson(const ptx::LoopCount &l) {
  return {{"lines", {l.firstLine, l.lastLine}},
          {"cuda_line", l.cudaLine},
          {"depth", l.depth},
          {"iterations", l.iterations},
          {"instructions", l.instructions},
          {"tensor_flops", l.tensorFlops},
          {"other_per_tensor", l.otherPerTensor()},
          {"classes", l.classes}};
}

std::string classText(const nlohmann::json &classes) {
  std::string line;
  for (const auto &[name, count] : classes.items())
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ", count.get<uint64_t>(), name);
  return line;
}

} // namespace

nlohmann::json toJson(const std::string &kernel, const ptx::Report &report, bool checked) {
  nlohmann::json json = {{"kernel", kernel},
                         {"blocks", report.blocks},
                         {"instructions", report.warpInstructions},
                         {"printed", report.printed}};
  if (!report.counts.empty()) {
    json["classes"] = report.classes;
    json["loops"] = nlohmann::json::array();
    for (const ptx::LoopCount &loop : report.loops)
      json["loops"].push_back(toJson(loop));
    json["traffic"] = toJson(report.traffic);
  }
  if (!checked)
    return json;
  json["verdict"] = report.verdict();
  json["unmodelled"] = report.unmodelled;
  json["findings"] = nlohmann::json::array();
  for (const ptx::Finding &finding : report.findings)
    json["findings"].push_back(toJson(finding));
  return json;
}

ptx::CopyTime copyTimeOf(const std::string &name) {
  return name == "early"  ? ptx::CopyTime::Early
         : name == "late" ? ptx::CopyTime::Late
                          : ptx::CopyTime::Random;
}

void printReport(const nlohmann::json &json) {
  if (json.contains("classes")) {
    fmt::print("  counts: {}\n", classText(json["classes"]));
    for (const nlohmann::json &l : json["loops"])
      fmt::print("  {:>{}}loop in lines {} to {}: {} iterations, {} instructions{}: {}\n", "",
                 2 * (l["depth"].get<int>() - 1), l["lines"][0].get<int>(),
                 l["lines"][1].get<int>(), l["iterations"].get<uint64_t>(),
                 l["instructions"].get<uint64_t>(),
                 l["tensor_flops"].get<uint64_t>()
                     ? fmt::format(" ({:.2f} other ones for each of the tensor cores)",
                                   l["other_per_tensor"].get<double>())
                     : "",
                 classText(l["classes"]));
    const nlohmann::json &t = json["traffic"];
    fmt::print(
        "  tensor cores: {} FLOP\n  shared memory: {} requests, {} wavefronts, {} without "
        "bank conflicts\n  global memory: {} requests, {} sectors of 32 bytes for {} bytes\n",
        t["tensor_flops"].get<uint64_t>(), t["shared_requests"].get<uint64_t>(),
        t["shared_wavefronts"].get<uint64_t>(), t["shared_ideal"].get<uint64_t>(),
        t["global_requests"].get<uint64_t>(), t["global_sectors"].get<uint64_t>(),
        t["global_bytes"].get<uint64_t>());
  }
  if (!json.contains("verdict"))
    return;
  for (const nlohmann::json &f : json["findings"]) {
    const std::string cuda = f["cuda"];
    fmt::print("  {}: line {}{}: {}; block ({}, {}, {}), warp {}, lanes {:#010x}, {} times\n",
               f["kind"].get<std::string>(), f["line"].get<int>(),
               cuda.empty() ? "" : " (" + cuda + ")", f["message"].get<std::string>(),
               f["block"][0].get<int64_t>(), f["block"][1].get<int64_t>(),
               f["block"][2].get<int64_t>(), f["warp"].get<int>(), f["lanes"].get<uint32_t>(),
               f["times"].get<uint64_t>());
  }
  for (const nlohmann::json &u : json["unmodelled"])
    fmt::print("  not modelled: {}\n", u.get<std::string>());
  fmt::print("  verdict: {}\n", json["verdict"].get<std::string>());
}

} // namespace heddle::tool
