// SPDX-License-Identifier: Apache-2.0
// Look-ups in a request: header fields by name, the parts of a target. No state, no allocation.
#include <weft/http/request.hpp>

#include "http/chars.hpp"

namespace weft::inline v0::http {

std::optional<std::string_view> header_list::get(std::string_view name) const noexcept {
  for (const header& h : fields_) {
    if (detail::equals_nocase(h.name, name)) return h.value;
  }
  return std::nullopt;
}

namespace {

/// The target from its path on. The parser let only "/...", "http[s]://..." and "*" through.
[[nodiscard]] std::string_view from_path(std::string_view target) noexcept {
  if (target.empty() || target.front() == '/' || target.front() == '*') return target;
  const auto authority = target.find("://");
  if (authority == std::string_view::npos) return target;
  const auto slash = target.find_first_of("/?", authority + 3);
  return slash == std::string_view::npos ? std::string_view{} : target.substr(slash);
}

}  // namespace

std::string_view request::path() const noexcept {
  const auto rest = from_path(target);
  const auto p = rest.substr(0, rest.find('?'));
  return p.empty() ? std::string_view("/") : p;
}

std::string_view request::query() const noexcept {
  const auto rest = from_path(target);
  const auto mark = rest.find('?');
  return mark == std::string_view::npos ? std::string_view{} : rest.substr(mark + 1);
}

}  // namespace weft::inline v0::http
