// SPDX-License-Identifier: Apache-2.0
#include "x509/pem.h"

#include <array>
#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::x509 {
namespace {

constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kEnd = "-----END ";
constexpr std::string_view kDashes = "-----";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// The label of a "-----BEGIN X-----" or "-----END X-----" line.
std::optional<std::string_view> MarkerLabel(std::string_view line, std::string_view marker) {
  if (!absl::ConsumePrefix(&line, marker) || !absl::ConsumeSuffix(&line, kDashes)) {
    return std::nullopt;
  }
  return line;
}

// The next line without its ending and blanks at its end; `text` moves past it.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return absl::StripTrailingAsciiWhitespace(line);
}

constexpr std::array<int8_t, 256> MakeBase64Table() {
  std::array<int8_t, 256> table{};
  table.fill(-1);
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kAlphabet.size(); ++i) {
    table[static_cast<uint8_t>(kAlphabet[i])] = static_cast<int8_t>(i);
  }
  return table;
}
constexpr std::array<int8_t, 256> kBase64 = MakeBase64Table();

// Decodes line after line, so that an error knows its line.
class Base64Decoder {
 public:
  absl::Status Add(std::string_view line, int number) {
    for (const char c : line) {
      if (c == ' ' || c == '\t') {
        continue;
      }
      if (c == '=') {
        if (++padding_ > 2) {
          return Error(number, "has too much padding");
        }
        continue;
      }
      const int8_t value = kBase64[static_cast<uint8_t>(c)];
      if (value < 0) {
        return Error(number, "is not base64");
      }
      if (padding_ > 0) {
        return Error(number, "goes on after the padding");
      }
      quantum_ = quantum_ << 6 | static_cast<uint32_t>(value);
      if (++digits_ % 4 == 0) {
        Emit(3);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Finish(int number) {
    const int left = digits_ % 4;
    if (left == 1 || (left + padding_) % 4 != 0) {
      return Error(number, "ends within a group of four characters");
    }
    if (left > 0) {
      quantum_ <<= 6 * (4 - left);
      Emit(left - 1);
    }
    return absl::OkStatus();
  }

  Secret Take() { return Secret(std::move(bytes_)); }

 private:
  static absl::Status Error(int line, std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("line ", line, " ", what));
  }
  void Emit(int octets) {
    for (int i = 0; i < octets; ++i) {
      bytes_.push_back(static_cast<char>(quantum_ >> (16 - 8 * i)));
    }
    quantum_ = 0;
  }

  std::string bytes_;
  uint32_t quantum_ = 0;
  int digits_ = 0;
  int padding_ = 0;
};

// Reads one block whose BEGIN line was taken.
class BlockReader {
 public:
  BlockReader(std::string_view label, int line) {
    block_.label = std::string(label);
    block_.line = line;
  }

  // Whether the block ended with this line.
  absl::StatusOr<bool> Add(std::string_view line, int number) {
    if (const auto end = MarkerLabel(line, kEnd)) {
      if (*end != block_.label) {
        return Torn(absl::StrCat("ends as \"", *end, "\" in line ", number));
      }
      Finish(number);
      return true;
    }
    if (absl::StartsWith(line, kDashes)) {
      return Torn(absl::StrCat("has no END line before line ", number));
    }
    if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
      block_.has_headers = true;
      block_.encrypted |= absl::StrContains(line, "ENCRYPTED");
    }
    if (!block_.has_headers && block_.decoded.ok()) {
      block_.decoded = decoder_.Add(line, number);
    }
    return false;
  }

  absl::Status Torn(std::string_view how) const {
    return absl::InvalidArgumentError(absl::StrCat("the PEM block \"", block_.label, "\" of line ",
                                                   block_.line, " ", how,
                                                   ": is the file cut off?"));
  }
  PemBlock Take() { return std::move(block_); }

 private:
  void Finish(int number) {
    if (block_.has_headers) {
      return;
    }
    if (block_.decoded.ok()) {
      block_.decoded = decoder_.Finish(number);
    }
    if (block_.decoded.ok()) {
      block_.body = decoder_.Take();
    }
  }

  PemBlock block_;
  Base64Decoder decoder_;
};

}  // namespace

absl::StatusOr<std::vector<PemBlock>> ScanPem(std::string_view text) {
  absl::ConsumePrefix(&text, kByteOrderMark);
  std::vector<PemBlock> blocks;
  std::optional<BlockReader> open;
  int number = 0;
  while (!text.empty()) {
    const std::string_view line = TakeLine(text);
    ++number;
    if (open) {
      CAPSTAN_ASSIGN_OR_RETURN(bool ended, open->Add(line, number));
      if (ended) {
        blocks.push_back(open->Take());
        open.reset();
      }
    } else if (const auto label = MarkerLabel(line, kBegin)) {
      open.emplace(*label, number);
    }
  }
  if (open) {
    return open->Torn("has no END line");
  }
  return blocks;
}

bool LooksLikePem(std::string_view text) {
  return absl::StrContains(text, "-----BEGIN");
}

std::string ToPemBlock(std::string_view label, std::string_view bytes) {
  std::string base64 = absl::Base64Escape(bytes);
  std::string out = absl::StrCat(kBegin, label, kDashes, "\n");
  out.reserve(base64.size() + base64.size() / 64 + 2 * label.size() + 64);  // grown once: see below
  for (size_t at = 0; at < base64.size(); at += 64) {
    absl::StrAppend(&out, std::string_view(base64).substr(at, 64), "\n");
  }
  absl::StrAppend(&out, kEnd, label, kDashes, "\n");
  WipeBytes(base64);  // it may be a private key
  return out;
}

}  // namespace capstan::x509
