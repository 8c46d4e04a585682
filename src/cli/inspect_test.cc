// SPDX-License-Identifier: Apache-2.0
// What `inspect` prints and how it takes its input. The byte for byte comparison with the real step
// is in tests/interop.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "cli/certificate_input.h"
#include "cli/go_pem.h"
#include "cli/go_url.h"
#include "cli/inspect_short.h"
#include "cli/inspect_text.h"
#include "cli/verify_text.h"
#include "x509/test_pki.h"

namespace capstan::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using x509::Certificate;
using x509::testing::MakeIntermediate;
using x509::testing::MakeLeaf;
using x509::testing::MakeRoot;
using x509::testing::Now;

TEST(ShortText, ShowsARootAsStepDoes) {
  const auto root = MakeRoot();
  const std::string text = ShortText(root.certificate);
  EXPECT_THAT(text, ::testing::StartsWith("X.509v3 Root CA Certificate (ECDSA P-256) [Serial: 6"));
  EXPECT_THAT(text, HasSubstr("\n  Subject:     Root CA\n  Issuer:      Root CA\n  Valid from:  "
                              "2025-06-14T15:06:40Z\n          to:  2035-06-13T15:06:40Z\n"));
}

TEST(ShortTextOfBytes, OneOrAll) {
  const auto root = MakeRoot();
  const std::string one = ShortText(root.certificate);
  const std::string pem = x509::ToPem(std::vector<Certificate>{root.certificate, root.certificate});
  EXPECT_EQ(*ShortTextOfBytes(pem, "f", false), one);
  EXPECT_EQ(*ShortTextOfBytes(pem, "f", true), one + one);
  EXPECT_EQ(*ShortTextOfBytes(root.certificate.der(), "f", true), one);
  EXPECT_EQ(Std(ShortTextOfBytes("x", "f", true).status().message()),
            "file f does not contain any valid CERTIFICATE or CERTIFICATE REQUEST blocks");
}

TEST(FindGoPemBlocks, SkipsWhatGoSkips) {
  const std::string good = "-----BEGIN A-----\nAAAA\n-----END A-----\n";
  EXPECT_THAT(FindGoPemBlocks(good), SizeIs(1));
  EXPECT_THAT(FindGoPemBlocks("-----BEGIN A-----\nAA*A\n-----END A-----\n" + good), SizeIs(1));
  EXPECT_THAT(FindGoPemBlocks("-----BEGIN B-----\nAAAA\n" + good), SizeIs(1));
  EXPECT_THAT(FindGoPemBlocks("-----BEGIN A-----\nAAAA\n-----END B-----\n"), SizeIs(0));
  EXPECT_THAT(FindGoPemBlocks("x" + good), SizeIs(0));
  EXPECT_TRUE(FindGoPemBlocks("-----BEGIN A-----\nk: v\n\nAAAA\n-----END A-----\n")[0].has_headers);
  EXPECT_EQ(FindGoPemBlocks("-----BEGIN A-----\nAQ ==\n-----END A-----")[0].bytes, "\x01");
}

RC_GTEST_PROP(FindGoPemBlocks, IsTotal, (const std::string& text)) {
  FindGoPemBlocks(text);
  FindGoPemBlocks("-----BEGIN A-----\n" + text + "\n-----END A-----\n");
}

TEST(GoUrlString, ChangesOnlyWhatGoChanges) {
  const std::pair<const char*, const char*> cases[] = {
      {"spiffe://td/ns/a", "spiffe://td/ns/a"},
      {"SPIFFE://TD/A", "spiffe://TD/A"},
      {"spiffe://td/a%2Fb", "spiffe://td/a%2Fb"},
      {"http://h/#", "http://h/"},
      {"http://h?", "http://h?"},
      {"http://h/a b", "http://h/a%20b"},
      {"http://h/a|b!", "http://h/a%7Cb%21"},
      {"http://h/a!b", "http://h/a!b"},
      {"urn:Example:a", "urn:Example:a"},
      {"/path", "/path"},
      {"http://", "http:"},
      {"", ""},
      {"http://h/x#a^b", "http://h/x#a%5Eb"},
  };
  for (const auto& [written, printed] : cases) EXPECT_EQ(GoUrlString(written), printed);
}

TEST(ParseEndpoint, TakesHostsAndPorts) {
  const auto text = [](std::string_view source) {
    const auto endpoint = ParseEndpoint(source);
    return endpoint ? endpoint->host + "|" + std::to_string(endpoint->port) : "none";
  };
  EXPECT_EQ(text("localhost:8443"), "localhost|8443");
  EXPECT_EQ(text("[::1]:443"), "::1|443");
  EXPECT_EQ(text("https://a.example"), "a.example|443");
  EXPECT_EQ(text("HTTPS://a.example:8443/path"), "a.example|8443");
  EXPECT_EQ(text("tls://[::1]"), "::1|443");
  for (const char* none : {"", "-", "file.pem", "folder/a:1", "a:", ":1", "a:0", "a:65536", "a:b",
                           "https://", "[::1]", "a b:1"}) {
    EXPECT_EQ(text(none), "none") << none;
  }
}

TEST(ReadHeld, SaysWhereAndWhatInstead) {
  const auto message = [](std::string_view bytes) {
    return std::string(Std(ReadHeld(bytes).status().message()));
  };
  EXPECT_THAT(message(""), HasSubstr("empty"));
  EXPECT_THAT(message("\x30\x03\x02\x01"), HasSubstr("byte"));
  EXPECT_THAT(message("text\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
              HasSubstr("line 2"));
  EXPECT_THAT(message("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
              HasSubstr("PRIVATE KEY"));
}

TEST(ForTerminal, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(ForTerminal("Köln ✓"), "Köln ✓");
  EXPECT_EQ(ForTerminal("a\nb\x1b[2J\x7f"), "a\\x0ab\\x1b[2J\\x7f");
  EXPECT_EQ(ForTerminal("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(ForTerminal("\xc2\x9b"), "\\xc2\\x9b") << "CSI of the C1 set";
}

TEST(LongText, ShowsEveryCertificateWithItsPlace) {
  const auto root = MakeRoot();
  const auto intermediate = MakeIntermediate(root, {.common_name = "Intermediate CA"});
  const auto leaf = MakeLeaf(intermediate);
  const std::vector<Certificate> chain{leaf.certificate, intermediate.certificate};
  const std::string text = LongText(chain, Findings(chain, Now()), Now());
  EXPECT_THAT(text, HasSubstr("certificate 1 of 2: leaf\n"));
  EXPECT_THAT(text, HasSubstr("\n\ncertificate 2 of 2: intermediate\n"));
  EXPECT_THAT(text, HasSubstr("  Signed by:            certificate 2\n"));
  EXPECT_THAT(text, HasSubstr("  Signed by:            none of this input\n"));
  EXPECT_THAT(text, HasSubstr(leaf.certificate.FingerprintHex()));
}

TEST(JsonText, SaysTheSame) {
  const auto root = MakeRoot();
  const std::vector<Certificate> twice{root.certificate, root.certificate};
  const auto json = nlohmann::json::parse(JsonText(twice, Findings(twice, Now()), Now()));
  EXPECT_EQ(json["certificates"].size(), 2);
  EXPECT_EQ(json["certificates"][0]["role"], "root");
  EXPECT_EQ(json["certificates"][0]["signed_by"], 1);
  EXPECT_EQ(json["certificates"][0]["sha256"], root.certificate.FingerprintHex());
  EXPECT_EQ(json["warnings"][0]["code"], "duplicate");
  EXPECT_EQ(json["warnings"][0]["certificate"], 2);
}

TEST(ParseMoment, TakesTimesAndDistances) {
  EXPECT_EQ(ParseMoment("2025-06-15T15:06:40Z", absl::InfinitePast()).value(), Now());
  EXPECT_EQ(ParseMoment("2025-06-15T17:06:40+02:00", absl::InfinitePast()).value(), Now());
  EXPECT_EQ(ParseMoment("+720h", Now()).value(), Now() + absl::Hours(720));
  EXPECT_EQ(ParseMoment("-5m", Now()).value(), Now() - absl::Minutes(5));
  for (const char* none : {"", "yesterday", "720h", "+", "2025-06-15"}) {
    EXPECT_FALSE(ParseMoment(none, Now()).ok()) << none;
  }
}

}  // namespace
}  // namespace capstan::cli
