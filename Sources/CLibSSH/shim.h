// libssh as Swift sees it: its header, and non-variadic faces for what Swift cannot call.
#pragma once
#include <libssh/libssh.h>
#include <libssh/callbacks.h>
