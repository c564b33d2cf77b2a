// SPDX-License-Identifier: Apache-2.0
// Closures of fibers that somebody counts, and waits for in his destructor: the tasks of a group.
//
// The end of a runtime leaves fibers behind, their frames and closures as they are. Nobody is to
// wait for those for ever, wherever he is by then: a counted closure is told (entry_op::abandon),
// and gives its place back. So whoever counts must not go before all places are given back.
#pragma once

#include <utility>

namespace weft::inline v0::detail {

/// Base of such closures. One has a counted_place, `place`, declared first, so that what else it
/// owns goes before that; and it has
///   void cut_off(bool begun) noexcept;
/// which the thread that ends the runtime calls, with nothing of it running any more. It may note
/// what is to be known of that. One that has begun is not destroyed: its place is given back after
/// this, and no code of the user's may run. One that has not is destroyed after this.
struct counted_closure {};

/// A place in the count of `Owner`: given back, by its leave(), when this goes.
template <class Owner>
class counted_place {
 public:
  /// It is counted already.
  explicit counted_place(Owner* owner) noexcept : owner_(owner) {}
  counted_place(counted_place&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)) {}
  counted_place& operator=(counted_place&&) = delete;
  ~counted_place() { give_back(); }

  /// Its last touch of the owner, who may be gone after it.
  void give_back() noexcept {
    if (owner_ != nullptr) std::exchange(owner_, nullptr)->leave();
  }
  /// Null once it is given back.
  [[nodiscard]] Owner* owner() const noexcept { return owner_; }
  [[nodiscard]] Owner* operator->() const noexcept { return owner_; }

 private:
  Owner* owner_;
};

}  // namespace weft::inline v0::detail
