// SPDX-License-Identifier: Apache-2.0
// tests/integration/ca_secret_test.cc follows a Secret of a real API server.
#include "server/ca_secret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "base/strings.h"

namespace capstan::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(SecretNamed, IsTheSettingsForm) {
  EXPECT_EQ(**SecretNamed("secret:istio-system/cacerts"),
            (kube::ObjectName{"istio-system", "cacerts"}));
  EXPECT_EQ(*SecretNamed("/etc/cacerts"), std::nullopt);
  EXPECT_EQ(*SecretNamed(""), std::nullopt);
  for (const char* wrong : {"secret:", "secret:a", "secret:a/", "secret:/b", "secret:a/b/c"}) {
    EXPECT_THAT(std::string(SecretNamed(wrong).status().message()),
                HasSubstr("write secret:NAMESPACE/NAME"))
        << wrong;
  }
}

TEST(FilesOfSecret, TakesWhatACaConsistsOf) {
  const Json secret = {{"type", "Opaque"},
                       {"data",
                        {{"ca-cert.pem", absl::Base64Escape("certificate")},
                         {"ca-key.pem", absl::Base64Escape("key")},
                         {"cert-chain.pem", ""},
                         {"key.pem", ""}}}};
  EXPECT_THAT(*FilesOfSecret(secret),
              ElementsAre(Pair("ca-cert.pem", "certificate"), Pair("ca-key.pem", "key"),
                          Pair("cert-chain.pem", "")));
  EXPECT_TRUE(FilesOfSecret({{"type", "Opaque"}})->empty());
  EXPECT_THAT(std::string(FilesOfSecret({{"data", {{"ca-key.pem", "*"}}}}).status().message()),
              HasSubstr("data.ca-key.pem is no base64"));
}

TEST(FilesOfSecret, IstiosOwnCaIsItsOwnChain) {
  const Json secret = {{"type", "istio.io/ca-root"},
                       {"data",
                        {{"ca-cert.pem", absl::Base64Escape("root")},
                         {"ca-key.pem", absl::Base64Escape("key")},
                         {"cert-chain.pem", ""},
                         {"root-cert.pem", absl::Base64Escape("root")}}}};
  EXPECT_EQ(FilesOfSecret(secret)->at("cert-chain.pem"), "root");
}

}  // namespace
}  // namespace capstan::server
