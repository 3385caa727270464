// Options from text and reports as JSON, for callers that load the library by
// name.
#include "runtime/devices/ptx/DriverControl.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>

using namespace heddle::ptx;

namespace heddle::ptx {

std::map<std::string, uint64_t> countByClass(const Program &program,
                                             const std::vector<uint64_t> &counts) {
  std::map<std::string, uint64_t> classes;
  const std::vector<Inst> &code = program.functions[0]->code;
  for (size_t i = 0; i < std::min(counts.size(), code.size()); ++i)
    if (counts[i])
      classes[toString(code[i].kind)] += counts[i];
  return classes;
}

} // namespace heddle::ptx

namespace {

std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += '\\';
    if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    else
      out += c;
  }
  return out + "\"";
}

std::string json(const Finding &f) {
  return fmt::format(
      R"({{"kind":{},"message":{},"line":{},"cuda":{},"times":{},"block":[{},{},{}],)"
      R"("warp":{},"lanes":{}}})",
      quoted(f.kind), quoted(f.message), f.line, quoted(f.cuda), f.times, f.block[0], f.block[1],
      f.block[2], f.warp, f.lanes);
}

std::string json(const LaunchRecord &record) {
  const Report &r = record.report;
  const Traffic &t = r.traffic;
  std::string findings, unmodelled, classes;
  for (const Finding &f : r.findings)
    findings += (findings.empty() ? "" : ",") + json(f);
  for (const std::string &u : r.unmodelled)
    unmodelled += (unmodelled.empty() ? "" : ",") + quoted(u);
  for (const auto &[name, count] : record.classes)
    classes += fmt::format("{}{}:{}", classes.empty() ? "" : ",", quoted(name), count);
  return fmt::format(
      R"({{"kernel":{},"verdict":{},"instructions":{},"findings":[{}],"unmodelled":[{}],)"
      R"("classes":{{{}}},"traffic":{{"shared_requests":{},"shared_wavefronts":{},)"
      R"("shared_ideal":{},"global_requests":{},"global_sectors":{},"global_bytes":{},)"
      R"("tensor_flops":{}}}}})",
      quoted(record.kernel), quoted(r.verdict()), r.warpInstructions, findings, unmodelled, classes,
      t.sharedRequests, t.sharedWavefronts, t.sharedIdeal, t.globalRequests, t.globalSectors,
      t.globalBytes, t.tensorFlops);
}

bool number(std::string_view word, std::string_view name, auto &value) {
  return word.starts_with(name) &&
         std::from_chars(word.data() + name.size(), word.data() + word.size(), value).ptr ==
             word.data() + word.size();
}

} // namespace

extern "C" __attribute__((visibility("default"))) int heddlePtxSetOptions(const char *text) {
  LaunchOptions options;
  options.threads = 0;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word == "check")
      options.check = true;
    else if (word == "counts")
      options.counts = true;
    else if (word == "faithful")
      options.numbers = Numbers::Faithful;
    else if (word == "late")
      options.copies = CopyTime::Late;
    else if (word == "random")
      options.copies = CopyTime::Random;
    else if (!number(word, "seed=", options.seed) && !number(word, "threads=", options.threads) &&
             !number(word, "steps=", options.stepLimit))
      return 1;
  }
  setDriverOptions(options);
  return 0;
}

extern "C" __attribute__((visibility("default"))) const char *heddlePtxTakeReport() {
  thread_local std::string text;
  text = "[";
  for (const LaunchRecord &record : takeLaunches())
    text += (text.size() > 1 ? "," : "") + json(record);
  text += "]";
  return text.c_str();
}
