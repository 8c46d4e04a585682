// SPDX-License-Identifier: Apache-2.0
#include "kube/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/strings.h"

namespace capstan::kube {
namespace {

using ::testing::HasSubstr;

class AccessTest : public ::testing::Test {
 protected:
  AccessTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/access-XXXXXX");
    folder_ = mkdtemp(name.data());
  }
  ~AccessTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, std::string_view text) {
    const std::string path = absl::StrCat(folder_, "/", name);
    EXPECT_TRUE(WriteFileAtomically(path, text, 0600, Overwrite::kReplace).ok());
    return path;
  }
  // A kubeconfig of two contexts, with `cluster` and `user` as the fields of what "one" uses.
  absl::StatusOr<Access> Read(std::string_view cluster, std::string_view user,
                              const std::string& context = "") {
    return ReadKubeconfig(
        Write("config",
              absl::StrCat("apiVersion: v1\nkind: Config\ncurrent-context: one\n"
                           "contexts:\n"
                           "- {name: two, context: {cluster: b, user: nobody}}\n"
                           "- {name: one, context: {cluster: a, user: me, namespace: ns}}\n"
                           "clusters:\n- name: a\n  cluster: {",
                           cluster, "}\n",
                           "- {name: b, cluster: {server: \"https://b\"}}\n"
                           "users:\n- name: me\n  user: {",
                           user, "}\n")),
        context);
  }
  static std::string BytesOf(const Material& material) {
    return std::string(material.Read().value().Reveal());
  }

  std::string folder_;
};

TEST_F(AccessTest, ReadsTheCurrentContext) {
  Write("token", "from the file\n");
  const auto access =
      Read(absl::StrCat("server: \"https://10.0.0.1:6443/\", tls-server-name: kube, "
                        "certificate-authority-data: ",
                        absl::Base64Escape("the CA")),
           "tokenFile: token");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://10.0.0.1:6443");
  EXPECT_EQ(access->tls_server_name, "kube");
  EXPECT_EQ(access->default_namespace, "ns");
  EXPECT_EQ(BytesOf(access->ca), "the CA");
  EXPECT_EQ(BytesOf(access->token), "from the file\n");
  EXPECT_FALSE(access->certificate.given());

  Write("token", "the next one");
  EXPECT_EQ(BytesOf(access->token), "the next one") << "a file is read at each use";
}

TEST_F(AccessTest, ReadsCertificatesFromBesideTheFile) {
  Write("me.crt", "certificate");
  Write("me.key", "key");
  const auto access =
      Read("server: \"https://a\"", "client-certificate: me.crt, client-key: me.key");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(BytesOf(access->certificate), "certificate");
  EXPECT_EQ(BytesOf(access->key), "key");
  EXPECT_EQ(BytesOf(access->ca), "") << "the system's roots";
}

TEST_F(AccessTest, SaysWhatItCannotUse) {
  const auto message = [](const absl::StatusOr<Access>& access) {
    return std::string(access.status().message());
  };
  EXPECT_THAT(message(Read("server: \"http://a\"", "")), HasSubstr("no https:// URL"));
  EXPECT_THAT(message(Read("server: \"https://a\", insecure-skip-tls-verify: true", "")),
              HasSubstr("insecure-skip-tls-verify is not supported"));
  EXPECT_THAT(message(Read("server: \"https://a\"", "exec: {command: aws}")),
              HasSubstr("user \"me\": exec is not supported"));
  EXPECT_THAT(message(Read("server: \"https://a\"", "client-certificate: c")),
              HasSubstr("go together"));
  EXPECT_THAT(message(Read("server: \"https://a\", certificate-authority-data: \"*\"", "")),
              HasSubstr("no base64"));
  EXPECT_THAT(message(Read("server: \"https://a\"", "", "two")),
              HasSubstr("no user named \"nobody\""));
  EXPECT_THAT(message(Read("server: \"https://a\"", "", "three")),
              HasSubstr("no context named \"three\""));
  EXPECT_THAT(message(ReadKubeconfig(Write("bad", "a: [\n"))), HasSubstr("bad:"));
  EXPECT_THAT(message(ReadKubeconfig(Write("bad", "- 1\n"))), HasSubstr("no YAML map"));
  EXPECT_THAT(message(ReadKubeconfig(Write("bad", "current-context: [1]\n"))),
              HasSubstr("current-context is no text"));
  EXPECT_EQ(ReadKubeconfig(folder_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AccessTest, ReadsWhatAPodHas) {
  Write("token", "t");
  Write("ca.crt", "c");
  Write("namespace", "istio-system");
  std::map<std::string, std::string> variables = {{"KUBERNETES_SERVICE_HOST", "fd00::1"},
                                                  {"KUBERNETES_SERVICE_PORT", "6443"}};
  const Settings::Environment environment =
      [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  const auto access = InCluster(environment, folder_);
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://[fd00::1]:6443");
  EXPECT_EQ(access->default_namespace, "istio-system");

  variables.erase("KUBERNETES_SERVICE_HOST");
  EXPECT_EQ(InCluster(environment, folder_).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace capstan::kube
