// SPDX-License-Identifier: Apache-2.0
#include "kube/client.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/status.h"

namespace capstan::kube {
namespace {

absl::StatusCode CodeOf(int status, std::string_view reason) {
  if (reason == "AlreadyExists") return absl::StatusCode::kAlreadyExists;
  if (reason == "Expired") return absl::StatusCode::kOutOfRange;
  switch (status) {
    case 400:
    case 413:
    case 415:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
    case 405:
      return absl::StatusCode::kNotFound;
    case 409:
    case 412:
      return absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 502:
    case 503:
    case 504:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

std::string QueryOf(const Selection& selection, std::string_view more) {
  std::string query;
  const auto add = [&](std::string_view part) {
    if (!part.empty()) absl::StrAppend(&query, query.empty() ? "?" : "&", part);
  };
  if (!selection.labels.empty()) {
    add(absl::StrCat("labelSelector=", UrlEscape(selection.labels)));
  }
  if (!selection.fields.empty()) {
    add(absl::StrCat("fieldSelector=", UrlEscape(selection.fields)));
  }
  add(more);
  return query;
}

Client::Client(Access access, Clock& clock, Options options)
    : access_(std::move(access)),
      clock_(clock),
      options_(std::move(options)),
      tokens_(options_.burst),
      refilled_(clock.Monotonic()) {}

void Client::Throttle() {
  absl::Duration wait;
  {
    MutexLock lock(mutex_);
    const absl::Duration now = clock_.Monotonic();
    tokens_ = std::min<double>(
        options_.burst, tokens_ + options_.per_second * absl::ToDoubleSeconds(now - refilled_));
    refilled_ = now;
    tokens_ -= 1;  // a debt is a place in the queue
    if (tokens_ < 0) wait = absl::Seconds(-tokens_ / options_.per_second);
  }
  if (wait > absl::ZeroDuration()) std::this_thread::sleep_for(absl::ToChronoMicroseconds(wait));
}

absl::StatusOr<HttpRequest> Client::RequestFor(std::string_view method,
                                               const std::string& path) const {
  HttpRequest request;
  request.method = std::string(method);
  request.url = absl::StrCat(access_.server, path);
  request.headers = {"Accept: application/json", absl::StrCat("User-Agent: ", options_.user_agent)};
  request.timeout = options_.timeout;
  request.tls.server_name = access_.tls_server_name;
  CAPSTAN_ASSIGN_OR_RETURN(Secret ca, access_.ca.Read());
  request.tls.ca_pem = std::string(ca.Reveal());
  if (access_.certificate.given()) {
    CAPSTAN_ASSIGN_OR_RETURN(Secret certificate, access_.certificate.Read());
    request.tls.certificate_pem = std::string(certificate.Reveal());
    CAPSTAN_ASSIGN_OR_RETURN(request.tls.key_pem, access_.key.Read());
  }
  if (access_.token.given()) {
    CAPSTAN_ASSIGN_OR_RETURN(Secret token, access_.token.Read());
    request.bearer = Secret(std::string(absl::StripAsciiWhitespace(token.Reveal())));
  }
  return request;
}

absl::Status Client::ErrorOf(const HttpReply& reply, const std::string& what) const {
  std::string message, reason;
  std::optional<absl::Duration> after = reply.retry_after;
  if (const absl::StatusOr<Json> said = ParseJson(reply.body, "status"); said.ok()) {
    message = TextAt(*said, {"message"});
    reason = TextAt(*said, {"reason"});
  }
  if (message.empty()) {
    message = absl::CEscape(std::string_view(reply.body).substr(0, 200));
  }
  const absl::Status status(
      CodeOf(reply.status, reason),
      absl::StrCat("cannot ", what, " at ", access_.server, ": ", message, " (", reply.status,
                   reason.empty() ? "" : " ", reason, ")"));
  return after.has_value() ? WithRetryAfter(status, *after) : status;
}

absl::StatusOr<Json> Client::Send(const Call& call, const Resource& resource,
                                  const ObjectName& name) {
  Throttle();
  if (call.method != "GET" && options_.may_write != nullptr) {
    CAPSTAN_RETURN_IF_ERROR(options_.may_write());
  }
  CAPSTAN_ASSIGN_OR_RETURN(HttpRequest request, RequestFor(call.method, call.path));
  if (call.body != nullptr) {
    request.headers.push_back(absl::StrCat("Content-Type: ", call.content_type));
    request.body = call.body->dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  const std::string what = absl::StrCat(call.verb, " ", resource.plural, " ", ToString(name));
  absl::StatusOr<HttpReply> reply = http_.Call(request);
  if (!reply.ok()) return Annotate(reply.status(), absl::StrCat("cannot ", what));
  if (reply->status / 100 != 2) return ErrorOf(*reply, what);
  return ParseJson(reply->body, what);
}

absl::StatusOr<Json> Client::Get(const Resource& resource, const ObjectName& name) {
  return Send({"GET", "get", PathOf(resource, name)}, resource, name);
}

absl::StatusOr<Json> Client::GetPath(const std::string& path) {
  Throttle();
  CAPSTAN_ASSIGN_OR_RETURN(HttpRequest request, RequestFor("GET", path));
  // Key sets have a type of their own, and the server insists on it.
  request.headers.front() = "Accept: application/json, application/jwk-set+json";
  const std::string what = absl::StrCat("get ", path);
  absl::StatusOr<HttpReply> reply = http_.Call(request);
  if (!reply.ok()) return Annotate(reply.status(), absl::StrCat("cannot ", what));
  if (reply->status / 100 != 2) return ErrorOf(*reply, what);
  return ParseJson(reply->body, what);
}

absl::StatusOr<absl::Time> Client::Now() {
  Throttle();
  CAPSTAN_ASSIGN_OR_RETURN(HttpRequest request, RequestFor("GET", "/version"));
  CAPSTAN_ASSIGN_OR_RETURN(HttpReply reply, http_.Call(request));
  if (!reply.date.has_value()) {
    return absl::InternalError(absl::StrCat(access_.server, " does not tell its time"));
  }
  return *reply.date;
}

absl::StatusOr<std::string> Client::ListOnce(const Resource& resource, const Selection& selection,
                                             const std::function<void(Json object)>& visit) {
  const ObjectName where{selection.ns, ""};
  std::string version;
  std::string next;
  do {
    std::string page = absl::StrCat("limit=", options_.page);
    if (!next.empty()) absl::StrAppend(&page, "&continue=", UrlEscape(next));
    CAPSTAN_ASSIGN_OR_RETURN(
        Json list,
        Send({"GET", "list", PathOf(resource, where) + QueryOf(selection, page)}, resource, where));
    const Json* items = Member(list, "items");
    if (items != nullptr && items->is_array()) {
      for (const Json& item : *items) visit(item);
    }
    version = Metadata(list, "resourceVersion");
    next = Metadata(list, "continue");
  } while (!next.empty());
  return version;
}

absl::StatusOr<std::string> Client::List(const Resource& resource, const Selection& selection,
                                         const std::function<void(Json object)>& visit) {
  absl::StatusOr<std::string> version = ListOnce(resource, selection, visit);
  return absl::IsOutOfRange(version.status()) ? ListOnce(resource, selection, visit) : version;
}

absl::StatusOr<Json> Client::Create(const Resource& resource, const ObjectName& name,
                                    const Json& object, std::string_view subresource) {
  const ObjectName target = subresource.empty() ? ObjectName{name.ns, ""} : name;
  return Send(
      {"POST", "create", PathOf(resource, target, subresource), "application/json", &object},
      resource, name);
}

absl::StatusOr<Json> Client::Replace(const Resource& resource, const ObjectName& name,
                                     const Json& object, std::string_view subresource) {
  return Send({"PUT", "update", PathOf(resource, name, subresource), "application/json", &object},
              resource, name);
}

absl::StatusOr<Json> Client::Apply(const Resource& resource, const ObjectName& name,
                                   const Json& object, std::string_view manager, Force force) {
  const std::string path =
      absl::StrCat(PathOf(resource, name), "?fieldManager=", UrlEscape(manager),
                   force == Force::kYes ? "&force=true" : "");
  return Send({"PATCH", "patch", path, "application/apply-patch+yaml", &object}, resource, name);
}

absl::StatusOr<Json> Client::Patch(const Resource& resource, const ObjectName& name,
                                   const Json& patch, std::string_view subresource) {
  return Send({"PATCH", "patch", PathOf(resource, name, subresource),
               "application/merge-patch+json", &patch},
              resource, name);
}

absl::Status Client::Delete(const Resource& resource, const ObjectName& name,
                            const Precondition& precondition) {
  Json options = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (!precondition.uid.empty()) options["preconditions"]["uid"] = precondition.uid;
  if (!precondition.resource_version.empty()) {
    options["preconditions"]["resourceVersion"] = precondition.resource_version;
  }
  return Send({"DELETE", "delete", PathOf(resource, name), "application/json", &options}, resource,
              name)
      .status();
}

}  // namespace capstan::kube
