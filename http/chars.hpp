// SPDX-License-Identifier: Apache-2.0
// What a byte means in HTTP/1 (RFC 9110 section 5.6, RFC 9112), and the few comparisons that need
// it. Pure functions over views; no state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace weft::inline v0::http::detail {

inline constexpr std::array<bool, 256> token_table = [] {
  std::array<bool, 256> t{};
  for (unsigned c = '0'; c <= '9'; ++c) t[c] = true;
  for (unsigned c = 'a'; c <= 'z'; ++c) t[c] = true;
  for (unsigned c = 'A'; c <= 'Z'; ++c) t[c] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) t[static_cast<unsigned char>(c)] = true;
  return t;
}();

[[nodiscard]] constexpr bool is_token_char(char c) noexcept {
  return token_table[static_cast<unsigned char>(c)];
}

/// One or more token characters: what a method or a field name consists of.
[[nodiscard]] constexpr bool is_token(std::string_view s) noexcept {
  for (const char c : s) {
    if (!is_token_char(c)) return false;
  }
  return !s.empty();
}

[[nodiscard]] constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// The value of a hexadecimal digit, or -1.
[[nodiscard]] constexpr int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

[[nodiscard]] constexpr bool is_control(char c) noexcept {
  const auto u = static_cast<unsigned char>(c);
  return u < 0x20 || u == 0x7f;
}

[[nodiscard]] constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

/// Equal but for the case of ASCII letters. `lower` must be in lower case already.
[[nodiscard]] constexpr bool equals_lower(std::string_view s, std::string_view lower) noexcept {
  if (s.size() != lower.size()) return false;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (to_lower(s[i]) != lower[i]) return false;
  }
  return true;
}

[[nodiscard]] constexpr bool equals_nocase(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (to_lower(a[i]) != to_lower(b[i])) return false;
  }
  return true;
}

/// Without the optional white space (SP, HT) around it.
[[nodiscard]] constexpr std::string_view trim(std::string_view s) noexcept {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

/// The first control byte (below 0x20, or 0x7f) in [p, end), or `end`. Eight bytes at a step: the
/// test for "some byte of this word" may be exact because a hit is looked at byte by byte.
[[nodiscard]] inline const char* find_control(const char* p, const char* end) noexcept {
  constexpr std::uint64_t ones = 0x0101010101010101ULL;
  constexpr std::uint64_t highs = 0x8080808080808080ULL;
  while (end - p >= 8) {
    std::uint64_t w;
    std::memcpy(&w, p, 8);
    const std::uint64_t below_space = (w - ones * 0x20) & ~w & highs;
    const std::uint64_t x = w ^ (ones * 0x7f);
    const std::uint64_t is_del = (x - ones) & ~x & highs;
    if ((below_space | is_del) != 0) break;
    p += 8;
  }
  while (p != end && !is_control(*p)) ++p;
  return p;
}

/// A field value or a reason: no control byte but HT.
[[nodiscard]] inline bool is_field_content(std::string_view s) noexcept {
  const char* p = s.data();
  const char* const end = p + s.size();
  while ((p = find_control(p, end)) != end) {
    if (*p != '\t') return false;
    ++p;
  }
  return true;
}

}  // namespace weft::inline v0::http::detail
