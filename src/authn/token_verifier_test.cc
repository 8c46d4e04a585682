// SPDX-License-Identifier: Apache-2.0
#include "authn/token_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "authn/test_jwt.h"
#include "authn/token_issuers.h"
#include "base/http_server.h"

namespace capstan::authn {
namespace {

using ::testing::HasSubstr;
using testing::TestIssuer;

class TokenVerifierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!x509::testing::HasOpenSsl()) GTEST_SKIP() << "openssl is not installed";
  }
  Json Claims() const {
    return {{"iss", "https://k"},
            {"aud", {"istio-ca"}},
            {"exp", absl::ToUnixSeconds(clock_.Now() + absl::Hours(1))},
            {"sub", "system:serviceaccount:app:w"}};
  }
  // The issuer's keys from now on; an error where it cannot be reached.
  void Serve(absl::StatusOr<Json> jwks) { jwks_ = std::move(jwks); }
  absl::StatusOr<TokenKeys> Fetch() {
    ++fetches_;
    if (!jwks_.ok()) return jwks_.status();
    return TokenKeys{"https://k", *ParseJwks(*jwks_)};
  }
  absl::Status Verify(const Secret& token) { return verifier_.Verify(token).status(); }

  mutable FakeClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  absl::StatusOr<Json> jwks_ = absl::UnavailableError("nobody answers");
  int fetches_ = 0;
  TokenVerifier verifier_{"k", {"istio-ca"}, [this] { return Fetch(); }, clock_};
};

TEST_F(TokenVerifierTest, AGoodTokenSaysWhoseItIs) {
  const TestIssuer a("a");
  Serve(a.Jwks());
  const auto account = verifier_.Verify(a.Sign(Claims()));
  ASSERT_TRUE(account.ok()) << account.status();
  EXPECT_EQ(*account, (kube::ServiceAccount{"app", "w", "", "", ""}));
  EXPECT_TRUE(Verify(a.Sign(Claims())).ok());
  EXPECT_EQ(fetches_, 1);
}

TEST_F(TokenVerifierTest, WhoMakesTokensUpMakesNobodyFetch) {
  const TestIssuer a("a"), b("b");
  Serve(a.Jwks());
  EXPECT_TRUE(absl::IsUnauthenticated(Verify(Secret("a.b.c"))));
  EXPECT_EQ(fetches_, 0);
  EXPECT_TRUE(Verify(a.Sign(Claims())).ok());
  clock_.Advance(absl::Seconds(20));
  Json claims = Claims();
  claims["aud"] = "vault";
  EXPECT_TRUE(absl::IsUnauthenticated(Verify(b.Sign(claims))));
  EXPECT_EQ(fetches_, 1);
  const absl::Status unknown = Verify(b.Sign(Claims()));
  EXPECT_TRUE(absl::IsUnauthenticated(unknown));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("has no key \"b\""));
  EXPECT_EQ(fetches_, 2);
  for (int i = 0; i < 9; ++i) {
    clock_.Advance(absl::Seconds(1));
    EXPECT_TRUE(absl::IsUnauthenticated(Verify(b.Sign(Claims()))));
  }
  EXPECT_EQ(fetches_, 2) << "once in ten seconds";
}

TEST_F(TokenVerifierTest, KeysRollOver) {
  const TestIssuer a("a"), b("b");
  Serve(a.Jwks());
  EXPECT_TRUE(Verify(a.Sign(Claims())).ok());
  Serve(Json{{"keys", {a.Jwk(), b.Jwk()}}});
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(Verify(b.Sign(Claims())).ok()) << "a key that was not known";
  EXPECT_TRUE(Verify(a.Sign(Claims())).ok());
  Serve(b.Jwks());
  EXPECT_TRUE(Verify(a.Sign(Claims())).ok()) << "not looked at again yet";
  clock_.Advance(absl::Minutes(5));
  EXPECT_TRUE(Verify(b.Sign(Claims())).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Verify(a.Sign(Claims()))));
}

TEST_F(TokenVerifierTest, TheLastGoodKeysStayWhereTheIssuerIsGone) {
  const TestIssuer a("a"), b("b");
  EXPECT_TRUE(absl::IsUnavailable(Verify(a.Sign(Claims())))) << "nothing is known yet";
  Serve(a.Jwks());
  EXPECT_TRUE(absl::IsUnavailable(Verify(a.Sign(Claims())))) << "not asked again at once";
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(Verify(a.Sign(Claims())).ok());
  Serve(absl::UnauthenticatedError("its server's certificate is not good"));
  clock_.Advance(absl::Hours(5));
  EXPECT_TRUE(Verify(a.Sign(Claims())).ok());
  const absl::Status unknown = Verify(b.Sign(Claims()));
  EXPECT_TRUE(absl::IsFailedPrecondition(unknown)) << "no judgement about the token: " << unknown;
  EXPECT_EQ(fetches_, 3);
  Serve(Json{{"keys", {a.Jwk(), b.Jwk()}}});
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(Verify(b.Sign(Claims())).ok());
}

TEST_F(TokenVerifierTest, AnExpiredTokenIsRefused) {
  const TestIssuer a("a");
  Serve(a.Jwks());
  const Secret token = a.Sign(Claims());
  EXPECT_TRUE(Verify(token).ok());
  clock_.Advance(absl::Hours(1) + absl::Seconds(30));
  EXPECT_THAT(std::string(Verify(token).message()), HasSubstr("expired at"));
}

TEST(TokenIssuersTest, AreWrittenInOneLineEach) {
  const std::string text =
      "https://a audience=x audience=y,k8s jwks=/etc/west.json,https://b jwks=https://b/k "
      "ca=/c.pem";
  const auto issuers = ParseTokenIssuers(text);
  ASSERT_TRUE(issuers.ok()) << issuers.status();
  ASSERT_EQ(issuers->size(), 3u);
  EXPECT_EQ((*issuers)[0], (TokenIssuer{"https://a", {"x", "y"}, "", ""}));
  EXPECT_EQ((*issuers)[1], (TokenIssuer{"k8s", {}, "/etc/west.json", ""}));
  EXPECT_EQ((*issuers)[2], (TokenIssuer{"https://b", {}, "https://b/k", "/c.pem"}));
  EXPECT_EQ(ToString(*issuers), text);
  for (const char* bad : {"k8s", "http://a", "https://a x", "https://a aud=x",
                          "https://a jwks=", "https://a jwks=http://b/k", "http://127.0.0.1:x@evil",
                          "https://a,https://a"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseTokenIssuers(bad).status())) << bad;
  }
  EXPECT_TRUE(ParseTokenIssuers("")->empty());
}

class FetchKeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!x509::testing::HasOpenSsl()) GTEST_SKIP() << "openssl is not installed";
    const auto serve = [this](const std::string& path) {
      return std::pair<const std::string, HttpServer::Handler>(path, [this, path] {
        absl::MutexLock lock(&mutex_);
        const auto found = pages_.find(path);
        return found == pages_.end() ? HttpResponse{.status = 404}
                                     : HttpResponse{.body = found->second};
      });
    };
    server_ = *HttpServer::Start("127.0.0.1:0", {serve("/.well-known/openid-configuration"),
                                                 serve("/keys"), serve("/openid/v1/jwks")});
    url_ = absl::StrCat("http://127.0.0.1:", server_->port());
  }
  void Put(const std::string& path, const Json& page) {
    absl::MutexLock lock(&mutex_);
    pages_[path] = page.dump();
  }
  std::string url_;
  HttpClient http_;
  TestIssuer a_{"a"};

 private:
  absl::Mutex mutex_;
  std::map<std::string, std::string> pages_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(FetchKeysTest, AsTheDiscoveryDocumentSays) {
  const TokenIssuer issuer{url_, {}, "", ""};
  EXPECT_THAT(std::string(FetchKeys(issuer, http_).status().message()), HasSubstr("answers 404"));
  Put("/.well-known/openid-configuration", {{"issuer", url_}, {"jwks_uri", url_ + "/keys"}});
  EXPECT_THAT(std::string(FetchKeys(issuer, http_).status().message()), HasSubstr("/keys answers"));
  Put("/keys", a_.Jwks());
  const auto keys = FetchKeys(issuer, http_);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(keys->issuer, url_);
  EXPECT_EQ(keys->keys.size(), 1u);
  Put("/keys", {{"keys", Json::array()}});
  EXPECT_FALSE(FetchKeys(issuer, http_).ok());
  Put("/.well-known/openid-configuration", {{"issuer", url_}, {"jwks_uri", "http://evil/keys"}});
  EXPECT_THAT(std::string(FetchKeys(issuer, http_).status().message()), HasSubstr("https"));
  Put("/.well-known/openid-configuration", {{"issuer", url_ + "/"}, {"jwks_uri", url_ + "/keys"}});
  EXPECT_THAT(std::string(FetchKeys(issuer, http_).status().message()),
              HasSubstr("is of another issuer"));
}

TEST_F(FetchKeysTest, FromAUrlOrAFile) {
  Put("/keys", a_.Jwks());
  EXPECT_TRUE(FetchKeys(TokenIssuer{"k8s", {}, url_ + "/keys", ""}, http_).ok());
  const std::string path = absl::StrCat(::testing::TempDir(), "/keys.json");
  std::ofstream(path) << a_.Jwks().dump();
  const auto keys = FetchKeys(TokenIssuer{"k8s", {}, path, ""}, http_);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(keys->issuer, "k8s");
  std::ofstream(path) << "{";
  EXPECT_THAT(std::string(FetchKeys(TokenIssuer{"k8s", {}, path, ""}, http_).status().message()),
              HasSubstr(path));
}

TEST_F(FetchKeysTest, OfAnApiServer) {
  kube::Client client(kube::Access{.server = url_}, RealClock());
  EXPECT_FALSE(FetchKeys(client).ok());
  Put("/.well-known/openid-configuration",
      {{"issuer", "https://kubernetes.default.svc"}, {"jwks_uri", "https://10.0.0.1/elsewhere"}});
  Put("/openid/v1/jwks", a_.Jwks());
  const auto keys = FetchKeys(client);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(keys->issuer, "https://kubernetes.default.svc");
}

}  // namespace
}  // namespace capstan::authn
