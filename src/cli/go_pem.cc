// SPDX-License-Identifier: Apache-2.0
#include "cli/go_pem.h"

#include <cstdint>
#include <optional>

#include "base/strings.h"

namespace capstan::cli {
namespace {

constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kEnd = "\n-----END ";
constexpr std::string_view kDashes = "-----";

// Takes the first line off `text`: without its end and without trailing blanks, as Go's getLine.
std::string_view TakeLine(std::string_view& text) {
  const size_t newline = text.find('\n');
  std::string_view line = text.substr(0, newline);
  text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
  if (newline != std::string_view::npos && line.ends_with('\r')) line.remove_suffix(1);
  const size_t last = line.find_last_not_of(" \t");
  return line.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

// Go's base64.StdEncoding over bytes that may hold line ends, and here also blanks: padding needed,
// nothing after it, leftover bits of any value.
std::optional<std::string> DecodeBase64(std::string_view text) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t group = 0;
  int digits = 0;
  int padding = 0;
  for (char c : text) {
    if (c == '\n' || c == '\r' || c == ' ' || c == '\t') continue;
    if (c == '=') {
      if (++padding > 2 || digits + padding > 4 || digits < 2) return std::nullopt;
      continue;
    }
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos || padding > 0) return std::nullopt;
    group = group << 6 | static_cast<uint32_t>(value);
    if (++digits == 4) {
      for (int shift : {16, 8, 0}) bytes += static_cast<char>(group >> shift);
      group = 0;
      digits = 0;
    }
  }
  if (digits == 0) return padding == 0 ? std::optional(bytes) : std::nullopt;
  if (digits + padding != 4) return std::nullopt;
  bytes += static_cast<char>(digits == 2 ? group >> 4 : group >> 10);
  if (digits == 3) bytes += static_cast<char>(group >> 2);
  return bytes;
}

// The place of the last `kBegin` before `end` if it begins a line.
std::optional<size_t> FindBegin(std::string_view text, size_t end) {
  const size_t begin = text.substr(0, end).rfind(kBegin);
  if (begin == std::string_view::npos || (begin > 0 && text[begin - 1] != '\n')) {
    return std::nullopt;
  }
  return begin;
}

// The block whose END line starts at `end` (the newline ahead of it); nullopt where Go gives it up.
// `after` receives the place after the END line.
std::optional<GoPemBlock> ReadBlock(std::string_view text, size_t end, size_t& after) {
  const std::optional<size_t> begin = FindBegin(text, end);
  if (!begin) return std::nullopt;
  std::string_view rest = text.substr(*begin + kBegin.size());
  std::string_view type = TakeLine(rest);
  if (!type.ends_with(kDashes)) return std::nullopt;
  type.remove_suffix(kDashes.size());

  GoPemBlock block{.type = std::string(type), .has_headers = false, .bytes = ""};
  for (std::string_view ahead = rest; !ahead.empty(); rest = ahead) {
    if (TakeLine(ahead).find(':') == std::string_view::npos) break;
    block.has_headers = true;
  }
  const size_t body = text.size() - rest.size();
  if (block.has_headers && body > end) return std::nullopt;

  std::string_view trailer = text.substr(end + kEnd.size());
  if (!trailer.starts_with(type) || !trailer.substr(type.size()).starts_with(kDashes)) {
    return std::nullopt;
  }
  trailer.remove_prefix(type.size() + kDashes.size());
  if (!TakeLine(trailer).empty()) return std::nullopt;
  if (body < end) {
    std::optional<std::string> bytes = DecodeBase64(text.substr(body, end - body));
    if (!bytes) return std::nullopt;
    block.bytes = *std::move(bytes);
  }
  after = text.size() - trailer.size();
  return block;
}

}  // namespace

std::vector<GoPemBlock> FindGoPemBlocks(std::string_view text) {
  std::vector<GoPemBlock> blocks;
  while (true) {
    const size_t end = text.find(kEnd);
    if (end == std::string_view::npos) return blocks;
    size_t after = end + kEnd.size();  // what lies before a broken END line is not looked at again
    if (auto block = ReadBlock(text, end, after)) {
      blocks.push_back(*std::move(block));
    }
    text.remove_prefix(after);
  }
}

}  // namespace capstan::cli
