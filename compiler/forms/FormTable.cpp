// The table of forms, and the walk over it.
#include "compiler/forms/Attention.h"
#include "compiler/forms/Form.h"

#include <fmt/format.h>

namespace heddle::compiler {

static constexpr Form kForms[] = {
    {"attention", "weights of all visible pairs, row by row, with a running maximum",
     refuseAttention, buildAttention},
};

// Forms the language allows but nothing lowers yet; named so that asking for one gets a reason.
static constexpr const char *kUnlowered[] = {"recurrent", "chunked"};

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

static void addUnlowered(FormChoice &choice, const std::string &only = "") {
  for (const char *name : kUnlowered)
    if (only.empty() || only == name)
      choice.refusals.push_back({name, "the recurrent and chunked forms are not lowered yet"});
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
      if (known)
        addUnlowered(choice);
      return choice;
    }
    choice.refusals.push_back({form.name, reason});
  }
  addUnlowered(choice, known ? "" : wanted);
  if (choice.refusals.empty())
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("unknown form '{}', expected auto, attention, recurrent or chunked", wanted)};
  return unsupported(request.def, choice.refusals);
}

} // namespace heddle::compiler
