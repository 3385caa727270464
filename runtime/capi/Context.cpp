// Version, errors, contexts and the store through the C interface.
#include "runtime/Version.h"
#include "runtime/capi/Handles.h"

using namespace heddle;
using namespace heddle::capi;

// --- version and errors --------------------------------------------------------------------------

const char *heddle_version_string(void) { return kVersion; }

heddle_status heddle_error_status(const heddle_error *error) {
  return error ? static_cast<heddle_status>(error->error.code) : HEDDLE_OK;
}
const char *heddle_error_message(const heddle_error *error) {
  return error ? error->message.c_str() : "";
}
size_t heddle_error_note_count(const heddle_error *error) {
  return error ? error->error.notes.size() : 0;
}
const char *heddle_error_note(const heddle_error *error, size_t index) {
  return error && index < error->error.notes.size() ? error->error.notes[index].c_str() : nullptr;
}
void heddle_error_destroy(heddle_error *error) { delete error; }

// --- context -------------------------------------------------------------------------------------

static Result<ContextOptions> optionsOf(const heddle_context_options &given) {
  ContextOptions wanted;
  if (given.device)
    wanted.device = given.device;
  wanted.threads = given.threads;
  wanted.cacheDir = text(given.store_directory);
  wanted.compilerPath = text(given.compiler);
  wanted.compilerBuild = text(given.compiler_build);
  wanted.useStore = !(given.flags & HEDDLE_NO_STORE);
  wanted.trustSharedStore = given.flags & HEDDLE_TRUST_SHARED_STORE;
  wanted.allowCompile = !(given.flags & HEDDLE_NO_COMPILE);
  wanted.useWinners = !(given.flags & HEDDLE_NO_WINNERS);
  wanted.storeBytes = given.store_bytes;
  wanted.compileThreads = given.compile_threads ? given.compile_threads : 1;
  wanted.compileMemory = given.compile_bytes;
  if (given.lease_wait_ms < 0)
    return wrong(fmt::format("found lease_wait_ms {}, expected 0 (the default) or more",
                             given.lease_wait_ms));
  if (given.lease_wait_ms)
    wanted.leaseWait = std::chrono::milliseconds(given.lease_wait_ms);
  if (given.bundle_count > 0 && !given.bundles)
    return nullPointer("the bundles");
  for (size_t n = 0; n < given.bundle_count; ++n) {
    if (!given.bundles[n])
      return nullPointer("the path of a bundle");
    wanted.bundles.push_back(given.bundles[n]);
  }
  if (given.log)
    wanted.log = [log = given.log, user = given.log_user](LogLevel level,
                                                          std::string_view message) {
      log(user, static_cast<int>(level), std::string(message).c_str());
    };
  if (given.progress)
    wanted.progress = [progress = given.progress,
                       user = given.progress_user](const CompileEvent &event) {
      const std::string what(event.what), key(event.key);
      const heddle_compile_event known = {sizeof(known), event.stage, event.waiting,
                                          what.c_str(),  key.c_str(), event.milliseconds};
      progress(user, &known);
    };
  return wanted;
}

heddle_status heddle_context_create(const heddle_context_options *options, heddle_context **context,
                                    heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context)
      return nullPointer("the place of the context");
    *context = nullptr;
    heddle_context_options known = {};
    if (options)
      HEDDLE_CHECK(sized(options, "the context's options", known));
    HEDDLE_TRY(wanted, optionsOf(known));
    HEDDLE_TRY(made, Context::create(std::move(wanted)));
    *context = new heddle_context(std::move(made));
    return {};
  });
}

void heddle_context_destroy(heddle_context *context) { giveBack(context); }

// --- store ---------------------------------------------------------------------------------------

heddle_status heddle_store_get(heddle_context *context, const char *kind, const char *key,
                               heddle_bytes_callback callback, void *user, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(context, "the context"));
    if (!kind || !key || !callback)
      return nullPointer("the kind, the key or the callback");
    HEDDLE_TRY(entry, parseEntryKind(kind));
    const std::optional<std::string> bytes = (*context->object)->cache().get(entry, key);
    if (!bytes)
      return Error{ErrorCode::NotFound, fmt::format("the store has no {} {}", kind, key)};
    callback(user, bytes->data(), bytes->size());
    return {};
  });
}

heddle_status heddle_store_put(heddle_context *context, const char *kind, const char *key,
                               const void *bytes, size_t size, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(context, "the context"));
    if (!kind || !key || (!bytes && size > 0))
      return nullPointer("the kind, the key or the bytes");
    HEDDLE_TRY(entry, parseEntryKind(kind));
    return (*context->object)->cache().put(entry, key, {static_cast<const char *>(bytes), size});
  });
}

heddle_status heddle_store_set_winner(heddle_context *context, const char *request_text,
                                      size_t size, const char *schedule, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(context, "the context"));
    if (!request_text || !schedule)
      return nullPointer("the request or the schedule");
    HEDDLE_TRY(request, Request::parse({request_text, size}));
    HEDDLE_TRY(winner, parseScheduleText(schedule));
    return (*context->object)->setWinner(request, winner);
  });
}
