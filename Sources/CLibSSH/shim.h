// libssh as Swift sees it: its header, and non-variadic faces for what Swift cannot call.
#pragma once
#include <libssh/libssh.h>
#include <libssh/callbacks.h>

#include <sys/eventfd.h>
#include <sys/prctl.h>

// Swift's Glibc module lacks eventfd.
static inline int rollcall_wake_descriptor(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

// For whoever looks at the process; Linux takes 15 bytes.
static inline void rollcall_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }
