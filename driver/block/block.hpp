// The block library: everything that an application includes.
#pragma once

#include "pollux/driver/block/channel.hpp"
#include "pollux/driver/block/drive.hpp"
#include "pollux/driver/block/namespace.hpp"
