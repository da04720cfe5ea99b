// What `fanout` cannot fall below: libssh in a loop, 32 hosts at once, the same key exchange and cipher, the same command
// in the same two shells, and nothing kept of the answers but their status. Prints what `HostBenchmarks fanout` does.
//
//   plain_fanout SSH_CONFIG ALIAS...
#include <libssh/libssh.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { together = 32, polls = 5, attempts = 50 };
static const char command[] =
    "exec /bin/sh -c 'printf \"\\n%s\\n\" marker; printf \"\\n%s\\n\" marker >&2\necho here'";
static const char *configuration;
static char **aliases;
static int count;
static ssh_session *sessions;
static atomic_int next, failures;

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static ssh_session connected(const char *alias) {
  ssh_session session = ssh_new();
  int yes = 1, no = 0;
  ssh_options_set(session, SSH_OPTIONS_HOST, alias);
  ssh_options_set(session, SSH_OPTIONS_NODELAY, &yes);
  ssh_options_set(session, SSH_OPTIONS_KEY_EXCHANGE, "ecdh-sha2-nistp256,curve25519-sha256");
  ssh_options_set(session, SSH_OPTIONS_CIPHERS_C_S, "aes128-gcm@openssh.com");
  ssh_options_set(session, SSH_OPTIONS_CIPHERS_S_C, "aes128-gcm@openssh.com");
  ssh_options_parse_config(session, configuration);
  ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no);
  if (ssh_connect(session) == SSH_OK && ssh_session_is_known_server(session) == SSH_KNOWN_HOSTS_OK &&
      ssh_userauth_publickey_auto(session, NULL, NULL) == SSH_AUTH_SUCCESS)
    return session;
  ssh_free(session);
  return NULL;
}

static int run(ssh_session session) {
  char bytes[4096];
  int status = -1;
  ssh_channel channel = ssh_channel_new(session);
  if (ssh_channel_open_session(channel) == SSH_OK && ssh_channel_request_exec(channel, command) == SSH_OK) {
    ssh_channel_send_eof(channel);
    while (ssh_channel_read(channel, bytes, sizeof bytes, 0) > 0) {}
    while (ssh_channel_read(channel, bytes, sizeof bytes, 1) > 0) {}
    status = ssh_channel_get_exit_status(channel);
  }
  ssh_channel_free(channel);
  return status;
}

static void *work(void *unused) {
  (void)unused;
  for (int index; (index = next++) < count;) {
    for (int attempt = 0; !sessions[index] && attempt < attempts; attempt++) {
      struct timespec pause = {0, attempt ? 20000000 : 0};
      nanosleep(&pause, NULL);
      sessions[index] = connected(aliases[index]);
    }
    if (!sessions[index] || run(sessions[index]) != 0) failures++;
  }
  return NULL;
}

static double on_all(void) {
  pthread_t threads[together];
  double start = seconds();
  next = 0;
  for (int index = 0; index < together; index++) pthread_create(&threads[index], NULL, work, NULL);
  for (int index = 0; index < together; index++) pthread_join(threads[index], NULL);
  return seconds() - start;
}

static int ascending(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }

int main(int argument_count, char **arguments) {
  if (argument_count < 3) return 64;
  configuration = arguments[1], aliases = arguments + 2, count = argument_count - 2;
  sessions = calloc(count, sizeof *sessions);
  double cold = on_all(), warm[polls];
  for (int poll = 0; poll < polls; poll++) warm[poll] = on_all();
  qsort(warm, polls, sizeof *warm, ascending);
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("{\"connect\": %f, \"warm\": %f, \"warm_best\": %f, \"cpu\": %f, \"failures\": %d, \"resident_KiB\": %ld}\n",
         cold, warm[polls / 2], warm[0], cpu, failures, usage.ru_maxrss);
  fflush(stdout);
  _exit(failures != 0);
}
