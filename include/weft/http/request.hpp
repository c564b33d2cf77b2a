// SPDX-License-Identifier: Apache-2.0
// A parsed HTTP/1 request as a handler sees it. Everything in it is a view into memory of the
// connection: valid while the handler runs, and not after. Immutable; owned by the server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include <weft/detail/config.hpp>

namespace weft::inline v0 {
class context;
}  // namespace weft::inline v0

namespace weft::inline v0::http {

/// The versions that the server speaks.
enum class version : std::uint8_t { http_1_0, http_1_1 };

/// One header field. The value has no white space around it.
struct header {
  std::string_view name;
  std::string_view value;
};

/// The header fields of a request in the order in which they came.
class header_list {
 public:
  using value_type = header;
  using const_iterator = const header*;

  header_list() = default;
  explicit header_list(std::span<const header> fields) noexcept : fields_(fields) {}

  [[nodiscard]] const_iterator begin() const noexcept { return fields_.data(); }
  [[nodiscard]] const_iterator end() const noexcept { return fields_.data() + fields_.size(); }
  [[nodiscard]] std::size_t size() const noexcept { return fields_.size(); }
  [[nodiscard]] bool empty() const noexcept { return fields_.empty(); }
  [[nodiscard]] const header& operator[](std::size_t i) const noexcept { return fields_[i]; }

  /// The value of the first field of this name, in any case of letters.
  [[nodiscard]] WEFT_EXPORT std::optional<std::string_view> get(
      std::string_view name) const noexcept;
  [[nodiscard]] bool contains(std::string_view name) const noexcept {
    return get(name).has_value();
  }

 private:
  std::span<const header> fields_;
};

/// One request. Not to be kept beyond the handler: copy what must live on.
struct request {
  std::string_view method;  ///< as sent, e.g. "GET"
  std::string_view target;  ///< as sent: "/a?b", "http://host/a" or "*"
  http::version version = http::version::http_1_1;
  header_list headers;
  std::string_view body;   ///< whole and decoded; empty if there was none
  bool keep_alive = true;  ///< whether the client asked for the connection to stay
  const context* server_context = nullptr;

  /// Done when the server gives up on its requests: shutdown() ran out of time.
  [[nodiscard]] const context& ctx() const noexcept { return *server_context; }
  /// The target's path, still percent-encoded: "/a" for "/a?b" and for "http://host/a?b".
  [[nodiscard]] WEFT_EXPORT std::string_view path() const noexcept;
  /// What follows the first '?' of the target, without it.
  [[nodiscard]] WEFT_EXPORT std::string_view query() const noexcept;
  [[nodiscard]] std::span<const std::byte> body_bytes() const noexcept {
    return std::as_bytes(std::span(body.data(), body.size()));
  }
};

}  // namespace weft::inline v0::http
