// SPDX-License-Identifier: Apache-2.0
#include "cluster/signing_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "authn/test_go_csr.h"

namespace capstan::cluster {
namespace {

using authn::testing::kGoCsr;
using ::testing::HasSubstr;

constexpr char kId[] = "spiffe://cluster.local/ns/app/sa/w";

class SigningPolicyTest : public ::testing::Test {
 protected:
  SigningPolicyTest() { request_.usages = {"digital signature", "client auth"}; }

  std::variant<WantedLeaf, Refusal> Judge(const x509::Extensions& asked,
                                          const x509::Name& subject = {}) {
    request_.csr = x509::Csr::Create(key_, subject, asked)->ToPem();
    return JudgeSigningRequest(request_, domain_, absl::Hours(24));
  }
  // "REASON: message", or the identity that it may have.
  std::string Outcome(const std::variant<WantedLeaf, Refusal>& judged) {
    const auto* refusal = std::get_if<Refusal>(&judged);
    return refusal == nullptr ? std::get<WantedLeaf>(judged).id.ToString()
                              : refusal->reason + ": " + refusal->message;
  }
  std::string Named(const std::vector<std::string>& uris,
                    const std::vector<std::string>& dns = {}) {
    return Outcome(Judge({.sans = {.dns = dns, .uris = uris}}));
  }

  const x509::PrivateKey key_ = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  const spiffe::TrustDomain domain_ = *spiffe::TrustDomain::Parse("cluster.local");
  kube::SigningRequest request_;
};

TEST_F(SigningPolicyTest, OneIdentityOfTheTrustDomain) {
  EXPECT_EQ(Named({kId}), kId);
  EXPECT_THAT(Named({}), HasSubstr("NameNotAllowed: the CSR asks for 0 URIs"));
  EXPECT_THAT(Named({kId, kId}), HasSubstr("NameNotAllowed: the CSR asks for 2 URIs"));
  EXPECT_THAT(Named({kId}, {"evil.example"}),
              HasSubstr("NameNotAllowed: the CSR asks for a name that is no SPIFFE ID: evil"));
  EXPECT_THAT(Named({"spiffe://other/ns/app/sa/w"}), HasSubstr("the trust domain here is cluster"));
  EXPECT_THAT(Named({"https://cluster.local/ns/app/sa/w"}), HasSubstr("which is no SPIFFE ID"));
  for (const char* id :
       {"spiffe://cluster.local/capstan/control-plane", "spiffe://cluster.local/ns/app/sa/w/x",
        "spiffe://cluster.local", "spiffe://cluster.local/sa/app/ns/w"}) {
    EXPECT_THAT(Named({id}), HasSubstr("not the identity of a service account")) << id;
  }
}

TEST_F(SigningPolicyTest, NothingThatALeafDoesNotHave) {
  x509::Extensions asked;
  asked.sans.uris = {kId};
  asked.basic_constraints = x509::Extensions::BasicConstraints{.ca = false};
  asked.key_usage = x509::Extensions::Usage{x509::kDigitalSignature | x509::kKeyEncipherment};
  asked.extended_key_usage = {"serverAuth", "clientAuth"};
  EXPECT_EQ(Outcome(Judge(asked)), kId) << "as cert-manager asks";
  EXPECT_THAT(Outcome(Judge(asked, {{{"CN", "admin"}}})),
              HasSubstr("SubjectNotAllowed: the CSR asks for the subject \"CN=admin\""));

  const auto with = [&](const std::function<void(x509::Extensions&)>& change) {
    x509::Extensions changed = asked;
    change(changed);
    return Outcome(Judge(changed));
  };
  EXPECT_THAT(with([](auto& asked) { asked.basic_constraints->ca = true; }),
              HasSubstr("ExtensionNotAllowed: the CSR asks for a CA certificate (CA:TRUE)"));
  EXPECT_THAT(with([](auto& asked) { asked.key_usage->bits |= x509::kKeyCertSign; }),
              HasSubstr("ExtensionNotAllowed: the CSR asks for a key usage other"));
  EXPECT_THAT(with([](auto& asked) { asked.extended_key_usage.push_back("codeSigning"); }),
              HasSubstr("ExtensionNotAllowed: the CSR asks for the extended key usage codeSig"));

  request_.usages.push_back("cert sign");
  EXPECT_THAT(Named({kId}), HasSubstr("UsageNotAllowed: the usage \"cert sign\""));
}

TEST_F(SigningPolicyTest, ALifeThatIsNoLongerThanAllowed) {
  const auto ttl = [&](std::optional<absl::Duration> asked) {
    request_.expiration = asked;
    return std::get<WantedLeaf>(Judge({.sans = {.uris = {kId}}})).ttl;
  };
  EXPECT_EQ(ttl(std::nullopt), absl::ZeroDuration()) << "the default";
  EXPECT_EQ(ttl(absl::Hours(1)), absl::Hours(1));
  EXPECT_EQ(ttl(absl::Hours(1000)), absl::Hours(24));
}

TEST_F(SigningPolicyTest, ARequestThatHoldsUp) {
  request_.csr = kGoCsr;
  EXPECT_EQ(Outcome(JudgeSigningRequest(request_, domain_, absl::Hours(24))),
            "spiffe://cluster.local/ns/default/sa/sleep");
  request_.csr = "no CSR";
  EXPECT_THAT(Outcome(JudgeSigningRequest(request_, domain_, absl::Hours(24))),
              HasSubstr("InvalidRequest: no PKCS#10 certification request"));
}

}  // namespace
}  // namespace capstan::cluster
