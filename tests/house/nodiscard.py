# SPDX-License-Identifier: Apache-2.0
"""Every public function that returns something is [[nodiscard]].

Reads clang's syntax tree of <weft/weft.hpp>. Looked at are functions and public methods of
namespace weft outside `detail`. Operators are free, as nobody drops a result of theirs unseen, and
so are setters that return their own object to be chained: dropping it is their normal use.
"""

import json
import os
import subprocess
import sys

import house

# They return what the user's own function returned; the API's examples drop it.
THE_USERS_RESULT = {"weft::v0::blocking", "weft::v0::future::get", "weft::v0::run",
                    "weft::v0::runtime::run"}
FUNCTIONS = {"FunctionDecl", "CXXMethodDecl"}
SCOPES = {"NamespaceDecl", "CXXRecordDecl", "ClassTemplateDecl", "FunctionTemplateDecl",
          "LinkageSpecDecl", "TranslationUnitDecl"}


def syntax_trees():
    command = ["clang++-19", "-std=c++23", "-fsyntax-only", "-I", os.path.join(house.ROOT, "include"),
               "-Xclang", "-ast-dump=json", "-Xclang", "-ast-dump-filter=weft", "-x", "c++", "-"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False,
                            input="#include <weft/weft.hpp>\n")
    house.check(result.returncode == 0, "clang++-19 cannot read <weft/weft.hpp>")
    decoder, text, at = json.JSONDecoder(), result.stdout, 0
    while (at := text.find("{", at)) >= 0:
        tree, at = decoder.raw_decode(text, at)
        yield tree


def returns_something(node):
    kind = node["type"]["qualType"]
    if "->" in kind:
        kind = kind.rsplit("->", 1)[1].strip()
    return not kind.startswith(("void (", "void")) or kind.startswith("void *")


def returns_its_object(node, scope):
    """`response& status(int)` in `response`, but not if it is const."""
    kind = node["type"]["qualType"]
    return (node["kind"] == "CXXMethodDecl" and bool(scope) and kind.startswith(f"{scope[-1]} &(")
            and not kind.endswith(("const", "const noexcept")))


def is_nodiscard(node):
    return any(n.get("kind") == "WarnUnusedResultAttr" for n in node.get("inner", ()))


def visit(node, scope, seen, missing, access="public"):
    kind, name = node.get("kind"), node.get("name", "")
    if kind in FUNCTIONS:
        if node.get("isImplicit") or node.get("explicitlyDeleted") or "previousDecl" in node:
            return
        full = "::".join([*scope, name])
        if access == "public" and returns_something(node) and not name.startswith("operator"):
            seen.add(full)
            if not (is_nodiscard(node) or full in THE_USERS_RESULT
                    or returns_its_object(node, scope)):
                missing.add(full)
        return
    if kind not in SCOPES or name in ("detail", "std") or node.get("isImplicit"):
        return
    inside = [*scope, name] if kind in ("NamespaceDecl", "CXXRecordDecl") and name else scope
    access = "private" if node.get("tagUsed") == "class" else "public"
    for child in node.get("inner", ()):
        if child.get("kind") == "AccessSpecDecl":
            access = child["access"]
            continue
        if child.get("kind") == "FriendDecl" or access != "public" and kind == "CXXRecordDecl":
            continue
        visit(child, inside, seen, missing)


def main():
    seen, missing = set(), set()
    for tree in syntax_trees():
        if tree.get("kind") in SCOPES | FUNCTIONS:
            visit(tree, [], seen, missing)
    for name in sorted(missing):
        print(f"not [[nodiscard]]: {name}")
    print(f"nodiscard: {len(seen)} functions, {len(missing)} without it")
    return 1 if missing or not seen else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except house.Failure as failure:
        sys.exit(str(failure))
