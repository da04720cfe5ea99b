#define _GNU_SOURCE
#include "CProcesses.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

bool rollcall_adopt_orphans(void) {
  // Started under another name, it is to be known by this one; `agent.sh` reads it as a word.
  prctl(PR_SET_NAME, "rollcall", 0, 0, 0);
  return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
}

static volatile sig_atomic_t is_terminated = 0;

static void hear(int number) {
  if (number == SIGTERM) is_terminated = 1;
}

bool rollcall_hear_signals(void) {
  struct sigaction action = {.sa_handler = hear};
  sigset_t heard;
  sigemptyset(&action.sa_mask);
  sigemptyset(&heard);
  sigaddset(&heard, SIGCHLD);
  sigaddset(&heard, SIGTERM);
  return sigprocmask(SIG_BLOCK, &heard, NULL) == 0 && sigaction(SIGCHLD, &action, NULL) == 0 &&
         sigaction(SIGTERM, &action, NULL) == 0;
}

int rollcall_await(int descriptor, int milliseconds) {
  struct pollfd polled = {.fd = descriptor, .events = POLLIN};
  struct timespec limit = {.tv_sec = milliseconds / 1000, .tv_nsec = (milliseconds % 1000) * 1000000L};
  sigset_t none;
  sigemptyset(&none);
  int found = ppoll(&polled, 1, &limit, &none);
  int told = found > 0 && polled.revents != 0 ? ROLLCALL_READABLE : 0;
  if (is_terminated) {
    // Blocked here: none is lost between the look and the word.
    is_terminated = 0;
    told |= ROLLCALL_TERMINATED;
  }
  return told;
}

// Writes a number in decimal digits; returns how many.
static size_t digits(char *text, pid_t number) {
  char reversed[24];
  size_t count = 0;
  do {
    reversed[count++] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  for (size_t i = 0; i < count; i++) text[i] = reversed[count - 1 - i];
  return count;
}

// In the new process, which shares our memory until it becomes the command: system calls alone.
static int become(const struct rollcall_command *command) {
  char line[160];
  size_t length = strlen(command->told);
  if (length > sizeof line - 32) return EINVAL;
  if (setsid() < 0) return errno;
  int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int output = open(command->output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  int error = open(command->error, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  int identity = open(command->identity, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (nothing < 0 || output < 0 || error < 0 || identity < 0) return errno;
  memcpy(line, command->told, length);
  length += digits(line + length, getpid());
  line[length++] = '\n';
  // In one piece: who looks finds all of it or nothing.
  ssize_t written = write(identity, line, length);
  if (written != (ssize_t)length) return written < 0 ? errno : ENOSPC;
  if (close(identity) < 0) return errno;
  if (dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(error, 2) < 0) return errno;
  if (chdir(command->directory) < 0) return errno;
  // The shell that started us made us deaf to these: a command ends its servers by them.
  struct sigaction heard = {.sa_handler = SIG_DFL};
  sigaction(SIGINT, &heard, NULL);
  sigaction(SIGQUIT, &heard, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  struct rlimit files;
  if (command->open_files > 0 && getrlimit(RLIMIT_NOFILE, &files) == 0 && command->open_files < files.rlim_cur) {
    files.rlim_cur = command->open_files;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  execve(command->arguments[0], command->arguments, command->environment);
  return errno;
}

pid_t rollcall_start(const struct rollcall_command *command, int *problem) {
  volatile int failure = 0;
  pid_t process = vfork();
  if (process == 0) {
    failure = become(command);
    _exit(126);
  }
  if (process < 0) failure = errno;
  *problem = failure;
  if (process > 0 && failure != 0) {
    while (waitpid(process, NULL, 0) < 0 && errno == EINTR) {}
    return -1;
  }
  return process;
}

pid_t rollcall_start_detached(char *const *arguments, int descriptor) {
  extern char **environ;
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  pid_t process = -1;
  if (posix_spawn_file_actions_init(&files) != 0) return -1;
  if (posix_spawnattr_init(&attributes) == 0) {
    if (posix_spawn_file_actions_adddup2(&files, descriptor, 3) == 0 &&
#if __GLIBC_PREREQ(2, 34)
        // Not the connections of libraries that leave them open for a new program.
        posix_spawn_file_actions_addclosefrom_np(&files, 4) == 0 &&
#endif
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0) == 0 &&
        posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0) == 0 &&
        posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0) == 0 &&
        posix_spawnattr_setsigdefault(&attributes, &all) == 0 && posix_spawnattr_setsigmask(&attributes, &none) == 0 &&
        posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK) == 0 &&
        posix_spawn(&process, arguments[0], &files, &attributes, arguments, environ) != 0)
      process = -1;
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&files);
  return process;
}
