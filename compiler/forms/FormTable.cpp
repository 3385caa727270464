// The table of forms, and the walk over it.
#include "compiler/forms/Attention.h"
#include "compiler/forms/Chunked.h"
#include "compiler/forms/Form.h"
#include "compiler/forms/Recurrent.h"

#include <fmt/format.h>

namespace heddle::compiler {

static constexpr Form kForms[] = {
    {"attention", "weights of all visible pairs, row by row, with a running maximum",
     refuseAttention, buildAttention},
    {"chunked", "pairs inside a chunk of tokens, a state between chunks", refuseChunked,
     buildChunked},
    {"recurrent", "one token after the other, with a state", refuseRecurrent, buildRecurrent},
};

llvm::ArrayRef<Form> formTable() { return kForms; }

static Error unsupported(pattern::DefOp def, const std::vector<Refusal> &refusals) {
  std::vector<std::string> notes;
  for (const Refusal &refusal : refusals)
    notes.push_back(fmt::format("form {}: {}", refusal.form, refusal.reason));
  return {
      ErrorCode::Unsupported,
      fmt::format("no form lowers pattern {} yet; the interpreter runs it", def.getSymName().str()),
      "", std::move(notes)};
}

Result<FormChoice> chooseForm(const FormRequest &request) {
  const std::string &wanted = request.request.form;
  FormChoice choice;
  bool known = wanted.empty() || wanted == "auto";
  for (const Form &form : formTable()) {
    if (!known && wanted != form.name)
      continue;
    std::string reason = form.refuse(request);
    if (reason.empty()) {
      choice.form = &form;
      return choice;
    }
    choice.refusals.push_back({form.name, reason});
  }
  if (choice.refusals.empty())
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("unknown form '{}', expected auto, attention, recurrent or chunked", wanted)};
  return unsupported(request.def, choice.refusals);
}

} // namespace heddle::compiler
