// SPDX-License-Identifier: Apache-2.0
// What only some fibers have: a name, labels, fiber-local values. Allocated on first use, owned by
// the fiber, touched by the running fiber only (dumps read name and labels of parked fibers).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0::detail {

struct machine;

/// Labels are shared between a fiber and those it starts; a change makes a copy.
using label_set = std::vector<std::pair<std::string, std::string>>;

struct fiber_extension {
  machine* home = nullptr;  // of a pinned one
  std::string_view name;
  std::shared_ptr<const label_set> labels;
  struct local_value {
    const void* key;
    void* value;
    void (*destroy)(void*);
  };
  std::vector<local_value> locals;
};

/// g's, made on demand.
[[nodiscard]] fiber_extension& extension_of(fiber_core* g);

/// Destroys it with the fiber-local values in it; runs user code.
void drop_extension(fiber_core* g) noexcept;

}  // namespace weft::inline v0::detail
