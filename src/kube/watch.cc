// SPDX-License-Identifier: Apache-2.0
#include "kube/watch.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/status.h"

namespace capstan::kube {
namespace {

// One event; etcd keeps no object of more than 1.5 MB unless told to.
constexpr size_t kLongestLine = 16 << 20;
// A watch that ended sooner is not asked for again at once.
constexpr absl::Duration kShortest = absl::Seconds(1);

}  // namespace

Watch::Watch(Client& client, Clock& clock, Resource resource, Selection selection, Handler handler,
             Options options)
    : client_(client),
      clock_(clock),
      resource_(resource),
      selection_(std::move(selection)),
      handler_(std::move(handler)),
      options_(options),
      stream_(clock),
      thread_([this] { Run(); }) {}

Watch::~Watch() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  stream_.Stop();
  thread_.join();
}

bool Watch::stopping() {
  std::lock_guard lock(mutex_);
  return stopping_;
}

bool Watch::Wait(absl::Duration delay) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMilliseconds(delay), [this] { return stopping_; });
  return !stopping_;
}

void Watch::Run() {
  absl::Duration retry = options_.first_retry;
  while (!stopping()) {
    const absl::Duration began = clock_.Monotonic();
    const bool follows = !version_.empty();
    const absl::Status status = follows ? Follow() : List();
    if (status.ok()) {
      retry = options_.first_retry;
      if (follows && clock_.Monotonic() - began < kShortest && !Wait(kShortest)) return;
      continue;
    }
    if (stopping()) return;
    // The regular answer to who was away for long: what was missed is in the next list.
    if (absl::IsOutOfRange(status) && !std::exchange(version_, "").empty()) {
      if (clock_.Monotonic() - began < kShortest && !Wait(kShortest)) return;
      continue;
    }
    troubled_ = true;
    handler_.trouble(status);
    if (!Wait(std::max(retry, RetryAfterOf(status).value_or(absl::ZeroDuration())))) return;
    retry = std::min(2 * retry, options_.last_retry);
  }
}

absl::Status Watch::List() {
  std::set<ObjectName> there;
  CAPSTAN_ASSIGN_OR_RETURN(std::string version,
                           client_.List(resource_, selection_, [&](const Json& object) {
                             there.insert(NameOf(object));
                             See(object);
                           }));
  for (auto known = known_.begin(); known != known_.end();) {
    const ObjectName name = (known++)->first;
    if (!there.contains(name)) Lose(name);
  }
  version_ = std::move(version);
  troubled_ = false;
  handler_.synced();
  return absl::OkStatus();
}

absl::Status Watch::Follow() {
  client_.Throttle();
  const std::string path = absl::StrCat(
      PathOf(resource_, {selection_.ns, ""}),
      QueryOf(selection_,
              absl::StrCat("watch=1&allowWatchBookmarks=true&resourceVersion=", version_,
                           "&timeoutSeconds=", absl::ToInt64Seconds(options_.length))));
  CAPSTAN_ASSIGN_OR_RETURN(HttpRequest request, client_.RequestFor("GET", path));
  const std::string what = absl::StrCat("watch ", resource_.plural);
  std::string buffer;
  absl::Status taken;
  const auto take = [&](std::string_view bytes) {
    buffer.append(bytes);
    size_t begin = 0;
    for (size_t end; taken.ok() && (end = buffer.find('\n', begin)) != std::string::npos;) {
      taken = TakeLine(std::string_view(buffer).substr(begin, end - begin));
      begin = end + 1;
    }
    buffer.erase(0, begin);
    if (taken.ok() && buffer.size() > kLongestLine) {
      taken = absl::ResourceExhaustedError(
          absl::StrCat("cannot ", what, ": an event of more than ", kLongestLine, " bytes"));
    }
    return taken.ok();
  };
  absl::StatusOr<HttpReply> reply = stream_.Run(request, options_.silence, take);
  CAPSTAN_RETURN_IF_ERROR(taken);
  if (!reply.ok()) return Annotate(reply.status(), absl::StrCat("cannot ", what));
  return reply->status == 200 ? absl::OkStatus() : client_.ErrorOf(*reply, what);
}

absl::Status Watch::TakeLine(std::string_view line) {
  CAPSTAN_ASSIGN_OR_RETURN(Json event, ParseJson(line, "a watch's event"));
  const Json* type = Member(event, "type");
  const Json* object = Member(event, "object");
  if (type == nullptr || !type->is_string() || object == nullptr) {
    return absl::InternalError("a watch's event has no type or no object");
  }
  const std::string& what = type->get_ref<const std::string&>();
  if (what == "ERROR") {
    const Json* code = Member(*object, "code");
    return client_.ErrorOf(
        {code != nullptr && code->is_number_integer() ? code->get<int>() : 500, object->dump(), {}},
        absl::StrCat("watch ", resource_.plural));
  }
  if (what == "DELETED") {
    Lose(NameOf(*object));
  } else if (what != "BOOKMARK") {
    See(*object);
  }
  if (const std::string version = Metadata(*object, "resourceVersion"); !version.empty()) {
    version_ = version;
  }
  if (std::exchange(troubled_, false)) handler_.synced();
  return absl::OkStatus();
}

void Watch::See(const Json& object) {
  const ObjectName name = NameOf(object);
  const Version version{Metadata(object, "uid"), Metadata(object, "resourceVersion")};
  const auto known = known_.find(name);
  if (known != known_.end()) {
    if (known->second.uid != version.uid) {
      Lose(name);
    } else if (known->second.resource_version == version.resource_version) {
      return;
    }
  }
  known_[name] = version;
  handler_.seen(object);
}

void Watch::Lose(const ObjectName& name) {
  if (known_.erase(name) > 0) handler_.gone(name);
}

}  // namespace capstan::kube
