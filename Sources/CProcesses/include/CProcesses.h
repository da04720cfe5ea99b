// What a supervisor of many commands needs of the system, and Swift cannot call: vfork, prctl, signals.
#pragma once
#include <stdbool.h>
#include <sys/types.h>

// Makes whatever outlives its parent below this process a child of it.
bool rollcall_adopt_orphans(void);

// From here on SIGCHLD and SIGTERM are heard in rollcall_await alone.
bool rollcall_hear_signals(void);

enum { ROLLCALL_READABLE = 1, ROLLCALL_TERMINATED = 2 };

// Waits until a descriptor (none where negative) can be read or has ended, a signal came, or the time is over. Returns
// a sum of the above; SIGTERM is told once.
int rollcall_await(int descriptor, int milliseconds);

struct rollcall_command {
  const char *directory;      // to run in
  const char *output, *error; // files, made anew
  const char *identity;       // file, made anew
  const char *told;           // what it says before the number of the command's session, with a blank at its end
  char *const *arguments;     // the first is the program's path
  char *const *environment;
  unsigned long open_files; // its soft limit of them; 0: ours
};

// Starts a command in a session of its own. Its identity is on file before anything of it runs. Returns its process;
// -1 with the error where nothing was started, or nothing of it ran.
pid_t rollcall_start(const struct rollcall_command *command, int *problem);

// Starts a program in a session of its own, with the descriptor as its number 3, without input and output, and with no
// signal ignored or blocked. Returns its process or -1.
pid_t rollcall_start_detached(char *const *arguments, int descriptor);
