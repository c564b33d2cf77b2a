// SPDX-License-Identifier: Apache-2.0
#include <weft/error.hpp>

namespace weft::inline v0 {
namespace {

class category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "weft"; }

  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::canceled:
        return "context canceled";
      case errc::deadline_exceeded:
        return "deadline exceeded";
      case errc::closed:
        return "closed";
      case errc::no_runtime:
        return "no weft runtime is running";
      case errc::queue_full:
        return "queue full";
      case errc::quota_exceeded:
        return "quota exceeded";
      case errc::already_running:
        return "a default runtime is already running";
      case errc::invalid_argument:
        return "invalid argument";
      case errc::unsupported:
        return "not supported";
      case errc::message_too_long:
        return "message too long";
      case errc::protocol_error:
        return "protocol error";
      case errc::circuit_open:
        return "circuit open";
    }
    return "unknown weft error";
  }

  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    switch (static_cast<errc>(value)) {
      case errc::canceled:
        return std::errc::operation_canceled;
      case errc::deadline_exceeded:
        return std::errc::timed_out;
      case errc::quota_exceeded:
        return std::errc::no_buffer_space;
      case errc::invalid_argument:
        return std::errc::invalid_argument;
      case errc::unsupported:
        return std::errc::operation_not_supported;
      case errc::message_too_long:
        return std::errc::message_size;
      case errc::protocol_error:
        return std::errc::protocol_error;
      default:
        return {value, *this};
    }
  }
};

}  // namespace

const std::error_category& weft_category() noexcept {
  static const category instance;
  return instance;
}

std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), weft_category()}; }

logic_error::~logic_error() = default;
closed_channel::~closed_channel() = default;

no_runtime_error::no_runtime_error() : std::system_error(make_error_code(errc::no_runtime)) {}
no_runtime_error::~no_runtime_error() = default;

}  // namespace weft::inline v0
