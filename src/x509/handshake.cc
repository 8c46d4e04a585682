// SPDX-License-Identifier: Apache-2.0
#include "x509/handshake.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/connect.h"
#include "x509/openssl.h"

namespace capstan::x509 {
namespace {

// A peer that closed makes the next write raise SIGPIPE, which ends programs that do not ignore it.
// While this lives, the thread does not get it, and none that came stays behind.
class NoSigPipe {
 public:
  NoSigPipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  NoSigPipe(const NoSigPipe&) = delete;
  NoSigPipe& operator=(const NoSigPipe&) = delete;
  ~NoSigPipe() {
    const timespec at_once{};
    while (!was_pending_ && sigtimedwait(&pipe_, nullptr, &at_once) == SIGPIPE) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t pipe_;
  sigset_t before_;
  bool was_pending_ = false;
};

using SslCtxPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Deleter<SSL_free>>;

// A server that is going to refuse does so within moments. Our request waits that long, because a
// server that closes with unread bytes resets the connection, and its alert is lost.
constexpr absl::Duration kQuietBeforeRequest = absl::Milliseconds(100);

constexpr int kMaxAlpnName = 255;

// What the callbacks of one handshake saw.
struct Seen {
  std::vector<std::string> served;  // DER, as sent
  bool certificate_requested = false;
  bool ticket = false;
  std::optional<int> alert;  // received, close_notify left out
};

int SeenIndex() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

Seen& SeenBy(const SSL* ssl) {
  return *static_cast<Seen*>(SSL_get_ex_data(ssl, SeenIndex()));
}

// Called in place of verification: notes what was sent and accepts it.
int OnServerChain(X509_STORE_CTX* context, void*) {
  const auto* ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(context);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    unsigned char* der = nullptr;
    const int size = i2d_X509(sk_X509_value(chain, i), &der);
    if (size > 0) {
      SeenBy(ssl).served.emplace_back(reinterpret_cast<char*>(der), size);
      OPENSSL_free(der);
    }
  }
  return 1;
}

int OnCertificateRequested(SSL* ssl, void*) {
  SeenBy(ssl).certificate_requested = true;
  return 1;
}

int OnTicket(SSL* ssl, SSL_SESSION*) {
  SeenBy(ssl).ticket = true;
  return 0;  // the session is not kept
}

void OnInfo(const SSL* ssl, int where, int value) {
  const int description = value & 0xff;
  if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && description != SSL_AD_CLOSE_NOTIFY) {
    SeenBy(ssl).alert = description;
  }
}

absl::Status CheckOptions(const HandshakeOptions& options) {
  if (options.client_chain.empty() == options.client_key.has_value()) {
    return absl::InvalidArgumentError("a client certificate and its key are given both or neither");
  }
  for (const std::string& name : options.alpn) {
    if (name.empty() || name.size() > kMaxAlpnName) {
      return absl::InvalidArgumentError("an ALPN name has 1 to 255 bytes");
    }
  }
  return absl::OkStatus();
}

absl::Status UseClientCertificate(SSL_CTX* context, const HandshakeOptions& options) {
  if (!options.client_key.has_value()) {
    return absl::OkStatus();
  }
  for (const Certificate& certificate : options.client_chain) {
    const bool leaf = &certificate == &options.client_chain.front();
    if (certificate.get() == nullptr ||
        (leaf ? SSL_CTX_use_certificate(context, certificate.get())
              : static_cast<int>(SSL_CTX_add1_chain_cert(context, certificate.get()))) != 1) {
      return OpenSslError(absl::StatusCode::kInvalidArgument,
                          "the client certificate cannot be used");
    }
  }
  if (SSL_CTX_use_PrivateKey(context, options.client_key->get()) != 1) {
    return OpenSslError(absl::StatusCode::kInvalidArgument,
                        "the client key is not the key of the client certificate");
  }
  return absl::OkStatus();
}

absl::StatusOr<SslCtxPtr> NewContext(const HandshakeOptions& options) {
  SslCtxPtr context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) {
    return OpenSslError(absl::StatusCode::kInternal, "no TLS context");
  }
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  // What is served is looked at, however weak it is.
  SSL_CTX_set_security_level(context.get(), 0);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context.get(), OnServerChain, nullptr);
  SSL_CTX_set_cert_cb(context.get(), OnCertificateRequested, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context.get(), OnTicket);
  SSL_CTX_set_info_callback(context.get(), OnInfo);
  CAPSTAN_RETURN_IF_ERROR(UseClientCertificate(context.get(), options));
  std::string alpn;
  for (const std::string& name : options.alpn) {
    alpn.push_back(static_cast<char>(name.size()));
    alpn += name;
  }
  if (!alpn.empty()) {
    SSL_CTX_set_alpn_protos(context.get(), Bytes(alpn), alpn.size());
  }
  return context;
}

class Session {
 public:
  Session(const HandshakeOptions& options, int socket, absl::Duration deadline)
      : options_(options), socket_(socket), deadline_(deadline) {}

  absl::StatusOr<HandshakeResult> Run() {
    CAPSTAN_ASSIGN_OR_RETURN(context_, NewContext(options_));
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_ex_data(ssl_.get(), SeenIndex(), &seen_);
    SSL_set_fd(ssl_.get(), socket_);
    if (!options_.server_name.empty()) {
      SSL_set_tlsext_host_name(ssl_.get(), options_.server_name.c_str());
    }
    CAPSTAN_RETURN_IF_ERROR(ShakeHands());
    CAPSTAN_ASSIGN_OR_RETURN(HandshakeResult result, WithServedChain());
    Judge(result);
    if (finished_) {
      SSL_shutdown(ssl_.get());  // a proper end: servers count connections that break off as errors
    }
    return result;
  }

 private:
  enum class Event { kProgress, kFailed, kTimeout };

  // Runs one OpenSSL call until it is done, has failed, or `until` has passed.
  template <typename Call>
  Event Drive(Call call, absl::Duration until) {
    while (true) {
      ERR_clear_error();
      errno = 0;
      const int result = call();
      if (result > 0) {
        return Event::kProgress;
      }
      const int error = SSL_get_error(ssl_.get(), result);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        failure_errno_ = errno;
        return Event::kFailed;
      }
      if (!WaitForSocket(socket_, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until)) {
        return Event::kTimeout;
      }
    }
  }

  absl::Status ShakeHands() {
    const Event event = Drive([&] { return SSL_connect(ssl_.get()); }, deadline_);
    if (event == Event::kProgress) {
      finished_ = true;
      return absl::OkStatus();
    }
    if (!seen_.served.empty()) {
      timed_out_ = event == Event::kTimeout;
      return absl::OkStatus();  // it got as far as judging us: Judge() says how
    }
    const std::string who = absl::StrCat(options_.host, ":", options_.port);
    if (event == Event::kTimeout) {
      return absl::DeadlineExceededError(
          absl::StrCat(who, " accepted the connection but sent no TLS ServerHello in time"));
    }
    if (seen_.alert.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat(
          who, " refused the handshake with alert ", *seen_.alert, " (",
          SSL_alert_desc_string_long(*seen_.alert), ") before it served a certificate"));
    }
    if (ERR_peek_error() == 0 ||
        ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
      ERR_clear_error();
      return absl::UnavailableError(
          absl::StrCat(who, " closed the connection before it served a certificate"));
    }
    return OpenSslError(absl::StatusCode::kInternal, absl::StrCat(who, " speaks no TLS"));
  }

  absl::StatusOr<HandshakeResult> WithServedChain() {
    HandshakeResult result;
    for (const std::string& der : seen_.served) {
      auto certificate = Certificate::ParseDer(der);
      if (!certificate.ok()) {
        return Annotate(certificate.status(),
                        absl::StrCat("certificate ", result.served_chain.size(), " served by ",
                                     options_.host, ":", options_.port));
      }
      result.served_chain.push_back(*std::move(certificate));
    }
    return result;
  }

  void Judge(HandshakeResult& result) {
    if (!finished_) {
      SetRefused(result,
                 timed_out_ ? "the server stopped within the handshake" : "the handshake failed");
      return;
    }
    if (!seen_.certificate_requested) {
      result.detail = "the server asked for no certificate";
      return;
    }
    if (!options_.client_key.has_value()) {
      result.detail = "the server asked for a certificate, and none was offered";
      return;
    }
    if (SSL_version(ssl_.get()) == TLS1_2_VERSION) {
      // The server's Finished comes after it has seen our certificate.
      result.client = ClientVerdict::kAccepted;
      result.detail = "the TLS 1.2 handshake finished after our certificate";
      return;
    }
    AwaitAnswer(result);
  }

  // TLS 1.3: our side is done before the server has looked at our certificate.
  void AwaitAnswer(HandshakeResult& result) {
    const absl::Duration now = RealClock().Monotonic();
    Event event =
        ReadSome(options_.early_request.empty() ? deadline_
                                                : std::min(deadline_, now + kQuietBeforeRequest));
    if (event == Event::kTimeout && !seen_.ticket && !options_.early_request.empty()) {
      event = WriteRequest();
      if (event == Event::kProgress) {
        event = ReadSome(deadline_);
      }
    }
    if (seen_.ticket && !seen_.alert.has_value()) {
      result.client = ClientVerdict::kAccepted;
      result.detail = "a session ticket came after our certificate";
    } else if (event == Event::kProgress) {
      result.client = ClientVerdict::kAccepted;
      result.detail = "application data came after our certificate";
    } else {
      SetRefused(result, event == Event::kTimeout ? "the server said nothing in time"
                                                  : "the server closed the connection");
    }
  }

  // Waits for application data; a ticket that arrives on the way ends it too.
  Event ReadSome(absl::Duration until) {
    char byte = 0;
    size_t read = 0;
    while (true) {
      ERR_clear_error();
      errno = 0;
      const int result = SSL_peek_ex(ssl_.get(), &byte, 1, &read);
      if (result == 1) {
        return Event::kProgress;
      }
      if (seen_.ticket) {
        return Event::kTimeout;
      }
      if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) {
        failure_errno_ = errno;
        return Event::kFailed;
      }
      if (!WaitForSocket(socket_, POLLIN, until)) {
        return Event::kTimeout;
      }
    }
  }

  Event WriteRequest() {
    size_t written = 0;
    return Drive(
        [&] {
          return SSL_write_ex(ssl_.get(), options_.early_request.data(),
                              options_.early_request.size(), &written);
        },
        deadline_);
  }

  void SetRefused(HandshakeResult& result, std::string_view otherwise) {
    result.alert = seen_.alert;
    if (!seen_.alert.has_value()) {
      result.client = ClientVerdict::kSilent;
      result.detail = failure_errno_ == ECONNRESET
                          ? "the server reset the connection without a word"
                          : std::string(otherwise);
      return;
    }
    result.client =
        *seen_.alert == SSL_AD_UNKNOWN_CA ? ClientVerdict::kUnknownCa : ClientVerdict::kRefused;
    result.detail = absl::StrCat("the server sent alert ", *seen_.alert, " (",
                                 SSL_alert_desc_string_long(*seen_.alert), ")");
  }

  const HandshakeOptions& options_;
  const int socket_;
  const absl::Duration deadline_;  // on the monotonic clock
  SslCtxPtr context_;
  SslPtr ssl_;
  Seen seen_;
  bool finished_ = false;
  bool timed_out_ = false;
  int failure_errno_ = 0;
};

}  // namespace

absl::StatusOr<HandshakeResult> Handshake(const HandshakeOptions& options) {
  CAPSTAN_RETURN_IF_ERROR(CheckOptions(options));
  const absl::Duration deadline = RealClock().Monotonic() + options.timeout;
  const NoSigPipe no_sigpipe;
  CAPSTAN_ASSIGN_OR_RETURN(Socket socket, Connect(options.host, options.port, deadline));
  auto result = Session(options, socket.fd(), deadline).Run();
  ERR_clear_error();
  return result;
}

}  // namespace capstan::x509
