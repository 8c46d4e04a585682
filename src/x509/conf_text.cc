// SPDX-License-Identifier: Apache-2.0
#include "x509/conf_text.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::x509 {
namespace {

constexpr size_t kMaxBytes = 1 << 20;

bool IsControl(char c) {
  return absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\t';
}

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
}

bool IsName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsNameCharacter);
}

char Unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    default:
      return c;
  }
}

// Reads what stands to the right of a "=": up to a comment, without the blanks around it.
class ValueReader {
 public:
  ValueReader(std::string_view text, int line) : rest_(text), line_(line) {}

  absl::StatusOr<std::string> Read() {
    while (!rest_.empty() && rest_.front() != '#') {
      const char c = Take();
      if (c == '"' || c == '\'') {
        CAPSTAN_RETURN_IF_ERROR(ReadQuoted(c));
      } else if (c == '\\') {
        CAPSTAN_RETURN_IF_ERROR(ReadEscape());
      } else if (c == '$') {
        return ErrorAtLine(line_,
                           "variables are not supported: write the value itself, or \\$ for a "
                           "dollar sign");
      } else {
        Append(c, absl::ascii_isspace(static_cast<unsigned char>(c)));
      }
    }
    value_.resize(significant_);
    return value_;
  }

 private:
  char Take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  // Blanks count only where something follows them.
  void Append(char c, bool blank) {
    if (blank && significant_ == 0) return;
    value_.push_back(c);
    if (!blank) significant_ = value_.size();
  }

  absl::Status ReadQuoted(char quote) {
    while (!rest_.empty()) {
      const char c = Take();
      if (c == quote) return absl::OkStatus();
      if (c == '\\') {
        CAPSTAN_RETURN_IF_ERROR(ReadEscape());
      } else {
        Append(c, false);
      }
    }
    return ErrorAtLine(
        line_, absl::StrCat("the quote ", std::string(1, quote), " is not closed on its line"));
  }

  absl::Status ReadEscape() {
    if (rest_.empty()) {
      return ErrorAtLine(line_,
                         "a line continued with a backslash is not supported: write the value on "
                         "one line");
    }
    Append(Unescape(Take()), false);
    return absl::OkStatus();
  }

  std::string_view rest_;
  int line_;
  std::string value_;
  size_t significant_ = 0;
};

// A line that starts with "[": the section's name.
absl::StatusOr<std::string> ReadHeader(std::string_view text, int line) {
  const size_t end = text.find(']');
  if (end == std::string_view::npos) {
    return ErrorAtLine(line, "the section name has no closing \"]\"");
  }
  const std::string_view after = absl::StripAsciiWhitespace(text.substr(end + 1));
  if (!after.empty() && after.front() != '#') {
    return ErrorAtLine(line, "a section name stands on a line of its own");
  }
  const std::string_view name = absl::StripAsciiWhitespace(text.substr(1, end - 1));
  if (!IsName(name)) {
    return ErrorAtLine(line, absl::StrCat("\"", absl::CHexEscape(name),
                                          "\" is no section name: use letters, digits, \"_\", "
                                          "\"-\" and \".\""));
  }
  return std::string(name);
}

absl::StatusOr<ConfEntry> ReadEntry(std::string_view text, int line) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return ErrorAtLine(line, absl::StrCat("\"", absl::CHexEscape(text.substr(0, 40)),
                                          "\" is neither [ SECTION ] nor NAME = VALUE"));
  }
  const std::string_view key = absl::StripAsciiWhitespace(text.substr(0, equals));
  if (!IsName(key)) {
    return ErrorAtLine(line, absl::StrCat("\"", absl::CHexEscape(key.substr(0, 40)),
                                          "\" is no name: use letters, digits, \"_\", \"-\" and "
                                          "\".\""));
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::string value, ValueReader(text.substr(equals + 1), line).Read());
  return ConfEntry{std::string(key), std::move(value), line};
}

absl::Status AddSection(std::string name, int line, std::vector<ConfSection>& sections) {
  for (const ConfSection& other : sections) {
    if (other.name == name) {
      return ErrorAtLine(line, absl::StrCat("the section [", name, "] was begun on line ",
                                            other.line, ": join the two"));
    }
  }
  sections.push_back({std::move(name), line, {}});
  return absl::OkStatus();
}

absl::Status AddEntry(ConfEntry entry, std::vector<ConfSection>& sections) {
  if (sections.empty()) {
    return ErrorAtLine(entry.line, absl::StrCat(entry.key,
                                                " stands before the first section: remove it, or "
                                                "put it below a [ SECTION ] line"));
  }
  ConfSection& section = sections.back();
  if (const ConfEntry* first = section.Find(entry.key)) {
    return ErrorAtLine(entry.line,
                       absl::StrCat(entry.key, " was set on line ", first->line,
                                    " (OpenSSL would forget that one): keep one of them; for a "
                                    "repeated name attribute write 0.",
                                    entry.key, " and 1.", entry.key));
  }
  section.entries.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status ReadLine(std::string_view text, int line, std::vector<ConfSection>& sections) {
  text = absl::StripAsciiWhitespace(text);
  if (text.empty() || text.front() == '#') return absl::OkStatus();
  if (std::any_of(text.begin(), text.end(), IsControl)) {
    return ErrorAtLine(line, "the line holds control characters: this is no text file");
  }
  if (text.front() == '[') {
    CAPSTAN_ASSIGN_OR_RETURN(std::string name, ReadHeader(text, line));
    return AddSection(std::move(name), line, sections);
  }
  if (text.front() == '.') {
    return ErrorAtLine(line,
                       "directives (.include, .pragma) are not supported: put everything into one "
                       "file");
  }
  CAPSTAN_ASSIGN_OR_RETURN(ConfEntry entry, ReadEntry(text, line));
  return AddEntry(std::move(entry), sections);
}

}  // namespace

absl::Status ErrorAtLine(int line, std::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", message));
}

const ConfEntry* ConfSection::Find(std::string_view key) const {
  for (const ConfEntry& entry : entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

absl::StatusOr<std::vector<ConfSection>> ParseConf(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("larger than ", kMaxBytes, " bytes: this is no request file"));
  }
  absl::ConsumePrefix(&text, "\xef\xbb\xbf");  // a byte order mark, as OpenSSL skips it
  std::vector<ConfSection> sections;
  for (int line = 1; !text.empty(); ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    CAPSTAN_RETURN_IF_ERROR(ReadLine(text.substr(0, end), line, sections));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return sections;
}

absl::StatusOr<std::string> ToConfValue(std::string_view value) {
  const auto is_blank = [](char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); };
  if (value.empty() || is_blank(value.front()) || is_blank(value.back()) ||
      std::any_of(value.begin(), value.end(),
                  [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); })) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(value),
                     "\" cannot be written to a request file: it is empty, begins or ends with a "
                     "blank, or holds control characters"));
  }
  std::string out;
  for (const char c : value) {
    if (std::string_view("\\\"'#$").find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace capstan::x509
