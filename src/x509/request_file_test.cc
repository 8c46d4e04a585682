// SPDX-License-Identifier: Apache-2.0
#include "x509/request_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "x509/conf_text.h"
#include "x509/test_request_files.h"

namespace capstan::x509 {
namespace {

using ::testing::ElementsAre;
using testing::GuideFile;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kIstioIntermediateFile;
using ::testing::Pair;

constexpr uint32_t kIstioUsage =
    kDigitalSignature | kNonRepudiation | kKeyEncipherment | kKeyCertSign;

// A request file whose extension section (line 6 and on) holds `lines`.
std::string WithExtensions(std::string_view lines) {
  return absl::StrCat("[req]\nprompt=no\ndistinguished_name=dn\nreq_extensions=e\n[e]\n", lines,
                      "\n[dn]\nCN=x\n");
}

Extensions ParseExtensions(std::string_view lines) {
  const auto file = ParseRequestFile(WithExtensions(lines));
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? file->Section("e")->values : Extensions{};
}

std::string ErrorOf(std::string_view text) {
  const auto file = ParseRequestFile(text);
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(file.status().message());
}

TEST(RequestFile, ReadsTheCaConfOfTheGuide) {
  const auto file = ParseRequestFile(GuideFile("req_dn", "Root CA", "true"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->is_request);
  EXPECT_EQ(file->subject, (Name{{{"O", "Istio"}, {"CN", "Root CA"}}}));
  EXPECT_EQ(file->default_bits, KeyType::kRsa2048);
  EXPECT_EQ(file->req_extensions, "req_ext");
  EXPECT_EQ(file->x509_extensions, "req_ext");
  const auto section = file->Section("req_ext");
  ASSERT_TRUE(section.ok());
  EXPECT_TRUE(section->values.subject_key_id);
  EXPECT_FALSE(section->values.authority_key_id);
  ASSERT_TRUE(section->values.basic_constraints.has_value());
  EXPECT_TRUE(section->values.basic_constraints->ca);
  EXPECT_TRUE(section->values.basic_constraints->critical);
  EXPECT_EQ(section->values.basic_constraints->path_length, std::nullopt);
  ASSERT_TRUE(section->values.key_usage.has_value());
  EXPECT_EQ(section->values.key_usage->bits, kIstioUsage);
  EXPECT_TRUE(section->values.key_usage->critical);
  EXPECT_THAT(section->lines, ElementsAre(Pair("basicConstraints", 16), Pair("keyUsage", 17),
                                          Pair("subjectKeyIdentifier", 15)));
}

TEST(RequestFile, RefusesTheCsrConfOfTheGuideAsPrinted) {
  EXPECT_EQ(
      ErrorOf(GuideFile("dn", "productpage", "true")),
      "line 6: distinguished_name names the section [dn], which is missing (OpenSSL: Unable to "
      "get 'dn' section); [req_dn] on line 10 holds a name: write distinguished_name = req_dn");
  const auto corrected = ParseRequestFile(GuideFile("req_dn", "productpage", "false"));
  ASSERT_TRUE(corrected.ok()) << corrected.status();
  EXPECT_EQ(corrected->subject, (Name{{{"O", "Istio"}, {"CN", "productpage"}}}));
  EXPECT_FALSE(corrected->Section("req_ext")->values.basic_constraints->ca);
}

TEST(RequestFile, ReadsTheIntermediateConfOfIstiosMakefile) {
  const auto file = ParseRequestFile(kIstioIntermediateFile);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->subject,
            (Name{{{"O", "Istio"}, {"CN", "Intermediate CA"}, {"L", "intermediateA"}}}));
  EXPECT_EQ(file->default_bits, KeyType::kRsa4096);
  const auto section = file->Section("req_ext");
  ASSERT_TRUE(section.ok());
  EXPECT_EQ(section->values.basic_constraints->path_length, 0);
  EXPECT_THAT(section->values.sans.dns, ElementsAre("istiod.istio-system.svc"));
  EXPECT_FALSE(section->values.sans.critical);
}

TEST(RequestFile, ReadsEveryKindOfName) {
  const Extensions extensions = ParseExtensions(
      "subjectAltName = critical, DNS:a.example, IP:127.0.0.1, @more, email:a@example.com\n"
      "[more]\nURI.1 = spiffe://cluster.local/ns/a/sa/b\nIP.2 = 2001:DB8:0::1\nDNS = *.b.example");
  EXPECT_TRUE(extensions.sans.critical);
  EXPECT_THAT(extensions.sans.dns, ElementsAre("a.example", "*.b.example"));
  EXPECT_THAT(extensions.sans.ips, ElementsAre("127.0.0.1", "2001:db8::1"));
  EXPECT_THAT(extensions.sans.uris, ElementsAre("spiffe://cluster.local/ns/a/sa/b"));
  EXPECT_THAT(extensions.sans.emails, ElementsAre("a@example.com"));
}

TEST(RequestFile, ReadsUsages) {
  const Extensions extensions = ParseExtensions(
      "keyUsage = digitalSignature, cRLSign\n"
      "extendedKeyUsage = critical, serverAuth, clientAuth, 1.3.6.1.5.5.7.3.9\n"
      "authorityKeyIdentifier = keyid, issuer");
  EXPECT_EQ(extensions.key_usage->bits, kDigitalSignature | kCrlSign);
  EXPECT_FALSE(extensions.key_usage->critical);
  EXPECT_THAT(extensions.extended_key_usage,
              ElementsAre("serverAuth", "clientAuth", "1.3.6.1.5.5.7.3.9"));
  EXPECT_TRUE(extensions.extended_key_usage_critical);
  EXPECT_TRUE(extensions.authority_key_id);
}

TEST(RequestFile, TellsPlainFromUnconditionalAuthorityKeyIds) {
  const auto plain = ParseRequestFile(WithExtensions("authorityKeyIdentifier = keyid"));
  const auto always = ParseRequestFile(WithExtensions("authorityKeyIdentifier = keyid:always"));
  ASSERT_TRUE(plain.ok() && always.ok());
  EXPECT_FALSE(plain->Section("e")->authority_key_id_always);
  EXPECT_TRUE(always->Section("e")->authority_key_id_always);
  EXPECT_TRUE(always->Section("e")->values.authority_key_id);
}

TEST(RequestFile, ReadsLongRepeatedAndDottedAttributes) {
  const auto file = ParseRequestFile(
      "\xef\xbb\xbf[req]\r\nprompt=no\r\ndistinguished_name=dn # the subject\r\n[dn]\r\n"
      "countryName = DE\r\n0.OU = one\r\n1.organizationalUnitName = two\r\n2.5.4.12 = title\r\n"
      "CN = \"quoted # name \" # comment\r\nL = caf\xc3\xa9 \\$\\\"\r\n");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->subject, (Name{{{"C", "DE"},
                                  {"OU", "one"},
                                  {"OU", "two"},
                                  {"2.5.4.12", "title"},
                                  {"CN", "quoted # name "},
                                  {"L", "caf\xc3\xa9 $\""}}}));
  EXPECT_THAT(file->sections, IsEmpty());
}

TEST(RequestFile, MayHoldExtensionsOnly) {
  const auto file = ParseRequestFile("[leaf]\nbasicConstraints=CA:FALSE\n[ca]\nkeyUsage=cRLSign\n");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE(file->is_request);
  EXPECT_TRUE(file->subject.empty());
  EXPECT_EQ(file->sections.size(), 2);
  const auto missing = file->Section("leaves");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.status().message(),
            "the file has no section [leaves] of extensions; it has [ca], [leaf]");
}

struct BadFile {
  std::string text;
  std::string error;  // a part of it
};

TEST(RequestFile, NamesLineAndRemedyOfEveryMistake) {
  const std::vector<BadFile> files = {
      {"", "the file holds no section"},
      {"# nothing\n", "the file holds no section"},
      {"HOME = .\n[req]\n", "line 1: HOME stands before the first section"},
      {"[req\n", "line 1: the section name has no closing"},
      {"[req] x\n", "line 1: a section name stands on a line of its own"},
      {"[ ]\n", "line 1: \"\" is no section name"},
      {"[req]\nprompt\n", "line 2: \"prompt\" is neither"},
      {"[req]\n = no\n", "line 2: \"\" is no name"},
      {"[req]\nprompt = no\nprompt = no\n", "line 3: prompt was set on line 2"},
      {"[req]\n[req]\n", "line 2: the section [req] was begun on line 1"},
      {"[req]\n.include other.conf\n", "line 2: directives"},
      {"[req]\nprompt = $ENV::prompt\n", "line 2: variables are not supported"},
      {"[req]\nprompt = \"no\n", "line 2: the quote \" is not closed"},
      {"[req]\nprompt = no\\\n", "line 2: a line continued with a backslash"},
      {std::string("[req]\nprompt = n\0o\n", 17), "line 2: the line holds control characters"},
      {"\x30\x82\x01\x02 binary\n", "line 1: the line holds control characters"},
      {"[req]\nutf8 = yes\n", "line 1: [ req ] does not say \"prompt = no\""},
      {"[req]\nprompt = yes\n",
       "line 2: prompt = yes: Capstan asks no questions; write prompt = no"},
      {"[req]\nprompt = no\n", "line 1: [ req ] names no section for the subject"},
      {"[req]\nutf8 = no\n", "line 2: utf8 = no"},
      {"[req]\nencrypt_key = yes\n",
       "line 2: encrypt_key = yes: private keys are written unencrypted"},
      {"[req]\ndefault_md = md5\n", "line 2: default_md = md5: the hash follows the key"},
      {"[req]\ndefault_bits = 1024\n",
       "line 2: default_bits = 1024: RSA keys of 2048, 3072 or 4096"},
      {"[req]\nstring_mask = utf8only\n", "line 2: string_mask is not supported; names are always"},
      {"[req]\nreq_extension = e\n",
       "line 2: req_extension is not a key of [ req ]: did you mean req_extensions?"},
      {"[req]\nreq_extensions = e\n",
       "line 2: req_extensions names the section [e], which is missing"},
      {"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\n", "line 4: [dn] is empty"},
      {"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCNN=x\n",
       "line 5: CNN is no name attribute that Capstan knows: did you mean CN?"},
      {"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nC=Germany\n", "line 5: "},
      {"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=\n", "line 5: "},
      {"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=x\n[other]\nfoo=bar\n",
       "line 6: nothing uses the section [other]"},
      {WithExtensions("nsComment = x"), "line 6: the extension nsComment is not one that Capstan"},
      {WithExtensions("keyUsages = cRLSign"), "did you mean keyUsage?"},
      {WithExtensions("basicConstraints = CA:maybe"), "line 6: basicConstraints: \"CA:maybe\""},
      {WithExtensions("basicConstraints = ca:true"), "\"ca:true\" is not known"},
      {WithExtensions("basicConstraints = CA:false, pathlen:0"), "pathlen means something only"},
      {WithExtensions("basicConstraints = CA:true, pathlen:-1"), "\"pathlen:-1\" is no number"},
      {WithExtensions("basicConstraints = CA:true, pathlen:99999999999"), "is no number from 0 to"},
      {WithExtensions("basicConstraints ="), "line 6: basicConstraints has an empty item"},
      {WithExtensions("keyUsage = critical"), "line 6: keyUsage has an empty item"},
      {WithExtensions("keyUsage = digitalSignature,,cRLSign"),
       "line 6: keyUsage has an empty item"},
      {WithExtensions("keyUsage = keyCertsign"), "did you mean keyCertSign?"},
      {WithExtensions("extendedKeyUsage = serverauth"), "did you mean serverAuth?"},
      {WithExtensions("extendedKeyUsage = 1.2.x"), "is no dotted object identifier"},
      {WithExtensions("extendedKeyUsage = serverAuth, serverAuth"), "is there twice"},
      {WithExtensions("subjectKeyIdentifier = none"), "set it to \"hash\""},
      {WithExtensions("subjectKeyIdentifier = critical, hash"), "remove \"critical\""},
      {WithExtensions("authorityKeyIdentifier = issuer:always"), "the key id form only"},
      {WithExtensions("authorityKeyIdentifier = issuer"), "set it to \"keyid\""},
      {WithExtensions("subjectAltName = @san"),
       "line 6: subjectAltName: the section [san] is missing"},
      {WithExtensions("subjectAltName = @san\n[san]"), "line 7: [san] names nothing"},
      {WithExtensions("subjectAltName = @san\n[san]\nDNS.1 = a b"),
       "line 8: DNS.1 = a b is no DNS name"},
      {WithExtensions("subjectAltName = example.com"), "\"example.com\" has no kind"},
      {WithExtensions("subjectAltName = IP:300.0.0.1"), "is no IP address"},
      {WithExtensions("subjectAltName = URI:nothing"), "is no URI"},
      {WithExtensions("subjectAltName = URI:spiffe://TD/x"), "is no SPIFFE ID"},
      {WithExtensions("subjectAltName = email:copy"), "is no e-mail address"},
      {WithExtensions("subjectAltName = otherName:1.2.3;UTF8:x"),
       "of a kind that is not supported"},
  };
  for (const BadFile& file : files) {
    EXPECT_THAT(ErrorOf(file.text), HasSubstr(file.error)) << file.text;
  }
}

TEST(ConfText, RefusesWhatNoLineCanHold) {
  for (const std::string value : {"", " a", "a ", "a\nb", "\t", "a\x7f"}) {
    EXPECT_EQ(ToConfValue(value).status().code(), absl::StatusCode::kInvalidArgument) << value;
  }
}

RC_GTEST_PROP(ConfText, ReadsBackEveryValueItWrites, ()) {
  const auto piece = rc::gen::element<std::string>("a", "Z", "7", " ", "#", "$", "\"", "'", "\\",
                                                   "=", "[", "]", ";", ",", "\xc3\xa9");
  const auto pieces = *rc::gen::container<std::vector<std::string>>(piece);
  const std::string value = absl::StrCat("<", absl::StrJoin(pieces, ""), ">");
  const auto written = ToConfValue(value);
  RC_ASSERT(written.ok());
  const auto sections = ParseConf(absl::StrCat("[s]\nk = ", *written, " # comment\n"));
  RC_ASSERT(sections.ok());
  RC_ASSERT(sections->front().entries.front().value == value);
}

RC_GTEST_PROP(RequestFile, SurvivesEveryLossOfBytes, ()) {
  std::string text = kIstioIntermediateFile;
  const auto from = *rc::gen::inRange<size_t>(0, text.size());
  const auto count = *rc::gen::inRange<size_t>(1, 40);
  text.erase(from, count);
  const auto file = ParseRequestFile(text);
  RC_ASSERT(file.ok() || file.status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace capstan::x509
