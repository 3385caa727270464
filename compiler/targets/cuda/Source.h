// Text with indentation: lines and blocks.
//   s.open("for (int n = 0; n < 8; ++n)"); s.line("x += {};", y); s.close();
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace heddle::compiler::cuda {

class Source {
public:
  explicit Source(int depth = 0) : depth(depth) {}

  template <typename... Args> void line(fmt::format_string<Args...> format, Args &&...args) {
    add(fmt::format(format, std::forward<Args>(args)...));
  }
  /// One line as it is.
  void add(std::string_view text) {
    if (!text.empty())
      body.append(2 * depth, ' ');
    body += text;
    body += '\n';
  }
  void comment(std::string_view text) { add(fmt::format("// {}", text)); }
  void open(std::string_view head) {
    add(head.empty() ? "{" : fmt::format("{} {{", head));
    ++depth;
  }
  /// A loop without run-time bounds, unrolled: wholly, or by `copies`.
  void unrolled(std::string_view variable, int64_t end, int64_t step = 1, int64_t copies = 0) {
    add(copies == 0 ? "#pragma unroll" : fmt::format("#pragma unroll {}", copies));
    open(step == 1 ? fmt::format("for (int {0} = 0; {0} < {1}; ++{0})", variable, end)
                   : fmt::format("for (int {0} = 0; {0} < {1}; {0} += {2})", variable, end, step));
  }
  void close(std::string_view tail = "") {
    --depth;
    add(fmt::format("}}{}", tail));
  }
  void close(int blocks) {
    for (int n = 0; n < blocks; ++n)
      close();
  }

  const std::string &text() const { return body; }

private:
  int depth;
  std::string body;
};

} // namespace heddle::compiler::cuda
