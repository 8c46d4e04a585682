// SPDX-License-Identifier: Apache-2.0
#include "base/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan {
namespace {

// What an idle connection is kept for at most, and how many.
constexpr size_t kMostIdle = 8;
constexpr absl::Duration kKeepAlive = absl::Seconds(15);

bool CurlWorks() {
  // The first call may not race with another one: a function-local static is initialized once.
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  return initialized == CURLE_OK;
}

long Milliseconds(absl::Duration d) {  // NOLINT(google-runtime-int): libcurl's type
  return static_cast<long>(absl::ToInt64Milliseconds(d));
}

curl_blob Blob(std::string_view bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size(), CURL_BLOB_COPY};
}

std::string_view WithoutQuery(std::string_view url) {
  return url.substr(0, url.find('?'));
}

// "https://10.0.0.1:443/x" → "10.0.0.1:443", and where it begins.
std::pair<size_t, std::string_view> AuthorityOf(std::string_view url) {
  const size_t scheme = url.find("://");
  const size_t begin = scheme == std::string_view::npos ? 0 : scheme + 3;
  return {begin, url.substr(begin, url.find('/', begin) - begin)};
}

// One request on an easy handle: its options, and what comes back.
class Exchange {
 public:
  Exchange(CURL* curl, const HttpRequest& request,
           const std::function<bool(std::string_view)>* take)
      : curl_(curl), request_(request), take_(take) {
    curl_easy_reset(curl_);
    SetTarget();
    SetTls();
    SetMessage();
    SetLimits();
  }
  ~Exchange() {
    curl_easy_reset(curl_);  // nothing of ours is pointed to any more
    curl_slist_free_all(headers_);
    curl_slist_free_all(connect_to_);
    for (std::string* secret : {&bearer_, &key_}) WipeBytes(*secret);
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // What the transfer's end means.
  absl::StatusOr<HttpReply> Result(CURLcode code) {
    if (enough_) code = CURLE_OK;
    if (code != CURLE_OK) return Error(code);
    curl_off_t wait = 0;
    if (curl_easy_getinfo(curl_, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0) {
      reply_.retry_after = absl::Seconds(wait);
    }
    reply_.date = Date();
    reply_.status = Status();
    return std::move(reply_);
  }
  size_t received() const { return received_; }
  // The headers of the answer are there.
  bool began() const { return Status() != 0; }

 private:
  void SetTarget() {
    std::string url = request_.url;
    const std::string& name = request_.tls.server_name;
    if (!name.empty()) {
      // The name is what TLS and HTTP see; the connection goes where the URL said.
      const auto [begin, authority] = AuthorityOf(request_.url);
      connect_to_ = curl_slist_append(nullptr, absl::StrCat("::", authority).c_str());
      curl_easy_setopt(curl_, CURLOPT_CONNECT_TO, connect_to_);
      url.replace(begin, authority.size(), name);
    }
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    if (!request_.unix_socket.empty()) {
      curl_easy_setopt(curl_, CURLOPT_UNIX_SOCKET_PATH, request_.unix_socket.c_str());
    }
    curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl_, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl_, CURLOPT_PROXY, "");
    curl_easy_setopt(curl_, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, error_);
  }

  void SetTls() {
    const HttpTls& tls = request_.tls;
    curl_easy_setopt(curl_, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    if (!tls.ca_pem.empty()) {
      curl_blob blob = Blob(tls.ca_pem);
      curl_easy_setopt(curl_, CURLOPT_CAINFO_BLOB, &blob);
      // These roots instead of the system's, not beside them.
      curl_easy_setopt(curl_, CURLOPT_CAPATH, nullptr);
    }
    if (tls.certificate_pem.empty()) return;
    key_ = std::string(tls.key_pem.Reveal());
    curl_blob certificate = Blob(tls.certificate_pem);
    curl_blob key = Blob(key_);
    curl_easy_setopt(curl_, CURLOPT_SSLCERT_BLOB, &certificate);
    curl_easy_setopt(curl_, CURLOPT_SSLKEY_BLOB, &key);
  }

  void SetMessage() {
    curl_easy_setopt(curl_, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    for (const std::string& header : request_.headers) {
      headers_ = curl_slist_append(headers_, header.c_str());
    }
    if (request_.bearer.has_value()) {
      bearer_ = std::string(request_.bearer->Reveal());
      curl_easy_setopt(curl_, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
      curl_easy_setopt(curl_, CURLOPT_XOAUTH2_BEARER, bearer_.c_str());
    }
    // No "100-continue" round trip.
    headers_ = curl_slist_append(headers_, "Expect:");
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers_);
    if (!request_.body.empty()) {
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE,
                       static_cast<curl_off_t>(request_.body.size()));
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, request_.body.data());
    }
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, OnBytes);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, this);
  }

  void SetLimits() {
    curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT_MS, Milliseconds(request_.connect_timeout));
    if (take_ == nullptr) {
      curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, Milliseconds(request_.timeout));
    }
    curl_easy_setopt(curl_, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl_, CURLOPT_TCP_KEEPIDLE, absl::ToInt64Seconds(kKeepAlive));
    curl_easy_setopt(curl_, CURLOPT_TCP_KEEPINTVL, absl::ToInt64Seconds(kKeepAlive / 3));
  }

  std::optional<absl::Time> Date() const {
    curl_header* header = nullptr;
    if (curl_easy_header(curl_, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK) return {};
    const time_t time = curl_getdate(header->value, nullptr);
    if (time < 0) return std::nullopt;
    return absl::FromTimeT(time);
  }

  int Status() const {
    long status = 0;  // NOLINT(google-runtime-int): libcurl's type
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    return static_cast<int>(status);
  }

  static size_t OnBytes(char* bytes, size_t size, size_t count, void* context) {
    return static_cast<Exchange*>(context)->Received({bytes, size * count});
  }
  size_t Received(std::string_view bytes) {
    received_ += bytes.size();
    if (take_ != nullptr && Status() == 200) {
      enough_ = !(*take_)(bytes);
      return enough_ ? 0 : bytes.size();  // 0 ends the transfer
    }
    if (bytes.size() > request_.max_bytes - reply_.body.size()) {
      too_long_ = true;
      return 0;
    }
    reply_.body.append(bytes);
    return bytes.size();
  }

  absl::Status Error(CURLcode code) const {
    const std::string what = absl::StrCat(request_.method, " ", WithoutQuery(request_.url));
    if (too_long_) {
      return absl::ResourceExhaustedError(
          absl::StrCat(what, ": the answer is longer than ", request_.max_bytes, " bytes"));
    }
    const std::string message =
        absl::StrCat(what, ": ", error_[0] != '\0' ? error_ : curl_easy_strerror(code));
    switch (code) {
      case CURLE_OPERATION_TIMEDOUT:
        return absl::DeadlineExceededError(message);
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CERTPROBLEM:
        return absl::UnauthenticatedError(message);
      case CURLE_COULDNT_CONNECT:
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_GOT_NOTHING:
      case CURLE_PARTIAL_FILE:
      case CURLE_RECV_ERROR:
      case CURLE_SEND_ERROR:
      case CURLE_SSL_CONNECT_ERROR:
        return absl::UnavailableError(message);
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        return absl::InvalidArgumentError(message);
      default:
        return absl::InternalError(message);
    }
  }

  CURL* const curl_;
  const HttpRequest& request_;
  const std::function<bool(std::string_view)>* const take_;  // null: all into the reply
  char error_[CURL_ERROR_SIZE] = "";
  std::string bearer_, key_;
  curl_slist* headers_ = nullptr;
  curl_slist* connect_to_ = nullptr;
  HttpReply reply_;
  size_t received_ = 0;
  bool too_long_ = false;
  bool enough_ = false;
};

}  // namespace

struct HttpClient::Handle {
  ~Handle() { curl_easy_cleanup(curl); }
  CURL* curl = curl_easy_init();
};

HttpClient::HttpClient() = default;
HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Handle> HttpClient::Take() {
  {
    MutexLock lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Handle> handle = std::move(idle_.back());
      idle_.pop_back();
      return handle;
    }
  }
  return std::make_unique<Handle>();
}

void HttpClient::Give(std::unique_ptr<Handle> handle) {
  MutexLock lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(handle));
}

absl::StatusOr<HttpReply> HttpClient::Call(const HttpRequest& request) {
  if (!CurlWorks()) return absl::InternalError("libcurl does not start");
  std::unique_ptr<Handle> handle = Take();
  if (handle->curl == nullptr) return absl::InternalError("libcurl does not start");
  absl::StatusOr<HttpReply> reply = [&] {
    Exchange exchange(handle->curl, request, nullptr);
    return exchange.Result(curl_easy_perform(handle->curl));
  }();
  Give(std::move(handle));
  return reply;
}

struct HttpStream::Handle {
  ~Handle() {
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
  }
  CURL* easy = CurlWorks() ? curl_easy_init() : nullptr;
  CURLM* multi = CurlWorks() ? curl_multi_init() : nullptr;
};

HttpStream::HttpStream(Clock& clock) : clock_(clock), handle_(std::make_unique<Handle>()) {}
HttpStream::~HttpStream() = default;

void HttpStream::Stop() {
  stopped_ = true;
  if (handle_->multi != nullptr) curl_multi_wakeup(handle_->multi);
}

absl::StatusOr<HttpReply> HttpStream::Run(const HttpRequest& request, absl::Duration silence,
                                          const std::function<bool(std::string_view)>& take) {
  if (handle_->easy == nullptr || handle_->multi == nullptr) {
    return absl::InternalError("libcurl does not start");
  }
  Exchange exchange(handle_->easy, request, &take);
  curl_multi_add_handle(handle_->multi, handle_->easy);
  std::optional<absl::Status> given_up;
  std::optional<CURLcode> ended;
  absl::Duration heard = clock_.Monotonic();
  size_t received = 0;
  bool began = false;
  while (!given_up.has_value() && !ended.has_value()) {
    int running = 0;
    curl_multi_perform(handle_->multi, &running);
    int queued = 0;
    while (const CURLMsg* message = curl_multi_info_read(handle_->multi, &queued)) {
      if (message->msg == CURLMSG_DONE) ended = message->data.result;
    }
    const absl::Duration now = clock_.Monotonic();
    if (exchange.received() != received) heard = now;
    received = exchange.received();
    if (!std::exchange(began, exchange.began()) && began) heard = now;
    const absl::Duration patience = began ? silence : request.timeout;
    if (stopped_) {
      given_up = absl::CancelledError("stopped");
    } else if (!ended.has_value() && now - heard >= patience) {
      given_up = absl::DeadlineExceededError(
          absl::StrCat(request.method, " ", WithoutQuery(request.url), ": nothing came for ",
                       absl::FormatDuration(patience)));
    } else if (!ended.has_value()) {
      const int64_t wait = absl::ToInt64Milliseconds(patience - (now - heard)) + 1;
      curl_multi_poll(handle_->multi, nullptr, 0, static_cast<int>(std::min<int64_t>(wait, 60'000)),
                      nullptr);
    }
  }
  absl::StatusOr<HttpReply> reply =
      given_up.has_value() ? absl::StatusOr<HttpReply>(*given_up) : exchange.Result(*ended);
  curl_multi_remove_handle(handle_->multi, handle_->easy);
  return reply;
}

std::string UrlEscape(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      escaped += c;
    } else {
      absl::StrAppend(&escaped, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return escaped;
}

}  // namespace capstan
