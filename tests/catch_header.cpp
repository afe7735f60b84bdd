// The target that makes the tests' precompiled header needs a source of its own.
#include <catch2/catch.hpp>
