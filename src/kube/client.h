// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/json.h"
#include "base/mutex.h"
#include "kube/access.h"
#include "kube/resource.h"

namespace capstan::kube {

// Which objects of a kind.
struct Selection {
  std::string ns;      // "": of every namespace
  std::string labels;  // a label selector, "istio.io/config=true"
  std::string fields;  // a field selector, "metadata.name=cacerts"
};

// What must be true of an object that is deleted; "": anything.
struct Precondition {
  std::string uid;
  std::string resource_version;
};

// One API server. Calls block; any thread. Errors carry what was asked, of what and where, and the
// server's own message and reason. Their codes:
//   NotFound; AlreadyExists; Aborted: another writer was first (Conflict); OutOfRange: that version
//   is no longer kept (Expired, Gone); InvalidArgument: the object is refused (Invalid,
//   BadRequest); Unauthenticated; PermissionDenied; ResourceExhausted: too many requests, with a
//   time to come back after (base/retry_after.h); Unavailable, DeadlineExceeded, Internal.
class Client {
 public:
  struct Options {
    absl::Duration timeout = absl::Seconds(10);  // of one request
    // Requests are held back so that no more than these are made; watches count once.
    double per_second = 50;
    int burst = 100;
    int page = 500;  // objects of a list that are asked for at once
    std::string user_agent = "capstand";
    // Asked before whatever changes something: its error is the call's. Null: everything may.
    std::function<absl::Status()> may_write = nullptr;
  };
  // `clock` outlives it.
  Client(Access access, Clock& clock) : Client(std::move(access), clock, Options()) {}
  Client(Access access, Clock& clock, Options options);

  const Access& access() const { return access_; }

  absl::StatusOr<Json> Get(const Resource& resource, const ObjectName& name);
  // What it answers at `path`, which is none of an object.
  absl::StatusOr<Json> GetPath(const std::string& path);
  // What the server's clock says now, to the second.
  absl::StatusOr<absl::Time> Now();
  // Gives each object of the selection to `visit`, page by page; the version to watch from. A list
  // that changed too much between two pages begins anew by itself, once.
  absl::StatusOr<std::string> List(const Resource& resource, const Selection& selection,
                                   const std::function<void(Json object)>& visit);
  // The object carries its own name. `name` says the namespace, and with a subresource the object.
  absl::StatusOr<Json> Create(const Resource& resource, const ObjectName& name, const Json& object,
                              std::string_view subresource = "");
  // Aborted unless the object still has the resourceVersion that `object` says.
  absl::StatusOr<Json> Replace(const Resource& resource, const ObjectName& name, const Json& object,
                               std::string_view subresource = "");
  // Server-side apply: the fields of `object` become ours, and those that we no longer say go.
  // Aborted: a field is another manager's, unless `force`.
  enum class Force { kNo, kYes };
  absl::StatusOr<Json> Apply(const Resource& resource, const ObjectName& name, const Json& object,
                             std::string_view manager, Force force);
  // A JSON merge patch (RFC 7396); with metadata.resourceVersion in it, Aborted unless the object
  // still has that.
  absl::StatusOr<Json> Patch(const Resource& resource, const ObjectName& name, const Json& patch,
                             std::string_view subresource = "");
  absl::Status Delete(const Resource& resource, const ObjectName& name,
                      const Precondition& precondition = {});

  // For a watch: the request, with what we show. The errors of reading it.
  absl::StatusOr<HttpRequest> RequestFor(std::string_view method, const std::string& path) const;
  // The error of a reply that is none of 2xx; `what` was asked.
  absl::Status ErrorOf(const HttpReply& reply, const std::string& what) const;
  void Throttle();

 private:
  struct Call {
    std::string_view method;
    std::string_view verb;  // as RBAC says it, for messages
    std::string path;
    std::string_view content_type = "application/json";
    const Json* body = nullptr;
  };
  absl::StatusOr<Json> Send(const Call& call, const Resource& resource, const ObjectName& name);
  absl::StatusOr<std::string> ListOnce(const Resource& resource, const Selection& selection,
                                       const std::function<void(Json object)>& visit);

  const Access access_;
  Clock& clock_;
  const Options options_;
  HttpClient http_;
  Mutex mutex_;
  double tokens_ ABSL_GUARDED_BY(mutex_);
  absl::Duration refilled_ ABSL_GUARDED_BY(mutex_);
};

// "?labelSelector=…&fieldSelector=…" and `more`, which begins with no separator.
std::string QueryOf(const Selection& selection, std::string_view more);

}  // namespace capstan::kube
